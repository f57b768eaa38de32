"""Keeping content under its own hash, as a step of somebody's transaction. Knows no other table."""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

from journeyman.traces.payloads import digest
from journeyman.traces.schema import Payload

_PAYLOADS = cast("Table", Payload.__table__)


def keep(connection: Connection, text: str, moment: datetime) -> str:
    """Keep a text, which may be there already, also by another process at this very moment.

    Args:
        connection: In a write transaction.
        text: What `payloads.encode` made.
        moment: When; that of the first time stays.

    Returns:
        Its hash.
    """
    is_postgres = connection.dialect.name == "postgresql"
    statement: Any = (postgresql.insert if is_postgres else sqlite.insert)(_PAYLOADS)
    hashed = digest(text)
    values = {
        "hash": hashed,
        "content": text,
        "num_bytes": len(text.encode()),
        "created_at": moment,
    }
    connection.execute(statement.values(values).on_conflict_do_nothing())
    return hashed
