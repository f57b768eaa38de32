"""The gate: accept a student's attempt or escalate it, and why.

There is no default threshold. Without a certificate every task escalates as `uncertified`. The gate
decides on numbers alone: it calls no model and writes nothing down.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

from journeyman.graph.state import Context
from journeyman.models.types import Attempt, Reason


@dataclass(frozen=True, slots=True)
class Decision:
    """The gate's word on one attempt.

    Attributes:
        action: Accept the student's answer, or escalate.
        reason: Why it escalates; None where it is accepted.
        confidence: Probability that the attempt is right; None without a fitted head.
        threshold: The certified threshold; None without a certificate.
        certified: The acceptance rests on a valid certificate.
        audit_probability: Probability with which an audit was drawn; None where none is drawn.
    """

    action: Literal["accept", "escalate"]
    reason: Reason | None = None
    confidence: float | None = None
    threshold: float | None = None
    certified: bool = False
    audit_probability: float | None = None

    def to_state(self) -> dict[str, Any]:
        """As JSON-compatible data."""
        return asdict(self)


class Trust(Protocol):
    """What has been earned by one release: a confidence head and a certified threshold."""

    threshold: float

    def confidence(self, evidence: Mapping[str, float]) -> float:
        """Probability that the attempt with this evidence is right."""
        ...


class TrustSource(Protocol):
    """Where the gate looks trust up; it may change while a graph runs."""

    def trust(self, agent: str, release: str) -> Trust | None:
        """Trust in one release of one sub-agent; None where nothing is certified."""
        ...


class NoTrust:
    """The cold start: nothing is certified."""

    def trust(self, agent: str, release: str) -> Trust | None:  # noqa: ARG002  # the protocol's names
        """Always None."""
        return None


def decide(attempt: Attempt | None, trust: Trust | None, context: Context) -> Decision:
    """Accept or escalate one attempt.

    Args:
        attempt: The student's answer with its evidence and checks; None where the student failed.
        trust: What this release has earned; None where nothing is certified.
        context: Settings of the run.
    """
    confidence = trust.confidence(attempt.evidence) if trust and attempt else None
    threshold = trust.threshold if trust is not None else None

    def escalate(reason: Reason) -> Decision:
        return Decision("escalate", reason, confidence, threshold)

    if context.force_escalation:
        return escalate(Reason.FORCED)
    if attempt is None:
        return escalate(Reason.STUDENT_ERROR)
    if trust is None and not context.trust_uncertified:
        return escalate(Reason.UNCERTIFIED)
    if attempt.output is None or attempt.failed_check is not None:
        return escalate(Reason.INVALID_OUTPUT)
    if trust is None:
        return Decision("accept")
    # Written so that NaN, which is below nothing, escalates.
    if confidence is None or not confidence >= trust.threshold:
        return escalate(Reason.LOW_CONFIDENCE)
    return Decision("accept", None, confidence, threshold, certified=True)
