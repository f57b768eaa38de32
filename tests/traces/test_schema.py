"""The migrations make what the models say, the views answer, and every column is described."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import insert, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import IntegrityError
from sqlalchemy.schema import CreateIndex, CreateTable

from journeyman.models.errors import TraceError
from journeyman.traces import column_types, migrate
from journeyman.traces.migrations import views_0001
from journeyman.traces.records import now
from journeyman.traces.schema import SCHEMA_HEAD, VERSION_TABLE, VIEWS, Base, Release, Round
from journeyman.traces.store import Store

DOCS = Path(__file__).parents[2] / "docs" / "traces.md"

SEARCH = ("run_texts", "run_search")
"""What the migrations alone make, otherwise for each database, and no model says."""


def _is_modelled(item: Any, name: str | None, kind: str, *_: Any) -> bool:
    return not (kind == "table" and str(name).startswith(SEARCH))


def query(store: Store, sql: str) -> list[dict[str, Any]]:
    rows = store.read(lambda connection: connection.execute(text(sql)).mappings().all())
    return [dict(row) for row in rows]


def query_file(path: Path, sql: str) -> list[dict[str, Any]]:
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    try:
        return [dict(row) for row in connection.execute(sql)]
    finally:
        connection.close()


def test_the_migrations_make_what_the_models_say(store: Store) -> None:
    with store.engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "version_table": VERSION_TABLE,
                "compare_server_default": True,
                "include_object": _is_modelled,
            },
        )
        assert compare_metadata(context, Base.metadata) == []


def test_the_newest_migration_is_the_one_that_the_code_expects() -> None:
    config = Config()
    config.set_main_option("script_location", str(migrate.SCRIPTS))
    script = ScriptDirectory.from_config(config)
    assert script.get_heads() == [SCHEMA_HEAD]
    files = {path.stem for path in (migrate.SCRIPTS / "versions").glob("[0-9]*.py")}
    assert {revision.revision for revision in script.walk_revisions()} == files


def test_the_views_are_those_that_are_promised(store: Store, path: Path) -> None:
    found = query_file(path, "SELECT name FROM sqlite_master WHERE type = 'view' ORDER BY name")
    assert tuple(row["name"] for row in found) == VIEWS


def test_every_table_view_and_column_is_described(store: Store, path: Path) -> None:
    described: dict[str, set[str]] = {}
    for section in re.split(r"^### ", DOCS.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        name = section.splitlines()[0].strip("` ")
        described[name] = set(re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE))
    sql = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view')"
    actual = {
        row["name"]: {
            column["name"] for column in query_file(path, f"PRAGMA table_info({row['name']})")
        }
        for row in query_file(path, sql)
        if not row["name"].startswith("run_search_")  # FTS5's own
    }
    assert {name: described.get(name) for name in actual} == actual
    assert described.keys() == actual.keys()


def test_tables_and_indexes_can_be_said_to_postgresql() -> None:
    dialect = postgresql.dialect()
    for table in Base.metadata.sorted_tables:
        for statement in [CreateTable(table), *map(CreateIndex, table.indexes)]:
            said = str(statement.compile(dialect=dialect))
            for name in re.findall(r"\b(?:ix|uq|fk|pk)_\w+", said):
                assert len(name) <= 63


def test_an_older_schema_is_not_read_but_migrated(path: Path) -> None:
    Store.open(path).close()
    connection = sqlite3.connect(path)
    for name in VIEWS:
        connection.execute(f"DROP VIEW {name}")
    for name in reversed(SEARCH):
        connection.execute(f"DROP TABLE {name}")
    for table in reversed(Base.metadata.sorted_tables):
        connection.execute(f"DROP TABLE {table.name}")
    connection.execute(f"DROP TABLE {VERSION_TABLE}")
    connection.commit()
    connection.close()
    with pytest.raises(TraceError, match="older schema"):
        Store.open(path, read_only=True)
    with Store.open(path) as store:
        assert store.status().schema_version == SCHEMA_HEAD


def test_a_failed_migration_leaves_nothing_behind(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(views_0001.VIEWS, "v_runs", "SELECT no_such_column FROM nowhere WHERE (")
    with pytest.raises(TraceError):
        Store.open(path)
    assert query_file(path, "SELECT name FROM sqlite_master") == []
    monkeypatch.undo()
    Store.open(path).close()


def test_only_one_release_of_an_agent_is_active(store: Store) -> None:
    def add(release_id: str, status: str) -> None:
        values = {"id": release_id, "agent": "extraction", "status": status, "created_at": now()}
        rest = {"student_kind": "tagger", "base_model": "m", "path": "p", "num_bytes": 1}
        store.transact(lambda c: c.execute(insert(Release).values(**values, **rest, metrics="{}")))

    add("extraction@1", "active")
    add("extraction@2", "retired")
    with pytest.raises(TraceError) as caught:
        add("extraction@3", "active")
    assert isinstance(caught.value.__cause__, IntegrityError)


# The views


@pytest.fixture
def filled(store: Store, make: Any) -> Store:
    """Ten attempts: four accepted, six escalated, of which three for an audit."""
    run = make.run(num_tasks=10, num_escalations=6, input={"text": "hello"}, cost_microusd=None)
    records = [run]
    for i in range(10):
        escalated = i >= 4
        attempt = make.attempt(
            run.id,
            confidence=i / 10 if i < 9 else 1.0,
            decision="escalate" if escalated else "accept",
            reason=("audit" if i < 7 else "low_confidence") if escalated else None,
            source="frontier" if escalated else "student",
            certified=not escalated,
            input={"n": i},
            latency_ms=10.0,
        )
        records.append(attempt)
        if escalated:
            records.append(
                make.escalation(
                    attempt,
                    reason=attempt.reason,
                    status="failed" if i == 9 else "answered",
                    agreement=None if i == 9 else i != 5,
                    frontier_model="big",
                    student_output={"s": i},
                    frontier_output={"f": i},
                    input_tokens=100,
                    cost_microusd=None if i in (8, 9) else 7,
                )
            )
    store.write(records)
    return store


def test_agent_health_sums_up_each_agent(filled: Store) -> None:
    [row] = query(filled, "SELECT * FROM v_agent_health")
    assert row["agent"] == "extraction"
    assert (row["num_attempts"], row["num_accepted"], row["num_escalated"]) == (10, 4, 6)
    assert row["escalation_rate"] == pytest.approx(0.6)
    assert row["certified_rate"] == pytest.approx(0.4)
    assert (row["num_labelled"], row["num_audited"]) == (5, 3)
    assert row["agreement_rate"] == pytest.approx(4 / 5)
    assert row["audit_agreement_rate"] == pytest.approx(2 / 3)
    assert (row["cost_microusd"], row["num_unpriced"]) == (28, 1)
    assert row["num_failed_escalations"] == 1
    assert row["mean_latency_ms"] == 10


def test_an_unknown_cost_is_null_and_no_escalation_costs_nothing(store: Store, make: Any) -> None:
    free, unpriced = (make.attempt("0" * 32, agent=agent) for agent in ("free", "unpriced"))
    store.write([free, unpriced, make.escalation(unpriced)])
    rows = query(store, "SELECT agent, cost_microusd, num_unpriced FROM v_agent_health ORDER BY 1")
    assert [tuple(row.values()) for row in rows] == [("free", 0, 0), ("unpriced", None, 1)]


def test_the_review_queue_shows_disagreements_first(filled: Store) -> None:
    rows = query(filled, "SELECT * FROM v_review_queue")
    assert [row["priority"] for row in rows] == [0, 1, 2, 2, 2, 2]
    first = rows[0]
    assert (first["task"], first["student_output"], first["frontier_output"]) == (
        '{"n":5}',
        '{"s":5}',
        '{"f":5}',
    )
    assert first["confidence"] == 0.5


def test_confidence_bins_cover_every_attempt_once(filled: Store) -> None:
    rows = query(filled, "SELECT * FROM v_confidence_bins ORDER BY bin")
    assert [row["bin"] for row in rows] == list(range(10))
    assert sum(row["num_attempts"] for row in rows) == 10
    assert all(row["low"] <= row["mean_confidence"] <= row["high"] for row in rows)
    assert [row["agreement_rate"] for row in rows] == [None] * 4 + [1, 0, 1, 1, 1, None]
    assert [row["num_audited"] for row in rows] == [0] * 4 + [1, 1, 1, 0, 0, 0]


def test_daily_cost_tells_what_it_does_not_know(filled: Store) -> None:
    [row] = query(filled, "SELECT * FROM v_cost_daily")
    assert row["day"] == now().date().isoformat()
    assert (row["num_escalations"], row["input_tokens"]) == (6, 600)
    assert (row["cost_microusd"], row["num_unpriced"]) == (28, 1)


def test_runs_show_their_share_of_escalations(filled: Store) -> None:
    [row] = query(filled, "SELECT * FROM v_runs")
    assert (row["escalation_rate"], row["input_preview"]) == (0.6, "hello")


def test_rounds_show_what_they_gained(store: Store) -> None:
    store.transact(
        lambda c: c.execute(
            insert(Round).values(
                id="r",
                agent="extraction",
                number=1,
                status="done",
                stage="promote",
                decision="promoted",
                started_at=now(),
                candidate_id="none",
                num_train=10,
                num_calibration=5,
                num_excluded=0,
                incumbent_quality=0.5,
                candidate_quality=0.75,
                metrics="{}",
            )
        )
    )
    [row] = query(store, "SELECT * FROM v_rounds")
    assert (row["quality_gain"], row["coverage_gain"]) == (0.25, None)


def test_the_lists_of_the_viewer_are_served_by_an_index(store: Store, path: Path) -> None:
    for sql in (
        "SELECT * FROM runs ORDER BY started_at DESC LIMIT 20",
        "SELECT * FROM spans WHERE run_id = 'x' ORDER BY started_at",
        "SELECT * FROM attempts WHERE agent = 'x' AND created_at > '2026' ORDER BY created_at",
        "SELECT * FROM escalations WHERE review_status = 'pending' AND agent = 'x' ORDER BY 19",
        "SELECT * FROM runs WHERE suite_run_id = 'x' AND scenario_id = 'y'",
    ):
        plan = " ".join(row["detail"] for row in query_file(path, f"EXPLAIN QUERY PLAN {sql}"))
        assert "USING INDEX" in plan
        assert "TEMP B-TREE" not in plan


def test_a_day_is_the_start_of_a_time(store: Store, make: Any) -> None:
    store.write([make.run()])
    [row] = query(store, "SELECT started_at, day FROM v_runs")
    assert len(row["started_at"]) == 27
    assert row["started_at"].endswith("Z")
    assert row["started_at"][:10] == row["day"]


def test_naive_times_are_refused() -> None:
    kind = column_types.UtcTime()
    with pytest.raises(ValueError, match="no time zone"):
        kind.process_bind_param(now().replace(tzinfo=None), postgresql.dialect())
