"""What callers hand to the recorder: frozen records, and the ids they carry.

A record says what happened, once. It knows no database, no redaction and no file; inputs, outputs
and other payloads are any JSON-like value (pydantic models and dataclasses included) and must not
be changed after the record is handed over. Times are timezone-aware datetimes, durations are
milliseconds, money is integer micro-USD and None where the price is unknown, probabilities lie in
[0, 1].
"""

from __future__ import annotations

import secrets
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from journeyman.models.types import LabelSource, Source

RunStatus = Literal["running", "ok", "error", "interrupted", "cancelled"]
SpanStatus = Literal["ok", "error", "interrupted"]
SpanKind = Literal[
    "AGENT", "LLM", "CHAIN", "RETRIEVER", "TOOL", "EMBEDDING", "EVALUATOR", "GUARDRAIL"
]
Decision = Literal["accept", "escalate"]
EscalationStatus = Literal["answered", "failed", "queued"]
ReviewStatus = Literal["pending", "approved", "edited", "rejected"]
TargetType = Literal["run", "span", "attempt", "escalation"]
AnnotatorKind = Literal["HUMAN", "LLM", "CODE"]
SuiteStatus = Literal["running", "passed", "failed", "error", "stopped", "interrupted"]
ResultStatus = Literal["passed", "failed", "error", "skipped"]


def new_trace_id() -> str:
    """A random OpenTelemetry trace id, 32 hex digits; the id of a run."""
    return secrets.token_hex(16)


def new_span_id() -> str:
    """A random OpenTelemetry span id, 16 hex digits."""
    return secrets.token_hex(8)


def new_id() -> str:
    """A UUID of version 7 as text; ids made later sort later, to about a quarter microsecond.

    Milliseconds fill the first 48 bits and the fraction of the millisecond the next 12
    (RFC 9562, section 6.2, method 3), so that the order needs no state shared between threads.
    """
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    fraction = rest * 4096 // 1_000_000
    number = milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | secrets.randbits(62)
    return str(uuid.UUID(int=number))


def now() -> datetime:
    """The present time in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One invocation of a graph; written when it starts and again when it ends.

    Attributes:
        id: OpenTelemetry trace id, 32 hex digits.
        graph: Name of the graph.
        session_id: The conversation (LangGraph thread) that the run belongs to.
        parent_run_id: The run of a host graph, if this graph runs inside one.
        suite_run_id, scenario_id, epoch: Which scenario caused the run, if one did.
        num_tasks: Tasks dispatched.
        num_escalations: Tasks sent to the frontier.
        input_tokens, output_tokens, cost_microusd: Sums over all model calls of the run.
        error_type: Class of the error that ended the run.
    """

    id: str
    graph: str
    status: RunStatus
    started_at: datetime
    ended_at: datetime | None = None
    session_id: str | None = None
    parent_run_id: str | None = None
    suite_run_id: str | None = None
    scenario_id: str | None = None
    epoch: int = 0
    input: Any = None
    output: Any = None
    num_tasks: int = 0
    num_escalations: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_microusd: int | None = None
    error_type: str | None = None
    error_message: str | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanRecord:
    """One finished step of a run.

    Attributes:
        id: OpenTelemetry span id, 16 hex digits.
        parent_id: The enclosing span; None, or an id not on record, for a top-level span.
        kind: OpenInference span kind.
        agent: The sub-agent that it belongs to, if any.
        node: The graph node that it belongs to, if any.
        attributes: Further facts under OpenTelemetry names, JSON-compatible.
    """

    id: str
    run_id: str
    name: str
    kind: SpanKind
    started_at: datetime
    duration_ms: float
    parent_id: str | None = None
    agent: str | None = None
    node: str | None = None
    status: SpanStatus = "ok"
    status_message: str | None = None
    model: str | None = None
    provider: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost_microusd: int | None = None
    input: Any = None
    output: Any = None
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRecord:
    """One task: the student's answer with its evidence, the gate's decision, the final answer.

    Attributes:
        task_key: Content hash of the task, the same however often it is asked.
        release: Release of the student that made the attempt.
        input: The task.
        output: The student's answer; None where it abstained.
        raw: What the student returned before it was parsed.
        evidence: Named numbers about the attempt.
        checks: Results of the checks, each `{"name", "passed", "hard", "detail"}`.
        confidence, threshold: What the gate compared; None where there was nothing to compare.
        reason: Why the task was escalated; None where it was accepted.
        certified: True only when the answer passed a valid certificate.
        audit_probability: Probability with which a task like this one was drawn for an audit; None
            where nothing was certified, and every task was shown to the frontier.
        audited: It was drawn; None where nothing was certified.
        would_accept: The gate's word had the task neither been drawn nor forced; None likewise.
        source: Who gave the final answer.
        answer: The final answer.
        error: Why there is no answer.
    """

    id: str
    run_id: str
    span_id: str | None = None
    task_id: str
    task_key: str
    agent: str
    release: str
    input: Any = None
    output: Any = None
    raw: Any = None
    note: str | None = None
    evidence: Mapping[str, float] = field(default_factory=dict)
    checks: Sequence[Mapping[str, Any]] = ()
    confidence: float | None = None
    threshold: float | None = None
    decision: Decision
    reason: str | None = None
    certified: bool = False
    audit_probability: float | None = None
    audited: bool | None = None
    would_accept: bool | None = None
    source: Source
    answer: Any = None
    error: str | None = None
    cost_microusd: int | None = None
    latency_ms: float = 0.0
    created_at: datetime = field(default_factory=now)


