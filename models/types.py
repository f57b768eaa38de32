"""The words of the project as types, shared by every layer.

Values that cross a boundary (answers, risk) are pydantic models; values that stay inside the
process are frozen dataclasses. Nothing here knows how a model is called, how a task is judged or
where a record is kept. Money is integer micro-USD, durations are milliseconds, probabilities lie in
[0, 1].
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

StudentKind = Literal["tagger", "classifier", "embedder", "ranker", "generator", "custom"]
Source = Literal["student", "frontier", "human", "none"]
"""Who gave the answer; `none` is a task whose escalation is queued and still open."""
LabelSource = Literal["frontier", "tests", "human", "reference"]
RiskKind = Literal["joint", "selective"]
FailurePolicy = Literal["fail", "return_uncertified", "queue"]


class Reason(StrEnum):
    """Why a task went to the frontier."""

    UNCERTIFIED = "uncertified"
    LOW_CONFIDENCE = "low_confidence"
    INVALID_OUTPUT = "invalid_output"
    AUDIT = "audit"
    FORCED = "forced"
    STUDENT_ERROR = "student_error"


class Risk(BaseModel):
    """The error a user can live with.

    Attributes:
        max_error: Target in (0, 1).
        delta: Probability in (0, 1) with which the guarantee may fail.
        kind: `joint` bounds P(accepted and wrong); `selective` bounds P(wrong | accepted).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_error: float = Field(
        default=0.05, gt=0, lt=1, description="Share of wrong answers that is still acceptable."
    )
    delta: float = Field(
        default=0.05, gt=0, lt=1, description="Probability with which the guarantee may fail."
    )
    kind: RiskKind = Field(
        default="joint",
        description="joint: wrong and accepted, of all tasks; selective: wrong, of those accepted.",
    )


class Answer(BaseModel):
    """One answer and where it came from.

    Attributes:
        value: The sub-agent's output as JSON-compatible data; None where there is no answer.
        agent: Name of the sub-agent.
        source: Who answered.
        confidence: Probability that the answer is right; None where no head has been fitted.
        certified: True only when a student's answer passed a valid certificate.
        reason: Why the task was escalated; None where the student's answer was accepted.
        release: Release of the student that made the attempt.
        cost_microusd: Frontier cost of this answer; None where the price is unknown.
        latency_ms: From dispatch to answer.
        run_id: The run in the trace store.
        task_id: The task within the run.
        error: Why there is no answer, in one sentence; None where there is one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: Any
    agent: str
    source: Source
    confidence: float | None = None
    certified: bool = False
    reason: Reason | None = None
    release: str = ""
    cost_microusd: int | None = 0
    latency_ms: float = 0.0
    run_id: str = ""
    task_id: str = ""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of the task's text that a student marked.

    Attributes:
        label: What it was marked as.
        start: First character, inclusive.
        end: Past the last character.
        text: `text[start:end]` of the task's text.
        probability: Probability of the span, the smallest of its tokens'.
        mean_probability: Mean probability of its tokens.
    """

    label: str
    start: int
    end: int
    text: str
    probability: float = 1.0
    mean_probability: float = 1.0


@dataclass(frozen=True, slots=True)
class Check:
    """A named test of an output. A failed hard check escalates without spending error budget."""

    name: str
    passed: bool
    hard: bool = True
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One student answer with its evidence, before anyone judges it.

    Attributes:
        output: The parsed answer; None where the student abstained.
        evidence: Named numbers; the names belong to the release.
        checks: Results of the sub-agent's checks.
        note: What the student says of itself, e.g. that it has not been taught.
        raw: What the student returned, JSON-compatible, for the record.
        latency_ms: Time of the attempt, waiting for a batch included.
    """

    output: Any
    evidence: Mapping[str, float] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    note: str | None = None
    raw: Any = None
    latency_ms: float = 0.0

    @property
    def failed_check(self) -> Check | None:
        """The first failed hard check, or None."""
        return next((c for c in self.checks if c.hard and not c.passed), None)


@dataclass(frozen=True, slots=True)
class Example:
    """A teaching example: what the student sees and the answer it should give, JSON-compatible."""

    agent: str
    task: Mapping[str, Any]
    target: Any
    group: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one or several model calls."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        """Sum of two usages."""
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
        )


@dataclass(frozen=True, slots=True)
class FrontierRequest:
    """What a sub-agent asks the frontier.

    Attributes:
        messages: Chat messages in OpenAI's form.
        json_schema: JSON Schema that the answer must fit (an object at the top).
        schema_name: Name of the schema on the wire, `[a-zA-Z0-9_-]{1,64}`.
        agent: Name of the asking sub-agent.
        task_key: Content hash of the task, the same however often it is asked.
        max_output_tokens: Upper limit of the completion.
    """

    messages: tuple[Mapping[str, Any], ...]
    json_schema: Mapping[str, Any]
    schema_name: str
    agent: str = ""
    task_key: str = ""
    max_output_tokens: int = 1024


@dataclass(frozen=True, slots=True)
class FrontierReply:
    """What the frontier answered.

    Attributes:
        data: The parsed JSON object.
        text: The completion as it came.
        model: The model that the server names.
        provider: Who serves it, for the trace.
        usage: Tokens over all tries, failed ones included where the server reported them.
        cost_microusd: Rounded up; None where the price is unknown.
        latency_ms: Retries and waiting included.
        num_tries: HTTP calls made.
    """

    data: Mapping[str, Any]
    text: str
    model: str
    provider: str = ""
    usage: Usage = Usage()
    cost_microusd: int | None = None
    latency_ms: float = 0.0
    num_tries: int = 1


def canonical_json(value: Any) -> str:
    """JSON text that is the same for equal values: sorted keys, no spaces, UTF-8 kept.

    Raises:
        TypeError: The value is not JSON-compatible.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def content_hash(value: Any, *, length: int = 64) -> str:
    """SHA-256 of `canonical_json(value)`, the first `length` hex digits."""
    data = canonical_json(value).encode("utf-8", "surrogatepass")
    return hashlib.sha256(data).hexdigest()[:length]
