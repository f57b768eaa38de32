"""Content by its hash, a part at a time: one line may be megabytes long."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

MAX_CHARS = 100_000
"""Of one page: with every character escaped it still is well under a megabyte."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a payload.

    Attributes:
        content: JSON text from `offset`, at most `MAX_CHARS`.
        offset: Where it begins, in characters.
        num_chars, num_bytes: Of the whole.
        created_at: When it was first kept.
    """

    content: str
    offset: int
    num_chars: int
    num_bytes: int
    created_at: str

    @property
    def is_whole(self) -> bool:
        """Nothing is before or after it."""
        return len(self.content) == self.num_chars


def part(connection: sqlite3.Connection, hashed: str, offset: int) -> Part | None:
    """A part of a payload; None where there is no such payload."""
    row = connection.execute(
        """SELECT substr(content, :start, :size), length(content), num_bytes, created_at
        FROM payloads WHERE hash = :hash""",
        {"start": offset + 1, "size": MAX_CHARS, "hash": hashed},
    ).fetchone()
    return None if row is None else Part(row[0], offset, row[1], row[2], row[3])


def whole(connection: sqlite3.Connection, hashed: str) -> str | None:
    """A payload's JSON text; None where there is none."""
    row = connection.execute("SELECT content FROM payloads WHERE hash = ?", [hashed]).fetchone()
    return None if row is None else str(row[0])
