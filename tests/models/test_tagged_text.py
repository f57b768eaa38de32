"""Mentions exchanged among the examples of a label: other names, the same sentences."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeyman.models.training.tagged_text import Mentions, TaggedText
from journeyman.models.types import Span

_WORD = st.text("abcdäß1 ,.", min_size=1, max_size=6)
_PIECES = st.lists(st.tuples(_WORD, st.sampled_from(["", "who", "what"])), max_size=8)


def example_of(pieces: list[tuple[str, str]]) -> TaggedText:
    """Pieces of text, those with a label as spans."""
    text, spans = "", []
    for piece, label in pieces:
        if label:
            spans.append(Span(label, len(text), len(text) + len(piece), piece))
        text += piece
    return TaggedText(text, tuple(spans), weight=0.5)


def around(example: TaggedText) -> list[str]:
    """What stands between the spans."""
    edges = [0, *(edge for span in example.spans for edge in (span.start, span.end))]
    edges.append(len(example.text))
    return [example.text[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True)]


def is_whole(text: str, span: Span) -> bool:
    """Whether its ends are ends of words, found by another way than the code's."""
    edges = {edge for word in re.finditer(r"\w+", text) for edge in range(*word.span())[1:]}
    return span.start not in edges and span.end not in edges


@given(st.lists(_PIECES.map(example_of), max_size=6), st.floats(0, 1), st.integers(0, 99))
def test_only_what_spans_hold_changes_and_each_is_where_it_says(
    examples: list[TaggedText], share: float, seed: int
) -> None:
    known = {(s.label, s.text) for example in examples for s in example.spans}
    others = Mentions(examples).exchanged(examples, share, random.Random(seed))
    assert len(others) == len(examples)
    for before, after in zip(examples, others, strict=True):
        assert around(after) == around(before)
        assert [s.label for s in after.spans] == [s.label for s in before.spans]
        assert all(after.text[s.start : s.end] == s.text for s in after.spans)
        assert after == before or all(is_whole(after.text, span) for span in after.spans)
        assert {(s.label, s.text) for s in after.spans} <= known
        assert after.weight == before.weight


def test_names_change_places() -> None:
    examples = [
        example_of([("call ", ""), ("Ada", "who")]),
        example_of([("ask ", ""), ("Grace Hopper", "who"), (" about it", "")]),
    ]
    seen = {
        example.text
        for seed in range(50)
        for example in Mentions(examples).exchanged(examples, 1.0, random.Random(seed))
    }
    assert seen == {
        "call Ada",
        "call Grace Hopper",
        "ask Ada about it",
        "ask Grace Hopper about it",
    }


def test_the_same_draw_gives_the_same_examples_and_a_share_of_none_leaves_all() -> None:
    examples = [example_of([(name, "who"), (" pays", "")]) for name in ("Ada", "Max", "Ida", "Bo")]
    mentions = Mentions(examples)
    drawn = [mentions.exchanged(examples, 0.5, random.Random(7)) for _ in range(2)]
    assert drawn[0] == drawn[1] != examples
    assert mentions.exchanged(examples, 0.0, random.Random(7)) == examples


def test_spans_that_cut_words_or_overlap_stay_and_are_given_to_nobody() -> None:
    cut = TaggedText("Adaline", (Span("who", 0, 3, "Ada"),))
    overlapping = TaggedText(
        "Max Otto", (Span("what", 0, 3, "Max"), Span("what", 0, 8, "Max Otto"))
    )
    whole = TaggedText("Grace", (Span("who", 0, 5, "Grace"),))
    other = TaggedText("Ida pays", (Span("who", 0, 3, "Ida"),))
    examples = [cut, overlapping, whole, other]
    seen = set()
    for seed in range(30):
        others = Mentions(examples).exchanged(examples, 1.0, random.Random(seed))
        assert others[:2] == [cut, overlapping]
        seen.add(others[2].text)
    assert seen == {"Grace", "Ida"}


@pytest.mark.parametrize(
    ("text", "mention", "other"),
    [
        ("total:RM$9.00 paid", "$9.00", "120 euros"),  # would be RM120
        ("cafe\N{COMBINING ACUTE ACCENT} bar", "cafe", "pub"),  # an accent on another letter
    ],
)
def test_a_mention_is_not_made_a_part_of_a_word(text: str, mention: str, other: str) -> None:
    start = text.index(mention)
    examples = [
        TaggedText(text, (Span("x", start, start + len(mention), mention),)),
        TaggedText(other, (Span("x", 0, len(other), other),)),
    ]
    for seed in range(20):
        assert Mentions(examples).exchanged(examples, 1.0, random.Random(seed))[0] == examples[0]
