"""Counts of what was taught, and what they say of an answer."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeyman.models.errors import WeightsError
from journeyman.models.students.familiarity import FILE, UNTAUGHT, Familiarity
from journeyman.models.students.tagger import Tagger, Tagging
from journeyman.models.training.tagger import TaggedText
from journeyman.models.types import Span

from .conftest import marked, tiny_examples


def counted(*examples: TaggedText) -> Familiarity:
    return Familiarity.of((example.text, example.spans) for example in examples)


TAUGHT = counted(
    marked("Pay {company} {amount}.", company="Acme", amount="$40"),
    marked("{company} pays.", company="Blue Fox"),
    marked("{date} is fine", date="Blue Fox"),
)


def test_a_taught_text_is_familiar_in_full() -> None:
    example = marked("Pay {company} {amount}.", company="Acme", amount="$40")
    assert TAUGHT.numbers(example.text, example.spans) == {
        "unknown_values": 0,
        "conflicting_values": 0,
        "known_values_share": 1,
        "unseen_contexts": 0,
        "unseen_contexts_share": 0,
        "rarest_context_log": math.log(2),
    }


def test_a_new_value_in_a_known_place_is_told_from_a_known_value_in_a_new_place() -> None:
    value = marked("Pay {company} {amount}.", company="Zenith", amount="$40")
    place = marked("Pay {company} with {amount}.", company="ACME", amount="$ 40")
    new_value = TAUGHT.numbers(value.text, value.spans)
    new_place = TAUGHT.numbers(place.text, place.spans)
    assert (new_value["unknown_values"], new_value["unseen_contexts"]) == (1, 0)
    assert new_value["known_values_share"] == 0.5
    assert (new_place["unknown_values"], new_place["unseen_contexts"]) == (0, 2)
    assert (new_place["unseen_contexts_share"], new_place["rarest_context_log"]) == (2 / 6, 0)


def test_a_value_that_had_two_labels_is_a_conflict() -> None:
    example = marked("{company} pays.", company="Blue  fox")
    assert TAUGHT.numbers(example.text, example.spans)["conflicting_values"] == 1


def test_what_both_counted_counts_once() -> None:
    """Who goes on from a tagger is shown many of its texts again."""
    first, second = tiny_examples(6)[:4], tiny_examples(6)[2:]
    joined = counted(*first).joined(counted(*second))
    assert joined.joined(counted(*first)) == joined
    assert set(joined.values) == set(counted(*first, *second).values)


def test_it_is_read_as_it_was_written_in_any_order(tmp_path: Path) -> None:
    TAUGHT.save(tmp_path)
    written = (tmp_path / FILE).read_bytes()
    assert Familiarity.load(tmp_path) == TAUGHT
    counted(*tiny_examples(5)).save(tmp_path)
    counted(*tiny_examples(5)[::-1]).save(tmp_path / "..")
    assert (tmp_path / FILE).read_bytes() == (tmp_path / ".." / FILE).read_bytes() != written


@given(text=st.text(max_size=40), bounds=st.lists(st.tuples(st.integers(0, 40), st.integers(1, 9))))
def test_any_answer_gets_the_same_names_and_finite_numbers(
    text: str, bounds: list[tuple[int, int]]
) -> None:
    spans = [Span("date", at, at + n, text[at : at + n]) for at, n in bounds if at + n <= len(text)]
    numbers = TAUGHT.numbers(text, spans)
    assert numbers.keys() == UNTAUGHT.keys() == Tagging().familiarity.keys()
    assert all(math.isfinite(value) for value in numbers.values())
    assert 0 <= numbers["known_values_share"] <= 1
    assert 0 <= numbers["unseen_contexts_share"] <= 1


def test_a_taught_tagger_says_how_familiar_its_answer_is(tiny_tagger_folder: Path) -> None:
    example = tiny_examples()[0]
    known, strange = Tagger(weights=tiny_tagger_folder).predict(
        [example.text, "Quick zebras vex lazy dwarfs."]
    )
    assert known.evidence()["unseen_contexts"] == 0
    assert strange.evidence()["unseen_contexts_share"] > 0.5


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="cannot be read"):
        Familiarity.load(tmp_path)
    (tmp_path / FILE).write_text("[]")
    with pytest.raises(WeightsError, match="TypeError"):
        Familiarity.load(tmp_path)
