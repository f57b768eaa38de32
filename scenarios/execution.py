"""One suite run from start to end: sub-agents, frontier, record, results, report.

The frontier is the configured one, or the reference frontier, a stand-in that answers from the
suite's own references. A result counts as finished once it is on record, so that a run which is
broken off, in whatever way, goes on where it was. Prints nothing; callers are told of progress.
"""

from __future__ import annotations

import asyncio
import platform
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version

from journeyman.graph.clients import forwarder_from, frontier_from
from journeyman.graph.settings import Settings
from journeyman.graph.standing import TrustSource
from journeyman.graph.trust import loaders_of, trust_from
from journeyman.models.budget import Budget
from journeyman.models.frontier import Frontier
from journeyman.models.prices import Price, PriceBook
from journeyman.models.reference_frontier import ReferenceFrontier
from journeyman.models.types import content_hash
from journeyman.scenarios.assembly import Progress, Staff, staff_for
from journeyman.scenarios.calls import Calls
from journeyman.scenarios.datasets import default_parts, iter_scenarios
from journeyman.scenarios.finished import Finished, Key, finish, to_record
from journeyman.scenarios.gates import GateResult, Verdict, check_gates, conclude
from journeyman.scenarios.limits import Stop, Watch
from journeyman.scenarios.options import ExecutionOptions
from journeyman.scenarios.references import references
from journeyman.scenarios.report import Report
from journeyman.scenarios.results import ScenarioResult
from journeyman.scenarios.resume import Resumed, shape_of
from journeyman.scenarios.runner import SuiteRunner
from journeyman.scenarios.scenario import Scenario
from journeyman.scenarios.spec import Gate
from journeyman.scenarios.suite import Suite
from journeyman.traces.recorder import Recorder
from journeyman.traces.records import SuiteRunRecord, new_id
from journeyman.traces.store import Store

REFERENCE_PRICE = Price(input_per_million_usd=2.5, output_per_million_usd=10.0)
"""What the reference frontier is said to cost, so that savings can be told: a usual list price."""


def chosen(suite: Suite, options: ExecutionOptions) -> Sequence[Scenario]:
    """The scenarios of a suite that a run with these options is about.

    Raises:
        ConfigError: The suite's data cannot be used.
    """
    parts = options.parts if options.parts is not None else default_parts(suite)
    return list(options.selection.choose(iter_scenarios(suite, parts=parts)))


