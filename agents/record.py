"""What extraction answers, and how marked stretches of text become it.

A mention is one stretch of text that stands for one field. Mentions are grouped into items where a
nested model repeats, the best is kept where a field has one value, each is read by the normalizer,
and the values are put together in the schema's shape. Knows nothing of students, of the frontier,
or of how mentions were found.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

from journeyman.agents.fields import FieldSpec, allows_none, fields_of, inner_model
from journeyman.agents.grounding import fold
from journeyman.agents.normalize import Normalizer, fold_whitespace
from journeyman.models.types import canonical_json

ModelT = TypeVar("ModelT", bound=BaseModel)

_LINE_BREAK_CHARS = 40
"""How many characters a line break is worth when items are told apart by distance."""


_MAX_ITEM_MENTIONS = 200
"""An item has at most this many mentions; the cap keeps grouping fast on hostile input."""


class FieldSpan(BaseModel):
    """Where a value stands in the task's text.

    Attributes:
        field: Path of the field, `name` or `parent.child`.
        start: First character, inclusive.
        end: Past the last character.
        text: `text[start:end]` of the task's text.
        item: Position in the list of nested models; None for fields outside of one.
        unique: False where the text was found at several places and this one is a choice.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    field: str
    start: int = Field(ge=0)
    end: int = Field(ge=0)
    text: str
    item: int | None = None
    unique: bool = True


class Problem(BaseModel):
    """A stretch of text that did not become a value.

    Attributes:
        field: Path of the field.
        kind: `ungrounded` is not in the task's text; `unreadable` has no single reading.
        text: What was quoted.
        detail: Why, in a few words.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    field: str
    kind: Literal["ungrounded", "unreadable"]
    text: str
    detail: str = ""


class Record(BaseModel):
    """The fields of a schema found in a text.

    Attributes:
        values: JSON-compatible, in the schema's shape. A field that was not found is None or [], or
            left out where the schema has a default of its own or requires the field.
        spans: Where each value stands, in text order.
        problems: What was marked or quoted and is not among the values.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    values: dict[str, Any] = Field(default_factory=dict)
    spans: tuple[FieldSpan, ...] = ()
    problems: tuple[Problem, ...] = ()

    def as_model(self, schema: type[ModelT]) -> ModelT:
        """The values as an instance of the schema.

        Raises:
            pydantic.ValidationError: They do not fit.
        """
        return schema.model_validate_json(
            canonical_json(self.values).encode("utf-8", "surrogatepass"),
            by_name=True,
            by_alias=False,
        )


@dataclass(frozen=True, slots=True)
class Mention:
    """A stretch of text that stands for one value of one field.

    Attributes:
        spec: The field.
        text: The stretch.
        start: First character, inclusive; None where the text does not hold it.
        end: Past the last character.
        probability: Of the mention, in [0, 1].
        item: Position in the list of nested models, where known.
        unique: No other place came into question.
    """

    spec: FieldSpec
    text: str
    start: int | None = None
    end: int = 0
    probability: float = 1.0
    item: int | None = None
    unique: bool = True


