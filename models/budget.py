"""Hard caps on what the frontier may cost, per run and per UTC day.

A call reserves the most it can cost before it is made, and settles what it did cost afterwards.
What is spent plus what is reserved never exceeds a cap, however many calls are in flight, so a call
may be refused near the cap although the ones in flight turn out cheaper. A call whose cost is not
known after all keeps its whole reservation as spent. Only a server that ignores its output limit
can pass a cap, by that one call. A durable ledger may wait for a disk or a server, so it is never
asked on an event loop. Knows no prices and makes no calls.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from types import TracebackType
from typing import Protocol, Self, TypeVar

from journeyman.models.errors import (
    BudgetExceeded,
    ConfigError,
    JourneymanError,
    UnknownPrice,
)
from journeyman.models.prices import MICROUSD

logger = logging.getLogger("journeyman.models")

T = TypeVar("T")


class Ledger(Protocol):
    """What was spent, by day. Thread-safe; `Account.bill` waits for it beside the event loop."""

    def reserve(self, amount_microusd: int, *, day: str, cap_microusd: int) -> bool:
        """Set an amount aside if spent + reserved + amount <= cap; atomic. False: refused."""
        ...

    def settle(self, reserved_microusd: int, spent_microusd: int, *, day: str) -> None:
        """Give a reservation back (0 where there was none) and book what was spent."""
        ...

    def spent(self, day: str) -> int:
        """Micro-USD booked for the day, reservations not included."""
        ...


class MemoryLedger:
    """A ledger that lives and dies with the process.

    Args:
        max_accounts: Beyond so many, the oldest ones with nothing in flight are dropped, so that
            a long-lived process does not collect them.
    """

    def __init__(self, *, max_accounts: int = 100_000) -> None:
        self._max_accounts = max_accounts
        self._lock = threading.Lock()
        self._spent: defaultdict[str, int] = defaultdict(int)
        self._reserved: defaultdict[str, int] = defaultdict(int)

    def reserve(self, amount_microusd: int, *, day: str, cap_microusd: int) -> bool:
        """See `Ledger.reserve`."""
        with self._lock:
            if self._spent[day] + self._reserved[day] + amount_microusd > cap_microusd:
                return False
            self._reserved[day] += amount_microusd
            return True

    def settle(self, reserved_microusd: int, spent_microusd: int, *, day: str) -> None:
        """See `Ledger.settle`."""
        with self._lock:
            self._reserved[day] -= reserved_microusd
            self._spent[day] += spent_microusd
            self._drop_oldest()

    def spent(self, day: str) -> int:
        """See `Ledger.spent`."""
        with self._lock:
            return self._spent.get(day, 0)

    def _drop_oldest(self) -> None:
        for day in list(islice(self._spent, max(0, len(self._spent) - self._max_accounts))):
            if not self._reserved.get(day):
                del self._spent[day]
                self._reserved.pop(day, None)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Budget:
    """Caps, and the accounts that keep them.

    Args:
        per_run_usd: Cap of each run; None for no cap. Calls without a run share one account.
        per_day_usd: Cap of all runs of one UTC day; None for no cap.
        ledger: Keeps the day's spending; give a durable one to hold the cap over restarts and
            between processes. Spending is booked there with or without a cap.
        allow_unpriced: Let calls through whose price is unknown, and book nothing for them.
        now: The clock, for tests.

    Raises:
        ConfigError: A cap is negative or not a number.
    """

    def __init__(
        self,
        *,
        per_run_usd: float | None = None,
        per_day_usd: float | None = None,
        ledger: Ledger | None = None,
        allow_unpriced: bool = False,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        self.per_run_microusd = _cap(per_run_usd, "per_run_usd")
        self.per_day_microusd = _cap(per_day_usd, "per_day_usd")
        self.ledger = MemoryLedger() if ledger is None else ledger
        self.allow_unpriced = allow_unpriced
        self._now = now
        self._runs = MemoryLedger()
        self._unbooked: list[tuple[int, int, str]] = []
        self._unbooked_lock = threading.Lock()
        # One thread: a ledger that hangs holds up whoever has to pay, and nobody else.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journeyman-budget")

    def account(self, run_id: str) -> Account:
        """The account of one run; asked for twice, it is the same account."""
        return Account(self, run_id)

    def run_spent(self, run_id: str) -> int:
        """Micro-USD booked for a run; 0 where runs have no cap, since nothing is kept then."""
        return self._runs.spent(run_id)

    def _reserve(self, run_id: str, upper_bound: int | None, model: str) -> Reservation:
        capped = self.per_run_microusd is not None or self.per_day_microusd is not None
        if upper_bound is None and capped and not self.allow_unpriced:
            raise UnknownPrice(
                f"A budget is set but nothing bounds what a call of model {model!r} costs: add its "
                "price to the settings, or allow unpriced calls.",
                model=model,
            )
        amount = upper_bound or 0
        day = self._now().astimezone(UTC).date().isoformat()
        run_held = self._hold(self._runs, run_id, amount, self.per_run_microusd, "run", model)
        try:
            day_held = self._hold(self.ledger, day, amount, self.per_day_microusd, "day", model)
        except BaseException:  # a ledger may fail as well as refuse
            self._runs.settle(run_held, 0, day=run_id)
            raise
        return Reservation(self, run_id, day, amount, run_held, day_held)

    async def _beside(self, work: Callable[[], T], undo: Callable[[T], None] | None = None) -> T:
        """Run a step of bookkeeping to its end; off the event loop, unless it cannot wait.

        Args:
            work: The step. It ends even where whoever asked for it is cancelled meanwhile.
            undo: Given what the step made, where nobody is left to use it.
        """
        if isinstance(self.ledger, MemoryLedger):
            return work()
        step = self._thread.submit(work)
        try:
            return await asyncio.shield(asyncio.wrap_future(step))
        except asyncio.CancelledError:
            if undo is not None:
                self._thread.submit(_undone, step, undo)  # in turn: after the step itself
            raise

    def _hold(
        self, ledger: Ledger, key: str, amount: int, cap: int | None, what: str, model: str
    ) -> int:
        if cap is None:
            return 0
        if not ledger.reserve(amount, day=key, cap_microusd=cap):
            raise BudgetExceeded(
                f"A frontier call of up to {_usd(amount)} would pass the cap of {_usd(cap)} for "
                f"{what} {key!r}, counting what is spent and in flight: raise 'per_{what}_usd', or "
                f"wait for a new {what}.",
                model=model,
                cap_microusd=cap,
            )
        return amount

    def _settle(self, reservation: Reservation, spent: int) -> None:
        if self.per_run_microusd is not None:
            self._runs.settle(reservation.run_microusd, spent, day=reservation.run_id)
        if not spent and not reservation.day_microusd:
            return
        with self._unbooked_lock:
            owed, self._unbooked = self._unbooked, []
        owed.append((reservation.day_microusd, spent, reservation.day))
        for held, amount, day in owed:
            try:
                self.ledger.settle(held, amount, day=day)
            except JourneymanError as error:
                # The answer is paid for and must not be lost to bookkeeping: booked at the next
                # settlement, and until then the reservation itself keeps the cap.
                logger.warning("could not book %s for %s: %s", _usd(amount), day, error)
                with self._unbooked_lock:
                    self._unbooked.append((held, amount, day))


@dataclass(frozen=True, slots=True)
class Account:
    """One run's door to the budget."""

    budget: Budget
    run_id: str

    def reserve(self, upper_bound: int | None, *, model: str = "") -> Reservation:
        """Set aside the most that a call can cost, in micro-USD; None where nothing bounds it.

        Raises:
            BudgetExceeded: A cap would be passed; nothing is reserved.
            UnknownPrice: A cap is set, the bound is None and unpriced calls are not allowed.
        """
        return self.budget._reserve(self.run_id, upper_bound, model)  # noqa: SLF001  # one unit

    @asynccontextmanager
    async def bill(self, upper_bound: int | None, *, model: str = "") -> AsyncIterator[Bill]:
        """Reserve before a call and book after it, without holding up the event loop.

        What a cancelled caller had not begun to ask for is given back.

        Args:
            upper_bound: See `reserve`.
            model: The model, for what errors say.

        Raises:
            BudgetExceeded: See `reserve`.
            UnknownPrice: See `reserve`.
        """
        budget = self.budget
        reservation = await budget._beside(  # noqa: SLF001  # one unit with its budget
            lambda: self.reserve(upper_bound, model=model), undo=lambda made: made.settle(0)
        )
        bill = Bill()
        try:
            yield bill
        finally:
            # Booked whether or not anybody still waits for it: the call has been made.
            await budget._beside(lambda: reservation.settle(bill.spent_microusd))  # noqa: SLF001  # as above

    @property
    def spent_microusd(self) -> int:
        """Booked so far for this run; 0 where runs have no cap."""
        return self.budget.run_spent(self.run_id)


