"""Turns what pydantic finds wrong with a suite into one sentence at its line."""

from __future__ import annotations

import difflib
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from journeyman.models.errors import ConfigError
from journeyman.scenarios import spec
from journeyman.scenarios.marked import Document, Loc

_MODELS: tuple[type[BaseModel], ...] = (
    spec.SuiteSpec,
    spec.AgentSettings,
    spec.ExtractionSettings,
    spec.RetrievalSettings,
    spec.RoutingSettings,
    spec.Defaults,
    spec.Split,
    spec.FileData,
    spec.QrelsData,
    spec.InlineScenario,
)
_KNOWN_KEYS = sorted({info.alias or key for m in _MODELS for key, info in m.model_fields.items()})


def shape_error(document: Document, error: ValidationError) -> ConfigError:
    """The first mistake in the file as a ConfigError, and how many more lines have one."""
    findings = error.errors()
    places = [_place(document, item) for item in findings]
    lines = [document.line(loc) for loc in places]
    # Every arm of a union reports; the one that reached deepest is the one that was meant.
    first = min(range(len(findings)), key=lambda i: (lines[i], -len(places[i])))
    same = [item for item, loc in zip(findings, places, strict=True) if loc == places[first]]
    others = len(set(lines) - {lines[first]})
    more = f" ({others} more line{'s' if others > 1 else ''} with mistakes)" if others else ""
    loc = places[first]
    sentence = f"{_sentence(loc, same)}{more}"
    return document.error(loc, sentence if sentence.endswith("?") else f"{sentence}.")


def _place(document: Document, finding: ErrorDetails) -> Loc:
    """Where a finding stands in the file; the names of unions' arms are left out."""
    here: Loc = ()
    for part in finding["loc"]:
        if (*here, part) in document.lines:
            here = (*here, part)
    if finding["type"] == "union_tag_invalid":
        return (*here, "format")
    return here


def _sentence(loc: Loc, findings: list[ErrorDetails]) -> str:
    where = repr(".".join(str(part) for part in loc)) if loc else "The suite"
    first = findings[0]
    match first["type"]:
        case "extra_forbidden":
            close = difflib.get_close_matches(str(loc[-1]), _KNOWN_KEYS, n=1)
            return f"Unknown key {where}; " + (
                f"did you mean {close[0]!r}?" if close else "remove it"
            )
        case "missing":
            return f"{where} needs the key {str(first['loc'][-1])!r}; add it"
        case "union_tag_not_found":
            return f"{where} needs the key 'format'; add one of {', '.join(spec.FORMAT_AGENTS)}"
        case "one_of":
            return f"{where} {first['msg']}"
    choices = " or ".join(dict.fromkeys(_expectation(item) for item in findings))
    return f"{where} should be {choices}, not {_shown(first)}"


def _expectation(finding: ErrorDetails) -> str:
    """What would have been right, in a few words."""
    context = finding.get("ctx", {})
    match finding["type"]:
        case "literal_error":
            return str(context["expected"])
        case "union_tag_invalid":
            return f"one of {context['expected_tags']}"
        case "string_pattern_mismatch":
            return _PATTERNS.get(context["pattern"], f"text like {context['pattern']}")
        case "string_too_short":
            return "text that is not empty"
        case "too_short":
            return "a list that is not empty"
        case "model_type" | "dict_type" | "model_attributes_type":
            return "a mapping"
    message = finding["msg"]
    for prefix in ("Input should be a valid ", "Input should be "):
        if message.startswith(prefix):
            rest = message.removeprefix(prefix)
            return _PLAIN.get(rest, rest)
    return message[:1].lower() + message[1:]


_PLAIN = {"string": "text", "boolean": "true or false", "list": "a list", "number": "a number"}
_PATTERNS = {
    spec.NAME_PATTERN: "a short name in small letters, digits, '-' and '_'",
    spec.KEY_PATTERN: "up to 200 characters without white space at the ends",
    spec.CLASS_PATTERN: "'module:Class' or 'file.py:Class'",
}


def _shown(finding: ErrorDetails) -> str:
    value: Any = finding["input"]
    if finding["type"] == "union_tag_invalid":
        value = finding.get("ctx", {}).get("tag")
    if isinstance(value, dict | list):
        empty = "an empty " if not value else "a "
        return empty + ("mapping" if isinstance(value, dict) else "list")
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
