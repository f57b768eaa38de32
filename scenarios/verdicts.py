"""What became of a scenario: its assertions' results, its status, and the verdict over epochs.

Plain values and rules. Knows neither how assertions are written nor how they are evaluated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from journeyman.scenarios.spec import PassRule

Status = Literal["passed", "failed", "error", "skipped"]
"""Of a scenario. An error says nothing of the answers: the verdict could not be reached."""


@dataclass(frozen=True, slots=True)
class AssertionResult:
    """One assertion, evaluated.

    Attributes:
        type: The evaluator, such as `Contains`.
        name: The assertion as it is written, on one line and shortened.
        passed: Does it hold? None where evaluating it failed, which `reason` then tells.
        score: The number behind the verdict, in the evaluator's own unit; None where there is none.
        reason: Why, in one sentence; may be empty where it holds.
        weight: How much it counts in the scenario's score.
        turn: The turn it judges, counted from 0; None for the whole scenario.
        cost_microusd: What judging cost, apart from what answering did; None if unknown.
    """

    type: str
    name: str
    passed: bool | None
    score: float | None = None
    reason: str = ""
    weight: float = 1.0
    turn: int | None = None
    cost_microusd: int | None = 0


def status_of(assertions: Sequence[AssertionResult], *, is_right: bool) -> Status:
    """The status of a scenario that ran to its end.

    Args:
        assertions: Its assertions' results.
        is_right: Its answers are the expected ones, where these count.
    """
    if any(result.passed is None for result in assertions):
        return "error"
    held = all(result.passed for result in assertions)
    return "passed" if held and is_right else "failed"


def score_of(assertions: Sequence[AssertionResult]) -> float | None:
    """The share of assertions that hold, by weight; None where there are none, or any is an error.

    It tells how far off a scenario is; whether it passes hangs on every assertion alike.
    """
    if not assertions or any(result.passed is None for result in assertions):
        return None
    held = sum(result.weight for result in assertions if result.passed)
    return held / sum(result.weight for result in assertions)


def verdict_over(statuses: Sequence[Status], rule: PassRule | None = None) -> Status:
    """The verdict over all epochs of one scenario.

    Epochs that were skipped do not count. An epoch with an error makes the verdict an error, unless
    enough other epochs passed, or can no longer pass, for it to make no difference.

    Args:
        statuses: One for each epoch; at least one.
        rule: How many must pass; all of them by default.

    Raises:
        ValueError: There are no epochs.
    """
    if not statuses:
        raise ValueError("a verdict needs at least one epoch")
    counted = [status for status in statuses if status != "skipped"]
    if not counted:
        return "skipped"
    needed = (rule or PassRule()).needed(len(counted))
    passed = counted.count("passed")
    if passed >= needed:
        return "passed"
    return "error" if passed + counted.count("error") >= needed else "failed"


Outcome = Literal["passed", "failed", "error", "skipped", "xfailed", "xpassed"]
"""A status in the light of what was expected: `xfailed` and `xpassed` gate nothing."""


def outcome_of(status: Status, xfail: str | None) -> Outcome:
    """The status, where a failure may have been expected; an error never is."""
    if xfail is None or status in ("error", "skipped"):
        return status
    return "xpassed" if status == "passed" else "xfailed"
