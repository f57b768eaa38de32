"""Where each setting has its value from, and every setting there is, for people to read.

Shows no secret: passwords in addresses are left out, and of a key only whether its variable is set.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from journeyman.graph.settings import Settings, resolve
from journeyman.graph.settings_file import SettingsFile, chosen_file, read_file
from journeyman.graph.settings_mistakes import table_at, variable_name, variable_of

Origin = Literal["default", "file", "environment"]


@dataclass(frozen=True)
class Setting:
    """One setting as it holds.

    Attributes:
        key: Dotted.
        value: Without passwords.
        origin: Which of the three sets it.
        where: `FILE:LINE`, or the variable's name; None for a default.
        is_set: For a setting that names a variable: whether that is set; None for others.
    """

    key: str
    value: Any
    origin: Origin
    where: str | None = None
    is_set: bool | None = None


@dataclass(frozen=True)
class Described:
    """One setting as it may be written.

    Attributes:
        key: Dotted.
        kind: What its value is, in words.
        default: As TOML would have it; None where there is none.
        variable: The environment variable that sets it.
        meaning: One sentence.
    """

    key: str
    kind: str
    default: Any
    variable: str
    meaning: str


def settings_in_force(
    start: Path | None = None, *, file: Path | None = None
) -> tuple[Path | None, list[Setting]]:
    """The settings file, if there is one, and every setting with its origin.

    Raises:
        ConfigError: See `load_settings`.
    """
    path = file if file is not None else chosen_file(start)
    given = read_file(path) if path is not None else None
    settings = resolve(given, start)
    return path, [_setting(keys, value, given) for keys, value in _leaves(settings, ())]


def described_settings() -> list[Described]:
    """Every setting that may be written, in the order of the model."""
    return list(_described(Settings, ()))


def without_password(url: str) -> str:
    """An address without the password that may stand in it."""
    try:
        parts = urlsplit(url)
        if parts.password is None and not parts.query:
            return url
        user, host = parts.username, parts.netloc.rpartition("@")[2]
    except ValueError:
        return "(unreadable address)"
    netloc = f"{user}:***@{host}" if parts.password is not None else parts.netloc
    # A query may hold a password as well.
    return urlunsplit(parts._replace(netloc=netloc, query="***" if parts.query else ""))


def _setting(keys: tuple[str, ...], value: Any, given: SettingsFile | None) -> Setting:
    origin, where = _origin(keys, given)
    shown = without_password(value) if isinstance(value, str) and "://" in value else value
    is_set = bool(os.environ.get(str(value))) if keys[-1].endswith("_env") else None
    return Setting(".".join(keys), shown, origin, where, is_set)


def _origin(keys: tuple[str, ...], given: SettingsFile | None) -> tuple[Origin, str | None]:
    variable = variable_of(keys)
    if variable is not None:
        return "environment", variable
    if given is not None and _holds(given.values, keys):
        line = given.line_of(*keys)
        return "file", f"{given.path}:{line}" if line is not None else str(given.path)
    return "default", None


def _holds(values: Mapping[str, Any], keys: tuple[str, ...]) -> bool:
    inner: Any = values
    for key in keys:
        if not isinstance(inner, Mapping) or key not in inner:
            return False
        inner = inner[key]
    return True


def _leaves(model: BaseModel, keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from _leaves(value, (*keys, name))
        else:
            yield (*keys, name), value


def _described(model: type[BaseModel], keys: tuple[str, ...]) -> Iterator[Described]:
    schema = model.model_json_schema()["properties"]
    for name, field in model.model_fields.items():
        here = (*keys, name)
        inner = table_at(model, name)
        if inner is not None:
            yield from _described(inner, here)
            continue
        default = field.default if field.default is not PydanticUndefined else None
        yield Described(
            ".".join(here),
            _kind(schema[name]),
            default,
            variable_name(here),
            field.description or "",
        )


def _kind(schema: Mapping[str, Any]) -> str:
    """A JSON Schema of one value in words: its type, its choices, its limits."""
    arms = [arm for arm in schema.get("anyOf", [schema]) if arm.get("type") != "null"]
    return " or ".join(_kind_of(arm) for arm in arms)


def _kind_of(arm: Mapping[str, Any]) -> str:
    if "enum" in arm:
        return " or ".join(f"`{choice}`" for choice in arm["enum"])
    words = {
        "string": "text",
        "integer": "whole number",
        "number": "number",
        "boolean": "true/false",
    }
    limits = [
        f"{sign} {arm[key]:g}"
        for key, sign in (
            ("minimum", ">="), ("exclusiveMinimum", ">"), ("maximum", "<="),
            ("exclusiveMaximum", "<"),
        )
        if key in arm
    ]  # fmt: skip
    return ", ".join([words.get(arm.get("type", ""), "value"), *limits])
