"""Turns a pydantic model into the flat list of fields that a sub-agent extracts.

Read here: the types of fields, whether they repeat or may be missing, the label a tagger knows each
one by. Not known here: how a field's text becomes a value (`normalize`), and where it stands in a
document (`grounding`).
"""

from __future__ import annotations

import keyword
import re
import types
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, RootModel, create_model
from pydantic.fields import FieldInfo

from journeyman.models.errors import ConfigError

FieldKind = Literal["text", "integer", "number", "date", "datetime", "money", "enum", "boolean"]

_SUPPORTED = (
    "str, int, float, Decimal, bool, date, datetime, Money, an Enum, a Literal, a list of those, "
    "Optional, or one level of nested model"
)


class Money(BaseModel):
    """An amount of money.

    Attributes:
        amount: In the currency's main unit; negative for a credit.
        currency: ISO 4217 code, None where the text names none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    amount: Decimal
    currency: str | None = None


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One value, or one list of values, to be found in a text.

    Attributes:
        path: `name`, or `parent.child` for a field of a nested model.
        label: What a tagger calls it; the path unless the schema says otherwise.
        kind: How its text becomes a value.
        repeated: The field itself is a list.
        optional: A record without it may still be valid. Lists are, for they may be empty.
        in_list: The field belongs to a nested model of which there is a list.
        exact: The number is a Decimal, kept in JSON as a string.
        choices: Values of an enum or Literal, as they stand in JSON.
        description: From the schema, for the frontier.
        verbatim: Its value stands in the text in some notation; otherwise it may be told from it.
    """

    path: str
    label: str
    kind: FieldKind
    repeated: bool = False
    optional: bool = False
    in_list: bool = False
    exact: bool = False
    choices: tuple[str | int, ...] = ()
    description: str = ""
    verbatim: bool = True

    @property
    def name(self) -> str:
        """The field of the schema itself that holds this value."""
        return self.path.partition(".")[0]

    @property
    def child(self) -> str:
        """The field of the nested model; empty for a field of the schema itself."""
        return self.path.partition(".")[2]


def fields_of(schema: type[BaseModel]) -> tuple[FieldSpec, ...]:
    """The schema's fields in its own order, nested ones in place of their parent.

    A field's label may be set with `Field(json_schema_extra={"label": "..."})`; with `{"verbatim":
    False}` its value need not stand in the text, which takes a student that writes
    (`generated_extraction`).

    Raises:
        ConfigError: A field has a type that cannot be extracted, two fields share a label, or there
            are no fields.
    """
    specs: list[FieldSpec] = []
    for name, info in schema.model_fields.items():
        specs.extend(_read_field(schema, name, info))
    if not specs:
        raise ConfigError(f"Schema {schema.__name__!r} has no fields; add at least one.")
    seen: dict[str, str] = {}
    for spec in specs:
        if spec.label in seen:
            raise ConfigError(
                f"Fields {seen[spec.label]!r} and {spec.path!r} of schema {schema.__name__!r} "
                f"share the label {spec.label!r}; give each a label of its own.",
                key=spec.path,
            )
        seen[spec.label] = spec.path
    return tuple(specs)


def schema_from_labels(name: str, labels: Iterable[str], repeated: bool = True) -> type[BaseModel]:
    """A schema with one text field for each label of a data set that has nothing else.

    Labels become identifiers (`creative-work` -> `creative_work`); `fields_of` gives them back.

    Args:
        name: Name of the model.
        labels: The data set's labels; the order is kept, repetitions are dropped.
        repeated: Fields are `list[str]`; otherwise `str | None`.

    Raises:
        ConfigError: There are no labels, or one is empty.
    """
    definitions: dict[str, Any] = {}
    for label in dict.fromkeys(labels):
        if not label.strip():
            raise ConfigError(f"Schema {name!r} has an empty label; name every label.")
        extra: dict[str, Any] = {"label": label}
        definitions[_identifier(label, definitions)] = (
            (list[str], Field(default_factory=list, json_schema_extra=extra))
            if repeated
            else (str | None, Field(default=None, json_schema_extra=extra))
        )
    if not definitions:
        raise ConfigError(f"Schema {name!r} has no labels; give at least one.")
    model: type[BaseModel] = create_model(name, **definitions)
    return model


def _identifier(label: str, taken: Iterable[str]) -> str:
    """A free field name that pydantic accepts and that reads like the label."""
    name = re.sub(r"\W+", "_", label).strip("_") or "field"
    if name[0].isdigit():
        name = f"field_{name}"
    if keyword.iskeyword(name) or hasattr(BaseModel, name):
        name += "_"
    number, base = 2, name.rstrip("_")
    while name in taken:
        name = f"{base}_{number}"
        number += 1
    return name


