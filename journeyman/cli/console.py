"""How the command line talks: stderr for people, stdout for data, and what its exit codes mean."""

from __future__ import annotations

import json
import sys
from enum import IntEnum
from typing import Any


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
    """Say something to the person; never data."""
    sys.stderr.write(text + "\n")


def emit(value: Any) -> None:
    """Write one JSON line of data."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


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
