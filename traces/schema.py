"""The tables of the trace store, as SQLAlchemy models; `docs/traces.md` describes each column.

Portable to PostgreSQL: text, integers, floats and booleans only. Times are ISO-8601 text in UTC
with microseconds and fixed width: it sorts as time, reads well in any SQL tool, and its first ten
characters are the day in either database, whose own date functions agree on nothing. JSON is text
for the same reason. Money is integer micro-USD.

Rows refer to payloads by a foreign key, since one transaction writes both. They refer to runs
without one: a record is not lost because the run that it belongs to is written later, or never.

The database itself is made by the migrations; a test keeps the two alike.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from journeyman.traces.column_types import JsonText, UtcTime

SCHEMA_HEAD = "0006_search"
"""The migration that this code expects; read without importing Alembic."""

VERSION_TABLE = "schema_version"
"""Where the migration of a file is written, under a name that no other application uses."""

VIEWS = (
    "v_agent_health",
    "v_confidence_bins",
    "v_cost_daily",
    "v_review_queue",
    "v_rounds",
    "v_runs",
    "v_sessions",
    "v_suite_history",
    "v_trust",
)
"""The public SQL contract: columns may be added to a view, never renamed or removed."""


class Base(DeclarativeBase):
    """Parent of all tables."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012  # SQLAlchemy reads a plain class attribute
        str: Text,
        int: BigInteger,
        float: Double,
        bool: Boolean,
        datetime: UtcTime,
        dict[str, Any]: JsonText,
        list[Any]: JsonText,
    }


def _payload() -> Mapped[str | None]:
    return mapped_column(ForeignKey("payloads.hash"))


class SchemaInfo(Base):
    """Facts about the file itself."""

    __tablename__ = "schema_info"
    key: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]


class Payload(Base):
    """Redacted content, stored once under its own hash."""

    __tablename__ = "payloads"
    hash: Mapped[str] = mapped_column(primary_key=True)
    content: Mapped[str]
    num_bytes: Mapped[int]
    created_at: Mapped[datetime]


class Run(Base):
    """One invocation of a graph."""

    __tablename__ = "runs"
    __table_args__ = (
        Index("ix_runs_listed", "started_at", "id", "status", "graph", "num_escalations"),
        Index(
            "ix_runs_of_session",
            "session_id",
            "started_at",
            "num_tasks",
            "num_escalations",
            "cost_microusd",
        ),
        Index(None, "parent_run_id"),
        Index(None, "suite_run_id", "scenario_id", "epoch"),
    )
    id: Mapped[str] = mapped_column(primary_key=True)
    graph: Mapped[str]
    status: Mapped[str]
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    duration_ms: Mapped[float | None]
    session_id: Mapped[str | None]
    parent_run_id: Mapped[str | None]
    suite_run_id: Mapped[str | None]
    scenario_id: Mapped[str | None]
    epoch: Mapped[int] = mapped_column(Integer)
    input_hash: Mapped[str | None] = _payload()
    output_hash: Mapped[str | None] = _payload()
    input_preview: Mapped[str | None]
    output_preview: Mapped[str | None]
    num_tasks: Mapped[int] = mapped_column(Integer)
    num_escalations: Mapped[int] = mapped_column(Integer)
    input_tokens: Mapped[int]
    output_tokens: Mapped[int]
    cost_microusd: Mapped[int | None]
    error_type: Mapped[str | None]
    error_message: Mapped[str | None]
    tags: Mapped[list[Any]]


class Span(Base):
    """One finished step of a run."""

    __tablename__ = "spans"
    __table_args__ = (
        Index(None, "run_id", "started_at"),
        Index(None, "agent", "started_at"),
    )
    id: Mapped[str] = mapped_column(primary_key=True)
    run_id: Mapped[str]
    parent_id: Mapped[str | None]
    name: Mapped[str]
    kind: Mapped[str]
    agent: Mapped[str | None]
    node: Mapped[str | None]
    status: Mapped[str]
    status_message: Mapped[str | None]
    started_at: Mapped[datetime]
    duration_ms: Mapped[float]
    model: Mapped[str | None]
    provider: Mapped[str | None]
    input_tokens: Mapped[int]
    output_tokens: Mapped[int]
    cached_tokens: Mapped[int]
    cost_microusd: Mapped[int | None]
    input_hash: Mapped[str | None] = _payload()
    output_hash: Mapped[str | None] = _payload()
    input_preview: Mapped[str | None]
    output_preview: Mapped[str | None]
    attributes: Mapped[dict[str, Any]]


