"""Suites: their runs over time, one run scenario by scenario, and two runs against each other.

What became of a scenario over its epochs follows the rules of `journeyman run` and `compare`.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from statistics import NormalDist
from typing import Any, Self

from journeyman.models.comparison import compare_paired
from journeyman.traces.viewer.intervals import wilson
from journeyman.traces.viewer.queries.reading import json_of, mapping, mappings

PAGE = 150
"""Scenarios on a page."""

MAX_RUNS = 40
"""Runs of one suite in its history."""

MARGIN = LEVEL = 0.05

_Z = NormalDist().inv_cdf(1 - LEVEL / 2)


@dataclass(frozen=True, slots=True)
class History:
    """Runs of one suite and arm.

    Attributes:
        suite, arm: Which.
        runs: The latest first, each with `low` and `high`, the interval of its pass share.
    """

    suite: str
    arm: str
    runs: Sequence[dict[str, Any]]


def history(connection: sqlite3.Connection, suite: str = "") -> list[History]:
    """Every suite's latest runs; the suite that ran last comes first."""
    rows = connection.execute(
        f"""SELECT * FROM (
            SELECT *, row_number() OVER (PARTITION BY suite, coalesce(arm, 'system')
                ORDER BY started_at DESC, suite_run_id DESC) AS place
            FROM v_suite_history WHERE :suite = '' OR suite = :suite)
        WHERE place <= {MAX_RUNS} ORDER BY started_at DESC LIMIT 2000""",  # noqa: S608  # a constant
        {"suite": suite},
    )
    grouped: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in map(dict, rows):
        counted = row["num_passed"] + row["num_failed"] + row["num_error"]
        low, high = wilson(row["num_passed"], counted)
        grouped.setdefault((row["suite"], row["arm"] or "system"), []).append(
            {**row, "low": low, "high": high, "num_counted": counted}
        )
    return [History(*key, runs) for key, runs in grouped.items()]


def find(connection: sqlite3.Connection, run_id: str) -> dict[str, Any] | None:
    """A suite run; None where it is not on record."""
    row = connection.execute("SELECT * FROM suite_runs WHERE id = ?", [run_id]).fetchone()
    if row is None:
        return None
    found = dict(row)
    for name in ("environment", "options", "summary"):
        found[name] = mapping(json_of(found[name]))
    argv = json_of(found["argv"])
    found["argv"] = [str(word) for word in argv] if isinstance(argv, list) else []
    return found


def starting_with(connection: sqlite3.Connection, prefix: str) -> list[str]:
    """Ids that start so, at most two: the command line shows the start alone."""
    rows = connection.execute(
        "SELECT id FROM suite_runs WHERE id >= ? AND id < ? ORDER BY id LIMIT 2",
        [prefix, prefix + "~"],
    )
    return [row[0] for row in rows]


