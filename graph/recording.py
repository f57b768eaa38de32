"""Turns what the graph did into trace records.

The journal is the only place where the graph's words (task, attempt, decision, answer) become
the trace's rows (runs, spans, attempts, escalations). Knows neither tables nor files: the recorder
does.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from langgraph.errors import GraphBubbleUp

from journeyman.graph.nodes import NodeFunction, Step
from journeyman.graph.state import Context, Envelope, RunInfo, Tally
from journeyman.models.types import Answer, FrontierReply, Usage
from journeyman.traces.recorder import Recorder
from journeyman.traces.records import (
    AttemptRecord,
    EscalationRecord,
    RunRecord,
    SpanRecord,
    new_id,
    new_span_id,
)
from journeyman.traces.semconv import REQUEST_MODEL


@dataclass(frozen=True)
class TaskRecord:
    """Everything about one answered task."""

    task: Envelope
    run: RunInfo
    attempt: Mapping[str, Any]
    decision: Mapping[str, Any]
    answer: Answer
    student: str
    escalation: Mapping[str, Any] | None


class Journal:
    """Writes runs and tasks to a recorder; without one it does nothing."""

    _MAX_OPEN = 10_000  # runs that were interrupted and never resumed must not pile up

    def __init__(self, recorder: Recorder | None, *, graph: str) -> None:
        self._recorder = recorder
        self._graph = graph
        self._open: OrderedDict[str, RunRecord | None] = OrderedDict()  # None: its end was told

    def run_started(
        self, run: RunInfo, *, given: Any, context: Context, session_id: str | None
    ) -> None:
        """Put a run on record as running."""
        if self._recorder is None:
            return
        record = replace(
            self._blank(run),
            input=given,
            session_id=session_id,
            suite_run_id=context.suite_run_id,
            scenario_id=context.scenario_id,
        )
        self._remember(run, record)
        self._recorder.record(record)

    async def run_ended(
        self,
        run: RunInfo,
        *,
        output: Any,
        answers: Mapping[str, Answer],
        tallies: Mapping[str, Tally],
    ) -> None:
        """Put the end on record and wait until everything of the run is on disk."""
        if self._recorder is None:
            return
        costs = [answer.cost_microusd for answer in answers.values()]
        record = replace(
            self._open.get(run["run_id"]) or self._blank(run),
            status="ok",
            ended_at=datetime.now(UTC),
            output=output,
            num_tasks=len(answers),
            num_escalations=sum(tally["escalated"] for tally in tallies.values()),
            input_tokens=sum(tally["input_tokens"] for tally in tallies.values()),
            output_tokens=sum(tally["output_tokens"] for tally in tallies.values()),
            cost_microusd=None if None in costs else sum(c for c in costs if c is not None),
        )
        self._remember(run, None)
        self._recorder.record(record, _root_span(record, run["span_id"]))
        await self._recorder.committed(run["run_id"])

    def watched(self, function: NodeFunction) -> NodeFunction:
        """Wrap a node so that whatever it raises is on record before it leaves."""

        async def run_node(state: Any, step: Step) -> Any:
            try:
                return await function(state, step)
            except BaseException as error:
                if "run" in state:
                    await self._run_stopped(state["run"], error)
                raise

        return run_node

    async def _run_stopped(self, run: RunInfo, error: BaseException) -> None:
        # A run that another process began is not known here, yet its end is to be told.
        record = self._open.get(run["run_id"], self._blank(run))
        if self._recorder is None or record is None:
            return  # not recorded, or a parallel node has told of the end already
        if isinstance(error, GraphBubbleUp):  # control flow: the run goes on when it is resumed
            self._recorder.record(replace(record, status="interrupted"))
        else:
            self._remember(run, None)
            cancelled = isinstance(error, asyncio.CancelledError)
            record = replace(
                record,
                status="cancelled" if cancelled else "error",
                ended_at=datetime.now(UTC),
                error_type=type(error).__name__,
                error_message=str(error),
            )
            self._recorder.record(record, _root_span(record, run["span_id"]))
        if not isinstance(error, asyncio.CancelledError):  # a cancelled task must not wait
            await self._recorder.committed(run["run_id"])

    def task_answered(self, record: TaskRecord) -> None:
        """Put an attempt on record, and its escalation where there was one."""
        if self._recorder is None:
            return
        agent_span, attempt_id = new_span_id(), new_id()
        rows: list[Any] = [
            _agent_span(record, agent_span),
            _student_span(record, agent_span),
            _attempt(record, attempt_id, agent_span),
        ]
        if record.escalation is not None:
            frontier_span = new_span_id()
            rows.append(_frontier_span(record, record.escalation, frontier_span, agent_span))
            rows.append(_escalation(record, record.escalation, attempt_id, frontier_span))
        self._recorder.record(*rows)
        self._count(record)

    def _count(self, record: TaskRecord) -> None:
        """Keep the run's sums up to date, so that a run that fails later still tells its cost."""
        run = self._open.get(record.run["run_id"])
        if run is None:
            return
        usage: Usage = record.escalation["usage"] if record.escalation is not None else Usage()
        cost = record.answer.cost_microusd
        total = run.cost_microusd if run.num_tasks else 0
        self._open[record.run["run_id"]] = replace(
            run,
            num_tasks=run.num_tasks + 1,
            num_escalations=run.num_escalations + (record.escalation is not None),
            input_tokens=run.input_tokens + usage.input_tokens,
            output_tokens=run.output_tokens + usage.output_tokens,
            cost_microusd=None if cost is None or total is None else total + cost,
        )

    def _blank(self, run: RunInfo) -> RunRecord:
        return RunRecord(
            id=run["run_id"],
            graph=self._graph,
            status="running",
            started_at=datetime.fromtimestamp(run["started_at"], UTC),
            epoch=run["epoch"],
            tags=tuple(run["tags"]),
        )

    def _remember(self, run: RunInfo, record: RunRecord | None) -> None:
        self._open[run["run_id"]] = record
        while len(self._open) > self._MAX_OPEN:
            self._open.popitem(last=False)


