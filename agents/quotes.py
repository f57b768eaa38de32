"""The frontier's side of extraction: fields as verbatim quotes of the document.

The frontier is asked for each field's text as it stands in the document, never for a typed value,
so that its answer can be placed in the text and read by the same normalizer as the student's. Here
are the JSON Schema of such an answer, its reading and writing, and the choice of a place for each
quote.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from journeyman.agents.fields import FieldSpec
from journeyman.agents.grounding import Document, Place
from journeyman.agents.normalize import Normalizer
from journeyman.agents.record import Mention, field_agreement
from journeyman.models.errors import MalformedOutput

_MAX_SEARCH_WORDS = 400
_MAX_VALUE_WORDS = 6

_KIND_WORDS = {
    "integer": "a whole number",
    "number": "a number",
    "date": "a date",
    "datetime": "a date and time",
    "money": "an amount of money with its currency",
    "boolean": "yes or no",
}


@dataclass(frozen=True, slots=True)
class Quote:
    """What an answer quotes for one field; `item` numbers the entries of a nested list."""

    spec: FieldSpec
    text: str
    item: int | None = None


def describe(spec: FieldSpec) -> str:
    """One field in words, for the frontier."""
    parts = [spec.description.rstrip(".")]
    if spec.choices:
        parts.append("one of " + ", ".join(str(choice) for choice in spec.choices))
    elif spec.kind in _KIND_WORDS:
        parts.append(_KIND_WORDS[spec.kind])
    if spec.repeated:
        parts.append("every mention")
    if not spec.verbatim:
        parts.append("told from the document, not necessarily in its words")
    return "; ".join(part for part in parts if part)


def quote_schema(specs: Sequence[FieldSpec]) -> dict[str, Any]:
    """JSON Schema of an answer, fit for strict structured output."""
    properties: dict[str, Any] = {}
    for name, own in _by_name(specs).items():
        if not own[0].child:
            properties[name] = _leaf_schema(own[0])
            continue
        nested = _object({spec.child: _leaf_schema(spec) for spec in own})
        properties[name] = {"type": "array", "items": nested} if own[0].in_list else nested
    return _object(properties)


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _leaf_schema(spec: FieldSpec) -> dict[str, Any]:
    names = _names(spec)
    shape: dict[str, Any]
    if spec.repeated:
        item: dict[str, Any] = {"type": "string"}
        shape = {"type": "array", "items": item | {"enum": names} if names else item}
    else:
        shape = {"type": ["string", "null"]} | ({"enum": [*names, None]} if names else {})
    description = describe(spec)
    return shape | {"description": description} if description else shape


def _names(spec: FieldSpec) -> list[str]:
    """The values to choose from where the document's own words are not asked for."""
    if spec.verbatim:
        return []
    return ["yes", "no"] if spec.kind == "boolean" else [str(choice) for choice in spec.choices]


def _by_name(specs: Iterable[FieldSpec]) -> dict[str, list[FieldSpec]]:
    names: dict[str, list[FieldSpec]] = defaultdict(list)
    for spec in specs:
        names[spec.name].append(spec)
    return names


def read_quotes(specs: Sequence[FieldSpec], data: Mapping[str, Any]) -> list[Quote]:
    """The quotes of an answer in the shape of `quote_schema`.

    A missing key is a field not found; a bare number or truth value is taken as its text.

    Raises:
        MalformedOutput: A value has another shape.
    """
    quotes: list[Quote] = []
    for name, own in _by_name(specs).items():
        value = data.get(name)
        if not own[0].child:
            quotes.extend(_leaf_quotes(own[0], value, None))
            continue
        in_list = own[0].in_list
        entries = value if isinstance(value, list) and in_list else [value]
        for item, entry in enumerate(entries):
            if entry is None:
                continue
            if not isinstance(entry, Mapping):
                raise _malformed(name, "an object", entry)
            for spec in own:
                quotes.extend(_leaf_quotes(spec, entry.get(spec.child), item if in_list else None))
    return quotes


def _leaf_quotes(spec: FieldSpec, value: Any, item: int | None) -> list[Quote]:
    several = value if isinstance(value, list) and spec.repeated else [value]
    quotes = []
    for one in several:
        if one is None:
            continue
        if not isinstance(one, str | int | float):
            raise _malformed(spec.path, "a string", one)
        text = str(one).lower() if isinstance(one, bool) else str(one)
        if text.strip():
            quotes.append(Quote(spec, text, item))
    return quotes


def _malformed(field: str, expected: str, found: Any) -> MalformedOutput:
    return MalformedOutput(
        f"Field {field!r} of the answer holds {type(found).__name__} where {expected} belongs; "
        f"ask again, or use a model that keeps to a JSON Schema.",
        completion=repr(found)[:200],
    )


def write_quotes(specs: Sequence[FieldSpec], quotes: Iterable[Quote]) -> dict[str, Any]:
    """The answer that `read_quotes` reads back; every key is present."""
    texts: dict[tuple[str, int | None], list[str]] = defaultdict(list)
    for quote in quotes:
        texts[quote.spec.path, quote.item].append(quote.text)

    def leaf(spec: FieldSpec, item: int | None) -> Any:
        found = texts.get((spec.path, item), [])
        return list(found) if spec.repeated else (found[0] if found else None)

    data: dict[str, Any] = {}
    for name, own in _by_name(specs).items():
        if not own[0].child:
            data[name] = leaf(own[0], None)
        elif own[0].in_list:
            items = sorted({i or 0 for path, i in texts if path.partition(".")[0] == name})
            data[name] = [{spec.child: leaf(spec, item) for spec in own} for item in items]
        else:
            data[name] = {spec.child: leaf(spec, None) for spec in own}
    return data


