"""Queries over an open connection, answered with records. Changes nothing."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table, exists, func, select, text

from journeyman.models.errors import CorruptRecord, TraceError
from journeyman.traces.payloads import digest
from journeyman.traces.records import (
    AttemptRecord,
    EscalationRecord,
    RunRecord,
    ScoreRecord,
    SpanRecord,
    SuiteRunRecord,
)
from journeyman.traces.rows import SHAPES, RecordT, payload_hashes, to_record
from journeyman.traces.schema import Attempt, Base, Payload, Run, Score, Span

_CHUNK = 500  # hashes per query: databases limit how many parameters a statement has


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One line of a list of runs; see `RunRecord` for the fields."""

    id: str
    graph: str
    status: str
    started_at: datetime
    ended_at: datetime | None
    duration_ms: float | None
    session_id: str | None
    suite_run_id: str | None
    scenario_id: str | None
    epoch: int
    input_preview: str | None
    output_preview: str | None
    num_tasks: int
    num_escalations: int
    input_tokens: int
    output_tokens: int
    cost_microusd: int | None
    error_type: str | None
    error_message: str | None
    tags: Sequence[str]


@dataclass(frozen=True, slots=True)
class SpanNode:
    """A span with the spans inside it, in order of their start."""

    span: SpanRecord
    children: tuple[SpanNode, ...] = ()


@dataclass(frozen=True, slots=True)
class RunTrace:
    """Everything on record about one run.

    Attributes:
        run: The run with its input and output.
        spans: Top-level spans; a span whose parent is not on record counts as one.
        attempts, escalations, scores: In order of time.
    """

    run: RunRecord
    spans: tuple[SpanNode, ...] = ()
    attempts: tuple[AttemptRecord, ...] = ()
    escalations: tuple[EscalationRecord, ...] = ()
    scores: tuple[ScoreRecord, ...] = field(default=())


def runs(
    connection: Connection,
    limit: int | None,
    *,
    agent: str | None,
    status: str | None,
    since: datetime | None,
) -> list[RunSummary]:
    """See `Store.runs`."""
    names = RunSummary.__dataclass_fields__
    query = select(*(Run.__table__.columns[name] for name in names))
    if agent is not None:
        query = query.where(exists().where(Attempt.run_id == Run.id, Attempt.agent == agent))
    if status is not None:
        query = query.where(Run.status == status)
    if since is not None:
        query = query.where(Run.started_at >= since)
    query = query.order_by(Run.started_at.desc(), Run.id.desc()).limit(limit)
    return [RunSummary(**row) for row in connection.execute(query).mappings()]


def run(connection: Connection, prefix: str, store: str) -> RunTrace:
    """See `Store.run`."""
    run_id = resolve(connection, SHAPES[RunRecord].table, prefix, "run", store)
    found = _fetch(connection, RunRecord, Run.id == run_id, store=store)
    spans = _fetch(connection, SpanRecord, Span.run_id == run_id, store=store)
    of_run = {"run_id": run_id}
    return RunTrace(
        run=found[0],
        spans=_tree(spans),
        attempts=tuple(records(connection, AttemptRecord, of_run, store=store)),
        escalations=tuple(records(connection, EscalationRecord, of_run, store=store)),
        scores=tuple(_fetch(connection, ScoreRecord, Score.run_id == run_id, store=store)),
    )


def suite_runs(
    connection: Connection, limit: int | None, *, suite: str | None
) -> list[SuiteRunRecord]:
    """See `Store.suite_runs`."""
    table = SHAPES[SuiteRunRecord].table
    query = select(table).order_by(table.c.started_at.desc(), table.c.id.desc()).limit(limit)
    if suite is not None:
        query = query.where(table.c.suite == suite)
    return _inflate(connection, SuiteRunRecord, query, "")


def suite_run(connection: Connection, prefix: str, store: str) -> SuiteRunRecord:
    """See `Store.suite_run`."""
    table = SHAPES[SuiteRunRecord].table
    found = resolve(connection, table, prefix, "suite run", store)
    return _fetch(connection, SuiteRunRecord, table.c.id == found, store=store)[0]


def records(
    connection: Connection,
    kind: type[RecordT],
    filters: Mapping[str, Any],
    *,
    since: datetime | None = None,
    limit: int | None = None,
    store: str = "",
) -> list[RecordT]:
    """Records of one kind, oldest first.

    Args:
        connection: An open connection.
        kind: Class of the records.
        filters: Values of columns by name; None does not filter.
        since: Only records created at this time or later.
        limit: At most so many; None for all.
        store: The store's name, for messages.
    """
    columns = SHAPES[kind].table.columns
    clauses = [columns[name] == value for name, value in filters.items() if value is not None]
    if since is not None:
        clauses.append(columns["created_at"] >= since)
    return _fetch(connection, kind, *clauses, limit=limit, store=store)


