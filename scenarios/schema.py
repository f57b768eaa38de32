"""The JSON Schema of suite files, for editors.

The file that is shipped is made by `write_schema`, which needs `pydantic-evals`; reading it does
not.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from journeyman.scenarios.spec import SuiteSpec

SCHEMA_FILE = Path(__file__).resolve().parent / "suite.schema.json"

_ASSERTION = "#/$defs/Assertion"


def shipped_schema() -> str:
    """The schema as it is shipped."""
    return SCHEMA_FILE.read_text("utf-8")


def write_schema() -> None:
    """Make the shipped file anew."""
    SCHEMA_FILE.write_text(json.dumps(json_schema(), indent=1) + "\n", "utf-8")


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a suite file, with the built-in evaluators and their arguments.

    Evaluators of a user's own are allowed with any arguments: `journeyman validate` knows more.
    """
    schema = SuiteSpec.model_json_schema(by_alias=True)
    definitions = schema["$defs"]
    for part in (schema, *definitions.values()):
        written = part.get("properties", {}).get("assert")
        if written is not None:
            written["items"] = {"$ref": _ASSERTION}
    definitions["Assertion"] = _assertion(definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "Journeyman suite",
    }


def _assertion(definitions: dict[str, Any]) -> dict[str, Any]:
    """One assertion in any of its forms; the arguments' own definitions are added to the others."""
    from journeyman.scenarios.evaluators import BUILT_IN

    forms = []
    for name, kind in BUILT_IN.items():
        arguments = TypeAdapter(kind).json_schema()
        definitions.update(arguments.pop("$defs", {}))
        fields = [field.name for field in dataclasses.fields(kind) if field.init]
        properties = arguments.get("properties", {})
        choices: list[dict[str, Any]] = [{"type": "null"}]
        if fields:
            choices.append(properties[fields[0]])
        properties["weight"] = {"type": "number", "exclusiveMinimum": 0}
        choices.append({**arguments, "properties": properties, "additionalProperties": False})
        forms.append(_named(name, {"anyOf": choices}, kind.__doc__ or ""))
    own = {"type": "object", "minProperties": 1, "maxProperties": 1}
    known = {"propertyNames": {"not": {"enum": [*BUILT_IN, "not"]}}}
    return {
        "description": "What must hold: `Name`, `Name: argument`, `Name: {...}`, or `not:` one.",
        "anyOf": [
            {"enum": list(BUILT_IN)},
            {"type": "string"},
            *forms,
            _named("not", {"$ref": _ASSERTION}, "It must not hold."),
            {**own, **known},
        ],
    }


def _named(name: str, value: dict[str, Any], description: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: {**value, "description": description}},
        "required": [name],
        "additionalProperties": False,
    }
