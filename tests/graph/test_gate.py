"""The gate fails closed: what is not known to be good enough escalates."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from journeyman.graph.gate import decide
from journeyman.graph.state import Context
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
