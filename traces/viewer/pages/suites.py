"""Suites: how they went over time, one run as a matrix, and two runs against each other."""

from __future__ import annotations

import sqlite3
from typing import Any

from datasette import Response
from markupsafe import Markup

from journeyman.models.errors import NotOnRecord
from journeyman.traces.viewer import charts
from journeyman.traces.viewer.queries import suites as queries
from journeyman.traces.viewer.visit import Shown, Visit

FILTERS = {"outcome": "outcome", "tag": "tag", "q": "id contains"}


async def suites(visit: Visit) -> Shown:
    """Every suite's latest runs."""
    suite = visit.query.get("suite", "")
    found = await visit.read(queries.history, suite)
    shown = [(one, _curve(one), _sparkline(one)) for one in found]
    return Shown("suites.html", "Suites", {"histories": shown, "suite": suite})


def _curve(history: queries.History) -> Markup | None:
    """Pass shares over time with their intervals, where there is more than one."""
    runs = [run for run in reversed(history.runs) if run["pass_rate"] is not None]
    if len(runs) < 2:
        return None
    line = charts.Line(
        "passed",
        "student",
        [(i + 1, run["pass_rate"]) for i, run in enumerate(runs)],
        notes=[
            f"{run['started_at'][:16].replace('T', ' ')} {run['label'] or ''}: "
            f"{run['num_passed']} of {run['num_counted']} passed"
            for run in runs
        ],
        spans=[(run["low"], run["high"]) for run in runs],
    )
    step = max(len(runs) // 8, 1)
    x = charts.Axis(
        "run, the oldest first",
        0.5,
        len(runs) + 0.5,
        [float(i) for i in range(1, len(runs) + 1, step)],
        unit="number",
    )
    title = f"Share of {history.suite} that passed, run by run"
    return charts.plot([line], x, charts.Axis("passed"), title, height=200)


def _sparkline(history: queries.History) -> Markup | None:
    shares = [run["pass_rate"] for run in reversed(history.runs) if run["pass_rate"] is not None]
    if not shares:
        return None
    told = f"pass share over {len(shares)} runs: from {shares[0]:.0%} to {shares[-1]:.0%}"
    return charts.sparkline(shares, told)


async def suite(visit: Visit) -> Any:
    """One run, scenario by epoch; one of its scenarios in full where it is asked for."""
    wanted, query = visit.part("run"), visit.query
    asked = queries.Filter.of(query)
    page = visit.whole("page", 1)
    scenario = query.get("scenario")

    def read(connection: sqlite3.Connection) -> dict[str, Any]:
        run = queries.find(connection, wanted)
        if run is None:
            return {"near": queries.starting_with(connection, wanted)}
        return {
            "run": run,
            "others": queries.others(connection, run),
            "matrix": queries.matrix(connection, wanted, asked, page),
            "epochs": queries.scenario(connection, wanted, scenario) if scenario else [],
        }

    facts = await visit.read(read)
    if "run" not in facts:
        if len(facts["near"]) == 1:
            return Response.redirect(visit.url("/suites", facts["near"][0], **query))
        raise NotOnRecord(f"No suite run, or more than one, has an id that starts {wanted!r}.")
    facts |= {"asked": asked, "scenario": scenario or "", "filters": FILTERS}
    return Shown("suite.html", f"Suite {facts['run']['suite']}", facts)


async def compare(visit: Visit) -> Shown:
    """Two runs against each other; `a` is the one to hold on to."""
    query = visit.query
    first, second = query.get("a", ""), query.get("b", "")

    def read(connection: sqlite3.Connection) -> dict[str, Any]:
        base, other = _one(connection, first), _one(connection, second)
        return {
            "base": base,
            "other": other,
            "found": queries.compare(connection, base, other),
        }

    facts = await visit.read(read)
    only = query.get("change", "")
    facts["only"] = only
    facts["counts"] = _counts(facts["found"])
    facts["changed"] = [one for one in facts["found"].changed if only in ("", one.change)]
    return Shown("compare.html", "Compare", facts)


def _one(connection: sqlite3.Connection, wanted: str) -> dict[str, Any]:
    run = queries.find(connection, wanted)
    if run is None:
        near = queries.starting_with(connection, wanted) if wanted else []
        run = queries.find(connection, near[0]) if len(near) == 1 else None
    if run is None:
        raise NotOnRecord(f"No suite run {wanted!r} is on record: name two as ?a=ID&b=ID.")
    return run


def _counts(found: queries.Comparison) -> dict[str, int]:
    counts = {"missing": 0, "regression": 0, "improvement": 0, "new": 0}
    for one in found.changed:
        counts[one.change] += 1
    return counts
