"""Which file is shown: the live one, or a copy of one moment."""

from __future__ import annotations

import sqlite3
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Select, Table

from journeyman.models.errors import TraceError
from journeyman.traces.recorder import Recorder
from journeyman.traces.records import now
from journeyman.traces.store import Store
from journeyman.traces.viewer import source as sources
from journeyman.traces.viewer import window
from journeyman.traces.viewer.app import make_datasette
from journeyman.traces.viewer.options import Options
from journeyman.traces.viewer.source import Source, source
from journeyman.traces.viewer.window import copy_window
from tests.traces.viewer.conftest import SITE, START, happened, record, run_id


def ids(path: Path) -> set[str]:
    with sqlite3.connect(path) as connection:
        return {row[0] for row in connection.execute("SELECT id FROM runs")}


def test_the_live_file_itself_is_shown(filled: Path) -> None:
    with source(filled) as shown:
        assert shown == Source(filled, is_live=True)


def test_a_copy_holds_what_is_in_the_log_and_goes_with_the_viewer(filled: Path) -> None:
    with Store.open(filled) as store, Recorder(store) as recorder:
        recorder.record(*happened(700))
        assert recorder.wait(run_id(700))
        with source(filled, snapshot=True) as shown:
            assert not shown.is_live
            assert "copy" in shown.note
            assert run_id(700) in ids(shown.path)
            copy = shown.path
    assert not copy.exists()


def test_where_sqlite_cannot_lay_its_shared_memory_a_copy_is_shown(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What a folder looks like that may not be written; the superuser may write all of them.
    monkeypatch.setattr(sources, "_is_readable_live", lambda _: False)
    with Store.open(filled) as store, Recorder(store) as recorder:
        recorder.record(*happened(700))
        assert recorder.wait(run_id(700))
        with source(filled) as shown:
            assert "cannot be written" in shown.note
            assert run_id(700) in ids(shown.path)


async def test_a_copy_is_searched_and_read_like_the_file(filled: Path) -> None:
    with source(filled, snapshot=True) as shown:
        datasette = make_datasette(shown, Options(note=shown.note))
        answer = await datasette.client.get(f"{SITE}/runs?q=question+7+parcels")
        assert run_id(7) in answer.text
        assert "A copy of" in answer.text


def test_nothing_is_written_to_a_copy(filled: Path) -> None:
    with pytest.raises(TraceError, match="lost"), source(filled, snapshot=True, write=True):
        pass


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="no trace store"), source(tmp_path / "none.db"):
        pass
    assert not (tmp_path / "none.db").exists()


def test_of_a_servers_store_the_latest_part_is_shown(postgres_url: str) -> None:
    record(postgres_url, *happened(1, at=now() - timedelta(days=3)), *happened(2, at=now()))
    with source(postgres_url, window=timedelta(days=1)) as shown:
        assert not shown.is_live
        assert "last 1 days" in shown.note
        assert ids(shown.path) == {run_id(2)}


def test_a_window_holds_what_happened_in_it_with_its_content(
    target: Path | str, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.db"
    record(target, *(each for number in range(120) for each in happened(number)))
    copy_window(target, copy, START + timedelta(hours=100))
    assert ids(copy) == {run_id(number) for number in range(100, 120)}
    with Store.open(copy, read_only=True) as store:
        assert store.integrity() > 0
        trace = store.run(run_id(101))
        assert trace.escalations[0].frontier_output == {"carrier": "post", "days": 101}
        assert trace.run.input == {"messages": ["question 101 about parcels"]}
    with sqlite3.connect(copy) as connection:
        query = "SELECT count(*) FROM run_search WHERE run_search MATCH 'parcels'"
        assert connection.execute(query).fetchone() == (20,)


def test_a_window_is_of_one_moment(
    target: Path | str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(target, *happened(1))
    wanted = window._wanted

    def meanwhile(table: Table, since: datetime) -> Select[Any]:
        if table.name == "spans":
            record(target, *happened(2))
        return wanted(table, since)

    monkeypatch.setattr(window, "_wanted", meanwhile)
    copy_window(target, tmp_path / "copy.db", START)
    with sqlite3.connect(tmp_path / "copy.db") as connection:
        found = connection.execute("SELECT DISTINCT run_id FROM spans").fetchall()
    assert found == [(run_id(1),)]