def place_quotes(
    document: Document,
    quotes: Sequence[Quote],
    hints: Collection[tuple[str, int, int]] = (),
) -> tuple[list[Mention], list[Quote]]:
    """A place in the document for each quote, and the quotes that have none.

    Long quotes choose first. Of several places, one that overlaps no other quote's is best, then a
    whole word, then a hinted one (field, start, end), then the nearest to the same item's, then the
    first. The same field never takes the same place twice.
    """
    taken: list[tuple[Quote, Place]] = []
    placed: dict[int, Mention] = {}
    for index in sorted(range(len(quotes)), key=lambda i: -len(quotes[i].text)):
        quote = quotes[index]
        same = [p for q, p in taken if (q.spec, q.item) == (quote.spec, quote.item)]
        places = document.find(quote.text)
        free = [place for place in places if place not in same]
        if not free:
            continue
        near = [p for q, p in taken if quote.item is not None and _same_item(q, quote)]
        best = min(free, key=lambda place: _preference(quote, place, taken, near, hints))
        taken.append((quote, best))
        placed[index] = Mention(
            spec=quote.spec,
            text=document.text[best.start : best.end],
            start=best.start,
            end=best.end,
            item=quote.item,
            unique=sum(place.whole for place in places) == 1 or len(places) == 1,
        )
    mentions = [placed[index] for index in sorted(placed)]
    return mentions, [quote for index, quote in enumerate(quotes) if index not in placed]


def _same_item(first: Quote, second: Quote) -> bool:
    return (first.spec.name, first.item) == (second.spec.name, second.item)


def _preference(
    quote: Quote,
    place: Place,
    taken: Sequence[tuple[Quote, Place]],
    near: Sequence[Place],
    hints: Collection[tuple[str, int, int]],
) -> tuple[bool, bool, bool, int, int]:
    return (
        any(place.start < p.end and p.start < place.end for _, p in taken),
        not place.whole,
        (quote.spec.path, place.start, place.end) not in hints,
        min((max(p.start - place.end, place.start - p.end, 0) for p in near), default=0),
        place.start,
    )


def quotes_from_values(
    specs: Sequence[FieldSpec], values: Mapping[str, Any], text: str, normalizer: Normalizer
) -> list[Quote]:
    """Quotes for values that come without offsets, verbatim or typed.

    Keys are field names, dotted paths or labels. A value that does not stand in the text as it is
    written is looked for among the text's first words by what they mean: `2024-05-03` finds
    `3 May 2024`. One that is not found at all is quoted as written. Of several values for a field
    that has one, the first is taken.
    """
    document = Document(text)
    nested = _unflatten(specs, values)
    quotes: list[Quote] = []
    for name, own in _by_name(specs).items():
        if own[0].child:
            entries = nested.get(name) if own[0].in_list else [nested.get(name)]
            pairs = [
                (spec, (entry or {}).get(spec.child), item if spec.in_list else None)
                for item, entry in enumerate(entries or [])
                for spec in own
            ]
        else:
            pairs = [(own[0], nested.get(name), None)]
        for spec, value, item in pairs:
            several = value if isinstance(value, list | tuple) else [value]
            quotes.extend(
                Quote(spec, _quote_for(spec, one, document, normalizer), item)
                for one in (several if spec.repeated else several[:1])
                if one is not None and one != ""
            )
    return quotes


def _unflatten(specs: Sequence[FieldSpec], values: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = dict(values)
    for spec in specs:
        for key in (spec.path, spec.label):
            if key not in values or key == spec.name:
                continue
            if spec.child and not spec.in_list:
                nested[spec.name] = dict(nested.get(spec.name) or {}) | {spec.child: values[key]}
            elif not spec.child:
                nested[spec.name] = values[key]
    return nested


def _quote_for(spec: FieldSpec, value: Any, document: Document, normalizer: Normalizer) -> str:
    written = _written(value)
    if spec.kind == "text" or document.find(written):
        return written
    words = [m.span() for m in re.finditer(r"\S+", document.text)][:_MAX_SEARCH_WORDS]
    alone = FieldSpec(
        path=spec.child or spec.path,
        label=spec.label,
        kind=spec.kind,
        exact=spec.exact,
        choices=spec.choices,
    )
    for length in range(1, _MAX_VALUE_WORDS + 1):
        for first in range(len(words) - length + 1):
            piece = document.text[words[first][0] : words[first + length - 1][1]].strip(".,;:!?")
            try:
                read = normalizer.value(alone, piece)
            except ValueError:
                continue
            if all(field_agreement([alone], {alone.name: read}, {alone.name: value}).values()):
                return piece
    return written


def _written(value: Any) -> str:
    if isinstance(value, Mapping):  # money
        return " ".join(str(part) for part in (value.get("amount"), value.get("currency")) if part)
    return str(value).lower() if isinstance(value, bool) else str(value)
