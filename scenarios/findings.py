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
    spec.PassRule,
    spec.Gate,
    spec.Turn,
    spec.Resume,
    spec.Split,
    spec.FileData,
    spec.QrelsData,
    spec.InlineScenario,
)
_KNOWN_KEYS = sorted({info.alias or key for m in _MODELS for key, info in m.model_fields.items()})


class Mistakes:
    """What pydantic finds wrong with a document, or with a part of it.

    Args:
        document: The file.
        error: What pydantic found.
        within: Where the part that was validated stands.
        named: How the part is called in sentences; by default by its place.
        root: How the document is called.
    """

    def __init__(
        self,
        document: Document,
        error: ValidationError,
        *,
        within: Loc = (),
        named: str | None = None,
        root: str = "The suite",
    ) -> None:
        self._document = document
        self._within = within
        self._named = named
        self._root = root
        self._by_place: dict[Loc, list[ErrorDetails]] = {}
        for item in error.errors():
            self._by_place.setdefault(self._place(item), []).append(item)

    def first(self) -> ConfigError:
        """The first mistake in the file, and how many more lines have one."""
        # Every arm of a union reports; the one that reached deepest is the one that was meant.
        place = min(self._by_place, key=lambda loc: (self._document.line(loc), -len(loc)))
        line = self._document.line(place)
        others = len({self._document.line(loc) for loc in self._by_place} - {line})
        more = f" ({others} more line{'s' if others > 1 else ''} with mistakes)" if others else ""
        return self._error(place, more)

    def each(self) -> list[ConfigError]:
        """One mistake for each line that has any, in order."""
        deepest: dict[int, Loc] = {}
        for loc in self._by_place:
            line = self._document.line(loc)
            if line not in deepest or len(loc) > len(deepest[line]):
                deepest[line] = loc
        return [self._error(deepest[line]) for line in sorted(deepest)]

    def _error(self, place: Loc, more: str = "") -> ConfigError:
        inside = place[len(self._within) :] if self._named is not None else place
        where = ".".join(map(str, (*([self._named] if self._named else []), *inside)))
        sentence = _sentence(repr(where) if where else self._root, place, self._by_place[place])
        sentence += more
        return self._document.error(place, sentence if sentence.endswith("?") else f"{sentence}.")

    def _place(self, finding: ErrorDetails) -> Loc:
        """Where a finding stands in the file; the names of unions' arms are left out."""
        here = self._within
        for part in finding["loc"]:
            if (*here, part) in self._document.lines:
                here = (*here, part)
        if finding["type"] == "union_tag_invalid":
            return (*here, "format")
        return here


def _sentence(where: str, loc: Loc, findings: list[ErrorDetails]) -> str:
    first = findings[0]
    match first["type"]:
        case "extra_forbidden" | "unexpected_keyword_argument":
            close = difflib.get_close_matches(str(loc[-1]), _KNOWN_KEYS, n=1)
            return f"Unknown key {where}; " + (
                f"did you mean {close[0]!r}?" if close else "remove it"
            )
        case "missing" | "missing_argument":
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
        case "model_type" | "dict_type" | "model_attributes_type" | "dataclass_type":
            return "a mapping"
    message = finding["msg"]
    for prefix in ("Input should be a valid ", "Input should be "):
        if message.startswith(prefix):
            rest = message.removeprefix(prefix)
            return _PLAIN.get(rest, rest)
    return message[:1].lower() + message[1:]


_PLAIN = {
    "string": "text",
    "boolean": "true or false",
    "list": "a list",
    "array": "a list",
    "number": "a number",
    "integer": "a whole number",
    "an object": "a mapping",
}
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
