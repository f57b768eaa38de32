"""What stands for an object that lives in another process.

Attributes, calls and operators are passed on; `peer` says how. Knows nothing of who trusts whom:
the judge's own proxies add their rules in `session`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from journeyman.agents.confined.operations import BINARY, IN_PLACE, ORDER, UNARY
from journeyman.agents.confined.peer import Peer


@dataclass(frozen=True)
class Link:
    """Where a proxy's object lives, and what is known of it."""

    peer: Peer
    number: Any
    facts: dict[str, Any] = field(default_factory=dict)


def link(proxy: Any) -> Link:
    """The link behind a proxy; not an attribute in plain view, since all those are passed on."""
    found: Link = object.__getattribute__(proxy, "_journeyman_link")
    return found


class Proxy:
    """An object of the other side."""

    __slots__ = ("_journeyman_link",)

    def __init__(self, where: Link) -> None:
        object.__setattr__(self, "_journeyman_link", where)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the object where it lives."""
        here = link(self)
        return here.peer.call(here.number, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        return link(self).peer.apply("get", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        link(self).peer.apply("set", self, name, value)

    def __delattr__(self, name: str) -> None:
        link(self).peer.apply("delete", self, name)

    def __eq__(self, other: object) -> bool:
        return self is other or bool(link(self).peer.apply("eq", self, other))

    def __hash__(self) -> int:
        return int(link(self).peer.apply("hash", self))

    def __bool__(self) -> bool:
        return bool(link(self).peer.apply("bool", self))

    def __len__(self) -> int:
        return int(link(self).peer.apply("len", self))

    def __iter__(self) -> Iterator[Any]:
        found: Iterator[Any] = link(self).peer.apply("iter", self)
        return found

    def __contains__(self, item: object) -> bool:
        return bool(link(self).peer.apply("contains", self, item))

    def __str__(self) -> str:
        return str(link(self).peer.apply("str", self))

    def __repr__(self) -> str:
        return str(link(self).peer.apply("repr", self))

    def __exit__(self, kind: object, error: object, trace: object) -> bool:
        # The exception itself stays here: its class and text are what a context manager reads.
        return bool(link(self).peer.apply("exit", self, kind, None, None))

    def __instancecheck__(self, instance: Any) -> bool:
        return isinstance(instance, Proxy) and bool(
            link(self).peer.apply("isinstance", instance, self)
        )

    def __subclasscheck__(self, kind: Any) -> bool:
        return isinstance(kind, Proxy) and bool(link(self).peer.apply("issubclass", kind, self))

    def __deepcopy__(self, memo: Any) -> Any:
        return link(self).peer.apply("deepcopy", self)


def _passed_on(name: str) -> Callable[..., Any]:
    def method(self: Proxy, *operands: Any) -> Any:
        return link(self).peer.apply(name, self, *operands)

    return method


def _reflected(name: str) -> Callable[..., Any]:
    def method(self: Proxy, other: Any) -> Any:
        return link(self).peer.apply(name, other, self)

    return method


_SINGLE = (*("next", "reversed", "int", "float", "index", "enter", "copy"), *UNARY)
_WITH_MORE = (*("getitem", "setitem", "delitem", "format", "round", "floor", "ceil", "trunc"),)

for _name in (*_SINGLE, *_WITH_MORE, *BINARY, *IN_PLACE, *ORDER, "divmod"):
    setattr(Proxy, f"__{_name}__", _passed_on(_name))
for _name in (*BINARY, "divmod"):
    setattr(Proxy, f"__r{_name}__", _reflected(_name))
