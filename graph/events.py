"""Typed events that a run streams, as `custom` parts: plan, attempt, gate, escalation, answer."""

from __future__ import annotations

from typing import Any, Literal, TypedDict


class PlanEvent(TypedDict):
    """Which tasks run, in which waves."""

    type: Literal["plan"]
    run_id: str
    waves: list[list[dict[str, str]]]


class AttemptEvent(TypedDict):
    """A student has answered, or, with `output` None, said that it cannot."""

    type: Literal["attempt"]
    run_id: str
    task_id: str
    agent: str
    output: dict[str, Any] | None
    evidence: dict[str, float]
    note: str | None
    latency_ms: float


class GateEvent(TypedDict):
    """The gate has decided."""

    type: Literal["gate"]
    run_id: str
    task_id: str
    agent: str
    action: Literal["accept", "escalate"]
    reason: str | None
    confidence: float | None
    threshold: float | None


class EscalationEvent(TypedDict):
    """The frontier is asked."""

    type: Literal["escalation"]
    run_id: str
    task_id: str
    agent: str
    reason: str


class AnswerEvent(TypedDict):
    """A task has its answer."""

    type: Literal["answer"]
    run_id: str
    task_id: str
    agent: str
    answer: dict[str, Any]


Event = PlanEvent | AttemptEvent | GateEvent | EscalationEvent | AnswerEvent
