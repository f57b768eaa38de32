"""Values between two processes that do not trust each other: copies where it can, numbers else.

Plain values (numbers, text, the standard containers, dates and the like) are copied as JSON, by
exact type and by value. Everything else stays in its process and travels as a reference. Nothing
here builds an object whose class the other side chose, which is why this is not pickle.
"""

from __future__ import annotations

import importlib
import sys
from abc import ABC, abstractmethod
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePath, PurePosixPath
from types import ModuleType
from typing import Any, NamedTuple
from uuid import UUID

PURE_MODULES = frozenset(
    {
        *("abc", "bisect", "builtins", "calendar", "cmath", "collections", "collections.abc"),
        *("datetime", "decimal", "enum", "fractions", "functools", "heapq", "itertools", "json"),
        *("json.decoder", "math", "numbers", "random", "re", "statistics", "string", "textwrap"),
        *("time", "typing", "uuid"),
    }
)
"""Modules of which a hostile process may name classes, and the modules themselves."""

KNOWN_MODULES = PURE_MODULES | {
    *("argparse", "array", "contextlib", "copy", "dataclasses", "hashlib", "io", "operator", "os"),
    *("os.path", "pathlib", "queue", "struct", "sys", "threading", "unittest", "urllib.parse"),
}
"""Modules of which a trusted process may name anything public."""

_LARGE = 1 << 63
_COPIED = {bool, str, float}


class WireError(Exception):
    """What came over the wire is not a value."""


class _Form(NamedTuple):
    """How one type travels: its parts, and how they make a value again."""

    tag: str
    parts: Callable[[Any], Iterable[Any]]
    build: Callable[[list[Any]], Any]


def _pairs(value: dict[Any, Any]) -> list[Any]:
    return [part for pair in value.items() for part in pair]


def _mapping(parts: list[Any]) -> dict[Any, Any]:
    return dict(zip(parts[::2], parts[1::2], strict=True))


def _moment(value: datetime) -> list[Any]:
    offset = value.utcoffset()
    zone = None if offset is None else offset.total_seconds()
    return [*value.timetuple()[:6], value.microsecond, zone, value.fold]


def _read_moment(parts: list[Any]) -> datetime:
    *numbers, zone, fold = parts
    kept = None if zone is None else timezone(timedelta(seconds=zone))
    return datetime(*numbers, tzinfo=kept, fold=fold)  # type: ignore[misc]  # seven numbers


_FORMS: dict[type, _Form] = {
    int: _Form("i", lambda v: [hex(v)], lambda p: int(p[0], 16)),
    tuple: _Form("t", list, tuple),
    set: _Form("s", list, set),
    frozenset: _Form("f", list, frozenset),
    dict: _Form("d", _pairs, _mapping),
    bytes: _Form("b", lambda v: [v.decode("latin-1")], lambda p: p[0].encode("latin-1")),
    bytearray: _Form(
        "ba", lambda v: [v.decode("latin-1")], lambda p: bytearray(p[0].encode("latin-1"))
    ),
    complex: _Form("c", lambda v: [v.real, v.imag], lambda p: complex(*p)),
    range: _Form("r", lambda v: [v.start, v.stop, v.step], lambda p: range(*p)),
    slice: _Form("sl", lambda v: [v.start, v.stop, v.step], lambda p: slice(*p)),
    Decimal: _Form("D", lambda v: [str(v)], lambda p: Decimal(p[0])),
    Fraction: _Form("F", lambda v: [v.numerator, v.denominator], lambda p: Fraction(*p)),
    datetime: _Form("dt", _moment, _read_moment),
    date: _Form("da", lambda v: [v.year, v.month, v.day], lambda p: date(*p)),
    time: _Form("ti", lambda v: [v.hour, v.minute, v.second, v.microsecond], lambda p: time(*p)),
    timedelta: _Form("td", lambda v: [v.days, v.seconds, v.microseconds], lambda p: timedelta(*p)),
    deque: _Form("q", lambda v: [list(v), v.maxlen], lambda p: deque(*p)),
    Counter: _Form("C", _pairs, lambda p: Counter(_mapping(p))),
    OrderedDict: _Form("O", _pairs, lambda p: OrderedDict(_mapping(p))),
    defaultdict: _Form("dd", _pairs, lambda p: defaultdict(None, _mapping(p))),
    UUID: _Form("u", lambda v: [str(v)], lambda p: UUID(p[0])),
    PurePosixPath: _Form("P", lambda v: [str(v)], lambda p: PurePosixPath(p[0])),
    type({}.keys()): _Form("dk", list, lambda p: dict.fromkeys(p).keys()),
    type({}.values()): _Form("dv", list, lambda p: dict(enumerate(p)).values()),
    type({}.items()): _Form("di", list, lambda p: dict(p).items()),
}
_READERS = {form.tag: form.build for form in _FORMS.values()}