class RecordBuilder:
    """Puts the mentions of one schema's fields together.

    Raises:
        ConfigError: The schema has a field that cannot be extracted.
    """

    def __init__(self, schema: type[BaseModel], normalizer: Normalizer) -> None:
        self.schema = schema
        self.specs = fields_of(schema)
        self.normalizer = normalizer

    def build(
        self, text: str, mentions: Sequence[Mention], problems: Iterable[Problem] = ()
    ) -> Record:
        """The record that the mentions make.

        Where a field has one value the most probable mention is kept, the first among equals.
        """
        spans: list[FieldSpan] = []
        found: dict[tuple[str, int | None], list[Any]] = defaultdict(list)
        troubles = list(problems)
        for mention in self.kept(group_items(text, mentions)):
            path = mention.spec.path
            try:
                value = self.normalizer.value(mention.spec, mention.text)
            except ValueError as error:
                troubles.append(
                    Problem(field=path, kind="unreadable", text=mention.text, detail=str(error))
                )
                continue
            found[path, mention.item].append(value)
            if mention.start is not None:
                spans.append(
                    FieldSpan(
                        field=path,
                        start=mention.start,
                        end=mention.end,
                        text=mention.text,
                        item=mention.item,
                        unique=mention.unique,
                    )
                )
        return Record(
            values=self._shape(found), spans=_renumber(spans, found), problems=tuple(troubles)
        )

    def kept(self, mentions: Iterable[Mention]) -> list[Mention]:
        """The mentions that count, in text order: one for a field with one value."""
        best: dict[tuple[Any, ...], Mention] = {}
        for mention in mentions:
            spec = mention.spec
            key: tuple[Any, ...] = (spec.path, mention.item)
            if spec.repeated:
                key += (
                    (mention.start, mention.end) if mention.start is not None else (mention.text,)
                )
            if key not in best or mention.probability > best[key].probability:
                best[key] = mention
        far = max((m.end for m in best.values()), default=0)
        return sorted(best.values(), key=lambda m: (far if m.start is None else m.start, m.end))

    def _shape(self, found: Mapping[tuple[str, int | None], list[Any]]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, info in self.schema.model_fields.items():
            specs = [spec for spec in self.specs if spec.name == name]
            if not specs[0].child:
                _put(values, name, info, specs[0], found.get((name, None), []))
                continue
            if specs[0].in_list:
                values[name] = [
                    self._nested(info, specs, found, item) for item in _item_numbers(name, found)
                ]
            elif any((spec.path, None) in found for spec in specs) or _missing(info) is _REQUIRED:
                values[name] = self._nested(info, specs, found, None)
            elif _missing(info) is None:
                values[name] = None
        return values

    def _nested(
        self,
        info: FieldInfo,
        specs: Sequence[FieldSpec],
        found: Mapping[tuple[str, int | None], list[Any]],
        item: int | None,
    ) -> dict[str, Any]:
        values: dict[str, Any] = {}
        children = inner_model(info).model_fields
        for spec in specs:
            _put(values, spec.child, children[spec.child], spec, found.get((spec.path, item), []))
        return values


_REQUIRED = object()
_DEFAULTED = object()


def _item_numbers(name: str, found: Iterable[tuple[str, int | None]]) -> list[int]:
    return sorted({item or 0 for path, item in found if path.partition(".")[0] == name})


def _renumber(
    spans: Iterable[FieldSpan], found: Iterable[tuple[str, int | None]]
) -> tuple[FieldSpan, ...]:
    """The spans, their item numbers counted anew: an item of which nothing was read is gone."""
    result = []
    for span in spans:
        if span.item is not None:
            numbers = _item_numbers(span.field.partition(".")[0], found)
            span = span.model_copy(update={"item": numbers.index(span.item)})
        result.append(span)
    return tuple(result)


def _put(
    values: dict[str, Any], name: str, info: FieldInfo, spec: FieldSpec, found: list[Any]
) -> None:
    if spec.repeated:
        values[name] = found
    elif found:
        values[name] = found[0]
    elif _missing(info) is None:
        values[name] = None


def _missing(info: FieldInfo) -> object:
    """What stands for a field that was not found: None, or one of the two marks."""
    if info.is_required():
        return None if allows_none(info) else _REQUIRED
    return None if info.default is None and info.default_factory is None else _DEFAULTED


def group_items(text: str, mentions: Sequence[Mention]) -> list[Mention]:
    """The mentions, those in lists of nested models numbered by the item they belong to.

    Items are runs of neighbouring mentions in which no single-valued field comes twice. Of all ways
    to cut the text into as few such runs as possible, the one with the least distance inside its
    runs is taken; a line break counts as a long distance. Mentions numbered already keep theirs.
    """
    loose: dict[str, list[Mention]] = defaultdict(list)
    result: list[Mention] = []
    for mention in mentions:
        if mention.spec.in_list and mention.item is None:
            loose[mention.spec.name].append(mention)
        else:
            result.append(mention)
    for siblings in loose.values():
        ordered = sorted(siblings, key=lambda m: (m.start or 0, m.end))
        for item, (start, end) in enumerate(_cut(text, ordered)):
            result.extend(replace(mention, item=item) for mention in ordered[start:end])
    return result


def _cut(text: str, ordered: Sequence[Mention]) -> list[tuple[int, int]]:
    gaps = [0]
    for before, after in pairwise(ordered):
        start = after.start or 0
        breaks = text.count("\n", before.end, max(start, before.end))
        gaps.append(max(start - before.end, 0) + _LINE_BREAK_CHARS * breaks)
    # best[n]: fewest items and least distance for the first n mentions, and where the last begins.
    best: list[tuple[int, int, int]] = [(0, 0, 0)]
    for end in range(1, len(ordered) + 1):
        options = []
        seen: set[str] = set()
        distance = 0
        for start in range(end - 1, max(end - 1 - _MAX_ITEM_MENTIONS, -1), -1):
            spec = ordered[start].spec
            if spec.path in seen and not spec.repeated:
                break
            seen.add(spec.path)
            items, so_far, _ = best[start]
            options.append((items + 1, so_far + distance, start))
            distance += gaps[start]
        best.append(min(options))
    cuts: list[tuple[int, int]] = []
    end = len(ordered)
    while end:
        start = best[end][2]
        cuts.append((start, end))
        end = start
    return cuts[::-1]


def field_agreement(
    specs: Sequence[FieldSpec], first: Mapping[str, Any], second: Mapping[str, Any]
) -> dict[str, bool]:
    """For each field whether two records' values are the same; lists of nested models as a whole.

    Strings are compared folded (case, white space, typography), dates and amounts by value, lists
    as multisets. None, [] and a missing field are the same.
    """
    parents = {spec.name for spec in specs if spec.in_list}
    result = {}
    for spec in specs:
        if spec.name in parents:
            own = [s for s in specs if s.name == spec.name]
            result[spec.name] = _items(own, first) == _items(own, second)
        else:
            result[spec.path] = _canonical(spec, _lookup(first, spec)) == _canonical(
                spec, _lookup(second, spec)
            )
    return result


def _lookup(values: Mapping[str, Any], spec: FieldSpec) -> Any:
    value = values.get(spec.name)
    if not spec.child:
        return value
    return value.get(spec.child) if isinstance(value, Mapping) else None


def _items(specs: Sequence[FieldSpec], values: Mapping[str, Any]) -> Counter[Hashable]:
    items = values.get(specs[0].name) or []
    return Counter(
        tuple(_canonical(spec, item.get(spec.child)) for spec in specs)
        for item in items
        if isinstance(item, Mapping)
    )


def _canonical(spec: FieldSpec, value: Any) -> Hashable:
    """A form of the value that is equal for equal answers."""
    if value is None or value == []:
        return None
    if spec.repeated:
        several = value if isinstance(value, list | tuple) else [value]
        counts = Counter(_scalar(spec, one) for one in several)
        return frozenset(counts.items())
    return _scalar(spec, value)


def _scalar(spec: FieldSpec, value: Any) -> Hashable:
    try:
        match spec.kind:
            case "integer" | "number":
                return Decimal(str(value))
            case "money" if isinstance(value, Mapping):
                return Decimal(str(value["amount"])), value.get("currency")
            case "date":
                return date.fromisoformat(value)
            case "datetime":
                return datetime.fromisoformat(value)
            case _:
                return fold(value) if spec.kind == "text" else canonical_json(value)
    except (TypeError, ValueError, KeyError, InvalidOperation):
        return canonical_json(value)  # not a value of its kind: equal to its like alone


def grounding_fault(text: str, record: Record, specs: Sequence[FieldSpec]) -> str | None:
    """Why the record is not grounded in the text, in a few words; None where it is.

    Every span is at its offsets. Every value of a verbatim field has a span, and if it is text it
    stands in the text but for white space.
    """
    lost = next((p for p in record.problems if p.kind == "ungrounded"), None)
    if lost is not None:
        return f"{lost.field}: {lost.text!r} is not in the text"
    for span in record.spans:
        if text[span.start : span.end] != span.text:
            return f"{span.field}: not at its offsets"
    spans = Counter(span.field for span in record.spans)
    folded = fold_whitespace(text)
    for spec in (spec for spec in specs if spec.verbatim):
        values = list(_leaves(spec, record.values))
        if len(values) > spans[spec.path]:
            return f"{spec.path}: a value without a span"
        if spec.kind == "text" and any(fold_whitespace(str(v)) not in folded for v in values):
            return f"{spec.path}: the value is not in the text"
    return None


def _leaves(spec: FieldSpec, values: Mapping[str, Any]) -> Iterator[Any]:
    """Every value of one field, lists and lists of nested models included."""
    top = values.get(spec.name)
    for holder in top if spec.in_list and isinstance(top, list) else [top]:
        value = holder
        if spec.child:
            value = holder.get(spec.child) if isinstance(holder, Mapping) else None
        several = value if isinstance(value, list) else [value]
        yield from (one for one in several if one is not None)
