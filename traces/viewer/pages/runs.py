"""The list of runs: its filter is the query string."""

from __future__ import annotations

import sqlite3
from typing import Any

from journeyman.traces.viewer.queries import runs as queries
from journeyman.traces.viewer.visit import Shown, Visit

FACETS = {
    "status": "status",
    "agent": "sub-agent",
    "source": "answered by",
    "escalated": "escalated",
    "graph": "graph",
}
"""Filters that are offered with counts, and what they are called."""

ALSO = {"session": "session", "suite_run": "suite run", "starred": "starred", "reason": "reason"}
"""Filters that come from links, and what they are called."""


async def runs(visit: Visit) -> Shown:
    """The runs of a filter, newest first."""
    query = visit.query
    asked = queries.Filter.of(query)

    def read(connection: sqlite3.Connection) -> dict[str, Any]:
        return {
            "listing": queries.listing(
                connection, asked, before=query.get("before"), after=query.get("after")
            ),
            "facets": queries.facets(connection, asked),
            "choices": queries.choices(connection),
        }

    facts = await visit.read(read)
    return Shown(
        "runs.html", "Runs", {"asked": asked, "facet_names": FACETS, "also": ALSO, **facts}
    )
