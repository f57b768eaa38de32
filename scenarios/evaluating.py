"""Evaluates the assertions of a finished scenario.

An evaluator that raises, or that says neither yes nor no, makes its assertion an error with its
message; the others are evaluated all the same.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from journeyman.models.errors import JourneymanError, ModelError
from journeyman.models.types import FrontierReply, FrontierRequest
from journeyman.scenarios.observed import Ask, Observed
from journeyman.scenarios.scenario import Assertion
from journeyman.scenarios.verdicts import AssertionResult

logger = logging.getLogger("journeyman.scenarios")


async def evaluate(
    assertions: Sequence[Assertion], seen: Observed, *, turn: int | None = None
) -> tuple[AssertionResult, ...]:
    """The results of assertions, in their order.

    Args:
        assertions: What must hold.
        seen: The finished scenario, or one turn of it.
        turn: Which turn; None for the whole scenario.
    """
    return tuple([await _evaluate(assertion, seen, turn) for assertion in assertions])


async def _evaluate(assertion: Assertion, seen: Observed, turn: int | None) -> AssertionResult:
    purse = _Purse(seen.ask)
    passed: bool | None = None
    score: float | None = None
    try:
        told = await assertion.evaluator.evaluate_async(_context(replace(seen, ask=purse.ask)))
        passed, score, reason = _verdict(told)
        if assertion.negated:
            passed = not passed
            reason = f"should not hold: {reason}" if not passed and reason else reason
    except JourneymanError as error:
        reason = str(error)
    except Exception as error:  # a user's evaluator may raise anything; the run goes on
        logger.debug("assertion %r could not be evaluated", assertion.label, exc_info=error)
        reason = " ".join(f"{type(error).__name__}: {error}".split())
    return AssertionResult(
        type=assertion.type,
        name=assertion.label,
        passed=passed,
        score=score,
        reason=reason,
        weight=assertion.weight,
        turn=turn,
        cost_microusd=purse.spent,
    )


class _Purse:
    """Counts what one assertion spends at the frontier."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self.spent: int | None = 0

    async def ask(self, request: FrontierRequest) -> FrontierReply:
        try:
            reply = await self._ask(request)
        except ModelError as error:
            self._pay(error.cost_microusd)
            raise
        self._pay(reply.cost_microusd)
        return reply

    def _pay(self, cost: int | None) -> None:
        self.spent = None if cost is None or self.spent is None else self.spent + cost


def _context(seen: Observed) -> Any:
    from pydantic_evals.evaluators import EvaluatorContext
    from pydantic_evals.otel import SpanTreeRecordingError

    return EvaluatorContext(
        name=seen.scenario.id,
        inputs=seen.scenario.input,
        metadata=seen,
        expected_output=seen.expected_plain,
        output=seen.output,
        duration=seen.duration_ms / 1000,
        _span_tree=SpanTreeRecordingError("suites keep steps, not spans; see `metadata.steps`"),
        attributes={},
        metrics={},
    )


def _verdict(told: Any) -> tuple[bool, float | None, str]:
    """Verdict, score and reason from whatever form an evaluator answers in.

    Raises:
        TypeError: It says neither yes nor no.
    """
    if not isinstance(told, Mapping):
        told = {"": told}
    verdicts: list[bool] = []
    scores: list[float] = []
    reasons: list[str] = []
    for one in told.values():
        value = getattr(one, "value", one)
        if isinstance(value, bool):
            verdicts.append(value)
        elif isinstance(value, int | float):
            scores.append(float(value))
        score = getattr(one, "score", None)
        scores.extend([float(score)] if score is not None else [])
        reasons.extend([one.reason] if getattr(one, "reason", None) else [])
    if not verdicts:
        raise TypeError(
            "the evaluator says neither true nor false; have it return a bool, or a mapping that "
            "holds one beside a score"
        )
    reason = " ".join(" ".join(reasons).split())
    return all(verdicts), scores[0] if scores else None, reason
