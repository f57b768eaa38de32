"""One of two processes that call each other's objects over a channel, in turn.

While one side waits for an answer it serves the other's requests, so a candidate may call back a
function that a test handed to it. Exceptions travel by class: builtin ones as themselves, a
candidate's own as a mirror class of the same name and bases.
"""

from __future__ import annotations

import traceback
from abc import abstractmethod
from typing import Any

from journeyman.agents.confined.frames import Channel
from journeyman.agents.confined.wire import Codec, WireError

CANDIDATE_FILE = "<candidate>"
"""File name that the candidate's code is compiled under."""

_MUTABLE = {list, dict, set, bytearray}
_NUMBER = "_journeyman_number"
_MAX_TEXT = 500


class Peer(Codec):
    """Keeps this side's objects by number, and the other side's as stand-ins.

    Args:
        channel: The conversation with the other side.
    """

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._objects: dict[int, Any] = {}
        self._numbers: dict[int, int] = {}
        self._adopted: dict[Any, Any] = {}

    # Asking.

    def call(self, number: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call an object of the other side; containers it changes are changed here too."""
        encoded = [self.encode(arg) for arg in args]
        named = {name: self.encode(arg) for name, arg in kwargs.items()}
        answer = self.ask("call", number, encoded, named)
        given = [*args, *kwargs.values()]
        try:
            value, changed, same = answer
            for index, data in changed:
                _refill(given[index], self.decode(data))
            return self.decode(value) if same is None else given[same]
        except (TypeError, ValueError, IndexError) as error:
            raise WireError("An answer to a call that is none.") from error

    def apply(self, operation: str, *operands: Any) -> Any:
        """Do one of `OPERATIONS`, or get, set or delete an attribute, on the other side."""
        return self.decode(self.ask(operation, *map(self.encode, operands))[0])

    def ask(self, verb: str, *details: Any) -> list[Any]:
        """Send a request and serve the other side until its answer comes.

        Raises:
            BaseException: Whatever the other side raised.
        """
        self.channel.send([verb, *details])
        return self.wait()

    def wait(self) -> list[Any]:
        """Serve the other side until an answer comes; see `ask`."""
        while True:
            message = self.receive()
            if message[0] == "ok":
                return list(message[1:])
            if message[0] == "raise":
                raise self.decode_error(message[1])
            self.answer(message)

    def answer(self, message: list[Any]) -> None:
        """Serve one request and send what came of it."""
        try:
            reply = ["ok", *self.serve(message)]
        except BaseException as error:  # noqa: BLE001 - it is raised on the side that asked
            reply = ["raise", self.encode_error(error)]
        self.channel.send(reply)

    def receive(self) -> list[Any]:
        """The next message.

        Raises:
            WireError: It has not the shape of one.
        """
        message = self.channel.receive()
        if type(message) is not list or not message:
            raise WireError("A message that is no list.")
        return message

    @abstractmethod
    def serve(self, message: list[Any]) -> list[Any]:
        """Do what the other side asks; the parts of the answer."""

    def serve_call(self, number: Any, encoded: list[Any], named: dict[str, Any]) -> list[Any]:
        """Call one of this side's objects for the other side."""
        args = [self.decode(arg) for arg in encoded]
        kwargs = {name: self.decode(arg) for name, arg in named.items()}
        value = self.own(number)(*args, **kwargs)
        given = [*args, *kwargs.values()]
        changed, same = [], None
        for index, before in enumerate([*encoded, *named.values()]):
            if type(given[index]) in _MUTABLE:
                same = index if given[index] is value else same
                after = self.encode(given[index])
                if after != before:
                    changed.append([index, after])
        return [None if same is not None else self.encode(value), changed, same]

    # Objects.

    def number(self, value: Any) -> int:
        """The number by which the other side knows an object of this side."""
        found = self._numbers.get(id(value))
        if found is None:
            found = self._numbers[id(value)] = len(self._objects) + 1
            self._objects[found] = value
        return found

    def own(self, number: Any) -> Any:
        """The object of this side behind a number."""
        return self._objects[number]

    def recall(self, value: Any) -> dict[str, Any] | None:
        """The reference by which the other side knows its own class again, from its mirror."""
        kept = vars(value).get(_NUMBER) if isinstance(value, type) else None
        return None if kept is None else {"m": kept}

    def adopt(self, number: Any, facts: dict[str, Any]) -> Any:
        """The one stand-in for an object of the other side."""
        if number not in self._adopted:
            make = self.mirror if facts["kind"] == "error" else self.stand_in
            self._adopted[number] = make(number, facts)
        return self._adopted[number]

    @abstractmethod
    def stand_in(self, number: Any, facts: dict[str, Any]) -> Any:
        """A proxy for an object of the other side."""

    # Exceptions.

    def error_facts(self, kind: type[BaseException]) -> dict[str, Any]:
        """What the other side needs to make a mirror of an exception class."""
        bases = [base for base in kind.__bases__ if issubclass(base, BaseException)]
        return {"kind": "error", "name": kind.__name__, "bases": self.encode(bases)}

    def mirror(self, number: Any, facts: dict[str, Any]) -> type[BaseException]:
        """A class that stands for an exception class of the other side."""
        bases = tuple(self.decode(facts["bases"]))
        if not bases or not all(_is_error(base) for base in bases):
            raise WireError("An exception class that is none.")
        return type(str(facts["name"]), bases, {_NUMBER: number, "__module__": "candidate"})

    def encode_error(self, error: BaseException) -> dict[str, Any]:
        """An exception for the other side, with the last candidate's line it passed through."""
        try:
            text = str(error)[:_MAX_TEXT]
        except Exception:  # noqa: BLE001 - a candidate's __str__ may raise anything
            text = ""
        state = {k: self.encode(v) for k, v in vars(error).items() if not k.startswith("_")}
        return {
            "type": self.encode(type(error)),
            "args": self.encode(list(error.args)),
            "text": text,
            "state": state,
            "where": last_line(error),
        }

    def decode_error(self, data: dict[str, Any]) -> BaseException:
        """The exception that the other side raised, ready to be raised here."""
        try:
            kind, args = self.decode(data["type"]), self.decode(data["args"])
            if not _is_error(kind):
                raise WireError("Something was raised that is no exception.")
            error = _construct(kind, args, str(data["text"]))
            for name, value in data["state"].items():
                if not name.startswith("_"):
                    setattr(error, name, self.decode(value))
            error.__dict__["_journeyman_where"] = _place(data["where"])
        except (KeyError, TypeError, AttributeError) as wrong:
            raise WireError("An exception that cannot be read.") from wrong
        return error


def last_line(error: BaseException) -> list[Any] | None:
    """Line number and text of the candidate's last line in a traceback; None if it has none."""
    carried = error.__dict__.get("_journeyman_where")
    if carried is not None:
        return list(carried)
    if isinstance(error, SyntaxError) and error.filename == CANDIDATE_FILE:
        return [error.lineno, (error.text or "").strip()[:_MAX_TEXT]]
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == CANDIDATE_FILE]
    return [own[-1].lineno, (own[-1].line or "")[:_MAX_TEXT]] if own else None


def _place(where: Any) -> list[Any] | None:
    """A line number and its text, as `last_line` gives them."""
    if type(where) is list and list(map(type, where)) == [int, str]:
        return where
    return None


def _is_error(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseException)


def _construct(kind: type[BaseException], args: list[Any], text: str) -> BaseException:
    for given in (args, [text], []):
        try:
            return kind(*given)
        except Exception:  # noqa: BLE001, S112 - constructors differ; the next form may fit
            continue
    return RuntimeError(text)


def _refill(container: Any, content: Any) -> None:
    """Give a container the content that it has on the other side, keeping its identity."""
    if type(container) is not type(content) or type(container) not in _MUTABLE:
        raise WireError("An argument became something else.")
    if isinstance(container, list | bytearray):
        container[:] = content
        return
    container.clear()
    container.update(content)
