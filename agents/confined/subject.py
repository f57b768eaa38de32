"""The process that holds a candidate: loads it, and does with it what the judge asks.

Everything here is within the candidate's reach, so nothing here is believed: it can answer what
it likes, end when it likes and change this module as it likes. It only cannot reach the judge.
"""

from __future__ import annotations

import asyncio
import inspect
import linecache
import random
import re
import sys
import threading
import types
from collections.abc import Callable
from mmap import mmap
from typing import Any

from journeyman.agents.confined.frames import Channel
from journeyman.agents.confined.operations import OPERATIONS
from journeyman.agents.confined.peer import CANDIDATE_FILE, Peer
from journeyman.agents.confined.proxy import Link, Proxy, link
from journeyman.agents.confined.wire import plain_base

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def live(channel: Channel, code: str, module: str, lines: mmap | None) -> None:
    """Load the candidate, say how that went, and serve the judge until it hangs up.

    Args:
        channel: To the judge.
        code: The candidate's source.
        module: Name of the module that it becomes.
        lines: Where to mark each line that runs, one byte a line; None traces nothing.
    """
    random.seed(0)
    subject = Subject(channel, module)
    subject.answer(["load", code, lines])
    while True:
        try:
            message = subject.receive()
        except EOFError:
            return
        subject.answer(message)


class Subject(Peer):
    """The candidate's side of the conversation."""

    is_hostile = True

    def __init__(self, channel: Channel, module: str) -> None:
        super().__init__(channel)
        self._module = types.ModuleType(module)

    def serve(self, message: list[Any]) -> list[Any]:
        verb, *details = message
        if verb == "load":
            return self._load(*details)
        if verb == "call":
            return self.serve_call(*details)
        if verb == "names":
            return [self._names(details[0])]
        operands = [self.decode(detail) for detail in details]
        return [self.encode(_ACTIONS[verb](*operands))]

    def own(self, number: Any) -> Any:
        return vars(self._module)[number] if isinstance(number, str) else super().own(number)

    def recall(self, value: Any) -> dict[str, Any] | None:
        if isinstance(value, Proxy):
            return {"m": link(value).number}
        return super().recall(value)

    def refer(self, value: Any) -> Any:
        kind = type(value)
        if isinstance(value, type) and issubclass(value, BaseException):
            return {"o": [self.number(value), self.error_facts(value)]}
        facts = {
            "kind": _kind(value),
            "name": value.__name__ if isinstance(value, type) else kind.__name__,
            "base": [self.encode(base) for base in plain_base(value)],
            "equality": kind.__eq__ is not object.__eq__,
        }
        return {"o": [self.number(value), facts]}

    def stand_in(self, number: Any, facts: dict[str, Any]) -> Any:
        return Proxy(Link(self, number, facts))

    def _load(self, code: str, lines: mmap | None) -> list[Any]:
        """Run the module's body; the public names it defined."""
        source = code.splitlines(keepends=True)
        linecache.cache[CANDIDATE_FILE] = (len(code), None, source, CANDIDATE_FILE)
        compiled = compile(code, CANDIDATE_FILE, "exec", dont_inherit=True)
        sys.modules[self._module.__name__] = self._module
        if lines is not None:
            tracer = _tracer(lines)
            threading.settrace(tracer)
            sys.settrace(tracer)
        exec(compiled, vars(self._module))  # noqa: S102 - running the candidate is the purpose
        return [[name for name in vars(self._module) if not name.startswith("_")]]

    def _names(self, wanted: list[str]) -> dict[str, Any]:
        """Those of the module's globals that exist; objects are referred to by their names."""
        found = {}
        for name in wanted:
            if name not in vars(self._module):
                continue
            data = self.encode(vars(self._module)[name])
            if isinstance(data, dict) and "o" in data and data["o"][1]["kind"] != "error":
                data["o"][0] = name
            found[name] = data
        return found


def _kind(value: Any) -> str:
    if isinstance(value, type):
        return "class"
    if inspect.iscoroutine(value):
        return "coroutine"
    if inspect.isgenerator(value):
        return "generator"
    return "iterator" if hasattr(type(value), "__next__") else "object"


def _tracer(lines: mmap) -> Callable[..., Any]:
    last = len(lines) - 1

    def local(frame: types.FrameType, event: str, _: Any) -> Callable[..., Any]:
        if event == "line":
            lines[min(frame.f_lineno, last)] = 1
        return local

    def tracer(frame: types.FrameType, _event: str, _: Any) -> Callable[..., Any] | None:
        return local if frame.f_code.co_filename == CANDIDATE_FILE else None

    return tracer


def _describe(value: Any) -> str:
    return _ADDRESS.sub("", repr(value))


async def _wait_for(awaitable: Any) -> Any:
    return await awaitable


_ACTIONS: dict[str, Callable[..., Any]] = {
    **OPERATIONS,
    "get": getattr,
    "set": setattr,
    "delete": delattr,
    "isinstance": isinstance,
    "issubclass": issubclass,
    "describe": _describe,
    "await": lambda value: asyncio.run(_wait_for(value)),
}
