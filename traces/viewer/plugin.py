"""What Datasette calls: pages, links, headers. Works on the 0.65 and the 1.0 line.

Every hook first asks whether a database is ours. Datasette ignores hooks that it does not know, so
that the 0.65 line's may stand beside the 1.0 line's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import pluggy
from markupsafe import Markup

from journeyman.traces.viewer import routes
from journeyman.traces.viewer.answering import View
from journeyman.traces.viewer.gate import IS_OLD_LINE, is_trace_store, trace_database
from journeyman.traces.viewer.questions import QUESTIONS
from journeyman.traces.viewer.rendering import short
from journeyman.traces.viewer.safety import Safety
from journeyman.traces.viewer.visible import plain
from journeyman.traces.viewer.visit import ROOT

hookimpl = pluggy.HookimplMarker("datasette")

LINKED = {
    "run_id": "/runs/",
    "session_id": "/sessions/",
    "escalation_id": "/escalations/",
    "suite_run_id": "/suites/",
    "round_id": "/rounds/",
    "release_id": "/releases/",
}
"""Columns of any table whose values have a page of their own."""


@hookimpl
def register_routes() -> list[tuple[str, View]]:
    """The viewer's pages."""
    return routes.routes()


@hookimpl
def asgi_wrapper(datasette: Any) -> Callable[[Any], Any]:
    """Checks and headers around everything that Datasette serves."""
    return lambda app: Safety(app, datasette)


@hookimpl
def menu_links(datasette: Any) -> Callable[[], Awaitable[list[dict[str, str]]]]:
    """A way back from Datasette's own pages."""

    async def links() -> list[dict[str, str]]:
        if await trace_database(datasette) is None:
            return []
        return [{"href": datasette.urls.path(ROOT), "label": "Journeyman"}]

    return links


@hookimpl
def database_actions(
    datasette: Any, database: str
) -> Callable[[], Awaitable[list[dict[str, str]]]]:
    """A way from the database's page to the viewer."""

    async def actions() -> list[dict[str, str]]:
        if not await is_trace_store(datasette.get_database(database)):
            return []
        return [{"href": datasette.urls.path(ROOT), "label": "Open in the trace viewer"}]

    return actions


@hookimpl
def render_cell(
    value: Any, column: str, table: str | None, database: str, datasette: Any
) -> Callable[[], Awaitable[Markup | None]] | None:
    """Ids of runs and sessions as links to their pages."""
    base = "/runs/" if (table, column) == ("runs", "id") else LINKED.get(column)
    if base is None or not isinstance(value, str) or not value:
        return None

    async def cell() -> Markup | None:
        if not await is_trace_store(datasette.get_database(database)):
            return None
        target = datasette.urls.path(ROOT + base + quote(value, safe=""))
        return Markup('<a href="{}">{}</a>').format(target, plain(short(value)))

    return cell


@hookimpl
def canned_queries(datasette: Any, database: str) -> Callable[[], Awaitable[dict[str, Any]]]:
    """The named questions, for the 0.65 line."""

    async def queries() -> dict[str, Any]:
        if not await is_trace_store(datasette.get_database(database)):
            return {}
        return {name: {"title": title, "sql": sql} for name, (title, sql) in QUESTIONS.items()}

    return queries


@hookimpl
def startup(datasette: Any) -> Callable[[], Awaitable[None]]:
    """The named questions, for the 1.0 line."""

    async def add() -> None:
        if IS_OLD_LINE:
            return
        for name, database in datasette.databases.items():
            if not name.startswith("_") and await is_trace_store(database):
                for question, (title, sql) in QUESTIONS.items():
                    await datasette.add_query(name, question, sql, title=title, is_trusted=True)

    return add
