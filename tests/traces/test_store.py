"""The store keeps what it is given, whole or not at all, and says plainly what is wrong."""

from __future__ import annotations

import dataclasses
import math
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, text

from journeyman.models.errors import CorruptRecord, SchemaTooNew, TraceError
from journeyman.traces.engine import describe, make_engine, parse_url
from journeyman.traces.records import (
    AttemptRecord,
    ScenarioResultRecord,
    ScoreRecord,
    SuiteRunRecord,
    new_id,
    new_trace_id,
    now,
)
from journeyman.traces.schema import SCHEMA_HEAD
from journeyman.traces.store import Store
from tests.traces.conftest import Target

MOMENTS = st.datetimes(min_value=datetime(1990, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  # hypothesis adds the zone
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
COLUMN_TEXT = TEXT.filter(lambda given: "\0" not in given)
PROBABILITIES = st.none() | st.floats(0, 1)


def rows(store: Store, query: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in store.read(lambda c: c.execute(text(query)).all())]


def change(target: Target, statement: str) -> None:
    """Change a store behind its back."""
    engine = make_engine(parse_url(target))
    with engine.connect() as connection:
        connection.execute(text(statement))
        connection.commit()
    engine.dispose()


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_run_is_read_back_as_it_was_written(store: Store, make: Any, data: Any) -> None:
    draw = data.draw
    started = draw(MOMENTS)
    run = make.run(
        graph=draw(COLUMN_TEXT),
        started_at=started,
        ended_at=draw(st.none() | st.just(started + timedelta(seconds=2))),
        input=draw(JSON),
        output=draw(JSON),
        cost_microusd=draw(st.none() | st.integers(0, 2**62)),
        error_message=draw(st.none() | COLUMN_TEXT),
        tags=tuple(draw(st.lists(TEXT, max_size=3))),
    )
    span = make.span(run.id, started_at=draw(MOMENTS), input=draw(JSON), attributes={"a": 1})
    attempt = make.attempt(
        run.id,
        input=draw(JSON),
        output=draw(JSON),
        raw=draw(JSON),
        answer=draw(JSON),
        evidence=draw(st.dictionaries(TEXT, st.floats(allow_nan=False), max_size=4)),
        checks=({"name": "schema", "passed": True, "hard": True, "detail": draw(TEXT)},),
        confidence=draw(PROBABILITIES),
        certified=draw(st.booleans()),
    )
    escalation = make.escalation(
        attempt,
        student_output=draw(JSON),
        frontier_output=draw(JSON),
        agreement=draw(st.none() | st.booleans()),
        created_at=draw(MOMENTS),
    )
    score = ScoreRecord(target_type="run", target_id=run.id, run_id=run.id, name="ok", score=1.0)
    store.write([score, escalation, attempt, span, run])
    trace = store.run(run.id)
    assert trace.run == run
    assert [node.span for node in trace.spans] == [span]
    assert trace.attempts == (attempt,)
    assert trace.escalations == (escalation,)
    assert trace.scores == (score,)


def test_numbers_that_json_cannot_say_are_kept(store: Store, make: Any) -> None:
    run = make.run(input={"score": math.inf})
    store.write([run, make.attempt(run.id, evidence={"margin": math.nan, "top": -math.inf})])
    trace = store.run(run.id)
    assert math.isnan(trace.attempts[0].evidence["margin"])
    assert trace.attempts[0].evidence["top"] == -math.inf
    assert trace.run.input == {"score": "inf"}


@pytest.mark.parametrize("given", ["\ud800", "a\0b", "\\ud800 is text", "naïve 🙂"])
def test_any_python_text_can_be_stored(store: Store, make: Any, given: str) -> None:
    run = make.run(input={given: [given]}, error_message=given)
    store.write([run])
    assert store.run(run.id).run.input == {given: [given]}
    assert store.integrity() == 1


def test_objects_that_are_no_json_are_kept_in_words(store: Store, make: Any) -> None:
    class Opaque:
        def __repr__(self) -> str:
            return "Opaque()"

    circular: list[Any] = []
    circular.append(circular)
    run = make.run(input=Opaque(), output=circular)
    store.write([run])
    assert store.run(run.id).run.input == "Opaque()"
    assert store.run(run.id).run.output == "__UNREADABLE__"


def test_equal_content_is_stored_once_under_its_tagged_hash(store: Store, make: Any) -> None:
    store.write([make.run(input={"b": 1, "a": 2}), make.run(input={"a": 2, "b": 1})])
    store.write([make.run(output={"a": 2, "b": 1})])
    [(key, content)] = rows(store, "SELECT hash, content FROM payloads")
    assert key.startswith("sha256:")
    assert content == '{"a":2,"b":1}'
    assert store.payload(key) == {"a": 2, "b": 1}


def test_a_run_written_twice_is_one_row_with_its_end(store: Store, make: Any) -> None:
    started = make.run(status="running", input="question", session_id="thread")
    ended = dataclasses.replace(
        started, status="ok", ended_at=started.started_at + timedelta(seconds=3), output="answer"
    )
    store.write([started])
    store.write([ended])
    assert store.run(started.id).run == ended
    assert store.runs()[0].duration_ms == 3000


def test_a_late_start_does_not_undo_the_end_of_a_run(store: Store, make: Any) -> None:
    run = make.run(status="error", error_type="ValueError")
    store.write([run])
    store.write([dataclasses.replace(run, status="running", error_type=None)])
    assert store.run(run.id).run == run


def test_a_resumed_run_runs_again_and_keeps_its_input(store: Store, make: Any) -> None:
    run = make.run(status="interrupted", input="question", scenario_id="s")
    store.write([run])
    store.write([dataclasses.replace(run, status="running", input=None, scenario_id=None)])
    again = store.run(run.id).run
    assert (again.status, again.input, again.scenario_id) == ("running", "question", "s")


def test_writing_an_escalation_again_keeps_the_review(
    store: Store, target: Target, make: Any
) -> None:
    attempt = make.attempt(new_trace_id())
    escalation = make.escalation(attempt, status="queued")
    store.write([attempt, escalation])
    change(target, "UPDATE escalations SET review_status = 'approved', reviewer = 'ada'")
    store.write([dataclasses.replace(escalation, status="answered")])
    query = "SELECT status, review_status, reviewer FROM escalations"
    assert rows(store, query) == [("answered", "approved", "ada")]


def test_a_score_given_again_replaces_the_first(store: Store, make: Any) -> None:
    run = make.run()
    first, second = (
        ScoreRecord(target_type="run", target_id=run.id, run_id=run.id, name="ok", score=score)
        for score in (0.0, 1.0)
    )
    store.write([run, first, second])
    [score] = store.run(run.id).scores
    assert (score.id, score.score) == (first.id, 1.0)


def test_a_batch_is_written_whole_or_not_at_all(store: Store, make: Any) -> None:
    good, bad = make.run(), make.run(started_at=datetime(2026, 1, 1))  # noqa: DTZ001  # the fault
    with pytest.raises(TraceError, match="no time zone"):
        store.write([good, bad])
    assert store.runs() == []


def test_runs_are_listed_newest_first_and_filtered(store: Store, make: Any) -> None:
    start = now()
    runs = [
        make.run(status=status, started_at=start + timedelta(seconds=i))
        for i, status in enumerate(["ok", "error", "ok"])
    ]
    store.write([*runs, make.attempt(runs[0].id, agent="retrieval")])
    ids = [run.id for run in runs]
    assert [run.id for run in store.runs()] == ids[::-1]
    assert [run.id for run in store.runs(1)] == [ids[2]]
    assert [run.id for run in store.runs(agent="retrieval")] == [ids[0]]
    assert [run.id for run in store.runs(status="error")] == [ids[1]]
    assert [run.id for run in store.runs(since=runs[1].started_at)] == ids[:0:-1]


def test_a_run_is_found_by_the_start_of_its_id(store: Store, make: Any) -> None:
    store.write([make.run(id="ab" + "0" * 30), make.run(id="ac" + "0" * 30)])
    assert store.run("ab").run.id.startswith("ab")
    for prefix, complaint in [("a", "More than one"), ("ff", "no run 'ff'"), ("", "no run ''")]:
        with pytest.raises(TraceError, match=complaint):
            store.run(prefix)
    with pytest.raises(TraceError, match="no run '%'"):
        store.run("%")


def test_spans_form_a_tree_and_orphans_stay_visible(store: Store, make: Any) -> None:
    run, start = make.run(), now()
    root = make.span(run.id, name="root", started_at=start)
    kids = [
        make.span(run.id, name=f"kid{i}", parent_id=root.id, started_at=start + timedelta(i))
        for i in (2, 1)
    ]
    orphan = make.span(run.id, name="orphan", parent_id="f" * 16, started_at=start + timedelta(3))
    loop = make.span(run.id, id="1" * 16, parent_id="1" * 16, name="loop")
    store.write([run, *kids, orphan, root, loop])
    top = store.run(run.id).spans
    assert [node.span.name for node in top] == ["root", "orphan", "loop"]
    assert [node.span.name for node in top[0].children] == ["kid1", "kid2"]


def test_a_deep_chain_of_spans_is_no_trouble(store: Store, make: Any) -> None:
    run, start = make.run(), now()
    spans = [
        make.span(run.id, id=f"{i:016x}", parent_id=f"{i - 1:016x}", started_at=start)
        for i in range(3000)
    ]
    store.write([run, *spans])
    node, depth = store.run(run.id).spans[0], 1
    while node.children:
        node, depth = node.children[0], depth + 1
    assert depth == 3000


def test_suite_runs_and_their_results_are_read_back(store: Store) -> None:
    suite = SuiteRunRecord(
        id=new_id(),
        suite="desk",
        suite_hash="a",
        config_hash="b",
        status="passed",
        started_at=now(),
        num_total=1,
        argv=("journeyman", "run"),
        environment={"python": "3.11"},
    )
    result = ScenarioResultRecord(
        suite_run_id=suite.id,
        scenario_id="one",
        scenario_hash="c",
        status="failed",
        metrics={"f1": 0.5},
    )
    store.write([suite, result, dataclasses.replace(result, status="passed", epoch=1)])
    store.write([dataclasses.replace(result, status="passed")])
    assert store.suite_run(suite.id[:14]) == suite
    assert store.suite_runs(suite="desk") == [suite]
    assert store.suite_runs(suite="other") == []
    assert [r.status for r in store.scenario_results(suite.id)] == ["passed", "passed"]


def test_attempts_and_escalations_can_be_asked_for(store: Store, make: Any) -> None:
    run = make.run()
    attempts = [make.attempt(run.id, agent=agent) for agent in ("extraction", "retrieval")]
    escalation = make.escalation(attempts[1], created_at=now() - timedelta(days=2))
    store.write([run, *attempts, escalation])
    assert store.attempts(agent="retrieval") == [attempts[1]]
    assert isinstance(store.attempts(limit=1)[0], AttemptRecord)
    assert store.escalations(review_status="pending") == [escalation]
    assert store.escalations(review_status="approved") == []
    assert store.escalations(since=now() - timedelta(days=1)) == []


def test_status_counts_rows_and_bytes(store: Store, target: Target, make: Any) -> None:
    store.write([make.run(input="x")])
    status = store.status()
    assert status.schema_version == SCHEMA_HEAD
    assert (status.counts["runs"], status.counts["payloads"], status.counts["spans"]) == (1, 1, 0)
    assert status.num_bytes > status.wal_bytes
    assert (status.wal_bytes > 0) == isinstance(target, Path)


def test_closing_empties_the_log(path: Path, make: Any) -> None:
    store = Store.open(path)
    store.write([make.run()])
    store.close()
    store.close()
    assert not path.with_name("traces.db-wal").exists()
    with pytest.raises(TraceError, match="is closed"):
        store.runs()


def test_integrity_finds_a_changed_payload(store: Store, target: Target, make: Any) -> None:
    run = make.run(input="right")
    store.write([run])
    assert store.integrity() == 1
    change(target, "UPDATE payloads SET content = '\"wrong\"'")
    for check in (store.integrity, lambda: store.run(run.id)):
        with pytest.raises(CorruptRecord, match="does not match its hash"):
            check()


def test_integrity_finds_a_missing_payload(store: Store, path: Path, make: Any) -> None:
    store.write([make.run(input="right")])
    connection = sqlite3.connect(path)
    connection.execute("DELETE FROM payloads")
    connection.commit()
    connection.close()
    with pytest.raises(CorruptRecord, match="foreign_key_check"):
        store.integrity()


def test_a_newer_schema_is_refused(store: Store, target: Target) -> None:
    store.close()
    change(target, "UPDATE schema_version SET version_num = '9999_future'")
    for read_only in (False, True):
        with pytest.raises(SchemaTooNew, match="install a newer Journeyman"):
            Store.open(target, read_only=read_only)


@pytest.mark.sqlite_only("about files")
def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="is a directory"):
        Store.open(tmp_path)


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b"short"])
def test_a_file_of_another_kind_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(TraceError, match="not a trace store"):
        Store.open(path)
    assert path.read_bytes() == content


