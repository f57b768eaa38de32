"""Records to rows and back. Knows the tables and the payloads, but no connection.

Each kind of record has one table. Payload fields become a hash column named after them and a row in
`payloads`; `json` fields stay in the row as JSON text; all other fields keep their name and value.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar, cast

from sqlalchemy import Table

from journeyman.traces import schema
from journeyman.traces.payloads import clean, digest, encode, preview
from journeyman.traces.records import (
    AttemptRecord,
    EscalationRecord,
    Record,
    RunRecord,
    ScenarioResultRecord,
    ScoreRecord,
    SpanRecord,
    SuiteRunRecord,
    now,
)

RecordT = TypeVar(
    "RecordT",
    RunRecord,
    SpanRecord,
    AttemptRecord,
    EscalationRecord,
    ScoreRecord,
    SuiteRunRecord,
    ScenarioResultRecord,
)


@dataclass(frozen=True, slots=True)
class Shape:
    """How one kind of record is kept.

    Attributes:
        table: Its table.
        key: Columns that decide whether a record is written for the first time.
        payloads: Fields stored by their hash.
        previews: Payload fields of which a preview is kept in the row.
        json: Fields kept as JSON in the row.
        keep: Columns that a second write leaves alone.
        fill: Columns that a second write replaces only by a value, never by nothing.
    """

    table: Table
    key: tuple[str, ...] = ("id",)
    payloads: tuple[str, ...] = ()
    previews: tuple[str, ...] = ()
    json: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    fill: tuple[str, ...] = ()


def _table(model: type[schema.Base]) -> Table:
    return cast("Table", model.__table__)


SHAPES: Mapping[type[Record], Shape] = {
    RunRecord: Shape(
        _table(schema.Run),
        payloads=("input", "output"),
        previews=("input", "output"),
        json=("tags",),
        # A run that another process resumes is written without what only the first one knew.
        fill=(
            "input_hash",
            "input_preview",
            "session_id",
            "parent_run_id",
            "suite_run_id",
            "scenario_id",
        ),
    ),
    SpanRecord: Shape(
        _table(schema.Span),
        payloads=("input", "output"),
        previews=("input", "output"),
        json=("attributes",),
    ),
    AttemptRecord: Shape(
        _table(schema.Attempt),
        payloads=("input", "output", "raw", "answer"),
        json=("evidence", "checks"),
    ),
    EscalationRecord: Shape(
        _table(schema.Escalation),
        payloads=("student_output", "frontier_output"),
        keep=("review_status",),
    ),
    ScoreRecord: Shape(
        _table(schema.Score),
        key=("target_type", "target_id", "name", "identifier"),
        keep=("id", "created_at"),
    ),
    SuiteRunRecord: Shape(
        _table(schema.SuiteRun),
        json=("argv", "environment", "options", "summary"),
        keep=("is_baseline",),
    ),
    ScenarioResultRecord: Shape(
        _table(schema.ScenarioResult),
        key=("suite_run_id", "scenario_id", "epoch"),
        json=("metrics", "assertions", "figures", "tags"),
    ),
}


@dataclass(slots=True)
class Batch:
    """Rows of one transaction: payloads by hash, and the rows of each kind of record."""

    payloads: dict[str, dict[str, Any]] = field(default_factory=dict)
    rows: dict[type[Record], list[dict[str, Any]]] = field(
        default_factory=lambda: defaultdict(list)
    )


def to_batch(records: Iterable[Record]) -> Batch:
    """The rows that keep these records."""
    batch = Batch()
    for record in records:
        batch.rows[type(record)].append(_to_row(record, batch))
    return batch


def _to_row(record: Record, batch: Batch) -> dict[str, Any]:
    shape = SHAPES[type(record)]
    row: dict[str, Any] = {}
    for name in record.__dataclass_fields__:
        value = getattr(record, name)
        if name in shape.payloads:
            row[f"{name}_hash"] = _add_payload(value, batch)
            if name in shape.previews:
                row[f"{name}_preview"] = preview(value)
        elif name in shape.json:
            row[name] = encode(value)
        else:
            row[name] = clean(str(value)) if isinstance(value, str) else value
    if isinstance(record, RunRecord):
        row["duration_ms"] = _duration_ms(record)
    return row


def _add_payload(value: Any, batch: Batch) -> str | None:
    if value is None:
        return None
    text = encode(value)
    key = digest(text)
    batch.payloads.setdefault(
        key,
        {"hash": key, "content": text, "num_bytes": len(text.encode()), "created_at": now()},
    )
    return key


def _duration_ms(run: RunRecord) -> float | None:
    if run.ended_at is None:
        return None
    return (run.ended_at - run.started_at).total_seconds() * 1000


def to_record(kind: type[RecordT], row: Mapping[str, Any], payloads: Mapping[str, Any]) -> RecordT:
    """The record that a row keeps.

    Args:
        kind: Class of the record.
        row: Columns by name, as the table's types read them.
        payloads: Decoded content by hash, of at least the hashes in the row.
    """
    shape = SHAPES[kind]
    values: dict[str, Any] = {}
    for item in fields(kind):
        name = item.name
        if name in shape.payloads:
            key = row[f"{name}_hash"]
            values[name] = None if key is None else payloads[key]
        else:
            values[name] = row[name]
    for name in ("tags", "checks", "argv", "assertions"):
        if name in values:
            values[name] = tuple(values[name])
    if "evidence" in values:  # numbers that are not finite are kept as text
        values["evidence"] = {key: float(value) for key, value in values["evidence"].items()}
    return kind(**values)


def payload_hashes(kind: type[Record], rows: Iterable[Mapping[str, Any]]) -> set[str]:
    """Every payload that the rows refer to."""
    names = [f"{name}_hash" for name in SHAPES[kind].payloads]
    return {row[name] for row in rows for name in names if row[name] is not None}
