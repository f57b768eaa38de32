"""The latest part of any trace store as a SQLite file, for a viewer that reads SQLite alone.

Rows are copied as they lie, by tables and columns of the schema; the file's own triggers fill its
search.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Connection, Select, Table, Text, select, text, type_coerce

from journeyman.traces.column_types import JsonText, UtcTime
from journeyman.traces.schema import Base
from journeyman.traces.store import Store

CHUNK = 1_000
"""Rows and hashes at a time."""

TIMES = ("started_at", "created_at")
"""Columns that say when a row came about; the first that a table has counts."""

WHOLE = ("releases", "certificates", "release_changes", "drift", "rounds", "stars")
"""Tables that are small and mean nothing in part."""

LEFT_OUT = ("schema_info", "payloads", "budgets", "reservations")
"""Tables that the copy has its own of, that follow from others, or that nobody looks at."""


def copy_window(origin: str | Path, path: Path, since: datetime) -> None:
    """Copy what happened since a time, with all the content that it refers to.

    Args:
        origin: A store, as `Store.open` takes it; it is only read.
        path: A file that does not exist yet.
        since: From when.

    Raises:
        TraceError: The store cannot be read, or the copy not be written.
    """

    def copy(reading: Connection) -> None:
        for table in Base.metadata.sorted_tables:
            if table.name in LEFT_OUT:
                continue
            for rows in _chunks(reading, _wanted(table, since)):
                new.transact(partial(_put, reading, table=table, rows=rows))

    with Store.open(origin, create=False, read_only=True) as old, Store.open(path) as new:
        # All of one moment: what is recorded or forgotten meanwhile is there whole or not at all.
        old.read(copy)


def _wanted(table: Table, since: datetime) -> Select[Any]:
    query = select(*(_raw(column) for column in table.columns))
    if table.name in WHOLE:
        return query
    if table.name == "scenario_results":
        suites = Base.metadata.tables["suite_runs"]
        return query.where(
            table.c.suite_run_id.in_(select(suites.c.id).where(suites.c.started_at >= since))
        )
    time = next(table.c[name] for name in TIMES if name in table.c)
    return query.where(time >= since)


def _raw(column: Column[Any]) -> Any:
    """A column as it lies, without being read as time or JSON."""
    if isinstance(column.type, (JsonText, UtcTime)):
        return type_coerce(column, Text).label(column.name)
    return column


def _chunks(connection: Connection, query: Select[Any]) -> Iterator[Sequence[dict[str, Any]]]:
    result = connection.execute(query.execution_options(yield_per=CHUNK))
    for part in result.mappings().partitions(CHUNK):
        yield [dict(row) for row in part]


def _put(
    reading: Connection, writing: Connection, *, table: Table, rows: Sequence[dict[str, Any]]
) -> None:
    names = [column.name for column in table.columns]
    hashes = [name for name in names if name.endswith("_hash") and table.c[name].foreign_keys]
    _put_payloads(reading, writing, {row[name] for row in rows for name in hashes if row[name]})
    _insert(writing, table.name, names, rows)


def _put_payloads(reading: Connection, writing: Connection, hashes: Iterable[str]) -> None:
    payloads = Base.metadata.tables["payloads"]
    wanted = sorted(hashes)
    for start in range(0, len(wanted), CHUNK // 2):
        part = wanted[start : start + CHUNK // 2]
        query = select(*(_raw(column) for column in payloads.columns)).where(
            payloads.c.hash.in_(part)
        )
        rows = [dict(row) for row in reading.execute(query).mappings()]
        _insert(writing, "payloads", [column.name for column in payloads.columns], rows)


def _insert(
    writing: Connection, table: str, names: Sequence[str], rows: Sequence[dict[str, Any]]
) -> None:
    if not rows:
        return
    columns, values = ", ".join(names), ", ".join(f":{name}" for name in names)
    writing.execute(
        text(f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({values})"),  # noqa: S608  # names of the schema
        list(rows),
    )
