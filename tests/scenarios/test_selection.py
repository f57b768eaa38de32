"""What runs: expressions mean what Python's operators mean, shards divide and never overlap."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeyman.models.errors import ConfigError
from journeyman.scenarios.scenario import Scenario
from journeyman.scenarios.selection import Selection, Shard, parse_keyword, parse_shard

WORDS = ("alpha", "beta", "gamma", "delta")


def named(scenario_id: str, *tags: str) -> Scenario:
    """A scenario by id and tags alone."""
    return Scenario(scenario_id, None, "text", "text", tags=tags)


expressions = st.recursive(
    st.sampled_from(WORDS),
    lambda inner: st.one_of(
        st.builds("({} and {})".format, inner, inner),
        st.builds("({} or {})".format, inner, inner),
        st.builds("not {}".format, inner),
        st.builds("({})".format, inner),
    ),
    max_leaves=12,
)


@given(expressions, st.sets(st.sampled_from(WORDS)))
def test_expressions_mean_what_they_mean_in_python(written: str, names: set[str]) -> None:
    python = eval(written, {word: word in names for word in WORDS})
    assert parse_keyword(written)(sorted(names)) == python


@given(st.text(max_size=30))
def test_any_text_is_an_expression_or_a_plain_error(written: str) -> None:
    said = ""
    try:
        parse_keyword(written)([""])
    except ConfigError as error:
        said = str(error)
    assert "\n" not in said


def test_and_binds_tighter_than_or() -> None:
    holds = parse_keyword("alpha or beta and gamma")
    assert holds(["alpha"])
    assert not holds(["beta"])


@pytest.mark.parametrize(
    "written", ["", "  ", "and", "a and", "a or or b", "(a", "a)", "not", "a b", "'a", "(" * 500]
)
def test_what_is_no_expression_is_refused(written: str) -> None:
    with pytest.raises(ConfigError, match="expression -k"):
        parse_keyword(written)


def test_words_are_parts_of_ids_or_tags_whatever_the_case() -> None:
    chosen = Selection(keyword="INV and not slow").choose(
        [named("inv-1"), named("inv-2", "Slow"), named("bill-1", "invoice"), named("x")]
    )
    assert [scenario.id for scenario in chosen] == ["inv-1", "bill-1"]


def test_quoted_words_may_hold_blanks_and_operators() -> None:
    assert parse_keyword("'or' and \"a b\"")(["for a box"]) is True


@given(st.lists(st.text(max_size=8), unique=True, max_size=60), st.integers(1, 7))
def test_shards_are_disjoint_and_complete(ids: list[str], count: int) -> None:
    parts = [[name for name in ids if Shard(n, count).has(name)] for n in range(1, count + 1)]
    assert sorted(name for part in parts for name in part) == sorted(ids)


@given(st.sets(st.integers(0, 500), min_size=1), st.integers(1, 5), st.integers(1, 40))
def test_shards_of_a_limited_selection_make_up_that_selection(
    numbers: set[int], count: int, limit: int
) -> None:
    scenarios = [named(f"s{number}") for number in sorted(numbers)]
    whole = [one.id for one in Selection(limit=limit).choose(scenarios)]
    parts = [
        one.id
        for number in range(1, count + 1)
        for one in Selection(limit=limit, shard=f"{number}/{count}").choose(scenarios)
    ]
    assert len(whole) == min(limit, len(scenarios))
    assert sorted(parts) == sorted(whole)


@pytest.mark.parametrize("written", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2", "1/2/3"])
def test_what_is_no_part_is_refused(written: str) -> None:
    with pytest.raises(ConfigError, match="write it as 2/4"):
        parse_shard(written)


def test_tags_and_ids_narrow_together() -> None:
    scenarios = [named("a", "x"), named("b", "y"), named("c", "x")]
    chosen = Selection(tags=("x", "z"), ids=("a", "b")).choose(scenarios)
    assert [scenario.id for scenario in chosen] == ["a"]


def test_a_selection_survives_the_record() -> None:
    selection = Selection(keyword="a or b", tags=("t",), ids=("i",), limit=3, shard="1/2", seed=7)
    assert Selection.from_json(selection.to_json()) == selection
