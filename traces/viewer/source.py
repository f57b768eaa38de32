"""Which file the viewer reads: the live one, or a copy where that cannot be.

The live file is opened to read only but never as one that does not change: rows that are still in
SQLite's log would not show.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from journeyman.models.errors import TraceError
from journeyman.traces.engine import describe, parse_url, sqlite_path, translate
from journeyman.traces.records import now
from journeyman.traces.store import Store
from journeyman.traces.viewer.window import copy_window

_BLOCKED = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}


@dataclass(frozen=True, slots=True)
class Source:
    """A file for the viewer.

    Attributes:
        path: The file.
        is_live: Runs that end now will show in it; else it is a copy that never changes.
        note: What a visitor should know about it; empty for the live file.
    """

    path: Path
    is_live: bool
    note: str = ""


@contextmanager
def source(
    target: str | Path,
    *,
    write: bool = False,
    snapshot: bool = False,
    window: timedelta = timedelta(days=7),
) -> Iterator[Source]:
    """The file to show of a trace store; a copy is removed in the end.

    Args:
        target: A file, or a URL as `Store.open` takes it.
        write: Reviews and stars are to be kept: the store itself is needed, and is migrated.
        snapshot: Show a copy of this moment, even where the live file could be shown.
        window: Of a server's store only so much is copied, the latest.

    Raises:
        TraceError: There is no such store, it cannot be read, or not be written as was asked for.
    """
    url = parse_url(target)
    path = sqlite_path(url)
    copies = path is None or snapshot
    if write and copies:
        raise TraceError(
            f"A copy of {describe(url)} is shown, and what is written to a copy is lost: leave "
            "out --write, or show the live SQLite file."
        )
    with tempfile.TemporaryDirectory(prefix="journeyman-view-") as folder:
        copy = Path(folder) / "traces.db"
        if path is None:
            copy_window(target, copy, now() - window)
            note = f"The last {window.days} days of a server's store, copied {_moment()}."
            yield Source(copy, is_live=False, note=note)
            return
        Store.open(path, create=False, read_only=not write).close()
        if copies or not _is_readable_live(path):
            _copy(path, copy)
            why = "" if copies else ", since its folder cannot be written"
            yield Source(copy, is_live=False, note=f"A copy of {_moment()}{why}.")
            return
        yield Source(path, is_live=True)


def _moment() -> str:
    return f"{now():%Y-%m-%d %H:%M:%S} UTC"


def _is_readable_live(path: Path) -> bool:
    """Whether SQLite can read the file beside its writers: it needs its shared memory there."""
    try:
        with closing(_connect(path)) as connection:
            connection.execute("SELECT count(*) FROM schema_info").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF in _BLOCKED:
            return False
        raise translate(error, parse_url(path)) from error
    return True


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)


def _copy(path: Path, copy: Path) -> None:
    """A whole copy of one moment."""
    try:
        if _is_readable_live(path):
            with closing(_connect(path)) as connection:
                connection.execute("VACUUM INTO ?", [str(copy)])
            return
        # Without shared memory nobody is writing: file and log lie still.
        shutil.copyfile(path, copy)
        log = path.with_name(path.name + "-wal")
        if log.exists():
            shutil.copyfile(log, copy.with_name(copy.name + "-wal"))
        with closing(sqlite3.connect(copy)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.execute("PRAGMA journal_mode=DELETE")
    except (OSError, sqlite3.Error) as error:
        raise TraceError(
            f"Trace store {str(path)!r} could not be copied ({error}): check that the disk has "
            "room for a second one.",
            path=path,
        ) from error
