"""What stands in a suite is found, whether short or long, and ordinary likeness is not."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeyman.models.errors import ConfigError
from journeyman.traces.decontaminate import Decontaminator


def prose(seed: int, number: int) -> str:
    source = random.Random(seed)
    return " ".join(f"{source.choice('bcdfgh')}{source.randrange(900)}" for _ in range(number))


def rule(suites: list[str], text: str, **settings: float) -> str | None:
    (hit,) = Decontaminator(suites, **settings).find([text])
    return None if hit is None else hit.rule


def test_equal_words_are_the_same() -> None:
    assert rule(["Where is my card?"], "where is   MY card") == "same"


def test_a_short_text_that_is_nearly_a_suites_is_found() -> None:
    suite = "set an alarm for half past seven tomorrow morning"
    assert rule([suite], "Set an alarm, for half past seven tomorrow mornings") == "alike"
    assert rule([suite], "play something by the beatles in the living room") is None


def test_ngrams_alone_would_find_nothing_in_a_short_text() -> None:
    assert len(["wake", "me", "up", "at", "seven"]) < 8
    assert rule(["wake me up at seven"], "wake me up at sevens") == "alike"


def test_a_suite_text_inside_a_long_document_is_found() -> None:
    suite, document = prose(1, 50), prose(2, 400)
    assert rule([suite], f"{document} {suite} {prose(3, 100)}") == "overlap"
    assert rule([suite], document) is None


def test_a_short_suite_text_inside_a_long_document_is_found() -> None:
    suite = "please cancel the order number nine four two that i placed last night"
    assert rule([suite], f"{prose(2, 100)} {suite} {prose(3, 100)}") == "overlap"


def test_long_documents_that_share_a_header_are_not_the_same_document() -> None:
    header = prose(1, 12)
    assert rule([f"{header} {prose(2, 150)}"], f"{header} {prose(3, 150)}") is None


def test_the_strict_rule_counts_any_shared_ngram() -> None:
    header = prose(1, 12)
    texts = f"{header} {prose(2, 150)}", f"{header} {prose(3, 150)}"
    assert rule([texts[0]], texts[1], min_share=0) == "overlap"


def test_a_header_of_most_suite_texts_is_boilerplate() -> None:
    header = prose(1, 60)
    suites = [f"{header} {prose(i, 40)}" for i in range(2, 80)]
    found = Decontaminator(suites).find([f"{header} {prose(99, 40)}", suites[5] + " more"])
    assert [hit and hit.rule for hit in found] == [None, "overlap"]


def test_tasks_are_compared_by_their_longest_text_too() -> None:
    known = Decontaminator(["when does the next ferry leave for the island"])
    tasks = [
        {"text": "When does the next ferry leave for the island?", "now": "2026-03-01"},
        {"text": "something else altogether", "now": "2026-03-01"},
    ]
    assert [hit and hit.rule for hit in known.find_in_tasks(tasks)] == ["same", None]


def test_a_hit_says_what_it_found_in_one_line() -> None:
    (hit,) = Decontaminator(["a\nb " + "c" * 500]).find(["a b " + "c" * 500])
    assert str(hit).startswith("same (1.00) as 'a b ccc")
    assert len(str(hit)) < 120


@given(st.lists(st.text(), max_size=6), st.lists(st.text(), max_size=6))
def test_every_suite_text_finds_itself_and_any_text_is_taken(
    suites: list[str], texts: list[str]
) -> None:
    known = Decontaminator(suites)
    for text, hit in zip(suites, known.find(suites), strict=True):
        assert (hit is not None) == bool(text.split())
    assert known.find(texts) == [known.find([text])[0] for text in texts]


def test_no_suites_find_nothing() -> None:
    assert Decontaminator([]).find(["a", "", prose(1, 90)]) == [None, None, None]


def test_ten_thousand_against_ten_thousand_short_texts_take_seconds() -> None:
    source = random.Random(0)
    known = ["card", "top", "up", "money", "transfer", "bank", "when", "how", "why", "my", "the"]

    def text() -> str:
        return " ".join(source.choices(known, k=source.randint(4, 14)))

    suites, texts = [text() for _ in range(10_000)], [text() for _ in range(10_000)]
    start = time.perf_counter()
    found = Decontaminator(suites).find([*texts, *suites[:10]])
    assert all(found[-10:])
    assert time.perf_counter() - start < 30


@pytest.mark.parametrize("wrong", [{"ratio": 0}, {"ngram": 0}, {"min_share": 1.5}])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="give a ratio"):
        Decontaminator([], **wrong)
