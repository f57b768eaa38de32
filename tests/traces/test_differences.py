"""Two answers side by side: every path once, and only real differences marked."""

from __future__ import annotations

from typing import Any

import pytest

from journeyman.traces.differences import MISSING, Pair, side_by_side


def test_every_path_stands_once_in_the_order_of_the_second_answer() -> None:
    first = {"total": 1, "lost": [], "items": [{"price": 2}]}
    second = {"items": [{"price": 3}, {"price": 4}], "total": 1}
    assert side_by_side(first, second) == [
        Pair("items[0].price", 2, 3),
        Pair("items[1].price", MISSING, 4),
        Pair("total", 1, 1),
        Pair("lost", [], MISSING),
    ]


@pytest.mark.parametrize(
    ("first", "second", "differs"),
    [(1, 1.0, False), (1, True, True), (None, MISSING, True), ("a", "a", False), ([], {}, True)],
)
def test_what_counts_as_a_difference(first: Any, second: Any, differs: bool) -> None:
    assert Pair("x", first, second).differs is differs


def test_an_absent_answer_has_nothing_anywhere() -> None:
    assert side_by_side(None, {"a": None}) == [Pair("a", MISSING, None)]
    assert side_by_side(None, None) == []


def test_a_plain_value_has_an_empty_path_and_depth_is_no_reason_to_fail() -> None:
    assert side_by_side("x", "y") == [Pair("", "x", "y")]
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    (pair,) = side_by_side(None, deep)
    assert pair.second == 1
