"""The tagger that looks up its nearest taught texts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from journeyman.models.errors import WeightsError
from journeyman.models.students.nearest import FACTS, VECTORS, NearestTagger, is_nearest
from journeyman.models.training.nearest import write_nearest

from .conftest import TINY_LABELS, marked, tiny_examples


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("nearest") / "student"
    write_nearest(tiny_examples(), TINY_LABELS, out=out, device="cpu")
    return out


@pytest.fixture(scope="module")
def tagger(folder: Path) -> NearestTagger:
    return NearestTagger(folder, device="cpu")


def found(tagger: NearestTagger, text: str) -> list[tuple[str, str]]:
    return [(span.label, span.text) for span in tagger.predict([text])[0].spans]


def test_it_marks_known_values_in_a_new_text_the_longest_first(tagger: NearestTagger) -> None:
    text = "blue FOX ltd sent a bill over $7.50, due July 14"
    assert found(tagger, text) == [
        ("company", "blue FOX ltd"),
        ("amount", "$7.50"),
        ("date", "July 14"),
    ]


def test_it_marks_nothing_that_it_has_not_seen_marked(tagger: NearestTagger) -> None:
    assert found(tagger, "Zenith owes us 31 pounds") == []


def test_neighbours_that_left_the_words_unmarked_vote_against(tmp_path: Path) -> None:
    known = [marked("{company} called", company="May")] + [
        marked(f"in May we rest, {n}") for n in range(6)
    ]
    write_nearest(known, TINY_LABELS, out=tmp_path / "n", device="cpu")
    assert found(NearestTagger(tmp_path / "n", device="cpu"), "in May they rest") == []


def test_a_familiar_text_is_surer_than_a_strange_one(tagger: NearestTagger) -> None:
    familiar, strange = tagger.predict(
        ["Pay Acme 120 euros by 3 May.", "Acme, the movie, is a delight"]
    )
    assert familiar.log_probability > strange.log_probability
    assert familiar.max_missed < strange.max_missed


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(text=st.text(max_size=60) | st.sampled_from(["", "\0", "🦊 Acme", "$", "Acme" * 900]))
def test_any_text_gets_numbers_within_their_ranges(tagger: NearestTagger, text: str) -> None:
    tagging = tagger.predict([text])[0]
    assert all(text[s.start : s.end] == s.text for s in tagging.spans)
    assert tagging.log_probability <= 0
    assert set(tagging.missed) == set(TINY_LABELS)
    for chance in (tagging.min_probability, tagging.max_missed, *tagging.missed.values()):
        assert 0 <= chance <= 1


def test_batches_answer_as_single_texts_do(tagger: NearestTagger) -> None:
    texts = ["Pay Orion €15 by 1 June.", "hello", "Kestrel will call on next Monday"]
    alone = [tagger.predict([text])[0].spans for text in texts]
    spans = [tagging.spans for tagging in tagger.predict(texts)]
    assert [[(s.label, s.text) for s in one] for one in spans] == [
        [(s.label, s.text) for s in one] for one in alone
    ]


def test_the_folder_says_what_it_is(folder: Path, tmp_path: Path) -> None:
    assert is_nearest(folder)
    assert not is_nearest(tmp_path)


def test_the_same_texts_are_the_same_student(folder: Path, tmp_path: Path) -> None:
    write_nearest(tiny_examples(), TINY_LABELS, out=tmp_path / "same", device="cpu")
    write_nearest(tiny_examples(39), TINY_LABELS, out=tmp_path / "other", device="cpu")
    same = NearestTagger(tmp_path / "same").fingerprint()
    assert (
        same
        == NearestTagger(folder).fingerprint()
        != NearestTagger(tmp_path / "other").fingerprint()
    )


def test_a_damaged_folder_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "n"
    write_nearest(tiny_examples(4), TINY_LABELS, out=out, device="cpu")
    with pytest.raises(WeightsError, match="not empty"):
        write_nearest(tiny_examples(4), TINY_LABELS, out=out, device="cpu")
    with pytest.raises(WeightsError, match="have the labels"):
        NearestTagger(out, labels=("price",))
    facts = json.loads((out / FACTS).read_text("utf-8"))
    (out / FACTS).write_text(json.dumps(facts | {"texts": facts["texts"][:2]}), "utf-8")
    with pytest.raises(WeightsError, match="4 vectors for 2"):
        NearestTagger(out).predict(["x"])
    (out / VECTORS).write_bytes(b"x")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        NearestTagger(out).predict(["x"])
    (out / FACTS).write_text(json.dumps(facts | {"space": "elsewhere"}), "utf-8")
    with pytest.raises(WeightsError, match="another"):
        NearestTagger(out)
    (out / FACTS).unlink()
    with pytest.raises(WeightsError, match="No taught texts"):
        NearestTagger(out)
