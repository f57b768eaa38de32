"""The judge's side of the conversation with the process that holds a candidate.

Tests run here, against proxies; only plain copies of what the candidate returns enter this
process. An expected value therefore meets a plain value under this process's own operators, and a
candidate cannot make `==` mean something else, except for objects of a class that the tests name.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Collection, Generator
from types import ModuleType
from typing import Any

from journeyman.agents.confined.frames import FrameError
from journeyman.agents.confined.nursery import Living
from journeyman.agents.confined.operations import BINARY, OPERATIONS, ORDER
from journeyman.agents.confined.peer import Peer
from journeyman.agents.confined.proxy import Link, Proxy, link
from journeyman.agents.confined.wire import WireError

TESTS_MODULE = "candidate_tests"
"""Name of the module that tests run as."""

_LAST_WORDS_SECONDS = 0.1
_CRASHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL}
_NUM_PROBES = 3


class SubjectGone(BaseException):
    """The candidate's process has ended or was ended; no `except Exception` of a test hides it.

    Attributes:
        status: A status of `sandbox.Verdict`.
    """

    def __init__(self, status: str, text: str) -> None:
        super().__init__(text)
        self.status = status


class Session(Peer):
    """Asks a candidate's process, within a deadline.

    Args:
        living: The process.
        identifiers: Every name and attribute that the tests mention.
        flags: Where to note what looks like an attempt to deceive.
    """

    is_hostile = False

    def __init__(self, living: Living, identifiers: Collection[str], flags: set[str]) -> None:
        super().__init__(living.channel)
        self.deadline = 0.0
        self.gone: SubjectGone | None = None
        self.returned: list[Any] = []
        self.flags = flags
        self._living = living
        self._identifiers = identifiers
        self._lent: dict[int, str] = {}

    # Asking.

    def call(self, number: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call an object of the candidate and keep what it returned for messages."""
        try:
            value = super().call(number, args, kwargs)
        except WireError as error:
            raise self.end("crashed", f"the answer cannot be read: {error}") from error

        self.returned = [value]
        return value

    def apply(self, operation: str, *operands: Any) -> Any:
        """Do one thing to an object of the candidate."""
        try:
            return super().apply(operation, *operands)
        except WireError as error:
            raise self.end("crashed", f"the answer cannot be read: {error}") from error

    def ask(self, verb: str, *details: Any) -> list[Any]:
        """Send a request and wait; SubjectGone if the candidate is or has gone."""
        self._send([verb, *details])
        return self.wait()

    def wait(self) -> list[Any]:
        """Wait for an answer; what cannot be read ends the candidate."""
        try:
            return super().wait()
        except WireError as error:
            raise self.end("crashed", f"the answer cannot be read: {error}") from error

    def receive(self) -> list[Any]:
        """The next message, within the deadline."""
        try:
            message = self.channel.receive(self.deadline)
        except TimeoutError:
            raise self.end("timeout", "no answer in time") from None
        except EOFError:
            raise self._ended() from None
        except FrameError as error:
            raise self.end("crashed", str(error)) from error
        if type(message) is not list or len(message) < 2:
            raise self.end("crashed", "a message that is none")
        return message

    def fetch(self, names: list[str]) -> dict[str, Any]:
        """The candidate's globals of these names, as far as there are any."""
        return self._read_names(self.ask("names", names)[0])

    def load(self, code: str, module: str, wanted: list[str]) -> tuple[list[str], dict[str, Any]]:
        """Have the process load a candidate.

        Args:
            code: Its source.
            module: Name of the module that it becomes.
            wanted: Names to tell of at once.

        Returns:
            Its public names, and what was wanted of them.
        """
        answer = self.ask("load", code, module, wanted)
        return [str(name) for name in answer[0] or ()], self._read_names(answer[-1])

    def _read_names(self, found: Any) -> dict[str, Any]:
        try:
            return {str(name): self.decode(data) for name, data in found.items()}
        except (WireError, AttributeError) as error:
            raise self.end("crashed", f"the globals cannot be read: {error}") from error

    def revive(self, living: Living) -> None:
        """Go on with a fresh process; only what is known by name is found again in it."""
        self.gone, self._living, self.channel = None, living, living.channel
        self._adopted = {key: kept for key, kept in self._adopted.items() if type(key) is str}

    def end(self, status: str, text: str) -> SubjectGone:
        """End the process and remember why."""
        if self.gone is None:
            self.gone = SubjectGone(status, text)
            _kill(self._living.pid)
        return self.gone

    # Serving: only what a test handed over on purpose.

    def answer(self, message: list[Any]) -> None:
        """Serve one request of the candidate."""
        try:
            reply = ["ok", *self.serve(message)]
        except SubjectGone:
            raise
        except BaseException as error:  # noqa: BLE001 - the candidate called, so it gets it
            reply = ["raise", self.encode_error(error)]
        self._send(reply)

    def serve(self, message: list[Any]) -> list[Any]:
        """Do what the candidate asks of an object that it was handed."""
        verb, target, *rest = message
        if verb == "call":
            if target not in self._lent:
                raise TypeError("not an object of the tests")
            return self.serve_call(target, *rest)
        value, operands = self.decode(target), [self.decode(detail) for detail in rest]
        kind = self._lent.get(self._numbers.get(id(value), 0))
        if verb in {"next", "iter"} and kind == "iterator":
            return [self.encode(OPERATIONS[verb](value))]
        if kind != "object":
            raise TypeError(f"{type(value).__name__!r} objects of the tests do not do this")
        return [self.encode(_do_plainly(verb, value, operands))]

    def refer(self, value: Any) -> Any:
        """A reference to an object of the tests, and leave to use it."""
        number = self.number(value)
        if isinstance(value, type) and issubclass(value, BaseException):
            self._lent[number] = "callable"
            return {"o": [number, self.error_facts(value)]}
        home = type(value).__module__
        if hasattr(type(value), "__next__"):
            self._lent[number] = "iterator"
        elif home == TESTS_MODULE or home.startswith("unittest.mock"):
            self._lent[number] = "object"
        else:
            self._lent[number] = "callable"
        return {"o": [number, {"kind": self._lent[number], "name": type(value).__name__}]}

    def recall(self, value: Any) -> dict[str, Any] | None:
        """The reference to an object of the candidate."""
        if isinstance(value, Proxy):
            return {"m": link(value).number}
        return super().recall(value)

    # What the candidate's objects are here.

    def stand_in(self, number: Any, facts: dict[str, Any]) -> Any:
        """A proxy for an object of the candidate; generators and coroutines become real ones."""
        known = {
            "name": str(facts["name"]),
            "equality": bool(facts["equality"]),
            "base": [self.decode(base) for base in facts["base"]],
        }
        remote = Remote(Link(self, number, known))
        if facts["kind"] == "generator":
            return _pulled(remote)
        return self._awaited(remote) if facts["kind"] == "coroutine" else remote

    def names_class(self, facts: dict[str, Any]) -> bool:
        """Whether the tests mention the class that the candidate says an object has."""
        return facts["name"] in self._identifiers

    def claims_equal(self, remote: Remote, other: Any) -> bool:
        """Ask an object whether it equals a plain value, among values that it cannot equal."""
        facts = link(remote).facts
        if not facts["equality"]:
            return False
        self.flags.add("own_equality")
        if not self.names_class(facts):
            return False
        asked = [(True, other), *((False, _unlike(other)) for _ in range(_NUM_PROBES))]
        random.SystemRandom().shuffle(asked)
        answers = [(real, bool(self.apply("eq", remote, value))) for real, value in asked]
        if any(answer for real, answer in answers if not real):
            self.flags.add("forged_equality")
            return False
        return any(answer for real, answer in answers if real)

    def _send(self, message: list[Any]) -> None:
        if self.gone is not None:
            raise self.gone
        try:
            self.channel.send(message)
        except BrokenPipeError:
            raise self._ended() from None

    async def _awaited(self, remote: Remote) -> Any:
        return self.apply("await", remote)

    def _ended(self) -> SubjectGone:
        """Say how the process ended; it has closed its end of the conversation."""
        if self.gone is None:
            found = _last_words(self._living.pid)
            if found is None:
                return self.end("crashed", "it closed its end of the conversation")
            self.gone = SubjectGone(*_read_end(*found, self._living.cpu_seconds))
        return self.gone


