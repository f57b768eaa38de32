"""What of a batch is done: a file beside the output that survives any end of the process.

`OUT.part` takes every finished row as a line, in the order of finishing; `OUT.part.json` says whose
it is. When all rows are there they are put into order and the output appears under its name, all at
once. A line is written only when its row is less than `WINDOW` rows ahead of the first unfinished
one, so that both going on and putting into order need a window's worth of memory, however many rows
there are. Knows no sub-agent.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections import deque
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from journeyman.models.errors import ConfigError
from journeyman.scenarios.batch_rows import is_parquet, load_pyarrow

WINDOW = 4096
"""Rows that may be under way between the first unfinished row and the last finished one."""

VERSION = 1
SYNC_SECONDS = 1.0
"""After which a line is on disk even if the power fails; a killed process loses none."""

_ROW_GROUP = 10_000

STEADY = (
    "key",
    "value",
    "source",
    "confidence",
    "certified",
    "reason",
    "release",
    "cost_microusd",
    "error",
)
"""Columns of the output: the same, byte by byte, however often the job was interrupted."""
DETAILS = ("latency_ms", "run_id")
"""Further columns where they are wanted; these differ from run to run."""

Line = Mapping[str, Any]


@dataclass(frozen=True)
class Done(Container[int]):
    """Which rows are finished: all before one of them, and some after it."""

    before: int = 0
    after: frozenset[int] = frozenset()

    def __contains__(self, number: object) -> bool:
        """Is the row finished?"""
        return isinstance(number, int) and (number < self.before or number in self.after)


@dataclass
class Tally:
    """What finished rows come to.

    Attributes:
        num_rows: All of them.
        by_source: By who answered; those that nobody did are `none`.
        num_errors: Those that ended in an error.
        num_open: Those without an answer and without an error: nobody was to be asked.
        num_certified: Answers of students that a certificate covers.
        cost_microusd: Of those whose cost is known.
        num_unpriced: Those whose cost is not.
    """

    num_rows: int = 0
    by_source: dict[str, int] = field(default_factory=dict)
    num_errors: int = 0
    num_open: int = 0
    num_certified: int = 0
    cost_microusd: int = 0
    num_unpriced: int = 0

    def count(self, line: Line) -> None:
        """One more row."""
        self.num_rows += 1
        self.by_source[line["source"]] = self.by_source.get(line["source"], 0) + 1
        self.num_errors += line["error"] is not None
        self.num_open += line["error"] is None and line["source"] == "none"
        self.num_certified += bool(line["certified"])
        cost = line["cost_microusd"]
        self.cost_microusd += cost or 0
        self.num_unpriced += cost is None


class BatchJournal:
    """The finished rows of one job; a context manager that holds the file for this process alone.

    Args:
        target: The output.
        job: What the job is: whatever shapes its output, JSON-compatible.
        restart: Drop what is there, finished or not.

    Raises:
        ConfigError: The output is there already, is being written by another process, or was begun
            by another job.
    """

    def __init__(self, target: Path, job: Mapping[str, Any], *, restart: bool = False) -> None:
        self.target = target
        self.part = target.with_name(target.name + ".part")
        self.manifest = target.with_name(target.name + ".part.json")
        self.tally = Tally()
        self._synced = time.monotonic()
        self._job = {"version": VERSION, "window": WINDOW, **job}
        self._file = self._claim(restart)
        try:
            self.done = self._take_up()
        except BaseException:
            self._file.close()
            raise

    def write(self, numbered: Iterable[tuple[int, Line]]) -> None:
        """Put finished rows on file; they outlive the process from here on.

        Raises:
            ConfigError: The disk is full, or the file cannot be written for another reason.
        """
        lines = []
        for number, line in numbered:
            self.tally.count(line)
            lines.append(_dumped({"row": number, **line}))
        with self._writing():
            self._file.write(b"".join(lines))
            self._file.flush()
            if time.monotonic() - self._synced >= SYNC_SECONDS:
                self._sync()

    def finish(self, *, ordered: bool, details: bool) -> None:
        """Make the output of the finished rows, in the format of its name, and drop the journal.

        Args:
            ordered: By the input; otherwise as they were finished.
            details: With the columns that differ from run to run.

        Raises:
            ConfigError: Rows are missing from the journal, or the output cannot be written.
        """
        with self._writing():
            self._finish(ordered=ordered, details=details)

    def _finish(self, *, ordered: bool, details: bool) -> None:
        self._sync()
        made = self.target.with_name(self.target.name + ".tmp")
        columns = (*STEADY, *DETAILS) if details else STEADY
        lines = self._in_order() if ordered else (line for _, line in self._lines())
        kept = ({name: line[name] for name in columns} for line in lines)
        if is_parquet(self.target):
            _write_parquet(made, kept, self._job, columns)
        else:
            _write_json(made, kept)
        made.replace(self.target)
        _sync_folder(self.target.parent)
        self.part.unlink()
        self.manifest.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        """The journal itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let the file go; what is on it stays."""
        with suppress(OSError):  # of a write that has failed, and been told, already
            self._file.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ConfigError(
                f"{str(self.target)!r} cannot be written ({error.strerror or error}); what is "
                f"finished is in {str(self.part)!r}: make room, then run the same command again.",
                path=self.target,
            ) from error

    # Taking up

    def _claim(self, restart: bool) -> BinaryIO:
        if self.target.exists() and not self.part.exists() and not restart:
            raise ConfigError(
                f"{str(self.target)!r} is there already: name another output, or replace it with "
                "--restart.",
                path=self.target,
            )
        try:
            file = self.part.open("ab+")
        except OSError as error:
            raise ConfigError(
                f"{str(self.target)!r} cannot be written ({error.strerror}); name another output.",
                path=self.target,
            ) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file.fileno()).st_ino != self.part.stat().st_ino:
                raise FileExistsError(self.part)  # another process has just finished with it
        except OSError as error:
            file.close()
            raise ConfigError(
                f"Another process is writing {str(self.target)!r}: let it finish, or end it.",
                path=self.target,
            ) from error
        if restart:
            file.truncate(0)
            self.manifest.unlink(missing_ok=True)
        return file

    def _take_up(self) -> Done:
        if not self.manifest.exists():
            if self.part.stat().st_size:
                raise ConfigError(
                    f"{str(self.part)!r} does not say which job it is of: drop it with --restart.",
                    path=self.part,
                )
            # Under its name only when it is whole.
            made = self.manifest.with_name(self.manifest.name + ".tmp")
            made.write_text(json.dumps(self._job, indent=2, ensure_ascii=False), encoding="utf-8")
            made.replace(self.manifest)
            return Done()
        self._check_job()
        self._cut_torn_line()
        recent: deque[int] = deque(maxlen=2 * WINDOW)
        for number, line in self._lines():
            self.tally.count(line)
            recent.append(number)
        # A row is written only when it is less than a window ahead of the first unfinished one, so
        # so many at the start are finished, and whatever came out beyond them came out lately.
        before = max(0, self.tally.num_rows - WINDOW)
        return Done(before, frozenset(number for number in recent if number >= before))

    def _check_job(self) -> None:
        try:
            begun = json.loads(self.manifest.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{str(self.manifest)!r} cannot be read: drop what was begun with --restart.",
                path=self.manifest,
            ) from error
        if not isinstance(begun, dict):
            begun = {}
        other = [name for name, value in self._job.items() if begun.get(name) != value]
        if other:
            raise ConfigError(
                f"{str(self.target)!r} was begun by another job (it differs in "
                f"{', '.join(other)}): undo the change, name another output, or drop what was "
                "begun with --restart.",
                path=self.target,
            )

    def _cut_torn_line(self) -> None:
        """Drop the end of a line that a kill left unfinished."""
        size = self.part.stat().st_size
        end = size
        while end > 0:
            start = max(0, end - 65_536)
            self._file.seek(start)
            found = self._file.read(end - start).rfind(b"\n")
            if found >= 0:
                end = start + found + 1
                break
            end = start
        if end != size:
            self._file.truncate(end)

    # Reading back

    def _lines(self) -> Iterator[tuple[int, dict[str, Any]]]:
        with self.part.open("rb") as file:
            for at, data in enumerate(file, 1):
                try:
                    line: dict[str, Any] = json.loads(data)
                    yield line.pop("row"), line
                except (ValueError, KeyError, AttributeError) as error:
                    raise ConfigError(
                        f"{str(self.part)!r} is damaged in line {at}: drop it with --restart.",
                        path=self.part,
                    ) from error

    def _in_order(self) -> Iterator[dict[str, Any]]:
        waiting: dict[int, dict[str, Any]] = {}
        due = 0
        for number, line in self._lines():
            waiting[number] = line
            while due in waiting:
                yield waiting.pop(due)
                due += 1
        if waiting or due != self.tally.num_rows:
            raise ConfigError(
                f"{str(self.part)!r} lacks row {due}: drop it with --restart.", path=self.part
            )

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()


def _dumped(line: Line) -> bytes:
    try:
        return json.dumps(line, ensure_ascii=False, default=str).encode() + b"\n"
    except UnicodeEncodeError:  # half of a surrogate pair, which only escapes can hold
        return json.dumps(line, default=str).encode() + b"\n"


def _write_json(path: Path, lines: Iterable[Line]) -> None:
    with path.open("wb") as file:
        for line in lines:
            file.write(_dumped(line))
        file.flush()
        os.fsync(file.fileno())


def _write_parquet(
    path: Path, lines: Iterable[Line], job: Mapping[str, Any], columns: Iterable[str]
) -> None:
    """Typed columns; the answer's value is JSON text, since sub-agents answer in all shapes."""
    parquet = load_pyarrow()
    import pyarrow as pa

    # A key of the user's own may be of any type, a line number is a number.
    kinds = {
        "key": pa.int64() if job.get("key") is None else pa.string(),
        "confidence": pa.float64(),
        "certified": pa.bool_(),
        "cost_microusd": pa.int64(),
        "latency_ms": pa.float64(),
    }
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in columns])
    with parquet.ParquetWriter(path, schema) as writer:
        for group in _grouped(lines, _ROW_GROUP):
            rows = [_flat(line, own_key=job.get("key") is not None) for line in group]
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _flat(line: Line, *, own_key: bool) -> dict[str, Any]:
    key, value = line["key"], line["value"]
    if own_key and key is not None and not isinstance(key, str):
        key = json.dumps(key, default=str)
    text = None if value is None else json.dumps(value)
    flat = {**line, "key": key, "value": text}
    return {name: _encodable(each) for name, each in flat.items()}


def _encodable(value: Any) -> Any:
    """Parquet's text is UTF-8, which has no half of a surrogate pair."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _grouped(lines: Iterable[Line], size: int) -> Iterator[list[Line]]:
    group: list[Line] = []
    for line in lines:
        group.append(line)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _sync_folder(folder: Path) -> None:
    """A rename is on disk once its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