@dataclass(slots=True)
class Bill:
    """What a call cost in micro-USD; None, where that is unknown, books all that was reserved."""

    spent_microusd: int | None = None


@dataclass(slots=True)
class Reservation:
    """Money set aside for one call; settled once, on the day it was reserved for.

    As a context manager it keeps itself as spent when the block ends without `settle`: a call that
    was cancelled or crashed may have been billed.
    """

    budget: Budget = field(repr=False)
    run_id: str
    day: str
    amount_microusd: int
    run_microusd: int
    day_microusd: int
    settled: bool = False

    def settle(self, actual: int | None) -> None:
        """Book the call's cost in micro-USD; None, where it is unknown, books the reservation.

        Every settlement after the first does nothing.
        """
        if not self.settled:
            self.settled = True
            spent = self.amount_microusd if actual is None else actual
            self.budget._settle(self, spent)  # noqa: SLF001  # one unit with its budget

    def __enter__(self) -> Self:
        """The reservation itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Book the whole reservation unless it has been settled."""
        self.settle(None)


def _undone(step: Future[T], undo: Callable[[T], None]) -> None:
    if step.exception() is None:
        undo(step.result())


def _cap(usd: float | None, key: str) -> int | None:
    if usd is None:
        return None
    amount = Decimal(str(usd))
    if not amount.is_finite() or amount < 0:
        raise ConfigError(
            f"Budget {key!r} is {usd!r}: give USD, 0 or more, or leave it out.", key=key
        )
    return int(amount * MICROUSD)


def _usd(microusd: int) -> str:
    return f"${microusd / MICROUSD:.6f}"
