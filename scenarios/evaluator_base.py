"""What the built-in evaluators share: how they are called, and how they say what they found.

They derive from `pydantic-evals` and look at `Observed`, which comes as the context's metadata.
Importing this module imports `pydantic-evals`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ConfigDict
from pydantic_evals.evaluators import EvaluationReason, Evaluator, EvaluatorContext

from journeyman.models.types import Answer
from journeyman.scenarios.observed import Observed

Seen = EvaluatorContext[Any, Any, Observed]


@dataclass
class Judgement(EvaluationReason):
    """A verdict with its reason, and the number behind it."""

    score: float | None = None


@dataclass
class BuiltIn(Evaluator[Any, Any, Observed]):
    """An evaluator that comes with Journeyman; its arguments are taken as they are typed."""

    __pydantic_config__ = ConfigDict(strict=True, extra="forbid", arbitrary_types_allowed=True)

    def evaluate(self, ctx: Seen) -> Judgement:
        """Look at a finished scenario, without asking anybody."""
        return self.judge(observed(ctx))

    def judge(self, seen: Observed) -> Judgement:
        """The verdict."""
        raise NotImplementedError


def observed(ctx: Seen) -> Observed:
    """The scenario that an evaluator is called for."""
    assert ctx.metadata is not None, "suites always give the context its metadata"
    return ctx.metadata


def no_answer(agent: str | None) -> Judgement:
    """The verdict where nothing was answered that could hold."""
    return Judgement(False, f"{agent} gave no answer" if agent else "nobody gave an answer")


def every(
    answers: Sequence[Answer], agent: str | None, wrong: Iterable[str], well: str
) -> Judgement:
    """All answers are as they should be, and there is one at least."""
    if not answers:
        return no_answer(agent)
    complaints = list(wrong)
    return Judgement(not complaints, "; ".join(complaints) or well)


def short(text: str) -> str:
    """A text on one line, quoted and shortened."""
    text = " ".join(text.split())
    return repr(text if len(text) <= 120 else f"{text[:117]}...")
