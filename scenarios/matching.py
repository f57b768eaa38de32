"""Where an answer differs from the values expected of it: field by field, with a tolerance."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_NUMBER = re.compile(r"[+-]?(?:0|[1-9][0-9]*|[1-9][0-9]{0,2}(?:,[0-9]{3})+)(?:\.[0-9]+)?")


def differences(
    expected: Any, given: Any, *, tolerance: float = 0.0, exact: bool = False
) -> list[str]:
    """One sentence for each place where they differ; none where they match.

    Text is compared with runs of white space as one space. Text that reads as a number (`1,204.50`)
    is a number where the other side is one, or where there is a tolerance. A field that is absent
    is the same as one without a value. A list of one item matches that item.

    Args:
        expected: What is right.
        given: What was answered.
        tolerance: Numbers match when they differ by at most this.
        exact: Fields that are not expected count too, where they have a value.
    """
    return list(_differences(expected, given, tolerance, exact, ""))


def _differences(
    expected: Any, given: Any, tolerance: float, exact: bool, at: str
) -> Iterator[str]:
    if isinstance(expected, Mapping) and isinstance(given, Mapping):
        more = [key for key in given if key not in expected] if exact else []
        for key in (*expected, *more):
            inner = f"{at}.{key}" if at else str(key)
            yield from _differences(expected.get(key), given.get(key), tolerance, exact, inner)
    elif _is_list(expected) or _is_list(given):
        wanted, found = _listed(expected), _listed(given)
        if len(wanted) != len(found):
            yield _sentence(expected, given, at)
            return
        for position, (one, other) in enumerate(zip(wanted, found, strict=True)):
            inner = f"{at}.{position}" if at else str(position)
            yield from _differences(one, other, tolerance, exact, inner)
    elif not _same(expected, given, tolerance):
        yield _sentence(expected, given, at)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _listed(value: Any) -> list[Any]:
    if value in (None, ""):
        return []
    return list(value) if _is_list(value) else [value]


def _same(expected: Any, given: Any, tolerance: float) -> bool:
    if expected in (None, "") or given in (None, ""):
        return expected in (None, "") and given in (None, "")
    if isinstance(expected, bool) or isinstance(given, bool):
        return expected is given
    if tolerance > 0 or not (isinstance(expected, str) and isinstance(given, str)):
        one, other = _number(expected), _number(given)
        if one is not None and other is not None:
            return math.isclose(one, other, rel_tol=1e-9, abs_tol=tolerance)
    if isinstance(expected, str) and isinstance(given, str):
        return expected.split() == given.split()
    return bool(expected == given)


def _number(value: Any) -> float | None:
    if isinstance(value, int | float):
        return float(value)
    text = value.strip() if isinstance(value, str) else ""
    return float(text.replace(",", "")) if _NUMBER.fullmatch(text) else None


def _sentence(expected: Any, given: Any, at: str) -> str:
    where = f"{at} is" if at else "it is"
    return f"{where} {_short(given)}, not {_short(expected)}"


def _short(value: Any) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
