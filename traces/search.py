"""Runs by what was said in them.

The index that the store keeps answers, over all that was asked and answered; previews and error
messages are looked through besides, since an index knows whole words alone.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, exists, or_, select, text

from journeyman.traces.payloads import clean
from journeyman.traces.reads import RunSummary
from journeyman.traces.schema import Attempt, Run
from journeyman.traces.store import Store


def search(
    store: Store,
    words: str,
    limit: int | None = 20,
    *,
    agent: str | None = None,
    since: datetime | None = None,
) -> list[RunSummary]:
    """Runs that hold all words, or the words as they stand, newest first.

    Args:
        store: An open trace store.
        words: What to look for; upper and lower case are the same.
        limit: At most so many; None for all.
        agent: Only runs with a task for this sub-agent.
        since: Only runs started at this time or later.
    """

    def work(connection: Connection) -> list[RunSummary]:
        names = RunSummary.__dataclass_fields__
        query = select(*(Run.__table__.columns[name] for name in names))
        query = query.where(or_(*_holds(connection, words)))
        if agent is not None:
            query = query.where(exists().where(Attempt.run_id == Run.id, Attempt.agent == agent))
        if since is not None:
            query = query.where(Run.started_at >= since)
        query = query.order_by(Run.started_at.desc(), Run.id.desc()).limit(limit)
        return [RunSummary(**row) for row in connection.execute(query).mappings()]

    return store.read(work)


def _holds(connection: Connection, words: str) -> list[ColumnElement[bool]]:
    # Previews hold one line, so what is looked for is one as well.
    phrase = clean(" ".join(words.split()))
    texts = (Run.input_preview, Run.output_preview, Run.error_message)
    found: list[ColumnElement[bool]] = [
        column.icontains(phrase, autoescape=True) for column in texts
    ]
    if connection.dialect.name == "postgresql":
        words_of_it: Any = text(
            "runs.id IN (SELECT run_id FROM run_texts "
            "WHERE words @@ plainto_tsquery('simple', :words))"
        ).bindparams(words=phrase)
        found.append(words_of_it)
    elif _has_index(connection) and phrase:
        indexed: Any = text(
            "runs.id IN (SELECT t.run_id FROM run_search AS s JOIN run_texts AS t "
            "ON t.id = s.rowid WHERE run_search MATCH :words)"
        ).bindparams(words=_quoted(phrase))
        found.append(indexed)
    return found


def _has_index(connection: Connection) -> bool:
    query = text("SELECT count(*) FROM sqlite_master WHERE name IN ('run_search', 'run_texts')")
    return bool(connection.scalar(query) == 2)


def _quoted(phrase: str) -> str:
    """Each word as a text, so that none is taken for an operator of the index."""
    return " ".join('"' + word.replace('"', '""') + '"' for word in phrase.split())
