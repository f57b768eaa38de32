"""From a sub-agent's recorded answer to what the metrics judge.

Answers come as JSON-compatible data, as they stand in the trace; metrics compare plain records,
rankings and routes.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from journeyman.agents.base import Agent
from journeyman.agents.debugging import Debugging, Patch
from journeyman.agents.extraction import Extraction
from journeyman.agents.record import Record
from journeyman.agents.retrieval import Retrieval
from journeyman.agents.routing import Routing
from journeyman.models.errors import ConfigError
from journeyman.models.types import Span
from journeyman.scenarios.metrics import Given, GivenRecord
from journeyman.scenarios.scenario import Expected, ExpectedOutput, ExpectedTests

_JUDGED = (Extraction, Retrieval, Debugging, Routing)


async def judged(agent: Agent[Any, Any], value: Any, expected: Expected | None) -> Given:
    """An answer as the metrics take it, as `given`; repairs are run against the judging tests.

    Hidden tests judge where there are any, the visible ones otherwise.

    Raises:
        TypeError: The sub-agent is of a kind that no metric judges.
        SandboxUnavailable: A repair is to be judged, and nothing here can run it.
    """
    if expected is None and not isinstance(agent, _JUDGED):
        return None  # a sub-agent of a user's own, judged by assertions alone
    if isinstance(expected, ExpectedOutput):
        return value is not None and agrees_with(agent, value, expected)
    if value is None or not isinstance(agent, Debugging) or not isinstance(expected, ExpectedTests):
        return given(agent, value)
    patch = Patch.model_validate(value)
    tests = expected.hidden_tests if expected.hidden_tests.strip() else expected.tests
    verdict = await agent.sandbox.check(patch.code, tests, entry_point=expected.entry_point)
    return verdict.passed and bool(verdict.tests)


def agrees_with(agent: Agent[Any, Any], value: Any, expected: ExpectedOutput) -> bool:
    """Is an answer of a user's own sub-agent the expected one, by the sub-agent's own word?

    Raises:
        ConfigError: The expected answer is none that the sub-agent could give.
    """
    try:
        wanted = agent.output_type.model_validate(expected.value)
    except ValidationError as error:
        raise ConfigError(
            f"The `expected` of agent {agent.name!r} is no {agent.output_type.__name__}: "
            f"{error.errors()[0]['msg']}."
        ) from error
    return agent.agrees(agent.output_type.model_validate(value), wanted)


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
    if isinstance(agent, Debugging):
        passes: bool = output.passes  # by its own word; `judged` asks the tests
        return passes
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