# A class derived from a plain one carries the plain value too, taken past its own methods.
_BASES: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (int, lambda v: int.__add__(v, 0)),
    (float, lambda v: float.__add__(v, 0.0)),
    (str, lambda v: str.__str__(v) + ""),
    (bytes, lambda v: bytes.__add__(v, b"")),
    (tuple, lambda v: tuple(tuple.__iter__(v))),
    (list, lambda v: list(list.__iter__(v))),
    (dict, lambda v: dict(dict.items(v))),
    (set, lambda v: set(set.__iter__(v))),
    (frozenset, lambda v: frozenset(frozenset.__iter__(v))),
)


class Codec(ABC):
    """Encodes values for the other side and decodes what it sent.

    Subclasses say what happens to values that cannot be copied.

    Class attributes to set:
        is_hostile: This side runs the candidate, so what it names is not what it may choose.
    """

    is_hostile: bool

    def encode(self, value: Any) -> Any:
        """A value as JSON; what cannot be copied becomes a reference."""
        try:
            return self._encode(value)
        except RecursionError:
            return self.refer(value)

    def decode(self, data: Any) -> Any:
        """The value that the other side encoded.

        Raises:
            WireError: It is not one.
        """
        if type(data) is list:
            return [self.decode(item) for item in data]
        if type(data) is not dict:
            return data
        try:
            ((tag, body),) = data.items()
            if tag == "g":
                return self.decode_global(*body)
            if tag == "o":
                return self.adopt(*body)
            if tag == "m":
                return self.own(body)
            return _READERS[tag]([self.decode(item) for item in body])
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise WireError(f"No value can be read: {type(error).__name__}.") from error

    def decode_global(self, module: str, name: str) -> Any:
        """A module (empty name) or a public name of one that means the same on both sides."""
        modules = KNOWN_MODULES if self.is_hostile else PURE_MODULES
        if module not in modules or name.startswith("_"):
            raise WireError("A reference to something that is not shared.")
        home = importlib.import_module(module)
        value = getattr(home, name) if name else home
        if name and not self.is_hostile and not isinstance(value, type):
            raise WireError("A hostile process may name classes only: it could name exec.")
        return value

    @abstractmethod
    def refer(self, value: Any) -> Any:
        """Encode a reference to an object of this side: `{"o": [number, facts]}`."""

    @abstractmethod
    def recall(self, value: Any) -> dict[str, Any] | None:
        """Encode what stands here for an object of the other side: `{"m": number}`."""

    @abstractmethod
    def adopt(self, number: Any, facts: dict[str, Any]) -> Any:
        """What stands on this side for an object of the other one."""

    @abstractmethod
    def own(self, number: Any) -> Any:
        """The object of this side that the other one refers to; KeyError if there is none."""

    def _encode(self, value: Any) -> Any:
        kind = type(value)
        if value is None or kind in _COPIED or (kind is int and -_LARGE < value < _LARGE):
            return value
        if kind is list:
            return [self._encode(item) for item in value]
        form = _FORMS.get(PurePosixPath if issubclass(kind, PurePath) else kind)
        if form is not None:
            return {form.tag: [self._encode(part) for part in form.parts(value)]}
        return self.recall(value) or self._shared(value) or self.refer(value)

    def _shared(self, value: Any) -> dict[str, list[str]] | None:
        """The encoding of a module, class or function that both sides have, None for all else."""
        modules = PURE_MODULES if self.is_hostile else KNOWN_MODULES
        if isinstance(value, ModuleType):
            return {"g": [value.__name__, ""]} if value.__name__ in modules else None
        if self.is_hostile and not isinstance(value, type):
            return None
        module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
        if not isinstance(module, str) or not isinstance(name, str) or name.startswith("_"):
            return None
        home = sys.modules.get(module) if module in modules else None
        return {"g": [module, name]} if getattr(home, name, None) is value else None


def plain_base(value: Any) -> Sequence[Any]:
    """The plain value inside an object of a class derived from a plain one: none or one."""
    return next(([read(value)] for base, read in _BASES if isinstance(value, base)), [])
