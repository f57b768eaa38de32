"""The learning curve: a suite's stream through the graph, a round after each part of it.

The tasks of the data set `stream` are shuffled by the seed and go through the real graph against
the reference frontier, which is a stand-in. After each part a round is run, and what then answers
is measured on the data set `test`, whose tasks are recorded elsewhere: nothing is learned from
them. Point 0 is the cold start. Prints nothing; callers are told of progress.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from journeyman.agents.base import Agent
from journeyman.agents.trainer import TrainingStep
from journeyman.graph.audits import early_rate_of, rate_at
from journeyman.graph.round import run_round
from journeyman.graph.round_report import RoundReport
from journeyman.graph.round_state import RoundOptions
from journeyman.graph.settings import Settings
from journeyman.graph.trust import ReleaseTrust, loaders_of
from journeyman.models import scoring
from journeyman.models.audit import certifying_audits
from journeyman.models.errors import ConfigError
from journeyman.models.types import Risk, RiskKind
from journeyman.scenarios.assembly import Progress, Staff, staff_for
from journeyman.scenarios.datasets import iter_scenarios
from journeyman.scenarios.execution import Execution
from journeyman.scenarios.metrics import exact, quality_of
from journeyman.scenarios.options import ExecutionOptions, ReferenceOptions
from journeyman.scenarios.report import percentile
from journeyman.scenarios.runner import RunOptions, TaskResult
from journeyman.scenarios.scenario import Scenario
from journeyman.scenarios.suite import Suite
from journeyman.traces.decontaminate import Decontaminator
from journeyman.traces.registry import Registry
from journeyman.traces.split import Shares
from journeyman.traces.store import Store

MACHINE_USD_PER_HOUR = 0.10
"""What an hour of a two-core machine is taken to cost, for training and for students' answers."""

Stage = Literal["embed", "stream", "round", "measure"]
OnCurve = Callable[[Stage, str, int, int], None]
"""Told the stage, a word about it, how much is done, and how much there is."""


class Target(BaseModel):
    """What certificates are made for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_error: float
    delta: float
    kind: RiskKind


class Point(BaseModel):
    """What answers after a round, measured on the test tasks. Shares and qualities lie in [0, 1].

    Attributes:
        round: 0 is the cold start.
        tasks_seen: Tasks of the stream so far.
        student_quality: Mean of the suite's exact measure with the student alone.
        frontier_quality: With the frontier alone.
        system_quality: With what leaves the system.
        certified_coverage: Share that the student answers under a valid certificate.
        escalation_rate: The rest.
        joint_error: Share that the student answers, wrongly.
        selective_error: Share of wrong ones among those; None where it answers none.
        auroc: Of the student's confidence; None without a release, or where all is right or wrong.
        brier: Of the same.
        ece: Of the same.
        cost_ratio: Cost against asking the frontier for everything: escalations, audits, students'
            answers, and training so far spread over the tasks seen.
        p50_ms: Median latency of a task.
        p95_ms: 95th percentile of it.
        train_seconds: Of the round before this point.
        release: In traffic; None while there is none.
        decision: Of the round; None for the cold start.
        labels: How many labels certify.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    round: int
    tasks_seen: int
    student_quality: float
    frontier_quality: float
    system_quality: float
    certified_coverage: float
    escalation_rate: float
    joint_error: float
    selective_error: float | None
    auroc: float | None
    brier: float | None
    ece: float | None
    cost_ratio: float | None
    p50_ms: float | None
    p95_ms: float | None
    train_seconds: float
    release: str | None
    decision: str | None = None
    labels: int = 0


