"""Structured output over chat completions: how to ask for JSON, and how to read it.

Servers differ in what they take. A `Dialect` says how one server is asked: with a JSON Schema
(strict where the schema allows), with `json_object`, or in words; and which of the two fields
limits the completion. When a server refuses, `Dialect.without` gives the next thing to try. What
comes back is always checked against the caller's own schema, whatever the server promised. Knows
nothing of transport, retries or money.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NoReturn

import jsonschema
import referencing
import referencing.exceptions

from journeyman.models.errors import ConfigError
from journeyman.models.types import FrontierRequest, canonical_json, content_hash

Structure = Literal["json_schema", "json_object", "prompt"]
LimitField = Literal["max_tokens", "max_completion_tokens"]

_NEXT: Mapping[Structure, Structure | None] = {
    "json_schema": "json_object",
    "json_object": "prompt",
    "prompt": None,
}
_ABOUT_STRUCTURE = re.compile(
    r"response_format|json|schema|structured|guided|grammar", re.IGNORECASE
)
_FENCE = re.compile(r"```\w*\s*\{")
_ABOUT_LIMIT = re.compile(r"max_(completion_)?tokens")
_UNSUPPORTED = re.compile(
    r"unsupported|not supported|unrecogni[sz]ed|unknown|unexpected|extra|not permitted",
    re.IGNORECASE,
)

# What strict mode takes, https://platform.openai.com/docs/guides/structured-outputs.
_STRICT_KEYS = frozenset(
    {
        "type",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "enum",
        "const",
        "anyOf",
        "$ref",
        "$defs",
        "description",
        "title",
        "pattern",
        "format",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minItems",
        "maxItems",
    }
)
# Left out of what the server sees: the answer is checked against the whole schema afterwards.
_DROPPED_KEYS = frozenset(
    {
        "$schema",
        "$id",
        "$comment",
        "default",
        "examples",
        "discriminator",
        "minLength",
        "maxLength",
        "uniqueItems",
        "deprecated",
        "readOnly",
        "writeOnly",
    }
)
_STRICT_FORMATS = frozenset(
    {
        "date-time",
        "time",
        "date",
        "duration",
        "email",
        "hostname",
        "ipv4",
        "ipv6",
        "uuid",
    }
)


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one server is asked.

    Attributes:
        structure: How it is told the schema.
        strict: Ask for strict adherence where the schema allows.
        limit_field: The field that limits the completion.
        limit_settled: Both names of that field have been tried.
    """

    structure: Structure = "json_schema"
    strict: bool = True
    limit_field: LimitField = "max_tokens"
    limit_settled: bool = False

    def payload(self, request: FrontierRequest) -> dict[str, Any]:
        """Messages, response format and token limit of a chat completion."""
        payload: dict[str, Any] = {
            "messages": [dict(message) for message in request.messages],
            self.limit_field: request.max_output_tokens,
        }
        if self.structure == "json_schema":
            strict = strict_schema(request.json_schema) if self.strict else None
            payload["response_format"] = {
                "type": "json_schema",
                "json_schema": {
                    "name": request.schema_name,
                    "schema": request.json_schema if strict is None else strict,
                    "strict": strict is not None,
                },
            }
        else:
            payload["messages"] = _with_schema(payload["messages"], request.json_schema)
            if self.structure == "json_object":
                payload["response_format"] = {"type": "json_object"}
        return payload

    def without(self, refusal: str, request: FrontierRequest) -> Dialect | None:
        """What to try after a server refused; None where the refusal is about something else.

        Args:
            refusal: What the server said, the offending parameter's name included.
            request: What it was asked.
        """
        if not self.limit_settled and _ABOUT_LIMIT.search(refusal) and _UNSUPPORTED.search(refusal):
            other: LimitField = (
                "max_tokens" if self.limit_field != "max_tokens" else "max_completion_tokens"
            )
            return replace(self, limit_field=other, limit_settled=True)
        if not _ABOUT_STRUCTURE.search(refusal):
            return None
        was_strict = self.strict and strict_schema(request.json_schema) is not None
        if self.structure == "json_schema" and was_strict:
            return replace(self, strict=False)
        weaker = _NEXT[self.structure]
        return replace(self, structure=weaker) if weaker else None


def _with_schema(messages: list[dict[str, Any]], schema: Mapping[str, Any]) -> list[dict[str, Any]]:
    words = (
        "Answer with one JSON object that fits this JSON Schema, and with nothing else:\n"
        + canonical_json(schema)
    )
    first = messages[0] if messages else {}
    if first.get("role") in {"system", "developer"} and isinstance(first.get("content"), str):
        return [{**first, "content": f"{first['content']}\n\n{words}"}, *messages[1:]]
    return [{"role": "system", "content": words}, *messages]


class _NotStrictError(Exception):
    """The schema says something that strict mode cannot."""


