"""Backups are whole, pruning forgets what it may and nothing else, space comes back."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, text

from journeyman.models.errors import TraceError
from journeyman.traces.examples import ExampleStore
from journeyman.traces.schema import Example, Star
from journeyman.traces.store import Store
from journeyman.traces.upkeep import (
    Kept,
    back_up,
    preview_prune,
    prune,
    sweep_payloads,
    table_bytes,
    vacuum,
)
from tests.stores import drop_below, store_at

NOW = datetime(2026, 6, 1, tzinfo=UTC)
OLD = NOW - timedelta(days=60)
MONTH = NOW - timedelta(days=30)

assert ExampleStore  # the claim below is about what it reads


def keep_run(store: Store, make: Any, *, at: datetime, name: str, escalated: bool = False) -> str:
    run = make.run(started_at=at, input={"text": name}, output={"shared": "everywhere"})
    attempt = make.attempt(
        run.id, task_key=f"key-{name}", input={"text": name}, output=f"said {name}", created_at=at
    )
    records = [run, make.span(run.id, input=f"span {name}", started_at=at), attempt]
    if escalated:
        records.append(make.escalation(attempt, frontier_output=f"told {name}", created_at=at))
    store.write(records)
    return str(run.id)


def star(store: Store, run_id: str) -> None:
    store.transact(lambda c: c.execute(insert(Star).values(run_id=run_id, starred_at=NOW)))


def teach(store: Store, name: str) -> None:
    values = {
        "id": f"example-{name}", "agent": "extraction", "task_key": f"key-{name}",
        "group_hash": "g", "split": "calibration", "status": "accepted", "origin": "escalation",
        "label_source": "frontier", "trainable": True, "created_at": NOW,
    }  # fmt: skip
    store.transact(lambda c: c.execute(insert(Example).values(values)))


@pytest.mark.usefixtures("path")  # about SQLite alone
def test_a_backup_is_the_whole_store_while_others_write(
    store: Store, make: Any, tmp_path: Path
) -> None:
    kept = keep_run(store, make, at=NOW, name="one")
    with Store.open(store.url.database or "", read_only=True) as reader:
        assert back_up(reader, tmp_path / "copy.db") == store.integrity()
    keep_run(store, make, at=NOW, name="later")
    with Store.open(tmp_path / "copy.db", read_only=True) as copy:
        assert [run.id for run in copy.runs()] == [kept]
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


@pytest.mark.usefixtures("path")  # about SQLite alone
def test_a_backup_replaces_nothing(store: Store, tmp_path: Path) -> None:
    (tmp_path / "copy.db").write_text("mine")
    with pytest.raises(TraceError, match="there already"):
        back_up(store, tmp_path / "copy.db")
    assert (tmp_path / "copy.db").read_text() == "mine"


@pytest.mark.usefixtures("path")  # about SQLite alone
def test_a_backup_into_a_folder_that_is_not_there_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="no folder"):
        back_up(store, tmp_path / "nowhere" / "copy.db")


def test_pruning_keeps_what_is_young_starred_escalated_or_teaches(store: Store, make: Any) -> None:
    young = keep_run(store, make, at=NOW, name="young")
    starred = keep_run(store, make, at=OLD, name="starred")
    escalated = keep_run(store, make, at=OLD, name="escalated", escalated=True)
    teaches = keep_run(store, make, at=OLD, name="teaches")
    keep_run(store, make, at=OLD, name="plain")
    star(store, starred)
    teach(store, "teaches")
    expected = preview_prune(store, MONTH, Kept())
    done = prune(store, MONTH, Kept())
    assert {run.id for run in store.runs(None)} == {young, starred, escalated, teaches}
    assert done.counts["runs"] == 1
    assert dict(expected.counts) == {k: n for k, n in done.counts.items() if k != "payloads"}
    assert (done.num_kept, expected.num_kept) == (3, 3)
    for run in store.runs(None):
        assert store.run(run.id).attempts


def test_without_exceptions_only_what_teaches_is_kept(store: Store, make: Any) -> None:
    star(store, keep_run(store, make, at=OLD, name="starred"))
    keep_run(store, make, at=OLD, name="escalated", escalated=True)
    teaches = keep_run(store, make, at=OLD, name="teaches", escalated=True)
    teach(store, "teaches")
    prune(store, MONTH, Kept(escalations=False, starred=False))
    assert [run.id for run in store.runs(None)] == [teaches]
    assert len(store.escalations()) == 1
    assert store.status().counts["stars"] == 0


def test_a_payload_goes_with_the_last_that_refers_to_it(store: Store, make: Any) -> None:
    kept = keep_run(store, make, at=NOW, name="kept")
    keep_run(store, make, at=OLD, name="gone")
    before = store.status().counts["payloads"]
    done = prune(store, MONTH, Kept())
    assert store.run(kept).run.output == {"shared": "everywhere"}
    assert store.status().counts["payloads"] == before - done.counts["payloads"]
    assert done.counts["payloads"] == 3  # its text, what was said, its span's input
    assert store.integrity() == store.status().counts["payloads"]


def test_a_forgotten_run_is_not_found_by_search_either(store: Store, make: Any) -> None:
    from journeyman.traces.search import search

    keep_run(store, make, at=OLD, name="mackerel")
    assert search(store, "mackerel")
    prune(store, MONTH, Kept())
    assert search(store, "mackerel") == []
    assert store.read(lambda c: c.scalar(text("SELECT count(*) FROM run_texts"))) == 0


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.booleans(), st.booleans()), max_size=8)
)
def test_whatever_is_pruned_what_stays_is_whole(
    make: Any,
    any_store: None,
    tmp_path_factory: pytest.TempPathFactory,
    given_runs: list[tuple[Any, ...]],
) -> None:
    folder = tmp_path_factory.mktemp("store")
    with Store.open(store_at(folder / "t.db")) as store:
        for name, old, escalated, starred in given_runs:
            run = keep_run(store, make, at=OLD if old else NOW, name=str(name), escalated=escalated)
            if starred:
                star(store, run)
        prune(store, MONTH, Kept())
        wanted = sum(not old or escalated or starred for _, old, escalated, starred in given_runs)
        assert len(store.runs(None)) == wanted
        for run_ in store.runs(None):
            store.run(run_.id)
        assert store.integrity() == store.status().counts["payloads"]
        assert sweep_payloads(store) == (0, 0)
    drop_below(folder)


def test_many_runs_go_in_several_steps_and_those_between_them_stay(
    store: Store, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("journeyman.traces.upkeep._BATCH", 3)
    monkeypatch.setattr("journeyman.traces.upkeep._SWEPT", 3)
    names = [str(i) for i in range(20)]
    ids = [keep_run(store, make, at=OLD, name=name, escalated=name in "5 9") for name in names]
    done = prune(store, MONTH, Kept())
    assert {run.id for run in store.runs(None)} == {ids[5], ids[9]}
    assert (done.counts["runs"], done.counts["attempts"]) == (18, 18)
    assert store.integrity() == store.status().counts["payloads"]


def test_a_vacuum_gives_space_back(store: Store, make: Any, path: Path) -> None:
    store.write([make.run(started_at=OLD, input="x" * 1000 + str(i)) for i in range(400)])
    store.write([make.run(started_at=OLD, input="y" * 3_000_000)])
    prune(store, MONTH, Kept())
    assert table_bytes(store).get("(free)", 1) > 0
    vacuum(store)
    assert path.stat().st_size < 1_000_000
    assert table_bytes(store).get("(free)", 0) == 0
    assert store.integrity() == 0


@pytest.mark.usefixtures("path")  # about SQLite alone
def test_sizes_are_told_by_table_where_sqlite_can(store: Store, make: Any) -> None:
    store.write([make.run(input="x" * 100_000)])
    sizes = table_bytes(store)
    with sqlite3.connect(store.url.database or "") as raw:
        has_means = raw.execute("SELECT sqlite_compileoption_used('ENABLE_DBSTAT_VTAB')").fetchone()
    raw.close()
    if not has_means[0]:
        pytest.skip("this SQLite was built without dbstat")
    assert sizes["payloads"] > 100_000
