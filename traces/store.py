"""The trace store: one database, written in whole transactions, read back as records.

A store keeps what it is given: hiding secrets is the recorder's part. Any thread may use it; a
process forked from the one that opened it may not. Losing power may lose the last transactions
(SQLite's `synchronous=NORMAL`), losing the process loses none.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from sqlalchemy import ColumnElement, Connection, Engine, Table, func, or_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from journeyman.models.errors import TraceError
from journeyman.traces import migrate, reads
from journeyman.traces.engine import (
    WRITE,
    describe,
    make_engine,
    parse_url,
    reading,
    retry,
    sqlite_path,
)
from journeyman.traces.reads import RunSummary, RunTrace
from journeyman.traces.records import (
    AttemptRecord,
    EscalationRecord,
    Record,
    RunStatus,
    ScenarioResultRecord,
    SuiteRunRecord,
)
from journeyman.traces.rows import SHAPES, Shape, to_batch
from journeyman.traces.schema import Payload, Run

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """What a store holds.

    Attributes:
        url: Where it is, without a password.
        schema_version: The migration that it is at.
        num_bytes: Size of the database; of the file and its log for SQLite.
        wal_bytes: The part that is still in SQLite's write-ahead log.
        counts: Rows by table.
    """

    url: str
    schema_version: str
    num_bytes: int
    wal_bytes: int
    counts: Mapping[str, int]


class Store:
    """An open trace store; use `Store.open`."""

    def __init__(self, engine: Engine, url: URL, *, read_only: bool, busy_seconds: float) -> None:
        self.engine = engine
        self.url = url
        self.read_only = read_only
        self._busy_seconds = busy_seconds
        self._path = sqlite_path(url)
        self._file = _file_id(self._path)
        self._pid = os.getpid()
        self._closed = False
        # Threads of one process take turns here, which is fairer than SQLite's polling. A server
        # lets them write side by side.
        self._turn: AbstractContextManager[object] = (
            threading.Lock() if self._path else nullcontext()
        )
        self._options = {True: {WRITE: True}, False: reading(url)}
        self._inserts = _inserts(engine.dialect.name)

    @classmethod
    def open(
        cls,
        target: str | Path,
        *,
        create: bool = True,
        read_only: bool = False,
        busy_seconds: float = 20.0,
    ) -> Self:
        """Open a store and bring it to the present schema.

        Args:
            target: A file, `sqlite:///PATH`, or `postgresql://USER@HOST/NAME`.
            create: Make the file, and folders above it, where there is none.
            read_only: Write nothing, not even a migration.
            busy_seconds: How long a call waits for other writers before it gives up.

        Raises:
            SchemaTooNew: The store was written by a newer Journeyman.
            CorruptRecord: The file is damaged.
            TraceError: The store cannot be opened; the message says why and what to do.
        """
        url = parse_url(target)
        path = sqlite_path(url)
        if path is not None:
            _check_path(path, create=create and not read_only, write=not read_only)
        mode = "ro" if read_only else "rwc" if create else "rw"
        engine = make_engine(url, mode=mode)
        try:
            if read_only:
                engine = _open_read_only(engine, url, busy_seconds)
            else:
                _use_wal(engine, url, busy_seconds)
                migrate.upgrade(engine, url, busy_seconds=busy_seconds)
        except BaseException:
            engine.dispose()
            raise
        return cls(engine, url, read_only=read_only, busy_seconds=busy_seconds)

    # Writing

    def write(self, records: Iterable[Record]) -> None:
        """Keep records in one transaction: all of them or, if it raises, none.

        A record that is already there is replaced. A late `running` never replaces the end of a
        run, and writing an escalation again never undoes a person's review.

        Raises:
            TraceError: The store cannot be written; the message says why and what to do.
        """
        batch = to_batch(records)

        def work(connection: Connection) -> None:
            if batch.payloads:
                # In one order everywhere, so that no two writers wait for each other.
                payloads = [row for _, row in sorted(batch.payloads.items())]
                connection.execute(self._inserts[Payload.__table__], payloads)
            for kind, rows in batch.rows.items():
                connection.execute(self._inserts[SHAPES[kind].table], rows)

        self.transact(work)

    def transact(self, work: Callable[[Connection], ResultT]) -> ResultT:
        """Run work in one write transaction, from its start again when another writer is ahead.

        Raises:
            TraceError: The store cannot be written; the message says why and what to do.
        """
        if self.read_only:
            raise TraceError(
                f"Trace store {self.name} is open for reading only: open it for writing.",
                path=self._path,
            )

        def attempt() -> ResultT:
            with self._connect(write=True) as connection, connection.begin():
                return work(connection)

        with self._turn:
            self._check_file()
            result = retry(attempt, url=self.url, busy_seconds=self._busy_seconds)
            # SQLite goes on writing to a deleted file as if nothing had happened.
            self._check_file()
        return result

    # Reading

    def read(self, work: Callable[[Connection], ResultT]) -> ResultT:
        """Run queries in one read transaction: they all see the same moment.

        Raises:
            TraceError: The store cannot be read; the message says why and what to do.
        """

        def attempt() -> ResultT:
            with self._connect(write=False) as connection, connection.begin():
                return work(connection)

        return retry(attempt, url=self.url, busy_seconds=self._busy_seconds)

    def runs(
        self,
        limit: int | None = 20,
        *,
        agent: str | None = None,
        status: RunStatus | None = None,
        since: datetime | None = None,
    ) -> list[RunSummary]:
        """The latest runs, newest first.

        Args:
            limit: At most so many; None for all.
            agent: Only runs with a task for this sub-agent.
            status: Only runs with this status.
            since: Only runs started at this time or later.
        """
        return self.read(lambda c: reads.runs(c, limit, agent=agent, status=status, since=since))

    def run(self, id_or_prefix: str) -> RunTrace:
        """One run with its spans as a tree, its attempts, escalations and scores.

        Raises:
            TraceError: No run, or more than one, has an id that starts like this.
            CorruptRecord: A payload does not match its hash.
        """
        return self.read(lambda c: reads.run(c, id_or_prefix, self.name))

    def attempts(
        self,
        *,
        agent: str | None = None,
        release: str | None = None,
        since: datetime | None = None,
        limit: int | None = None,
    ) -> list[AttemptRecord]:
        """Recorded attempts, oldest first."""
        filters = {"agent": agent, "release": release}
        return self.read(
            lambda c: reads.records(c, AttemptRecord, filters, since=since, limit=limit)
        )

    def escalations(
        self,
        *,
        agent: str | None = None,
        review_status: str | None = None,
        attempt_id: str | None = None,
        since: datetime | None = None,
        limit: int | None = None,
    ) -> list[EscalationRecord]:
        """Recorded escalations, oldest first."""
        filters = {"agent": agent, "review_status": review_status, "attempt_id": attempt_id}
        return self.read(
            lambda c: reads.records(c, EscalationRecord, filters, since=since, limit=limit)
        )

    def suite_runs(
        self, limit: int | None = 20, *, suite: str | None = None
    ) -> list[SuiteRunRecord]:
        """The latest suite runs, newest first."""
        return self.read(lambda c: reads.suite_runs(c, limit, suite=suite))

    def suite_run(self, id_or_prefix: str) -> SuiteRunRecord:
        """One suite run.

        Raises:
            TraceError: No suite run, or more than one, has an id that starts like this.
        """
        return self.read(lambda c: reads.suite_run(c, id_or_prefix, self.name))

    def scenario_results(self, suite_run_id: str) -> list[ScenarioResultRecord]:
        """The results of a suite run, by scenario and epoch."""
        filters = {"suite_run_id": suite_run_id}
        return self.read(lambda c: reads.records(c, ScenarioResultRecord, filters))

    def payload(self, payload_hash: str) -> Any:
        """The content behind a hash.

        Raises:
            CorruptRecord: There is none, or it does not match the hash.
        """
        return self.read(lambda c: reads.payloads(c, {payload_hash}, self.name))[payload_hash]

    def status(self) -> StoreStatus:
        """Counts, sizes and the schema version."""

        def work(connection: Connection) -> tuple[str, int, dict[str, int]]:
            version = migrate.current_version(connection, self.url) or ""
            return version, reads.database_bytes(connection), reads.counts(connection)

        version, num_bytes, counts = self.read(work)
        wal = _size(self._path.with_name(self._path.name + "-wal")) if self._path else 0
        num_bytes = _size(self._path) + wal if self._path else num_bytes
        return StoreStatus(self.name.strip("'"), version, num_bytes, wal, counts)

    def integrity(self) -> int:
        """Check the file's structure, every payload against its hash, and every reference to one.

        Returns:
            Number of payloads checked.

        Raises:
            CorruptRecord: Something does not match; the message names it.
        """
        return self.read(lambda c: reads.integrity(c, self.name))

    # Being open

    @property
    def name(self) -> str:
        """The store in messages, quoted, without a password."""
        return describe(self.url)

    def close(self) -> None:
        """Move SQLite's log into the file and let go of it; a second close does nothing."""
        if self._closed or os.getpid() != self._pid:
            return
        self._closed = True
        if self._path is not None and not self.read_only:
            # A reader or another writer may hold the log: then the last one to leave empties it.
            with suppress(DBAPIError, sqlite3.Error), self.engine.connect() as connection:
                raw = connection.connection.driver_connection
                assert isinstance(raw, sqlite3.Connection)
                raw.execute("PRAGMA busy_timeout=100")
                raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.engine.dispose()

    def __enter__(self) -> Self:
        """The store itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the store."""
        self.close()

    @contextmanager
    def _connect(self, *, write: bool) -> Iterator[Connection]:
        if self._closed:
            raise TraceError(f"Trace store {self.name} is closed: open it anew.", path=self._path)
        if os.getpid() != self._pid:
            # Locks do not cross a fork, and SQLite would corrupt the file without knowing.
            raise TraceError(
                f"Trace store {self.name} was opened before this process was forked: start "
                "workers with the 'spawn' method, or open the store after forking.",
                path=self._path,
            )
        with self.engine.connect() as connection:
            yield connection.execution_options(**self._options[write])

    def _check_file(self) -> None:
        if self._path is not None and _file_id(self._path) != self._file:
            raise TraceError(
                f"Trace file {self.name} was deleted or replaced while it was open: "
                "restart to open the file anew.",
                path=self._path,
            )


