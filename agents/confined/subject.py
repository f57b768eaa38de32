"""The process that holds a candidate: loads it, and does with it what the judge asks.

Everything here is within the candidate's reach, so nothing here is believed: it can answer what
it likes, end when it likes and change this module as it likes. It only cannot reach the judge.
"""

from __future__ import annotations

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


def live(channel: Channel, marks: mmap | None) -> None:
    """Serve the judge until it hangs up; its first request brings the candidate.

    Args:
        channel: To the judge.
        marks: Where to mark each line that runs, one byte a line; None traces nothing.
    """
    random.seed(0)
    subject = Subject(channel, marks)
    while True:
        try:
            message = subject.receive()
        except EOFError:
            return
        subject.answer(message)


class Subject(Peer):
    """The candidate's side of the conversation."""

    is_hostile = True

    def __init__(self, channel: Channel, marks: mmap | None) -> None:
        super().__init__(channel)
        self._marks = marks
        self._named: dict[str, Any] = {}
        self._module = types.ModuleType("candidate")

    def serve(self, message: list[Any]) -> list[Any]:
        """Do whatever the judge asks."""
        verb, *details = message
        if verb == "load":
            return self._load(*details)
        if verb == "call":
            return self.serve_call(*details)
        if verb == "names":
            return [self._names(details[0])]
        if verb == "assign":
            vars(self._module)[details[0]] = self.decode(details[1])
            return [None]
        if verb == "remove":
            del vars(self._module)[details[0]]
            return [None]
        operands = [self.decode(detail) for detail in details]
        return [self.encode(_ACTIONS[verb](*operands))]

    def own(self, number: Any) -> Any:
        """The object behind a number, or the module's global of a name."""
        if not isinstance(number, str):
            return super().own(number)
        return self._named[number] if number in self._named else vars(self._module)[number]

    def recall(self, value: Any) -> dict[str, Any] | None:
        """The reference to an object that the tests handed over."""
        if isinstance(value, Proxy):
            return {"m": link(value).number}
        return super().recall(value)

    def refer(self, value: Any) -> Any:
        """A reference to an object, with what the judge has to know of it."""
        kind: Any = type(value)
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
        """A proxy for an object that the tests handed over."""
        return Proxy(Link(self, number, facts))

    def _load(self, code: str, module: str, wanted: list[str]) -> list[Any]:
        """Run the module's body; the public names it defined, and what is wanted of them."""
        source = code.splitlines(keepends=True)
        linecache.cache[CANDIDATE_FILE] = (len(code), None, source, CANDIDATE_FILE)
        compiled = compile(code, CANDIDATE_FILE, "exec", dont_inherit=True)
        self._module.__name__ = module
        sys.modules[module] = self._module
        if self._marks is not None:
            tracer = _tracer(self._marks)
            threading.settrace(tracer)
            sys.settrace(tracer)
        exec(compiled, vars(self._module))  # noqa: S102 - running the candidate is the purpose
        public = [name for name in vars(self._module) if not name.startswith("_")]
        return [public, self._names(wanted)]

    def _names(self, wanted: list[str]) -> dict[str, Any]:
        """Those of the module's globals that exist; objects are referred to by their names."""
        found = {}
        for name in wanted:
            if name not in vars(self._module):
                continue
            data = self.encode(vars(self._module)[name])
            if isinstance(data, dict) and "o" in data and data["o"][1]["kind"] != "error":
                value = vars(self._module)[name]
                if self._named.setdefault(name, value) is value:
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


def _tracer(marks: mmap) -> Callable[..., Any]:
    last = len(marks) - 1

    def local(frame: types.FrameType, event: str, _: Any) -> Callable[..., Any]:
        if event == "line":
            marks[min(frame.f_lineno, last)] = 1
        return local

    def tracer(frame: types.FrameType, _event: str, _: Any) -> Callable[..., Any] | None:
        return local if frame.f_code.co_filename == CANDIDATE_FILE else None

    return tracer


def _describe(value: Any) -> str:
    return _ADDRESS.sub("", repr(value))


def _await(awaitable: Any) -> Any:
    import asyncio  # costs more than a check; few candidates need it

    async def wait() -> Any:
        return await awaitable

    return asyncio.run(wait())


_ACTIONS: dict[str, Callable[..., Any]] = {
    **OPERATIONS,
    "get": getattr,
    "set": setattr,
    "delete": delattr,
    "isinstance": isinstance,
    "issubclass": issubclass,
    "describe": _describe,
    "await": _await,
}
