"""Two suite runs against each other, scenario by scenario: regressions first, then the figures.

A run is read from the record or from a JSON report. Scenarios are paired by id; the difference in
the share that passes comes with its interval and McNemar's exact test. A scenario of the base that
the other run lacks is a regression, unless the other run was asked for other scenarios.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from scipy import special  # type: ignore[import-untyped]  # scipy ships no types

from journeyman.models.comparison import compare_paired
from journeyman.models.errors import ConfigError
from journeyman.scenarios.estimates import Estimate
from journeyman.scenarios.finished import Finished, from_record, total
from journeyman.scenarios.gates import GateResult
from journeyman.scenarios.report import verdict_of
from journeyman.scenarios.resume import find_run, selection_of
from journeyman.scenarios.selection import Selection
from journeyman.traces.baselines import set_baseline
from journeyman.traces.records import SuiteRunRecord
from journeyman.traces.store import Store

By = Literal["agent", "tag"]
Change = Literal["regression", "missing", "improvement", "new"]

REPORT_FORMAT = "journeyman-report"
_MARGIN = 0.05
_LEVEL = 0.05


@dataclass(frozen=True)
class Line:
    """One scenario of a run, over its epochs.

    Attributes:
        id: The scenario.
        outcome: Over its epochs; see `verdicts.Outcome`.
        is_test: A failure fails the run.
        num_passed: Epochs that passed.
        num_epochs: Epochs that ran.
        agents: Sub-agents that had a task in it.
        tags: Its tags.
        group: Equal for scenarios with the same content.
        num_tasks: Tasks, over its epochs.
        num_escalated: Those that went to the frontier.
        cost_microusd: Of its answers; None where that is unknown.
        duration_ms: Wall time, over its epochs.
        reason: Why it did not pass; None where it did.
    """

    id: str
    outcome: str
    is_test: bool
    num_passed: int
    num_epochs: int
    agents: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    group: str = ""
    num_tasks: int = 0
    num_escalated: int = 0
    cost_microusd: int | None = 0
    duration_ms: float = 0.0
    reason: str | None = None

    @property
    def counts(self) -> bool:
        """It was run."""
        return self.outcome != "skipped"

    @property
    def passes(self) -> bool:
        """It passed, expected or not."""
        return self.outcome in ("passed", "xpassed")


@dataclass(frozen=True)
class Side:
    """One of two runs.

    Attributes:
        name: How people call it: label or id.
        suite: Name of the suite.
        arm: Which arm the whole run was.
        lines: Its scenarios by id.
        selection: What of the suite it was asked for; None where that is not known.
        figures: Its figures by name; see `figures_of`.
    """

    name: str
    suite: str
    arm: str
    lines: Mapping[str, Line]
    selection: Selection | None = None
    figures: Mapping[str, float] = field(default_factory=dict)

    def was_asked_for(self, line: Line) -> bool:
        """Would this run have had the scenario, were it still in the suite?"""
        selection = self.selection
        if selection is None:
            return True
        if selection.limit is not None:  # which ones a limit draws hangs on all the others
            return False
        return selection.has(line.id, line.tags)


@dataclass(frozen=True, slots=True)
class Changed:
    """A scenario whose verdict differs."""

    id: str
    change: Change
    before: str | None
    after: str | None
    is_test: bool
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """The share of scenarios that pass, on those that both runs have.

    Attributes:
        name: Sub-agent or tag; empty for all.
        n: Scenarios in both.
        base: Share that passes in the base.
        other: Share that passes in the other.
        difference: other - base.
        low: Lower end of its 95 % interval.
        high: Upper end.
        wins: Pass in the other alone.
        losses: Pass in the base alone.
        p_value: McNemar's exact test of wins against losses.
        base_escalated: Share of the base's tasks that went to the frontier; None without tasks.
        other_escalated: The same of the other.
        base_cost_microusd: Cost of these scenarios; None where it is unknown.
        other_cost_microusd: The same of the other.
    """

    name: str
    n: int
    base: float
    other: float
    difference: float
    low: float
    high: float
    wins: int
    losses: int
    p_value: float
    base_escalated: float | None
    other_escalated: float | None
    base_cost_microusd: int | None
    other_cost_microusd: int | None

    @property
    def is_worse(self) -> bool:
        """More losses than wins, and by more than luck."""
        return self.losses > self.wins and self.p_value <= _LEVEL


@dataclass(frozen=True)
class Comparison:
    """Two runs against each other.

    Attributes:
        base: The earlier run.
        other: The later one.
        changed: Scenarios whose verdict differs, regressions first.
        overall: All scenarios that both have; None where there are none.
        groups: The same by sub-agent or tag.
    """

    base: Side
    other: Side
    changed: tuple[Changed, ...]
    overall: Difference | None
    groups: tuple[Difference, ...] = ()

    @property
    def regressions(self) -> tuple[Changed, ...]:
        """What passed and does not, as far as it says more than luck.

        Scenarios that say what must hold, and missing ones, count one by one. Of measured rows some
        change their verdict by luck in any two runs: they count where the losses as a whole are
        more than luck.
        """
        lost = [one for one in self.changed if one.change in ("regression", "missing")]
        measured = self._measured()
        return tuple(
            one for one in lost if one.is_test or one.change == "missing" or measured.is_worse
        )

    def _measured(self) -> Difference:
        pairs = [
            (line, self.other.lines[line.id])
            for line in self.base.lines.values()
            if line.id in self.other.lines and not line.is_test
        ]
        pairs = [(before, after) for before, after in pairs if before.counts and after.counts]
        return _difference("", pairs)

    def to_json(self) -> dict[str, Any]:
        """As JSON-compatible data."""
        return {
            "event": "comparison",
            "base": {"name": self.base.name, "suite": self.base.suite, "arm": self.base.arm},
            "other": {"name": self.other.name, "suite": self.other.suite, "arm": self.other.arm},
            "num_regressions": len(self.regressions),
            "overall": asdict(self.overall) if self.overall is not None else None,
            "groups": [asdict(one) for one in self.groups],
            "changed": [asdict(one) for one in self.changed],
        }


def compare(base: Side, other: Side, *, by: By | None = None) -> Comparison:
    """Compare two runs.

    Args:
        base: The one to hold on to.
        other: The one that is judged.
        by: Also compare the scenarios of each sub-agent, or of each tag.
    """
    pairs = [
        (line, other.lines[line.id])
        for line in base.lines.values()
        if line.id in other.lines and line.counts and other.lines[line.id].counts
    ]
    groups: dict[str, list[tuple[Line, Line]]] = {}
    for before, after in pairs:
        names = () if by is None else before.agents if by == "agent" else before.tags
        for name in names:
            groups.setdefault(name, []).append((before, after))
    return Comparison(
        base,
        other,
        tuple(_changes(base, other)),
        _difference("", pairs) if pairs else None,
        tuple(_difference(name, members) for name, members in sorted(groups.items())),
    )


_ORDER: Mapping[Change, int] = {"missing": 0, "regression": 1, "improvement": 2, "new": 3}


def _changes(base: Side, other: Side) -> list[Changed]:
    found = []
    for line in base.lines.values():
        after = other.lines.get(line.id)
        if not line.counts:
            continue
        if after is None or not after.counts:
            if line.passes and other.was_asked_for(line):
                reason = after.reason if after is not None else "not in the other run"
                found.append(Changed(line.id, "missing", line.outcome, None, line.is_test, reason))
        elif line.passes and not after.passes and after.outcome != "xfailed":
            is_test = line.is_test or after.is_test
            found.append(
                Changed(line.id, "regression", line.outcome, after.outcome, is_test, after.reason)
            )
        elif after.passes and not line.passes:
            found.append(
                Changed(line.id, "improvement", line.outcome, after.outcome, after.is_test)
            )
    found += [
        Changed(line.id, "new", None, line.outcome, line.is_test)
        for line in other.lines.values()
        if line.id not in base.lines and line.counts
    ]
    return sorted(found, key=lambda one: (_ORDER[one.change], not one.is_test, one.id))


def _difference(name: str, pairs: Sequence[tuple[Line, Line]]) -> Difference:
    if not pairs:
        return Difference(name, 0, 0, 0, 0, 0, 0, 0, 0, 1.0, None, None, 0, 0)
    found = compare_paired(
        [before.passes for before, _ in pairs],
        [after.passes for _, after in pairs],
        margin=_MARGIN,
        level=_LEVEL,
        groups=[before.group or before.id for before, _ in pairs],
    )
    reach = float(special.ndtri(1 - _LEVEL / 2)) * found.standard_error
    return Difference(
        name,
        found.n,
        found.incumbent,
        found.candidate,
        found.difference,
        max(-1.0, found.difference - reach),
        min(1.0, found.difference + reach),
        found.wins,
        found.losses,
        found.mcnemar_p,
        _escalated(before for before, _ in pairs),
        _escalated(after for _, after in pairs),
        total([before.cost_microusd for before, _ in pairs]),
        total([after.cost_microusd for _, after in pairs]),
    )


def _escalated(lines: Iterable[Line]) -> float | None:
    lines = list(lines)
    num_tasks = sum(line.num_tasks for line in lines)
    return sum(line.num_escalated for line in lines) / num_tasks if num_tasks else None


def lines_of(results: Iterable[Finished]) -> dict[str, Line]:
    """Results by scenario, over their epochs, sorted by id."""
    epochs: dict[str, list[Finished]] = {}
    for one in sorted(results, key=lambda one: one.key):
        epochs.setdefault(one.scenario_id, []).append(one)
    return {name: _line(members) for name, members in epochs.items()}


def _line(epochs: Sequence[Finished]) -> Line:
    verdict = verdict_of(epochs)
    return Line(
        id=verdict.scenario_id,
        outcome=verdict.outcome,
        is_test=verdict.is_test,
        num_passed=verdict.num_passed,
        num_epochs=verdict.num_epochs,
        agents=tuple(dict.fromkeys(name for one in epochs for name in one.agents)),
        tags=verdict.tags,
        group=epochs[0].group,
        num_tasks=sum(task.source is not None for one in epochs for task in one.tasks),
        num_escalated=sum(one.num_escalated for one in epochs),
        cost_microusd=total([one.cost_microusd for one in epochs]),
        duration_ms=sum(one.duration_ms for one in epochs),
        reason=verdict.reason,
    )


def side_of_run(store: Store, record: SuiteRunRecord) -> Side:
    """A run on record."""
    results = [from_record(row) for row in store.scenario_results(record.id)]
    selection = selection_of(record) if "selection" in record.options else None
    arm = record.arm or "system"
    name = record.label or record.id[:18]
    lines = lines_of(results)
    return Side(name, record.suite, arm, lines, selection, figures_of(record.summary))


def side_of_file(path: Path, *, suite: str | None = None, arm: str | None = None) -> Side:
    """A run in a JSON report.

    Args:
        path: What `journeyman run --report json=FILE` wrote.
        suite: Which of several suites in it; where None there must be one.
        arm: Which of several arms of it.

    Raises:
        ConfigError: The file cannot be read, is no report, or does not hold the suite.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise ConfigError(f"Cannot read the report {str(path)!r}: {error}.", path=path) from error
    try:
        ours = (data["format"], data["version"]) == (REPORT_FORMAT, 1)
        runs = [one for one in data["runs"] if suite in (None, one["suite"])] if ours else []
        sides = [
            Side(
                run["label"] or path.name,
                run["suite"],
                run["arm"],
                {line["id"]: _read_line(line) for line in run["scenarios"]},
                Selection.from_json(run["selection"]) if run["selection"] else None,
                figures_of(run["summary"]),
            )
            for run in runs
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{str(path)!r} is no report of `journeyman run --report json=FILE` ({error!r}): give "
            "such a file, or the id or label of a run.",
            path=path,
        ) from error
    if len(sides) > 1 and arm is not None:
        sides = [side for side in sides if side.arm == arm]
    if len(sides) != 1:
        of = f" of suite {suite!r}" if suite is not None else ""
        raise ConfigError(
            f"The report {str(path)!r} holds {len(sides)} runs{of}, and one is needed.", path=path
        )
    return sides[0]


