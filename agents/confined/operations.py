"""The things that can be done to an object in another process, by name.

One table for both directions: the judge's proxies of a candidate's objects, and the candidate's
proxies of objects that a test handed it.
"""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Callable
from typing import Any

BINARY = (
    *("add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "pow"),
    *("lshift", "rshift", "and", "or", "xor"),
)
"""Operators that also have a reflected form."""

IN_PLACE = tuple(f"i{name}" for name in BINARY)
ORDER = ("lt", "le", "gt", "ge")
UNARY = ("neg", "pos", "abs", "invert")


def _text(value: Any, spec: str) -> str:
    return format(value, spec)


def _named(name: str) -> Callable[..., Any]:
    found: Callable[..., Any] = getattr(operator, f"__{name}__")
    return found


OPERATIONS: dict[str, Callable[..., Any]] = {
    **{name: _named(name) for name in (*BINARY, *IN_PLACE, *ORDER, *UNARY)},
    "eq": operator.eq,
    "getitem": operator.getitem,
    "setitem": operator.setitem,
    "delitem": operator.delitem,
    "contains": operator.contains,
    "index": operator.index,
    "iter": iter,
    "next": next,
    "reversed": lambda value: list(reversed(value)),
    "len": len,
    "bool": bool,
    "int": int,
    "float": float,
    "round": round,
    "floor": math.floor,
    "ceil": math.ceil,
    "trunc": math.trunc,
    "hash": hash,
    "str": str,
    "repr": repr,
    "format": _text,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "divmod": divmod,
    "enter": lambda value: type(value).__enter__(value),
    "exit": lambda value, *how: type(value).__exit__(value, *how),
}
"""What may be asked of any object; attributes and calls are asked for apart."""
