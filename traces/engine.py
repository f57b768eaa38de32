"""Connections to the trace database: SQLite's settings, write transactions, errors in plain words.

This is the only module that knows what SQLite and PostgreSQL do differently. It knows no table.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event, func, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
    ProgrammingError,
    StatementError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from journeyman.models.errors import CorruptRecord, StoreUnreachable, TraceError

ResultT = TypeVar("ResultT")

WRITE = "journeyman_write"
"""Execution option of connections whose transactions write."""

BUSY_TIMEOUT_SECONDS = 2.0
"""How long SQLite itself waits for a lock before the transaction is begun anew."""

JOURNAL_LIMIT_BYTES = 64 * 1024 * 1024

POOL_SIZE = 5
"""Connections to a server that are kept open; at most three times as many are used at once."""

_SERVER_DEFAULTS = {
    "application_name": "journeyman",
    "connect_timeout": 5,
    # A server that vanished without a word is noticed after these seconds (and milliseconds).
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}

_SERVER_SETTINGS = (
    # Whoever waits longer begins anew, as with SQLite; whoever was stopped while it held a lock
    # (a suspended machine, a debugger) loses it.
    f"SET lock_timeout = '{BUSY_TIMEOUT_SECONDS:g}s'",
    "SET idle_in_transaction_session_timeout = '60s'",
)

_RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE")

_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_SERIALIZATION = {"40001", "40P01", "55P03"}  # PostgreSQL: serialization, deadlock, lock timeout
_GONE = {"57P01", "57P02", "57P03"}  # PostgreSQL: shutting down, crashed, starting up

_SERVER_TEXTS = {
    "25006": "is a read-only copy: give the address of the primary server",
    "3D000": "does not exist: make it with `createdb`",
    "42501": "may not be used like this by its user: grant what docs/postgres.md names",
    "53100": "has no room left on the server's disk: make room and try again",
    "53300": "has no connection left: raise the server's max_connections, or run fewer processes",
    "57014": "took too long for the server's statement_timeout: raise it for this user",
}


def parse_url(target: str | Path) -> URL:
    """The database that a path or a URL names.

    Raises:
        TraceError: The URL cannot be read, or names a database that is not supported.
    """
    text = str(target)
    if isinstance(target, Path) or "://" not in text:
        if text in {"", ":memory:"} or "\0" in text:
            raise TraceError(f"A trace store is a file, not {text!r}: give a path.")
        return URL.create("sqlite", database=str(Path(text).expanduser().absolute()))
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:  # the latter for a port that is no number
        raise TraceError(
            "The trace store's URL cannot be read: write 'sqlite:///PATH' or "
            "'postgresql://USER@HOST/NAME'."
        ) from error
    backend = url.get_backend_name()
    if backend == "sqlite":
        return parse_url(url.database or ":memory:")
    if backend in {"postgresql", "postgres"}:
        return url.set(drivername="postgresql+psycopg")
    raise TraceError(
        f"A trace store cannot be kept in {backend!r}: use a SQLite file or a PostgreSQL URL."
    )


def sqlite_path(url: URL) -> Path | None:
    """The file behind a URL; None for a server."""
    return Path(url.database or "") if url.get_backend_name() == "sqlite" else None


def describe(url: URL) -> str:
    """The store's name in messages, without a password."""
    path = sqlite_path(url)
    # The query may hold a password as well, and is not needed to tell stores apart.
    plain = url.set(drivername=url.get_backend_name(), query={})
    return repr(str(path) if path else plain.render_as_string(hide_password=True))


def make_engine(url: URL, *, mode: str = "rwc") -> Engine:
    """An engine whose transactions start as `write` and readers expect.

    Args:
        url: From `parse_url`.
        mode: SQLite's open mode: `rwc` makes a missing file, `rw` does not, `ro` only reads, and
            `immutable` reads a file in a folder that cannot be written.

    Raises:
        TraceError: The driver of a server is not installed.
    """
    path = sqlite_path(url)
    if path is None:
        return _server_engine(url)
    # Parameters hold content, which has no business in a traceback.
    option = "immutable=1" if mode == "immutable" else f"mode={mode}"
    uri = f"file:{quote(str(path))}?{option}"

    def connect() -> sqlite3.Connection:
        # No implicit transactions: `_begin` says how each one starts.
        return sqlite3.connect(
            uri,
            uri=True,
            timeout=BUSY_TIMEOUT_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )

    engine = create_engine(url, creator=connect, max_overflow=-1, hide_parameters=True)
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "begin", _begin)
    return engine


def _server_engine(url: URL) -> Engine:
    defaults = {name: value for name, value in _SERVER_DEFAULTS.items() if name not in url.query}
    try:
        engine = create_engine(
            url,
            # Whatever the server's default is: who waits for a lock then sees what the one before
            # has committed, which counters and upserts rest on.
            isolation_level="READ COMMITTED",
            connect_args=defaults,
            pool_size=POOL_SIZE,
            max_overflow=2 * POOL_SIZE,
            pool_timeout=BUSY_TIMEOUT_SECONDS,
            pool_pre_ping=True,
            hide_parameters=True,
        )
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise TraceError(
            f"The driver for {describe(url)} is missing: run `pip install 'journeyman[postgres]'`."
        ) from error

    def set_up(connection: Any, _record: Any) -> None:
        encoding = connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise TraceError(
                f"Trace store {describe(url)} keeps text as {encoding}, which cannot hold every "
                "character: make the database with `createdb --template template0 --encoding UTF8`."
            )
        for setting in _SERVER_SETTINGS:
            connection.execute(setting)
        connection.commit()

    event.listen(engine, "connect", set_up)
    return engine


