"""A suite's report as text for people."""

from __future__ import annotations

from textwrap import shorten
from typing import TYPE_CHECKING

from journeyman.cli.console import money, table
from journeyman.cli.terminal import harmless

if TYPE_CHECKING:
    from journeyman.scenarios.comparing import Comparison, Difference
    from journeyman.scenarios.estimates import Estimate
    from journeyman.scenarios.report import AgentFigures, Report
    from journeyman.scenarios.report_files import RunReport


def render(report: Report, *, reference: bool) -> str:
    """Tables of work, quality and cost by sub-agent, with what the numbers rest on."""
    blocks = [_work(report), _quality(report)]
    if reference:
        blocks.append(
            "The frontier here is the reference frontier: a stand-in that answers from the\n"
            "suite's references. Its figures say nothing about any real model."
        )
    if report.arm == "student-only":
        unanswered = sum(report.open_because.values())
        blocks.append(
            "Students alone: no frontier was asked."
            + (f" {unanswered} tasks stayed open and count as wrong." if unanswered else "")
        )
    elif report.open_because:
        failures = "\n".join(
            f"  {n}x {shorten(why, 160, placeholder=' ...')}"
            for why, n in report.open_because.most_common(5)
        )
        blocks.append(
            f"{sum(report.open_because.values())} tasks stayed open, since the frontier failed; "
            f"they count as wrong:\n{failures}"
        )
    if report.errors:
        listed = "\n".join(f"  {name}: {error}" for name, error in report.errors[:10])
        blocks.append(f"{len(report.errors)} scenarios ended in an error:\n{listed}")
    return harmless("\n\n".join(blocks))


def render_pair(before: Report, after: Report, *, max_error: float) -> str:
    """The same tasks before and after a round, side by side, with what it saves."""
    headers = ["sub-agent", "tasks", "by students", "quality", "before", "after", "cost", "after"]
    rows = []
    for name, figures in after.agents.items():
        first = before.agents.get(name)
        cold, warm = before.headline(name, "system"), after.headline(name, "system")
        metric = next(iter(after.quality(name, "system")), "")
        rows.append(
            [
                name,
                str(figures.num_tasks),
                f"{figures.certified} ({figures.certified / max(figures.num_tasks, 1):.0%})",
                metric,
                _estimate(cold),
                _estimate(warm),
                money(first.cost_microusd if first is not None else None),
                money(figures.cost_microusd),
            ]
        )
    cold_cost = before.summary()["cost_microusd"]["system"]
    warm_cost = after.summary()["cost_microusd"]["system"]
    lines = [
        table(headers, rows, right=frozenset({1, 2, 6, 7})),
        "(in brackets: 95 % interval; the frontier is the reference frontier, a stand-in)",
        "",
    ]
    if cold_cost and warm_cost is not None:
        lines.append(
            f"Saved: {1 - warm_cost / cold_cost:.0%} of what the frontier cost before, audits "
            f"included, training not; target: at most {max_error:.0%} of a sub-agent's tasks "
            "answered wrongly by its student."
        )
    return "\n".join(lines)


def render_verdict(run: RunReport) -> str:
    """The verdict with its reasons, gates and shares."""
    report = run.report
    counts: dict[str, int] = {}
    for verdict in report.verdicts:
        word: str = verdict.outcome
        if not verdict.is_test and word in ("passed", "failed"):
            word = "right" if word == "passed" else "not right"
        counts[word] = counts.get(word, 0) + 1
    listed = ", ".join(f"{n} {word}" for word, n in sorted(counts.items()))
    rates = _estimate(report.pass_rate), _estimate(report.escalation_rate)
    lines = [
        f"{run.name}: {run.status} ({listed})",
        f"pass rate {rates[0]}, escalated {rates[1]} (95 % interval)",
        *(
            f"gate {gate.name}: {'kept' if gate.passed else 'MISSED'} ({gate.detail})"
            for gate in run.verdict.gates
        ),
    ]
    lines += [f"  {shorten(why, 200, placeholder=' ...')}" for why in run.verdict.reasons[:20]]
    if len(run.verdict.reasons) > 20:
        lines.append(f"  ... and {len(run.verdict.reasons) - 20} more")
    lines.append(f"run {run.id[:18]}" + (f" ({run.label})" if run.label else ""))
    return harmless("\n".join(lines))