def figures_of(summary: Mapping[str, Any]) -> dict[str, float]:
    """Figures of a run by name, from its summary: pass rate, escalation rate, cost, metrics."""
    found = dict(summary.get("arms", {}).get("system", {}))
    for name in ("pass_rate", "escalation_rate"):
        if summary.get(name):
            found[name] = summary[name][0]
    cost = summary.get("cost_microusd", {}).get("system")
    if cost is not None:
        found["cost_usd"] = cost / 1e6
    return found


LESS_IS_BETTER = frozenset({"escalation_rate", "cost_usd"})


def parse_tolerances(written: Sequence[str]) -> dict[str, float]:
    """`--tolerance` such as `pass_rate=0.02`, by figure.

    Raises:
        ConfigError: One is no figure and number.
    """
    found = {}
    for one in written:
        name, _, value = one.partition("=")
        try:
            found[name] = float(value)
        except ValueError:
            found[name] = -1.0
        if not name or not found[name] >= 0:
            raise ConfigError(f"--tolerance {one!r} is no FIGURE=X; write it as pass_rate=0.02.")
    return found


def check_tolerances(
    base: Side, now: Mapping[str, float], tolerances: Mapping[str, float]
) -> list[GateResult]:
    """Figures against the base's, each with what it may lose.

    Raises:
        ConfigError: The base has no such figure.
    """
    checked = []
    for name, allowed in tolerances.items():
        if name not in base.figures:
            known = ", ".join(sorted(base.figures))
            raise ConfigError(f"--tolerance names an unknown figure {name!r}; known are {known}.")
        before, after = base.figures[name], now.get(name)
        if after is None:
            detail = f"{before:.4f} -> not measured"
            checked.append(GateResult(f"tolerance {name}", False, detail))
            continue
        loss = after - before if name in LESS_IS_BETTER else before - after
        detail = f"{before:.4f} -> {after:.4f}, at most {allowed:g} worse"
        # A loss of just so much must not fail for the last bit of a float.
        checked.append(GateResult(f"tolerance {name}", loss <= allowed + 1e-12, detail))
    return checked


def find_side(
    store: Store, named: str, *, suite: str | None = None, arm: str | None = None
) -> Side:
    """The run that a word stands for: a JSON report, or what `find_run` takes.

    Raises:
        ConfigError: There is none.
        TraceError: More than one id starts like this.
    """
    path = Path(named)
    if path.suffix == ".json" or path.is_file():
        return side_of_file(path, suite=suite, arm=arm)
    return side_of_run(store, find_run(store, named, suite=suite, arm=arm))


def bless(store: Store, record: SuiteRunRecord) -> None:
    """Make a run the baseline of its suite and arm, in the place of any other.

    Raises:
        ConfigError: The run is not finished.
    """
    if record.status in ("running", "interrupted", "stopped"):
        raise ConfigError(
            f"Run {record.id!r} is {record.status}: finish it with `journeyman run --resume "
            f"{record.id[:18]}` before it is blessed."
        )
    set_baseline(store, record.id)


def _read_line(data: Mapping[str, Any]) -> Line:
    return Line(**{**data, "agents": tuple(data["agents"]), "tags": tuple(data["tags"])})


def interval(found: Estimate | None) -> str:
    """An estimate as text: value and interval."""
    return "-" if found is None else f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"
