"""Rounds: what each taught, as a curve, and how one came to its decision."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from datasette import Response
from markupsafe import Markup

from journeyman.models.errors import NotOnRecord
from journeyman.traces.viewer import charts
from journeyman.traces.viewer.queries import rounds as queries
from journeyman.traces.viewer.visit import Shown, Visit


async def rounds(visit: Visit) -> Shown:
    """The learning curve of every sub-agent."""
    agent = visit.query.get("agent", "")
    found = await visit.read(queries.history, agent)
    shown = [(name, rows[::-1], _curve(name, rows)) for name, rows in found.items()]
    return Shown("rounds.html", "Rounds", {"agents": shown, "agent": agent})


def _curve(agent: str, rounds: Sequence[Mapping[str, Any]]) -> Markup | None:
    """Quality and certified share of what each round put up, round by round."""
    lines = [
        _line(rounds, "candidate_quality", "quality", "student"),
        _line(rounds, "candidate_coverage", "certified share", "human"),
        _line(rounds, "baseline_quality", "baseline", "quiet"),
    ]
    drawn = [line for line in lines if line.points]
    if not drawn:
        return None
    first, last = rounds[0]["number"], rounds[-1]["number"]
    step = max((last - first) // 8, 1)
    x = charts.Axis(
        "round",
        first - 0.5,
        last + 0.5,
        [float(i) for i in range(first, last + 1, step)],
        unit="number",
    )
    title = f"What the rounds of {agent} put up: quality and certified share, on held-out tasks"
    return charts.plot(drawn, x, charts.Axis("share of held-out tasks"), title, height=240)


def _line(rounds: Sequence[Mapping[str, Any]], column: str, name: str, css: str) -> charts.Line:
    known = [row for row in rounds if row[column] is not None]
    return charts.Line(
        name,
        css,
        [(row["number"], row[column]) for row in known],
        notes=[
            f"round {row['number']}: {name} {row[column]:.1%}, {row['decision'] or row['status']}"
            for row in known
        ],
        label=name,
    )


async def round_(visit: Visit) -> Any:
    """One round by its id; the start of an id leads to it."""
    wanted = visit.part("round")

    def read(connection: sqlite3.Connection) -> dict[str, Any]:
        row = queries.find(connection, wanted)
        if row is None:
            return {"near": queries.starting_with(connection, wanted)}
        before, after = queries.neighbours(connection, row)
        return {
            "row": row,
            "before": before,
            "after": after,
            "report": queries.report(connection, row),
            "known": queries.known_releases(connection, row["agent"]),
        }

    facts = await visit.read(read)
    if "row" not in facts:
        if len(facts["near"]) == 1:
            return Response.redirect(visit.url("/rounds", facts["near"][0]))
        raise NotOnRecord(f"No round, or more than one, has an id that starts {wanted!r}.")
    row = facts["row"]
    stage = row["stage"]
    reached = queries.STAGES.index(stage) if stage in queries.STAGES else -1
    facts |= {"stages": queries.STAGES, "reached": reached}
    return Shown("round.html", f"Round {row['number']} of {row['agent']}", facts)
