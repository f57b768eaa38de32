"""What is wrong with settings, in one sentence with file and line or the variable's name.

Never tells a value: one that stands in the wrong place may be a secret.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_settings.exceptions import SettingsError

from journeyman.graph.settings_file import FILE_VARIABLE, SettingsFile
from journeyman.models.errors import ConfigError

PREFIX = "JOURNEYMAN_"
DELIMITER = "__"

OTHER_VARIABLES: Mapping[str, str] = {
    FILE_VARIABLE: "The settings file, instead of searching for one.",
    "JOURNEYMAN_DATA": "The folder of public data sets that suites refer to.",
    "JOURNEYMAN_CACHE": "Where converted base models and embedded passages are kept.",
    "JOURNEYMAN_VIEW_TOKEN": "What visitors of the viewer must show, beyond this machine.",
}
"""Variables of ours that are no settings, and what they mean."""


def variable_name(keys: Sequence[str]) -> str:
    """The environment variable of a setting."""
    return PREFIX + DELIMITER.join(keys).upper()


def variable_of(keys: Sequence[str]) -> str | None:
    """The environment variable that sets a key, as it is written; None where none does.

    A table can be set as a whole, as JSON; then its variable sets the keys in it.
    """
    given = {name.upper(): name for name, value in os.environ.items() if value}
    for size in range(len(keys), 0, -1):
        name = given.get(variable_name(keys[:size]))
        if name is not None and _names(os.environ[name], keys[size:]):
            return name
    return None


def place_of(keys: Sequence[str], given: SettingsFile | None) -> str:
    """Where a setting has its value from, for a message: `in the variable X`, `at FILE:LINE`."""
    variable = variable_of(keys)
    if variable is not None:
        return f"in the environment variable {variable}"
    if given is None:
        return f"in the {PREFIX}* environment variables"
    for size in range(len(keys), 0, -1):
        if (line := given.line_of(*keys[:size])) is not None:
            return f"at {given.path}:{line}"
    return f"in {given.path}"


def unknown_setting(
    model: type[BaseModel], keys: tuple[str, ...], given: SettingsFile | None
) -> ConfigError:
    """The error for a key that does not exist, with the nearest one that does."""
    known = _keys_beside(model, keys)
    near = get_close_matches(keys[-1].lower(), known, n=1, cutoff=0.6)
    guess = f"did you mean {'.'.join((*keys[:-1], near[0]))!r}? Known" if near else "known"
    return ConfigError(
        f"Unknown setting {'.'.join(keys)!r} {place_of(keys, given)}: {guess} there are "
        f"{', '.join(known)}.",
        path=given.path if given is not None else None,
        key=".".join(keys),
    )


def wrong_setting(
    model: type[BaseModel], error: ValidationError, given: SettingsFile | None
) -> ConfigError:
    """The error for the first thing that does not fit."""
    first = error.errors(include_input=False, include_url=False)[0]
    keys = tuple(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return unknown_setting(model, keys, given)
    key, place = ".".join(keys), place_of(keys, given)
    if first["type"] == "missing":
        text = f"Setting {key!r} is missing {place}: write it, or take its table out."
    elif first["type"] == "model_type":
        text = f"Setting {key!r} {place} is a table; write [{key}] and its keys."
    else:
        text = f"Setting {key!r} {place} is wrong: {_lower(first['msg'])}."
    return ConfigError(text, path=given.path if given is not None else None, key=key)


def wrong_variable(model: type[BaseModel], error: SettingsError) -> ConfigError:
    """The error for a variable that stands for a table and holds no JSON."""
    for key in model.model_fields:
        variable = variable_of((key,))
        if variable is not None and _json(os.environ[variable]) is None:
            return ConfigError(
                f"The environment variable {variable} stands for a table and is no JSON object; "
                f"set single keys, as in {variable_name((key, 'KEY'))}.",
                key=key,
            )
    return ConfigError(f"The {PREFIX}* environment variables cannot be read ({error}); mend them.")


def check_variables(model: type[BaseModel]) -> None:
    """Refuse a variable that is a setting's name with a slip in it.

    Others that begin like ours are left alone: they may belong to whoever wrapped Journeyman.

    Raises:
        ConfigError: Names the variable and the setting that was meant.
    """
    for name in os.environ:
        upper = name.upper()
        if not upper.startswith(PREFIX) or upper in OTHER_VARIABLES:
            continue
        key = upper.removeprefix(PREFIX).partition(DELIMITER)[0].lower()
        near = get_close_matches(key, model.model_fields, n=1, cutoff=0.75)
        if near and key not in model.model_fields:
            meant = upper.replace(PREFIX + key.upper(), PREFIX + near[0].upper(), 1)
            raise ConfigError(
                f"The environment variable {name} sets nothing: did you mean {meant}?", key=key
            )


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _names(value: str, rest: Sequence[str]) -> bool:
    """Whether a variable's value sets what lies deeper: it is JSON and has those keys."""
    inner = _json(value) if rest else None
    for key in rest:
        if not isinstance(inner, Mapping) or key not in inner:
            return False
        inner = inner[key]
    return True


def _json(value: str) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None


def _keys_beside(model: type[BaseModel], keys: tuple[str, ...]) -> list[str]:
    """The keys that may stand where an unknown one stands."""
    for part in keys[:-1]:
        inner = table_at(model, part)
        if inner is None:
            break
        model = inner
    return sorted(model.model_fields)


def table_at(model: type[BaseModel], key: str) -> type[BaseModel] | None:
    """The model of a table in a model; None where the key is no table."""
    annotation = model.model_fields[key].annotation
    arms = get_args(annotation) or (annotation,)
    return next((arm for arm in arms if isinstance(arm, type) and issubclass(arm, BaseModel)), None)