def test_a_database_of_another_application_is_refused(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (a)")
    connection.close()
    with pytest.raises(TraceError, match="belongs to another application"):
        Store.open(path)


def test_a_damaged_file_is_refused(store: Store, path: Path, make: Any) -> None:
    store.write([make.run(input=str(i)) for i in range(200)])
    store.close()
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(CorruptRecord, match="damaged"), Store.open(path) as opened:
        opened.integrity()


@pytest.mark.sqlite_only("about files")
def test_a_missing_file_is_made_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "traces.db"
    for options in ({"create": False}, {"read_only": True}):
        with pytest.raises(TraceError, match="There is no trace store"):
            Store.open(path, **options)
    assert not path.parent.exists()
    Store.open(path).close()
    assert path.exists()


@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        (":memory:", "is a file"),
        ("", "is a file"),
        ("sqlite://", "is a file"),
        ("mysql://host/db", "cannot be kept in 'mysql'"),
        ("://", "cannot be read"),
        ("/dev/null", "not a regular file"),
        ("/dev/null/traces.db", "cannot be made"),
        ("a\0b.db", "is a file"),
        ("postgresql://host:port/name", "cannot be read"),
    ],
)
def test_a_target_that_is_no_store_is_refused(target: str, complaint: str) -> None:
    with pytest.raises(TraceError, match=complaint):
        Store.open(target)


