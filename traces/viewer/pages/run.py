"""One run: what was asked, what each said, where they differ, and where the time went."""

from __future__ import annotations

import sqlite3
from typing import Any

from datasette import Response

from journeyman.models.errors import NotOnRecord
from journeyman.traces.viewer.queries import run as queries
from journeyman.traces.viewer.queries import runs as lists
from journeyman.traces.viewer.visit import Shown, Visit


async def run(visit: Visit) -> Any:
    """A run by its id; the start of an id leads to it."""
    wanted, query = visit.part("run"), visit.query
    asked = lists.Filter.of(query)
    page = visit.whole("page", 1)
    span = query.get("span")

    def read(connection: sqlite3.Connection) -> dict[str, Any]:
        found = queries.find(connection, wanted)
        if found is None:
            return {"others": queries.starting_with(connection, wanted)}
        newer, older = lists.neighbours(connection, asked, found)
        return {
            "run": found,
            "newer": newer,
            "older": older,
            "tasks": queries.tasks(connection, wanted),
            "steps": queries.steps(connection, wanted, page=page, span=span),
            "span": queries.span_of(connection, wanted, span) if span else None,
            "scores": queries.scores(connection, wanted),
            "inside": queries.inside(connection, wanted),
        }

    facts = await visit.read(read)
    if "run" not in facts:
        if len(facts["others"]) == 1:
            return Response.redirect(visit.url("/runs", facts["others"][0], **asked.said))
        raise NotOnRecord(f"No run, or more than one, has an id that starts with {wanted!r}.")
    facts |= {"asked": asked}
    return Shown("run.html", f"Run {wanted[:8]}", facts)