def _check_path(path: Path, *, create: bool, write: bool) -> None:
    try:
        if path.is_dir():
            raise TraceError(
                f"Trace store {str(path)!r} is a directory: give a file inside it.", path=path
            )
        if not path.exists():
            if not create:
                raise TraceError(
                    f"There is no trace store {str(path)!r}: check the path or record a run first.",
                    path=path,
                )
            path.parent.mkdir(parents=True, exist_ok=True)
        elif not path.is_file():
            raise TraceError(
                f"Trace store {str(path)!r} is not a regular file: give another path.", path=path
            )
        elif write and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
            raise TraceError(
                f"Trace store {str(path)!r} may not be written: check the permissions of the file "
                "and of its folder, which takes SQLite's log.",
                path=path,
            )
    except (OSError, ValueError) as error:
        raise TraceError(
            f"Trace store {str(path)!r} cannot be made ({error}): give another path.", path=path
        ) from error


def _use_wal(engine: Engine, url: URL, busy_seconds: float) -> None:
    if sqlite_path(url) is None:
        return

    def work() -> None:
        with engine.connect() as connection:
            raw = connection.connection.driver_connection
            assert isinstance(raw, sqlite3.Connection)
            # Asking first: a change of mode is refused at once while anyone else is reading.
            if raw.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                raw.execute("PRAGMA journal_mode=WAL")

    retry(work, url=url, busy_seconds=busy_seconds)