@pytest.mark.sqlite_only("about files")
def test_odd_characters_in_a_path_are_no_trouble(tmp_path: Path, make: Any) -> None:
    path = tmp_path / "what? 100%#1 & more.db"
    with Store.open(path) as store:
        store.write([make.run()])
    with Store.open(f"sqlite:///{tmp_path / 'plain.db'}") as store:
        assert store.runs() == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["plain.db", path.name]


def test_a_password_is_not_told(tmp_path: Path) -> None:
    pytest.importorskip("psycopg", reason="needs the postgres extra")
    with pytest.raises(TraceError) as caught:
        Store.open("postgresql://ada:secret@127.0.0.1:1/none?password=secret")
    assert "secret" not in str(caught.value)


def test_a_store_is_named_without_any_password() -> None:
    named = describe(parse_url("postgresql://ada:secret@db/traces?password=secret"))
    assert named == "'postgresql://ada:***@db/traces'"


def test_a_file_that_may_not_be_written_is_refused(
    store: Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.close()
    monkeypatch.setattr("os.access", lambda *_: False)  # the tests may run as root
    with pytest.raises(TraceError, match="may not be written"):
        Store.open(path)
    Store.open(path, read_only=True).close()


def test_a_read_only_store_sees_what_is_still_in_the_log_and_writes_nothing(
    store: Store, target: Target, make: Any
) -> None:
    run = make.run()
    store.write([run])
    with Store.open(target, read_only=True) as reader:
        assert reader.run(run.id).run == run
        with pytest.raises(TraceError, match="for reading only"):
            reader.write([run])


def test_a_full_disk_is_a_trace_error(path: Path, make: Any) -> None:
    with Store.open(path) as store:
        event.listen(
            store.engine,
            "checkout",
            lambda connection, *_: connection.execute("PRAGMA max_page_count=1"),
        )
        with pytest.raises(TraceError, match="is full"):
            store.write([make.run(input="x" * 1_000_000)])
        assert store.runs() == []


def test_a_deleted_file_is_noticed(store: Store, path: Path, make: Any) -> None:
    path.unlink()
    with pytest.raises(TraceError, match="deleted or replaced"):
        store.write([make.run()])


def test_a_writer_waits_for_another(store: Store, path: Path, make: Any) -> None:
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.3, other.execute, ["COMMIT"])
    release.start()
    start = time.monotonic()
    store.write([make.run()])
    assert time.monotonic() - start > 0.2
    release.join()
    other.close()


