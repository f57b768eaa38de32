"""Scenarios written out in a suite: their inputs and expected results, checked at their lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from journeyman.models.errors import ConfigError
from journeyman.models.types import canonical_json
from journeyman.scenarios.offsets import place_values
from journeyman.scenarios.scenario import (
    Expected,
    ExpectedRanking,
    ExpectedRecord,
    ExpectedRoutes,
    ExpectedTests,
    Message,
    Scenario,
    group_of,
)
from journeyman.scenarios.spec import AGENTS, InlineScenario, SuiteSpec

Fail = Callable[[tuple[str | int, ...], str], ConfigError]
"""Makes the error for a place in the suite: `fail(loc, message)`."""


def inline_scenarios(spec: SuiteSpec, fail: Fail) -> Iterator[Scenario]:
    """The scenarios under `scenarios:`, in order.

    Raises:
        ConfigError: An input does not suit the sub-agent, or an expected result has a wrong form.
    """
    for position, written in enumerate(spec.scenarios):
        at = ("scenarios", position)
        agent = written.agent or spec.agent
        if isinstance(written.input, dict) and agent is None:
            raise fail(
                (*at, "input"),
                "A typed task needs its sub-agent; set `agent`, or write the input as text.",
            )
        text = input_text(written.input)
        yield Scenario(
            id=written.id,
            agent=agent,
            input=_input(written),
            text=text,
            expected=_expected(written, agent, text, (*at, "expected"), fail),
            tags=tuple(dict.fromkeys([*spec.tags, *written.tags])),
            group=group_of(text),
        )


def input_text(written: str | list[Any] | Mapping[str, Any]) -> str:
    """What a reader sees of an input: the text, the last user message, or the task's text field."""
    if isinstance(written, str):
        return written
    if isinstance(written, Mapping):
        for key in ("text", "question", "code"):
            if isinstance(written.get(key), str):
                return str(written[key])
        return canonical_json(written)
    said = [message.content for message in written if message.role == "user"]
    return said[-1] if said else written[-1].content if written else ""


def _input(written: InlineScenario) -> str | tuple[Message, ...] | Mapping[str, Any]:
    if isinstance(written.input, list):
        return tuple({"role": item.role, "content": item.content} for item in written.input)
    return written.input


def _expected(
    written: InlineScenario, agent: str | None, text: str, at: tuple[str | int, ...], fail: Fail
) -> Mapping[str, Expected]:
    value = written.expected
    if value is None:
        return {}
    if agent is not None:
        return {agent: _read(agent, value, written, text, at, fail)}
    if not isinstance(value, dict) or not set(value) <= set(AGENTS):
        raise fail(
            at,
            "Where no `agent` is named, `expected` maps sub-agents "
            f"({', '.join(AGENTS)}) to what each should answer.",
        )
    found = {
        name: _read(name, item, written, text, (*at, name), fail) for name, item in value.items()
    }
    found.setdefault("routing", ExpectedRoutes(frozenset(found)))
    return found


def _read(
    agent: str,
    value: Any,
    written: InlineScenario,
    text: str,
    at: tuple[str | int, ...],
    fail: Fail,
) -> Expected:
    match agent:
        case "extraction":
            if not isinstance(value, dict):
                raise fail(at, "Extraction expects a mapping from field to value.")
            values = {key: item for key, item in value.items() if item not in (None, "", [])}
            return ExpectedRecord(values, place_values(text, values))
        case "retrieval":
            return ExpectedRanking(_grades(value, at, fail))
        case "routing":
            if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
                raise fail(at, "Routing expects a list of route names; `[]` means out of scope.")
            return ExpectedRoutes(frozenset(value))
    return _tests(value, written.input, at, fail)


def _grades(value: Any, at: tuple[str | int, ...], fail: Fail) -> dict[str, int]:
    grades = value if isinstance(value, dict) else {}
    if isinstance(value, list) and all(isinstance(item, str | int) for item in value):
        grades = {str(item): 1 for item in value}
    if not grades or not all(isinstance(g, int) and g > 0 for g in grades.values()):
        raise fail(at, "Retrieval expects a list of passage ids, or a mapping from id to grade.")
    return grades


def _tests(value: Any, task: Any, at: tuple[str | int, ...], fail: Fail) -> ExpectedTests:
    known = {"tests", "hidden_tests", "fixed", "entry_point"}
    if not isinstance(value, dict) or not set(value) <= known:
        raise fail(at, f"Debugging expects a mapping with keys of {', '.join(sorted(known))}.")
    if not all(isinstance(item, str) for item in value.values()):
        raise fail(at, "Debugging expects Python source as text under every key.")
    shown = (
        {key: item for key, item in dict(task).items() if isinstance(item, str)}
        if (isinstance(task, Mapping))
        else {}
    )
    given = {"tests": shown.get("tests", ""), "entry_point": shown.get("entry_point", ""), **value}
    if not given["tests"] and not given.get("hidden_tests"):
        raise fail(at, "Debugging expects `tests` or `hidden_tests` that judge the repair.")
    return ExpectedTests(**given)
