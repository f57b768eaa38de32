"""A store is copied whole, either way, and what is copied is what was there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from journeyman.models.errors import CorruptRecord, TraceError
from journeyman.traces import transfer as module
from journeyman.traces.ledger import StoreLedger
from journeyman.traces.store import Store
from journeyman.traces.transfer import transfer
from tests.postgres_server import PostgresServer


def fill(store: Store, make: Any, num_runs: int = 25) -> None:
    for number in range(num_runs):
        run = make.run(input={"n": number, "text": "naïve 🙂 \0 \ud800"}, tags=("ä", "z"))
        attempt = make.attempt(run.id, evidence={"p": 0.1 + number}, confidence=1 / 3, audited=True)
        store.write(
            [run, make.span(run.id), attempt, make.escalation(attempt, cost_microusd=2**40)]
        )
    StoreLedger(store).settle(0, 7, day="2026-01-01")


def same(first: Store, second: Store) -> bool:
    ids = [run.id for run in first.runs(None)]
    return ids == [run.id for run in second.runs(None)] and all(
        first.run(each) == second.run(each) for each in ids
    )


def raw(store: Store) -> list[tuple[Any, ...]]:
    query = text("SELECT * FROM attempts ORDER BY id")
    return store.read(lambda c: [tuple(row) for row in c.execute(query)])


def interrupted(*_: int) -> None:
    raise KeyboardInterrupt


@pytest.fixture
def other(tmp_path: Path) -> Callable[[], Store]:
    return lambda: Store.open(tmp_path / "other.db")


def test_every_row_is_copied_to_a_file(store: Store, make: Any, other: Callable[[], Store]) -> None:
    fill(store, make)
    with other() as copy:
        told: list[tuple[int, int]] = []
        done = transfer(store, copy, tell=lambda *numbers: told.append(numbers))
        assert done.counts["runs"] == 25
        assert done.num_payloads == copy.integrity() == 25
        assert same(store, copy)
        assert StoreLedger(copy).spent("2026-01-01") == 7
        assert told[-1][0] == told[-1][1]
        assert store.status().counts == copy.status().counts


def test_there_and_back_again_is_the_same(
    path: Path, tmp_path: Path, make: Any, postgres_url: str
) -> None:
    with (
        Store.open(path) as store,
        Store.open(postgres_url) as server,
        Store.open(tmp_path / "back.db") as back,
    ):
        fill(store, make)
        transfer(store, server)
        transfer(server, back)
        assert same(store, server)
        assert same(store, back)
        assert raw(store) == raw(back)


def test_a_store_with_rows_is_not_copied_into(
    store: Store, make: Any, other: Callable[[], Store]
) -> None:
    fill(store, make, 1)
    with other() as copy:
        copy.write([make.run()])
        with pytest.raises(TraceError, match="copy into an empty store"):
            transfer(store, copy)
        assert len(copy.runs(None)) == 1


def test_an_interrupted_copy_goes_on(
    store: Store, make: Any, other: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, make)
    monkeypatch.setattr(module, "_BATCH", 10)

    def stop(done: int, total: int) -> None:
        if done > 60:
            raise KeyboardInterrupt

    with other() as copy:
        with pytest.raises(KeyboardInterrupt):
            transfer(store, copy, tell=stop)
        assert 0 < sum(copy.status().counts.values()) < sum(store.status().counts.values())
        transfer(store, copy)
        assert same(store, copy)
        with pytest.raises(TraceError, match="holds rows"):  # it is no half copy any more
            transfer(store, copy)


def test_a_half_copy_of_another_store_is_refused(
    store: Store, make: Any, other: Callable[[], Store], tmp_path: Path
) -> None:
    fill(store, make, 2)
    with other() as copy, Store.open(tmp_path / "third.db") as third:
        with pytest.raises(KeyboardInterrupt):
            transfer(store, copy, tell=interrupted)
        fill(third, make, 1)
        with pytest.raises(TraceError, match="a part of"):
            transfer(third, copy)


def test_another_schema_of_one_database_is_another_store(
    postgres_server: PostgresServer, postgres_url: str, make: Any, tmp_path: Path
) -> None:
    postgres_server.execute("CREATE SCHEMA second", postgres_url.rpartition("/")[2])
    with (
        Store.open(postgres_url) as first,
        Store.open(f"{postgres_url}?options=-csearch_path%3Dsecond") as second,
        Store.open(tmp_path / "copy.db") as copy,
    ):
        fill(first, make, 2)
        fill(second, make, 1)
        with pytest.raises(KeyboardInterrupt):
            transfer(first, copy, tell=interrupted)
        with pytest.raises(TraceError, match="a part of"):
            transfer(second, copy)


def test_an_interrupted_copy_goes_on_whatever_else_the_url_says(
    postgres_url: str, make: Any, tmp_path: Path
) -> None:
    with Store.open(postgres_url) as store, Store.open(tmp_path / "copy.db") as copy:
        fill(store, make, 2)
        with pytest.raises(KeyboardInterrupt):
            transfer(store, copy, tell=interrupted)
    with (
        Store.open(f"{postgres_url}?connect_timeout=3&password=secret") as store,
        Store.open(tmp_path / "copy.db") as copy,
    ):
        transfer(store, copy)
        assert same(store, copy)


def test_a_row_that_differs_is_found(store: Store, make: Any, other: Callable[[], Store]) -> None:
    fill(store, make, 3)

    def stop(done: int, total: int) -> None:
        if done * 2 >= total:
            raise KeyboardInterrupt

    with other() as copy:
        with pytest.raises(KeyboardInterrupt):
            transfer(store, copy, tell=stop)
        copy.transact(lambda c: c.execute(text("UPDATE attempts SET confidence = 0.75")))
        with pytest.raises(CorruptRecord, match="'attempts'"):
            transfer(store, copy)


def test_a_store_is_not_copied_into_itself(store: Store, target: Path | str) -> None:
    with Store.open(target) as again, pytest.raises(TraceError, match="into itself"):
        transfer(store, again)