class Curve(BaseModel):
    """A learning curve; as JSON it is the contract of `journeyman curve --json`.

    Attributes:
        suite: Name of the suite.
        seed: Of the order, the mistakes and the training.
        error_rate: Share of tasks that the reference frontier answers wrongly.
        num_test: Tasks that every point was measured on.
        target: What certificates were made for.
        rounds: The points.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    suite: str
    seed: int
    error_rate: float
    num_test: int
    target: Target
    rounds: tuple[Point, ...]


@dataclass(frozen=True)
class CurveOptions:
    """What a curve may be told.

    Attributes:
        rounds: How many.
        tasks_per_round: Tasks of the stream before each; as many as there are, at most.
        error_rate: Share of tasks that the reference frontier answers wrongly.
        seed: Of the order, the mistakes and the training.
        risk: The target.
        audit_rate: Share of tasks audited under a certificate.
        early_audit_rate: The same while there are few labels, if it is more; None is
            five times as much, at most a quarter.
        concurrency: Tasks in flight at once.
        limit_test: At most so many test tasks; None for all.
    """

    rounds: int = 5
    tasks_per_round: int = 2000
    error_rate: float = 0.0
    seed: int = 0
    risk: Risk = field(default_factory=Risk)
    audit_rate: float = 0.05
    early_audit_rate: float | None = None
    concurrency: int = 8
    limit_test: int | None = None


def draw_curve(
    suite: Suite,
    options: CurveOptions,
    *,
    data: Path | None = None,
    on_step: OnCurve | None = None,
    on_point: Callable[[Point, RoundReport | None], None] | None = None,
) -> Curve:
    """Draw the learning curve of a suite for one sub-agent. Blocks for as long as it trains.

    Args:
        suite: A suite for one sub-agent, with the data sets `stream` and `test`.
        options: See `CurveOptions`.
        data: Folder for traces, releases and data sets, which is kept; a temporary one otherwise.
        on_step: Told how far it is.
        on_point: Told of every point, and of the round before it.

    Raises:
        ConfigError: The suite is for several sub-agents, lacks a data set, or the folder has been
            used.
    """
    with _folder(data) as folder:
        return _Drawing(suite, options, folder, on_step).draw(on_point)


class _Drawing:
    """One curve."""

    def __init__(
        self, suite: Suite, options: CurveOptions, folder: Path, on_step: OnCurve | None
    ) -> None:
        self._suite = suite
        self._options = options
        self._folder = folder
        self._on_step = on_step
        self._settings = Settings.model_construct(data_dir=str(folder))  # no file shapes a curve
        self._test = list(iter_scenarios(suite, parts=["test"], limit=options.limit_test))
        self._stream = list(iter_scenarios(suite, parts=["stream"]))
        random.Random(options.seed).shuffle(self._stream)
        if not self._test or not self._stream:
            raise suite.error(("data",), "A curve needs data sets named `stream` and `test`.")
        self._staff: Staff = staff_for(suite, progress=self._progress("embed", ""))
        self._agent = self._only_agent()
        # Whoever measures on the test tasks must not have learned from anything like them.
        self._known = Decontaminator(item.text for item in self._test)
        self._frontier_cost: float | None = None
        self._train_seconds = 0.0
        self._early_rate = early_rate_of(options.audit_rate, options.early_audit_rate)
        self._audited = 0.0

    def _only_agent(self) -> Agent[Any, Any]:
        if len(self._staff.everyone) != 1:
            raise self._suite.error(
                ("agent",),
                "A curve is drawn for one sub-agent: name it in the suite as `agent`.",
            )
        return next(iter(self._staff.everyone.values()))

    def draw(self, on_point: Callable[[Point, RoundReport | None], None] | None) -> Curve:
        points: list[Point] = []

        def add(point: Point, report: RoundReport | None) -> None:
            points.append(point)
            if on_point is not None:
                on_point(point, report)

        with Store.open(self._folder / "traces.db") as store:
            add(self._measure(store, 0, 0, None), None)
            seen = 0
            for number, chunk in enumerate(self._chunks(), 1):
                self._pass(store, chunk, f"round {number}")
                seen += len(chunk)
                report = self._round(store, number)
                add(self._measure(store, number, seen, report), report)
        risk = self._options.risk
        return Curve(
            suite=self._suite.name,
            seed=self._options.seed,
            error_rate=self._options.error_rate,
            num_test=len(self._test),
            target=Target(max_error=risk.max_error, delta=risk.delta, kind=risk.kind),
            rounds=tuple(points),
        )

    def _chunks(self) -> Iterator[list[Scenario]]:
        size = min(self._options.tasks_per_round, len(self._stream) // self._options.rounds)
        if size == 0:
            raise ConfigError(
                f"The {len(self._stream)} tasks of the stream are too few for "
                f"{self._options.rounds} rounds: draw fewer."
            )
        for number in range(self._options.rounds):
            yield self._stream[number * size : (number + 1) * size]

    def _pass(self, store: Store, chunk: Sequence[Scenario], word: str) -> None:
        """Let a part of the stream through the graph, on record."""
        trust = self._trust(store, self._options.audit_rate, self._early_rate)
        try:
            self._run(store, chunk, trust, "stream", word, shadow=False)
        finally:
            trust.close()

    def _round(self, store: Store, number: int) -> RoundReport:
        def on_stage(stage: str, step: TrainingStep | None) -> None:
            if self._on_step is not None:
                done, total = (step.done, step.total) if step is not None else (0, 0)
                self._on_step("round", f"{number}: {stage}", done, total)

        report = run_round(
            self._agent,
            store,
            self._folder,
            options=RoundOptions(
                risk=self._options.risk, suites=self._known, seed=self._options.seed
            ),
            on_stage=on_stage,
        )
        self._train_seconds += sum(arm.train_seconds for arm in report.arms.values())
        return report

    def _measure(self, store: Store, number: int, seen: int, report: RoundReport | None) -> Point:
        """What answers now, on the test tasks; without audits, which are counted into the cost."""
        trust = self._trust(store, 0.0, 0.0)
        try:
            with (
                tempfile.TemporaryDirectory() as elsewhere,
                Store.open(Path(elsewhere) / "test.db") as apart,
            ):
                tasks = self._run(
                    apart, self._test, trust, "measure", f"round {number}", shadow=True
                )
        finally:
            trust.close()
        registry = Registry(store, self._folder)
        active = registry.active(self._agent.name)
        rate, early = self._options.audit_rate, self._early_rate
        certifying = certifying_audits(
            max(rate, early), Shares().calibration
        )  # as in `ReleaseTrust`
        newest = active.newest if active is not None else None
        self._audited = rate_at(registry.num_labels(newest, certifying=certifying), rate, early)
        arms = [] if report is None else [report.arms[name] for name in report.arms]
        return self._point(
            tasks,
            round=number,
            tasks_seen=seen,
            train_seconds=round(sum(arm.train_seconds for arm in arms), 2),
            release=active.id if active is not None else None,
            decision=report.decision.verdict if report is not None else None,
            labels=active.newest.certificate.n if active and active.newest else 0,
        )

    def _point(self, tasks: Sequence[TaskResult], **facts: Any) -> Point:
        accepted = np.array([task.accepted for task in tasks], dtype=bool)
        quality = {
            arm: np.array([quality_of(task.expected, task.given.get(arm)) for task in tasks])
            for arm in ("student", "frontier", "system")
        }
        right = np.array(
            [
                task.expected is None or exact(task.expected, task.given.get("student"))
                for task in tasks
            ]
        )
        wrong = accepted & ~right
        confidence = [task.confidence for task in tasks]
        known = [c is not None for c in confidence]
        scores = np.array([c if c is not None else 0.0 for c in confidence])
        latencies = [task.answer.latency_ms for task in tasks if task.answer is not None]
        return Point(
            student_quality=float(quality["student"].mean()),
            frontier_quality=float(quality["frontier"].mean()),
            system_quality=float(quality["system"].mean()),
            certified_coverage=float(accepted.mean()),
            escalation_rate=float(1 - accepted.mean()),
            joint_error=float(wrong.mean()),
            selective_error=float(wrong.sum() / accepted.sum()) if accepted.any() else None,
            auroc=scoring.auroc(scores, right) if any(known) else None,
            brier=scoring.brier(scores, right) if any(known) else None,
            ece=scoring.calibration_error(scores, right) if any(known) else None,
            cost_ratio=self._cost_ratio(tasks, accepted, facts["tasks_seen"]),
            p50_ms=percentile(latencies, 50),
            p95_ms=percentile(latencies, 95),
            **facts,
        )

    def _cost_ratio(
        self, tasks: Sequence[TaskResult], accepted: np.ndarray[Any, Any], seen: int
    ) -> float | None:
        costs = [task.frontier_cost_microusd for task in tasks]
        if None in costs:
            return None
        each = np.array(costs, dtype=float)
        # Audited tasks are asked although their answer was accepted.
        asked = each[~accepted].sum() + self._audited * each[accepted].sum()
        per_second = MACHINE_USD_PER_HOUR / 3600 * 1e6
        attempts = [t.answer.latency_ms for t in tasks if t.answer and t.accepted]
        students = (statistics.median(attempts) / 1000 * per_second if attempts else 0.0) * len(
            tasks
        )
        training = self._train_seconds * per_second / seen * len(tasks) if seen else 0.0
        total = each.sum()
        return float((asked + students + training) / total) if total else None

    def _trust(self, store: Store, audit_rate: float, early_audit_rate: float) -> ReleaseTrust:
        return ReleaseTrust(
            Registry(store, self._folder),
            loaders_of([self._agent]),
            audit_rate=audit_rate,
            early_audit_rate=early_audit_rate,
        )

    def _run(
        self,
        store: Store,
        scenarios: Sequence[Scenario],
        trust: ReleaseTrust,
        stage: Stage,
        word: str,
        *,
        shadow: bool,
    ) -> list[TaskResult]:
        options = ExecutionOptions(
            reference=ReferenceOptions(
                error_rate=self._options.error_rate, seed=self._options.seed
            ),
            run=RunOptions(concurrency=self._options.concurrency, shadow=shadow),
            argv=("curve", self._suite.name),
        )
        execution = Execution(
            self._suite,
            self._settings,
            store,
            options,
            staff=self._staff,
            scenarios=scenarios,
            trust=trust,
        )
        told = self._progress(stage, word)

        async def run() -> list[TaskResult]:
            tasks: list[TaskResult] = []
            done = 0
            async with aclosing(execution.run()) as results:
                async for result in results:
                    done += 1
                    told(done, len(scenarios))
                    if shadow:
                        tasks.extend(result.tasks)
            return tasks

        tasks = asyncio.run(run())
        if execution.report.errors:
            name, why = execution.report.errors[0]
            raise ConfigError(
                f"{len(execution.report.errors)} tasks of suite {self._suite.name!r} ended in an "
                f"error, the first, {name!r}, with: {why}"
            )
        return tasks

    def _progress(self, stage: Stage, word: str) -> Progress:
        def told(done: int, total: int) -> None:
            if self._on_step is not None:
                self._on_step(stage, word, done, total)

        return told


@contextmanager
def _folder(data: Path | None) -> Iterator[Path]:
    """The folder to work in: the given one, which must be new, or a temporary one."""
    if data is None:
        temporary = Path(tempfile.mkdtemp(prefix="journeyman-curve-"))
        try:
            yield temporary
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return
    if data.exists() and any(data.iterdir()):
        raise ConfigError(
            f"The folder {str(data)!r} is not empty, and a curve begins cold: choose a new one."
        )
    data.mkdir(parents=True, exist_ok=True)
    yield data