def strict_schema(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """The schema as strict mode wants it; None where that would ask for something else.

    Objects are closed, and properties that may be null or an empty list become required. Limits
    that strict mode does not know are left out.
    """
    try:
        strict = _strict(schema)
    except _NotStrictError:
        return None
    return strict if strict.get("type") == "object" and "anyOf" not in strict else None


def _strict(node: Any) -> dict[str, Any]:
    if not isinstance(node, Mapping):
        raise _NotStrictError
    if "$ref" in node:  # strict mode allows it no neighbours
        return {"$ref": node["$ref"]}
    found = {key: value for key, value in node.items() if key not in _DROPPED_KEYS}
    if "oneOf" in found and "anyOf" not in found:
        found["anyOf"] = found.pop("oneOf")
    if not found.keys() <= _STRICT_KEYS or not found.keys() & {"type", "enum", "const", "anyOf"}:
        raise _NotStrictError
    if found.get("format") not in _STRICT_FORMATS:
        found.pop("format", None)
    if "anyOf" in found:
        found["anyOf"] = [_strict(option) for option in found["anyOf"]]
    if "items" in found:
        found["items"] = _strict(found["items"])
    elif _has_type(found, "array"):
        raise _NotStrictError
    if "$defs" in found:
        found["$defs"] = {name: _strict(part) for name, part in found["$defs"].items()}
    if "properties" in found or _has_type(found, "object"):
        _close(found)
    return found


def _close(node: dict[str, Any]) -> None:
    if "properties" not in node or node.get("additionalProperties", False) is not False:
        raise _NotStrictError
    properties = node["properties"]
    required = set(node.get("required", ()))
    for name, part in properties.items():
        if name not in required and not _can_be_empty(part):
            raise _NotStrictError
    node["properties"] = {name: _strict(part) for name, part in properties.items()}
    node["required"] = list(properties)
    node["additionalProperties"] = False


def _has_type(node: Mapping[str, Any], name: str) -> bool:
    kind = node.get("type")
    return name in kind if isinstance(kind, list) else kind == name


def _can_be_empty(node: Any) -> bool:
    """May a model that has nothing to say still fill this in?"""
    if not isinstance(node, Mapping):
        return False
    options = [node, *node.get("anyOf", ()), *node.get("oneOf", ())]
    return any(
        isinstance(option, Mapping)
        and (
            _has_type(option, "null")
            or (_has_type(option, "array") and not option.get("minItems"))
            or None in option.get("enum", ())
        )
        for option in options
    )


def parse_object(text: str) -> dict[str, Any]:
    """The JSON object in a completion; prose, fences and thoughts around it are passed over.

    Raises:
        ValueError: There is none, or what there is breaks off.
    """
    problem = "it holds no JSON object"
    for candidate in _candidates(text):
        try:
            value, _ = _DECODER.raw_decode(candidate)
        except (ValueError, RecursionError) as error:
            problem = f"it is not valid JSON: {error}"
            continue
        if isinstance(value, dict):
            return value
        if isinstance(value, list):  # an object inside it is not the whole answer
            break
    raise ValueError(problem)


def _candidates(text: str) -> Iterator[str]:
    """Where the object may begin. Never a brace inside another: half an answer is no answer."""
    yield text.strip()
    if text.lstrip().startswith("<think>") and "</think>" not in text:
        return
    spoken = text.rpartition("</think>")[2]
    brace = spoken.find("{")
    if brace >= 0:
        yield spoken[brace:]
    fence = _FENCE.search(spoken)
    if fence:
        yield spoken[fence.end() - 1 :]


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits[:20]} is too large a number")
    return value


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)


class SchemaChecks:
    """Checks JSON objects against schemas, each schema prepared once. Never fetches a `$ref`."""

    _MAX_KEPT = 256

    def __init__(self) -> None:
        self._validators: dict[str, jsonschema.Draft202012Validator] = {}

    def prepare(self, schema: Mapping[str, Any]) -> jsonschema.Draft202012Validator:
        """The validator of a schema.

        Raises:
            ConfigError: It is no JSON Schema.
        """
        key = content_hash(schema)
        known = self._validators.get(key)
        if known is None:
            try:
                jsonschema.Draft202012Validator.check_schema(schema)
            except jsonschema.SchemaError as error:
                where = "/".join(str(part) for part in error.absolute_path) or "its top"
                raise ConfigError(
                    f"The answer's JSON Schema is wrong at {where!r}: {error.message[:200]}.",
                    key=where,
                ) from error
            known = jsonschema.Draft202012Validator(schema, registry=referencing.Registry())
            if len(self._validators) >= self._MAX_KEPT:
                self._validators.clear()
            self._validators[key] = known
        return known

    def violation(self, data: Mapping[str, Any], schema: Mapping[str, Any]) -> str | None:
        """What about the data does not fit, in a few words; None where it fits.

        Raises:
            ConfigError: It is no JSON Schema, or it refers to something outside itself.
        """
        try:
            error = jsonschema.exceptions.best_match(self.prepare(schema).iter_errors(data))
        except RecursionError:  # a schema that refers to itself sets data no limit
            return "it is nested too deeply to be checked"
        except referencing.exceptions.Unresolvable as unresolved:
            raise ConfigError(
                f"The answer's JSON Schema refers to {unresolved.ref!r}, which it does not hold: "
                "put the definition under '$defs'."
            ) from unresolved
        if error is None:
            return None
        where = ".".join(str(part) for part in error.absolute_path)
        return f"{where or 'the object'}: {error.message[:200]}"
