"""The day's cap holds for all threads and processes together, and outlives a killed one."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from journeyman.models.budget import Budget, Ledger
from journeyman.models.errors import BudgetExceeded, TraceError
from journeyman.traces.ledger import StoreLedger
from journeyman.traces.records import now
from journeyman.traces.store import Store
from tests.traces.conftest import Target

DAY = "2026-01-01"

Program = Callable[..., "subprocess.Popen[str]"]


class Clock:
    def __init__(self) -> None:
        self.time = now()

    def __call__(self) -> datetime:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


def test_it_is_a_ledger(store: Store) -> None:
    ledger: Ledger = StoreLedger(store)
    budget = Budget(per_day_usd=0.001, ledger=ledger)
    budget.account("run").reserve(600).settle(500)
    with pytest.raises(BudgetExceeded):
        budget.account("run").reserve(501)
    budget.account("run").reserve(500)


def test_reservations_count_against_the_cap_until_they_are_settled(store: Store) -> None:
    ledger = StoreLedger(store)
    assert ledger.reserve(60, day=DAY, cap_microusd=100)
    assert not ledger.reserve(41, day=DAY, cap_microusd=100)
    assert ledger.reserve(41, day="2026-01-02", cap_microusd=100)
    ledger.settle(60, 10, day=DAY)
    assert ledger.spent(DAY) == 10
    assert ledger.reserve(90, day=DAY, cap_microusd=100)
    assert not ledger.reserve(1, day=DAY, cap_microusd=100)


def test_spending_without_a_reservation_is_booked(store: Store) -> None:
    ledger = StoreLedger(store)
    ledger.settle(0, 70, day=DAY)
    assert ledger.spent(DAY) == 70
    assert not ledger.reserve(31, day=DAY, cap_microusd=100)


def test_an_unused_day_has_spent_nothing(store: Store) -> None:
    assert StoreLedger(store).spent(DAY) == 0


def test_settling_gives_back_ones_own_reservation_only(store: Store) -> None:
    first, second = StoreLedger(store), StoreLedger(store)
    assert first.reserve(50, day=DAY, cap_microusd=100)
    assert second.reserve(50, day=DAY, cap_microusd=100)
    second.settle(50, 0, day=DAY)
    second.settle(50, 0, day=DAY)
    assert first.reserve(50, day=DAY, cap_microusd=100)
    assert not first.reserve(1, day=DAY, cap_microusd=100)


def test_spending_outlives_the_process(target: Target) -> None:
    with Store.open(target) as store:
        StoreLedger(store).settle(0, 30, day=DAY)
    with Store.open(target) as store:
        assert StoreLedger(store).spent(DAY) == 30


def test_a_dead_process_gives_its_reservations_back_in_time(store: Store) -> None:
    clock = Clock()
    dead, alive = (StoreLedger(store, hold_seconds=60, clock=clock) for _ in range(2))
    assert dead.reserve(80, day=DAY, cap_microusd=100)
    clock.advance(59)
    assert not alive.reserve(30, day=DAY, cap_microusd=100)
    clock.advance(2)
    assert alive.reserve(100, day=DAY, cap_microusd=100)


def test_a_slow_process_still_books_what_it_spent(store: Store) -> None:
    clock = Clock()
    slow, other = (StoreLedger(store, hold_seconds=60, clock=clock) for _ in range(2))
    assert slow.reserve(80, day=DAY, cap_microusd=100)
    clock.advance(61)
    assert other.reserve(10, day=DAY, cap_microusd=100)
    slow.settle(80, 75, day=DAY)
    assert slow.spent(DAY) == 75
    assert other.reserve(15, day=DAY, cap_microusd=100)
    assert not other.reserve(1, day=DAY, cap_microusd=100)


def test_a_ledger_that_cannot_write_refuses_rather_than_allows(store: Store, path: Path) -> None:
    ledger = StoreLedger(store)
    path.unlink()
    with pytest.raises(TraceError):
        ledger.reserve(1, day=DAY, cap_microusd=100)


def test_eight_threads_never_pass_the_cap_together(store: Store) -> None:
    ledger, cap = StoreLedger(store), 1000
    granted: list[int] = []

    def work() -> None:
        tries = (ledger.reserve(11, day=DAY, cap_microusd=cap) for _ in range(25))
        granted.extend(11 for success in tries if success)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(granted) == 990
    assert not ledger.reserve(11, day=DAY, cap_microusd=cap)
    assert ledger.reserve(10, day=DAY, cap_microusd=cap)


def test_four_processes_never_pass_the_cap_together(target: Target, program: Program) -> None:
    processes = [program("reserve", target, 60, 7, 1000) for _ in range(4)]
    granted = 0
    for process in processes:
        out, err = process.communicate(timeout=60)
        assert err == ""
        granted += int(out)
    assert granted == 994
    with Store.open(target) as store:
        assert StoreLedger(store).spent(DAY) == 994
