"""The built-in evaluators on scenarios made by hand, and how values are compared."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeyman.agents.sandbox import Verdict
from journeyman.models.errors import ConfigError
from journeyman.models.types import Answer, FrontierReply, FrontierRequest, Reason
from journeyman.scenarios import evaluators_answers, registry
from journeyman.scenarios.evaluating import evaluate
from journeyman.scenarios.evaluators import BUILT_IN
from journeyman.scenarios.evaluators_runs import ReasonName
from journeyman.scenarios.matching import differences
from journeyman.scenarios.metrics import Given
from journeyman.scenarios.observed import Observed
from journeyman.scenarios.results import TaskResult
from journeyman.scenarios.scenario import (
    Assertion,
    Expected,
    ExpectedRanking,
    ExpectedTests,
    Scenario,
)
from journeyman.scenarios.suite import load_suite
from journeyman.scenarios.verdicts import AssertionResult
from tests.scenarios.shop import HEAD, write


def answered(
    agent: str, given: Given, value: Any = "x", *, confidence: float | None = None, **more: Any
) -> TaskResult:
    source = more.pop("source", "student")
    answer = Answer(value=value, agent=agent, source=source, task_id=f"{agent}-1", **more)
    return TaskResult(agent, None, {"system": given}, answer, 0, confidence=confidence)


async def told(
    evaluator: Any, tasks: Sequence[TaskResult], expected: dict[str, Expected] | None = None
) -> AssertionResult:
    """What an evaluator says of tasks; `routing` plans, and the sandbox passes what says `good`."""

    async def ask(_: FrontierRequest) -> FrontierReply:
        raise AssertionError("nobody is asked")

    async def check(code: str, tests: str, entry_point: str) -> Verdict:
        good = "good" in code and entry_point == "f"
        detail = "" if good else "f(1) is 2"
        one = Verdict(passed=good, status="passed", detail=detail, duration_ms=1.0)
        return Verdict(good, "passed" if good else "failed", detail, 1.0, tests=(one,))  # type: ignore[arg-type]  # any test will do

    scenario = Scenario("s", None, "text", "text", expected or {})
    seen = Observed(scenario, "text", tuple(tasks), (), 5.0, "routing", ask, check)
    (result,) = await evaluate([Assertion(type(evaluator).__name__, None, evaluator)], seen)
    return result


RANKED = answered("retrieval", ["a", "b", "c"])


@pytest.mark.parametrize(
    ("arguments", "passed", "score"),
    [
        ({"ids": "a"}, True, 1.0),
        ({"ids": ["a", "c"]}, True, 1.0),
        ({"ids": ["a", "c"], "k": 2}, False, 0.5),
        ({"ids": ["a", "c"], "k": 2, "recall": 0.5}, True, 0.5),
        ({"ids": ["z"]}, False, 0.0),
        ({}, True, 1.0),
    ],
)
async def test_retrieved_is_recall_at_k(
    arguments: dict[str, Any], passed: bool, score: float
) -> None:
    expected: dict[str, Expected] = {"retrieval": ExpectedRanking({"b": 2})}
    result = await told(BUILT_IN["Retrieved"](**arguments), [RANKED], expected)
    assert (result.passed, result.score) == (passed, score)


async def test_retrieved_without_ids_or_references_is_an_error() -> None:
    result = await told(BUILT_IN["Retrieved"](), [RANKED])
    assert result.passed is None
    assert "knows no passages" in result.reason


@pytest.mark.parametrize(("code", "passed"), [("good", True), ("bad", False)])
async def test_tests_pass_runs_its_own_tests_in_the_sandbox(code: str, passed: bool) -> None:
    expected: dict[str, Expected] = {"debugging": ExpectedTests("assert f", entry_point="f")}
    repair = answered("debugging", given=False, value={"code": code})
    result = await told(BUILT_IN["TestsPass"](tests="assert f(1) == 1"), [repair], expected)
    assert result.passed is passed


async def test_tests_pass_takes_the_verdict_of_the_judging_tests() -> None:
    expected: dict[str, Expected] = {"debugging": ExpectedTests("assert f")}
    for given_, passed in ((True, True), (False, False)):
        result = await told(BUILT_IN["TestsPass"](), [answered("debugging", given_)], expected)
        assert result.passed is passed
    assert (await told(BUILT_IN["TestsPass"](), [answered("debugging", given=True)])).passed is None


@pytest.mark.parametrize(
    ("agents", "others", "passed"),
    [
        (["extraction", "retrieval"], False, True),
        ("extraction", False, False),
        ("extraction", True, True),
        ("debugging", True, False),
    ],
)
async def test_routed_to_goes_by_the_plan(agents: Any, others: bool, passed: bool) -> None:
    plan = answered("routing", frozenset({"extraction", "retrieval"}))
    result = await told(BUILT_IN["RoutedTo"](agents=agents, others=others), [plan])
    assert result.passed is passed


async def test_a_plan_of_nothing_is_routed_to_nobody() -> None:
    plan = answered("routing", frozenset())
    assert (await told(BUILT_IN["RoutedTo"](agents=[]), [plan])).passed is True


async def test_the_planners_answer_is_not_among_the_answers() -> None:
    plan = answered("routing", frozenset({"extraction"}), source="frontier")
    work = answered("extraction", None, certified=True, confidence=0.9)
    assert (await told(BUILT_IN["AnsweredBy"]("student"), [plan, work])).passed is True
    assert (await told(BUILT_IN["Certified"](), [plan, work])).passed is True
    named = await told(BUILT_IN["AnsweredBy"]("frontier", agent="routing"), [plan, work])
    assert named.passed is True


@pytest.mark.parametrize(
    ("bounds", "passed"),
    [({"min": 0.9}, True), ({"min": 0.91}, False), ({"max": 0.5}, False), ({"max": 0.9}, True)],
)
async def test_confidence_lies_within_bounds(bounds: dict[str, float], passed: bool) -> None:
    result = await told(
        BUILT_IN["Confidence"](**bounds), [answered("extraction", None, confidence=0.9)]
    )
    assert (result.passed, result.score) == (passed, 0.9)


async def test_a_pattern_that_searches_without_end_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evaluators_answers, "_REGEX_SECONDS", 0.05)
    hostile = answered("extraction", None, value="a" * 60 + "!")
    result = await told(BUILT_IN["Matches"](r"^(a|aa|a?)+$"), [hostile])
    assert result.passed is None
    assert "without nested repetitions" in result.reason


def test_reasons_in_suites_are_those_of_the_gate() -> None:
    assert set(get_args(ReasonName)) == {reason.value for reason in Reason}


def test_an_installed_evaluator_is_found_by_its_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def installed(*, group: str, name: str) -> list[EntryPoint]:
        found = EntryPoint("Same", "pydantic_evals.evaluators:Equals", group)
        return [found] if name == "Same" else []

    monkeypatch.setattr(registry, "entry_points", installed)
    scenario = "scenarios:\n  - {id: a, input: b, assert: [{%s: b}]}\n"
    suite = load_suite(write(tmp_path, HEAD + scenario % "Same"))
    (found,) = suite.inline_scenarios()
    assert type(found.assertions[0].evaluator).__name__ == "Equals"
    with pytest.raises(ConfigError, match="There is no evaluator 'Other'"):
        load_suite(write(tmp_path, HEAD + scenario % "Other"))


@pytest.mark.parametrize(
    ("expected", "given_", "tolerance", "wrong"),
    [
        ("1,204.50", 1204.5, 0.0, []),
        ("1,204.50", "1204.5", 0.0, ["it is '1204.5', not '1,204.50'"]),
        ("1,204.50", "1204.5", 0.01, []),
        ("007", 7, 0.0, ["it is 7, not '007'"]),
        (True, 1, 0.5, ["it is 1, not True"]),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, 0.0, ["a.b is 2, not 1"]),
        ({"a": None}, {}, 0.0, []),
        ({"a": 1}, None, 0.0, ["it is nothing, not {'a': 1}"]),
        (["a", "b"], ["a"], 0.0, ["it is ['a'], not ['a', 'b']"]),
        (["a"], "a", 0.0, []),
        ("a  b", "a b", 0.0, []),
        (float("nan"), float("nan"), 1.0, ["it is nan, not nan"]),
    ],
)
def test_values_are_compared_field_by_field(
    expected: Any, given_: Any, tolerance: float, wrong: list[str]
) -> None:
    assert differences(expected, given_, tolerance=tolerance) == wrong


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_a_value_matches_itself_exactly(value: Any) -> None:
    assert differences(value, value, exact=True) == []


@given(st.dictionaries(st.text(), st.integers(), max_size=4), st.text(), st.integers())
def test_only_exact_minds_a_field_that_is_not_expected(
    values: dict[str, int], key: str, value: int
) -> None:
    more = {**values, key: value}
    assert differences(values, {**more, **values}) == []
    assert bool(differences(values, {**more, **values}, exact=True)) is (key not in values)
