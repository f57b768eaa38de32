"""What a suite run comes to: its gates, and whether it passed.

The rules, in this order:

1. Stopped by a limit: `stopped`. Stopped since the API key was rejected: `error`.
2. A scenario ended in an error, or tasks stayed open since the frontier failed: `error`, since the
   verdict is not to be trusted. Not where its pass rule is met by its other epochs.
3. A gate was missed, or the run is worse than its baseline: `failed`.
4. Without a gate on the pass rate: a scenario that says what must hold (assertions, or `expected`
   of one that is written out in the suite) failed: `failed`.
5. Otherwise `passed`. Rows of a data set without assertions are measurements: they are reported
   with their intervals, and only a gate or a baseline makes them fail a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from journeyman.scenarios.limits import Stop
from journeyman.scenarios.report import Report
from journeyman.scenarios.spec import Gate

Status = Literal["passed", "failed", "error", "stopped"]


@dataclass(frozen=True, slots=True)
class GateResult:
    """One gate.

    Attributes:
        name: What was asked.
        passed: Was it kept to?
        detail: The figure and its bound, in one line.
    """

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run came to.

    Attributes:
        status: One word.
        reasons: Why it did not pass, most important first.
        gates: Everything that was asked of the run as a whole.
    """

    status: Status
    reasons: tuple[str, ...] = ()
    gates: tuple[GateResult, ...] = ()


def check_gates(
    report: Report, gate: Gate, *, num_regressions: int | None = None
) -> list[GateResult]:
    """The suite's gates against the figures.

    Args:
        report: The finished run.
        gate: What to keep to.
        num_regressions: Against the baseline; None where the run was not compared.
    """
    found = []
    if gate.min_pass_rate is not None:
        rate = report.pass_rate
        said = "no scenario counts" if rate is None else f"{rate.value:.3f} [{rate.low:.3f}, "
        said += "" if rate is None else f"{rate.high:.3f}]"
        passed = rate is not None and rate.value >= gate.min_pass_rate
        found.append(GateResult("min_pass_rate", passed, f"{said}, at least {gate.min_pass_rate}"))
    if gate.max_escalation_rate is not None:
        rate = report.escalation_rate
        value = 0.0 if rate is None else rate.value
        passed = value <= gate.max_escalation_rate
        detail = f"{value:.3f}, at most {gate.max_escalation_rate}"
        found.append(GateResult("max_escalation_rate", passed, detail))
    if gate.max_cost_usd is not None:
        cost = report.cost_microusd
        passed = cost is not None and cost <= gate.max_cost_usd * 1e6
        spent = "unknown" if cost is None else f"${cost / 1e6:.4f}"
        found.append(GateResult("max_cost_usd", passed, f"{spent}, at most ${gate.max_cost_usd:g}"))
    if gate.max_regressions is not None and num_regressions is not None:
        passed = num_regressions <= gate.max_regressions
        detail = f"{num_regressions}, at most {gate.max_regressions}"
        found.append(GateResult("max_regressions", passed, detail))
    return found


def conclude(
    report: Report, gates: Sequence[GateResult], *, gate: Gate, stop: Stop | None = None
) -> Verdict:
    """Whether a run passed; see the rules above.

    Args:
        report: The finished run.
        gates: What `check_gates` found, and what comparing with a baseline did.
        gate: The gates that were set.
        stop: Why it stopped early.
    """
    errors = [
        f"{one.scenario_id}: {one.reason or 'error'}"
        for one in report.verdicts
        if one.outcome == "error"
    ]
    unanswered = num_open(report)
    if unanswered:
        errors.append(f"{unanswered} tasks stayed open, since the frontier failed.")
    missed = [f"{one.name}: {one.detail}" for one in gates if not one.passed]
    by_rate = gate.min_pass_rate is not None
    failed = [
        f"{one.scenario_id}: {one.reason or 'failed'}"
        for one in report.verdicts
        if one.outcome == "failed" and one.is_test
    ]
    broken = missed + ([] if by_rate else failed)
    if stop is not None and stop.kind != "failure":
        status: Status = "error" if stop.kind == "key" else "stopped"
        return Verdict(status, (stop.reason, *errors, *broken), tuple(gates))
    if errors:
        return Verdict("error", (*errors, *broken), tuple(gates))
    return Verdict("failed" if broken else "passed", tuple(broken), tuple(gates))


def num_open(report: Report) -> int:
    """Tasks that stayed open since the frontier failed; not those of scenarios that passed."""
    if report.arm == "student-only":  # nobody was there to be asked
        return 0
    passed = {one.scenario_id for one in report.verdicts if one.outcome == "passed"}
    return sum(
        task.error is not None
        for one in report.results
        if one.scenario_id not in passed
        for task in one.tasks
    )
