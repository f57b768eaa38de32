"""What holds on PostgreSQL alone: its languages, locks, pool, and a server that goes away.

All other tests that open a store run there with `pytest --store postgres`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, text

from journeyman.models.errors import StoreUnreachable, TraceError
from journeyman.traces.engine import take_turns
from journeyman.traces.ledger import StoreLedger
from journeyman.traces.recorder import Recorder
from journeyman.traces.schema import VIEWS
from journeyman.traces.search import search
from journeyman.traces.store import Store
from tests.postgres_server import PostgresServer


@pytest.fixture
def server_store(postgres_url: str) -> Iterator[Store]:
    with Store.open(postgres_url) as opened:
        yield opened


def at_once(*works: Callable[[], object]) -> list[BaseException]:
    """Run in threads; what they raised."""
    errors: list[BaseException] = []

    def caught(work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  # told by the test
            errors.append(error)

    threads = [threading.Thread(target=caught, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def test_many_may_make_it_at_once(postgres_server: PostgresServer) -> None:
    url = postgres_server.new_database(migrated=False)
    assert at_once(*[lambda: Store.open(url).close()] * 4) == []
    with Store.open(url, read_only=True) as store:
        assert store.runs() == []
    postgres_server.drop(url)


def test_text_sorts_by_its_bytes_whatever_the_language(server_store: Store, make: Any) -> None:
    ids = ["B", "a", "Z-1", "Z_1", "ä", "z"]
    server_store.write([make.run(id=each) for each in ids])
    query = text("SELECT id FROM runs ORDER BY id")
    assert server_store.read(lambda c: c.scalars(query).all()) == sorted(ids)


def test_every_text_column_sorts_by_bytes(server_store: Store) -> None:
    query = text(
        "SELECT c.table_name, c.column_name FROM information_schema.columns AS c "
        "JOIN information_schema.tables AS t USING (table_schema, table_name) "
        "WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE' AND data_type = 'text' "
        "AND collation_name IS DISTINCT FROM 'C'"
    )
    assert server_store.read(lambda c: c.execute(query).all()) == []


def test_content_that_it_cannot_parse_is_kept_and_found(server_store: Store, make: Any) -> None:
    run = make.run(input={"text": "nul \0 " + "lorem " * 200 + "mackerel"})
    server_store.write([run])
    assert [found.id for found in search(server_store, "mackerel")] == [run.id]


def test_every_view_answers_with_plain_values(server_store: Store, make: Any) -> None:
    run = make.run(session_id="thread")
    attempt = make.attempt(run.id, confidence=0.5)
    server_store.write([run, attempt, make.escalation(attempt, agreement=True, cost_microusd=1)])
    for view in VIEWS:
        query = text(f"SELECT * FROM {view}")
        rows = server_store.read(lambda c, q=query: c.execute(q).mappings().all())
        for value in (value for row in rows for value in row.values()):
            assert isinstance(value, (str, int, float, bool, type(None)))


def test_a_database_that_cannot_hold_every_character_is_refused(
    postgres_server: PostgresServer,
) -> None:
    postgres_server.execute(
        "CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'"
        + (" LOCALE_PROVIDER libc" if postgres_server.version >= 15 else "")
    )
    with pytest.raises(TraceError, match="--encoding UTF8"):
        Store.open(postgres_server.url("latin"))


def test_what_is_missing_is_said_in_a_sentence(postgres_server: PostgresServer) -> None:
    with pytest.raises(TraceError, match='database "none" does not exist'):
        Store.open(postgres_server.url("none"))


def test_a_user_who_may_not_write_is_told_what_to_read(
    postgres_server: PostgresServer, postgres_url: str, make: Any
) -> None:
    name = postgres_url.rpartition("/")[2]
    postgres_server.execute("CREATE ROLE reader LOGIN")
    postgres_server.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader", name)
    with Store.open(postgres_url.replace("postgres@", "reader@")) as store:
        assert store.runs() == []
        with pytest.raises(TraceError, match=r"docs/postgres\.md"):
            store.write([make.run()])


def test_readers_see_one_moment(server_store: Store, make: Any) -> None:
    def work(connection: Any) -> tuple[int, int]:
        query = text("SELECT count(*) FROM runs")
        before = connection.scalar(query)
        server_store.write([make.run()])
        return before, connection.scalar(query)

    assert server_store.read(work) == (0, 0)


def test_whoever_waited_for_a_turn_sees_what_was_done_before(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    name = postgres_url.rpartition("/")[2]
    # A server may be set to this, and then a transaction goes on seeing what was before it waited.
    postgres_server.execute(
        f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'"
    )
    is_taken = threading.Event()
    seen: list[Any] = []

    def first(connection: Connection) -> None:
        take_turns(connection, "a subject")
        is_taken.set()
        waiting = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        while not connection.scalar(waiting):
            time.sleep(0.01)
        connection.execute(text("INSERT INTO schema_info (key, value) VALUES ('k', 'said')"))

    def second(connection: Connection) -> None:
        take_turns(connection, "a subject")
        seen.append(connection.scalar(text("SELECT value FROM schema_info WHERE key = 'k'")))

    def wait_and_look() -> None:
        assert is_taken.wait(10)
        store.transact(second)

    with Store.open(postgres_url) as store:
        assert at_once(lambda: store.transact(first), wait_and_look) == []
    assert seen == ["said"]


def test_a_deadlock_is_begun_anew(server_store: Store, make: Any) -> None:
    first, second = make.run(id="1"), make.run(id="2")
    server_store.write([first, second])
    barrier = threading.Barrier(2)
    tries: list[str] = []

    def both(one: str, other: str) -> None:
        def work(connection: Any) -> None:
            tries.append(one)
            update = text("UPDATE runs SET epoch = epoch + 1 WHERE id = :id")
            connection.execute(update, {"id": one})
            if len(tries) <= 2:
                barrier.wait(10)
            connection.execute(update, {"id": other})

        server_store.transact(work)

    assert at_once(lambda: both("1", "2"), lambda: both("2", "1")) == []
    assert len(tries) == 3
    assert [run.epoch for run in server_store.runs()] == [2, 2]


def test_waiting_for_a_lock_ends_with_a_sentence(server_store: Store, postgres_url: str) -> None:
    day = "2026-01-01"
    StoreLedger(server_store).settle(0, 1, day=day)
    with Store.open(postgres_url, busy_seconds=0.1) as store:

        def held(connection: Any) -> None:
            connection.execute(text("UPDATE budgets SET spent = 2"))
            with pytest.raises(TraceError, match="kept busy by another process"):
                StoreLedger(store).reserve(1, day=day, cap_microusd=10)

        server_store.transact(held)
        assert StoreLedger(store).reserve(1, day=day, cap_microusd=10)


def test_more_threads_than_connections_wait_their_turn(server_store: Store, make: Any) -> None:
    assert at_once(*[lambda: server_store.write([make.run()])] * 40) == []
    assert len(server_store.runs(None)) == 40


@pytest.fixture
def own_server(postgres_server: PostgresServer, postgres_url: str) -> Iterator[PostgresServer]:
    """The server, for tests that stop it: it runs again before their database goes."""
    yield postgres_server
    if not postgres_server.is_running:
        postgres_server.start()


def test_records_wait_while_the_server_is_away(
    own_server: PostgresServer, server_store: Store, make: Any
) -> None:
    with Recorder(server_store) as recorder:
        before, during, after = make.run(), make.run(), make.run()
        recorder.record(before)
        assert recorder.wait(before.id)
        own_server.stop()
        with pytest.raises(StoreUnreachable, match="does not answer") as caught:
            server_store.runs()
        assert "\n" not in str(caught.value)
        start = time.monotonic()
        recorder.record(during, make.span(during.id))
        assert not recorder.wait(during.id)
        for _ in range(20):  # later runs are not held up
            assert not recorder.wait(during.id)
        assert time.monotonic() - start < 5
        assert isinstance(recorder.trouble, StoreUnreachable)
        own_server.start()
        recorder.record(after)
        deadline = time.monotonic() + 20
        while not recorder.wait(after.id) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert recorder.wait(during.id)
        assert recorder.num_lost == 0
    assert {run.id for run in server_store.runs()} == {before.id, during.id, after.id}
    assert len(server_store.run(during.id).spans) == 1


def test_closing_while_the_server_is_away_gives_up_and_counts(
    own_server: PostgresServer, server_store: Store, make: Any
) -> None:
    recorder = Recorder(server_store)
    own_server.stop()
    recorder.record(make.run(), make.run())
    recorder.close(timeout=10)
    assert recorder.num_lost == 2
