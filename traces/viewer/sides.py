"""Two answers side by side, ready to be shown: what differs, what is the same, where to look.

Knows no database and no page; whoever shows two answers uses it with `sides` of `parts.html`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from journeyman.traces.differences import MISSING, Pair, side_by_side
from journeyman.traces.viewer.rendering import pretty

MAX_ROWS = 60
"""Paths of each kind that are shown."""

FOLDED_CHARS = 240
"""A longer text is folded."""

MAX_CHARS = 8_000
"""Of one value: the whole is one link away."""

_CONTEXT = 30


@dataclass(frozen=True, slots=True)
class Value:
    """One side of a row.

    Attributes:
        kind: `text`, or `missing`, `null` and `empty` for what has no text of its own.
        text: At most `MAX_CHARS`.
        fold: One line for it that shows where the sides part; empty where it is short.
    """

    kind: str
    text: str = ""
    fold: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """What two answers have at one path."""

    path: str
    first: Value
    second: Value


@dataclass(frozen=True, slots=True)
class Sides:
    """Two answers.

    Attributes:
        different: Rows that differ; every row of the only answer where there is just one.
        same: Rows that are the same.
        num_different, num_same: How many there are; not all may be shown.
        only: `first` or `second` where there is just that answer; empty where there are both.
    """

    different: Sequence[Row]
    same: Sequence[Row]
    num_different: int
    num_same: int
    only: str = ""


def sides(first: Any, second: Any) -> Sides | None:
    """Two answers, side by side; None where there is neither.

    Args:
        first: The student's answer as JSON-compatible data; None where it gave none.
        second: The frontier's, or a person's, likewise.
    """
    if first is None and second is None:
        return None
    only = "second" if first is None else "first" if second is None else ""
    # What lies in lists (places in a text, say) is many rows: it comes after the rest.
    pairs = sorted(side_by_side(first, second), key=lambda pair: "[" in pair.path)
    different = [pair for pair in pairs if pair.differs]
    same = [pair for pair in pairs if not pair.differs]
    return Sides(
        [_row(pair) for pair in different[:MAX_ROWS]],
        [_row(pair) for pair in same[:MAX_ROWS]],
        len(different),
        len(same),
        only,
    )


def _row(pair: Pair) -> Row:
    texts = [item if isinstance(item, str) else "" for item in (pair.first, pair.second)]
    start = max(_common(*texts) - _CONTEXT, 0) if pair.differs and all(texts) else 0
    return Row(pair.path, _value(pair.first, start), _value(pair.second, start))


def _value(item: Any, start: int) -> Value:
    if item is None:
        return Value("null")
    if isinstance(item, str) and item == MISSING:
        return Value("missing")
    text = item if isinstance(item, str) else pretty(item)
    if not text:
        return Value("empty")
    fold = ""
    if len(text) > FOLDED_CHARS:
        part = " ".join(text[start : start + FOLDED_CHARS].split())
        fold = f"{'…' if start else ''}{part}…"
    return Value("text", text[:MAX_CHARS] + ("…" if len(text) > MAX_CHARS else ""), fold)


def _common(first: str, second: str) -> int:
    """Characters at which two texts begin alike."""
    for i, (a, b) in enumerate(zip(first, second, strict=False)):
        if a != b:
            return i
    return min(len(first), len(second))
