"""One finished scenario as numbers: what the report is made of and the record keeps.

A result that just came and one that is read back from the record give the same figures, so that a
run that was interrupted ends with the report of one that was not. Knows no store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from journeyman.scenarios.metrics import Judgement, judge
from journeyman.scenarios.results import Arm, ScenarioResult, TaskResult
from journeyman.scenarios.scenario import Scenario
from journeyman.scenarios.spec import PassRule
from journeyman.scenarios.verdicts import AssertionResult, Outcome, Status, outcome_of
from journeyman.traces.records import ScenarioResultRecord

Key = tuple[str, int]
"""A scenario and its epoch."""

_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True, slots=True)
class TaskFigures:
    """One task as numbers.

    Attributes:
        agent: The sub-agent.
        source: Who answered; None where the plan left the task out.
        certified: A valid certificate let the answer out.
        reason: Why the task was escalated; None where it was not.
        latency_ms: From dispatch to answer.
        cost_microusd: What the answer cost; None where that is unknown.
        frontier_cost_microusd: What asking the frontier costs for it; None where that is unknown.
        judged: By arm, where something is known of the task.
        error: Why there is no answer.
    """

    agent: str
    source: str | None
    certified: bool = False
    reason: str | None = None
    latency_ms: float = 0.0
    cost_microusd: int | None = 0
    frontier_cost_microusd: int | None = None
    judged: Mapping[Arm, Judgement] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """One scenario in one epoch, finished.

    Attributes:
        scenario_id: The scenario.
        epoch: Which repetition of it.
        scenario_hash: Its content.
        run_id: The run on record; empty where none was started.
        status: What became of it.
        is_right: What left the system is the expected, for every task that something is known of.
        is_test: It says what must hold, so that a failure fails the run; a row of a data set
            without assertions is a measurement.
        tasks: Its tasks.
        assertions: What became of its assertions.
        tags: Its tags.
        group: Equal for scenarios with the same content.
        passes: How many of its epochs must pass; None is all.
        xfail: Why it is expected to fail; None where it is not.
        duration_ms: Wall time.
        reason: Why it did not pass; None where it did.
        finished_at: When.
    """

    scenario_id: str
    epoch: int
    scenario_hash: str
    status: Status
    run_id: str = ""
    is_right: bool = False
    is_test: bool = False
    tasks: tuple[TaskFigures, ...] = ()
    assertions: tuple[AssertionResult, ...] = ()
    tags: tuple[str, ...] = ()
    group: str = ""
    passes: PassRule | None = None
    xfail: str | None = None
    duration_ms: float = 0.0
    reason: str | None = None
    finished_at: datetime | None = None

    @property
    def key(self) -> Key:
        """The scenario and its epoch."""
        return (self.scenario_id, self.epoch)

    @property
    def outcome(self) -> Outcome:
        """The status in the light of `xfail`."""
        return outcome_of(self.status, self.xfail)

    @property
    def agents(self) -> tuple[str, ...]:
        """The sub-agents that had a task in it."""
        return tuple(dict.fromkeys(task.agent for task in self.tasks))

    @property
    def num_escalated(self) -> int:
        """Tasks that went to the frontier."""
        return sum(task.reason is not None for task in self.tasks)

    @property
    def cost_microusd(self) -> int | None:
        """What its answers cost, judging included; None where a part is unknown."""
        answered = [task.cost_microusd for task in self.tasks if task.source is not None]
        return total([*answered, *(one.cost_microusd for one in self.assertions)])


def is_test(scenario: Scenario) -> bool:
    """Does a scenario say what must hold? One written out with `expected`, or with assertions."""
    return bool(scenario.assertions) or (scenario.part == "inline" and bool(scenario.expected))


def finish(result: ScenarioResult) -> Finished:
    """A result that just came, as numbers."""
    scenario = result.scenario
    return Finished(
        scenario_id=scenario.id,
        epoch=result.epoch,
        scenario_hash=scenario.fingerprint,
        status=result.status,
        run_id=result.run_id,
        is_right=result.is_right,
        is_test=is_test(scenario),
        tasks=tuple(_task(task) for task in result.tasks),
        assertions=result.assertions,
        tags=scenario.tags,
        group=scenario.group,
        passes=scenario.passes,
        xfail=scenario.xfail,
        duration_ms=result.duration_ms,
        reason=_why(result),
        finished_at=datetime.now(UTC),
    )


def to_record(finished: Finished, suite_run_id: str) -> ScenarioResultRecord:
    """The row that keeps it."""
    tasks = []
    for task in finished.tasks:
        data = asdict(task)
        del data["error"]  # words, which may quote content, are kept among the metrics
        tasks.append(data)
    return ScenarioResultRecord(
        suite_run_id=suite_run_id,
        scenario_id=finished.scenario_id,
        epoch=finished.epoch,
        scenario_hash=finished.scenario_hash,
        run_id=finished.run_id or None,
        status=finished.status,
        metrics=_metrics(finished),
        duration_ms=finished.duration_ms,
        cost_microusd=finished.cost_microusd,
        reason=finished.reason,
        assertions=tuple(asdict(one) for one in finished.assertions),
        figures={
            "is_right": finished.is_right,
            "is_test": finished.is_test,
            "group": finished.group,
            "pass": finished.passes.model_dump() if finished.passes is not None else None,
            "tasks": tasks,
        },
        tags=finished.tags,
        xfail=finished.xfail,
        finished_at=finished.finished_at,
    )


def from_record(record: ScenarioResultRecord) -> Finished:
    """What a row keeps."""
    figures = record.figures
    tasks = [
        TaskFigures(**task, error=record.metrics.get(f"{task['agent']}.error"))
        for task in figures.get("tasks", [])
    ]
    rule = figures.get("pass")
    return Finished(
        scenario_id=record.scenario_id,
        epoch=record.epoch,
        scenario_hash=record.scenario_hash,
        status=record.status,
        run_id=record.run_id or "",
        # Rows from before figures were kept say by their status whether they were right.
        is_right=figures.get("is_right", record.status == "passed"),
        is_test=figures.get("is_test", False),
        tasks=tuple(tasks),
        assertions=tuple(_assertion(one) for one in record.assertions),
        tags=record.tags,
        group=figures.get("group", ""),
        passes=PassRule(**rule) if rule is not None else None,
        xfail=record.xfail,
        duration_ms=record.duration_ms,
        reason=record.reason,
        finished_at=record.finished_at,
    )


def plus(sum_so_far: _Number | None, one: _Number | None) -> _Number | None:
    """A sum that is unknown as soon as one part is."""
    return None if sum_so_far is None or one is None else sum_so_far + one


def total(costs: Sequence[int | None]) -> int | None:
    """The sum of costs, unknown as soon as one is."""
    found: int | None = 0
    for cost in costs:
        found = plus(found, cost)
    return found


def _task(task: TaskResult) -> TaskFigures:
    judged: dict[Arm, Judgement] = {}
    if task.expected is not None:
        judged = {arm: judge(task.expected, value) for arm, value in task.given.items()}
    answer = task.answer
    if answer is None:
        return TaskFigures(task.agent, None, judged=judged)
    return TaskFigures(
        task.agent,
        answer.source,
        certified=answer.certified,
        reason=answer.reason.value if answer.reason is not None else None,
        latency_ms=answer.latency_ms,
        cost_microusd=answer.cost_microusd,
        frontier_cost_microusd=task.frontier_cost_microusd,
        judged=judged,
        error=answer.error if answer.source == "none" else None,
    )


def _metrics(finished: Finished) -> dict[str, Any]:
    """What a reader of the table looks for: was each arm right, and why tasks stayed open."""
    found: dict[str, Any] = {}
    for task in finished.tasks:
        for arm, judged in task.judged.items():
            found[f"{task.agent}.{arm}"] = judged["exact"]
        if task.error is not None:
            found[f"{task.agent}.error"] = task.error
    return found


def _assertion(data: Mapping[str, Any]) -> AssertionResult:
    # Without content the name is not kept, only the type.
    return AssertionResult(**{"name": data["type"], **data})


def _why(result: ScenarioResult) -> str | None:
    """Why a scenario did not pass."""
    if result.status == "passed":
        return None
    if result.skipped is not None or result.error is not None:
        return result.skipped or result.error
    failed = [one for one in result.assertions if not one.passed]
    if failed:
        told = "; ".join(f"{one.name}: {one.reason}".rstrip(": ") for one in failed[:3])
        more = f"; and {len(failed) - 3} more" if len(failed) > 3 else ""
        return told + more
    wrong = [
        task.agent
        for task in result.tasks
        if task.expected is not None and not judge(task.expected, task.given["system"])["exact"]
    ]
    return f"not the expected answer of {', '.join(dict.fromkeys(wrong))}" if wrong else None
