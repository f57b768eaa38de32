"""Which of Datasette's databases is a trace store, and who may see it.

The plugin is loaded into every Datasette of its environment: where no database is ours, nothing of
the viewer shows.
"""

from __future__ import annotations

import sqlite3
from typing import Any

try:  # Datasette 1.0 asks about resources, 0.65 about names
    from datasette.resources import DatabaseResource
except ImportError:
    DatabaseResource = None

IS_OLD_LINE = DatabaseResource is None
"""This is Datasette 0.65."""

_OURS = "SELECT value FROM schema_info WHERE key = 'app'"


async def trace_database(datasette: Any) -> Any:
    """The first database that is a trace store; None where there is none."""
    for name, database in datasette.databases.items():
        if not name.startswith("_") and await is_trace_store(database):
            return database
    return None


async def is_trace_store(database: Any) -> bool:
    """Whether the migrations of Journeyman made this database."""

    def read(connection: sqlite3.Connection) -> bool:
        try:
            row = connection.execute(_OURS).fetchone()
        except sqlite3.Error:  # no such table, no such file, no database at all
            return False
        return row is not None and row[0] == "journeyman"

    try:
        found: bool = await database.execute_fn(read)
    except sqlite3.Error:
        return False
    return found


async def may_view(datasette: Any, request: Any, database: Any) -> bool:
    """Whether Datasette's own permissions let this visitor see the database."""
    allowed: bool
    if IS_OLD_LINE:
        allowed = await datasette.permission_allowed(
            request.actor, "view-database", resource=database.name, default=True
        )
    else:
        allowed = await datasette.allowed(
            action="view-database",
            resource=DatabaseResource(database=database.name),
            actor=request.actor,
        )
    return allowed
