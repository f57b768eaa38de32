"""The warm process of a sandbox: forks a judge for each check, watches it and ends it.

Reads requests from standard input and writes verdicts to standard output, one frame each. A check
lives in a process namespace of its own (level 'bubblewrap'), so that ending its first process ends
all of it; the next check starts from this process as if none had been before.
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
from journeyman.agents.confined.frames import Channel, FrameError
from journeyman.agents.confined.judge import Judge
from journeyman.agents.confined.request import Limits, Request

_GRACE_SECONDS = 0.25
_WATCH_SECONDS = 0.05
_MAX_OUTPUT_SHOWN = 2000
_SLACK_BYTES = 32 * 1024 * 1024
_CHUNK_BYTES = 65536


@dataclass(frozen=True)
class Surroundings:
    """How this process is confined.

    Attributes:
        isolated: Namespaces for each check; False under the level 'process'.
        uid: The unprivileged user that checks run as; None keeps this process's.
        others: Processes outside a check that a limit on their number counts too.
        packages: Folders that imports may also come from.
    """

    isolated: bool
    uid: int | None
    others: int
    packages: list[str]


def main() -> None:
    """Serve until standard input ends."""
    surroundings = Surroundings(**json.loads(sys.argv[1]))
    sys.path.extend(surroundings.packages)
    channel = _take_over_streams()
    keeper = Keeper(surroundings)
    gc.collect()
    gc.freeze()
    channel.send({"ready": os.getpid()})
    while True:
        try:
            request = channel.receive()
        except EOFError:
            return
        limits = Limits(**request.pop("limits"))
        channel.send(keeper.check(Request(limits=limits, **request)))


class Keeper:
    """Runs checks one after the other."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self._namespaces = ProcessNamespaces() if surroundings.isolated else None

    def check(self, request: Request) -> dict[str, Any]:
        """Judge one candidate; always returns, and nothing of the check is left."""
        started = time.monotonic()
        from_judge, to_keeper = os.pipe()
        from_check, output = os.pipe()
        scratch = None if self._namespaces else Path(tempfile.mkdtemp(prefix="journeyman-"))
        if self._namespaces:
            self._namespaces.renew()
        pid = os.fork()
        if pid == 0:
            self._be_judge(request, started, to_keeper, output, scratch)
        os.close(to_keeper)
        os.close(output)
        watched = Watched(pid, from_judge, from_check, request.limits, started)
        try:
            verdict = watched.follow(self._pids if self._namespaces else None)
        finally:
            self._end(pid)
            os.close(from_judge)
            os.close(from_check)
            if scratch:
                shutil.rmtree(scratch, ignore_errors=True)
        verdict["duration_ms"] = round((time.monotonic() - started) * 1000, 3)
        return verdict

    def _be_judge(
        self, request: Request, started: float, report: int, output: int, scratch: Path | None
    ) -> None:
        """Never returns: the child shuts itself in, judges, reports and ends."""
        try:
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.dup2(report, 3)
            os.closerange(4, 256)
            set_limits(request.limits, self._surroundings.others)
            if scratch is None:
                shut_in(request.limits, self._surroundings.uid)
            else:
                os.setsid()
                os.chdir(scratch)
            hide_memory()
            deadline = started + request.limits.wall_seconds
            verdict = Judge(request, deadline).verdict()
            Channel(3, 3).send(verdict)
        except BaseException as error:  # noqa: BLE001 - the keeper must hear of it
            with contextlib.suppress(OSError, FrameError):
                Channel(3, 3).send(_trouble("killed", f"{type(error).__name__}: {error}"))
        finally:
            os._exit(0)

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
        pid: The judge.
        report_fd: Where its verdict comes from.
        output_fd: Where everything that the check prints comes from.
        limits: What it may use.
        started: When it began, on the `time.monotonic` clock.
    """

    def __init__(
        self, pid: int, report_fd: int, output_fd: int, limits: Limits, started: float
    ) -> None:
        self._pid = pid
        self._report_fd = report_fd
        self._output_fd = output_fd
        self._limits = limits
        self._deadline = started + limits.wall_seconds + _GRACE_SECONDS
        self._report = bytearray()
        self._shown = bytearray()
        self._num_output = 0

    def follow(self, pids: Any) -> dict[str, Any]:
        """Wait for the verdict, or for a limit to be passed.

        Args:
            pids: Lists the check's processes; None watches no memory.
        """
        poll = select.poll()
        poll.register(self._report_fd, select.POLLIN)
        poll.register(self._output_fd, select.POLLIN)
        look = time.monotonic() + _WATCH_SECONDS
        trouble = None
        while trouble is None:
            ready = {fd for fd, _ in poll.poll(_WATCH_SECONDS * 1000)}
            if self._output_fd in ready and not self._read_output():
                poll.unregister(self._output_fd)
            if self._report_fd in ready and not self._read_report():
                break
            trouble = self._passed_limit()
            if trouble is None and pids is not None and time.monotonic() >= look:
                look = time.monotonic() + _WATCH_SECONDS
                trouble = self._too_large(pids())
        verdict = trouble or self._read_verdict()
        verdict["output"] = bytes(self._shown).decode("utf-8", "replace")
        return verdict

    def _read_output(self) -> bool:
        chunk = os.read(self._output_fd, _CHUNK_BYTES)
        self._num_output += len(chunk)
        self._shown += chunk[: max(0, _MAX_OUTPUT_SHOWN - len(self._shown))]
        return bool(chunk)

    def _read_report(self) -> bool:
        chunk = os.read(self._report_fd, _CHUNK_BYTES)
        self._report += chunk
        return bool(chunk)

    def _passed_limit(self) -> dict[str, Any] | None:
        if self._num_output > self._limits.output_bytes:
            return _trouble("output", f"it printed more than {self._limits.output_bytes} bytes")
        if time.monotonic() > self._deadline:
            return _trouble("timeout", f"it ran longer than {self._limits.wall_seconds} s")
        return None

    def _too_large(self, pids: list[int]) -> dict[str, Any] | None:
        if resident_bytes(pids) <= self._limits.memory_bytes + _SLACK_BYTES * len(pids):
            return None
        return _trouble("memory", f"together it holds more than {self._limits.memory_bytes} bytes")

    def _read_verdict(self) -> dict[str, Any]:
        """The judge's verdict; it has ended, or closed its end."""
        try:
            verdict: dict[str, Any] = json.loads(bytes(self._report[4:]))
        except ValueError:
            return _trouble("killed", "the judging process ended without a verdict")
        return verdict


def _trouble(status: str, message: str) -> dict[str, Any]:
    detail = {"type": status, "message": message, "line": None, "source": None}
    return {"status": status, "detail": detail, "flags": [], "tests": []}


def _take_over_streams() -> Channel:
    """Move requests and verdicts off the standard streams, which checks inherit."""
    channel = Channel(os.dup(0), os.dup(1))
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    os.close(nothing)
    for text in (sys.stdout, sys.stderr):
        text.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # text streams here
    return channel