class Attempt(Base):
    """One task: the student's answer, the gate's decision, the final answer."""

    __tablename__ = "attempts"
    __table_args__ = (
        Index(None, "agent", "created_at"),
        Index(
            "ix_attempts_daily",
            "created_at",
            "agent",
            "source",
            "decision",
            "certified",
            "run_id",
        ),
        Index("ix_attempts_of_run", "run_id", "agent", "source"),
        Index(None, "agent", "task_key"),
    )
    id: Mapped[str] = mapped_column(primary_key=True)
    run_id: Mapped[str]
    span_id: Mapped[str | None]
    task_id: Mapped[str]
    task_key: Mapped[str]
    agent: Mapped[str]
    release: Mapped[str]
    input_hash: Mapped[str | None] = _payload()
    output_hash: Mapped[str | None] = _payload()
    raw_hash: Mapped[str | None] = _payload()
    answer_hash: Mapped[str | None] = _payload()
    note: Mapped[str | None]
    evidence: Mapped[dict[str, Any]]
    checks: Mapped[list[Any]]
    confidence: Mapped[float | None]
    threshold: Mapped[float | None]
    decision: Mapped[str]
    reason: Mapped[str | None]
    certified: Mapped[bool]
    audit_probability: Mapped[float | None]
    audited: Mapped[bool | None]
    would_accept: Mapped[bool | None]
    source: Mapped[str]
    error: Mapped[str | None]
    cost_microusd: Mapped[int | None]
    latency_ms: Mapped[float]
    created_at: Mapped[datetime]


class Escalation(Base):
    """One task sent to the frontier, and what came of it."""

    __tablename__ = "escalations"
    __table_args__ = (
        Index(None, "review_status", "agent", "created_at"),
        Index(None, "agent", "created_at"),
        Index(None, "attempt_id"),
        Index("ix_escalations_daily", "created_at", "agent", "reason", "cost_microusd", "status"),
        Index("ix_escalations_of_run", "run_id", "reason"),
    )
    id: Mapped[str] = mapped_column(primary_key=True)
    attempt_id: Mapped[str]
    run_id: Mapped[str]
    span_id: Mapped[str | None]
    agent: Mapped[str]
    reason: Mapped[str]
    status: Mapped[str]
    frontier_model: Mapped[str | None]
    student_output_hash: Mapped[str | None] = _payload()
    frontier_output_hash: Mapped[str | None] = _payload()
    agreement: Mapped[bool | None]
    input_tokens: Mapped[int]
    output_tokens: Mapped[int]
    cost_microusd: Mapped[int | None]
    latency_ms: Mapped[float]
    error: Mapped[str | None]
    label_source: Mapped[str]
    trainable: Mapped[bool]
    created_at: Mapped[datetime]
    review_status: Mapped[str]
    reviewer: Mapped[str | None]
    reviewed_at: Mapped[datetime | None]
    reviewed_output_hash: Mapped[str | None] = _payload()


class Score(Base):
    """A verdict about a run, a span, an attempt or an escalation."""

    __tablename__ = "scores"
    __table_args__ = (
        UniqueConstraint("target_type", "target_id", "name", "identifier"),
        Index(None, "run_id"),
    )
    id: Mapped[str] = mapped_column(primary_key=True)
    target_type: Mapped[str]
    target_id: Mapped[str]
    run_id: Mapped[str | None]
    name: Mapped[str]
    score: Mapped[float | None]
    label: Mapped[str | None]
    explanation: Mapped[str | None]
    annotator_kind: Mapped[str]
    identifier: Mapped[str]
    created_at: Mapped[datetime]