_MOST_CHANGES = 40


def render_comparison(found: Comparison) -> str:
    """What changed, regressions first, and the paired differences."""
    names = f"{found.other.name} against {found.base.name}"
    lines = [f"{found.other.suite}: {names}: {len(found.regressions)} regressions"]
    for change in found.changed[:_MOST_CHANGES]:
        word = change.change if change.is_test or change.change == "missing" else "measured"
        states = f"{change.before or '-'} -> {change.after or '-'}"
        why = f"  {shorten(change.reason, 120, placeholder=' ...')}" if change.reason else ""
        lines.append(f"  {word:<11} {change.id}  {states}{why}")
    if len(found.changed) > _MOST_CHANGES:
        lines.append(f"  ... and {len(found.changed) - _MOST_CHANGES} more")
    rows = [
        _difference(one) for one in ([found.overall] if found.overall else []) + [*found.groups]
    ]
    headers = ["", "n", "before", "after", "difference", "p", "escalated", "after", "cost", "after"]
    if rows:
        lines += ["", table(headers, rows, right=frozenset({1, 2, 3, 5, 6, 7, 8, 9}))]
        lines.append(
            "(share that passes, on what both ran; in brackets: 95 % interval; McNemar's p)"
        )
    return harmless("\n".join(lines))


def _difference(one: Difference) -> list[str]:
    def percent(rate: float | None) -> str:
        return "-" if rate is None else f"{rate:.1%}"

    return [
        one.name or "all",
        str(one.n),
        f"{one.base:.3f}",
        f"{one.other:.3f}",
        f"{one.difference:+.3f} [{one.low:+.3f}, {one.high:+.3f}]",
        f"{one.p_value:.3g}",
        percent(one.base_escalated),
        percent(one.other_escalated),
        money(one.base_cost_microusd),
        money(one.other_cost_microusd),
    ]


def _work(report: Report) -> str:
    rows = [_work_row(name, figures) for name, figures in report.agents.items()]
    headers = [
        "sub-agent",
        "tasks",
        "student",
        "frontier",
        "open",
        "why escalated",
        "p50 ms",
        "p95 ms",
        "cost",
        "frontier-only",
    ]
    return table(headers, rows, right=frozenset({1, 2, 3, 4, 6, 7, 8, 9}))


def _work_row(name: str, figures: AgentFigures) -> list[str]:
    from journeyman.scenarios.report import percentile

    reasons = ", ".join(f"{reason} {n}" for reason, n in figures.escalations.most_common())
    return [
        name,
        str(figures.num_tasks),
        str(figures.answered_by["student"]),
        str(figures.answered_by["frontier"]),
        str(figures.answered_by["none"]),
        reasons or "-",
        _ms(percentile(figures.latencies_ms, 50)),
        _ms(percentile(figures.latencies_ms, 95)),
        money(figures.cost_microusd),
        money(figures.frontier_only_microusd),
    ]


def _quality(report: Report) -> str:
    rows = []
    for agent in report.agents:
        student = report.quality(agent, "student")
        frontier = report.quality(agent, "frontier")
        system = report.quality(agent, "system")
        rows += [
            [agent, name, *(_estimate(arm.get(name)) for arm in (student, frontier, system))]
            for name in system
        ]
    headers = ["sub-agent", "metric", "student alone", "frontier", "system"]
    return table(headers, rows) + "\n(in brackets: 95 % interval)"


def _estimate(found: Estimate | None) -> str:
    return "-" if found is None else f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
