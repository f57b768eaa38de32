"""The warm process of a sandbox: forks a judge for each check, watches it and ends it.

Reads orders from standard input and writes what came of them to standard output. A check lives in
a process namespace of its own (level 'bubblewrap'), so that ending its first process ends all of
it; the next check starts from this process as if none had been before.

This process never holds code, tests or verdicts: the judge reads them from standard input itself,
and its report goes from file to pipe inside the kernel. What is forked from here can therefore
find nothing of other checks, nor of its own tests, in its memory.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from journeyman.agents.confined.confine import (
    ProcessNamespaces,
    hide_memory,
    resident_bytes,
    set_limits,
    shut_in,
)
from journeyman.agents.confined.frames import Channel
from journeyman.agents.confined.judge import Judge
from journeyman.agents.confined.nursery import NUM_SPARES, Nursery
from journeyman.agents.confined.request import Limits, Request

MAX_OUTPUT_SHOWN = 2000
"""Bytes of what a check printed that are handed on."""

_GRACE_SECONDS = 0.25
_WATCH_SECONDS = 0.05
_SLACK_BYTES = 32 * 1024 * 1024
_CHUNK_BYTES = 65536
_MAX_MESSAGE = 500
_REPORT_FD, _REQUEST_FD, _ALIVE_FD = 3, 4, 5

# What the judge says while it lives: that it has read its request, or why it cannot be shut in.
_READ, _BROKEN = "r", "x"


@dataclass(frozen=True)
class Surroundings:
    """How this process is confined.

    Attributes:
        isolated: Namespaces for each check; False under the level 'process'.
        switches_user: Checks run as a user of their own, which only root can give them.
        others: Processes outside a check that a limit on their number counts too.
        packages: Folders that imports may also come from.
    """

    isolated: bool
    switches_user: bool
    others: int
    packages: list[str]


@dataclass(frozen=True)
class Order:
    """What this process may know of a check; the judge reads the rest."""

    limits: Limits
    trace_lines: bool
    keep_going: bool


def main() -> None:
    """Serve until standard input ends."""
    surroundings = Surroundings(**json.loads(sys.argv[1]))
    sys.path.extend(surroundings.packages)
    channel = _take_over_streams()
    keeper = Keeper(surroundings, channel)
    gc.collect()
    gc.freeze()
    channel.send({"ready": os.getpid()})
    while True:
        try:
            order = channel.receive()
        except EOFError:
            return
        try:
            keeper.check(Order(limits=Limits(**order.pop("limits")), **order))
        except OSError as error:
            channel.send({"broken": f"the keeper could not go on: {error}"})
            return


class Keeper:
    """Runs checks one after the other.

    Args:
        surroundings: How this process is confined.
        channel: To the outside; reads no further than the frame it is asked for.
    """

    def __init__(self, surroundings: Surroundings, channel: Channel) -> None:
        self._surroundings = surroundings
        self._channel = channel
        self._namespaces = ProcessNamespaces() if surroundings.isolated else None

    def check(self, order: Order) -> None:
        """Have one candidate judged; sends what came of it, and nothing of the check is left."""
        started = time.monotonic()
        alive, held_by_judge = os.pipe()
        from_check, output = os.pipe()
        report, shown = os.memfd_create("report"), os.memfd_create("output")
        scratch = None if self._namespaces else Path(tempfile.mkdtemp(prefix="journeyman-"))
        if self._namespaces:
            self._namespaces.renew()
        pid = os.fork()
        if pid == 0:
            self._be_judge(order, started, (held_by_judge, output, report), scratch)
        os.close(held_by_judge)
        os.close(output)
        watched = Watched(order.limits, started, (alive, from_check, shown))
        try:
            wrong = watched.follow(self._pids if self._namespaces else None)
        finally:
            self._end(pid)
        duration_ms = round((time.monotonic() - started) * 1000, 3)
        outcome = {
            "trouble": wrong,
            "duration_ms": duration_ms,
            "is_in_step": watched.said == _READ,
            "broken": watched.said[1:] if watched.said.startswith(_BROKEN) else "",
        }
        self._channel.send(outcome)
        self._channel.forward(report, 0 if wrong else os.fstat(report).st_size)
        self._channel.forward(shown, min(MAX_OUTPUT_SHOWN, os.fstat(shown).st_size))
        for descriptor in (alive, from_check, report, shown):
            os.close(descriptor)
        if scratch:
            shutil.rmtree(scratch, ignore_errors=True)

    def _be_judge(
        self, order: Order, started: float, ends: tuple[int, int, int], scratch: Path | None
    ) -> None:
        """Never returns: the child shuts itself in, judges, reports and ends."""
        try:
            held, output, report = ends
            os.dup2(output, 1)
            os.dup2(output, 2)
            _arrange({report: _REPORT_FD, self._channel.read_fd: _REQUEST_FD, held: _ALIVE_FD})
            os.closerange(_ALIVE_FD + 1, 256)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a handler would let it through
            nursery = self._confine(order, scratch)
            read = Channel(_REQUEST_FD, _REQUEST_FD).receive()
            os.write(_ALIVE_FD, _READ.encode())
            request = Request(limits=Limits(**read.pop("limits")), **read)
            verdict = Judge(request, nursery, started + order.limits.wall_seconds).verdict()
            os.write(_REPORT_FD, json.dumps(verdict).encode())
        except BaseException as error:  # noqa: BLE001 - somebody must hear of it
            message = f"{type(error).__name__}: {error}"[:_MAX_MESSAGE]
            os.ftruncate(_REPORT_FD, 0)
            os.pwrite(_REPORT_FD, json.dumps(trouble("killed", message)).encode(), 0)
        finally:
            os._exit(0)

    def _confine(self, order: Order, scratch: Path | None) -> Nursery:
        """Shut this process in, and fork what will hold the candidate."""
        try:
            spares = NUM_SPARES if order.keep_going else 0
            if scratch is None:
                shut_in(order.limits, by_switching=self._surroundings.switches_user)
            else:
                os.setsid()
                os.chdir(scratch)
            set_limits(order.limits, self._surroundings.others + spares)
            hide_memory()
            return Nursery(order.limits, spares, trace_lines=order.trace_lines)
        except OSError as error:
            os.write(_ALIVE_FD, f"{_BROKEN}{error}".encode()[:_MAX_MESSAGE])
            raise

    def _end(self, pid: int) -> None:
        """End the judge and all that came of it."""
        if self._namespaces is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)

    def _pids(self) -> list[int]:
        """Processes of the check: all that this one sees but itself and the namespace's first."""
        found = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        return [pid for pid in found if pid not in {1, os.getpid()}]


