"""Suite runs as Markdown, for a pull request or a chat."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from journeyman.scenarios.comparing import interval
from journeyman.scenarios.report_files import RunReport

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+\-!|&~])")
_MOST = 50


def to_markdown(runs: Sequence[RunReport]) -> str:
    """Verdict, figures, what did not pass, gates and comparison, for each run."""
    return "\n".join(line for run in runs for line in _run(run))


def plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _run(run: RunReport) -> Iterator[str]:
    report = run.report
    cost = report.cost_microusd
    yield f"## {plain(run.name)}: {run.status}\n"
    yield from (f"- {plain(reason)}" for reason in run.verdict.reasons[:_MOST])
    yield "\n| | |\n| --- | --- |"
    yield f"| run | `{run.id}` {plain(run.label or '')} |"
    yield f"| frontier | {plain(run.frontier)} |"
    yield f"| pass rate | {interval(report.pass_rate)} of {len(report.verdicts)} scenarios |"
    yield f"| escalated | {interval(report.escalation_rate)} |"
    yield f"| cost | {'unknown' if cost is None else f'${cost / 1e6:.4f}'} |"
    yield from _figures(run)
    yield from _failures(run)
    if run.verdict.gates:
        yield "\n| gate | | |\n| --- | --- | --- |"
        for gate in run.verdict.gates:
            word = "kept" if gate.passed else "**missed**"
            yield f"| {plain(gate.name)} | {word} | {plain(gate.detail)} |"
    yield from _comparison(run)
    yield ""


def _figures(run: RunReport) -> Iterator[str]:
    report = run.report
    if not any(report.quality(agent, "system") for agent in report.agents):
        return
    yield "\n| sub-agent | metric | student alone | frontier | system |"
    yield "| --- | --- | --- | --- | --- |"
    for agent in report.agents:
        student, frontier = report.quality(agent, "student"), report.quality(agent, "frontier")
        for name, found in report.quality(agent, "system").items():
            cells = (interval(student.get(name)), interval(frontier.get(name)), interval(found))
            yield f"| {plain(agent)} | {plain(name)} | {' | '.join(cells)} |"
    yield "\nIn brackets: 95 % interval."


def _failures(run: RunReport) -> Iterator[str]:
    failed = [line for line in run.lines.values() if not line.passes and line.is_test]
    if not failed:
        return
    yield "\n| scenario | | why |\n| --- | --- | --- |"
    for line in failed[:_MOST]:
        yield f"| {plain(line.id)} | {line.outcome} | {plain(line.reason or '')} |"
    if len(failed) > _MOST:
        yield f"\n... and {len(failed) - _MOST} more."


def _comparison(run: RunReport) -> Iterator[str]:
    found = run.comparison
    if found is None:
        return
    yield f"\nAgainst {plain(found.base.name)}: {len(found.regressions)} regressions."
    if found.overall is not None:
        one = found.overall
        yield (
            f"Pass rate {one.base:.3f} -> {one.other:.3f}, difference {one.difference:+.3f} "
            f"[{one.low:+.3f}, {one.high:+.3f}], p = {one.p_value:.3g}."
        )
    for change in found.changed[:_MOST]:
        yield f"- {change.change}: {plain(change.id)} {plain(change.reason or '')}"
