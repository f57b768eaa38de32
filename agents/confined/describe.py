"""Values as text that is equal where the values are, so that behaviours can be compared."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from journeyman.agents.confined.proxy import Proxy, link

_MAX_ITEMS = 1000
_MAX_TEXT = 2000


def describe(value: Any) -> str:
    """A value as text: sets and dicts in a fixed order, iterators by what they yield.

    Long text is cut and carries a digest of the whole.
    """
    try:
        text = _text(value)
    except RecursionError:
        text = "<too deep>"
    if len(text) <= _MAX_TEXT:
        return text
    return f"{text[:_MAX_TEXT]}... {len(text)} characters, crc32 {zlib.crc32(text.encode()):08x}"


def _text(value: Any) -> str:
    if isinstance(value, Proxy):
        here = link(value)
        return str(here.peer.apply("describe", value))
    if isinstance(value, set | frozenset):
        return f"{type(value).__name__}({', '.join(sorted(map(_text, value)))})"
    if isinstance(value, Mapping):
        items = sorted(f"{_text(key)}: {_text(item)}" for key, item in value.items())
        return f"{type(value).__name__}({', '.join(items)})"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}({', '.join(map(_text, value))})"
    if isinstance(value, Iterator):
        return f"iterator({', '.join(map(_text, islice(value, _MAX_ITEMS)))})"
    return repr(value)
