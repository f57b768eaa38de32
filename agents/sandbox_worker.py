"""One warm worker of a sandbox, seen from outside: starts it, asks it, ends it.

Blocking, and used by one thread at a time. A worker that does not answer in time, or ends, is
killed with all that is in it; the next check starts a fresh one.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from journeyman.agents.bubblewrap import Launch, Level, prepare, refused
from journeyman.agents.confined.frames import Channel, FrameError
from journeyman.agents.confined.keeper import trouble
from journeyman.agents.confined.request import Request
from journeyman.models.errors import SandboxUnavailable

_START_SECONDS = 30
_GRACE_SECONDS = 2.0


class SandboxWorker:
    """A process behind a wall, started when it is first asked.

    Args:
        level: 'bubblewrap' or 'process'.
        packages: Folders of installed packages that candidates may import.
    """

    def __init__(self, level: Level, packages: tuple[Path, ...]) -> None:
        self._level = level
        self._packages = packages
        self._launch: Launch | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None

    def check(self, request: Request) -> dict[str, Any]:
        """Have one candidate judged.

        Args:
            request: The candidate and its tests; the worker is given a little more than the
                wall time that the request allows.

        Returns:
            The keeper's verdict, or one made here where the worker failed.

        Raises:
            SandboxUnavailable: A worker cannot be started, or cannot shut a check in.
        """
        channel = self.start()
        wall_seconds = request.limits.wall_seconds
        deadline = time.monotonic() + wall_seconds + _GRACE_SECONDS
        try:
            channel.send(
                {
                    "limits": asdict(request.limits),
                    "trace_lines": request.trace_lines,
                    "keep_going": request.keep_going,
                }
            )
            channel.send(asdict(request))
            outcome = channel.receive(deadline)
            if outcome["broken"]:
                self.stop()
                raise refused(outcome["broken"])
            report = channel.receive_bytes(deadline)
            output = channel.receive_bytes(deadline)
        except TimeoutError:
            self.stop()
            verdict = trouble("timeout", f"the sandbox did not answer within {wall_seconds} s")
            return {**verdict, "output": "", "duration_ms": wall_seconds * 1000}
        except (EOFError, OSError, FrameError):
            self.stop()
            verdict = trouble("killed", "the sandbox ended during the check")
            return {**verdict, "output": "", "duration_ms": 0.0}
        if not outcome["is_in_step"]:
            self.stop()  # the next judge would read this one's request
        verdict = outcome["trouble"] or _read_report(report)
        shown = output.decode("utf-8", "replace")
        return {**verdict, "output": shown, "duration_ms": outcome["duration_ms"]}

    def start(self) -> Channel:
        """Start the worker unless it runs.

        Raises:
            SandboxUnavailable: It cannot be started here.
        """
        if self._channel is not None:
            return self._channel
        scratch = None
        if self._level == "process":
            scratch = Path(tempfile.mkdtemp(prefix="journeyman-sandbox-"))
        self._launch = prepare(self._level, self._packages, scratch)
        process = subprocess.Popen(  # noqa: S603 - the command is ours; only data goes in
            self._launch.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=self._launch.descriptors,
            start_new_session=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        channel = Channel(process.stdout.fileno(), process.stdin.fileno())
        try:
            channel.receive(time.monotonic() + _START_SECONDS)
        except (EOFError, TimeoutError, FrameError) as error:
            raise self._failed() from error
        self._channel = channel
        return channel

    def kill(self) -> None:
        """End the worker from another thread; whoever is asking it is told that it ended."""
        process = self._process
        if process is not None:
            process.kill()

    def stop(self) -> None:
        """End the worker and everything in it."""
        process, self._process, self._channel = self._process, None, None
        if process is not None:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()
        launch, self._launch = self._launch, None
        if launch is not None:
            launch.release()

    def _failed(self) -> SandboxUnavailable:
        process = self._process
        assert process is not None
        process.kill()
        assert process.stderr is not None
        os.set_blocking(process.stderr.fileno(), False)  # a grandchild may hold it open
        said = (process.stderr.read() or b"").decode("utf-8", "replace")
        self.stop()
        return refused(said)


def _read_report(report: bytes) -> dict[str, Any]:
    try:
        verdict: dict[str, Any] = json.loads(report)
    except ValueError:
        return trouble("killed", "the judging process ended without a verdict")
    return verdict
