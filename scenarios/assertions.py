"""Assertions as they are written, read into evaluators: `Name`, `Name: argument`, `Name: {...}`.

The forms are those of `pydantic-evals`; besides, `not:` around one asks that it does not hold, and
`weight` among the arguments says how much it counts. Knows no evaluator.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from journeyman.scenarios.marked import Document, Loc
from journeyman.scenarios.registry import Registry
from journeyman.scenarios.scenario import Assertion


def read_assertions(
    written: Sequence[Any], at: Loc, file: Document, registry: Registry
) -> Iterator[Assertion]:
    """The assertions of a list that stands at `at` in a file.

    Raises:
        ConfigError: One is malformed, names no evaluator, or does not suit it.
    """
    for position, one in enumerate(written):
        yield read_assertion(one, (*at, position), file, registry)


def read_assertion(written: Any, at: Loc, file: Document, registry: Registry) -> Assertion:
    """One assertion.

    Raises:
        ConfigError: It is malformed, names no evaluator, or does not suit it.
    """
    name, arguments, at = _named(written, at, file)
    negated = name == "not"
    if negated:
        if not isinstance(arguments, str | dict):
            raise file.error(at, "'not' wraps one assertion, as in `not: {Contains: error}`.")
        name, arguments, at = _named(arguments, at, file)
        if name == "not":
            raise file.error(at, "'not' inside 'not' says nothing; remove both.")
    weight = 1.0
    if isinstance(arguments, dict) and "weight" in arguments:
        weight = _weight(arguments["weight"], (*at, "weight"), file)
        arguments = {key: value for key, value in arguments.items() if key != "weight"}
    given = arguments if arguments is None or isinstance(arguments, dict) else (arguments,)
    return Assertion(name, given, registry.build(name, given, at, file), negated, weight)


def _named(written: Any, at: Loc, file: Document) -> tuple[str, Any, Loc]:
    """The evaluator's name, what stands behind it, and where that is."""
    if isinstance(written, str):
        return written, None, at
    if len(written) != 1:
        raise file.error(
            at, "An assertion has one name, as in `- Contains: text`; begin each with its own '-'."
        )
    ((name, arguments),) = written.items()
    return name, arguments, (*at, name)


def _weight(value: Any, at: Loc, file: Document) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
        raise file.error(at, f"A weight should be a number above 0, not {value!r}.")
    return float(value)