def payloads(connection: Connection, hashes: Iterable[str], store: str) -> dict[str, Any]:
    """Decoded content by hash.

    Raises:
        CorruptRecord: A payload is missing or does not match its hash.
    """
    wanted = sorted(set(hashes))
    found: dict[str, Any] = {}
    for start in range(0, len(wanted), _CHUNK):
        part = wanted[start : start + _CHUNK]
        query = select(Payload.hash, Payload.content).where(Payload.hash.in_(part))
        for key, content in connection.execute(query):
            _check_payload(key, content, store)
            found[key] = json.loads(content)
    missing = set(wanted) - found.keys()
    if missing:
        raise CorruptRecord(
            f"Trace store {store} has no payload {min(missing)!r} although it was asked for: "
            "check the hash, or restore a backup."
        )
    return found


def counts(connection: Connection) -> dict[str, int]:
    """Rows by table."""
    tables = Base.metadata.sorted_tables
    return {
        table.name: connection.scalar(select(func.count()).select_from(table)) or 0
        for table in sorted(tables, key=lambda table: table.name)
    }


def database_bytes(connection: Connection) -> int:
    """Size of a server's database; 0 for SQLite, whose files tell."""
    if connection.dialect.name == "sqlite":
        return 0
    return connection.scalar(text("SELECT pg_database_size(current_database())")) or 0


def integrity(connection: Connection, store: str) -> int:
    """See `Store.integrity`."""
    if connection.dialect.name == "sqlite":
        for pragma in ("integrity_check", "foreign_key_check"):
            problems = [tuple(row) for row in connection.exec_driver_sql(f"PRAGMA {pragma}")]
            if problems not in ([], [("ok",)]):
                raise CorruptRecord(
                    f"Trace store {store} failed SQLite's {pragma} ({problems[0]}): "
                    "restore a backup."
                )
    num_checked = 0
    query = select(Payload.hash, Payload.content).execution_options(yield_per=_CHUNK)
    with connection.execute(query) as found:
        for key, content in found:
            _check_payload(key, content, store)
            num_checked += 1
    return num_checked


def _check_payload(key: str, content: str, store: str) -> None:
    if digest(content) != key:
        raise CorruptRecord(
            f"Payload {key!r} of trace store {store} does not match its hash: it was changed after "
            "it was written; restore a backup."
        )


def resolve(
    connection: Connection,
    table: Table,
    prefix: str,
    what: str,
    store: str,
    *,
    listed_by: str = "journeyman traces list",
) -> str:
    """The one id that is, or else starts with, a prefix.

    Args:
        connection: An open connection.
        table: The table, which has the ids in its column `id`.
        prefix: An id, or how it starts.
        what: What the ids stand for, for messages.
        store: The store's name, for messages.
        listed_by: The command that lists them, for messages.

    Raises:
        TraceError: No id, or more than one, starts like this.
    """
    column = table.c.id
    starts = column.startswith(prefix, autoescape=True)
    query = select(column).where(starts).order_by(func.length(column), column).limit(2)
    found = connection.scalars(query).all() if prefix else []
    if not found:
        raise TraceError(
            f"Trace store {store} has no {what} {prefix!r}: list what it has with `{listed_by}`."
        )
    if len(found) > 1 and found[0] != prefix:
        raise TraceError(f"More than one {what} starts with {prefix!r}: give more of the id.")
    return str(found[0])


def _fetch(
    connection: Connection,
    kind: type[RecordT],
    *clauses: ColumnElement[bool],
    limit: int | None = None,
    store: str = "",
) -> list[RecordT]:
    table = SHAPES[kind].table
    time = next((name for name in ("created_at", "started_at") if name in table.columns), None)
    order = [table.columns[time]] if time else []
    query = select(table).where(*clauses).order_by(*order, *table.primary_key).limit(limit)
    return _inflate(connection, kind, query, store)


def _inflate(
    connection: Connection, kind: type[RecordT], query: Select[Any], store: str
) -> list[RecordT]:
    rows: list[Mapping[str, Any]] = [dict(row) for row in connection.execute(query).mappings()]
    content = payloads(connection, payload_hashes(kind, rows), store)
    return [to_record(kind, row, content) for row in rows]


def _tree(spans: Sequence[SpanRecord]) -> tuple[SpanNode, ...]:
    known = {span.id for span in spans}
    children: defaultdict[str | None, list[SpanRecord]] = defaultdict(list)
    for span in spans:
        children[span.parent_id if span.parent_id in known else None].append(span)
    nodes: dict[str, SpanNode] = {}
    # Deep trees are no reason to recurse: children are built before their parents.
    order: list[SpanRecord] = list(children[None])
    for span in order:
        order.extend(children[span.id])
    # Spans that name each other as parents hang on nothing; they are shown at the top.
    reached = {span.id for span in order}
    loose = [span for span in spans if span.id not in reached]
    for span in reversed(order):
        nodes[span.id] = SpanNode(span, tuple(nodes[child.id] for child in children[span.id]))
    top = tuple(nodes[span.id] for span in children[None])
    return top + tuple(SpanNode(span) for span in loose)
