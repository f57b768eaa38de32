"""Normal forms, words and likeness, also for scripts without spaces and for hostile texts."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz import fuzz

from journeyman.traces.likeness import (
    alike,
    are_near,
    content_key,
    group_key,
    leaves,
    normalized,
    plain,
    words,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.text())
def test_normal_form_is_its_own_normal_form(text: str) -> None:
    assert normalized(normalized(text)) == normalized(text)


@given(st.text())
def test_words_do_not_change_with_case_or_white_space(text: str) -> None:
    assert words(f"  {normalized(text)}\n") == words(normalized(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What's my BALANCE?", ("what", "s", "my", "balance")),
        ("की का", ("की", "का")),
        ("東京へ行く", ("東", "京", "へ", "行", "く")),
        ("a_b-c", ("a", "b", "c")),
        ("ﬁne Ⅳ", ("fine", "iv")),
        ("🙂!", ()),
    ],
)
def test_words_of_many_scripts(text: str, expected: tuple[str, ...]) -> None:
    assert words(text) == expected


def test_texts_without_words_are_not_all_the_same() -> None:
    assert plain("🙂") != plain("🙃")


def test_a_word_without_end_is_cut_so_that_it_counts_as_long() -> None:
    assert len(words("x" * 1000)) == 50


@pytest.mark.parametrize("piece", ["a", "!", "\u0301", "a b "])
def test_hostile_texts_take_no_time(piece: str) -> None:
    text = piece * (300_000 // len(piece))
    start = time.perf_counter()
    words(text)
    are_near(text, text + "x")
    assert time.perf_counter() - start < 5


@given(JSON)
def test_leaves_do_not_depend_on_the_order_of_keys(value: Any) -> None:
    def turned(item: Any) -> Any:
        if isinstance(item, dict):
            return {key: turned(child) for key, child in reversed(item.items())}
        return [turned(child) for child in item] if isinstance(item, list) else item

    assert list(leaves(turned(value)).items()) == list(leaves(value).items())
    assert content_key(turned(value)) == content_key(value)


def test_deep_nesting_is_no_trouble() -> None:
    value: Any = "deep"
    for _ in range(2_000):
        value = [value]
    assert "deep" in leaves(value).values()


def test_content_differs_where_punctuation_does_and_groups_do_not() -> None:
    first, second = {"text": "Where is it?"}, {"text": "where  IS it"}
    assert content_key(first) != content_key(second)
    assert group_key(first) == group_key(second)


def test_a_field_more_is_another_task() -> None:
    assert content_key({"text": "a"}) != content_key({"text": "a", "tools": []})
    assert content_key({"a": "x", "b": "y"}) != content_key({"a": "y", "b": "x"})


def test_long_texts_are_near_by_their_shingles() -> None:
    base = [f"word{i}" for i in range(200)]
    other = [*base[:100], "changed", *base[101:]]
    assert are_near(" ".join(base), " ".join(other))
    assert not are_near(" ".join(base), " ".join(reversed(base)))


def test_short_texts_are_near_by_their_characters() -> None:
    assert are_near("please tell me where my new card is", "Please tell me where my new card is!!")
    assert not are_near("transfer 100 to bob", "transfer 900 to bob")


@given(st.lists(st.text("abc ", max_size=90), max_size=8), st.sampled_from([80.0, 90.0, 95.0]))
def test_alike_finds_what_comparing_every_pair_finds(texts: list[str], ratio: float) -> None:
    found = {(i, j) for i, j, _ in alike(texts, texts, ratio)}
    expected = {
        (i, j)
        for i, a in enumerate(texts)
        for j, b in enumerate(texts)
        if fuzz.ratio(a, b, score_cutoff=ratio) >= ratio
    }
    assert found == expected
