"""The style sheet and the script, under addresses that change with their content."""

from __future__ import annotations

from typing import Any

from datasette import Response

from journeyman.models.errors import NotOnRecord
from journeyman.traces.viewer.rendering import STATIC
from journeyman.traces.viewer.visit import Visit

TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}


async def static(visit: Visit) -> Any:
    """A file of `static/`."""
    name = visit.part("name")
    path = STATIC / name
    if path.name != name or path.suffix not in TYPES or not path.is_file():
        raise NotOnRecord(f"There is no file {name!r}.")
    lasting = "max-age=31536000, immutable" if "v" in visit.query else "no-cache"
    return Response(
        path.read_text(encoding="utf-8"),
        content_type=TYPES[path.suffix],
        headers={"Cache-Control": lasting},
    )
