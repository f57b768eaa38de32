"""What the databases' own types leave open: times and JSON as text. Knows no table."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Dialect, Text
from sqlalchemy.types import TypeDecorator


class UtcTime(TypeDecorator[datetime]):
    """A timezone-aware datetime as text such as `2026-01-31T09:30:00.000000Z`."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        """Text of a time; naive times are refused, since their zone would be a guess."""
        del dialect
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"Time {value!r} has no time zone; pass datetime.now(UTC).")
        return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:
        """The time that the text says."""
        del dialect
        return None if value is None else datetime.fromisoformat(value)


class JsonText(TypeDecorator[Any]):
    """JSON that `payloads.encode` made, kept as text; read back as plain Python."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """The text as it is."""
        del dialect
        return value

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        """The value that the text says."""
        del dialect
        return None if value is None else json.loads(value)
