"""Connections to the trace database: SQLite's settings, write transactions, errors in plain words.

This is the only module that knows what SQLite and PostgreSQL do differently. It knows no table.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    NoSuchModuleError,
    ProgrammingError,
    StatementError,
)

from journeyman.models.errors import CorruptRecord, TraceError

ResultT = TypeVar("ResultT")

WRITE = "journeyman_write"
"""Execution option of connections whose transactions write."""

BUSY_TIMEOUT_SECONDS = 2.0
"""How long SQLite itself waits for a lock before the transaction is begun anew."""

JOURNAL_LIMIT_BYTES = 64 * 1024 * 1024

_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_SERIALIZATION = {"40001", "40P01", "55P03"}  # PostgreSQL: serialization, deadlock, lock timeout


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
    return repr(str(path) if path else url.set(query={}).render_as_string(hide_password=True))


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
        try:
            return create_engine(url, pool_pre_ping=True, hide_parameters=True)
        except (ModuleNotFoundError, NoSuchModuleError) as error:
            raise TraceError(
                f"The driver for {describe(url)} is missing: "
                "run `pip install 'journeyman[postgres]'`."
            ) from error
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
        except (DBAPIError, sqlite3.Error) as error:
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


def _is_busy(error: Exception) -> bool:
    cause = _cause(error)
    if isinstance(cause, sqlite3.Error):
        # Errors that Python's own module raises carry no code.
        return (getattr(cause, "sqlite_errorcode", None) or 0) & 0xFF in _BUSY
    return getattr(cause, "sqlstate", None) in _SERIALIZATION


def _cause(error: Exception) -> BaseException:
    if isinstance(error, StatementError) and error.orig is not None:
        return error.orig
    return error
