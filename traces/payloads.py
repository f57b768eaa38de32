"""Any value as JSON text under its own hash. Knows no table and hides nothing.

Content is kept as plain, canonical JSON text, so that SQL tools can read and search it. What cannot
be said in JSON is said in words: numbers that are not finite become strings, unknown objects their
`repr`, lone surrogates their JSON escape.
"""

from __future__ import annotations

import hashlib
import json
import math
import numbers
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from pydantic_core import to_jsonable_python

HIDDEN = "__REDACTED__"
"""Stands for content that was hidden on purpose, so that hidden and missing differ."""

DROPPED = "__DROPPED__"
"""Stands for content that was given up because the writer could not keep pace."""

UNREADABLE = "__UNREADABLE__"
"""Stands for content that is no JSON by any means: circular, or nested too deeply."""

PREVIEW_CHARS = 200


def snapshot(value: Any) -> Any:
    """A JSON-compatible copy of a value; never raises."""
    with suppress(Exception):  # any object may come here, and its own code may raise anything
        return to_jsonable_python(value, bytes_mode="base64", fallback=_plain)
    with suppress(Exception):  # keys that are no valid UTF-8 come here
        return json.loads(json.dumps(value, default=repr))
    return UNREADABLE


def encode(value: Any) -> str:
    """Canonical JSON text of a value: sorted keys, no spaces; never raises."""
    value = snapshot(value)
    try:
        text = _dumps(value)
    except ValueError:
        try:
            text = _dumps(_finite(value))
        except RecursionError:
            text = _dumps(UNREADABLE)
    return clean(text)


def clean(text: str) -> str:
    r"""Text that any database takes: lone surrogates become `\udcxx`, and NUL becomes `\x00`."""
    if text.isascii() and "\0" not in text:
        return text
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def digest(text: str) -> str:
    """The tagged hash under which a payload's text is stored."""
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def preview(value: Any) -> str | None:
    """One line of at most 200 characters for lists; None for a missing value.

    A value that holds only one text is shown as that text.
    """
    if value is None:
        return None
    while isinstance(value, Mapping) and len(value) == 1:
        value = next(iter(value.values()))
    text = value if isinstance(value, str) else encode(value)
    line = clean(" ".join(text[: 4 * PREVIEW_CHARS].split()))
    return line if len(line) <= PREVIEW_CHARS else line[: PREVIEW_CHARS - 1] + "…"


def _dumps(value: Any) -> str:
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def _plain(value: Any) -> Any:
    """Numbers and mappings of other libraries as what they are, everything else in words."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    return repr(value)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_finite(item) for item in value]
    return value