class SuiteRun(Base):
    """One run of a suite."""

    __tablename__ = "suite_runs"
    __table_args__ = (Index(None, "suite", "started_at"),)
    id: Mapped[str] = mapped_column(primary_key=True)
    suite: Mapped[str]
    suite_hash: Mapped[str]
    config_hash: Mapped[str]
    label: Mapped[str | None]
    status: Mapped[str]
    stop_reason: Mapped[str | None]
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    num_total: Mapped[int] = mapped_column(Integer)
    num_passed: Mapped[int] = mapped_column(Integer)
    num_failed: Mapped[int] = mapped_column(Integer)
    num_error: Mapped[int] = mapped_column(Integer)
    num_skipped: Mapped[int] = mapped_column(Integer)
    cost_microusd: Mapped[int | None]
    git_sha: Mapped[str | None]
    argv: Mapped[list[Any]]
    environment: Mapped[dict[str, Any]]
    path: Mapped[str | None]
    arm: Mapped[str | None]
    group_id: Mapped[str | None]
    is_baseline: Mapped[bool] = mapped_column(server_default=false())
    num_resumed: Mapped[int] = mapped_column(Integer, server_default="0")
    options: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    summary: Mapped[dict[str, Any]] = mapped_column(server_default="{}")


class ScenarioResult(Base):
    """The result of one scenario in one epoch of a suite run."""

    __tablename__ = "scenario_results"
    __table_args__ = (
        Index(None, "scenario_id", "scenario_hash"),
        Index(None, "run_id"),
    )
    suite_run_id: Mapped[str] = mapped_column(primary_key=True)
    scenario_id: Mapped[str] = mapped_column(primary_key=True)
    epoch: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    scenario_hash: Mapped[str]
    run_id: Mapped[str | None]
    status: Mapped[str]
    metrics: Mapped[dict[str, Any]]
    duration_ms: Mapped[float]
    cost_microusd: Mapped[int | None]
    reason: Mapped[str | None]
    assertions: Mapped[list[Any]] = mapped_column(server_default="[]")
    figures: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    tags: Mapped[list[Any]] = mapped_column(server_default="[]")
    xfail: Mapped[str | None]
    finished_at: Mapped[datetime | None]


class Release(Base):
    """A student as it answers: weights, prompt, decoding, evidence names, head, certificate."""

    __tablename__ = "releases"
    __table_args__ = (
        Index(None, "agent", "created_at"),
        # At most one release of an agent takes traffic, whoever promotes.
        Index(
            "uq_releases_active_agent",
            "agent",
            unique=True,
            sqlite_where=text("status = 'active'"),
            postgresql_where=text("status = 'active'"),
        ),
    )
    id: Mapped[str] = mapped_column(primary_key=True)
    agent: Mapped[str]
    status: Mapped[str]
    created_at: Mapped[datetime]
    promoted_at: Mapped[datetime | None]
    retired_at: Mapped[datetime | None]
    parent_id: Mapped[str | None]
    round_id: Mapped[str | None]
    student_kind: Mapped[str]
    base_model: Mapped[str]
    path: Mapped[str]
    weights_sha256: Mapped[str | None]
    num_bytes: Mapped[int]
    parts_hash: Mapped[str | None] = _payload()
    metrics: Mapped[dict[str, Any]]


class Certificate(Base):
    """Proof that a threshold keeps the error target of one release."""

    __tablename__ = "certificates"
    __table_args__ = (Index(None, "release_id", "created_at"),)
    id: Mapped[str] = mapped_column(primary_key=True)
    release_id: Mapped[str] = mapped_column(ForeignKey("releases.id"))
    kind: Mapped[str]
    max_error: Mapped[float]
    delta: Mapped[float]
    n: Mapped[int] = mapped_column(Integer)
    k: Mapped[int] = mapped_column(Integer)
    threshold: Mapped[float | None]
    coverage: Mapped[float | None]
    num_accepted: Mapped[int | None] = mapped_column(Integer)
    num_wrong: Mapped[int | None] = mapped_column(Integer)
    bound: Mapped[float | None]
    labels_needed: Mapped[int | None]
    label_source: Mapped[str]
    data_hash: Mapped[str]
    created_at: Mapped[datetime]
    withdrawn_at: Mapped[datetime | None]
    withdrawn_reason: Mapped[str | None]


