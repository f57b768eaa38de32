"""Run as a program: `python killed_round.py STORE DATA SEED DURATIONS`.

Children run the round of the desk, and in each stage that has a duration, in turn, one is killed at
a random moment of it; then the round is run to its end. Prints how long each stage took. Forking
from a process that has imported everything makes a kill cost milliseconds.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from journeyman.agents.trainer import Lesson, Trained
from journeyman.graph.round import run_round
from journeyman.graph.round_state import STAGES, RoundOptions
from journeyman.traces.curate import Settings
from journeyman.traces.rounds import RoundStore
from journeyman.traces.split import Shares
from journeyman.traces.store import Store
from tests.graph.apprentice import Desk, WordTrainer

PAUSE = 0.6
OPTIONS = RoundOptions(curation=Settings(shares=Shares(calibration=0.4, head=0.2)))


class SlowTrainer(WordTrainer):
    """Takes its time, and keeps a diary of trainings that began and ended."""

    def __init__(self, diary: Path) -> None:
        super().__init__()
        self._diary = diary

    def train(self, lessons: Sequence[Lesson], out: Path, **given: Any) -> Trained:
        self._note("begin")
        time.sleep(PAUSE)
        trained = super().train(lessons, out, **given)
        self._note("end")
        return trained

    def _note(self, word: str) -> None:
        with self._diary.open("a", encoding="utf-8") as file:
            file.write(f"{word}\n")


def run(target: str, data: Path, told: Callable[[str], None]) -> None:
    """One attempt at the round."""
    agent = Desk(trainer=SlowTrainer(data / "diary.txt"))

    def on_stage(stage: str, step: Any) -> None:
        if step is None:
            told(stage)

    with Store.open(target) as store:
        run_round(agent, store, data, options=OPTIONS, on_stage=on_stage)


def has_ended(target: str) -> bool:
    """Whether the second round is over."""
    with Store.open(target) as store:
        last = RoundStore(store).last_done("desk")
    return last is not None and last.number == 2


def killed_in(stage: str, target: str, data: Path, wait: float) -> None:
    """Fork a child that runs the round, and kill it a while after the stage has begun."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            run(target, data, lambda name: os.write(writer, f"{name}\n".encode()) and None)
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stages:
        while (line := stages.readline()) and line.strip().decode() != stage:
            pass
        time.sleep(wait)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def main(target: str, data: Path, seed: int, lasts: dict[str, float]) -> None:
    """Kill in every stage that has a duration here, then go on to the end."""
    rng = random.Random(seed)
    for stage in STAGES:
        if stage in lasts and not has_ended(target):
            killed_in(stage, target, data, rng.uniform(0, lasts[stage]))
    began: list[tuple[str, float]] = []
    if not has_ended(target):
        run(target, data, lambda stage: began.append((stage, time.perf_counter())))
    began.append(("", time.perf_counter()))
    found = {stage: after - at for (stage, at), (_, after) in pairwise(began)}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4]))
