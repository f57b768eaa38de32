"""Where two answers differ, field by field, as data for whoever shows them side by side.

Knows JSON alone: two answers may differ here and still be the same for their sub-agent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MISSING = "__MISSING__"
"""Stands where one of the answers has nothing at a path, not even null."""


@dataclass(frozen=True, slots=True)
class Pair:
    """What two answers have at one path.

    Attributes:
        path: `values.items[0].price`; empty where an answer is a plain value.
        first, second: A text, number, flag or null, an empty list or object, or `MISSING`.
    """

    path: str
    first: Any
    second: Any

    @property
    def differs(self) -> bool:
        """The two are not the same; 1 and true are not, 1 and 1.0 are."""
        is_flag = isinstance(self.first, bool)
        return is_flag is not isinstance(self.second, bool) or bool(self.first != self.second)


def side_by_side(first: Any, second: Any) -> list[Pair]:
    """Every path of two answers, in the order of the second, then what only the first has.

    Args:
        first: JSON-compatible; None stands for no answer and has no path.
        second: Likewise.
    """
    left, right = (
        {} if answer is None else dict(_leaves(answer, "")) for answer in (first, second)
    )
    return [
        Pair(path, left.get(path, MISSING), right.get(path, MISSING))
        for path in dict.fromkeys((*right, *left))
    ]


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    stack = [(path, value)]
    while stack:  # deep answers are no reason to recurse
        where, item = stack.pop()
        if isinstance(item, Mapping) and item:
            named = [
                (f"{where}.{key}" if where else str(key), inner) for key, inner in item.items()
            ]
        elif isinstance(item, Sequence) and not isinstance(item, str) and item:
            named = [(f"{where}[{i}]", inner) for i, inner in enumerate(item)]
        else:
            yield where, item
            continue
        stack.extend(reversed(named))
