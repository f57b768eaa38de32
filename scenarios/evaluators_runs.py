"""Evaluators of how a scenario went: who answered, where it was sent, what it took."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pydantic_core import PydanticCustomError

from journeyman.models.types import Source
from journeyman.scenarios.evaluator_base import BuiltIn, Judgement, every, no_answer
from journeyman.scenarios.observed import Observed
from journeyman.scenarios.results import TaskResult

ReasonName = Literal[
    "uncertified", "low_confidence", "invalid_output", "audit", "forced", "student_error"
]
"""The values of `Reason`, as a suite writes them."""


@dataclass
class NoErrors(BuiltIn):
    """Every task was answered."""

    def judge(self, seen: Observed) -> Judgement:
        """Neither an error, nor a task that nobody answered or planned."""
        wrong = [
            f"{task.agent}: {_why_open(task)}"
            for task in seen.tasks
            if task.answer is None or task.answer.error or task.answer.source == "none"
        ]
        return Judgement(not wrong, "; ".join(wrong) or "every task was answered")


def _why_open(task: TaskResult) -> str:
    if task.answer is None:
        return "the plan left it out"
    return task.answer.error or "nobody answered"


@dataclass
class RoutedTo(BuiltIn):
    """The plan took the request to these sub-agents or routes, and to no others."""

    agents: str | list[str]
    others: bool = False

    def judge(self, seen: Observed) -> Judgement:
        """With `others`, further ones may be planned beside these."""
        wanted = {self.agents} if isinstance(self.agents, str) else set(self.agents)
        found = _routes(seen)
        right = wanted <= found if self.others else wanted == found
        return Judgement(right, f"routed to {', '.join(sorted(found)) or 'nobody'}")


def _routes(seen: Observed) -> set[str]:
    for task in seen.tasks:
        chosen = task.given.get("system")
        if isinstance(chosen, frozenset) and task.answer is not None:
            return {str(name) for name in chosen}
    return {task.agent for task in seen.tasks_of() if task.answer is not None}


@dataclass
class Escalated(BuiltIn):
    """Some task was sent to the frontier, or none was where `expect` is false."""

    expect: bool = True
    reason: ReasonName | None = None
    agent: str | None = None

    def judge(self, seen: Observed) -> Judgement:
        """With a reason, escalations for others do not count."""
        answers = seen.answers(self.agent)
        if not answers:
            return no_answer(self.agent)
        reasons = {answer.agent: answer.reason for answer in answers if answer.reason is not None}
        counted = [r for r in reasons.values() if self.reason is None or r == self.reason]
        told = ", ".join(f"{agent} ({reason})" for agent, reason in reasons.items())
        return Judgement(bool(counted) is self.expect, f"escalated: {told or 'none'}")


@dataclass
class AnsweredBy(BuiltIn):
    """Every answer came from this source: the student, the frontier, a human, or none."""

    source: Source
    agent: str | None = None

    def judge(self, seen: Observed) -> Judgement:
        """Of every sub-agent but the planner, or of the one named."""
        answers = seen.answers(self.agent)
        wrong = [
            f"{answer.agent} was answered by {answer.source}"
            for answer in answers
            if answer.source != self.source
        ]
        return every(answers, self.agent, wrong, f"answered by {self.source}")


@dataclass
class Certified(BuiltIn):
    """Every answer is a student's under a valid certificate; with false, none is."""

    expect: bool = True
    agent: str | None = None

    def judge(self, seen: Observed) -> Judgement:
        """Of every sub-agent but the planner, or of the one named."""
        answers = seen.answers(self.agent)
        wrong = [
            f"{answer.agent} is {'' if answer.certified else 'not '}certified"
            for answer in answers
            if answer.certified is not self.expect
        ]
        return every(answers, self.agent, wrong, "certified" if self.expect else "not certified")


@dataclass
class Confidence(BuiltIn):
    """The student's confidence lies within bounds, both included."""

    agent: str | None = None
    min: float | None = field(default=None)
    max: float | None = field(default=None)

    def __post_init__(self) -> None:
        """Refuse bounds that say nothing."""
        bounds = [one for one in (self.min, self.max) if one is not None]
        if not bounds or not all(0 <= one <= 1 for one in bounds) or bounds != sorted(bounds):
            raise PydanticCustomError(
                "one_of", "needs 'min' or 'max' in 0 to 1, and 'min' not above 'max'"
            )

    def judge(self, seen: Observed) -> Judgement:
        """A student without a fitted head has no confidence, which lies within nothing."""
        tasks = [task for task in seen.tasks_of(self.agent) if task.answer is not None]
        if not tasks:
            return no_answer(self.agent)
        low = 0.0 if self.min is None else self.min
        high = 1.0 if self.max is None else self.max
        wrong = [
            f"{task.agent} has {_confidence(task)}, not within {low:g} to {high:g}"
            for task in tasks
            if task.confidence is None or not low <= task.confidence <= high
        ]
        known = [task.confidence for task in tasks if task.confidence is not None]
        told = "; ".join(wrong) or f"within {low:g} to {high:g}"
        return Judgement(not wrong, told, score=min(known) if known else None)


def _confidence(task: TaskResult) -> str:
    if task.confidence is None:
        return "no confidence (its student has no release)"
    return f"confidence {task.confidence:.3f}"


@dataclass
class MaxCost(BuiltIn):
    """The answers cost at most so many dollars; a cost that is unknown is too much."""

    usd: float

    def judge(self, seen: Observed) -> Judgement:
        """What judging cost is not counted."""
        cost = seen.cost_microusd
        if cost is None:
            return Judgement(
                False, "the cost is unknown, since the frontier's price is; set [frontier.price]"
            )
        return Judgement(cost / 1e6 <= self.usd, f"${cost / 1e6:.6f}", score=cost / 1e6)


@dataclass
class MaxLatency(BuiltIn):
    """The run took at most so many milliseconds, from request to last answer."""

    ms: float

    def judge(self, seen: Observed) -> Judgement:
        """Waiting for other scenarios is part of it: run with one job to measure."""
        taken = seen.duration_ms
        return Judgement(taken <= self.ms, f"{taken:.0f} ms", score=taken)


@dataclass
class MaxSteps(BuiltIn):
    """The run dispatched at most so many tasks, the planner's included."""

    steps: int

    def judge(self, seen: Observed) -> Judgement:
        """A task that is tried again after a pause counts once."""
        attempts = [step for step in seen.steps if step.type == "attempt"]
        taken = len({(step.data.get("run_id"), step.task_id) for step in attempts})
        return Judgement(taken <= self.steps, f"{taken} tasks", score=float(taken))