class ReleaseChange(Base):
    """What changed about the release in traffic, or about the trust in it."""

    __tablename__ = "release_changes"
    agent: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    action: Mapped[str]
    release_id: Mapped[str | None]
    previous_id: Mapped[str | None]
    reason: Mapped[str | None]
    changed_at: Mapped[datetime]


class Drift(Base):
    """The drift detector of one certificate."""

    __tablename__ = "drift"
    certificate_id: Mapped[str] = mapped_column(ForeignKey("certificates.id"), primary_key=True)
    detector: Mapped[dict[str, Any]]
    updated_at: Mapped[datetime]


class Round(Base):
    """One distillation round of one sub-agent."""

    __tablename__ = "rounds"
    __table_args__ = (UniqueConstraint("agent", "number"),)
    id: Mapped[str] = mapped_column(primary_key=True)
    agent: Mapped[str]
    number: Mapped[int] = mapped_column(Integer)
    status: Mapped[str]
    stage: Mapped[str]
    decision: Mapped[str | None]
    reason: Mapped[str | None]
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    incumbent_id: Mapped[str | None]
    candidate_id: Mapped[str | None]
    dataset_hash: Mapped[str | None]
    num_train: Mapped[int] = mapped_column(Integer)
    num_calibration: Mapped[int] = mapped_column(Integer)
    num_excluded: Mapped[int] = mapped_column(Integer)
    baseline_quality: Mapped[float | None]
    incumbent_quality: Mapped[float | None]
    candidate_quality: Mapped[float | None]
    incumbent_coverage: Mapped[float | None]
    candidate_coverage: Mapped[float | None]
    metrics: Mapped[dict[str, Any]]
    report_hash: Mapped[str | None] = _payload()


class Example(Base):
    """A labelled task, with where its label came from and what it may be used for."""

    __tablename__ = "examples"
    __table_args__ = (
        UniqueConstraint("agent", "task_key"),
        Index(None, "agent", "split", "created_at"),
        Index(None, "agent", "group_hash"),
    )
    id: Mapped[str] = mapped_column(primary_key=True)
    agent: Mapped[str]
    task_key: Mapped[str]
    group_hash: Mapped[str]
    split: Mapped[str]
    status: Mapped[str]
    excluded_reason: Mapped[str | None]
    task_hash: Mapped[str | None] = _payload()
    target_hash: Mapped[str | None] = _payload()
    rejected_hash: Mapped[str | None] = _payload()
    origin: Mapped[str]
    label_source: Mapped[str]
    trainable: Mapped[bool]
    attempt_id: Mapped[str | None]
    escalation_id: Mapped[str | None]
    round_id: Mapped[str | None]
    created_at: Mapped[datetime]


class Budget(Base):
    """Frontier money of one day."""

    __tablename__ = "budgets"
    day: Mapped[str] = mapped_column(primary_key=True)
    reserved: Mapped[int]
    spent: Mapped[int]


class Star(Base):
    """A run that somebody marked, to find it again."""

    __tablename__ = "stars"
    run_id: Mapped[str] = mapped_column(primary_key=True)
    starred_at: Mapped[datetime]


class Reservation(Base):
    """What one call in flight may cost of a day's budget, until it is settled or expires."""

    __tablename__ = "reservations"
    __table_args__ = (Index(None, "day", "owner", "amount"),)
    id: Mapped[str] = mapped_column(primary_key=True)
    day: Mapped[str] = mapped_column(ForeignKey("budgets.day"))
    owner: Mapped[str]
    amount: Mapped[int]
    expires_at: Mapped[datetime]
