"""Brings a trace database to the schema that this code expects.

Alembic is imported only when there is something to migrate: opening a current store stays quick.
Whoever comes first migrates; others wait for the same lock and then find nothing to do.
"""

from __future__ import annotations

import threading
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.engine import URL

from journeyman.models.errors import SchemaTooNew, TraceError
from journeyman.traces.engine import WRITE, describe, retry, sqlite_path
from journeyman.traces.schema import SCHEMA_HEAD, VERSION_TABLE

SCRIPTS = Path(__file__).parent / "migrations"

_ADVISORY_LOCK = 0x6A6F7572  # any number that no other application is likely to lock

_alembic = threading.Lock()
"""Alembic keeps the running migration in module globals: one thread at a time."""


def current_version(connection: Connection, url: URL) -> str | None:
    """The migration that a database is at; None for an empty one.

    Raises:
        TraceError: The database belongs to another application.
    """
    tables = inspect(connection).get_table_names()
    if VERSION_TABLE in tables and "schema_info" in tables:
        app = connection.scalar(text("SELECT value FROM schema_info WHERE key = 'app'"))
        if app == "journeyman":
            query = text(f"SELECT version_num FROM {VERSION_TABLE}")  # noqa: S608  # a constant
            version: str | None = connection.scalar(query)
            return version
    # A PostgreSQL database may hold other tables beside ours; a file of its own may not.
    if tables and connection.dialect.name == "sqlite":
        raise TraceError(
            f"Database {describe(url)} belongs to another application (it has a table "
            f"{tables[0]!r}): give the trace store a file of its own.",
            path=sqlite_path(url),
        )
    return None


def upgrade(engine: Engine, url: URL, *, busy_seconds: float) -> None:
    """Migrate to `SCHEMA_HEAD` in one transaction; does nothing to a current database.

    Raises:
        SchemaTooNew: The database was written by a newer Journeyman.
        TraceError: The database is not ours, busy, or cannot be written.
    """

    def work() -> None:
        with engine.connect().execution_options(**{WRITE: True}) as connection:
            _upgrade(connection, url)

    if not is_current(engine, url, busy_seconds=busy_seconds):
        retry(work, url=url, busy_seconds=busy_seconds)


def is_current(engine: Engine, url: URL, *, busy_seconds: float) -> bool:
    """Whether a database is at `SCHEMA_HEAD`.

    Raises:
        SchemaTooNew: The database was written by a newer Journeyman.
        TraceError: The database is not ours, busy, or cannot be read.
    """

    def read() -> str | None:
        with engine.connect() as connection:
            return current_version(connection, url)

    version = retry(read, url=url, busy_seconds=busy_seconds)
    if version == SCHEMA_HEAD:
        return True
    if version is not None and version not in _known_versions():
        raise SchemaTooNew(
            f"Trace store {describe(url)} has schema {version!r}, newer than {SCHEMA_HEAD!r}, "
            "which this Journeyman knows: install a newer Journeyman.",
            path=sqlite_path(url),
        )
    return False


def _known_versions() -> set[str]:
    return {path.stem for path in (SCRIPTS / "versions").glob("[0-9]*.py")}


def _upgrade(connection: Connection, url: URL) -> None:
    from alembic import command
    from alembic.config import Config

    sqlite = connection.dialect.name == "sqlite"
    if sqlite:
        # Rebuilding a table drops the old one, which must not take rows of others with it. The
        # setting only changes outside a transaction, and this connection is not used again.
        connection.connection.driver_connection.execute("PRAGMA foreign_keys=OFF")  # type: ignore[union-attr]  # a live sqlite3 connection
    try:
        with connection.begin():
            if not sqlite:
                connection.execute(text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
            if current_version(connection, url) == SCHEMA_HEAD:
                return
            config = Config()
            config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
            config.attributes["connection"] = connection
            with _alembic:
                command.upgrade(config, SCHEMA_HEAD)
    finally:
        connection.invalidate()
