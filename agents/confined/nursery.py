"""Forks the processes that will hold a candidate, before anything about the tests is known.

A process inherits the memory of the one that forked it. These are forked while the judge has read
neither code nor tests, so a candidate cannot find expected values anywhere in its own memory.
"""

from __future__ import annotations

import mmap
import os
import signal
from dataclasses import dataclass

from journeyman.agents.confined.confine import limit_cpu, limit_files
from journeyman.agents.confined.frames import Channel
from journeyman.agents.confined.request import Limits
from journeyman.agents.confined.subject import live

NUM_SPARES = 3
"""How often a candidate that ended may be started again, where tests go on after a failure."""

_MAX_LINES = 1 << 16
_MAX_DESCRIPTORS = 1024


@dataclass(frozen=True)
class Living:
    """A process for a candidate.

    Attributes:
        pid: Its number.
        channel: The conversation with it.
        cpu_seconds: CPU time after which it is ended.
    """

    pid: int
    channel: Channel
    cpu_seconds: float


class Nursery:
    """Processes that wait for a candidate to hold.

    Args:
        limits: What each of them may use.
        spares: How many to have besides the first.
        trace_lines: Have them mark the lines they run.
    """

    def __init__(self, limits: Limits, spares: int, *, trace_lines: bool) -> None:
        self._limits = limits
        self._marks = mmap.mmap(-1, _MAX_LINES) if trace_lines else None
        self._waiting: list[Living] = []
        for _ in range(spares + 1):
            self._waiting.append(self._fork())

    def take(self) -> Living | None:
        """The next process, None when all are used up."""
        return self._waiting.pop() if self._waiting else None

    def lines(self) -> set[int]:
        """Lines of the candidate that ran since `forget_lines`."""
        if self._marks is None:
            return set()
        found, number = set(), self._marks.find(b"\1")
        while number >= 0:
            found.add(number)
            number = self._marks.find(b"\1", number + 1)
        return found

    def forget_lines(self) -> None:
        """Start to count lines anew."""
        for number in self.lines():
            assert self._marks is not None
            self._marks[number] = 0

    def _fork(self) -> Living:
        from_judge, to_subject = os.pipe()
        from_subject, to_judge = os.pipe()
        pid = os.fork()
        if pid == 0:
            self._be_subject(from_judge, to_judge)
        os.close(from_judge)
        os.close(to_judge)
        return Living(pid, Channel(from_subject, to_subject), self._limits.cpu_seconds)

    def _be_subject(self, read_fd: int, write_fd: int) -> None:
        """Never returns: the child serves until the judge hangs up."""
        code = 70
        try:
            low, high = sorted((read_fd, write_fd))
            os.closerange(3, low)
            os.closerange(low + 1, high)
            os.closerange(high + 1, _MAX_DESCRIPTORS)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            limit_files(self._limits)
            limit_cpu(self._limits.cpu_seconds)
            live(Channel(read_fd, write_fd), self._marks)
            code = 0
        finally:
            os._exit(code)
