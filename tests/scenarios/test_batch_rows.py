"""Rows of a file, read whole or in stretches, are the same rows, whatever the file holds."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeyman.scenarios import batch_rows
from journeyman.scenarios.batch_rows import Columns, JsonLines, ParquetRows

LINES = st.sampled_from(
    [b'{"text": "a"}', b"", b"  ", b"{", b"[]", b"\xff", b'{"text": "\\ud800"}']
)


@given(
    st.lists(LINES, max_size=30),
    st.integers(1, 7),
    st.booleans(),
    st.sampled_from([b"\n", b"\r\n"]),
)
def test_stretches_hold_the_rows_of_the_file(
    lines: list[bytes], size: int, closed: bool, ending: bytes
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "in.jsonl"
        path.write_bytes(ending.join(lines) + (ending if closed else b""))
        file = JsonLines(path, Columns())
        rows = list(file.rows())
        assert [row.number for row in rows] == list(range(file.scan().num_rows))
        assert [row.key for row in rows] == [at for at, one in enumerate(lines, 1) if one.strip()]
        chunks = list(file.chunks(size))
        assert [row for chunk in chunks for row in file.rows_of(chunk)] == rows
        assert all(chunk.num_rows == size for chunk in chunks[:-1])
        assert list(file.rows(first=3)) == rows[3:]


def test_a_line_beyond_all_bounds_is_an_error_and_the_next_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_rows, "MOST_LINE_BYTES", 64)
    path = tmp_path / "in.jsonl"
    path.write_bytes(b'{"text": "' + b"x" * 300 + b'"}\n{"text": "b"}\n')
    first, second = JsonLines(path, Columns()).rows()
    assert "Line 1 is longer than 64 bytes" in str(first.error)
    assert (second.key, second.task) == (2, {"text": "b"})


def test_a_byte_order_mark_is_no_part_of_the_first_row(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "a"}\n')
    (row,) = JsonLines(path, Columns()).rows()
    assert row.task == {"text": "a"}


def test_row_groups_of_parquet_are_its_stretches(tmp_path: Path) -> None:
    table = pa.table({"id": list(range(25)), "text": [f"t{i}" for i in range(25)]})
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=10)
    file = ParquetRows(tmp_path / "in.parquet", Columns(key="id", text="text"))
    rows = list(file.rows())
    assert [(row.key, row.task) for row in rows] == [(i, f"t{i}") for i in range(25)]
    chunks = list(file.chunks(3))
    assert [chunk.num_rows for chunk in chunks] == [10, 10, 5]
    assert [row for chunk in chunks for row in file.rows_of(chunk)] == rows
    assert list(file.rows(first=12)) == rows[12:]
