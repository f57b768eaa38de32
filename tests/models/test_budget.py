"""Hard caps hold, whoever asks at the same time."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeyman.models.budget import Budget, MemoryLedger
from journeyman.models.errors import BudgetExceeded, ConfigError, TraceError, UnknownPrice


def test_a_run_cap_refuses_before_the_call_and_names_itself() -> None:
    account = Budget(per_run_usd=0.001).account("r1")
    account.reserve(600, model="m").settle(600)
    with pytest.raises(BudgetExceeded, match=r"run 'r1'.*per_run_usd") as caught:
        account.reserve(401, model="m")
    assert caught.value.cap_microusd == 1000
    assert caught.value.model == "m"
    account.reserve(400)  # exactly the cap is allowed


def test_reservations_in_flight_count_against_the_cap() -> None:
    account = Budget(per_run_usd=0.001).account("r")
    first = account.reserve(600)
    with pytest.raises(BudgetExceeded):
        account.reserve(600)
    first.settle(10)
    account.reserve(600)


def test_runs_are_apart_and_days_are_shared() -> None:
    budget = Budget(per_run_usd=1, per_day_usd=0.001)
    budget.account("a").reserve(600).settle(600)
    assert budget.account("b").spent_microusd == 0
    with pytest.raises(BudgetExceeded, match="per_day_usd"):
        budget.account("b").reserve(600)


def test_a_refusal_by_the_day_gives_the_run_its_reservation_back() -> None:
    budget = Budget(per_run_usd=0.001, per_day_usd=0.0005)
    with pytest.raises(BudgetExceeded, match="day"):
        budget.account("a").reserve(1000)
    budget.ledger = MemoryLedger()
    budget.per_day_microusd = None
    budget.account("a").reserve(1000)


def test_a_ledger_that_fails_gives_the_run_its_reservation_back() -> None:
    class Broken(MemoryLedger):
        def reserve(self, amount_microusd: int, *, day: str, cap_microusd: int) -> bool:
            raise OSError("disk full")

    budget = Budget(per_run_usd=0.001, per_day_usd=1, ledger=Broken())
    for _ in range(3):
        with pytest.raises(OSError, match="disk full"):
            budget.account("a").reserve(1000)


def test_an_unknown_price_is_refused_only_under_a_cap() -> None:
    with pytest.raises(UnknownPrice, match=r"'m'.*allow unpriced"):
        Budget(per_day_usd=1).account("r").reserve(None, model="m")
    Budget().account("r").reserve(None, model="m").settle(None)
    free = Budget(per_run_usd=1, allow_unpriced=True)
    free.account("r").reserve(None).settle(None)
    assert free.account("r").spent_microusd == 0


def test_an_unknown_cost_keeps_the_reservation_as_spent() -> None:
    budget = Budget(per_run_usd=1)
    budget.account("r").reserve(700).settle(None)
    with pytest.raises(ValueError, match="crash"), budget.account("r").reserve(50):
        raise ValueError("crash")
    assert budget.account("r").spent_microusd == 750


def test_a_reservation_settles_once() -> None:
    budget = Budget(per_run_usd=1)
    with budget.account("r").reserve(700) as reservation:
        reservation.settle(5)
        reservation.settle(6)
    assert budget.account("r").spent_microusd == 5


def test_a_call_over_midnight_is_booked_on_the_day_it_began() -> None:
    """Days are UTC, whatever zone the clock speaks."""
    now = datetime(2026, 1, 2, 0, 30, tzinfo=timezone(timedelta(hours=2)))
    budget = Budget(per_day_usd=1, now=lambda: now)
    reservation = budget.account("r").reserve(10)
    now = datetime(2026, 1, 3, tzinfo=UTC)
    reservation.settle(7)
    assert budget.ledger.spent("2026-01-01") == 7
    assert budget.ledger.spent("2026-01-03") == 0


def test_a_new_day_starts_empty() -> None:
    now = datetime(2026, 1, 1, 23, 59, tzinfo=UTC)
    budget = Budget(per_day_usd=0.001, now=lambda: now)
    budget.account("r").reserve(1000).settle(None)
    with pytest.raises(BudgetExceeded):
        budget.account("r").reserve(1)
    now += timedelta(minutes=2)
    budget.account("r").reserve(1000)


def test_spending_is_booked_for_the_day_without_any_cap() -> None:
    budget = Budget(now=lambda: datetime(2026, 1, 1, tzinfo=UTC))
    budget.account("r").reserve(10).settle(9)
    assert budget.ledger.spent("2026-01-01") == 9


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_a_cap_that_is_no_amount_is_refused(bad: float) -> None:
    with pytest.raises(ConfigError, match="per_day_usd"):
        Budget(per_day_usd=bad)


def test_threads_at_once_never_pass_either_cap() -> None:
    """32 threads reserve far more than there is; spent + reserved stays within both caps."""
    budget = Budget(per_run_usd=0.004, per_day_usd=0.010)
    start = threading.Barrier(32)

    def spend(number: int) -> int:
        booked = 0
        start.wait()
        for _ in range(50):
            try:
                with budget.account(f"run{number % 4}").reserve(100) as reservation:
                    reservation.settle(97)
                    booked += 97
            except BudgetExceeded:
                pass
        return booked

    with ThreadPoolExecutor(32) as pool:
        booked = sum(pool.map(spend, range(32)))
    per_run = [budget.account(f"run{n}").spent_microusd for n in range(4)]
    assert sum(per_run) == booked
    assert max(per_run) <= 4000
    assert 9900 < booked <= 10_000


@given(
    st.lists(
        st.tuples(st.integers(0, 400), st.floats(0, 1), st.sampled_from(["keep", "settle", "hold"]))
    )
)
def test_spent_plus_reserved_never_passes_a_cap(steps: list[tuple[int, float, str]]) -> None:
    budget = Budget(per_run_usd=0.001)
    account = budget.account("r")
    held = 0
    for amount, share, action in steps:
        try:
            reservation = account.reserve(amount)
        except BudgetExceeded:
            assert account.spent_microusd + held + amount > 1000
            continue
        if action == "hold":
            held += amount
        else:
            reservation.settle(None if action == "keep" else int(share * amount))
        assert account.spent_microusd + held <= 1000


def test_accounts_of_old_runs_are_dropped_once_nothing_is_in_flight() -> None:
    ledger = MemoryLedger(max_accounts=2)
    ledger.reserve(5, day="held", cap_microusd=100)
    for run in ("a", "b", "c"):
        ledger.settle(0, 7, day=run)
    assert [ledger.spent(run) for run in ("a", "b", "c")] == [0, 7, 7]
    ledger.settle(5, 3, day="held")
    assert ledger.spent("c") == 7


def test_a_ledger_that_fails_to_book_is_told_again_and_loses_no_answer() -> None:
    class Moody(MemoryLedger):
        fails = True

        def settle(self, reserved_microusd: int, spent_microusd: int, *, day: str) -> None:
            if self.fails:
                raise TraceError("The store is busy; try again.")
            super().settle(reserved_microusd, spent_microusd, day=day)

    ledger = Moody()
    budget = Budget(per_day_usd=1, ledger=ledger, now=lambda: datetime(2026, 5, 1, tzinfo=UTC))
    budget.account("a").reserve(100).settle(40)
    assert ledger.spent("2026-05-01") == 0
    ledger.fails = False
    budget.account("b").reserve(100).settle(5)
    assert ledger.spent("2026-05-01") == 45


class Waiting:
    """A durable ledger whose server answers when it is let."""

    def __init__(self) -> None:
        self.kept = MemoryLedger()
        self.let = threading.Event()
        self.asked = threading.Event()

    def reserve(self, amount_microusd: int, *, day: str, cap_microusd: int) -> bool:
        self.asked.set()
        assert self.let.wait(20)
        return self.kept.reserve(amount_microusd, day=day, cap_microusd=cap_microusd)

    def settle(self, reserved_microusd: int, spent_microusd: int, *, day: str) -> None:
        assert self.let.wait(20)
        self.kept.settle(reserved_microusd, spent_microusd, day=day)

    def spent(self, day: str) -> int:
        return self.kept.spent(day)


DAY = datetime(2026, 3, 1, tzinfo=UTC)


def slow_budget() -> tuple[Budget, Waiting]:
    ledger = Waiting()
    return Budget(per_day_usd=0.001, ledger=ledger, now=lambda: DAY), ledger


async def test_the_event_loop_goes_on_while_a_ledger_waits() -> None:
    budget, ledger = slow_budget()

    async def call() -> None:
        async with budget.account("r").bill(600) as bill:
            bill.spent_microusd = 10

    waiting = asyncio.create_task(call())
    while not ledger.asked.is_set():  # noqa: ASYNC110  # set by another thread
        await asyncio.sleep(0)  # the loop turns: nothing but the call itself is held up
    assert not waiting.done()
    ledger.let.set()
    await waiting
    assert ledger.spent("2026-03-01") == 10


async def test_a_bill_keeps_the_cap_and_books_the_whole_of_a_call_that_broke_off() -> None:
    budget, ledger = slow_budget()
    ledger.let.set()
    account = budget.account("r")
    with pytest.raises(ValueError, match="torn"):
        async with account.bill(600):
            raise ValueError("torn")
    with pytest.raises(BudgetExceeded):
        async with account.bill(600):
            raise AssertionError("it was let through")
    assert ledger.spent("2026-03-01") == 600


async def test_who_is_cancelled_before_the_call_gives_all_of_it_back() -> None:
    budget, ledger = slow_budget()

    async def call() -> None:
        async with budget.account("r").bill(900):
            raise AssertionError("it was made")

    waiting = asyncio.create_task(call())
    await asyncio.to_thread(ledger.asked.wait, 20)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    ledger.let.set()
    async with budget.account("r").bill(1000) as bill:  # in turn: after what was given back
        bill.spent_microusd = 1
    assert ledger.spent("2026-03-01") == 1


async def test_who_is_cancelled_while_it_is_booked_has_still_paid() -> None:
    budget, ledger = slow_budget()
    ledger.let.set()

    async def call() -> None:
        async with budget.account("r").bill(600) as bill:
            bill.spent_microusd = 400
            ledger.let.clear()

    waiting = asyncio.create_task(call())
    while ledger.let.is_set():  # noqa: ASYNC110  # as above
        await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    ledger.let.set()
    async with budget.account("r").bill(600) as bill:
        bill.spent_microusd = 0
    assert ledger.spent("2026-03-01") == 400
