"""Routing taught round by round on BANKING77, without graph or store: what the student can do.

Each round sees a fifth of the stream. After the first only what the certificate does not let out,
and a twentieth drawn at random, is labelled; random rows alone fit the head and certify, as in a
real round. Every candidate replaces the one before it, which a real round would have to decide.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from journeyman.agents.embeddings import embed_passages
from journeyman.agents.passages import Passage
from journeyman.agents.routing import Route, Routing, RoutingTask
from journeyman.agents.routing_trainer import Requests
from journeyman.agents.trainer import Lesson
from journeyman.models.catalog import cache_dir
from journeyman.models.certificate import certify_joint
from journeyman.models.confidence import ConfidenceHead
from journeyman.models.errors import ConfigError
from journeyman.models.scoring import auroc
from journeyman.models.students.classifier import Classifier
from journeyman.models.students.embedder import Embedder
from journeyman.models.types import Example, Risk, content_hash
from journeyman.scenarios.datasets import iter_scenarios, routes_in_use
from journeyman.scenarios.paths import find_suite
from journeyman.scenarios.scenario import ExpectedRoutes
from journeyman.scenarios.suite import load_suite
from journeyman.traces.split import Shares, part_of

NUM_ROUNDS = 5
AUDIT_RATE = 0.05
RISK = Risk(max_error=0.05, delta=0.05)

Bools = NDArray[np.bool_]


class RoutedRequests:
    """A suite's requests with their vectors and routes."""

    def __init__(self, name: str) -> None:
        suite = load_suite(find_suite(name))
        scenarios = list(iter_scenarios(suite))
        self.texts = [scenario.text for scenario in scenarios]
        self.is_test = np.array([scenario.part == "test" for scenario in scenarios])
        self.routes = []
        for scenario in scenarios:
            expected = scenario.expected["routing"]
            assert isinstance(expected, ExpectedRoutes)
            self.routes.append(expected.routes)
        embedder, described = Embedder(), routes_in_use(suite)
        self.vectors = embed_passages(
            [Passage(str(i), text) for i, text in enumerate(self.texts)],
            Requests(embedder),
            cache=cache_dir() / "embeddings",
        )
        student = Classifier(embedder, described, names=False)
        routes = [Route(route, text) for route, text in described.items()]
        self.router = Routing(routes, student, multiple=False)
        self.parts = [part_of(content_hash(text), "benchmark", Shares()) for text in self.texts]

    def attempts(
        self, student: Classifier, rows: Sequence[int]
    ) -> tuple[list[dict[str, float]], Bools]:
        """Evidence of a student's attempts at some requests, and whether each is right."""
        evidence, right = [], []
        found = student.classify([self.texts[i] for i in rows], self.vectors[list(rows)])
        for i, raw in zip(rows, found, strict=True):
            task = RoutingTask(text=self.texts[i])
            plan = self.router.parse(task, raw)
            evidence.append(self.router.evidence(task, raw, plan))
            right.append(plan.routes == self.routes[i])
        return evidence, np.array(right)

    def add_foreign(self, name: str, number: int) -> None:
        """Add requests of another suite, for which there is no route here."""
        texts = [s.text for s in iter_scenarios(load_suite(find_suite(name)), limit=number)]
        embedder = Embedder()
        vectors = embed_passages(
            [Passage(str(i), text) for i, text in enumerate(texts)],
            Requests(embedder),
            cache=cache_dir() / "embeddings",
        )
        self.texts += texts
        self.routes += [frozenset[str]()] * len(texts)
        self.vectors = np.concatenate([self.vectors, vectors])

    def lesson(self, row: int) -> Lesson:
        """What a request teaches."""
        target = sorted(self.routes[row])
        return Lesson(Example("routing", {"text": self.texts[row]}, target))


class _Loop:
    """The labels so far, and the student that answers now."""

    def __init__(self, requests: RoutedRequests, seed: int) -> None:
        self._requests = requests
        self._draw = np.random.default_rng(seed)
        self._labelled: dict[str, list[int]] = {"train": [], "head": [], "calibration": []}
        self._student: Classifier | None = None
        self._head: ConfidenceHead | None = None
        self._threshold = np.inf
        stream = np.flatnonzero(~requests.is_test)
        self._batches = np.array_split(self._draw.permutation(stream), NUM_ROUNDS)

    def round(self, number: int, folder: Path) -> str:
        batch = self._batches[number]
        shown = self._label(batch)
        requests, trainer = self._requests, self._requests.router.trainer()
        lessons = [requests.lesson(row) for row in self._labelled["train"]]
        seconds = trainer.train(lessons, folder).seconds
        self._student = trainer.load(folder)
        evidence, right = requests.attempts(self._student, self._labelled["head"])
        self._head = ConfidenceHead.fit(evidence, right.tolist())
        evidence, right = requests.attempts(self._student, self._labelled["calibration"])
        proof = certify_joint(self._head.probabilities(evidence), ~right, RISK)
        self._threshold = proof.threshold
        evidence, right = requests.attempts(
            self._student, np.flatnonzero(requests.is_test).tolist()
        )
        scores = self._head.probabilities(evidence)
        accepted = scores >= self._threshold
        return (
            f"round {number + 1}: {shown / len(batch):.0%} labelled, {len(lessons)} lessons in "
            f"{seconds:.1f} s, {proof.n} certify; on {len(right)} test requests accuracy "
            f"{right.mean():.3f}, AUROC {auroc(scores, right):.3f}, answered by the student "
            f"{accepted.mean():.1%}, accepted and wrong {(accepted & ~right).mean():.1%}"
        )

    def _label(self, batch: NDArray[np.int64]) -> int:
        """Label what escalates and what is audited; how many that is."""
        audited = self._draw.random(len(batch)) < AUDIT_RATE
        escalated = np.ones(len(batch), dtype=bool)
        if self._student is not None and self._head is not None:
            evidence, _ = self._requests.attempts(self._student, batch.tolist())
            escalated = self._head.probabilities(evidence) < self._threshold
            fair = audited
        else:
            fair = escalated
        for i, row in enumerate(batch.tolist()):
            part = self._requests.parts[row]
            if fair[i] or (escalated[i] and part == "train"):
                self._labelled[part].append(row)
        return int((escalated | audited).sum())


def measure() -> list[str]:
    """Lines of the report."""
    try:
        requests = RoutedRequests("banking77")
    except ConfigError as error:
        return [f"banking77: {error}"]
    loop = _Loop(requests, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        return [loop.round(number, Path(folder) / str(number)) for number in range(NUM_ROUNDS)]
