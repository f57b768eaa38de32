"""How retrieval's student learns: questions and their passages become a query tower and a weight.

The query tower is taught by contrast, against the passages that a search by the base finds near the
lessons' questions; the index's own vectors are used, so that nothing is embedded twice. Then the
weight of the dense list is fitted on lessons that the tower did not learn from. Knows nothing of
where lessons come from.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from journeyman.agents.search import Found, Fusion, SearchIndex
from journeyman.agents.search_student import EMBEDDER_FOLDER, SearchStudent, write_fusion
from journeyman.agents.trainer import Lesson, OnStep, Trained, TrainingStep
from journeyman.models.errors import TrainingError
from journeyman.models.students.embedder import Embedder, Vector
from journeyman.models.students.folders import new_folder, refuse_used
from journeyman.models.training.embedder import EmbedderReport, QueryLesson, train_embedder
from journeyman.models.training.steps import TrainProgress
from journeyman.models.types import Example, StudentKind

_NEAR = 50  # passages of each list that a question is told apart from
_FEWEST_TO_TUNE = 20  # questions below which the weight stays as it is
_WHAT = "search student"


@dataclass(frozen=True, slots=True)
class _Read:
    """A lesson that can be learned from."""

    lesson: QueryLesson
    ids: frozenset[str]


class RetrievalTrainer:
    """Teaches students for one index.

    Args:
        index: Where negatives are looked for; it has vectors.
        fusion: What the weight is fitted from; also the student's where lessons are too few.
        base: The encoder that is taught, as the catalog names it; the index's vectors are its.
    """

    kind: StudentKind = "embedder"

    def __init__(self, index: SearchIndex, fusion: Fusion, base: str) -> None:
        self.base = base
        self._index = index
        self._fusion = fusion

    def train(
        self,
        lessons: Sequence[Lesson],
        out: Path,
        *,
        parent: Path | None = None,
        seed: int = 0,
        on_step: OnStep | None = None,
    ) -> Trained:
        """Teach a query tower, fit the weight, and write both. See `agents.trainer.Trainer`."""
        start = time.perf_counter()
        refuse_used(out, _WHAT)
        read = self._read(lessons)
        num_left_out = len(lessons) - len(read)
        base = Embedder(self.base)
        searches = self._searches(read, base)
        vectors = self._vectors(searches)
        with new_folder(out, _WHAT) as work:
            report = train_embedder(
                [each.lesson for each in read],
                base=self.base,
                out=work / EMBEDDER_FOLDER,
                documents=sorted(vectors),
                vectors=vectors,
                parent=parent / EMBEDDER_FOLDER if parent is not None else None,
                seed=seed,
                progress=_steps(on_step),
            )
            if report.blend > 0:  # the weight must not trust a tower on what it has learned
                read = [each for each in read if each.lesson.query in set(report.held_out)]
                searches = self._searches(read, Embedder.load(work / EMBEDDER_FOLDER))
            fusion = self._tuned(read, searches)
            write_fusion(work, fusion)
        return Trained(
            seconds=time.perf_counter() - start,
            num_examples=report.num_queries,
            num_left_out=num_left_out,
            facts=_facts(report) | {"dense_weight": fusion.dense_weight},
        )

    def untrained(self, lessons: Sequence[Lesson], out: Path) -> Trained | None:
        """Write the base itself, with the weight that ranks the lessons best.

        Nothing is trained: the folder names the base and holds no weights.
        """
        start = time.perf_counter()
        refuse_used(out, _WHAT)
        read = self._readable(lessons)
        base = Embedder(self.base)
        fusion = self._tuned(read, self._searches(read, base))
        with new_folder(out, _WHAT) as work:
            base.save(work / EMBEDDER_FOLDER)
            write_fusion(work, fusion)
        return Trained(
            seconds=time.perf_counter() - start,
            num_examples=len(read),
            num_left_out=len(lessons) - len(read),
            facts={"dense_weight": fusion.dense_weight},
        )

    def load(self, folder: Path) -> SearchStudent:
        """The student of a folder that `train` or `untrained` wrote.

        Raises:
            WeightsError: The folder is no such student, or was taught on another base.
        """
        return SearchStudent.load(folder, base=self.base)

    def _read(self, lessons: Sequence[Lesson]) -> list[_Read]:
        read = self._readable(lessons)
        if not read:
            raise TrainingError(
                f"None of {len(lessons)} lessons holds a question and a passage that answers it: "
                "give examples that the sub-agent's `example` made."
            )
        return read

    @staticmethod
    def _readable(lessons: Sequence[Lesson]) -> list[_Read]:
        """What can be learned from, in an order that only the content decides."""
        read = [_query_lesson(lesson.example, lesson.weight) for lesson in lessons]
        found = [each for each in read if each is not None]
        return sorted(found, key=lambda each: (each.lesson.query, sorted(each.ids)))

    def _searches(self, read: Sequence[_Read], embedder: Embedder) -> list[Found]:
        queries = [each.lesson.query for each in read]
        depth = self._fusion.depth
        return [
            self._index.search(query, vector, depth, fusion=self._fusion)
            for query, vector in zip(queries, embedder.predict(queries), strict=True)
        ]

    def _vectors(self, searches: Sequence[Found]) -> dict[str, Vector]:
        """Vectors, by text, of the passages near any lesson's question."""
        near = {hit.id for found in searches for hit in (*found.dense[:_NEAR], *found.bm25[:_NEAR])}
        vectors = {}
        for name in sorted(near):
            passage, vector = self._index.get(name), self._index.vector(name)
            if passage is not None and vector is not None:
                vectors[passage.content] = np.asarray(vector, dtype=np.float32)
        return vectors

    def _tuned(self, read: Sequence[_Read], searches: Sequence[Found]) -> Fusion:
        if len(read) < _FEWEST_TO_TUNE:
            return self._fusion
        return self._fusion.tuned(searches, [each.ids for each in read])