def _root_span(record: RunRecord, span_id: str) -> SpanRecord:
    ended = record.ended_at or datetime.now(UTC)
    return SpanRecord(
        id=span_id,
        run_id=record.id,
        parent_id=None,
        name=record.graph,
        kind="CHAIN",
        status="ok" if record.status == "ok" else "error",
        status_message=record.error_message or "",
        started_at=record.started_at,
        duration_ms=(ended - record.started_at).total_seconds() * 1000,
    )


def _agent_span(record: TaskRecord, span_id: str) -> SpanRecord:
    answer = record.answer
    return SpanRecord(
        id=span_id,
        run_id=record.run["run_id"],
        parent_id=record.run["span_id"],
        name=f"invoke_agent {answer.agent}",
        kind="AGENT",
        agent=answer.agent,
        node=answer.agent,
        status="ok" if answer.error is None else "error",
        status_message=answer.error or "",
        started_at=datetime.fromtimestamp(record.attempt["started_at"], UTC),
        duration_ms=answer.latency_ms,
        cost_microusd=answer.cost_microusd,
        input=record.task["input"],
        output=answer.value,
        attributes={
            "journeyman.task.id": answer.task_id,
            "journeyman.release": answer.release,
            "journeyman.decision": record.decision["action"],
            "journeyman.confidence": answer.confidence,
            "journeyman.threshold": record.decision["threshold"],
            "journeyman.escalation.reason": answer.reason,
            "journeyman.source": answer.source,
        },
    )