class Remote(Proxy):
    """A candidate's object, as the tests see it."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        here = link(self)
        assert isinstance(here.peer, Session)
        if self is other or isinstance(other, Proxy):
            if self is not other and here.facts["equality"]:
                here.peer.flags.add("own_equality")
            return super().__eq__(other)
        if here.facts["base"]:
            return bool(here.facts["base"][0] == other)
        return here.peer.claims_equal(self, other)

    __hash__ = Proxy.__hash__

    @property  # type: ignore[misc]  # isinstance() reads it where the class itself is no proof
    def __class__(self) -> type:
        base = link(self).facts["base"]
        return type(base[0]) if base else Remote

    def _meet(self, operation: str, first: Any, second: Any) -> Any:
        """An operator between this object and another value."""
        here = link(self)
        other = second if first is self else first
        assert isinstance(here.peer, Session)
        if isinstance(other, Proxy) or here.peer.names_class(here.facts):
            here.peer.flags.add("own_operators")
            return here.peer.apply(operation, first, second)
        if here.facts["base"]:
            plain = [
                here.facts["base"][0] if operand is self else operand for operand in (first, second)
            ]
            return OPERATIONS[operation](*plain)
        here.peer.flags.add("own_operators")
        return NotImplemented


# isinstance() and help() read these off the class; a candidate's own are a call away.
setattr(Remote, "__doc__", property(lambda self: self.__getattr__("__doc__")))  # noqa: B010


def _meeting(name: str, *, reflected: bool = False) -> Any:
    def method(self: Remote, other: Any) -> Any:
        pair = (other, self) if reflected else (self, other)
        return self._meet(name, *pair)

    return method


for _name in (*BINARY, *ORDER, "divmod"):
    setattr(Remote, f"__{_name}__", _meeting(_name))
for _name in (*BINARY, "divmod"):
    setattr(Remote, f"__r{_name}__", _meeting(_name, reflected=True))


class RemoteModule(ModuleType):
    """The candidate as a module that tests may import."""

    def __init__(self, name: str, session: Session, public: list[str]) -> None:
        super().__init__(name)
        self.__dict__.update(_journeyman_session=session, __all__=public)

    def __getattr__(self, name: str) -> Any:
        found = self.__dict__["_journeyman_session"].fetch([name])
        if name not in found:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return found[name]

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("__"):
            super().__setattr__(name, value)
        else:
            session = self.__dict__["_journeyman_session"]
            session.ask("assign", name, session.encode(value))

    def __delattr__(self, name: str) -> None:
        self.__dict__["_journeyman_session"].ask("remove", name)


def _pulled(remote: Remote) -> Generator[Any, None, Any]:
    while True:
        try:
            item = next(remote)
        except StopIteration as end:
            return end.value
        yield item


def _do_plainly(verb: str, value: Any, operands: list[Any]) -> Any:
    """Attributes without leading underscore, and operators, of an object that a test made."""
    if verb in OPERATIONS:
        return OPERATIONS[verb](value, *operands)
    name = operands[0]
    if not isinstance(name, str) or name.startswith("_"):
        raise AttributeError("private attributes of the tests' objects stay private")
    if verb == "get":
        return getattr(value, name)
    if verb == "set":
        return setattr(value, name, operands[1])
    raise TypeError(f"the tests' objects do not do {verb!r}")


def _unlike(value: Any) -> Any:
    """A value of the same look that nothing honest equals."""
    noise = random.SystemRandom().randrange(1 << 40, 1 << 48)
    if isinstance(value, bool) or value is None:
        return noise
    if isinstance(value, int | float):
        return value + noise
    if isinstance(value, str):
        return f"{value}{noise}"
    return [noise]


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        return


def _last_words(pid: int) -> tuple[int, float] | None:
    """Wait status and CPU seconds of a process that is about to end, None if it does not."""
    deadline = time.monotonic() + _LAST_WORDS_SECONDS
    while time.monotonic() < deadline:
        found, status, usage = os.wait4(pid, os.WNOHANG)
        if found:
            return status, usage.ru_utime + usage.ru_stime
        time.sleep(0.001)
    return None


def _read_end(status: int, used_seconds: float, cpu_seconds: float) -> tuple[str, str]:
    """Status and words for how a candidate's process ended."""
    if os.WIFEXITED(status):
        return "early_exit", f"it ended with exit code {os.WEXITSTATUS(status)}"
    number = os.WTERMSIG(status)
    spent = number == signal.SIGKILL and used_seconds >= cpu_seconds
    if spent or number in {signal.SIGXCPU, signal.SIGPROF}:
        return "timeout", f"it used {used_seconds:.1f} s of CPU time"
    return "crashed" if number in _CRASHES else "killed", f"it was ended by signal {number}"
