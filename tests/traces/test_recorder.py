"""The recorder commits in groups, keeps its word, and never stands in a run's way."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text

from journeyman.models.errors import TraceError
from journeyman.models.types import Reason
from journeyman.traces.payloads import DROPPED, HIDDEN
from journeyman.traces.recorder import Recorder
from journeyman.traces.records import (
    Record,
    ScenarioResultRecord,
    ScoreRecord,
    SuiteRunRecord,
    new_id,
    now,
)
from journeyman.traces.schema import Base
from journeyman.traces.store import Store
from tests.traces.conftest import Target

SECRET = "sk-abcdefghijklmnopqrstuvwx0123"

Program = Callable[..., "subprocess.Popen[str]"]


class Gate:
    """Stands before `Store.write`: counts, holds up, or fails."""

    def __init__(self, store: Store) -> None:
        self._write = store.write
        self.sizes: list[int] = []
        self.open = threading.Event()
        self.open.set()
        self.error: Exception | None = None
        store.write = self  # type: ignore[method-assign]

    def __call__(self, records: Iterable[Record]) -> None:
        batch = list(records)
        self.open.wait(20)
        if self.error is not None:
            raise self.error
        self._write(batch)
        self.sizes.append(len(batch))


async def test_a_committed_run_is_on_disk(store: Store, target: Target, make: Any) -> None:
    with Recorder(store) as recorder:
        run = make.run(input="question")
        recorder.record(run, make.span(run.id))
        assert await recorder.committed(run.id)
        with Store.open(target) as other:
            assert len(other.run(run.id).spans) == 1


def test_what_waits_is_written_in_one_transaction(store: Store, make: Any) -> None:
    gate = Gate(store)
    gate.open.clear()
    with Recorder(store, linger_seconds=0) as recorder:
        recorder.record(make.run())
        time.sleep(0.1)  # the writer is held up with the first one
        runs = [make.run() for _ in range(500)]
        for run in runs:
            recorder.record(run)
        gate.open.set()
        assert recorder.wait(runs[-1].id)
        assert gate.sizes == [1, 500]
    assert store.status().counts["runs"] == 501


def test_records_written_together_take_one_transaction(store: Store, make: Any) -> None:
    commits: list[object] = []
    event.listen(store.engine, "commit", commits.append)
    run = make.run(status="running")
    with Recorder(store, linger_seconds=5) as recorder:
        recorder.record(run, *(make.span(run.id) for _ in range(50)))
        recorder.record(dataclasses.replace(run, status="ok"))
        assert recorder.wait(run.id)
        assert len(commits) == 1


def test_nobody_has_to_ask_for_records_to_be_written(store: Store, make: Any) -> None:
    with Recorder(store, linger_seconds=0.01) as recorder:
        recorder.record(make.run())
        deadline = time.monotonic() + 5
        while recorder.num_written == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert recorder.num_written == 1


def test_closing_writes_what_is_waiting(store: Store, make: Any) -> None:
    recorder = Recorder(store, linger_seconds=60)
    for _ in range(3000):
        recorder.record(make.run())
    recorder.close()
    recorder.close()
    assert store.status().counts["runs"] == 3000


def test_a_closed_recorder_refuses_quietly(store: Store, make: Any) -> None:
    recorder = Recorder(store)
    recorder.close()
    run = make.run()
    recorder.record(run)
    assert recorder.wait(run.id) is False
    assert recorder.num_lost == 1
    assert "closed" in str(recorder.trouble)


async def test_many_loops_and_threads_share_a_recorder(store: Store, make: Any) -> None:
    results: list[bool] = []

    async def use() -> None:
        for _ in range(20):
            run = make.run()
            recorder.record(run)
            results.append(await recorder.committed(run.id))

    with Recorder(store) as recorder:
        threads = [threading.Thread(target=lambda: asyncio.run(use())) for _ in range(6)]
        for thread in threads:
            thread.start()
        await asyncio.gather(*(use() for _ in range(3)))
        await asyncio.to_thread(lambda: [thread.join() for thread in threads])
    assert results == [True] * 180
    assert store.status().counts["runs"] == 180


def test_a_caller_may_change_its_objects_afterwards(store: Store, make: Any) -> None:
    gate = Gate(store)
    gate.open.clear()
    with Recorder(store) as recorder:
        state = {"messages": ["first"]}
        run = make.run(input=state)
        recorder.record(run)
        state["messages"].append("second")
        gate.open.set()
        assert recorder.wait(run.id)
    assert store.run(run.id).run.input == {"messages": ["first"]}


# Trouble


@pytest.mark.parametrize("error", [TraceError("The disk is full."), RuntimeError("a bug")])
async def test_a_failing_store_never_fails_a_run(
    store: Store, make: Any, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    gate = Gate(store)
    gate.error = error
    with caplog.at_level(logging.WARNING, "journeyman.traces"), Recorder(store) as recorder:
        runs = [make.run() for _ in range(3)]
        for run in runs:
            recorder.record(run)
            assert await recorder.committed(run.id) is False
        assert recorder.trouble is error
        assert recorder.num_lost == 3
        assert len(caplog.records) == 1
        gate.error = None
        late = make.run()
        recorder.record(late)
        assert await recorder.committed(late.id)
        assert await recorder.committed(runs[0].id) is False


def test_a_deleted_file_is_answered_with_false(store: Store, path: Path, make: Any) -> None:
    with Recorder(store) as recorder:
        path.unlink()
        run = make.run()
        recorder.record(run)
        assert recorder.wait(run.id) is False
        assert "deleted" in str(recorder.trouble)


@pytest.mark.usefixtures("path")  # about SQLite alone
async def test_a_full_disk_is_answered_with_false_and_spares_later_runs(
    store: Store, make: Any
) -> None:
    limit = {"pages": 1}
    event.listen(
        store.engine,
        "checkout",
        lambda connection, *_: connection.execute(f"PRAGMA max_page_count={limit['pages']}"),
    )
    with Recorder(store) as recorder:
        run = make.run(input="x" * 1_000_000)
        recorder.record(run)
        assert await recorder.committed(run.id) is False
        assert "full" in str(recorder.trouble)
        limit["pages"] = 1_000_000
        later = make.run(input="x" * 1_000_000)
        recorder.record(later)
        assert await recorder.committed(later.id)


async def test_one_bad_record_does_not_take_others_with_it(store: Store, make: Any) -> None:
    with Recorder(store, linger_seconds=5) as recorder:
        good = [make.run() for _ in range(5)]
        naive = make.run(started_at=datetime(2026, 1, 1))  # noqa: DTZ001  # the fault
        huge = make.run(input_tokens=2**70)
        for run in [*good, naive, huge]:
            recorder.record(run)
        assert [await recorder.committed(run.id) for run in good] == [True] * 5
        assert await recorder.committed(naive.id) is False
        assert await recorder.committed(huge.id) is False
        assert recorder.num_lost == 2
    assert store.status().counts["runs"] == 5


async def test_waiting_ends_when_the_writer_hangs(store: Store, make: Any) -> None:
    gate = Gate(store)
    gate.open.clear()
    with Recorder(store) as recorder:
        run = make.run()
        recorder.record(run)
        assert await recorder.committed(run.id, timeout=0.05) is False
        assert recorder.wait(run.id, timeout=0.05) is False
        gate.open.set()
        assert await recorder.committed(run.id)


def test_a_full_queue_blocks_briefly_then_gives_up_content_and_loses_records_last(
    store: Store, make: Any
) -> None:
    gate = Gate(store)
    gate.open.clear()
    recorder = Recorder(store, max_queue=10, max_batch=5, linger_seconds=0, max_block_seconds=0.2)
    runs = [make.run(input=f"content {i}") for i in range(40)]
    start = time.monotonic()
    for run in runs:
        recorder.record(run)
    assert 0.15 < time.monotonic() - start < 2  # one wait, not one for each
    assert recorder.num_lost > 0
    gate.open.set()
    recorder.close()
    inputs = {summary.id: summary.input_preview for summary in store.runs(None)}
    assert len(inputs) == 40 - recorder.num_lost
    assert inputs[runs[0].id] == "content 0"
    without_content = next(run_id for run_id, shown in inputs.items() if shown == DROPPED)
    assert recorder.wait(without_content) is False
    assert recorder.wait(runs[-1].id) is False
    assert recorder.wait(runs[0].id) is True


def test_content_that_is_given_up_is_complained_of(store: Store, make: Any) -> None:
    gate = Gate(store)
    gate.open.clear()
    with Recorder(store, max_queue=10, max_batch=5, max_block_seconds=0.01) as recorder:
        for _ in range(20):
            recorder.record(make.run())
        assert "content" in str(recorder.trouble)
        assert recorder.num_lost == 0
        gate.open.set()


def test_a_queue_that_drains_in_time_loses_nothing(store: Store, make: Any) -> None:
    with Recorder(store, max_queue=20, max_block_seconds=20) as recorder:
        for i in range(2000):
            recorder.record(make.run(input=i))
    assert recorder.num_lost == 0
    counts = store.status().counts
    assert (counts["runs"], counts["payloads"]) == (2000, 2000)


def test_waiting_for_a_suite_run_covers_its_results(store: Store) -> None:
    suite = SuiteRunRecord(
        id=new_id(),
        suite="s",
        suite_hash="h",
        config_hash="c",
        status="running",
        started_at=now(),
    )
    result = ScenarioResultRecord(
        suite_run_id=suite.id, scenario_id="one", scenario_hash="h", status="passed"
    )
    with Recorder(store) as recorder:
        recorder.record(suite, result)
        assert recorder.wait(suite.id)
    assert store.scenario_results(suite.id) == [result]


# What is kept


def everything(make: Any, secret: str) -> list[Record]:
    """One record of each kind that holds a text wherever one can be."""
    run = make.run(
        input=secret, output={"a": [secret]}, error_message=f"why: {secret}", tags=(secret,)
    )
    attempt = make.attempt(
        run.id,
        input=secret,
        output=secret,
        raw=secret,
        answer=secret,
        note=secret,
        error=secret,
        evidence={"p": 0.5},
        checks=[{"name": "schema", "passed": False, "hard": True, "detail": secret}],
    )
    return [
        run,
        make.span(run.id, input=secret, status_message=secret, attributes={"x": secret, "n": 1}),
        attempt,
        make.escalation(
            attempt,
            student_output=secret,
            frontier_output=secret,
            error=secret,
            reason=Reason.AUDIT,
        ),
        ScoreRecord(
            target_type="run", target_id=run.id, run_id=run.id, name="n", explanation=secret
        ),
        SuiteRunRecord(
            id=new_id(),
            suite="s",
            suite_hash="h",
            config_hash="c",
            status="error",
            started_at=now(),
            stop_reason=secret,
            argv=("run", secret),
            environment={"KEY": secret},
        ),
        ScenarioResultRecord(
            suite_run_id=new_id(),
            scenario_id="one",
            scenario_hash="h",
            status="failed",
            metrics={"said": secret, "f1": 0.5},
            reason=secret,
        ),
    ]


def dump(store: Store) -> str:
    """Every row of every table as text; of SQLite the whole file."""
    if store.engine.dialect.name == "sqlite":
        with closing(sqlite3.connect(store.url.database or "")) as connection:
            return "\n".join(connection.iterdump())
    tables = Base.metadata.sorted_tables
    return "\n".join(
        str(row)
        for table in tables
        for row in store.read(lambda c, t=table: c.execute(text(f"SELECT * FROM {t.name}")).all())
    )


def test_secrets_reach_the_file_in_no_column(store: Store, make: Any) -> None:
    with Recorder(store, redact=None) as recorder:
        recorder.record(*everything(make, SECRET))
    assert dump(store).count(SECRET) >= 18  # so that the test can fail

    with Recorder(store) as recorder:
        recorder.record(*everything(make, f"sk-another{SECRET[3:]}"))
        assert recorder.num_lost == 0
    assert "another" not in dump(store)


def test_a_failing_redactor_hides_everything_and_the_run_goes_on(store: Store, make: Any) -> None:
    def broken(value: Any) -> Any:
        raise RuntimeError(f"cannot read {value}")

    with Recorder(store, redact=broken) as recorder:
        records = everything(make, "personal")
        recorder.record(*records)
        run_id = records[0].id
        assert recorder.wait(run_id)
    assert "personal" not in dump(store)
    trace = store.run(run_id)
    assert (trace.run.input, trace.run.error_message) == (HIDDEN, HIDDEN)
    assert trace.attempts[0].evidence == {"p": 0.5}
    assert trace.attempts[0].checks == ()


def test_a_redactor_that_returns_something_odd_cannot_break_the_record(
    store: Store, make: Any
) -> None:
    with Recorder(store, redact=lambda _: object()) as recorder:
        run = make.run(input="x", tags=("a",))
        recorder.record(run, make.span(run.id, attributes={"a": 1}))
        assert recorder.wait(run.id)
    assert store.run(run.id).run.tags == ()
    assert store.run(run.id).spans[0].span.attributes == {}


def test_without_content_only_numbers_names_and_times_are_kept(store: Store, make: Any) -> None:
    with Recorder(store, redact=None, capture_content=False) as recorder:
        records = everything(make, "personal")
        recorder.record(*(dataclasses.replace(r) for r in records if not hasattr(r, "argv")))
    assert dump(store).count("personal") == 1  # the run's tag: the caller's own name for it
    trace = store.run(records[0].id)
    assert trace.run.input == HIDDEN
    assert trace.attempts[0].evidence == {"p": 0.5}
    assert trace.attempts[0].checks == ({"name": "schema", "passed": False, "hard": True},)
    assert trace.escalations[0].reason == "audit"
    assert trace.spans[0].span.attributes == {"x": HIDDEN, "n": 1}


def test_missing_content_stays_missing_rather_than_hidden(store: Store, make: Any) -> None:
    with Recorder(store, capture_content=False) as recorder:
        run = make.run()
        recorder.record(run)
        recorder.wait(run.id)
    assert store.run(run.id).run.input is None


# Other processes


def test_a_process_that_just_ends_has_its_runs_on_disk(target: Target, program: Program) -> None:
    out, err = program("record-without-closing", target).communicate(timeout=60)
    assert err == ""
    with Store.open(target) as store:
        assert store.run(out.strip()).run.status == "ok"


def test_a_forked_child_is_refused_and_its_parent_goes_on(target: Target, program: Program) -> None:
    out, err = program("fork", target).communicate(timeout=60)
    child, parent = out.splitlines()
    assert child.startswith("False")
    assert "forked" in child
    assert parent == "True"
    assert err.count("incomplete") == 1
    with Store.open(target) as store:
        assert store.status().counts["runs"] == 2


def test_a_kill_at_any_moment_loses_no_committed_run(target: Target, program: Program) -> None:
    """Fifty processes are killed while they write; every run that was promised is whole."""
    out, errors = program("crash", target, 50).communicate(timeout=120)
    assert errors == ""
    lines = out.split()
    promised = {line for line in lines if line != "killed"}
    assert lines.count("killed") == 50
    assert len(promised) > 200
    with Store.open(target) as store:
        store.integrity()
        assert store.status().counts["runs"] >= len(promised)
        for run_id in promised:
            trace = store.run(run_id)
            assert (trace.run.status, len(trace.spans), len(trace.attempts)) == ("ok", 1, 1)
            assert trace.run.input == trace.attempts[0].input
