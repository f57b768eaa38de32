"""The rows of a batch, one task each, from JSON Lines or Parquet; a few in memory at a time.

A row that cannot be read is a row with an error, never the end of the job. Knows no sub-agent: what
a task must look like is the sub-agent's to say.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from journeyman.models.errors import ConfigError

MOST_LINE_BYTES = 16 * 1024 * 1024
"""A longer line is a row with an error: memory must stay bounded, whatever the file."""

_BLOCK = 1024 * 1024
_BOM = b"\xef\xbb\xbf"

JSON_LINES = (".jsonl", ".ndjson", ".json")
PARQUET = (".parquet", ".pq")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the input.

    Attributes:
        number: Of the row, from 0 on; blank lines are no rows.
        key: What the output names it by; None where the row's own cannot be read.
        task: The columns without the key, or the text where the batch takes one column as such;
            None where there is an error.
        error: Why there is no task, in one sentence.
    """

    number: int
    key: Any
    task: Any = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns mean what.

    Attributes:
        key: The column that names a row; None: its line, counted from 1 as editors do (in Parquet,
            its place).
        text: The column whose text is the whole request; None: all columns are the task.
        keep_key: The task has a field of the key's name, and is given it.
    """

    key: str | None = None
    text: str | None = None
    keep_key: bool = False


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch of the input that can be read by itself.

    Attributes:
        start: Number of its first row.
        num_rows: How many it holds.
        place: Where it begins: a byte, or a row group.
        line: The line (from 1) that it begins with.
    """

    start: int
    num_rows: int
    place: int
    line: int


@dataclass(frozen=True, slots=True)
class Scan:
    """What one pass over the input tells: its content's SHA-256, and how many rows there are."""

    digest: str
    num_rows: int


class RowFile(ABC):
    """A file of rows.

    Args:
        path: Where it is.
        columns: Which columns mean what.
    """

    def __init__(self, path: Path, columns: Columns) -> None:
        self.path = path
        self.columns = columns

    @abstractmethod
    def scan(self) -> Scan:
        """Read the file through once.

        Raises:
            ConfigError: It cannot be read.
        """

    @abstractmethod
    def rows(self, first: int = 0) -> Iterator[Row]:
        """The rows from a number on, in order."""

    @abstractmethod
    def chunks(self, size: int) -> Iterator[Chunk]:
        """The file in stretches of about so many rows."""

    @abstractmethod
    def rows_of(self, chunk: Chunk) -> Iterator[Row]:
        """The rows of one stretch."""

    def _row(self, number: int, line: int, data: Mapping[str, Any]) -> Row:
        columns = self.columns
        key: Any = line
        if columns.key is not None:
            key = data.get(columns.key)
            if key is None or isinstance(key, (dict, list)):
                return Row(number, None, error=f"Row {line} has no key {columns.key!r}.")
        if columns.text is not None:
            text = data.get(columns.text)
            if not isinstance(text, str):
                return Row(number, key, error=f"Row {line} has no text in {columns.text!r}.")
            return Row(number, key, text)
        kept = columns.keep_key
        return Row(number, key, {k: v for k, v in data.items() if kept or k != columns.key})


class JsonLines(RowFile):
    """JSON Lines in UTF-8: an object a line."""

    def scan(self) -> Scan:
        """See `RowFile.scan`; the lines are not parsed."""
        digest, num_rows = hashlib.sha256(), 0
        with self._open() as file:
            while block := file.read(_BLOCK):
                digest.update(block)
            file.seek(0)
            for _ in _lines(file):
                num_rows += 1
        return Scan(digest.hexdigest(), num_rows)

    def rows(self, first: int = 0) -> Iterator[Row]:
        """See `RowFile.rows`."""
        with self._open() as file:
            for number, (line, _, data) in enumerate(_lines(file)):
                if number >= first:
                    yield self._parsed(number, line, data)

    def chunks(self, size: int) -> Iterator[Chunk]:
        """See `RowFile.chunks`; a stretch begins at a byte."""
        begun: Chunk | None = None
        num = 0
        with self._open() as file:
            for number, (line, offset, _) in enumerate(_lines(file)):
                if begun is None or num == size:
                    if begun is not None:
                        yield Chunk(begun.start, num, begun.place, begun.line)
                    begun, num = Chunk(number, 0, offset, line), 0
                num += 1
        if begun is not None:
            yield Chunk(begun.start, num, begun.place, begun.line)

    def rows_of(self, chunk: Chunk) -> Iterator[Row]:
        """See `RowFile.rows_of`."""
        with self._open() as file:
            file.seek(chunk.place)
            lines = _lines(file, line=chunk.line, offset=chunk.place)
            for number, (line, _, data) in zip(
                range(chunk.start, chunk.start + chunk.num_rows), lines, strict=False
            ):
                yield self._parsed(number, line, data)

    def _open(self) -> BinaryIO:
        try:
            return self.path.open("rb")
        except OSError as error:
            raise _unreadable(self.path, error) from error

    def _parsed(self, number: int, line: int, data: bytes | None) -> Row:
        key = line if self.columns.key is None else None
        if data is None:
            return Row(number, key, error=f"Line {line} is longer than {MOST_LINE_BYTES} bytes.")
        try:
            value = json.loads(data.removeprefix(_BOM) if line == 1 else data)
        except (ValueError, RecursionError) as error:
            return Row(number, key, error=f"Line {line} is no JSON: {error}.")
        if not isinstance(value, dict):
            return Row(number, key, error=f"Line {line} is no JSON object.")
        return self._row(number, line, value)


