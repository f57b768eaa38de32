"""Sixteen processes write at once, and one of them is killed every second."""

from __future__ import annotations

import subprocess
from collections import defaultdict
from collections.abc import Callable

import pytest
from sqlalchemy import func, select

from journeyman.traces.schema import Budget, Reservation, Span
from journeyman.traces.store import Store
from tests.traces.conftest import Target

NUM_PROCESSES = 16
SECONDS = 12
CAP = 60

Program = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def storm(target: Target, program: Program) -> list[list[str]]:
    """What the processes told, as words: of each run that was promised to be on disk, or a kill."""
    Store.open(target).close()
    done = program("storm", target, NUM_PROCESSES, SECONDS, CAP)
    out, errors = done.communicate(timeout=180)
    assert (done.returncode, errors) == (0, "")  # no lock, no deadlock, no trouble of any kind
    return [line.split() for line in out.splitlines()]


@pytest.mark.slow
def test_what_was_promised_is_there_and_no_day_passes_its_cap(
    storm: list[list[str]], target: Target
) -> None:
    promised = [words[1] for words in storm if words[0] == "run"]
    assert len(promised) == len(set(promised)) > 2 * NUM_PROCESSES
    assert sum(words == ["killed"] for words in storm) == SECONDS
    with Store.open(target, read_only=True) as store:
        store.integrity()
        ended = {run.id for run in store.runs(None, status="ok")}
        attempted = {attempt.run_id for attempt in store.attempts()}
        stepped = set(store.read(lambda c: c.scalars(select(Span.run_id)).all()))
        assert set(promised) <= ended & attempted & stepped
        held = select(Reservation.day, func.sum(Reservation.amount)).group_by(Reservation.day)
        budgets = select(Budget.day, Budget.spent, Budget.reserved)
        in_flight = dict(store.read(lambda c: [tuple(row) for row in c.execute(held)]))
        days = store.read(lambda c: [tuple(row) for row in c.execute(budgets)])
    told: defaultdict[str, int] = defaultdict(int)
    for words in storm:
        if words[0] == "run":
            told[words[2]] += int(words[3])
    assert len(days) == 3
    for day, spent, reserved in days:
        assert told[day] <= spent  # what was told was booked
        assert reserved == in_flight.get(day, 0)  # what the killed had reserved is held
        assert CAP - 9 < spent + reserved <= CAP  # used up, and not passed
