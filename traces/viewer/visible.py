"""Hostile text made to show what it holds, and not too much of it.

Controls, turned direction and lone surrogates are shown as what they are.
"""

from __future__ import annotations

import re
from typing import Any

from markupsafe import Markup

_ODD = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)

MAX_CHARS = 1_000
"""Of one text, unless it is wanted whole."""


def plain(value: Any) -> Any:
    """Text that shows what it holds; other values as they are, and None as nothing."""
    if value is None:
        return ""
    if isinstance(value, str) and not isinstance(value, Markup):
        return _ODD.sub(_shown, value)
    return value


def cut(value: Any) -> Any:
    """As `plain`, but no longer than `MAX_CHARS`."""
    if isinstance(value, str) and not isinstance(value, Markup) and len(value) > MAX_CHARS:
        return plain(value[: MAX_CHARS - 1]) + "…"
    return plain(value)


def _shown(found: re.Match[str]) -> str:
    code = ord(found[0])
    return chr(0x2400 + code) if code < 0x20 else f"\\u{code:04x}"
