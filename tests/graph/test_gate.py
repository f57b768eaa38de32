"""The gate fails closed: what is not known to be good enough escalates."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from journeyman.graph.gate import decide
from journeyman.graph.standing import Met
from journeyman.graph.state import Context
from journeyman.models.audit import AuditDraw
from journeyman.models.types import Attempt, Check, Reason


class Certified:
    """Trust with a threshold of 0.9 and a confidence that the test names."""

    threshold = 0.9

    def __init__(self, confidence: float) -> None:
        self._confidence = confidence

    def confidence(self, evidence: Mapping[str, float]) -> float:
        return self._confidence


GOOD = Attempt("answer")


@pytest.mark.parametrize("confidence", [0.9, 1.0])
def test_at_or_above_the_threshold_is_accepted_as_certified(confidence: float) -> None:
    decision = decide(GOOD, Certified(confidence), Context())
    assert (decision.action, decision.certified) == ("accept", True)


@pytest.mark.parametrize("confidence", [0.0, 0.899, float("nan")])
def test_below_the_threshold_or_no_number_escalates(confidence: float) -> None:
    decision = decide(GOOD, Certified(confidence), Context())
    assert (decision.reason, decision.certified) == (Reason.LOW_CONFIDENCE, False)


FAILED = Attempt("answer", checks=(Check("grounded", passed=False),))


@pytest.mark.parametrize(
    ("attempt", "context", "reason"),
    [
        (GOOD, Context(), Reason.UNCERTIFIED),
        (None, Context(trust_uncertified=True), Reason.STUDENT_ERROR),
        (GOOD, Context(trust_uncertified=True, force_escalation=True), Reason.FORCED),
        (FAILED, Context(trust_uncertified=True), Reason.INVALID_OUTPUT),
        (Attempt(None), Context(trust_uncertified=True), Reason.INVALID_OUTPUT),
    ],
)
def test_without_a_certificate_each_way_to_escalate_has_its_reason(
    attempt: Attempt | None, context: Context, reason: Reason
) -> None:
    assert decide(attempt, None, context).reason == reason


def test_a_failed_hard_check_escalates_however_sure_the_head_is() -> None:
    assert decide(FAILED, Certified(1.0), Context()).reason == Reason.INVALID_OUTPUT


def test_trusting_the_uncertified_never_certifies() -> None:
    decision = decide(GOOD, None, Context(trust_uncertified=True))
    assert (decision.action, decision.certified) == ("accept", False)


DRAWN, PASSED_OVER = AuditDraw(True, 0.05), AuditDraw(False, 0.05)


@pytest.mark.parametrize(
    ("attempt", "confidence", "context", "reason", "would_accept"),
    [
        (GOOD, 1.0, Context(), Reason.AUDIT, True),
        (GOOD, 0.5, Context(), Reason.AUDIT, False),
        (FAILED, 1.0, Context(), Reason.AUDIT, False),
        (GOOD, 1.0, Context(force_escalation=True), Reason.FORCED, True),
        (None, 1.0, Context(), Reason.STUDENT_ERROR, False),
    ],
)
def test_an_audit_comes_before_the_evidence_and_says_what_the_gate_would_have_done(
    attempt: Attempt | None,
    confidence: float,
    context: Context,
    reason: Reason,
    would_accept: bool,
) -> None:
    decision = decide(attempt, Certified(confidence), context, DRAWN)
    assert (decision.action, decision.reason) == ("escalate", reason)
    assert (decision.audited, decision.would_accept) == (True, would_accept)
    assert not decision.certified


@pytest.mark.parametrize("confidence", [1.0, 0.5])
def test_the_probability_of_an_audit_is_told_of_tasks_that_were_passed_over(
    confidence: float,
) -> None:
    decision = decide(GOOD, Certified(confidence), Context(), PASSED_OVER)
    assert (decision.audited, decision.audit_probability) == (False, 0.05)


def test_where_everything_escalates_anyway_no_audit_is_drawn() -> None:
    decision = decide(GOOD, None, Context(), DRAWN)
    assert decision.reason == Reason.UNCERTIFIED
    assert (decision.audited, decision.audit_probability, decision.would_accept) == (None,) * 3


@pytest.mark.parametrize("threshold", [None, float("inf"), float("-inf"), float("nan")])
def test_without_a_finite_threshold_nothing_is_certified(threshold: float | None) -> None:
    decision = decide(GOOD, Met(threshold, 1.0), Context(), DRAWN)
    assert (decision.reason, decision.certified) == (Reason.UNCERTIFIED, False)
    assert decision.confidence == 1.0


def test_a_certified_threshold_without_a_confidence_accepts_nothing() -> None:
    assert decide(GOOD, Met(0.0, None), Context()).reason == Reason.LOW_CONFIDENCE
