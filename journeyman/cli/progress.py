"""Progress on stderr: a bar on a terminal, now and then a plain line elsewhere."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import Self

from journeyman.cli.console import is_quiet, talk

PLAIN_SECONDS = 10.0
"""How often a log gets a line."""


class Progress:
    """Counts something of a known size; a context manager.

    Args:
        what: What is counted, e.g. `scenarios`.
        total: How many there will be; None until `update` says.
        quiet: Show nothing.
    """

    def __init__(self, what: str, total: int | None = None, *, quiet: bool = False) -> None:
        self._what = what
        self._total = total
        self._quiet = quiet or is_quiet()
        self._done = 0
        self._told = time.monotonic()
        draws = not self._quiet and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._bar = _Bar(what, total) if draws else None

    def __enter__(self) -> Self:
        """Show it."""
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take it away."""
        if self._bar is not None:
            self._bar.stop()

    def advance(self, note: str = "") -> None:
        """One more is done."""
        self.update(self._done + 1, self._total, note)

    def update(self, done: int, total: int | None, note: str = "") -> None:
        """So many are done."""
        self._done, self._total = done, total
        if self._bar is not None:
            self._bar.show(done, total, note)
        elif not self._quiet and time.monotonic() - self._told > PLAIN_SECONDS:
            self._told = time.monotonic()
            talk(f"{self._what}: {done}{f' of {total}' if total else ''} {note}".rstrip())


class _Bar:
    """rich's bar, loaded only where there is a terminal to draw on."""

    def __init__(self, what: str, total: int | None) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as RichProgress

        self._progress = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
        )
        self._task = self._progress.add_task(what, total=total, note="")

    def start(self) -> None:
        self._progress.start()

    def stop(self) -> None:
        self._progress.stop()

    def show(self, done: int, total: int | None, note: str) -> None:
        self._progress.update(self._task, completed=done, total=total, note=note)
