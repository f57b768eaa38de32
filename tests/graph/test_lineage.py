"""Which student the next one goes on from."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from journeyman.agents.trainer import Lesson, Trained
from journeyman.graph.round import run_round
from journeyman.graph.round_report import RoundReport
from journeyman.traces.registry import Registry
from journeyman.traces.store import Store
from tests.graph.apprentice import Desk, WordStudent, WordTrainer, notes, put_on_record


class Remembering(WordTrainer):
    """Keeps the folder that each student goes on from."""

    def __init__(self, parents: list[Path | None]) -> None:
        super().__init__()
        self.parents = parents

    def train(self, lessons: Sequence[Lesson], out: Path, **given: Any) -> Trained:
        self.parents.append(given["parent"])
        return super().train(lessons, out, **given)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def release_of(report: RoundReport) -> str:
    assert report.winner is not None
    assert report.winner.release is not None
    return report.winner.release


def test_what_was_kept_out_for_want_of_proof_is_gone_on_from(store: Store, data: Path) -> None:
    parents: list[Path | None] = []
    desk = Desk(trainer=Remembering(parents))
    kept = []
    for seed in range(3):
        put_on_record(store, Desk(), notes(40, seed=seed, foreign=0.1))
        kept.append(run_round(desk, store, data))
    assert [report.decision.verdict for report in kept] == ["keep"] * 3
    registry = Registry(store, data)
    students = [registry.load(release_of(report)).student for report in kept]
    assert parents == [None, *students[:2]]
    assert [registry.get(release_of(report)).parent for report in kept] == [
        None,
        release_of(kept[0]),
        release_of(kept[1]),
    ]


def test_what_was_given_traffic_since_is_gone_on_from(store: Store, data: Path) -> None:
    parents: list[Path | None] = []
    desk = Desk(trainer=Remembering(parents))
    registry = Registry(store, data)
    put_on_record(store, Desk(), notes(400))
    reports = [run_round(desk, store, data)]
    for seed in (1, 2):
        put_on_record(store, Desk(), notes(40, seed=seed))
        reports.append(run_round(desk, store, data))
        registry.promote("desk", release_of(reports[-1]), reason="by hand")
    assert [report.decision.verdict for report in reports] == ["promote", "keep", "keep"]
    registry.promote("desk", release_of(reports[0]), reason="by hand, too")
    put_on_record(store, Desk(), notes(40, seed=3))
    run_round(desk, store, data)
    first, second = (registry.load(release_of(report)).student for report in reports[:2])
    assert parents == [None, first, second, first]


def test_what_failed_the_canary_or_is_gone_is_not_gone_on_from(store: Store, data: Path) -> None:
    class Forgetful(Remembering):
        is_serving = False

        def load(self, folder: Path) -> WordStudent:
            student = super().load(folder)
            if self.is_serving:
                student.counts = {desk: {} for desk in student.counts}
            return student

    parents: list[Path | None] = []
    trainer = Forgetful(parents)
    desk = Desk(trainer=trainer)

    def on_stage(stage: str, step: Any) -> None:
        trainer.is_serving = stage == "promote"

    put_on_record(store, Desk(), notes(400))
    failed = run_round(desk, store, data, on_stage=on_stage)
    assert "canary" in failed.decision.reason
    trainer.is_serving = False
    put_on_record(store, Desk(), notes(40, seed=1))
    kept = run_round(Desk(trainer=trainer), store, data)
    put_on_record(store, Desk(), notes(40, seed=2))
    shutil.rmtree(Registry(store, data).load(release_of(kept)).student)
    run_round(Desk(trainer=trainer), store, data)
    assert parents == [None, None, None]
