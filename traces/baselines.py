"""Which suite run is the baseline of its suite: set by a person, never by a run."""

from __future__ import annotations

from sqlalchemy import Connection, update

from journeyman.traces.schema import SuiteRun
from journeyman.traces.store import Store


def set_baseline(store: Store, run_id: str) -> None:
    """Make a run the baseline of its suite and arm, in the place of any other.

    Raises:
        TraceError: There is no such run, or the store cannot be written.
    """
    record = store.suite_run(run_id)

    def work(connection: Connection) -> None:
        same = (SuiteRun.suite == record.suite) & (SuiteRun.arm.is_not_distinct_from(record.arm))
        connection.execute(update(SuiteRun).where(same).values(is_baseline=False))
        connection.execute(
            update(SuiteRun).where(SuiteRun.id == record.id).values(is_baseline=True)
        )

    store.transact(work)
