"""A round that is killed in any stage goes on where it was, and ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from journeyman.graph.round import run_round
from journeyman.graph.round_state import STAGES
from journeyman.traces.registry import Registry
from journeyman.traces.rounds import RoundStore
from journeyman.traces.store import Store
from tests.graph.apprentice import Desk, notes, put_on_record
from tests.graph.killed_round import OPTIONS
from tests.stores import copy_store, store_at

ROOT = Path(__file__).parents[2]
VARYING = {"round", "started_at", "created_at", "p50_ms", "p95_ms", "train_seconds"}
"""Times and ids of a report: what two runs of one round may differ in."""


@pytest.fixture(scope="module")
def begun(any_store: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a release in traffic and new labels, from which a second round begins."""
    home = tmp_path_factory.mktemp("begun")
    with Store.open(store_at(home / "traces.db")) as store:
        put_on_record(store, Desk(), notes(60, foreign=0.2))
        put_on_record(store, Desk(), notes(140, seed=9, foreign=1.0))
        assert run_round(Desk(), store, home / "data", options=OPTIONS).in_traffic
        put_on_record(store, Desk(), notes(500, seed=1, foreign=1.0))
    return home


def second_round(begun: Path, home: Path, seed: int, lasts: dict[str, float]) -> dict[str, float]:
    """Run it on a copy, killed in the stages that have a duration; how long each stage took."""
    shutil.copytree(begun / "data", home / "data")
    copy_store(begun / "traces.db", home / "traces.db")
    program = Path(__file__).with_name("killed_round.py")
    command = [sys.executable, program, store_at(home / "traces.db"), home / "data", str(seed)]
    done = subprocess.run(
        [*command, json.dumps(lasts)],
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def timeless(value: Any) -> Any:
    """A report without times and ids."""
    if isinstance(value, dict):
        if value.get("name") == "latency within budget":
            return value["outcome"]
        return {key: timeless(part) for key, part in value.items() if key not in VARYING}
    return [timeless(part) for part in value] if isinstance(value, list) else value


def report_of(home: Path) -> dict[str, Any]:
    with Store.open(store_at(home / "traces.db")) as store:
        rounds = RoundStore(store)
        return dict(rounds.get(rounds.history("desk")[-1].id).report or {})


@pytest.mark.slow
def test_killed_in_every_stage_a_round_ends_as_if_it_had_not_been(
    begun: Path, tmp_path: Path
) -> None:
    lasts = second_round(begun, tmp_path / "whole", 0, {})
    assert list(lasts) == list(STAGES)
    whole = report_of(tmp_path / "whole")
    assert whole["arms"].keys() == {"trained", "untrained", "incumbent"}
    for seed in (1, 2):
        home = tmp_path / f"killed-{seed}"
        # Only a part of training, so that the kill falls before its end.
        second_round(begun, home, seed, {**lasts, "train": 0.15})
        report = report_of(home)
        assert timeless(report) == timeless(whole)
        diary = (home / "data" / "diary.txt").read_text("utf-8").split()
        # What was trained is not trained again, though stages after it were killed as well.
        assert (diary.count("end"), diary[-1]) == (1, "end")
        assert not list((home / "data" / "rounds").glob("*/*"))
        with Store.open(store_at(home / "traces.db")) as store:
            history = RoundStore(store).history("desk")
            assert [(e.number, e.status) for e in history] == [(1, "done"), (2, "done")]
            registry = Registry(store, home / "data")
            for release in registry.releases("desk"):
                registry.load(release.id)
            active = registry.active("desk")
            assert active is not None
            assert active.id == report["in_traffic"]