def reading(url: URL) -> dict[str, Any]:
    """Execution options of a connection whose transaction only reads, and sees one moment."""
    if sqlite_path(url) is not None:
        return {WRITE: False}
    return {WRITE: False, "isolation_level": "REPEATABLE READ", "postgresql_readonly": True}


def take_turns(connection: Connection, subject: str) -> None:
    """Wait until no other transaction is about the same subject; hold it until this one ends.

    On a server only: SQLite has one writer at a time anyway. Call it before anything is read that
    the transaction decides by.

    Args:
        connection: In a write transaction.
        subject: Any text, such as `releases of extraction`.
    """
    if connection.dialect.name != "sqlite":
        # Two subjects of one hash wait for each other in vain, which does no harm.
        lock = func.pg_advisory_xact_lock(func.hashtextextended(f"journeyman {subject}", 0))
        connection.execute(select(lock))


def not_writable(connection: Connection, tables: Iterable[str]) -> list[str]:
    """Of a server's tables those that answering could not write: for lack of a grant, or on a copy.

    On SQLite none, since there the file decides.
    """
    if connection.dialect.name == "sqlite":
        return []
    if connection.scalar(select(func.pg_is_in_recovery())):
        return list(tables)
    return [
        name
        for name in tables
        if not all(
            connection.scalar(select(func.has_table_privilege(name, right))) for right in _RIGHTS
        )
    ]


def _set_up(connection: sqlite3.Connection, _record: Any) -> None:
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute(f"PRAGMA journal_size_limit={JOURNAL_LIMIT_BYTES}")


def _begin(connection: Connection) -> None:
    # A transaction that reads first and writes later could not wait for its turn: ask at once.
    writes = connection.get_execution_options().get(WRITE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def retry(work: Callable[[], ResultT], *, url: URL, busy_seconds: float) -> ResultT:
    """Do work that is whole or not at all, again and again while another writer is in the way.

    Raises:
        TraceError: The database stayed busy, or cannot be read or written.
    """
    deadline = time.monotonic() + busy_seconds
    while True:
        try:
            return work()
        except (DBAPIError, PoolTimeout, sqlite3.Error) as error:
            if not _is_busy(error):
                raise translate(error, url) from error
            if time.monotonic() >= deadline:
                raise TraceError(
                    f"Trace store {describe(url)} was kept busy by another process for "
                    f"{busy_seconds:g} s: end that process, or try again later.",
                    path=sqlite_path(url),
                ) from error
        except (StatementError, OverflowError) as error:
            raise TraceError(
                f"A record does not fit into trace store {describe(url)} ({_cause(error)}): "
                "correct what is recorded.",
                path=sqlite_path(url),
            ) from error
        # The next try waits inside SQLite; a pause here keeps a refusal without wait from spinning.
        time.sleep(0.005)


def translate(error: Exception, url: URL) -> TraceError:
    """A database error as a sentence that says what to do."""
    name, path = describe(url), sqlite_path(url)
    cause = _cause(error)
    said = str(cause).partition("\n")[0]
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        text = f"The disk that holds trace store {name} is full: make room and try again."
    elif code in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM}:
        text = f"Trace store {name} may not be written: check the permissions of file and folder."
    elif code == sqlite3.SQLITE_CANTOPEN:
        text = f"Trace store {name} cannot be opened: check that folder and permissions are right."
    elif code == sqlite3.SQLITE_NOTADB:
        text = f"File {name} is not a trace store: give another path, or move the file away."
    elif code == sqlite3.SQLITE_CORRUPT:
        message = f"Trace store {name} is damaged ({said}): restore a backup."
        return CorruptRecord(message, path=path)
    elif code == sqlite3.SQLITE_IOERR:
        text = f"The disk that holds trace store {name} failed ({said}): check it and try again."
    elif path is None and _is_gone(error):
        return StoreUnreachable(
            f"Trace store {name} does not answer ({said}): check that its server runs, and its "
            "address, user and password."
        )
    elif path is None and (hint := _SERVER_TEXTS.get(_sqlstate(cause))):
        text = f"Trace store {name} {hint}."
    else:
        kind = type(cause).__name__
        text = (
            f"Trace store {name} refused an operation ({kind}: {said}): check its address and what "
            "was given."
        )
    return TraceError(text, path=path)


def is_about_content(error: Exception) -> bool:
    """Whether what was written is at fault, rather than the disk or another process."""
    if not isinstance(error, TraceError):
        return True
    cause = error.__cause__
    if isinstance(cause, DBAPIError):
        return isinstance(cause, (IntegrityError, DataError, InterfaceError, ProgrammingError))
    return isinstance(cause, (StatementError, OverflowError))


def _is_gone(error: Exception) -> bool:
    state = _sqlstate(_cause(error))
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    # A connection that was never made has no state to tell.
    return (
        state in _GONE
        or state.startswith("08")
        or (not state and isinstance(error, OperationalError))
    )


def _sqlstate(cause: BaseException) -> str:
    return getattr(cause, "sqlstate", None) or ""


def _is_busy(error: Exception) -> bool:
    if isinstance(error, PoolTimeout):
        return True  # every connection of this process is in use
    cause = _cause(error)
    if isinstance(cause, sqlite3.Error):
        # Errors that Python's own module raises carry no code.
        return (getattr(cause, "sqlite_errorcode", None) or 0) & 0xFF in _BUSY
    return _sqlstate(cause) in _SERIALIZATION


def _cause(error: Exception) -> BaseException:
    if isinstance(error, StatementError) and error.orig is not None:
        return error.orig
    return error
