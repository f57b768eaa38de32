"""Marking a run, to find it again."""

from __future__ import annotations

from typing import Any

from datasette import Response
from sqlalchemy import delete, insert, select

from journeyman.models.errors import NotOnRecord
from journeyman.traces.records import now
from journeyman.traces.schema import Run, Star
from journeyman.traces.store import Store
from journeyman.traces.viewer.visit import Visit


async def star(visit: Visit) -> Any:
    """Mark a run, or take the mark away; `back` says where to go afterwards."""
    run_id = visit.part("run")
    form = await visit.form()
    wanted = form.get("star") == "yes"
    found = await visit.with_store(lambda store: _mark(store, run_id, wanted=wanted), write=True)
    if not found:
        raise NotOnRecord(f"No run {run_id!r} is on record.")
    return Response.redirect(_own(visit, form.get("back", "")), status=303)


def _own(visit: Visit, back: str) -> str:
    """An address from a form, which is anybody's, where it is a page of the viewer."""
    root = visit.url()
    is_ours = back == root or back.startswith((f"{root}/", f"{root}?"))
    return back if is_ours and back.isascii() and back.isprintable() else visit.url("/runs")


def _mark(store: Store, run_id: str, *, wanted: bool) -> bool:
    """Keep or drop the mark; False where there is no such run."""

    def work(connection: Any) -> bool:
        if connection.scalar(select(Run.id).where(Run.id == run_id)) is None:
            return False
        connection.execute(delete(Star).where(Star.run_id == run_id))
        if wanted:
            connection.execute(insert(Star).values(run_id=run_id, starred_at=now()))
        return True

    return store.transact(work)
