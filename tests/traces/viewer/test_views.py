"""The views and the search that the viewer's migration adds."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from journeyman.traces.records import RunRecord, now
from journeyman.traces.schema import Certificate, Release
from journeyman.traces.store import Store
from journeyman.traces.viewer.queries import overview, runs, sessions
from tests.traces.viewer.conftest import run_id


def query(path: Path, sql: str, *values: Any) -> list[dict[str, Any]]:
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    try:
        return [dict(row) for row in connection.execute(sql, values)]
    finally:
        connection.close()


def found(path: Path, words: str) -> set[str]:
    sql = """SELECT run_id FROM run_texts WHERE id IN
        (SELECT rowid FROM run_search WHERE run_search MATCH ?)"""
    return {row["run_id"] for row in query(path, sql, words)}


def certify(store: Store, number: int, **given: Any) -> None:
    values = {
        "id": f"c{number}", "release_id": "extraction@00000001", "kind": "joint",
        "max_error": 0.05, "delta": 0.05, "n": 100, "k": 1, "threshold": 0.7, "coverage": 0.6,
        "label_source": "frontier", "data_hash": "d", "created_at": now(),
    }  # fmt: skip
    store.transact(
        lambda c: c.execute(Certificate.__table__.insert().values(**{**values, **given}))
    )


def test_trust_is_cold_then_certified_then_suspended(filled: Path) -> None:
    def trust() -> list[tuple[str, str | None]]:
        return [(r["trust"], r["release"]) for r in query(filled, "SELECT * FROM v_trust")]

    assert trust() == [("cold", None)]
    with Store.open(filled) as store:
        store.transact(
            lambda c: c.execute(
                insert(Release).values(
                    id="extraction@00000001", agent="extraction", status="active",
                    created_at=now(), student_kind="tagger", base_model="m", path="p",
                    num_bytes=1, metrics="{}",
                )
            )
        )  # fmt: skip
        assert trust() == [("cold", "extraction@00000001")]
        certify(store, 1, threshold=None)
        assert trust() == [("cold", "extraction@00000001")]
        certify(store, 2)
        assert trust() == [("certified", "extraction@00000001")]
        certify(store, 3, withdrawn_at=now(), withdrawn_reason="drift")
        assert trust() == [("suspended", "extraction@00000001")]


def test_sessions_add_up_their_runs(filled: Path) -> None:
    rows = query(filled, "SELECT * FROM v_sessions ORDER BY session_id")
    assert [row["num_runs"] for row in rows] == [40, 40, 40]
    assert sum(row["num_escalations"] for row in rows) == 60
    assert rows[0]["cost_microusd"] == 40_000


def test_suites_tell_their_share_of_passes(filled: Path) -> None:
    [row] = query(filled, "SELECT * FROM v_suite_history")
    assert (row["suite"], row["pass_rate"]) == ("desk", 0.75)


def test_search_finds_what_was_asked_and_what_was_answered(filled: Path) -> None:
    assert found(filled, "question AND 7") == {run_id(7)}
    assert len(found(filled, "post")) == 120


@pytest.mark.parametrize("word", ["messages", "value", "extraction", "carrier"])
def test_search_does_not_find_names_of_fields_and_agents(filled: Path, word: str) -> None:
    assert found(filled, word) == set()


def test_search_forgets_what_is_no_longer_there(filled: Path) -> None:
    with Store.open(filled) as store:
        again = RunRecord(id=run_id(7), graph="g", status="ok", started_at=now(), input="novel")
        store.write([again])
    assert found(filled, "question AND 7") == set()
    assert found(filled, "novel") == {run_id(7)}
    with sqlite3.connect(filled) as connection:
        connection.execute("DELETE FROM runs WHERE id = ?", [run_id(7)])
    assert found(filled, "novel") == set()
    with sqlite3.connect(filled) as connection:
        connection.execute("INSERT INTO run_search (run_search) VALUES ('integrity-check')")


@pytest.mark.parametrize("text", ["x " * 300_000, '"' * 1000, "\ud800 lone", ""])
def test_no_content_keeps_a_run_from_being_written(filled: Path, text: str) -> None:
    deep: Any = text
    for _ in range(1_500):
        deep = [deep]
    with Store.open(filled) as store:
        for number, content in enumerate((text, deep, {"a": {text: text}})):
            run = RunRecord(id=f"r{number}", graph="g", status="ok", started_at=now(),
                            input=content)  # fmt: skip
            store.write([run])
    assert len(query(filled, "SELECT id FROM runs WHERE id LIKE 'r_'")) == 3


ASKED: dict[str, Callable[[sqlite3.Connection], Any]] = {
    "traffic": lambda c: overview.traffic(c, "2026-03-01", "2026-03-30"),
    "cost": lambda c: overview.cost(c, "2026-03-01", "2026-03-30", {}),
    "reasons": lambda c: overview.reasons(c, "2026-03-01", "2026-03-30"),
    "sessions": lambda c: sessions.listing(c, 1),
    "facets": lambda c: runs.facets(c, runs.Filter()),
    "neighbours": lambda c: runs.neighbours(c, runs.Filter(), {"started_at": "2026", "id": "x"}),
}


@pytest.mark.parametrize("name", ASKED)
def test_what_reads_all_rows_reads_them_from_an_index_alone(filled: Path, name: str) -> None:
    connection = sqlite3.connect(filled)
    connection.row_factory = sqlite3.Row
    said: list[str] = []
    connection.set_trace_callback(said.append)
    ASKED[name](connection)
    connection.set_trace_callback(None)
    assert said
    for sql in said:
        plan = [row["detail"] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}")]
        scans = [step for step in plan if re.match(r"(SCAN|SEARCH) (?!v_|json_each)", step)]
        assert all("USING COVERING INDEX" in step for step in scans), (sql, plan)
    connection.close()
