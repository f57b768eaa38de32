"""From a sub-agent's recorded answer to what the metrics judge.

Answers come as JSON-compatible data, as they stand in the trace; metrics compare plain records,
rankings and routes.
"""

from __future__ import annotations

from typing import Any

from journeyman.agents.base import Agent
from journeyman.agents.extraction import Extraction
from journeyman.agents.record import Record
from journeyman.agents.retrieval import Retrieval
from journeyman.agents.routing import Routing
from journeyman.models.types import Span
from journeyman.scenarios.metrics import Given, GivenRecord


def given(agent: Agent[Any, Any], value: Any) -> Given:
    """An answer of a sub-agent as the metrics take it; None stays no answer.

    Raises:
        TypeError: The sub-agent is of a kind that no metric judges.
    """
    if value is None:
        return None
    output = agent.output_type.model_validate(value)
    if isinstance(agent, Extraction):
        return _record(agent, output)
    if isinstance(agent, Retrieval):
        ids: list[str] = output.ids
        return ids
    if isinstance(agent, Routing):
        routes: frozenset[str] = output.routes
        return routes
    raise TypeError(f"no metric judges answers of {type(agent).__name__}")


def _record(agent: Extraction, record: Record) -> GivenRecord:
    """Values and spans under the labels of the data, which need not be valid field names."""
    label = {spec.path: spec.label for spec in agent.specs}
    return GivenRecord(
        values={label.get(name, name): value for name, value in record.values.items()},
        spans=tuple(
            Span(label.get(span.field, span.field), span.start, span.end, span.text)
            for span in record.spans
        ),
    )