def _open_read_only(engine: Engine, url: URL, busy_seconds: float) -> Engine:
    path = sqlite_path(url)
    try:
        current = migrate.is_current(engine, url, busy_seconds=busy_seconds)
    except TraceError as error:
        cause = error.__cause__
        code = getattr(getattr(cause, "orig", cause), "sqlite_errorcode", 0) & 0xFF
        # In a folder that may not be written SQLite cannot make its shared-memory file. Without a
        # log beside it the file is complete as it lies, and can be read as one that never changes.
        blocked = code in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}
        if not blocked or path is None or _size(path.with_name(path.name + "-wal")):
            raise
        engine.dispose()
        engine = make_engine(url, mode="immutable")
        current = migrate.is_current(engine, url, busy_seconds=busy_seconds)
    if not current:
        raise TraceError(
            f"Trace store {describe(url)} has an older schema: run `journeyman db migrate`.",
            path=path,
        )
    return engine


def _inserts(dialect: str) -> dict[Any, Any]:
    """One upsert statement per table."""
    insert: Any = postgresql.insert if dialect == "postgresql" else sqlite.insert
    payloads = Payload.__table__
    statements: dict[Any, Any] = {payloads: insert(payloads).on_conflict_do_nothing()}
    for shape in SHAPES.values():
        statement = insert(shape.table)
        statements[shape.table] = statement.on_conflict_do_update(
            index_elements=list(shape.key),
            set_=_replacements(shape, statement.excluded),
            where=_is_newer(statement.excluded) if shape.table is Run.__table__ else None,
        )
    return statements


def _replacements(shape: Shape, given: Any) -> dict[str, Any]:
    untouched = {*shape.key, *shape.keep, *_review_columns(shape.table)}
    return {
        column.name: func.coalesce(given[column.name], column)
        if column.name in shape.fill
        else given[column.name]
        for column in shape.table.columns
        if column.name not in untouched
    }


def _review_columns(table: Table) -> Sequence[str]:
    return [name for name in table.columns.keys() if name.startswith("review")]  # noqa: SIM118  # not a dict


def _is_newer(given: Any) -> ColumnElement[bool]:
    # Spelled out: an IN list would grow per row, which rules out writing many rows at once.
    return or_(given.status != "running", Run.status == "running", Run.status == "interrupted")


def _file_id(path: Path | None) -> tuple[int, int] | None:
    if path is None:
        return None
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
