"""What an evaluator sees of a finished scenario: its tasks, answers, steps, cost and time.

Knows no evaluator. The frontier and the sandbox are there as functions, for the evaluators that
need them.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from journeyman.agents.sandbox import Verdict
from journeyman.models.types import Answer, FrontierReply, FrontierRequest
from journeyman.scenarios.metrics import GivenRecord
from journeyman.scenarios.results import TaskResult
from journeyman.scenarios.scenario import (
    Expected,
    ExpectedOutput,
    ExpectedRanking,
    ExpectedRecord,
    ExpectedRoutes,
    ExpectedTests,
    Scenario,
)

Kind = TypeVar("Kind")

Ask = Callable[[FrontierRequest], Awaitable[FrontierReply]]
"""Asks the frontier; raises ModelError."""

Check = Callable[[str, str, str], Awaitable[Verdict]]
"""Runs a program, its tests, and the name of its entry point; raises SandboxUnavailable."""


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happened in the run: an event of the graph.

    Attributes:
        type: `plan`, `attempt`, `gate`, `escalation` or `answer`.
        agent: The sub-agent; empty for a plan.
        task_id: The task; empty for a plan.
        data: The event as it was streamed.
    """

    type: str
    agent: str
    task_id: str
    data: Mapping[str, Any] = field(repr=False, default_factory=dict)


@dataclass(frozen=True)
class Observed:
    """A finished scenario, or one turn of it.

    Attributes:
        scenario: What was run.
        text: What the user said.
        tasks: Its tasks, with those that were expected and not planned.
        steps: The events of the run, in order.
        duration_ms: Wall time of the run, without judging.
        planner: Name of the sub-agent that plans; None where there is none.
        ask: Asks the configured frontier; what it costs is counted as the assertion's.
        check: Runs a program against tests.
    """

    scenario: Scenario
    text: str
    tasks: tuple[TaskResult, ...]
    steps: tuple[Step, ...]
    duration_ms: float
    planner: str | None
    ask: Ask
    check: Check

    def tasks_of(self, agent: str | None = None) -> tuple[TaskResult, ...]:
        """The tasks of one sub-agent; without a name those of all but the planner."""
        if agent is not None:
            return tuple(task for task in self.tasks if task.agent == agent)
        return tuple(task for task in self.tasks if task.agent != self.planner)

    def answers(self, agent: str | None = None) -> tuple[Answer, ...]:
        """The answers to these tasks; a task that nobody planned has none."""
        return tuple(task.answer for task in self.tasks_of(agent) if task.answer is not None)

    def values(self, agent: str | None = None) -> dict[str, Any]:
        """The answers' values by sub-agent; several of one are numbered from 1.

        A record is its values, by the names under which a suite expects them.
        """
        found: dict[str, list[Any]] = {}
        for task in self.tasks_of(agent):
            if task.answer is None or task.answer.value is None:
                continue
            record = task.given.get("system")
            value = dict(record.values) if isinstance(record, GivenRecord) else task.answer.value
            found.setdefault(task.agent, []).append(value)
        return {
            name if len(values) == 1 else f"{name}-{number}": value
            for name, values in found.items()
            for number, value in enumerate(values, start=1)
        }

    @property
    def output(self) -> Any:
        """The one answer's value; a mapping by sub-agent where there are several; else None."""
        values = self.values()
        if len(values) > 1:
            return values
        return next(iter(values.values()), None)

    def answer_text(self, agent: str | None = None) -> str:
        """What was answered, as text: values that are text as they are, others as JSON."""
        return "\n".join(
            value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
            for value in self.values(agent).values()
        )

    def expected(self, agent: str, kind: type[Kind]) -> Kind | None:
        """What the scenario expects of a sub-agent, if it is of this kind."""
        found = self.scenario.expected.get(agent)
        return found if isinstance(found, kind) else None

    @property
    def expected_plain(self) -> Any:
        """What the scenario expects: of its one sub-agent, or by sub-agent; None if nothing."""
        found = {name: _plain(value) for name, value in self.scenario.expected.items()}
        return next(iter(found.values()), None) if len(found) < 2 else found

    @property
    def cost_microusd(self) -> int | None:
        """What the answers cost; None as soon as one is unknown."""
        costs = [task.answer.cost_microusd for task in self.tasks if task.answer is not None]
        return None if None in costs else sum(cost for cost in costs if cost is not None)


def _plain(expected: Expected) -> Any:
    match expected:
        case ExpectedOutput():
            return expected.value
        case ExpectedRecord():
            return dict(expected.values)
        case ExpectedRanking():
            return sorted(expected.grades, key=lambda name: -expected.grades[name])
        case ExpectedRoutes():
            return sorted(expected.routes)
        case ExpectedTests():
            return expected.fixed or expected.tests
