"""`journeyman run` from what was asked to the exit code: runs, verdicts, comparisons, reports."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

from journeyman.cli.asked import Asked
from journeyman.cli.console import ExitCode, data_only, emit, say, talk
from journeyman.cli.execute import drive, prepare
from journeyman.cli.figures import render, render_comparison, render_verdict
from journeyman.cli.jobs import Job, planned_jobs, resumed_jobs
from journeyman.cli.repairs import compare_repairs, render_repairs
from journeyman.graph.settings import load_settings
from journeyman.models.errors import ConfigError
from journeyman.scenarios.comparing import (
    Comparison,
    Side,
    check_tolerances,
    compare,
    figures_of,
    find_side,
    lines_of,
    parse_tolerances,
)
from journeyman.scenarios.execution import Execution, chosen, planned
from journeyman.scenarios.gates import GateResult, Verdict
from journeyman.scenarios.report_files import (
    RunReport,
    Target,
    check_target,
    parse_target,
    write_report,
)
from journeyman.traces.store import Store

if TYPE_CHECKING:
    from journeyman.scenarios.assembly import Staff


def run_suites(asked: Asked) -> ExitCode:
    """Run what was asked.

    Raises:
        ConfigError: An option, a suite or the settings cannot be used.
        TraceError: The store cannot be used.
    """
    targets = [parse_target(one) for one in asked.reports]
    for target in targets:
        check_target(target)
    tolerances = parse_tolerances(asked.tolerances)
    if tolerances and asked.baseline is None:
        raise ConfigError("--tolerance needs a run to compare with; give --baseline, too.")
    settings = load_settings()
    resuming = asked.resume is not None or asked.retry_errors is not None
    with data_only(wanted=asked.json) as out:
        if asked.dry_run and not resuming:
            return _dry_run(planned_jobs(asked, settings), out if asked.json else None)
        # The suites first: a mistake in one should not leave an empty store behind.
        jobs = [] if resuming else planned_jobs(asked, settings)
        store = jobs[0].settings.store if jobs else settings.store
        with Store.open(asked.store or store, create=not resuming) as opened:
            if resuming:
                jobs = resumed_jobs(asked, settings, opened)
            if asked.dry_run:
                return _dry_run(jobs, out if asked.json else None)
            command = _Command(asked, opened, tolerances, out if asked.json else None)
            command.run(jobs)
        command.finish(targets)
        return command.code


@dataclass
class _Command:
    """One command on its way through its runs."""

    asked: Asked
    store: Store
    tolerances: Mapping[str, float]
    out: TextIO | None
    done: list[RunReport] = field(default_factory=list)
    interrupted: bool = False

    def run(self, jobs: Sequence[Job]) -> None:
        """Every run, one after the other; an interruption leaves out the rest."""
        baselines = [self._baseline(job) for job in jobs]
        staff: dict[str, Staff] = {}
        for job, baseline in zip(jobs, baselines, strict=True):
            key = str(job.suite.path)
            execution = prepare(
                job.suite,
                job.settings,
                self.store,
                job.options,
                quiet=self.out is not None,
                staff=staff.get(key),
                resumed=job.resumed,
            )
            if execution.staff.everyone:
                staff[key] = execution.staff
            if not execution.planned:
                continue
            self._describe(job, execution)
            self.interrupted = drive(execution, out=self.out, each=True)
            self._conclude(job, execution, baseline)
            if self.interrupted:
                return

    def finish(self, targets: Sequence[Target]) -> None:
        """Compare arms, write reports, and say what can be done next."""
        comparisons = _arms(self.done)
        for comparison in comparisons:
            if self.out is not None:
                emit(comparison.to_json(), self.out)
            else:
                say(f"\n{render_comparison(comparison)}")
        for target in targets:
            write_report(target, self.done)
            talk(f"Report: {target.path}")
        if not self.done and not self.interrupted:
            talk("Nothing matched; see the suite's data sets, and -k, --tag, --id and --part.")
        if self.interrupted or any(run.status == "stopped" for run in self.done):
            talk(f"Go on with: journeyman run --resume latest{self._where}")

    @property
    def code(self) -> ExitCode:
        """The exit code: of several runs the worst."""
        if self.interrupted:
            return ExitCode.INTERRUPTED
        if not self.done:
            return ExitCode.NOTHING
        first: dict[str, str] = {}
        statuses = set()
        for run in self.done:
            arm = first.setdefault(run.report.suite.name, run.report.arm)
            # Of several arms the first decides; the others are there to be compared with it.
            if arm == run.report.arm or run.verdict.status != "failed":
                statuses.add(run.verdict.status)
        for status, code in _CODES.items():
            if status in statuses:
                return code
        return ExitCode.PASSED

    @property
    def _where(self) -> str:
        """The option that has other commands look into the same store."""
        return f" --store {shlex.quote(self.asked.store)}" if self.asked.store else ""

    def _baseline(self, job: Job) -> Side | None:
        """The run to compare with; found before this one, which would be the latest itself."""
        if self.asked.baseline is None:
            return None
        named, arm = self.asked.baseline, job.options.arm
        side = find_side(self.store, named, suite=job.suite.name, arm=arm)
        # A slip in a figure's name is told now, and not once everything is paid for.
        check_tolerances(side, side.figures, self.tolerances)
        return side

    def _describe(self, job: Job, execution: Execution) -> None:
        if self.out is not None:
            return
        arm = f" ({job.options.arm})" if job.options.arm != "system" else ""
        told = " ".join(job.suite.spec.description.split())
        talk(f"{job.suite.name}{arm}: {told or f'{len(execution.planned)} scenarios'}")
        if job.resumed is not None:
            finished = len(execution.planned) - execution.num_open
            talk(f"Resumed {execution.id[:18]}: {finished} of {len(execution.planned)} are there.")

    def _conclude(self, job: Job, execution: Execution, baseline: Side | None) -> None:
        comparison = _against(baseline, job, execution) if baseline is not None else None
        verdict = execution.verdict()
        if comparison is not None and not self.interrupted:
            verdict = self._with_baseline(execution, comparison)
        was_open = job.resumed is not None and job.resumed.record.status != verdict.status
        if not self.interrupted and (comparison is not None or was_open):
            execution.settle(verdict)
        done = RunReport(
            execution.id,
            job.options.label,
            execution.report,
            verdict,
            job.options.selection,
            execution.frontier_name,
            comparison,
            self.interrupted,
        )
        self.done.append(done)
        self._tell(done, job)

    def _with_baseline(self, execution: Execution, comparison: Comparison) -> Verdict:
        regressions = comparison.regressions
        if "pass_rate" in self.tolerances:  # the share decides about rows that are measured only
            regressions = tuple(
                one for one in regressions if one.is_test or one.change == "missing"
            )
        now = figures_of(execution.report.summary())
        more: list[GateResult] = check_tolerances(comparison.base, now, self.tolerances)
        return execution.verdict(num_regressions=len(regressions), more=more)

    def _tell(self, done: RunReport, job: Job) -> None:
        repairs = None
        if not self.interrupted:
            repairs = compare_repairs(job.suite, job.options, quiet=self.out is not None)
        if self.out is not None:
            if done.comparison is not None:
                emit(done.comparison.to_json(), self.out)
            summary = {
                **done.report.summary(),
                "run": done.id,
                "status": done.status,
                "reasons": list(done.verdict.reasons),
                "gates": {gate.name: gate.passed for gate in done.verdict.gates},
                **({"repairs": repairs.summary()} if repairs else {}),
            }
            emit(summary, self.out)
            return
        stand_in = job.options.reference is not None and job.options.arm != "student-only"
        say(render(done.report, reference=stand_in))
        if repairs is not None:
            say(f"\n{render_repairs(repairs.figures())}")
        if done.comparison is not None:
            say(f"\n{render_comparison(done.comparison)}")
        say(f"\n{render_verdict(done)}")
        talk(f"\nOn record in {self.store.name}; `journeyman traces list{self._where}` shows it.")


_CODES = {
    "error": ExitCode.ERROR,
    "stopped": ExitCode.LIMIT,
    "failed": ExitCode.FAILED,
}


def _against(baseline: Side, job: Job, execution: Execution) -> Comparison:
    now = Side(
        "this run",
        job.suite.name,
        job.options.arm,
        lines_of(execution.report.results),
        job.options.selection,
    )
    return compare(baseline, now)


def _arms(runs: Sequence[RunReport]) -> list[Comparison]:
    """Of each suite that ran in several arms: every other arm against the first."""
    first: dict[str, Side] = {}
    found = []
    for run in runs:
        report = run.report
        side = Side(report.arm, report.suite.name, report.arm, lines_of(report.results))
        base = first.setdefault(side.suite, side)
        if base is not side:
            found.append(compare(base, side))
    return found


def _dry_run(jobs: Sequence[Job], out: TextIO | None) -> ExitCode:
    """List what would run; of a run that is resumed, what is left."""
    num = 0
    for job in jobs:
        scenarios = chosen(job.suite, job.options)
        pairs = planned(scenarios, job.options)
        finished = job.resumed.matching(pairs) if job.resumed is not None else {}
        left = Counter(one.id for one, epoch in pairs if (one.id, epoch) not in finished)
        for scenario in (one for one in scenarios if left[one.id]):
            num += 1
            epochs = left[scenario.id]
            if out is not None:
                emit(
                    {
                        "event": "planned",
                        "suite": job.suite.name,
                        "arm": job.options.arm,
                        "id": scenario.id,
                        "epochs": epochs,
                        "tags": list(scenario.tags),
                        "skip": scenario.skip,
                    },
                    out,
                )
            else:
                times = f"  x{epochs}" if epochs > 1 else ""
                tags = f"  [{', '.join(scenario.tags)}]" if scenario.tags else ""
                say(f"{job.suite.name}  {scenario.id}{times}{tags}")
    talk(f"{num} scenarios would run; without --dry-run they do.")
    return ExitCode.PASSED if num else ExitCode.NOTHING
