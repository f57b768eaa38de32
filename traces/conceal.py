"""Makes records fit to be kept: detached from the caller's objects, and without what must not be.

Which fields of a record hold content, as opposed to names, numbers and times, is said here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import fields, replace
from typing import Any, get_args

from journeyman.traces.payloads import DROPPED, HIDDEN, snapshot
from journeyman.traces.records import Record, ScenarioResultRecord
from journeyman.traces.redact import Redactor
from journeyman.traces.semconv import REQUEST_MODEL

CONTENT = frozenset(
    {
        "input",
        "output",
        "raw",
        "answer",
        "student_output",
        "frontier_output",
    }
)
"""Payloads: what the user gave and what models answered."""

TEXTS = frozenset(
    {
        "status_message",
        "error_message",
        "error",
        "note",
        "explanation",
        "reason",
        "stop_reason",
    }
)
"""Sentences about what happened, which may quote content."""

FACTS = frozenset(
    {
        "attributes",
        "checks",
        "metrics",
        "assertions",
        "environment",
        "argv",
        "tags",
        "options",
        "summary",
    }
)
"""Structured facts, which may quote content. Evidence and figures are not among them: numbers."""

REDACTED = CONTENT | TEXTS | FACTS
"""Everything that a redactor sees."""

_CODES = frozenset({"reason", "stop_reason"})
"""Texts of our own making, kept where content is not."""


_Names = Mapping[type[Record], tuple[str, ...]]


def _by_kind(names: AbstractSet[str]) -> _Names:
    """Which of these fields each kind of record has."""
    return {
        kind: tuple(item.name for item in fields(kind) if item.name in names)
        for kind in get_args(Record)
    }


_COPIED = _by_kind(CONTENT | FACTS | {"evidence", "figures"})
_PAYLOADS = _by_kind(CONTENT)
# Why a scenario failed quotes what was expected; why a task was escalated is one of a few words.
_HIDEABLE = {**_by_kind(CONTENT | (TEXTS - _CODES)), ScenarioResultRecord: ("reason",)}
_CHECKS = _by_kind(frozenset({"checks"}))
_ASSERTIONS = _by_kind(frozenset({"assertions"}))
_WORDED = _by_kind(frozenset({"attributes", "metrics"}))
_REDACTED = _by_kind(REDACTED)


def copy_of(record: Record) -> Record:
    """The record with content that later changes to the caller's objects do not reach."""
    return _changed(record, _COPIED, snapshot)


def without_content(record: Record) -> Record:
    """The record with its payloads given up, and marked so."""
    return _changed(record, _PAYLOADS, lambda _: DROPPED)


def conceal(record: Record, redact: Redactor | None, *, capture: bool) -> Record:
    """The record as it may be kept.

    Args:
        record: With JSON-compatible content, as `copy_of` makes it.
        redact: Applied to content, sentences and facts; what it fails on is hidden.
        capture: False hides all content, and whatever else may quote it.
    """
    if not capture:
        record = _changed(record, _HIDEABLE, lambda _: HIDDEN)
        record = _changed(record, _CHECKS, _without_details)
        record = _changed(record, _ASSERTIONS, _without_reasons)
        record = _changed(record, _WORDED, _without_words)
    if redact is None:
        return record
    changes = {
        name: _redacted(redact, value, is_fact=name in FACTS)
        for name in _REDACTED[type(record)]
        if (value := getattr(record, name)) is not None
    }
    return replace(record, **changes) if changes else record


def _redacted(redact: Redactor, value: Any, *, is_fact: bool) -> Any:
    try:
        kept = snapshot(redact(value))
    except Exception:  # noqa: BLE001  # a redactor that fails must not let anything through
        kept = HIDDEN
    # Readers rely on facts being a mapping or a list.
    return type(value)() if is_fact and not isinstance(kept, type(value)) else kept


def _without_details(checks: Any) -> Any:
    return [{key: value for key, value in check.items() if key != "detail"} for check in checks]


def _without_reasons(assertions: Any) -> Any:
    """Why an assertion failed quotes the answer, and its name may quote what was expected."""
    kept = ("type", "passed", "score")
    return [{key: one[key] for key in kept if key in one} for one in assertions]


def _without_words(facts: Any) -> Any:
    """Numbers and flags, and words of our own vocabulary."""
    return {
        key: value
        if value is None
        or isinstance(value, (int, float))
        or key == REQUEST_MODEL
        or key.startswith("journeyman.")
        else HIDDEN
        for key, value in facts.items()
    }


def _changed(record: Record, names: _Names, change: Callable[[Any], Any]) -> Record:
    """The record with some fields changed; missing ones stay missing."""
    changes = {
        name: change(value)
        for name in names[type(record)]
        if (value := getattr(record, name)) is not None
    }
    return replace(record, **changes) if changes else record
