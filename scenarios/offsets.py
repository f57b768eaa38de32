"""Where a value stands in a text: exact occurrences first, then with white space folded.

Used to give spans to data sets that name values only, and to place the values of an answer that
came without offsets. A value that does not occur gets no place: nothing here guesses.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from journeyman.models.types import Span


def occurrences(text: str, value: str) -> list[tuple[int, int]]:
    """Every place of `value` in `text` that does not begin or end inside a word or a number.

    Any run of white space (line breaks too) matches any other. Places are half-open character
    ranges in text order and may overlap each other.
    """
    words = value.split()
    if not words:
        return []
    body = r"\s+".join(re.escape(word) for word in words)
    before = r"(?<!\w)" if _in_word(words[0][0]) else ""
    after = r"(?!\w)" if _in_word(words[-1][-1]) else ""
    # 9.00 is not in 19.00 (word boundary), nor in 9.005 or 1,119.00 (digits around a point).
    if words[0][0].isdigit():
        before += r"(?<!\d[.,])"
    if words[-1][-1].isdigit():
        after += r"(?![.,]\d)"
    # Looking ahead keeps overlapping places; the group holds the place itself.
    pattern = re.compile(f"{before}(?=({body}){after})")
    return [match.span(1) for match in pattern.finditer(text)]


def place(text: str, label: str, value: str) -> tuple[int, int] | None:
    """The likeliest place of a field's value; None where it does not occur.

    Of several places, the first whose line, or the line before, names the field wins (`total` in
    `TOTAL: 9.00`), else the first.
    """
    places = occurrences(text, value)
    if len(places) < 2:
        return places[0] if places else None
    names = [word for word in re.split(r"[\W_]+", label.casefold()) if word]
    named = (span for span in places if _names(_context(text, span[0]), names))
    return next(named, places[0])


def place_values(text: str, values: Mapping[str, Any]) -> tuple[Span, ...]:
    """Spans for a record's values: longer values first, each at characters of its own.

    Only where no place is left may a value share one with another field's. Values may be text,
    numbers, or lists of these; anything else, and values that do not occur, get no span. Spans
    come in text order.
    """
    wanted = [(label, str(item)) for label, value in values.items() for item in _items(value)]
    taken: list[Span] = []
    for label, value in sorted(wanted, key=lambda pair: -len(pair[1])):
        likely = place(text, label, value)
        if likely is None:
            continue
        places = [likely, *occurrences(text, value)]
        free = [at for at in places if _is_free(at, taken)]
        own = [span for span in taken if span.label == label]
        shared = [at for at in places if _is_free(at, own)]
        for start, end in (free or shared)[:1]:
            taken.append(Span(label, start, end, text[start:end]))
    return tuple(sorted(taken, key=lambda span: (span.start, span.end, span.label)))


def _is_free(at: tuple[int, int], taken: Iterable[Span]) -> bool:
    return all(at[1] <= span.start or span.end <= at[0] for span in taken)


def _items(value: Any) -> Iterable[Any]:
    items = value if isinstance(value, list | tuple) else [value]
    return [
        item for item in items if isinstance(item, str | int | float) and not isinstance(item, bool)
    ]


def _in_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _context(text: str, start: int) -> str:
    """The line that holds `start`, up to it, and the line before."""
    this = text.rfind("\n", 0, start)
    previous = text.rfind("\n", 0, max(this, 0)) if this > 0 else -1
    return text[previous + 1 : start].casefold()


def _names(context: str, names: list[str]) -> bool:
    return bool(names) and all(name in context for name in names)
