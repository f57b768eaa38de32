"""BIO tags: decoding finds the best spans, and spans survive the way to tags and back."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from journeyman.models.errors import ConfigError
from journeyman.models.students import bio
from journeyman.models.types import Span

LABEL_SETS = (("x",), ("y",))
NUM_TAGS = 5
SHARED = (*LABEL_SETS, ("x", "y"))


def log_softmax(scores: bio.Floats) -> bio.Floats:
    return (scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))).astype(np.float32)


scores = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 5), st.just(NUM_TAGS)),
    elements=st.floats(-6, 6, width=32),
).map(log_softmax)


def is_valid(tags: tuple[int, ...]) -> bool:
    before = (0, *tags[:-1])
    return all(t % 2 == 1 or t == 0 or b in (t, t - 1) for b, t in zip(before, tags, strict=True))


@given(scores)
def test_decoding_finds_the_most_probable_valid_sequence(log_probs: bio.Floats) -> None:
    found = tuple(bio.decode(log_probs).tolist())
    every = itertools.product(range(NUM_TAGS), repeat=len(log_probs))
    best = max(
        sum(row[tag] for row, tag in zip(log_probs, tags, strict=True))
        for tags in every
        if is_valid(tags)
    )
    assert is_valid(found)
    total = sum(row[tag] for row, tag in zip(log_probs, found, strict=True))
    assert total == pytest.approx(best, abs=1e-3)


@given(scores)
def test_the_numbers_keep_their_ranges(log_probs: bio.Floats) -> None:
    tags = bio.decode(log_probs)
    doubts = bio.doubts(log_probs, tags)
    assert doubts["log_probability"] <= 0
    assert 0 <= doubts["min_probability"] <= 1
    assert -1 <= doubts["min_margin"] <= 1
    assert 0 <= doubts["mean_entropy"] <= doubts["max_entropy"] + 1e-6 <= np.log(NUM_TAGS) + 1e-4
    assert 0 <= doubts["max_missed"] <= 1
    assert all(0 <= value <= 1 for value in bio.missed(log_probs, tags, LABEL_SETS).values())


def test_a_doubtful_outside_word_shows_as_missed() -> None:
    log_probs = np.log(
        np.array([[0.98, 0.005, 0.005, 0.005, 0.005], [0.5, 0.4, 0.02, 0.04, 0.04]], np.float32)
    )
    tags = bio.decode(log_probs)
    assert tags.tolist() == [0, 0]
    assert bio.doubts(log_probs, tags)["max_missed"] == pytest.approx(0.5)
    assert bio.missed(log_probs, tags, LABEL_SETS) == pytest.approx({"x": 0.42, "y": 0.08})


def test_what_may_be_marked_as_both_shows_as_missed_of_each() -> None:
    units = np.array([[0.3, 0.2, 0.05, 0.1, 0.05, 0.25, 0.05], [0, 0, 0, 0, 0, 0.9, 0.1]])
    log_probs = np.log(np.maximum(units, 1e-9)).astype(np.float32)
    outside_and_both = np.array([0, 5])
    missed = bio.missed(log_probs, outside_and_both, SHARED)
    assert missed == pytest.approx({"x": 0.55, "y": 0.45}, abs=1e-6)


def test_an_overruled_tag_shows_as_a_negative_margin() -> None:
    log_probs = np.log(np.array([[0.3, 0.05, 0.6, 0.02, 0.03]], np.float32))  # I-x comes first
    tags = bio.decode(log_probs)
    assert tags.tolist() == [0]
    assert bio.doubts(log_probs, tags)["min_margin"] == pytest.approx(-0.3)


@st.composite
def taggable(draw: st.DrawFn) -> tuple[bio.Units, list[Span]]:
    """Units with gaps, and spans that each cover whole units."""
    widths = draw(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4)), min_size=1))
    units, position = [], 0
    for gap, width in widths:
        units.append((position + gap, position + gap + width))
        position += gap + width
    spans, unit = [], 0
    while unit < len(units):
        size = draw(st.integers(1, 3))
        if draw(st.booleans()) and unit + size <= len(units):
            start, end = units[unit][0], units[unit + size - 1][1]
            labels = draw(st.sampled_from(SHARED))
            spans += [Span(label, start, end, "?" * (end - start)) for label in labels]
        unit += size
    return np.array(units, dtype=np.int64), spans


@given(taggable())
def test_spans_of_whole_words_survive_the_way_to_tags_and_back(
    case: tuple[bio.Units, list[Span]],
) -> None:
    units, spans = case
    aligned = bio.align(spans, units, SHARED)
    certain = np.full((len(units), NUM_TAGS + 2), -20.0, np.float32)
    certain[np.arange(len(units)), aligned.tags] = 0.0
    back = bio.to_spans("?" * int(units[-1, 1]), units, bio.decode(certain), certain, SHARED)
    assert aligned.num_inexact == 0
    assert list(back) == spans


def test_a_span_inside_a_word_takes_the_word_and_is_counted() -> None:
    units = np.array([[0, 4], [5, 9]])
    aligned = bio.align([Span("x", 6, 8, "or")], units, LABEL_SETS)
    assert aligned.tags.tolist() == [0, 1]
    assert aligned.num_inexact == 1


def test_of_overlapping_spans_the_first_and_longest_is_kept() -> None:
    units = np.array([[0, 1], [1, 2], [2, 3]])
    spans = [Span("y", 0, 1, "a"), Span("x", 0, 2, "ab"), Span("y", 1, 3, "bc")]
    aligned = bio.align(spans, units, LABEL_SETS)
    assert aligned.tags.tolist() == [1, 2, 0]
    assert aligned.num_inexact == 2


def test_of_labels_that_are_no_set_the_first_is_kept() -> None:
    units = np.array([[0, 3], [4, 7]])
    spans = [Span("y", 0, 7, "now too"), Span("x", 0, 7, "now too")]
    assert bio.align(spans, units, LABEL_SETS).tags.tolist() == [1, 2]
    assert bio.align(spans, units, LABEL_SETS).num_inexact == 1
    assert bio.align(spans, units, SHARED).tags.tolist() == [5, 6]
    assert bio.align(spans, units, SHARED).num_inexact == 0


def test_what_few_texts_mark_as_several_is_no_set() -> None:
    both = [Span("y", 0, 3, "now"), Span("x", 0, 3, "now")]
    beside = [Span("y", 0, 3, "now"), Span("x", 0, 2, "no")]
    assert bio.shared_sets([both, both, beside], fewest=2) == (("x", "y"),)
    assert bio.shared_sets([both, both + both, beside], fewest=3) == ()


def test_an_unknown_label_is_refused() -> None:
    with pytest.raises(ConfigError, match="'z'"):
        bio.align([Span("z", 0, 1, "a")], np.array([[0, 1]]), LABEL_SETS)


def test_f1_counts_exact_spans() -> None:
    a, b, c = Span("x", 0, 1, "a"), Span("x", 2, 3, "b"), Span("y", 2, 3, "b")
    assert bio.span_f1([[a, b]], [[a, b]]) == 1.0
    assert bio.span_f1([[a, b]], [[a, c]]) == 0.5
    assert bio.span_f1([[a], []], [[], []]) == 0.0
    assert bio.span_f1([[]], [[]]) == 1.0
