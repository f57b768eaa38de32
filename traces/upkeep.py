"""Keeping a trace store in order: backups, sizes, forgetting old runs, giving space back.

Only runs are forgotten, with what belongs to them: spans, attempts, escalations, scores. Releases,
certificates, rounds, examples and suite results stay, and so does every run whose tasks teach or
certify a student. Payloads go when nothing refers to them any more, so that what is kept is whole.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    and_,
    delete,
    exists,
    func,
    not_,
    or_,
    select,
    text,
    tuple_,
    union,
)
from sqlalchemy.exc import DBAPIError

from journeyman.models.errors import TraceError
from journeyman.traces.engine import WRITE, sqlite_path, translate
from journeyman.traces.schema import (
    Attempt,
    Base,
    Escalation,
    Example,
    Payload,
    Run,
    Score,
    Span,
    Star,
)
from journeyman.traces.store import Store

_RUNS, _SPANS, _ATTEMPTS, _ESCALATIONS, _SCORES, _STARS, _EXAMPLES, _PAYLOADS = (
    cast("Table", model.__table__)
    for model in (Run, Span, Attempt, Escalation, Score, Star, Example, Payload)
)

_OWNED = (
    _SPANS.c.run_id, _ATTEMPTS.c.run_id, _ESCALATIONS.c.run_id, _SCORES.c.run_id, _STARS.c.run_id,
    _RUNS.c.id,
)  # fmt: skip
"""The columns that say which run a row goes with, and last the run itself."""

_SWEPT = 100_000  # payloads for each transaction: every one reads through all that refer to any
_BATCH = 500  # runs for each transaction, so that writers get their turn


@dataclass(frozen=True, slots=True)
class Kept:
    """What an old run is kept for.

    Attributes:
        escalations: It has an escalation, which a later round may teach or certify by.
        starred: Somebody marked it.
    """

    escalations: bool = True
    starred: bool = True


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was forgotten, or would be.

    Attributes:
        counts: Rows by table.
        num_bytes: Of the payloads' content; None before anything is forgotten.
        num_kept: Runs that are old enough and stay.
    """

    counts: Mapping[str, int]
    num_bytes: int | None
    num_kept: int


def back_up(store: Store, target: Path) -> int:
    """Copy a store into a new file, whole and as of one moment, while others go on writing.

    The copy is checked before it gets its name. Weights of releases are files beside the store and
    are not in it.

    Returns:
        Number of payloads that were checked in the copy.

    Raises:
        TraceError: The target is there already or cannot be written, or the store is a server's.
        CorruptRecord: The copy does not hold what it should.
    """
    if sqlite_path(store.url) is None:
        raise TraceError(
            f"Trace store {store.name} is a server's: back it up with `pg_dump --format=custom "
            "--file=FILE`."
        )
    if target.exists() or target.is_symlink():
        raise TraceError(
            f"File {str(target)!r} is there already: name another, or remove it.", path=target
        )
    if not target.parent.is_dir():
        raise TraceError(
            f"There is no folder {str(target.parent)!r}: make it first.", path=target.parent
        )
    try:
        with tempfile.TemporaryDirectory(prefix=".journeyman-", dir=target.parent) as folder:
            copy = Path(folder) / "copy.db"
            _outside_transactions(store, "VACUUM INTO ?", str(copy))
            with Store.open(copy, create=False) as opened:
                num_payloads = opened.integrity()
            _give_name(copy, target)
    except FileExistsError as error:
        raise TraceError(
            f"File {str(target)!r} appeared in the meantime: name another.", path=target
        ) from error
    except OSError as error:
        raise TraceError(
            f"File {str(target)!r} cannot be written ({error.strerror}): name another.", path=target
        ) from error
    return num_payloads


def _give_name(copy: Path, target: Path) -> None:
    try:
        os.link(copy, target)  # unlike renaming, never takes the place of another file
    except FileExistsError:
        raise
    except OSError:  # a disk that knows no second names
        copy.rename(target)


def vacuum(store: Store) -> None:
    """Give the space of forgotten rows back to the disk.

    Raises:
        TraceError: Another process is at work on the store, or the disk is full.
    """
    if sqlite_path(store.url) is not None:
        _outside_transactions(store, "VACUUM")
        _outside_transactions(store, "PRAGMA wal_checkpoint(TRUNCATE)")
        return
    try:
        with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM"))
    except DBAPIError as error:
        raise translate(error, store.url) from error


def table_bytes(store: Store) -> dict[str, int]:
    """Bytes on disk by table, its indexes included, and those that a vacuum would give back.

    Empty where the database cannot say: some builds of SQLite lack the means.
    """

    def work(connection: Connection) -> dict[str, int]:
        if connection.dialect.name != "sqlite":
            query = text("SELECT relname, pg_total_relation_size(relid) FROM pg_statio_user_tables")
            return {name: int(size) for name, size in connection.execute(query)}
        with suppress(DBAPIError):
            owner = "SELECT tbl_name FROM sqlite_master WHERE name = d.name"
            query = text(
                f"SELECT coalesce(({owner}), d.name), sum(d.pgsize) FROM dbstat AS d "  # noqa: S608  # constants
                "WHERE d.aggregate = TRUE GROUP BY 1"
            )
            found = {name: int(size) for name, size in connection.execute(query)}
            free = connection.scalar(text("PRAGMA freelist_count")) or 0
            page = connection.scalar(text("PRAGMA page_size")) or 0
            return {**found, "(free)": free * page}
        return {}

    return store.read(work)


