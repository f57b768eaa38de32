"""The gate: accept a student's attempt or escalate it, and why.

There is no default threshold. Without a certificate every task escalates as `uncertified`. Reasons
come in this order: `forced`, `student_error`, `uncertified`, `audit`, `invalid_output`,
`low_confidence`; so audits are drawn before evidence is looked at. The gate decides on numbers
alone: it calls no model and writes nothing down.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Protocol

from journeyman.graph.state import Context
from journeyman.models.audit import AuditDraw
from journeyman.models.types import Attempt, Reason


@dataclass(frozen=True, slots=True)
class Decision:
    """The gate's word on one attempt.

    Attributes:
        action: Accept the student's answer, or escalate.
        reason: Why it escalates; None where it is accepted.
        confidence: Probability that the attempt is right; None without a fitted head.
        threshold: The certified threshold; None where nothing is certified.
        certified: The acceptance rests on a valid certificate.
        audit_probability: Probability with which the task was drawn for an audit; None where
            nothing is certified, and no audits are drawn.
        audited: It was drawn; None where nothing is certified.
        would_accept: What the gate would have done had the task neither been drawn nor forced; None
            where nothing is certified.
    """

    action: Literal["accept", "escalate"]
    reason: Reason | None = None
    confidence: float | None = None
    threshold: float | None = None
    certified: bool = False
    audit_probability: float | None = None
    audited: bool | None = None
    would_accept: bool | None = None

    def to_state(self) -> dict[str, Any]:
        """As JSON-compatible data."""
        return asdict(self)


class Trust(Protocol):
    """What has been earned by one release: a confidence head, and perhaps a threshold."""

    @property
    def threshold(self) -> float | None:
        """Accept at this confidence or above; None or infinity where nothing is certified."""
        ...

    def confidence(self, evidence: Mapping[str, float]) -> float | None:
        """Probability that the attempt with this evidence is right; None where it has none."""
        ...


def decide(
    attempt: Attempt | None,
    trust: Trust | None,
    context: Context,
    audit: AuditDraw | None = None,
) -> Decision:
    """Accept or escalate one attempt.

    Args:
        attempt: The student's answer with its evidence and checks; None where the student failed.
        trust: What this release has earned; None where nothing is certified and no head is fitted.
        context: Settings of the run.
        audit: The draw for this task; counts only where something is certified.
    """
    confidence = trust.confidence(attempt.evidence) if trust and attempt else None
    threshold = trust.threshold if trust is not None else None
    if threshold is not None and not math.isfinite(threshold):
        threshold = None
    if threshold is None:
        return _uncertified(attempt, context, confidence)
    reason = _reason(attempt, confidence, threshold)
    seen = Decision(
        "accept" if reason is None else "escalate",
        reason,
        confidence,
        threshold,
        certified=reason is None,
        audit_probability=audit.probability if audit is not None else None,
        audited=audit is not None and audit.is_audited,
        would_accept=reason is None,
    )
    if context.force_escalation:
        return _instead(seen, Reason.FORCED)
    if seen.audited and reason is not Reason.STUDENT_ERROR:
        return _instead(seen, Reason.AUDIT)
    return seen


def _uncertified(attempt: Attempt | None, context: Context, confidence: float | None) -> Decision:
    reason: Reason | None = None
    if context.force_escalation:
        reason = Reason.FORCED
    elif attempt is None:
        reason = Reason.STUDENT_ERROR
    elif not context.trust_uncertified:
        reason = Reason.UNCERTIFIED
    elif _is_invalid(attempt):
        reason = Reason.INVALID_OUTPUT
    return Decision("accept" if reason is None else "escalate", reason, confidence)


def _reason(attempt: Attempt | None, confidence: float | None, threshold: float) -> Reason | None:
    """Why the evidence escalates under a certificate; None where it is good enough."""
    if attempt is None:
        return Reason.STUDENT_ERROR
    if _is_invalid(attempt):
        return Reason.INVALID_OUTPUT
    # Written so that NaN, which is below nothing, escalates.
    if confidence is None or not confidence >= threshold:
        return Reason.LOW_CONFIDENCE
    return None


def _is_invalid(attempt: Attempt) -> bool:
    return attempt.output is None or attempt.failed_check is not None


def _instead(decision: Decision, reason: Reason) -> Decision:
    return replace(decision, action="escalate", reason=reason, certified=False)
