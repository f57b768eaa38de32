"""Runs as they end, for `journeyman traces tail`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from journeyman.traces.reads import RunSummary
    from journeyman.traces.store import Store

EVERY_SECONDS = 0.5
LONGEST_RUN = timedelta(hours=1)
"""A run that began longer before the newest one is no longer waited for."""


def follow_runs(
    store: Store, limit: int | None, *, agent: str | None = None, follow: bool = False
) -> Iterator[RunSummary]:
    """The latest runs that have ended, oldest first, then those that end, without end.

    Args:
        store: An open trace store.
        limit: So many of the past; None for all.
        agent: Only runs with a task for this sub-agent.
        follow: Go on after the past.
    """
    past = store.runs(limit, agent=agent)
    newest: datetime | None = past[0].started_at if past else None
    shown: dict[str, datetime] = {}
    while True:
        for run in reversed(past):
            if run.status != "running" and run.id not in shown:
                shown[run.id] = run.started_at
                yield run
        if not follow:
            return
        time.sleep(EVERY_SECONDS)
        past = store.runs(None, agent=agent, since=newest - LONGEST_RUN if newest else None)
        newest = past[0].started_at if past else newest
        if newest is not None:  # what lies further back is never asked for again
            shown = {key: at for key, at in shown.items() if at >= newest - LONGEST_RUN}
