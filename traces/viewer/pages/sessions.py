"""Conversations: the list of them, and one as turns."""

from __future__ import annotations

from journeyman.models.errors import NotOnRecord
from journeyman.traces.viewer.queries import sessions as queries
from journeyman.traces.viewer.visit import Shown, Visit


async def sessions(visit: Visit) -> Shown:
    """The conversations, the one that went on last first."""
    page = _page(visit)
    rows, is_more = await visit.read(queries.listing, page)
    facts = {"rows": rows, "page": page, "is_more": is_more}
    return Shown("sessions.html", "Sessions", facts)


async def session(visit: Visit) -> Shown:
    """One conversation."""
    wanted, page = visit.part("session"), _page(visit)
    rows = await visit.read(queries.turns, wanted, page)
    if not rows:
        raise NotOnRecord(f"No run belongs to a session {wanted!r}.")
    facts = {
        "session_id": wanted,
        "turns": rows[: queries.MAX_TURNS],
        "page": page,
        "is_more": len(rows) > queries.MAX_TURNS,
    }
    return Shown("session.html", "Session", facts)


def _page(visit: Visit) -> int:
    return max(visit.whole("page", 1), 1)
