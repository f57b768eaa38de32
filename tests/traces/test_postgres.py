"""The same store on PostgreSQL: a server named by JOURNEYMAN_TEST_POSTGRES, an empty database."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import text

from journeyman.traces.ledger import StoreLedger
from journeyman.traces.recorder import Recorder
from journeyman.traces.records import new_id
from journeyman.traces.schema import VIEWS
from journeyman.traces.store import Store

URL = os.environ.get("JOURNEYMAN_TEST_POSTGRES", "")

pytestmark = pytest.mark.skipif(not URL, reason="JOURNEYMAN_TEST_POSTGRES names no server")


@pytest.fixture
def store() -> Iterator[Store]:
    with Store.open(URL) as opened:
        yield opened


def test_many_may_open_it_at_once() -> None:
    errors: list[BaseException] = []

    def work() -> None:
        try:
            Store.open(URL).close()
        except BaseException as error:  # noqa: BLE001  # told below
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_a_run_is_recorded_and_read_back(store: Store, make: Any) -> None:
    run = make.run(input={"a\0b": "\ud800"}, error_message="nul \0 here", tags=("a",))
    attempt = make.attempt(run.id, evidence={"p": math.inf}, decision="escalate", confidence=0.5)
    escalation = make.escalation(attempt, agreement=True, frontier_output={"x": 1})
    with Recorder(store) as recorder:
        recorder.record(make.run(id=run.id, status="running"), make.span(run.id))
        recorder.record(attempt, escalation, run)
        assert recorder.wait(run.id)
        assert recorder.trouble is None
    trace = store.run(run.id[:20])
    assert trace.run.input == run.input
    assert trace.attempts == (attempt,)
    assert trace.escalations == (escalation,)
    assert store.integrity() >= 2
    assert store.status().num_bytes > 0


def test_every_view_answers_with_plain_numbers(store: Store, make: Any) -> None:
    attempt = make.attempt(make.run().id, confidence=0.5)
    store.write([make.run(), attempt, make.escalation(attempt, agreement=True, cost_microusd=1)])
    for view in VIEWS:
        rows = store.read(lambda c, v=view: c.execute(text(f"SELECT * FROM {v}")).mappings().all())
        for value in (value for row in rows for value in row.values()):
            assert isinstance(value, (str, int, float, bool, type(None)))


def test_ledgers_never_pass_the_cap_together(store: Store) -> None:
    granted: list[int] = []
    day = new_id()

    def work() -> None:
        ledger = StoreLedger(store)
        for _ in range(30):
            if ledger.reserve(7, day=day, cap_microusd=500):
                granted.append(7)
                ledger.settle(7, 7, day=day)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(granted) == 497
    assert StoreLedger(store).spent(day) == 497
