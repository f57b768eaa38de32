"""Trace rows per second: through the recorder, and against bare inserts of the same rows."""

from __future__ import annotations

import sqlite3
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from journeyman.traces.recorder import Recorder
from journeyman.traces.records import RunRecord, SpanRecord, new_span_id, new_trace_id
from journeyman.traces.store import Store

NUM_RUNS = 4000


def _recorded(path: Path) -> float:
    with Store.open(path) as store:
        start = time.perf_counter()
        with Recorder(store) as recorder:
            for number in range(NUM_RUNS):
                run_id, now = new_trace_id(), datetime.now(UTC)
                recorder.record(
                    RunRecord(id=run_id, graph="bench", status="ok", started_at=now),
                    SpanRecord(
                        id=new_span_id(),
                        run_id=run_id,
                        parent_id=None,
                        name="chat",
                        kind="LLM",
                        status="ok",
                        started_at=now,
                        duration_ms=1.0,
                        input={"text": f"task {number} " * 20},
                        output={"value": number},
                    ),
                )
            recorder.wait(run_id)
        return 2 * NUM_RUNS / (time.perf_counter() - start)


def _bare(path: Path) -> float:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("CREATE TABLE rows (id TEXT PRIMARY KEY, started TEXT, payload TEXT)")
        start = time.perf_counter()
        for first in range(0, 2 * NUM_RUNS, 100):
            connection.executemany(
                "INSERT INTO rows VALUES (?, ?, ?)",
                [
                    (new_trace_id(), str(datetime.now(UTC)), f"task {number} " * 20)
                    for number in range(first, first + 100)
                ],
            )
            connection.commit()
        return 2 * NUM_RUNS / (time.perf_counter() - start)


def measure() -> list[str]:
    """Lines of the report."""
    with tempfile.TemporaryDirectory() as folder:
        recorded = _recorded(Path(folder) / "recorded.db")
        bare = _bare(Path(folder) / "bare.db")
    return [
        (
            f"traces: {recorded:,.0f} rows a second through the recorder, {bare:,.0f} bare inserts "
            f"({bare / recorded:.1f}x)"
        )
    ]
