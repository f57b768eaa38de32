"""The day's frontier budget, shared by every process that writes the same trace store.

A reservation is a row that expires `hold_seconds` after it was made, so that a process that was
killed does not keep the budget locked. What it had in flight may still have been billed: after a
kill the day's cap can be passed by at most the reservations that were open then. A process that is
alive but slower than that loses nothing: what it settles late is booked in full.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import Connection, Table, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from journeyman.traces.records import new_id, now
from journeyman.traces.schema import Budget, Reservation
from journeyman.traces.store import Store

_BUDGETS = cast("Table", Budget.__table__)
_RESERVATIONS = cast("Table", Reservation.__table__)


class StoreLedger:
    """A budget ledger in a trace store; see `journeyman.models.budget.Ledger`.

    Every call is one short write transaction. One that the store cannot make raises `TraceError`:
    a cap that cannot be checked is not kept.

    Args:
        store: An open store.
        hold_seconds: How long a reservation is held; longer than any call takes.
        clock: The present time, for tests.
    """

    def __init__(
        self, store: Store, *, hold_seconds: float = 900.0, clock: Callable[[], datetime] = now
    ) -> None:
        self._store = store
        self._hold = timedelta(seconds=hold_seconds)
        self._clock = clock
        self._owner = new_id()
        postgres = store.engine.dialect.name == "postgresql"
        self._upsert: Callable[[Table], Any] = postgresql.insert if postgres else sqlite.insert

    def reserve(self, amount_microusd: int, *, day: str, cap_microusd: int) -> bool:
        """Set an amount aside if spent + reserved + amount <= cap; False: refused.

        Raises:
            TraceError: The store cannot be written.
        """

        def work(connection: Connection) -> bool:
            self._expire(connection, day)
            total = _BUDGETS.c.spent + _BUDGETS.c.reserved + amount_microusd
            taken = connection.execute(
                update(_BUDGETS)
                .where(_BUDGETS.c.day == day, total <= cap_microusd)
                .values(reserved=_BUDGETS.c.reserved + amount_microusd)
            )
            if taken.rowcount == 1:
                connection.execute(
                    insert(_RESERVATIONS).values(
                        id=new_id(),
                        day=day,
                        owner=self._owner,
                        amount=amount_microusd,
                        expires_at=self._clock() + self._hold,
                    )
                )
            return taken.rowcount == 1

        return self._store.transact(work)

    def settle(self, reserved_microusd: int, spent_microusd: int, *, day: str) -> None:
        """Give a reservation back (0 where there was none) and book what was spent.

        Raises:
            TraceError: The store cannot be written.
        """

        def work(connection: Connection) -> None:
            self._expire(connection, day)
            # One of the equal ones: which makes no difference. None, where it has expired.
            mine = (
                select(_RESERVATIONS.c.id)
                .where(
                    _RESERVATIONS.c.day == day,
                    _RESERVATIONS.c.owner == self._owner,
                    _RESERVATIONS.c.amount == reserved_microusd,
                )
                .order_by(_RESERVATIONS.c.id)
                .limit(1)
                .scalar_subquery()
            )
            connection.execute(delete(_RESERVATIONS).where(_RESERVATIONS.c.id == mine))
            connection.execute(
                update(_BUDGETS)
                .where(_BUDGETS.c.day == day)
                .values(spent=_BUDGETS.c.spent + spent_microusd, reserved=_held(day))
            )

        self._store.transact(work)

    def spent(self, day: str) -> int:
        """Micro-USD booked for the day, reservations not included.

        Raises:
            TraceError: The store cannot be read.
        """
        query = select(_BUDGETS.c.spent).where(_BUDGETS.c.day == day)
        return self._store.read(lambda connection: connection.scalar(query)) or 0

    def _expire(self, connection: Connection, day: str) -> None:
        """Take hold of the day's row, and drop reservations that nobody settled in time."""
        connection.execute(
            self._upsert(_BUDGETS).values(day=day, reserved=0, spent=0).on_conflict_do_nothing()
        )
        # On a server, whoever comes second waits here until the first has committed.
        connection.execute(select(_BUDGETS.c.day).where(_BUDGETS.c.day == day).with_for_update())
        expired = delete(_RESERVATIONS).where(
            _RESERVATIONS.c.day == day, _RESERVATIONS.c.expires_at <= self._clock()
        )
        if connection.execute(expired).rowcount:
            connection.execute(
                update(_BUDGETS).where(_BUDGETS.c.day == day).values(reserved=_held(day))
            )


def _held(day: str) -> Any:
    return (
        select(func.coalesce(func.sum(_RESERVATIONS.c.amount), 0))
        .where(_RESERVATIONS.c.day == day)
        .scalar_subquery()
    )
