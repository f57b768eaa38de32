"""What every page goes through: gate, permission, schema, errors, facts of the base page."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from datasette import Response

from journeyman.models.errors import NotOnRecord, QueryTooSlow, TraceError
from journeyman.traces.schema import SCHEMA_HEAD, VERSION_TABLE
from journeyman.traces.viewer.gate import may_view, trace_database
from journeyman.traces.viewer.options import Options
from journeyman.traces.viewer.rendering import address, render, static_version
from journeyman.traces.viewer.visit import Page, Shown, Visit

logger = logging.getLogger("journeyman.traces.viewer")

View = Callable[..., Awaitable[Any]]


def view_of(page: Page, pages: Sequence[Page]) -> View:
    """A page as Datasette calls it.

    Errors are answered here rather than raised: Datasette prints what is raised with the values of
    all variables, and that is content.

    Args:
        page: The page.
        pages: All of them, for the navigation.
    """

    async def view(datasette: Any, request: Any) -> Any:
        database = await trace_database(datasette)
        if database is None:
            return Response.text("No database here is a Journeyman trace store.", status=404)
        if not await may_view(datasette, request, database):
            return Response.text("You may not see this database.", status=403)
        visit = Visit(
            datasette=datasette,
            request=request,
            database=database,
            options=Options.of(datasette),
        )
        try:
            shown = _refusal(page, visit) or await _answer(page, visit)
            return _response(visit, shown, pages) if isinstance(shown, Shown) else shown
        except Exception:
            logger.exception("The viewer's page %r failed.", request.path)
            failed = _error("This page failed", 500, "The viewer is at fault; its log says more.")
            return _response(visit, failed, pages)

    return view


async def nowhere(visit: Visit) -> Shown:
    """Every address below the viewer's that is no page."""
    return _error("Not a page", 404, f"The viewer has no page {visit.request.path!r}.")


def _refusal(page: Page, visit: Visit) -> Any:
    """Why a page is not answered; None where it is."""
    method = visit.request.method
    if method not in ({"POST"} if page.writes else {"GET", "HEAD"}):
        return Response.text(
            f"This page does not take {method}.",
            status=405,
            headers={"Allow": "POST" if page.writes else "GET, HEAD"},
        )
    if page.writes and not visit.can_write:
        return _error("Nothing is written here", 403, "Start the viewer with --write to allow it.")
    return None


async def _answer(page: Page, visit: Visit) -> Any:
    try:
        version = await visit.read(_schema_version)
        if version != SCHEMA_HEAD:
            return _error(
                "Another schema",
                409,
                f"The trace store has schema {version!r} and this viewer reads {SCHEMA_HEAD!r}: "
                "run `journeyman db migrate`, or use the Journeyman that wrote it.",
            )
        return await page.answer(visit)
    except NotOnRecord as error:
        return _error("Not on record", 404, str(error))
    except QueryTooSlow as error:
        return _error("Took too long", 503, str(error))
    except TraceError as error:
        return _error("That did not work", 400, str(error))


def _schema_version(connection: Any) -> str | None:
    row = connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()  # noqa: S608  # a constant
    return None if row is None else str(row[0])


def _error(title: str, status: int, message: str) -> Shown:
    return Shown("error.html", title, {"message": message}, status)


def _response(visit: Visit, shown: Shown, pages: Sequence[Page]) -> Any:
    facts = {
        "title": shown.title,
        "visit": visit,
        "url": lambda *parts, **query: address(visit.url(*parts, **query)),
        "static": lambda name: address(visit.url("/static", name, v=static_version(name))),
        "navigation": _navigation(visit, pages),
        "csrftoken": _csrf_token(visit.request),
        **shown.facts,
    }
    # What a browser kept is asked about again: rows may have come since.
    headers = {"Cache-Control": "private, no-cache"}
    return Response.html(render(shown.template, facts), status=shown.status, headers=headers)


def _navigation(visit: Visit, pages: Sequence[Page]) -> list[tuple[str, str, bool]]:
    """Label, address, and whether the visitor is there or below."""
    here = visit.request.path.rstrip("/")
    entries = [(page.label, visit.url(page.path), page.path) for page in pages if page.label]
    return [
        (label, url, here == url or bool(path and here.startswith(url + "/")))
        for label, url, path in entries
    ]


def _csrf_token(request: Any) -> str:
    """Datasette 0.65's token for forms; the 1.0 line goes by headers, as `safety` does."""
    make = request.scope.get("csrftoken")
    return make() if make is not None else ""