def planned(
    scenarios: Sequence[Scenario], options: ExecutionOptions
) -> tuple[tuple[Scenario, int], ...]:
    """Scenarios with each of their epochs, in the order in which they run."""
    return tuple(
        (scenario, epoch)
        for scenario in scenarios
        for epoch in range(options.epochs or scenario.epochs)
    )


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
        resumed: An earlier run to go on with; the options must be those that it was started with.

    Raises:
        ConfigError: The suite's data or settings cannot be used, or are no longer those of the run
            that is resumed.
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
        resumed: Resumed | None = None,
    ) -> None:
        self.suite = suite
        self.report = Report(suite, arm=options.arm)
        self.id = new_id() if resumed is None else resumed.record.id
        self.stop: Stop | None = None
        """Why the run stopped early; None while it has not."""
        self._resumed = resumed
        self._recorder: Recorder | None = None
        self._settings = settings
        self._store = store
        self._options = options
        self.scenarios = chosen(suite, options) if scenarios is None else scenarios
        self.planned = planned(self.scenarios, options)
        self._shape = shape_of(suite, settings, options)
        self._took_up: dict[Key, Finished] = {}
        if resumed is not None:
            resumed.check(self._shape, suite=suite.name)
            self._took_up = resumed.matching(self.planned)
            for finished in self._took_up.values():
                self.report.add(finished)
        self._fresh: dict[Key, tuple[Finished, asyncio.Task[bool]]] = {}
        self._watch = Watch(options.limits, Counter(scenario.id for scenario, _ in self.planned))
        self._calls: Calls | None = None
        if staff is None:
            staff = Staff({})
            if self.num_open:
                built = staff_for(suite, progress=progress, teaching=teaching)
                staff = built.served(settings)
        self.staff: Staff = staff
        self._trust = trust

    @property
    def num_open(self) -> int:
        """Results that are still to come."""
        return len(self.planned) - len(self.report.results)

    @property
    def trouble(self) -> Exception | None:
        """Why the record is incomplete; None where everything was written."""
        return self._recorder.trouble if self._recorder is not None else None

    @property
    def gate(self) -> Gate:
        """The gates that hold: the suite's, with those of the options in their place."""
        given = self._options.gate.model_dump(exclude_none=True)
        return self.suite.spec.gate.model_copy(update=given)

    def verdict(
        self, *, num_regressions: int | None = None, more: Sequence[GateResult] = ()
    ) -> Verdict:
        """What the run comes to.

        Args:
            num_regressions: Against the baseline; None where there was none.
            more: Further gates, such as figures against the baseline's.
        """
        gate = self.gate
        if gate.max_regressions is None and num_regressions is not None:
            gate = gate.model_copy(update={"max_regressions": 0})
        gates = check_gates(self.report, gate, num_regressions=num_regressions)
        return conclude(self.report, [*gates, *more], gate=gate, stop=self.stop)

    def settle(self, verdict: Verdict) -> None:
        """Write a verdict that took more than the run itself, such as a baseline.

        Also of a run that was broken off after its last result, before its end was on record.
        """
        self._store.write([self._ended(self._store.suite_run(self.id), verdict.status)])

    async def run(self) -> AsyncGenerator[ScenarioResult, None]:
        """Run every scenario; each result is on record and in the report when it is yielded.

        What is in flight when a limit is met still comes out.
        """
        with (
            Recorder(self._store, forward=forwarder_from(self._settings.otlp)) as recorder,
            self._frontier() as frontier,
            self._trusted() as trust,
        ):
            self._recorder = recorder
            started = self._record()
            recorder.record(started)
            self._count_taken_up()
            runner = self._runner(frontier, recorder, trust)
            status: str = "interrupted"
            try:
                pairs = runner.run_pairs(self._todo(), keep=self._keep)
                async with aclosing(pairs) as results:
                    async for result in results:
                        if await self._count(result):
                            yield result
                        if self.stop is not None and self.stop.kind == "key":
                            break
                status = self.verdict().status
            finally:
                for finished, on_disk in self._fresh.values():
                    self.report.add(finished)  # the recorder has it, and writes it as it closes
                    on_disk.cancel()
                recorder.record(self._ended(started, status))
                if frontier is not None:
                    await frontier.aclose()

    def _runner(
        self, frontier: Frontier | None, recorder: Recorder, trust: TrustSource | None
    ) -> SuiteRunner:
        options, chosen = self._options, self._options.reference
        self._calls = None
        if frontier is not None:
            self._calls = Calls(
                frontier,
                address=self._settings.frontier.base_url or "",
                # The reference frontier is free, and its mistakes hang on the order of its calls.
                cache=options.cache if chosen is None else None,
            )
        alone = options.arm == "student-only"
        return SuiteRunner(
            self.staff,
            self._calls,
            recorder=recorder,
            options=replace(
                options.run,
                suite_run_id=self.id,
                shadow=chosen is not None and options.arm == "system",
                trust_uncertified=alone or options.run.trust_uncertified,
                force_escalation=options.arm == "frontier-only",
                timeout_s=options.timeout_s or self.suite.spec.defaults.timeout,
            ),
            trust=trust,
        )

    def _todo(self) -> Iterator[tuple[Scenario, int]]:
        """What is left, until a limit is met."""
        for scenario, epoch in self.planned:
            if self.stop is None:
                self.stop = self._watch.stop()
            if self.stop is not None:
                return
            if (scenario.id, epoch) not in self._took_up:
                if self._options.timeout_s is not None:
                    scenario = replace(scenario, timeout_s=self._options.timeout_s)
                yield scenario, epoch

    def _count_taken_up(self) -> None:
        for one in self._took_up.values():
            self._watch.count(one)

    async def _keep(self, result: ScenarioResult) -> None:
        """Hand a result over to the record."""
        recorder = self._recorder
        assert recorder is not None, "results come while the run goes on"
        if self._calls is not None and self._calls.key_error is not None:
            return  # it says nothing of the scenario, which runs again once the key is mended
        finished = finish(result)
        # Counted at once, so that a limit that is met now lets no worker begin another.
        self._watch.count(finished)
        recorder.record(to_record(finished, self.id))
        # Workers go on meanwhile, and rows share the transactions of later runs.
        on_disk = asyncio.create_task(recorder.committed(self.id, at_once=False))
        self._fresh[finished.key] = finished, on_disk

    async def _count(self, result: ScenarioResult) -> bool:
        """Count a result once it is on disk; False where it does not, the key being rejected."""
        if self._calls is not None and self._calls.key_error is not None:
            self.stop = Stop("key", str(self._calls.key_error))
        key = (result.scenario.id, result.epoch)
        if key not in self._fresh:
            return False
        finished, on_disk = self._fresh[key]
        await on_disk
        del self._fresh[key]
        self.report.add(finished)
        return True

    @contextmanager
    def _trusted(self) -> Iterator[TrustSource | None]:
        if self._options.arm != "system":
            yield None
            return
        if self._trust is not None or not self._options.releases:
            yield self._trust
            return
        trust = trust_from(self._settings, self._store, loaders_of(self.staff.everyone.values()))
        try:
            yield trust
        finally:
            trust.close()

    @contextmanager
    def _frontier(self) -> Iterator[Frontier | None]:
        chosen = self._options.reference
        if self._options.arm == "student-only":
            yield None
            return
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
        if self._resumed is not None:
            before = self._resumed.record
            return replace(
                before,
                status="running",
                ended_at=None,
                stop_reason=None,
                num_total=len(self.planned),
                num_resumed=before.num_resumed + 1,
            )
        return SuiteRunRecord(
            id=self.id,
            suite=self.suite.name,
            suite_hash=content_hash([scenario.fingerprint for scenario in self.scenarios]),
            config_hash=self._shape.digest,
            status="running",
            started_at=datetime.now(UTC),
            num_total=len(self.planned),
            label=self._options.label,
            argv=self._options.argv,
            environment={
                "journeyman": version("journeyman"),
                "python": platform.python_version(),
                "platform": sys.platform,
                "frontier": self.frontier_name,
            },
            path=str(self.suite.path.resolve()),
            arm=self._options.arm,
            group_id=self._options.group_id,
            options=self._shape.options,
        )

    @property
    def frontier_name(self) -> str:
        """Which frontier answers, for the record."""
        chosen = self._options.reference
        if self._options.arm == "student-only":
            return "none"
        if chosen is None:
            return self._settings.frontier.model or ""
        return f"reference, error rate {chosen.error_rate:g}, latency {chosen.latency_ms:g} ms"

    def _ended(self, started: SuiteRunRecord, status: str) -> SuiteRunRecord:
        results = self.report.results
        summary = {
            key: value
            for key, value in self.report.summary().items()
            if key not in ("event", "open_because")  # words, which may quote content
        }
        return replace(
            started,
            status=status,  # type: ignore[arg-type]  # one of the words of `run`
            stop_reason=self.stop.reason if self.stop is not None else None,
            ended_at=datetime.now(UTC),
            num_passed=sum(one.status == "passed" for one in results),
            num_failed=sum(one.status == "failed" for one in results),
            num_error=sum(one.status == "error" for one in results),
            num_skipped=len(self.planned)
            - sum(one.status in ("passed", "failed", "error") for one in results),
            cost_microusd=self.report.cost_microusd,
            summary=summary,
        )
