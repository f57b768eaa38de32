"""One suite run from start to end: sub-agents, frontier, record, results, report.

The frontier is the configured one, or the reference frontier, a stand-in that answers from the
suite's own references. Prints nothing; callers are told of progress.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version

from journeyman.graph.clients import frontier_from
from journeyman.graph.settings import Settings
from journeyman.graph.standing import TrustSource
from journeyman.graph.trust import loaders_of, trust_from
from journeyman.models.budget import Budget
from journeyman.models.frontier import Frontier
from journeyman.models.prices import Price, PriceBook
from journeyman.models.reference_frontier import Failures, ReferenceFrontier
from journeyman.models.types import content_hash
from journeyman.scenarios.assembly import Progress, Staff, staff_for
from journeyman.scenarios.datasets import default_parts, iter_scenarios
from journeyman.scenarios.metrics import exact
from journeyman.scenarios.references import references
from journeyman.scenarios.report import Report
from journeyman.scenarios.runner import RunOptions, ScenarioResult, SuiteRunner
from journeyman.scenarios.scenario import Scenario
from journeyman.scenarios.suite import Suite
from journeyman.traces.recorder import Recorder
from journeyman.traces.records import ScenarioResultRecord, SuiteRunRecord, new_id
from journeyman.traces.store import Store

REFERENCE_PRICE = Price(input_per_million_usd=2.5, output_per_million_usd=10.0)
"""What the reference frontier is said to cost, so that savings can be told: a usual list price."""


@dataclass(frozen=True)
class ReferenceOptions:
    """How the reference frontier behaves.

    Attributes:
        error_rate: Share of tasks that it answers wrongly.
        latency_ms: Of every call.
        failures: How calls fail.
        seed: Of errors and failures.
    """

    error_rate: float = 0.0
    latency_ms: float = 0.0
    failures: Failures = field(default_factory=Failures)
    seed: int = 0


@dataclass(frozen=True)
class ExecutionOptions:
    """What to run of a suite, against which frontier.

    Attributes:
        parts: Data sets of the suite; None takes what a run takes by default.
        limit: At most so many scenarios, spread over the parts.
        seed: Of that choice.
        reference: The reference frontier; None asks the configured one.
        run: How the runner works.
        releases: Let releases in traffic answer what they are certified for; otherwise every
            student is untaught and everything escalates.
        argv: The command line, for the record.
    """

    parts: Sequence[str] | None = None
    limit: int | None = None
    seed: int = 0
    reference: ReferenceOptions | None = field(default_factory=ReferenceOptions)
    run: RunOptions = field(default_factory=RunOptions)
    releases: bool = True
    argv: tuple[str, ...] = ()


class Execution:
    """A suite run that is ready to go.

    Args:
        suite: A loaded suite.
        settings: The configured frontier and its caps.
        store: Where the run is recorded.
        options: What to run, and how.
        progress: Told of passages being embedded.
        teaching: Told of a ranker being taught.
        staff: The suite's sub-agents, where they are there already.
        scenarios: Run these, instead of what the options choose of the suite.
        trust: What has been certified; by default what the store has on record.

    Raises:
        ConfigError: The suite's data or settings cannot be used.
    """

    def __init__(
        self,
        suite: Suite,
        settings: Settings,
        store: Store,
        options: ExecutionOptions,
        *,
        progress: Progress | None = None,
        teaching: Progress | None = None,
        staff: Staff | None = None,
        scenarios: Sequence[Scenario] | None = None,
        trust: TrustSource | None = None,
    ) -> None:
        self.suite = suite
        self.report = Report(suite)
        self.id = new_id()
        self.epochs = suite.spec.defaults.epochs
        self._recorder: Recorder | None = None
        self._settings = settings
        self._store = store
        self._options = options
        chosen = options.parts if options.parts is not None else default_parts(suite)
        if scenarios is None:
            scenarios = list(
                iter_scenarios(suite, parts=chosen, limit=options.limit, seed=options.seed)
            )
        self.scenarios: Sequence[Scenario] = scenarios
        if staff is None:
            staff = Staff({})
            if self.scenarios:
                staff = staff_for(suite, progress=progress, teaching=teaching)
        self.staff: Staff = staff
        self._trust = trust

    @property
    def trouble(self) -> Exception | None:
        """Why the record is incomplete; None where everything was written."""
        return self._recorder.trouble if self._recorder is not None else None

    async def run(self) -> AsyncGenerator[ScenarioResult, None]:
        """Run every scenario; each result is on record and in the report when it is yielded."""
        with (
            Recorder(self._store) as recorder,
            self._frontier() as frontier,
            self._trusted() as trust,
        ):
            self._recorder = recorder
            started = self._record()
            recorder.record(started)
            runner = SuiteRunner(
                self.staff,
                frontier,
                recorder=recorder,
                options=replace(
                    self._options.run,
                    suite_run_id=self.id,
                    shadow=self._options.reference is not None,
                    timeout_s=self.suite.spec.defaults.timeout,
                ),
                trust=trust,
            )
            status = "interrupted"
            try:
                async with aclosing(runner.run(self.scenarios, epochs=self.epochs)) as results:
                    async for result in results:
                        self.report.add(result)
                        recorder.record(self._result_record(result))
                        yield result
                status = "error" if self.report.errors else "passed"
            finally:
                recorder.record(self._ended(started, status))
                await frontier.aclose()

    @contextmanager
    def _trusted(self) -> Iterator[TrustSource | None]:
        if self._trust is not None or not self._options.releases:
            yield self._trust
            return
        trust = trust_from(self._settings, self._store, loaders_of(self.staff.everyone.values()))
        try:
            yield trust
        finally:
            trust.close()

    @contextmanager
    def _frontier(self) -> Iterator[Frontier]:
        chosen = self._options.reference
        if chosen is None:
            configured = frontier_from(self._settings, self._store)
            assert configured is not None, "callers choose the reference where none is configured"
            yield configured
            return
        answers = references(
            self.staff, self.scenarios, seed=chosen.seed, mistakes=chosen.error_rate > 0
        )
        with ReferenceFrontier(
            answers,
            error_rate=chosen.error_rate,
            latency_ms=chosen.latency_ms,
            failures=chosen.failures,
            seed=chosen.seed,
        ) as server:
            yield Frontier(
                "reference",
                base_url=server.base_url,
                prices=PriceBook({"reference": REFERENCE_PRICE}),
                budget=Budget(
                    per_run_usd=self._settings.budget.per_run_usd,
                    per_day_usd=self._settings.budget.per_day_usd,
                ),
                max_concurrency=max(8, self._options.run.concurrency),
                timeout_s=self._settings.frontier.timeout_seconds,
                label_source="reference",
            )

    def _record(self) -> SuiteRunRecord:
        spec = self.suite.spec.model_dump(mode="json", by_alias=True)
        return SuiteRunRecord(
            id=self.id,
            suite=self.suite.name,
            suite_hash=content_hash([scenario.fingerprint for scenario in self.scenarios]),
            config_hash=content_hash([spec, self._options.run.trust_uncertified]),
            status="running",
            started_at=datetime.now(UTC),
            num_total=len(self.scenarios) * self.epochs,
            argv=self._options.argv,
            environment={
                "journeyman": version("journeyman"),
                "python": platform.python_version(),
                "platform": sys.platform,
                "frontier": self._frontier_name(),
            },
        )

    def _frontier_name(self) -> str:
        chosen = self._options.reference
        if chosen is None:
            return self._settings.frontier.model or ""
        return f"reference, error rate {chosen.error_rate:g}, latency {chosen.latency_ms:g} ms"

    def _ended(self, started: SuiteRunRecord, status: str) -> SuiteRunRecord:
        summary = self.report.summary()
        return replace(
            started,
            status=status,  # type: ignore[arg-type]  # one of the words of `run`
            ended_at=datetime.now(UTC),
            num_error=len(self.report.errors),
            num_passed=self.report.num_right,
            num_failed=self.report.num_scenarios - self.report.num_right - len(self.report.errors),
            cost_microusd=summary["cost_microusd"]["system"],
        )

    def _result_record(self, result: ScenarioResult) -> ScenarioResultRecord:
        status = "error" if result.error else "passed" if result.is_right else "failed"
        return ScenarioResultRecord(
            suite_run_id=self.id,
            scenario_id=result.scenario.id,
            epoch=result.epoch,
            scenario_hash=result.scenario.fingerprint,
            run_id=result.run_id or None,
            status=status,  # type: ignore[arg-type]  # mypy widens the conditional
            metrics={
                f"{task.agent}.{arm}": exact(task.expected, value)
                for task in result.tasks
                if task.expected is not None
                for arm, value in task.given.items()
            },
            duration_ms=result.duration_ms,
            reason=result.error,
        )
