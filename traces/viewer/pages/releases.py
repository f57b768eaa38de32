"""Releases: which came of which, and everything that is known of one."""

from __future__ import annotations

import sqlite3
from typing import Any

from datasette import Response

from journeyman.models.errors import NotOnRecord
from journeyman.traces.viewer.queries import releases as queries
from journeyman.traces.viewer.visit import Shown, Visit


async def releases(visit: Visit) -> Shown:
    """Every sub-agent's releases with their parents."""
    agent = visit.query.get("agent", "")
    found = await visit.read(queries.lineage, agent)
    return Shown("releases.html", "Releases", {"agents": found, "agent": agent})


async def release(visit: Visit) -> Any:
    """One release by its id; the start of an id leads to it."""
    wanted = visit.part("release")

    def read(connection: sqlite3.Connection) -> dict[str, Any]:
        row = queries.find(connection, wanted)
        if row is None:
            return {"near": queries.starting_with(connection, wanted)}
        return {"row": row, "around": queries.around(connection, row)}

    facts = await visit.read(read)
    if "row" not in facts:
        if len(facts["near"]) == 1:
            return Response.redirect(visit.url("/releases", facts["near"][0]))
        raise NotOnRecord(
            f"No release {wanted!r} is on record: before its first round a sub-agent answers with "
            "what was never taught, and no release is made of that."
        )
    return Shown("release.html", facts["row"]["id"], facts)
