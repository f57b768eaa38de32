"""What teaching does for retrieval: `python benchmarks/retrieval_taught.py [SUITE...]`, minutes.

Half of a suite's queries become lessons as they do in traffic: the student searches, the reference
frontier picks among the 20 candidates that it is shown, and what it does not see teaches nothing.
The other half is ranked before and after, over three splits. Not part of `make bench`: it measures
quality, which does not change with the machine.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent.parent))

from journeyman.agents.index import Index
from journeyman.agents.retrieval import Retrieval, RetrievalTask
from journeyman.agents.search import Fusion
from journeyman.agents.trainer import Lesson
from journeyman.models.catalog import cache_dir
from journeyman.models.students.base import Student
from journeyman.models.students.embedder import Embedder
from journeyman.models.training.embedder import QueryLesson, train_embedder
from journeyman.scenarios.corpora import read_corpus
from journeyman.scenarios.datasets import iter_scenarios
from journeyman.scenarios.paths import find_suite
from journeyman.scenarios.scenario import ExpectedRanking, Scenario
from journeyman.scenarios.suite import load_suite

SEEDS = (0, 1, 2)
Ranks = dict[str, float]
"""Reciprocal rank by scenario id."""


def _relevant(scenario: Scenario) -> list[str]:
    wanted = scenario.expected["retrieval"]
    assert isinstance(wanted, ExpectedRanking)
    return [name for name, grade in wanted.grades.items() if grade > 0]


def _lessons(agent: Retrieval, scenarios: Sequence[Scenario]) -> list[Lesson]:
    """What the reference frontier's picks teach."""

    async def one(scenario: Scenario) -> Lesson:
        task = RetrievalTask(question=scenario.text, k=20)
        attempt = await agent.attempt(task)
        reply = agent.reference_answer(task, _relevant(scenario))
        shown = {p.id for p in attempt.output.passages} if attempt.output else set()
        reply["ranking"] = [name for name in reply["ranking"] if name in shown]
        return Lesson(agent.example(task, agent.parse_frontier(task, attempt, reply)))

    async def every() -> list[Lesson]:
        return list(await asyncio.gather(*(one(scenario) for scenario in scenarios)))

    return asyncio.run(every())


def _ranks(
    index: Index,
    student: Student[str, NDArray[np.float32]],
    fusion: Fusion,
    test: Sequence[Scenario],
) -> dict[str, Ranks]:
    """Reciprocal rank of each test query's best answer, by vectors alone and fused."""
    found: dict[str, Ranks] = {"dense": {}, "fused": {}}
    vectors = student.predict([scenario.text for scenario in test])
    for scenario, vector in zip(test, vectors, strict=True):
        search = index.search(scenario.text, vector, 100, fusion=fusion)
        wanted = set(_relevant(scenario))
        for name, hits in (("dense", search.dense), ("fused", search.fused)):
            ranks = (rank for rank, hit in enumerate(hits, start=1) if hit.id in wanted)
            found[name][scenario.id] = next((1 / rank for rank in ranks), 0.0)
    return found


def _unmixed(lessons: Sequence[Lesson], folder: Path, seed: int) -> Embedder:
    """The tower as it was taught, without the base's share."""
    read = [
        QueryLesson(
            each.example.task["question"],
            tuple(p["text"] for p in each.example.target["positives"]),
            tuple(p["text"] for p in each.example.target["negatives"]),
        )
        for each in lessons
        if each.example.target["positives"]
    ]
    train_embedder(read, out=folder, seed=seed, blends=(1.0,))
    return Embedder.load(folder)


def _one_split(
    agent: Retrieval, index: Index, scenarios: Sequence[Scenario], seed: int, folder: Path
) -> tuple[dict[str, Ranks], str]:
    order = list(scenarios)
    random.Random(seed).shuffle(order)
    taught, test = order[: len(order) // 2], order[len(order) // 2 :]
    lessons = _lessons(agent, taught)
    trainer = agent.trainer()
    assert trainer is not None
    done = trainer.train(lessons, folder / "taught", seed=seed)
    trainer.untrained(lessons, folder / "untrained")
    student, tuned = trainer.load(folder / "taught"), trainer.load(folder / "untrained")
    unmixed = _unmixed(lessons, folder / "unmixed", seed)
    base = _ranks(index, tuned, Fusion(), test)
    after = _ranks(index, student, student.fusion, test)
    ranks = {
        "dense, base": base["dense"],
        "dense, taught, not mixed": _ranks(index, unmixed, Fusion(), test)["dense"],
        "dense, taught and mixed": after["dense"],
        "fused, base, default weight": base["fused"],
        "fused, base, fitted weight": _ranks(index, tuned, tuned.fusion, test)["fused"],
        "fused, taught, fitted weight": after["fused"],
    }
    facts = done.facts
    line = (
        f"split {seed}: {done.num_examples} + {facts['num_held_out']} held out of {len(taught)} "
        f"queries had an answer in sight; blend {facts['blend']}, weight {facts['dense_weight']} "
        f"(untaught {tuned.fusion.dense_weight}), best epoch {facts['best_epoch']} of "
        f"{facts['num_epochs']}, {done.seconds:.0f} s"
    )
    return ranks, line


def _change(after: Sequence[Ranks], before: Sequence[Ranks]) -> str:
    """Mean paired difference and its 95 % interval, by bootstrap over queries.

    A query counts once, with its mean over the splits that test it.
    """
    found: dict[str, list[float]] = {}
    for new, old in zip(after, before, strict=True):
        for query, value in new.items():
            found.setdefault(query, []).append(value - old[query])
    means = np.array([np.mean(values) for values in found.values()])
    draws = np.random.default_rng(0).integers(0, len(means), (2000, len(means)))
    low, high = np.quantile(means[draws].mean(axis=1), [0.025, 0.975])
    return f"{means.mean():+.3f} ({low:+.3f} to {high:+.3f}, {len(means)} queries)"


def measure(name: str) -> None:
    """Print the figures of one suite as they come."""
    suite = load_suite(find_suite(name))
    embedder = Embedder()
    index = Index.build(read_corpus(suite), embedder, cache=cache_dir() / "embeddings")
    agent = Retrieval(index, embedder)
    scenarios = list(iter_scenarios(suite))
    every: list[dict[str, Ranks]] = []
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as folder:
            ranks, line = _one_split(agent, index, scenarios, seed, Path(folder))
        every.append(ranks)
        print(f"{name}, {line}", flush=True)
    for method in every[0]:
        before = "dense, base" if method.startswith("dense") else "fused, base, default weight"
        by_split = ", ".join(f"{np.mean(list(ranks[method].values())):.3f}" for ranks in every)
        change = _change([ranks[method] for ranks in every], [ranks[before] for ranks in every])
        print(f"{name}, {method}: MRR {by_split} by split; against the base {change}", flush=True)


if __name__ == "__main__":
    for suite_name in sys.argv[1:] or ("cosqa", "xquad"):
        measure(suite_name)