class Watched:
    """A running check, seen from outside.

    Args:
        limits: What it may use.
        started: When it began, on the `time.monotonic` clock.
        descriptors: One that says when the judge has read its request and when it has ended, one
            that the check's output comes from, and a file to keep the output in.

    Attributes:
        said: What the judge has said; `_READ` where what comes next is the next order.
    """

    def __init__(self, limits: Limits, started: float, descriptors: tuple[int, int, int]) -> None:
        self._limits = limits
        self._deadline = started + limits.wall_seconds + _GRACE_SECONDS
        self._alive_fd, self._output_fd, self._shown_fd = descriptors
        self._num_output = 0
        self.said = ""

    def follow(self, pids: Callable[[], list[int]] | None) -> dict[str, Any] | None:
        """Wait until the judge has ended, or a limit is passed.

        Args:
            pids: Lists the check's processes; None watches no memory.

        Returns:
            What went wrong; None where the judge ended by itself.
        """
        poll = select.poll()
        poll.register(self._alive_fd, select.POLLIN)
        poll.register(self._output_fd, select.POLLIN)
        look = time.monotonic() + _WATCH_SECONDS
        while True:
            ready = {fd for fd, _ in poll.poll(_WATCH_SECONDS * 1000)}
            if self._output_fd in ready and not self._read_output():
                poll.unregister(self._output_fd)
            wrong = self._passed_limit()
            if wrong is None and pids is not None and time.monotonic() >= look:
                look = time.monotonic() + _WATCH_SECONDS
                wrong = self._too_large(pids())
            if wrong is not None or (self._alive_fd in ready and self._has_ended()):
                return wrong

    def _has_ended(self) -> bool:
        said = os.read(self._alive_fd, _MAX_MESSAGE)
        self.said += said.decode("utf-8", "replace")
        return not said

    def _read_output(self) -> bool:
        count = os.splice(self._output_fd, self._shown_fd, _CHUNK_BYTES)
        self._num_output += count
        return bool(count)

    def _passed_limit(self) -> dict[str, Any] | None:
        if self._num_output > self._limits.output_bytes:
            return trouble("output", f"it printed more than {self._limits.output_bytes} bytes")
        if time.monotonic() > self._deadline:
            return trouble("timeout", f"it ran longer than {self._limits.wall_seconds} s")
        return None

    def _too_large(self, pids: list[int]) -> dict[str, Any] | None:
        if resident_bytes(pids) <= self._limits.memory_bytes + _SLACK_BYTES * len(pids):
            return None
        return trouble("memory", f"together it holds more than {self._limits.memory_bytes} bytes")


def trouble(status: str, message: str) -> dict[str, Any]:
    """The verdict on a check that came to no verdict of its own."""
    detail = {"type": status, "message": message, "line": None, "source": None}
    return {"status": status, "detail": detail, "flags": [], "tests": []}


def _arrange(wanted: dict[int, int]) -> None:
    """Move descriptors to their places, none of which another of them may be lost to."""
    high = {os.dup2(old, 100 + new): new for old, new in wanted.items()}
    for old, new in high.items():
        os.dup2(old, new)


def _take_over_streams() -> Channel:
    """Move orders and reports off the standard streams, which checks inherit."""
    channel = Channel(os.dup(0), os.dup(1), read_ahead=False)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    os.close(nothing)
    for text in (sys.stdout, sys.stderr):
        text.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # text streams here
    return channel
