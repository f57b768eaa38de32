"""`--set KEY=VALUE`: one setting, or one key of a suite, changed for one run.

The value is read as YAML, so that numbers, lists and `null` mean what they mean in the files, and
it is checked as the files are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from journeyman.graph.settings import Settings
from journeyman.models.errors import ConfigError
from journeyman.scenarios.spec import SuiteSpec
from journeyman.scenarios.suite import Suite, problems_of

_SUITE_KEYS = frozenset({"agents", "defaults", "gate", "metric"})


def parse_set(written: str) -> tuple[tuple[str, ...], Any]:
    """A key's parts and the value, of `risk.max_error=0.02`.

    Raises:
        ConfigError: There is no `=`, a part is empty, or the value is no YAML.
    """
    key, equals, value = written.partition("=")
    parts = tuple(part.strip() for part in key.split("."))
    if not equals or not all(parts):
        raise ConfigError(f"--set {written!r} names no key; write it as risk.max_error=0.02.")
    try:
        return parts, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"The value of --set {written!r} is no YAML; put it in quotes."
        ) from error


def set_settings(settings: Settings, written: Iterable[str]) -> Settings:
    """The settings with those that are named changed; keys of suites are left to `set_suite`.

    Raises:
        ConfigError: A key is unknown, or its value wrong.
    """
    for one in written:
        parts, value = parse_set(one)
        if parts[0] not in _SUITE_KEYS:
            settings = _assigned(settings, parts, value, one)
    return settings


def set_suite(suite: Suite, written: Iterable[str]) -> Suite:
    """The suite with those of its keys changed that are named.

    Raises:
        ConfigError: A key is unknown, or its value wrong.
    """
    data = suite.spec.model_dump(by_alias=True, exclude_unset=True)
    is_same = True
    for one in written:
        parts, value = parse_set(one)
        if parts[0] in _SUITE_KEYS:
            _put(data, parts, value)
            is_same = False
    if is_same:
        return suite
    try:
        changed = replace(suite, spec=SuiteSpec.model_validate(data))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"--set {where}: {first['msg']}.", path=suite.path, key=where) from error
    for problem in problems_of(changed):
        raise ConfigError(f"With what --set changes: {problem}", path=suite.path) from problem
    return changed


def _assigned(model: Any, parts: tuple[str, ...], value: Any, written: str) -> Any:
    name, rest = parts[0], parts[1:]
    fields = type(model).model_fields
    if name not in fields:
        known = ", ".join(sorted({*fields, *(_SUITE_KEYS if isinstance(model, Settings) else ())}))
        raise ConfigError(f"--set {written!r} names an unknown key {name!r}; known are {known}.")
    if rest:
        inner = getattr(model, name)
        if not isinstance(inner, BaseModel):
            raise ConfigError(
                f"--set {written!r}: {name!r} holds no keys here; set it as a whole, as in "
                f"{name}={{...}}."
            )
        return model.model_copy(update={name: _assigned(inner, rest, value, written)})
    data = {field: getattr(model, field) for field in fields}
    try:
        # Settings read the environment again when they are made: only their field is validated.
        checked = type(model).__pydantic_validator__.validate_assignment(
            type(model).model_construct(**data), name, value
        )
    except ValidationError as error:
        raise ConfigError(f"--set {written!r} is wrong: {error.errors()[0]['msg']}.") from error
    return model.model_copy(update={name: getattr(_instance(checked, model), name)})


def _instance(checked: Any, model: BaseModel) -> Any:
    """Frozen models give their fields as a tuple with a mapping first."""
    return checked if isinstance(checked, type(model)) else model.model_copy(update=checked[0])


def _put(data: dict[str, Any], parts: tuple[str, ...], value: Any) -> None:
    for part in parts[:-1]:
        inner = data.get(part)
        data[part] = dict(inner) if isinstance(inner, Mapping) else {}
        data = data[part]
    data[parts[-1]] = value
