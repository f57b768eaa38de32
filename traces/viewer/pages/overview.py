"""The overview: is it working, what does it save, whom can I trust, what waits for me."""

from __future__ import annotations

import sqlite3
from typing import Any

from journeyman.traces.viewer import charts
from journeyman.traces.viewer.queries import overview as queries
from journeyman.traces.viewer.visit import Shown, Visit

SPANS = (7, 30, 90)
"""Days that the page offers to look back, from the latest task."""

LAYERS = {
    "student": "by students",
    "frontier": "by the frontier",
    "human": "by people",
    "none": "unanswered",
}


async def overview(visit: Visit) -> Shown:
    """Numbers of the latest days, and what holds now."""
    asked = visit.query.get("days", "")
    days = int(asked) if asked in map(str, SPANS) else 30

    def read(connection: sqlite3.Connection) -> dict[str, Any]:
        period = queries.period(connection, days)
        if period is None:
            return {"is_empty": True, "suites": queries.last_suites(connection)}
        since, last = period
        traffic = queries.traffic(connection, since, last)
        return {
            "is_empty": False,
            "since": since,
            "until": last,
            "traffic": traffic,
            "cost": queries.cost(connection, since, last, traffic.by_agent),
            "reasons": queries.reasons(connection, since, last),
            "trust": queries.trust(connection),
            "pending": queries.pending(connection),
            "suites": queries.last_suites(connection),
        }

    facts = await visit.read(read)
    facts |= {"days": days, "spans": SPANS, "layers": LAYERS}
    if not facts["is_empty"]:
        traffic = facts["traffic"]
        layers = [charts.Series(LAYERS[name], name, traffic.by_source[name]) for name in LAYERS]
        facts["chart"] = charts.stacked_bars(traffic.days, layers, "Tasks a day, by who answered")
    return Shown("overview.html", "Overview", facts)
