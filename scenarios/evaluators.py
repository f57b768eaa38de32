"""The table of built-in evaluators. Importing it imports `pydantic-evals`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic_evals.evaluators import Equals, Evaluator, MaxDuration

from journeyman.scenarios.evaluators_answers import (
    Contains,
    JsonMatch,
    LLMJudge,
    Matches,
    Retrieved,
    TestsPass,
)
from journeyman.scenarios.evaluators_runs import (
    AnsweredBy,
    Certified,
    Confidence,
    Escalated,
    MaxCost,
    MaxLatency,
    MaxSteps,
    NoErrors,
    RoutedTo,
)

BUILT_IN: Mapping[str, type[Evaluator[Any, Any, Any]]] = {
    kind.get_serialization_name(): kind
    for kind in (
        NoErrors, JsonMatch, Contains, Matches, Equals, RoutedTo, Escalated, AnsweredBy, Certified,
        Confidence, Retrieved, TestsPass, MaxCost, MaxLatency, MaxDuration, MaxSteps, LLMJudge,
    )
}  # fmt: skip
"""By name; `Equals` and `MaxDuration` are those of `pydantic-evals`."""
