"""Where quotes stand in a text: exact, folded, near, and never inside another number."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from journeyman.agents.grounding import Document, fold

TEXT = (
    "Invoice to  Müller\u00a0GmbH for 1,204.50 EUR, “party” at Art house. Ref 2015-55. "
    "Straße 5 and 15. The quick brown fox jumps over it today."
)


def found(quote: str, text: str = TEXT) -> list[str]:
    return [text[place.start : place.end] for place in Document(text).find(quote)]


@pytest.mark.parametrize(
    ("quote", "stands_as"),
    [
        ("Invoice", ["Invoice"]),
        ("Müller GmbH", ["Müller\u00a0GmbH"]),
        ("mu\u0308ller gmbh", ["Müller\u00a0GmbH"]),
        ('"party"', ["“party”"]),
        ("STRASSE 5", ["Straße 5"]),
        ("  15.  ", ["15."]),
        ("5", ["5"]),
        ("The quick brown foxx jumps over it", ["The quick brown fox jumps over it"]),
        ("20", []),
        ("not there", []),
        ("", []),
        (" \n", []),
        ("\u200b", []),
    ],
)  # fmt: skip
def test_a_quote_stands_where_the_text_says_the_same(quote: str, stands_as: list[str]) -> None:
    assert found(quote) == stands_as


def test_a_whole_word_is_told_from_a_part_of_one() -> None:
    places = Document("party Art").find("art")
    assert [(place.start, place.whole) for place in places] == [(1, False), (6, True)]


def test_a_number_within_a_grouped_number_is_not_whole() -> None:
    (place,) = Document("for 1,204.50 EUR").find("204.50")
    assert not place.whole


def test_a_near_match_with_another_digit_is_none() -> None:
    assert (
        found("order number 1204509912 of today", "the order number 1204509913 of today is") == []
    )


def test_two_near_matches_are_none() -> None:
    once = "the quick brown fox jumps over the lazy dog"
    assert found("the quick brown foxx jumps over the lazy dog", f"{once}. {once}.") == []


def test_zero_width_marks_do_not_hide_a_quote() -> None:
    assert found("acme ltd", "from AC\u200bME\u202e Ltd\u00ad.") == ["AC\u200bME\u202e Ltd"]


def test_a_megabyte_is_searched_in_seconds() -> None:
    text = "lorem ipsum dolor " * 58_000
    assert len(text) > 1_000_000
    assert found("absent", text) == []
    assert len(found("dolor  lorem", text)) == 200


@given(st.text(max_size=30), st.text(max_size=20).filter(str.strip), st.text(max_size=30))
def test_words_of_a_text_are_found_where_they_stand(before: str, quote: str, after: str) -> None:
    quote = quote.strip()
    places = Document(f"{before} {quote} {after}").find(quote)
    assert len(before) + 1 in [place.start for place in places]


@given(st.text(max_size=60), st.text(max_size=10))
def test_places_lie_in_the_text_and_say_the_same(text: str, quote: str) -> None:
    for place in Document(text).find(quote):
        assert 0 <= place.start < place.end <= len(text)
        assert fold(text[place.start : place.end]) == fold(quote)


@given(st.text(max_size=60))
@example("﹘")
@example("e\u200d\u0301")
def test_folding_is_done_once_and_for_all(text: str) -> None:
    assert fold(fold(text)) == fold(text)