def _student_span(record: TaskRecord, parent_id: str) -> SpanRecord:
    attempt = record.attempt
    return SpanRecord(
        id=new_span_id(),
        run_id=record.run["run_id"],
        parent_id=parent_id,
        name=f"attempt {record.student}",
        kind="LLM",
        agent=record.answer.agent,
        node="attempt",
        status="error" if attempt["error"] else "ok",
        status_message=attempt["error"] or "",
        started_at=datetime.fromtimestamp(attempt["started_at"], UTC),
        duration_ms=attempt["latency_ms"],
        model=record.student,
        provider="journeyman",
        cost_microusd=0,
        output=attempt["output"],
    )


def _frontier_span(
    record: TaskRecord, escalation: Mapping[str, Any], span_id: str, parent_id: str
) -> SpanRecord:
    replies: Sequence[FrontierReply] = escalation["replies"]
    usage: Usage = escalation["usage"]
    started = datetime.fromtimestamp(record.attempt["started_at"], UTC) + timedelta(
        milliseconds=max(0.0, record.answer.latency_ms - escalation["latency_ms"])
    )
    return SpanRecord(
        id=span_id,
        run_id=record.run["run_id"],
        parent_id=parent_id,
        name=f"chat {escalation['frontier']}",
        kind="LLM",
        agent=record.answer.agent,
        node="escalate",
        status="ok" if escalation["error"] is None else "error",
        status_message=escalation["error"] or "",
        started_at=started,
        duration_ms=escalation["latency_ms"],
        model=replies[-1].model if replies else escalation["frontier"],
        provider=replies[-1].provider if replies else "",
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_tokens=usage.cached_tokens,
        cost_microusd=escalation["cost_microusd"],
        output=escalation["output"],
        attributes={
            REQUEST_MODEL: escalation["frontier"],
            "journeyman.tries": sum(reply.num_tries for reply in replies),
            "journeyman.checks.failed": escalation["failed_checks"],
        },
    )


def _attempt(record: TaskRecord, attempt_id: str, span_id: str) -> AttemptRecord:
    attempt, decision, answer = record.attempt, record.decision, record.answer
    return AttemptRecord(
        id=attempt_id,
        run_id=answer.run_id,
        span_id=span_id,
        task_id=answer.task_id,
        task_key=record.task["key"],
        agent=answer.agent,
        release=answer.release,
        input=record.task["input"],
        output=attempt["output"],
        raw=attempt["raw"],
        note=_note(attempt["error"] or attempt["note"], decision["note"]),
        evidence=attempt["evidence"],
        checks=list(attempt["checks"]),
        confidence=answer.confidence,
        threshold=decision["threshold"],
        decision=decision["action"],
        reason=answer.reason,
        certified=answer.certified,
        audit_probability=decision["audit_probability"],
        audited=decision["audited"],
        would_accept=decision["would_accept"],
        source=answer.source,
        answer=answer.value,
        error=answer.error,
        cost_microusd=answer.cost_microusd,
        latency_ms=answer.latency_ms,
        created_at=datetime.now(UTC),
    )


def _note(of_attempt: str | None, of_trust: str | None) -> str | None:
    return " ".join(filter(None, (of_attempt, of_trust))) or None


def _escalation(
    record: TaskRecord, escalation: Mapping[str, Any], attempt_id: str, span_id: str
) -> EscalationRecord:
    usage: Usage = escalation["usage"]
    return EscalationRecord(
        id=new_id(),
        attempt_id=attempt_id,
        run_id=record.answer.run_id,
        span_id=span_id,
        agent=record.answer.agent,
        reason=record.answer.reason or "",
        status=escalation["status"],
        frontier_model=escalation["frontier"],
        student_output=record.attempt["output"],
        frontier_output=escalation["output"],
        agreement=escalation["agreement"],
        label_source=escalation["label_source"],
        trainable=escalation["trainable"],
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cost_microusd=escalation["cost_microusd"],
        latency_ms=escalation["latency_ms"],
        error=escalation["error"],
        created_at=datetime.now(UTC),
    )
