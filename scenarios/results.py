"""What a scenario came to: its tasks with each arm's answer, its assertions and its status.

Plain frozen values. Nothing here runs a scenario or judges an answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from journeyman.models.types import Answer
from journeyman.scenarios.metrics import Given, exact
from journeyman.scenarios.scenario import Expected, Scenario
from journeyman.scenarios.verdicts import (
    AssertionResult,
    Outcome,
    Status,
    outcome_of,
    score_of,
    status_of,
)

Arm = Literal["student", "frontier", "system"]
ARMS: tuple[Arm, ...] = ("student", "frontier", "system")


@dataclass(frozen=True)
class TaskResult:
    """One task of a scenario.

    Attributes:
        agent: The sub-agent.
        expected: What is right; None where nothing is known.
        given: What each arm answered; an arm that was not asked is absent.
        answer: The answer that left the system; None where the plan left the task out.
        confidence: Probability that the student's attempt is right; None without a release.
        accepted: The gate let the student's attempt out.
        frontier_cost_microusd: What asking the frontier costs for this task; None if unknown.
    """

    agent: str
    expected: Expected | None
    given: Mapping[Arm, Given]
    answer: Answer | None
    frontier_cost_microusd: int | None
    confidence: float | None = None
    accepted: bool = False


@dataclass(frozen=True)
class ScenarioResult:
    """One scenario, finished.

    Attributes:
        scenario: What was run.
        epoch: Which repetition of it.
        run_id: The run on record; empty where none was started.
        tasks: Its tasks, those that were expected but not planned included.
        duration_ms: Wall time.
        error: Why the scenario has no result; None where it has one.
        assertions: What became of its assertions; empty where it has none or ended in an error.
        skipped: Why it was not run; None where it was.
        counts_expected: The expected answers decide too; not where an assertion judges them.
    """

    scenario: Scenario
    epoch: int = 0
    run_id: str = ""
    tasks: tuple[TaskResult, ...] = ()
    duration_ms: float = 0.0
    error: str | None = None
    assertions: tuple[AssertionResult, ...] = ()
    skipped: str | None = None
    counts_expected: bool = True

    @property
    def status(self) -> Status:
        """Passed: every assertion holds, and the answers are right where `expected` counts."""
        if self.skipped is not None:
            return "skipped"
        if self.error is not None:
            return "error"
        right = not self.counts_expected or self.is_right
        return status_of(self.assertions, is_right=right)

    @property
    def score(self) -> float | None:
        """The share of assertions that hold, by weight; None without any, or with an error."""
        return score_of(self.assertions)

    @property
    def xfail(self) -> str | None:
        """Why the scenario is expected to fail; None where it is not."""
        return self.scenario.xfail

    @property
    def outcome(self) -> Outcome:
        """The status in the light of `xfail`."""
        return outcome_of(self.status, self.xfail)

    @property
    def is_right(self) -> bool:
        """What left the system is wholly right, for every task that something is known of."""
        judged = [task for task in self.tasks if task.expected is not None]
        return self.error is None and all(
            exact(task.expected, task.given["system"]) for task in judged if task.expected
        )
