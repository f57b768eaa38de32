"""Rounds that begin in trouble: given up, facing a dead incumbent, with tasks of one group."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from journeyman.agents.trainer import Lesson
from journeyman.graph.round import run_round
from journeyman.graph.round_state import RoundOptions
from journeyman.traces.curate import Settings as CurationSettings
from journeyman.traces.examples import ExampleStore
from journeyman.traces.rounds import RoundStore
from journeyman.traces.split import Shares
from journeyman.traces.store import Store
from tests.graph.apprentice import Desk, Note, WordTrainer, notes, put_on_record

HALF = RoundOptions(curation=CurationSettings(shares=Shares(calibration=0.4, head=0.2)))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


class Stumbling(WordTrainer):
    """Cannot be used while `broken`."""

    broken = True

    def train(self, lessons: Sequence[Lesson], out: Path, **how: Any) -> Any:
        if self.broken:
            raise RuntimeError("the disk is full")
        return super().train(lessons, out, **how)


def threads(data: Path) -> set[str]:
    """Rounds of which there is a checkpoint."""
    with closing(sqlite3.connect(data / "rounds" / "checkpoints.db")) as connection:
        return {row[0] for row in connection.execute("select distinct thread_id from checkpoints")}


def test_an_interrupted_round_can_be_given_up(store: Store, data: Path) -> None:
    put_on_record(store, Desk(), notes(400))
    trainer = Stumbling()
    with pytest.raises(RuntimeError):
        run_round(Desk(trainer=trainer), store, data, options=HALF)
    [left] = RoundStore(store).history("desk")
    trainer.broken = False
    report = run_round(Desk(trainer=trainer), store, data, options=HALF, restart=True)
    assert report.round != left.id
    assert report.number == 2
    assert report.decision.verdict == "promote"  # the labels of the one given up are not lost
    given_up = RoundStore(store).get(left.id)
    assert (given_up.status, given_up.reason) == ("stopped", "given up")
    assert not (data / "rounds" / left.id).exists()


def test_giving_up_where_nothing_was_interrupted_changes_nothing(store: Store, data: Path) -> None:
    put_on_record(store, Desk(), notes(400))
    assert run_round(Desk(), store, data, options=HALF, restart=True).number == 1


def test_checkpoints_are_kept_no_longer_than_their_round(store: Store, data: Path) -> None:
    put_on_record(store, Desk(), notes(400))
    trainer = Stumbling()
    with pytest.raises(RuntimeError):
        run_round(Desk(trainer=trainer), store, data, options=HALF)
    assert threads(data) == {RoundStore(store).history("desk")[0].id}
    trainer.broken = False
    run_round(Desk(trainer=trainer), store, data, options=HALF)
    assert threads(data) == set()


def test_an_incumbent_that_fails_on_most_tasks_is_replaced(store: Store, data: Path) -> None:
    class Moody(Desk):
        """Fails with the student that it had when it was told to."""

        dead: object = None

        def parse(self, task: Note, raw: Any) -> Any:
            if self.student.fingerprint() == self.dead:
                raise RuntimeError("no answer")
            return super().parse(task, raw)

    put_on_record(store, Moody(), notes(300))
    first = run_round(Moody(), store, data, options=HALF)
    assert first.in_traffic is not None
    released = next((data / "releases").rglob("counts.json")).parent
    put_on_record(store, Moody(), notes(300, seed=1))
    agent = Moody()
    agent.dead = WordTrainer().load(released).fingerprint()
    second = run_round(agent, store, data, options=HALF)
    assert "incumbent" not in second.arms
    assert second.decision.verdict == "promote"
    assert second.in_traffic != first.in_traffic


def test_tasks_of_one_group_never_both_teach_and_certify(store: Store, data: Path) -> None:
    class Paired(Desk):
        """Every note comes with a number of its own; what is before it makes the group."""

        def group(self, task: Note) -> str:
            return task.text.rsplit(" ", 1)[0]

    texts = notes(150)
    copies = [(f"{text.rsplit(' ', 1)[0]} {i:08x}", desk) for i, (text, desk) in enumerate(texts)]
    put_on_record(store, Paired(), [*texts, *copies])
    run_round(Paired(), store, data, options=HALF)
    sides: dict[str, set[str]] = {}
    for row in ExampleStore(store).load("desk"):
        assert row.part is not None
        sides.setdefault(row.task["text"].rsplit(" ", 1)[0], set()).add(row.part)
    assert {len(parts) for parts in sides.values()} == {1}
    assert len({next(iter(parts)) for parts in sides.values()}) > 1