def preview_prune(store: Store, before: datetime, kept: Kept) -> Pruned:
    """What `prune` would forget, but for payloads: counting those takes as long as forgetting."""

    def work(connection: Connection) -> Pruned:
        doomed = select(_RUNS.c.id).where(_is_doomed(before, kept))
        counts = {
            column.table.name: connection.scalar(
                select(func.count()).select_from(column.table).where(column.in_(doomed))
            )
            or 0
            for column in _OWNED
        }
        return Pruned(counts, None, _num_kept(connection, before, kept))

    return store.read(work)


def prune(store: Store, before: datetime, kept: Kept) -> Pruned:
    """Forget runs that started before a time, in small transactions, then unused payloads.

    What it is interrupted at stays forgotten; another prune goes on.

    Raises:
        TraceError: The store cannot be written.
    """
    counts = Counter(dict.fromkeys((column.table.name for column in _OWNED), 0))

    last: tuple[datetime, str] | None = None

    def forget(connection: Connection) -> tuple[Counter[str], Any]:
        # In order and on from the last, so that what stays is looked at once.
        query = select(_RUNS.c.started_at, _RUNS.c.id).where(_is_doomed(before, kept))
        query = query.order_by(_RUNS.c.started_at, _RUNS.c.id).limit(_BATCH)
        if last is not None:
            query = query.where(tuple_(_RUNS.c.started_at, _RUNS.c.id) > last)
        rows = connection.execute(query).all()
        ids = [row.id for row in rows]
        done = Counter[str]()
        for column in _OWNED if ids else ():
            done[column.table.name] = connection.execute(
                delete(column.table).where(column.in_(ids))
            ).rowcount
        return done, rows[-1] if rows else None

    while True:
        done, end = store.transact(forget)
        if end is None:
            break
        counts.update(done)
        last = (end.started_at, end.id)
    num_payloads, num_bytes = sweep_payloads(store)
    left = store.read(lambda connection: _num_kept(connection, before, kept))
    return Pruned({**counts, "payloads": num_payloads}, num_bytes, left)


def sweep_payloads(store: Store) -> tuple[int, int]:
    """Remove the payloads that nothing refers to.

    Returns:
        How many, and the bytes of their content.
    """
    unused = _PAYLOADS.c.hash.not_in(union(*_references()))
    batch = select(_PAYLOADS.c.hash, _PAYLOADS.c.num_bytes).where(unused).limit(_SWEPT)
    num_payloads = num_bytes = 0
    while True:

        def work(connection: Connection) -> list[tuple[str, int]]:
            if connection.dialect.name == "postgresql":
                # Whoever writes a record that uses a payload from before must wait for the end.
                connection.execute(text("LOCK TABLE payloads IN SHARE ROW EXCLUSIVE MODE"))
            rows = [(key, size) for key, size in connection.execute(batch)]
            for start in range(0, len(rows), _BATCH):
                part = [key for key, _ in rows[start : start + _BATCH]]
                connection.execute(delete(_PAYLOADS).where(_PAYLOADS.c.hash.in_(part)))
            return rows

        rows = _without_key_checks(store, work)
        if not rows:
            return num_payloads, num_bytes
        num_payloads += len(rows)
        num_bytes += sum(size for _, size in rows)


def _without_key_checks(
    store: Store, work: Callable[[Connection], list[tuple[str, int]]]
) -> list[tuple[str, int]]:
    """A write transaction in which SQLite does not look for rows that refer to what is deleted.

    It would scan every referring table for every payload. The query has just made sure that there
    are none, in the same transaction.
    """
    if sqlite_path(store.url) is None:
        return store.transact(work)

    with store.engine.connect().execution_options(**{WRITE: True}) as connection:
        raw = connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        try:
            raw.execute("PRAGMA foreign_keys=OFF")
            raw.execute("PRAGMA busy_timeout=20000")
            with connection.begin():
                return work(connection)
        except (DBAPIError, sqlite3.Error) as error:
            raise translate(error, store.url) from error
        finally:
            connection.invalidate()


def _outside_transactions(store: Store, statement: str, *parameters: str) -> None:
    try:
        with store.engine.connect() as connection:
            raw = connection.connection.driver_connection
            assert isinstance(raw, sqlite3.Connection)
            raw.execute("PRAGMA busy_timeout=20000")
            raw.execute(statement, parameters)
            connection.invalidate()
    except (DBAPIError, sqlite3.Error) as error:
        raise translate(error, store.url) from error


def _references() -> list[Select[Any]]:
    """The hashes in every column of every table that refers to payloads."""
    return [
        select(column).where(column.is_not(None))  # nothing is outside a list that holds a NULL
        for table in Base.metadata.sorted_tables
        for column in table.columns
        if any(key.column is _PAYLOADS.c.hash for key in column.foreign_keys)
    ]


def _is_old(before: datetime) -> ColumnElement[bool]:
    return _RUNS.c.started_at < before


def _is_doomed(before: datetime, kept: Kept) -> ColumnElement[bool]:
    return and_(_is_old(before), not_(or_(*_reasons(kept))))


def _num_kept(connection: Connection, before: datetime, kept: Kept) -> int:
    query = select(func.count()).select_from(_RUNS).where(_is_old(before), or_(*_reasons(kept)))
    return connection.scalar(query) or 0


def _reasons(kept: Kept) -> list[ColumnElement[bool]]:
    a, x = _ATTEMPTS.c, _EXAMPLES.c
    # Whether an example certifies is read from all attempts at its task, not from one alone.
    teaches = exists().where(a.run_id == _RUNS.c.id, x.agent == a.agent, x.task_key == a.task_key)
    reasons: list[ColumnElement[bool]] = [teaches]
    if kept.escalations:
        reasons.append(exists().where(_ESCALATIONS.c.run_id == _RUNS.c.id))
    if kept.starred:
        reasons.append(exists().where(_STARS.c.run_id == _RUNS.c.id))
    return reasons
