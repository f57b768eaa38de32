"""How the command line talks: stderr for people, stdout for data, and what its exit codes mean."""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from enum import IntEnum
from typing import Any, TextIO

_LEVEL: ContextVar[int] = ContextVar("journeyman_level", default=0)
"""How much is said: -1 data and errors, 0 as usual, 1 and 2 log lines too."""


class ExitCode(IntEnum):
    """Exit codes of every command."""

    PASSED = 0
    FAILED = 1
    USAGE = 2
    ERROR = 3
    LIMIT = 4
    NOTHING = 5
    INTERRUPTED = 130


def talk(text: str = "") -> None:
    """Say something to the person, unless quiet was asked for; never data."""
    if not is_quiet():
        sys.stderr.write(text + "\n")


def complain(text: str) -> None:
    """Say what went wrong, quiet or not."""
    sys.stderr.write(text + "\n")


def is_quiet() -> bool:
    """Nothing but data and errors was asked for."""
    return _LEVEL.get() < 0


@contextmanager
def voice(level: int) -> Iterator[None]:
    """Say so much: -1 data and errors, 1 log lines and where an error is from, 2 all log lines."""
    token = _LEVEL.set(level)
    logger, handler = logging.getLogger("journeyman"), logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    before = logger.level
    if level > 0:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO if level == 1 else logging.DEBUG)
    try:
        yield
    except Exception as error:
        from journeyman.models.errors import JourneymanError

        # Any other error keeps its traceback anyway.
        if level > 0 and isinstance(error, JourneymanError):
            traceback.print_exc(file=sys.stderr)
        raise
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
        _LEVEL.reset(token)


@contextmanager
def environment(given: Mapping[str, str]) -> Iterator[None]:
    """Environment variables that hold for one command, and for the processes that it starts."""
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def emit(value: Any, out: TextIO | None = None) -> None:
    """Write one JSON line of data: to standard output, or to what `data_only` gave."""
    stream = sys.stdout if out is None else out
    stream.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")
    stream.flush()


@contextmanager
def data_only(*, wanted: bool = True) -> Iterator[TextIO]:
    """Standard output for our data alone: whatever else is printed inside goes to stderr.

    That holds for Python's `print` and for what libraries and child processes write to the
    descriptor itself. Where it is not wanted, standard output stays everyone's.
    """
    if not wanted:
        yield sys.stdout
        return
    sys.stdout.flush()
    ours = sys.stdout
    try:
        descriptor: int | None = ours.fileno()
    except (OSError, ValueError):  # replaced by something in memory, as tests do
        descriptor = None
    if descriptor is None:
        with redirect_stdout(sys.stderr):
            yield ours
        return
    kept = os.dup(descriptor)
    os.dup2(sys.stderr.fileno(), descriptor)
    try:
        with (
            open(kept, "w", encoding="utf-8", closefd=False) as data,
            redirect_stdout(sys.stderr),
        ):
            yield data
    finally:
        ours.flush()
        os.dup2(kept, descriptor)
        os.close(kept)


def say(text: str = "") -> None:
    """Write one line of data for people to read or pipe."""
    sys.stdout.write(text + "\n")


def money(microusd: int | None) -> str:
    """Micro-USD as dollars; an unknown price is no price."""
    return "unknown" if microusd is None else f"${microusd / 1e6:.4f}"


def table(headers: list[str], rows: list[list[str]], *, right: frozenset[int] = frozenset()) -> str:
    """Aligned columns as plain text; `right` names the columns that hold numbers."""
    cells = [headers, *rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(headers))]

    def line(row: list[str]) -> str:
        padded = (
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return "  ".join(padded).rstrip()

    rule = "  ".join("-" * width for width in widths)
    return "\n".join([line(headers), rule, *map(line, rows)])
