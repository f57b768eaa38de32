"""Makes records fit to be kept: detached from the caller's objects, and without what must not be.

Which fields of a record hold content, as opposed to names, numbers and times, is said here.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import fields, replace
from typing import Any

from journeyman.traces.payloads import DROPPED, HIDDEN, snapshot
from journeyman.traces.records import Record
from journeyman.traces.redact import Redactor

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

FACTS = frozenset({"attributes", "checks", "metrics", "environment", "argv", "tags"})
"""Structured facts, which may quote content. Evidence is not among them: it is numbers."""

_CODES = frozenset({"reason", "stop_reason"})
"""Texts of our own making, kept where content is not."""


def copy_of(record: Record) -> Record:
    """The record with content that later changes to the caller's objects do not reach."""
    return _changed(record, CONTENT | FACTS | {"evidence"}, snapshot)


def without_content(record: Record) -> Record:
    """The record with its payloads given up, and marked so."""
    return _changed(record, CONTENT, lambda _: DROPPED)


def conceal(record: Record, redact: Redactor | None, *, capture: bool) -> Record:
    """The record as it may be kept.

    Args:
        record: With JSON-compatible content, as `copy_of` makes it.
        redact: Applied to content, sentences and facts; what it fails on is hidden.
        capture: False hides all content, and whatever else may quote it.
    """
    if not capture:
        record = _changed(record, CONTENT | (TEXTS - _CODES), lambda _: HIDDEN)
        record = _changed(record, frozenset({"checks"}), _without_details)
        record = _changed(record, frozenset({"attributes", "metrics"}), _without_words)
    if redact is None:
        return record
    record = _changed(record, CONTENT | TEXTS, lambda value: _redacted(redact, value, HIDDEN))
    return _changed(record, FACTS, lambda value: _redacted(redact, value, type(value)()))


def _redacted(redact: Redactor, value: Any, otherwise: Any) -> Any:
    try:
        kept = snapshot(redact(value))
    except Exception:  # noqa: BLE001  # a redactor that fails must not let anything through
        return otherwise
    # Readers rely on facts being a mapping or a list.
    return kept if isinstance(otherwise, (str, type(kept))) else otherwise


def _without_details(checks: Any) -> Any:
    return [{key: value for key, value in check.items() if key != "detail"} for check in checks]


def _without_words(facts: Any) -> Any:
    """Numbers and flags, and words of our own vocabulary."""
    return {
        key: value
        if value is None or isinstance(value, (int, float)) or key.startswith("journeyman.")
        else HIDDEN
        for key, value in facts.items()
    }


def _changed(record: Record, names: AbstractSet[str], change: Callable[[Any], Any]) -> Record:
    """The record with some fields changed; missing ones stay missing."""
    changes = {
        item.name: change(value)
        for item in fields(record)
        if item.name in names and (value := getattr(record, item.name)) is not None
    }
    return replace(record, **changes) if changes else record