def _read_field(schema: type[BaseModel], name: str, info: FieldInfo) -> list[FieldSpec]:
    inner, repeated, nullable = _unwrap(info.annotation)
    optional = repeated or nullable or not info.is_required()
    if not _is_nested(inner):
        return [_leaf(schema, name, name, info, optional=optional)]
    specs = []
    for child, child_info in inner.model_fields.items():
        path = f"{name}.{child}"
        child_inner, child_repeated, child_nullable = _unwrap(child_info.annotation)
        if _is_nested(child_inner):
            raise ConfigError(
                f"Field {path!r} of schema {schema.__name__!r} nests a model in a nested model; "
                f"one level is supported: flatten it.",
                key=path,
            )
        child_optional = child_repeated or child_nullable or not child_info.is_required()
        specs.append(
            _leaf(
                schema,
                path,
                path,
                child_info,
                optional=optional or child_optional,
                in_list=repeated,
                prefix=info.description or "",
            )
        )
    if not specs:
        raise _unsupported(schema, name, inner)
    return specs


def _leaf(
    schema: type[BaseModel],
    path: str,
    label: str,
    info: FieldInfo,
    *,
    optional: bool,
    in_list: bool = False,
    prefix: str = "",
) -> FieldSpec:
    inner, repeated, _ = _unwrap(info.annotation)
    found = _kind(inner)
    if found is None:
        raise _unsupported(schema, path, info.annotation)
    kind, choices = found
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    if isinstance(extra.get("label"), str):
        label = str(extra["label"])
    return FieldSpec(
        path=path,
        label=label,
        kind=kind,
        repeated=repeated,
        optional=optional,
        in_list=in_list,
        exact=inner is Decimal,
        choices=choices,
        description=": ".join(part for part in (prefix, info.description or "") if part),
        verbatim=extra.get("verbatim") is not False,
    )


def _unsupported(schema: type[BaseModel], path: str, annotation: Any) -> ConfigError:
    shown = getattr(annotation, "__name__", None) if isinstance(annotation, type) else None
    return ConfigError(
        f"Field {path!r} of schema {schema.__name__!r} has type {shown or str(annotation)!r}, "
        f"which cannot be extracted; use {_SUPPORTED}.",
        key=path,
    )


def _unwrap(annotation: Any) -> tuple[Any, bool, bool]:
    """The innermost type, whether there is a list of it, and whether it may be None."""
    inner, nullable = _without_none(annotation)
    if get_origin(inner) is list:
        (item,) = get_args(inner)
        return _without_none(item)[0], True, nullable
    return inner, False, nullable


def _without_none(annotation: Any) -> tuple[Any, bool]:
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) is Literal and None in get_args(annotation):
        rest = tuple(value for value in get_args(annotation) if value is not None)
        return Literal[rest] if rest else annotation, True
    if get_origin(annotation) in (Union, types.UnionType):
        arms = [arm for arm in get_args(annotation) if arm is not type(None)]
        if len(arms) == 1:
            return _without_none(arms[0])[0], len(get_args(annotation)) > 1
    return annotation, False


def inner_model(info: FieldInfo) -> type[BaseModel]:
    """The nested model of a field whose specs have a `child`."""
    inner: type[BaseModel] = _unwrap(info.annotation)[0]
    return inner


def allows_none(info: FieldInfo) -> bool:
    """May the field be None?"""
    return _unwrap(info.annotation)[2]


def _is_nested(inner: Any) -> bool:
    return (
        isinstance(inner, type)
        and issubclass(inner, BaseModel)
        and not issubclass(inner, Money | RootModel)
    )


_KINDS: Sequence[tuple[type, FieldKind]] = (
    (bool, "boolean"),
    (int, "integer"),
    (float, "number"),
    (Decimal, "number"),
    (datetime, "datetime"),
    (date, "date"),
    (str, "text"),
)


def _kind(inner: Any) -> tuple[FieldKind, tuple[str | int, ...]] | None:
    values: tuple[Any, ...] = ()
    if get_origin(inner) is Literal:
        values = get_args(inner)
    elif isinstance(inner, type) and issubclass(inner, Enum):
        values = tuple(member.value for member in inner)
    if values:
        # A bool is an int to Python, yet no name that a text could hold.
        fit = all(isinstance(v, str | int) and not isinstance(v, bool | Enum) for v in values)
        return ("enum", values) if fit else None
    if isinstance(inner, type) and issubclass(inner, Money):
        return "money", ()
    # By identity: a subclass (pendulum, numpy, SecretStr's kin) would not survive the round trip.
    return next(((kind, ()) for base, kind in _KINDS if inner is base), None)