def _query_lesson(example: Example, weight: float) -> _Read | None:
    """The example as a lesson; None where nothing answers its question or it has another form."""
    question, target = example.task.get("question"), example.target
    if not isinstance(question, str) or not question.strip() or not isinstance(target, Mapping):
        return None
    positives, negatives = _passages(target.get("positives")), _passages(target.get("negatives"))
    if not positives or negatives is None:
        return None
    wrong = {text for name, text in negatives.items() if name not in positives}
    lesson = QueryLesson(
        query=question,
        positives=tuple(sorted(set(positives.values()))),
        negatives=tuple(sorted(wrong - set(positives.values()))),
        weight=weight,
    )
    return _Read(lesson, frozenset(positives))


def _passages(entries: Any) -> dict[str, str] | None:
    """Texts by id; None where an entry is no passage."""
    if not isinstance(entries, list | tuple):
        return None
    try:
        found = {entry["id"]: entry["text"] for entry in entries}
    except (KeyError, TypeError):
        return None
    sound = all(isinstance(k, str) and isinstance(v, str) and v.strip() for k, v in found.items())
    return found if sound else None


def _steps(on_step: OnStep | None) -> Callable[[TrainProgress], None] | None:
    if on_step is None:
        return None

    def tell(progress: TrainProgress) -> None:
        on_step(TrainingStep(f"epoch {progress.epoch}", progress.step, progress.num_steps))

    return tell


def _facts(report: EmbedderReport) -> dict[str, Any]:
    return {
        "loss": report.loss,
        "losses": list(report.losses),
        "held_out_losses": list(report.held_out_losses),
        "num_held_out": report.num_held_out,
        "num_documents": report.num_documents,
        "num_epochs": report.num_epochs,
        "best_epoch": report.best_epoch,
        "blend": report.blend,
        "base_mrr": report.base_mrr,
        "held_out_mrr": report.held_out_mrr,
        "mrr_by_blend": {str(share): mrr for share, mrr in report.mrr_by_blend.items()},
        "from_parent": report.from_parent,
    }