def others(connection: sqlite3.Connection, run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Runs of the same suite and arm that a run can be compared with: baseline, then latest."""
    rows = connection.execute(
        """SELECT id, label, started_at, is_baseline, status FROM suite_runs
        WHERE suite = :suite AND coalesce(arm, '') = coalesce(:arm, '') AND id <> :id
        ORDER BY is_baseline DESC, started_at DESC LIMIT 12""",
        {"suite": run["suite"], "arm": run["arm"], "id": run["id"]},
    )
    return [dict(row) for row in rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which scenarios of a run are looked at; an empty text does not filter.

    Attributes:
        outcome: What became of them; `unstable`: not the same in every epoch.
        tag: With this tag.
        q: With this in their id.
    """

    outcome: str = ""
    tag: str = ""
    q: str = ""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Self:
        """The filter that a query string says."""
        return cls(**{item.name: query.get(item.name, "") for item in fields(cls)})

    @property
    def said(self) -> dict[str, str]:
        """What filters, by name."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name)}

    def without(self, name: str) -> dict[str, str]:
        """The query string of the filter without one of its parts."""
        return replace(self, **{name: ""}).said

    def holds(self, line: Line) -> bool:
        """Whether a scenario is looked at."""
        wanted = self.outcome in ("", line.outcome) or (
            self.outcome == "unstable" and line.is_unstable
        )
        has_tag = not self.tag or self.tag in line.tags
        return wanted and has_tag and self.q.casefold() in line.id.casefold()


@dataclass(frozen=True, slots=True)
class Line:
    """One scenario of a run, over its epochs.

    Attributes:
        id: The scenario.
        outcome: `passed`, `failed`, `error`, `skipped`, `xfailed` or `xpassed`.
        statuses: By epoch.
        tags: Its tags.
        xfail: Why it is expected to fail; None where it is not.
        is_test: It says what must hold; others are measurements.
        group: Equal for scenarios with the same content.
        reason: Why it did not pass; None where it did.
    """

    id: str
    outcome: str
    statuses: Mapping[int, str]
    tags: Sequence[str] = ()
    xfail: str | None = None
    is_test: bool = False
    group: str = ""
    reason: str | None = None

    @property
    def counts(self) -> bool:
        """It was run."""
        return self.outcome != "skipped"

    @property
    def passes(self) -> bool:
        """It passed, expected or not."""
        return self.outcome in ("passed", "xpassed")

    @property
    def is_unstable(self) -> bool:
        """Its epochs ended differently."""
        return len({status for status in self.statuses.values() if status != "skipped"}) > 1


def lines(connection: sqlite3.Connection, run_id: str) -> dict[str, Line]:
    """Every scenario of a run by its id, in order of the ids."""
    rows = connection.execute(
        """SELECT scenario_id, epoch, status, tags, xfail, reason,
            json_extract(figures, '$.is_test') AS is_test,
            json_extract(figures, '$.group') AS "group",
            json_extract(figures, '$.pass.rule') AS rule, json_extract(figures, '$.pass.n') AS n
        FROM (SELECT scenario_id, epoch, status, tags, xfail, reason,
                CASE WHEN json_valid(figures) THEN figures ELSE '{}' END AS figures
            FROM scenario_results WHERE suite_run_id = ?)
        ORDER BY scenario_id, epoch""",
        [run_id],
    )
    epochs: dict[str, list[dict[str, Any]]] = {}
    for row in map(dict, rows):
        epochs.setdefault(row["scenario_id"], []).append(row)
    return {name: _line(name, members) for name, members in epochs.items()}


def _line(name: str, epochs: Sequence[Mapping[str, Any]]) -> Line:
    first = epochs[0]
    tags = json_of(first["tags"])
    status = _verdict([row["status"] for row in epochs], first["rule"], first["n"])
    outcome = status
    if first["xfail"] is not None and status not in ("error", "skipped"):
        outcome = "xpassed" if status == "passed" else "xfailed"
    return Line(
        name,
        outcome,
        {row["epoch"]: row["status"] for row in epochs},
        tuple(str(tag) for tag in tags) if isinstance(tags, list) else (),
        first["xfail"],
        any(row["is_test"] for row in epochs),
        str(first["group"] or ""),
        next((row["reason"] for row in epochs if row["status"] != "passed"), None),
    )


def _verdict(statuses: Sequence[str], rule: Any, n: Any) -> str:
    """The status over the epochs: all must pass, any of them, or so many."""
    counted = [status for status in statuses if status != "skipped"]
    if not counted:
        return "skipped"
    needed = len(counted)
    if rule in ("any", "at_least"):
        needed = min(n, needed) if isinstance(n, int) else 1
    passed = counted.count("passed")
    if passed >= needed:
        return "passed"
    return "error" if passed + counted.count("error") >= needed else "failed"


@dataclass(frozen=True, slots=True)
class Matrix:
    """One page of a run's scenarios.

    Attributes:
        lines: Those of the filter on the page; what did not pass comes first.
        epochs: Numbers of the run's epochs.
        total: Scenarios of the filter.
        page, num_pages: From 1.
        counts: By the filter's name: values with their scenarios.
        cells: By scenario and epoch: the result's columns, without content.
    """

    lines: Sequence[Line]
    epochs: Sequence[int]
    total: int
    page: int
    num_pages: int
    counts: Mapping[str, Sequence[tuple[str, int]]]
    cells: Mapping[tuple[str, int], Mapping[str, Any]]


_FIRST = {"error": 0, "failed": 1, "xpassed": 2, "xfailed": 3, "passed": 4, "skipped": 5}


def matrix(connection: sqlite3.Connection, run_id: str, asked: Filter, page: int) -> Matrix:
    """One page of scenarios by epochs."""
    every = lines(connection, run_id)
    epochs = sorted({epoch for line in every.values() for epoch in line.statuses})
    found = [line for line in every.values() if asked.holds(line)]
    found.sort(key=lambda line: (_FIRST.get(line.outcome, 0), line.id))
    outcomes = Counter(line.outcome for line in found)
    if unstable := sum(line.is_unstable for line in found):
        outcomes["unstable"] = unstable
    tags = Counter(tag for line in found for tag in line.tags)
    num_pages = max((len(found) + PAGE - 1) // PAGE, 1)
    page = min(max(page, 1), num_pages)
    shown = found[(page - 1) * PAGE : page * PAGE]
    return Matrix(
        shown,
        epochs,
        len(found),
        page,
        num_pages,
        {"outcome": outcomes.most_common(), "tag": tags.most_common(12)},
        _cells(connection, run_id, [line.id for line in shown]),
    )


def _cells(
    connection: sqlite3.Connection, run_id: str, scenarios: Sequence[str]
) -> dict[tuple[str, int], dict[str, Any]]:
    marks = ", ".join("?" * len(scenarios))
    rows = connection.execute(
        f"""SELECT scenario_id, epoch, status, run_id, duration_ms, cost_microusd, assertions
        FROM scenario_results WHERE suite_run_id = ? AND scenario_id IN ({marks})""",  # noqa: S608  # question marks
        [run_id, *scenarios],
    )
    cells = {}
    for row in map(dict, rows):
        asserted = mappings(json_of(row.pop("assertions")), passed=None)
        row["num_asserted"] = len(asserted)
        row["num_held"] = sum(each["passed"] is True for each in asserted)
        cells[row["scenario_id"], row["epoch"]] = row
    return cells


def scenario(connection: sqlite3.Connection, run_id: str, wanted: str) -> list[dict[str, Any]]:
    """One scenario of a run, epoch by epoch, with its assertions, metrics and tasks."""
    rows = connection.execute(
        """SELECT * FROM scenario_results WHERE suite_run_id = ? AND scenario_id = ?
        ORDER BY epoch LIMIT 50""",
        [run_id, wanted],
    )
    return [
        {
            **dict(row),
            "metrics": mapping(json_of(row["metrics"])),
            "tags": json_of(row["tags"], []),
            "assertions": mappings(
                json_of(row["assertions"]), type="", name="", passed=None, score=None, reason=""
            ),
            "tasks": mappings(
                mapping(json_of(row["figures"])).get("tasks"),
                agent="", source=None, reason=None, certified=False, cost_microusd=None,
                latency_ms=None,
            ),
        }
        for row in rows
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Changed:
    """A scenario whose outcome differs.

    Attributes:
        id: The scenario.
        change: `missing`, `regression`, `improvement` or `new`.
        before, after: Outcomes; None where a run lacks it.
        is_test: It says what must hold.
        reason: Why it does not pass now.
    """

    id: str
    change: str
    before: str | None
    after: str | None
    is_test: bool
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """The share of scenarios that pass, on those that both runs have.

    Attributes:
        n: Scenarios in both.
        base, other: Shares that pass.
        low, high: 95 % interval of other - base.
        wins, losses: Pass in the other alone, and in the base alone.
        p_value: McNemar's exact test of wins against losses.
    """

    n: int
    base: float
    other: float
    low: float
    high: float
    wins: int
    losses: int
    p_value: float

    @property
    def is_worse(self) -> bool:
        """More losses than wins, and by more than luck."""
        return self.losses > self.wins and self.p_value <= LEVEL


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs against each other.

    Attributes:
        changed: Scenarios whose outcome differs: what is worse first.
        overall: On the scenarios that both have; None where there are none.
        measured: The same on those that are measurements.
        not_asked: Scenarios that the other run lacks since it was asked for others.
    """

    changed: Sequence[Changed]
    overall: Difference | None
    measured: Difference | None
    not_asked: Sequence[str] = field(default=())

    @property
    def num_regressions(self) -> int:
        """Regressions that say more than luck.

        Missing scenarios and those that say what must hold count one by one; measurements count
        where the losses as a whole are more than luck.
        """
        worse = self.measured is not None and self.measured.is_worse
        return sum(
            one.change == "missing" or (one.change == "regression" and (one.is_test or worse))
            for one in self.changed
        )


_ORDER = {"missing": 0, "regression": 1, "improvement": 2, "new": 3}


def compare(
    connection: sqlite3.Connection, base: Mapping[str, Any], other: Mapping[str, Any]
) -> Comparison:
    """Compare two runs on record; what the base passed and the other lacks is a regression."""
    before, after = lines(connection, base["id"]), lines(connection, other["id"])
    selection = mapping(mapping(other["options"]).get("selection"))
    changed: list[Changed] = []
    not_asked: list[str] = []
    for line in before.values():
        now = after.get(line.id)
        if not line.counts:
            continue
        if now is None or not now.counts:
            if line.passes and not _was_asked_for(selection, line):
                not_asked.append(line.id)
            elif line.passes:
                reason = now.reason if now is not None else "not in the other run"
                changed.append(
                    Changed(line.id, "missing", line.outcome, None, line.is_test, reason)
                )
        elif line.passes and not now.passes and now.outcome != "xfailed":
            is_test = line.is_test or now.is_test
            changed.append(
                Changed(line.id, "regression", line.outcome, now.outcome, is_test, now.reason)
            )
        elif now.passes and not line.passes:
            changed.append(Changed(line.id, "improvement", line.outcome, now.outcome, now.is_test))
    changed += [
        Changed(line.id, "new", None, line.outcome, line.is_test)
        for line in after.values()
        if line.id not in before and line.counts
    ]
    changed.sort(key=lambda one: (_ORDER[one.change], not one.is_test, one.id))
    pairs = [
        (line, after[line.id])
        for line in before.values()
        if line.counts and line.id in after and after[line.id].counts
    ]
    measured = [pair for pair in pairs if not pair[0].is_test]
    return Comparison(changed, _difference(pairs), _difference(measured), not_asked)


def _was_asked_for(selection: Mapping[str, Any], line: Line) -> bool:
    """Would the run have had the scenario, were it still in the suite? Doubt says no."""
    if any(selection.get(name) is not None for name in ("limit", "shard", "keyword")):
        return False
    ids, tags = selection.get("ids") or [], selection.get("tags") or []
    return (not ids or line.id in ids) and (not tags or bool(set(tags) & set(line.tags)))


def _difference(pairs: Sequence[tuple[Line, Line]]) -> Difference | None:
    if not pairs:
        return None
    found = compare_paired(
        [before.passes for before, _ in pairs],
        [after.passes for _, after in pairs],
        margin=MARGIN,
        level=LEVEL,
        groups=[before.group or before.id for before, _ in pairs],
    )
    reach = _Z * found.standard_error
    return Difference(
        found.n,
        found.incumbent,
        found.candidate,
        max(-1.0, found.difference - reach),
        min(1.0, found.difference + reach),
        found.wins,
        found.losses,
        found.mcnemar_p,
    )