class ParquetRows(RowFile):
    """A Parquet file: a column for each field."""

    def scan(self) -> Scan:
        """See `RowFile.scan`."""
        digest = hashlib.sha256()
        try:
            with self.path.open("rb") as file:
                while block := file.read(_BLOCK):
                    digest.update(block)
        except OSError as error:
            raise _unreadable(self.path, error) from error
        with self._open() as opened:
            return Scan(digest.hexdigest(), opened.metadata.num_rows)

    def rows(self, first: int = 0) -> Iterator[Row]:
        """See `RowFile.rows`; row groups before the first row are not read."""
        for chunk in self.chunks(0):
            if chunk.start + chunk.num_rows > first:
                yield from (row for row in self.rows_of(chunk) if row.number >= first)

    def chunks(self, size: int) -> Iterator[Chunk]:  # noqa: ARG002  # a row group is as it was written
        """See `RowFile.chunks`; a stretch is a row group."""
        start = 0
        with self._open() as opened:
            sizes = [
                opened.metadata.row_group(group).num_rows
                for group in range(opened.metadata.num_row_groups)
            ]
        for group, num in enumerate(sizes):
            if num:
                yield Chunk(start, num, group, start + 1)
            start += num

    def rows_of(self, chunk: Chunk) -> Iterator[Row]:
        """See `RowFile.rows_of`."""
        number = chunk.start
        with self._open() as opened:
            for batch in opened.iter_batches(batch_size=1024, row_groups=[chunk.place]):
                for data in batch.to_pylist():
                    yield self._row(number, number + 1, data)
                    number += 1

    def _open(self) -> Any:
        parquet = load_pyarrow()
        try:
            return parquet.ParquetFile(self.path)
        except (OSError, ValueError) as error:  # pyarrow's own errors are kinds of these
            raise _unreadable(self.path, error) from error


def row_file(path: Path, columns: Columns) -> RowFile:
    """The rows of a file, by its ending.

    Raises:
        ConfigError: The ending says no format that can be read.
    """
    return ParquetRows(path, columns) if is_parquet(path) else JsonLines(path, columns)


def is_parquet(path: Path) -> bool:
    """Is it Parquet, by its ending, and not JSON Lines?

    Raises:
        ConfigError: It is neither, or Parquet and `pyarrow` is not installed.
    """
    ending = path.suffix.lower()
    if ending in PARQUET:
        load_pyarrow()
        return True
    if ending in JSON_LINES:
        return False
    raise ConfigError(
        f"{str(path)!r} is no format that a batch knows: name it .jsonl or .parquet.", path=path
    )


def load_pyarrow() -> Any:
    """`pyarrow.parquet`.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise ConfigError(
            "Parquet needs pyarrow; run `pip install 'journeyman[batch]'`."
        ) from error
    return pyarrow.parquet


def _lines(
    file: BinaryIO, *, line: int = 1, offset: int = 0
) -> Iterator[tuple[int, int, bytes | None]]:
    """(line, byte, content) of every line that is not blank; None for one that is too long."""
    while data := file.readline(MOST_LINE_BYTES):
        begun, size = offset, len(data)
        cut = not data.endswith(b"\n") and size == MOST_LINE_BYTES
        while cut and (rest := file.readline(MOST_LINE_BYTES)):
            size += len(rest)
            cut = not rest.endswith(b"\n")
        offset += size
        if size > MOST_LINE_BYTES:
            yield line, begun, None
        elif data.strip():
            yield line, begun, data
        line += 1


def _unreadable(path: Path, error: Exception) -> ConfigError:
    told = " ".join(str(error).split())
    return ConfigError(f"{str(path)!r} cannot be read ({told}); check the path.", path=path)