def test_waiting_ends_with_a_sentence_and_not_with_locked(
    path: Path, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("journeyman.traces.engine.BUSY_TIMEOUT_SECONDS", 0.05)
    with Store.open(path, busy_seconds=0.2) as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(TraceError, match="kept busy by another process") as caught:
            store.write([make.run()])
        assert "locked" not in str(caught.value)
        other.execute("ROLLBACK")
        other.close()
        store.write([make.run()])
        assert len(store.runs()) == 1


def test_content_does_not_show_in_a_traceback(store: Store, make: Any) -> None:
    bad = make.run(input="my secret", started_at=datetime(2026, 1, 1))  # noqa: DTZ001  # the fault
    with pytest.raises(TraceError) as caught:
        store.write([bad])
    assert "my secret" not in f"{caught.value} {caught.value.__cause__}"


Program = Callable[..., "subprocess.Popen[str]"]


def test_two_processes_may_open_a_fresh_file_at_once(target: Target, program: Program) -> None:
    start = time.time() + 1.5
    processes = [program("open", target, start) for _ in range(3)]
    for process in processes:
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (0, "", "")
    with Store.open(target) as store:
        assert store.status().schema_version == SCHEMA_HEAD


@pytest.mark.sqlite_only("about files")
def test_threads_may_open_fresh_files_at_once(tmp_path: Path) -> None:
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            Store.open(tmp_path / f"{number % 2}.db").close()
        except BaseException as error:  # noqa: BLE001  # told below
            errors.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


@pytest.mark.slow
def test_eight_processes_write_one_file_and_nothing_is_lost(
    target: Target, program: Program
) -> None:
    num_runs = 200
    processes = [program("record", target, num_runs) for _ in range(8)]
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert (process.returncode, err) == (0, "")
        assert set(out.split()) == {"True"}
    with Store.open(target) as store:
        counts = store.status().counts
        assert (counts["runs"], counts["spans"], counts["attempts"]) == (1600, 1600, 1600)
        assert {run.status for run in store.runs(None)} == {"ok"}
        store.integrity()
