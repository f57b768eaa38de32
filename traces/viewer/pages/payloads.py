"""Content on demand: readable in parts, or as a file."""

from __future__ import annotations

import json
from typing import Any

from datasette import Response

from journeyman.models.errors import NotOnRecord
from journeyman.traces.viewer.queries import payloads as queries
from journeyman.traces.viewer.visit import Shown, Visit


async def payload(visit: Visit) -> Shown:
    """A payload, indented where it fits one page."""
    hashed = visit.part("hash")
    part = await visit.read(queries.part, hashed, visit.whole("offset", 0))
    if part is None:
        raise _missing(hashed)
    facts = {"hash": hashed, "part": part, "text": _readable(part), "max_chars": queries.MAX_CHARS}
    return Shown("payload.html", "Payload", facts)


async def raw(visit: Visit) -> Any:
    """The same as a file: never shown by the browser, whatever it holds."""
    hashed = visit.part("hash")
    content = await visit.read(queries.whole, hashed)
    if content is None:
        raise _missing(hashed)
    return Response(
        content.encode("utf-8", "backslashreplace"),
        content_type="application/json; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="payload.json"'},
    )


def _missing(hashed: str) -> NotOnRecord:
    return NotOnRecord(f"No payload is on record under {hashed!r}.")


def _readable(part: queries.Part) -> str:
    """Indented where it is whole and stays short; as it is elsewhere."""
    if not part.is_whole:
        return part.content
    try:
        value = json.loads(part.content)
        text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return part.content
    return text if len(text) <= 2 * queries.MAX_CHARS else part.content
