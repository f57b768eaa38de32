"""Scenarios written out in a suite: their inputs and expected results, checked at their lines."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from journeyman.models.errors import ConfigError
from journeyman.models.types import canonical_json
from journeyman.scenarios.assertions import read_assertions
from journeyman.scenarios.marked import Loc, read_text
from journeyman.scenarios.offsets import place_values
from journeyman.scenarios.paths import expand
from journeyman.scenarios.registry import Registry
from journeyman.scenarios.scenario import (
    Assertion,
    Expected,
    ExpectedOutput,
    ExpectedRanking,
    ExpectedRecord,
    ExpectedRoutes,
    ExpectedTests,
    Message,
    Resume,
    Scenario,
    Turn,
    group_of,
)
from journeyman.scenarios.sources import Source
from journeyman.scenarios.spec import AGENTS, InlineScenario, SuiteSpec

Fail = Callable[[Loc, str], ConfigError]
"""Makes the error for a place in a file: `fail(loc, message)`."""


def inline_scenarios(
    spec: SuiteSpec, sources: Sequence[Source], registry: Registry
) -> Iterator[Scenario]:
    """The scenarios under `scenarios:`, in order, those of included files after the suite's.

    Raises:
        ConfigError: An input does not suit the sub-agent, an expected result has a wrong form, an
            assertion cannot be used, or a file cannot be read.
    """
    defaults = default_assertions(spec, sources[0], registry)
    for source in sources:
        for position in range(len(source.scenarios)):
            yield inline_scenario(spec, source, position, registry, defaults)


def default_assertions(
    spec: SuiteSpec, source: Source, registry: Registry
) -> tuple[Assertion, ...]:
    """The assertions that hold for every scenario of the suite that is `source`.

    Raises:
        ConfigError: One cannot be used.
    """
    at = ("defaults", "assert")
    return tuple(read_assertions(spec.defaults.assertions, at, source.document, registry))


def inline_scenario(
    spec: SuiteSpec,
    source: Source,
    position: int,
    registry: Registry,
    defaults: tuple[Assertion, ...] = (),
) -> Scenario:
    """The scenario at a position of a file.

    Raises:
        ConfigError: As `inline_scenarios`.
    """
    written = source.scenarios[position]
    at: Loc = ("scenarios", position)
    fail = source.document.error
    agent = written.agent or spec.agent
    given = _input(written, source, at)
    if isinstance(given, Mapping) and agent is None:
        raise fail(
            (*at, "input"),
            "A typed task needs its sub-agent; set `agent`, or write the input as text.",
        )
    text = input_text(given)
    names = spec.agents.own
    expected = _expected(written.expected, given, agent, text, (*at, "expected"), fail, own=names)
    turns = _turns(written, agent, source, at, registry, own=names)
    if expected and turns and turns[-1].expected:
        raise fail((*at, "expected"), "The last turn says what is expected, too; keep one.")
    own = tuple(read_assertions(written.assertions, (*at, "assert"), source.document, registry))
    for number, assertion in enumerate(own):
        if assertion.judges_expected and not (expected or any(one.expected for one in turns)):
            raise fail(
                (*at, "assert", number),
                f"{assertion.type} has nothing to compare with; give the scenario `expected`, or "
                "the assertion its own.",
            )
    return Scenario(
        id=written.id,
        agent=agent,
        input=given,
        text=text,
        expected=expected,
        tags=tuple(dict.fromkeys([*source.tags, *written.tags])),
        group=group_of(text),
        turns=turns,
        resume=tuple(Resume(one.interrupt, one.value) for one in written.resume),
        assertions=(*defaults, *own),
        epochs=written.epochs or spec.defaults.epochs,
        timeout_s=written.timeout,
        passes=written.passes or spec.defaults.passes,
        xfail=written.xfail,
        skip=written.skip,
    )


def _turns(
    written: InlineScenario,
    agent: str | None,
    source: Source,
    at: Loc,
    registry: Registry,
    *,
    own: Collection[str],
) -> tuple[Turn, ...]:
    file = source.document
    turns = []
    for number, turn in enumerate(written.turns or ()):
        here = (*at, "turns", number)
        place = (*here, "expected")
        expected = _expected(turn.expected, turn.user, agent, turn.user, place, file.error, own=own)
        assertions = read_assertions(turn.assertions, (*here, "assert"), file, registry)
        turns.append(Turn(turn.user, expected, tuple(assertions)))
    return tuple(turns)


def input_text(given: str | Sequence[Message] | Mapping[str, Any]) -> str:
    """What a reader sees of an input: the text, the last user message, or the task's text field."""
    if isinstance(given, str):
        return given
    if isinstance(given, Mapping):
        for key in ("text", "question", "code"):
            if isinstance(given.get(key), str):
                return str(given[key])
        return canonical_json(given)
    return [message["content"] for message in given if message["role"] == "user"][-1]


def _input(
    written: InlineScenario, source: Source, at: Loc
) -> str | tuple[Message, ...] | Mapping[str, Any]:
    given = written.input
    if written.turns is not None:
        return written.turns[-1].user
    if isinstance(given, list):
        if not any(item.role == "user" for item in given):
            raise source.document.error(
                (*at, "input"), "The messages hold none of a user; add one with `role: user`."
            )
        return tuple({"role": item.role, "content": item.content} for item in given)
    if isinstance(given, dict) and set(given) == {"file"}:
        return _file(given["file"], source, (*at, "input", "file"))
    assert given is not None, "a scenario has an input or turns"
    return given


def _file(written: Any, source: Source, at: Loc) -> str:
    if not isinstance(written, str):
        raise source.document.error(at, f"The path of a file is text, not {written!r}.")
    try:
        (path, *others) = expand(written, source.document.path.parent)
        text = read_text(path)
    except ConfigError as error:
        raise source.document.error(at, str(error)) from error
    if others:
        raise source.document.error(
            at, f"{written!r} matches {len(others) + 1} files; an input is one."
        )
    if not text.strip():
        raise source.document.error(at, f"File {written!r} is empty; an input has some text.")
    return text


def _expected(
    value: Any,
    task: Any,
    agent: str | None,
    text: str,
    at: Loc,
    fail: Fail,
    *,
    own: Collection[str],
) -> Mapping[str, Expected]:
    if value is None:
        return {}
    if agent is not None:
        return {agent: _read(agent, value, task, text, at, fail)}
    known = [*AGENTS, *own]
    if not isinstance(value, dict) or not set(value) <= set(known):
        raise fail(
            at,
            "Where no `agent` is named, `expected` maps sub-agents "
            f"({', '.join(known)}) to what each should answer.",
        )
    found = {name: _read(name, item, task, text, (*at, name), fail) for name, item in value.items()}
    found.setdefault("routing", ExpectedRoutes(frozenset(found)))
    return found


def _read(
    agent: str,
    value: Any,
    task: Any,
    text: str,
    at: Loc,
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
    if agent not in AGENTS:
        return ExpectedOutput(value)
    return _tests(value, task, at, fail)


def _grades(value: Any, at: Loc, fail: Fail) -> dict[str, int]:
    grades = value if isinstance(value, dict) else {}
    if isinstance(value, list) and all(isinstance(item, str | int) for item in value):
        grades = {str(item): 1 for item in value}
    if not grades or not all(isinstance(g, int) and g > 0 for g in grades.values()):
        raise fail(at, "Retrieval expects a list of passage ids, or a mapping from id to grade.")
    return grades


def _tests(value: Any, task: Any, at: Loc, fail: Fail) -> ExpectedTests:
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
