"""How the router's student learns: requests and their routes become a classifier.

Where a request has one route the head is multinomial, and no route is a class of its own; where it
may have several each route is a question of its own. Vectors are kept in the user's cache, so that
a round embeds only what is new. Knows nothing of where lessons come from.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from journeyman.agents.embeddings import Vectors, embed_passages
from journeyman.agents.passages import Passage
from journeyman.agents.trainer import Lesson, OnStep, Trained, TrainingStep
from journeyman.models.catalog import cache_dir
from journeyman.models.errors import TrainingError, WeightsError
from journeyman.models.students.classifier import Classifier
from journeyman.models.students.embedder import Embedder
from journeyman.models.students.folders import refuse_used
from journeyman.models.training.classifier import LabelledText, merged, train_classifier
from journeyman.models.types import StudentKind

WORDS = 4096
"""Size of the word vectors that a head for several routes reads beside the embedding. Which
sub-agents a request needs shows in its form (a traceback, code, a question) as much as in its
subject; which one of many intents it has does not, and there words only slow the fit."""

NO_ROUTE = ""
"""Class of requests without a route, where the router has no name of its own for them."""


class RoutingTrainer:
    """Teaches classifiers for a router.

    Args:
        labels: Description by route, in order.
        multiple: A request may need several routes.
        out_of_scope: Class that stands for "no route" where a request has one route.
        names: The student reads a route's name together with its description.
        embedder: The one that the router uses; made from `base` when it is needed, if None.
        base: What students embed with.
        cache: Folder where vectors are kept; the user's cache folder by default.
    """

    kind: StudentKind = "classifier"

    def __init__(
        self,
        labels: Mapping[str, str],
        *,
        multiple: bool,
        out_of_scope: str | None = None,
        names: bool = True,
        embedder: Embedder | None = None,
        base: str = "all-MiniLM-L6-v2",
        cache: Path | None = None,
    ) -> None:
        self._labels = dict(labels)
        self._multiple = multiple
        self._no_route = NO_ROUTE if out_of_scope is None else out_of_scope
        self._names = names
        self._given = embedder
        self.base = base if embedder is None else embedder.base.name
        self._cache = cache

    def train(
        self,
        lessons: Sequence[Lesson],
        out: Path,
        *,
        parent: Path | None = None,  # a convex problem has one answer, wherever it starts
        seed: int = 0,  # nothing is drawn
        on_step: OnStep | None = None,
    ) -> Trained:
        """Fit a head to the lessons' requests; see `Trainer.train`."""
        return self._write(lessons, out, with_head=True, on_step=on_step)

    def untrained(self, lessons: Sequence[Lesson], out: Path) -> Trained | None:
        """A student that goes by the nearest taught requests; see `Trainer.untrained`."""
        return self._write(lessons, out, with_head=False, on_step=None)

    def load(self, folder: Path) -> Classifier:
        """The student of a folder; see `Trainer.load`.

        Raises:
            WeightsError: The folder is no classifier's, or it was taught for other routes.
        """
        student = Classifier.load(folder, self._given)
        if student.labels != self._labels or (student.taught and student.multi_label) != (
            student.taught and self._multiple
        ):
            raise WeightsError(
                f"The classifier in {str(folder)!r} was taught for other routes than the router "
                f"has now: teach it again."
            )
        return student

    def _write(
        self, lessons: Sequence[Lesson], out: Path, *, with_head: bool, on_step: OnStep | None
    ) -> Trained:
        start = time.perf_counter()
        refuse_used(out, "classifier")
        read = [self._read(lesson) for lesson in lessons]
        examples = merged([example for example in read if example is not None])
        if not examples:
            raise TrainingError(
                f"None of {len(lessons)} lessons holds a request with routes that the router has: "
                f"collect examples."
            )
        embedder = self._given if self._given is not None else Embedder(self.base)
        report = train_classifier(
            examples,
            self._embed(examples, embedder, on_step),
            self._labels,
            embedder=embedder,
            out=out,
            multi_label=self._multiple,
            words=WORDS if self._multiple else 0,
            names=self._names,
            with_head=with_head,
        )
        if on_step is not None:
            on_step(TrainingStep("fitting", len(examples) + 1, len(examples) + 1))
        return Trained(
            seconds=time.perf_counter() - start,
            num_examples=sum(example is not None for example in read),
            num_left_out=sum(example is None for example in read),
            facts=asdict(report),
        )

    def _read(self, lesson: Lesson) -> LabelledText | None:
        """The lesson's request and labels; None where it does not say what this router asks."""
        text, routes = lesson.example.task.get("text"), lesson.example.target
        if not isinstance(text, str) or not text or not isinstance(routes, list | tuple):
            return None
        if not all(isinstance(r, str) and r in self._labels for r in routes) or lesson.weight <= 0:
            return None
        labels = tuple(sorted(set(routes)))
        if not self._multiple:
            if len(labels) > 1:
                return None
            labels = labels or (self._no_route,)
        return LabelledText(text, labels, lesson.weight)

    def _embed(
        self, examples: Sequence[LabelledText], embedder: Embedder, on_step: OnStep | None
    ) -> Vectors:
        def progress(done: int, total: int) -> None:
            if on_step is not None:
                on_step(TrainingStep("embedding", len(examples) - total + done, len(examples) + 1))

        return embed_passages(
            [Passage(str(i), example.text) for i, example in enumerate(examples)],
            Requests(embedder),
            cache=cache_dir() / "embeddings" if self._cache is None else self._cache,
            progress=progress,
        )


class Requests:
    """An embedder's query side in the form that the cache of vectors takes."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self.dimension = embedder.dimension

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors (len(texts), dimension) of requests."""
        return np.stack(self._embedder.predict(texts))

    def document_fingerprint(self) -> str:
        """Hash of everything that shapes a request's vector."""
        return f"query {self._embedder.fingerprint()}"
