"""One verdict from many: of assertions a status, of epochs a verdict, with what was expected."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeyman.scenarios.spec import PassRule
from journeyman.scenarios.verdicts import (
    AssertionResult,
    Status,
    outcome_of,
    score_of,
    status_of,
    verdict_over,
)

STATUSES: tuple[Status, ...] = ("passed", "failed", "error", "skipped")


def held(passed: bool | None) -> AssertionResult:
    return AssertionResult("Contains", "Contains: a", passed)


@pytest.mark.parametrize(
    ("passed", "is_right", "status"),
    [
        ([], True, "passed"),
        ([], False, "failed"),
        ([True], True, "passed"),
        ([True], False, "failed"),
        ([True, False], True, "failed"),
        ([False, None], True, "error"),
    ],
)
def test_a_status_is_the_worst_of_its_parts(
    passed: list[bool | None], is_right: bool, status: str
) -> None:
    assert status_of([held(one) for one in passed], is_right=is_right) == status


@pytest.mark.parametrize(
    ("statuses", "rule", "verdict"),
    [
        ("pp", None, "passed"),
        ("pf", None, "failed"),
        ("pe", None, "error"),
        ("fe", None, "failed"),
        ("fp", PassRule(rule="any"), "passed"),
        ("ep", PassRule(rule="any"), "passed"),
        ("ef", PassRule(rule="any"), "error"),
        ("ppf", PassRule(rule="at_least", n=2), "passed"),
        ("pff", PassRule(rule="at_least", n=2), "failed"),
        ("pfe", PassRule(rule="at_least", n=2), "error"),
        ("ss", None, "skipped"),
        ("sp", None, "passed"),
    ],
)
def test_the_verdict_over_epochs_follows_the_rule(
    statuses: str, rule: PassRule | None, verdict: str
) -> None:
    named: dict[str, Status] = {status[0]: status for status in STATUSES}
    assert verdict_over([named[letter] for letter in statuses], rule) == verdict


@given(st.lists(st.sampled_from(STATUSES), min_size=1), st.integers(1, 9))
def test_another_passed_epoch_never_turns_at_least_n_into_a_failure(
    statuses: list[Status], n: int
) -> None:
    rule = PassRule(rule="at_least", n=n)
    if verdict_over(statuses, rule) == "passed":
        assert verdict_over([*statuses, "passed"], rule) == "passed"


def test_a_score_is_the_share_that_holds_by_weight() -> None:
    light, heavy = held(passed=True), AssertionResult("Contains", "b", False, weight=3)
    assert score_of([light, heavy]) == 0.25
    assert score_of([light, held(None)]) is None
    assert score_of([]) is None


def test_no_epochs_have_no_verdict() -> None:
    with pytest.raises(ValueError, match="at least one epoch"):
        verdict_over([])


def test_an_expected_failure_is_told_and_an_error_is_none() -> None:
    assert outcome_of("failed", "known gap") == "xfailed"
    assert outcome_of("passed", "known gap") == "xpassed"
    assert outcome_of("error", "known gap") == "error"
    assert outcome_of("failed", None) == "failed"