@dataclass(frozen=True, slots=True, kw_only=True)
class EscalationRecord:
    """One task sent to the frontier, and what came of it.

    Attributes:
        attempt_id: The attempt that it judges.
        student_output, frontier_output: The two answers, side by side.
        agreement: Whether the sub-agent calls them the same answer. A student that gave none is not
            right; None where the frontier gave none, or comparing failed.
        label_source: What the answer is as a label.
        trainable: Whether the provider's terms and the redaction allow training on it.
        review_status: A person's verdict. Writing an escalation again never undoes a verdict.
    """

    id: str
    attempt_id: str
    run_id: str
    span_id: str | None = None
    agent: str
    reason: str
    status: EscalationStatus
    frontier_model: str | None = None
    student_output: Any = None
    frontier_output: Any = None
    agreement: bool | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cost_microusd: int | None = None
    latency_ms: float = 0.0
    error: str | None = None
    label_source: LabelSource = "frontier"
    trainable: bool = True
    created_at: datetime = field(default_factory=now)
    review_status: ReviewStatus = "pending"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRecord:
    """An evaluator's or a person's verdict; one per target, name and identifier.

    Attributes:
        target_type, target_id: What is judged.
        score, label, explanation: The verdict; at least one is set.
        identifier: Which annotator or evaluator version gave it.
    """

    target_type: TargetType
    target_id: str
    run_id: str | None
    name: str
    score: float | None = None
    label: str | None = None
    explanation: str | None = None
    annotator_kind: AnnotatorKind = "CODE"
    identifier: str = ""
    id: str = field(default_factory=new_id)
    created_at: datetime = field(default_factory=now)


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteRunRecord:
    """One run of a suite; written when it starts and again when it ends.

    Attributes:
        suite_hash: Content hash of the scenarios.
        config_hash: Content hash of everything else that shapes the results.
        label: A name given by the user.
        stop_reason: Why the suite stopped early, e.g. a cost limit.
        argv: The command line.
        environment: Versions and machine facts, JSON-compatible.
        path: The suite's file.
        arm: Which arm the whole run was: `system`, `student-only` or `frontier-only`.
        group_id: Shared by the runs of several arms or suites that one command started.
        is_baseline: Runs of this suite and arm are compared with it; set when it is first written,
            and by `bless` afterwards.
        num_resumed: How often the run was taken up again.
        options: What was selected and how it was run, so that it can be resumed; JSON-compatible.
        summary: The figures at the end, JSON-compatible.
    """

    id: str
    suite: str
    suite_hash: str
    config_hash: str
    status: SuiteStatus
    started_at: datetime
    ended_at: datetime | None = None
    label: str | None = None
    stop_reason: str | None = None
    num_total: int = 0
    num_passed: int = 0
    num_failed: int = 0
    num_error: int = 0
    num_skipped: int = 0
    cost_microusd: int | None = None
    git_sha: str | None = None
    argv: tuple[str, ...] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)
    path: str | None = None
    arm: str | None = None
    group_id: str | None = None
    is_baseline: bool = False
    num_resumed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioResultRecord:
    """The result of one scenario in one epoch of a suite run; a later write replaces it.

    Attributes:
        scenario_hash: Content hash of the scenario, so that a changed one is noticed.
        run_id: The run that it judges.
        metrics: Named numbers, flags or labels, JSON-compatible.
        reason: Why it failed, ended in an error or was skipped.
        assertions: What was asserted, each as `{type, name, passed, score, reason}`.
        figures: Numbers and names of ours alone, from which the report is made again.
        tags: Tags of the scenario.
        xfail: Why it is expected to fail; None where it is not.
        finished_at: When it was finished.
    """

    suite_run_id: str
    scenario_id: str
    epoch: int = 0
    scenario_hash: str
    run_id: str | None = None
    status: ResultStatus
    metrics: Mapping[str, Any] = field(default_factory=dict)
    duration_ms: float = 0.0
    cost_microusd: int | None = None
    reason: str | None = None
    assertions: tuple[Mapping[str, Any], ...] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    xfail: str | None = None
    finished_at: datetime | None = None


Record = (
    RunRecord
    | SpanRecord
    | AttemptRecord
    | EscalationRecord
    | ScoreRecord
    | SuiteRunRecord
    | ScenarioResultRecord
)


def owner(record: Record) -> str:
    """Id of the run or suite run that a record belongs to: what `Recorder.committed` waits for."""
    match record:
        case RunRecord() | SuiteRunRecord():
            return record.id
        case ScenarioResultRecord():
            return record.suite_run_id
        case _:
            return record.run_id or ""
