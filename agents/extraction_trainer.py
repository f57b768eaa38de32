"""Teaching extraction's tagger: examples of records become texts with marked spans.

What a tagger cannot learn from is counted and left out: a value that stands nowhere in its text,
spans that are not at their offsets, a text without a word. Nothing here knows where the lessons
come from or whether the student is any good.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from journeyman.agents.fields import FieldSpec
from journeyman.agents.record import FieldSpan, Record, grounding_fault
from journeyman.agents.trainer import Lesson, OnStep, Trained, TrainingStep
from journeyman.models.errors import TrainingError
from journeyman.models.students.nearest import NearestTagger, is_nearest
from journeyman.models.students.tagger import Tagger
from journeyman.models.training.nearest import write_nearest
from journeyman.models.training.steps import TrainProgress
from journeyman.models.training.tagged_text import TaggedText
from journeyman.models.training.tagger import can_go_on, shared_sets, train_tagger
from journeyman.models.types import Example, Span, StudentKind


class _Schedule(NamedTuple):
    epochs: int
    learning_rate: float


# Going on takes two thirds of the time of starting anew. Three epochs of smaller steps were worse
# than that; whether five at the full rate teach as much is open. docs/lab.md, "how a tagger is
# taught".
_FROM_BASE = _Schedule(epochs=8, learning_rate=5e-4)
_GOING_ON = _Schedule(epochs=5, learning_rate=5e-4)
# Early stopping ends while the rate is high, and what the last epochs of a falling rate teach is
# worth more than what they harm; unseen labels prove what a student is worth. The same entry.
_HELD_OUT = 0.0
_BATCH_SIZE = 32  # half the optimizer steps of 16, which for short texts are a fifth of the time


class ExtractionTrainer:
    """Teaches taggers for one schema's fields.

    Args:
        specs: The schema's fields.
        base: The encoder that they are taught from, as the catalog names it.
    """

    kind: StudentKind = "tagger"

    def __init__(self, specs: Sequence[FieldSpec], base: str) -> None:
        self.base = base
        self._specs = tuple(specs)
        self._labels = tuple(spec.label for spec in specs)

    def train(
        self,
        lessons: Sequence[Lesson],
        out: Path,
        *,
        parent: Path | None = None,
        seed: int = 0,
        on_step: OnStep | None = None,
    ) -> Trained:
        """Teach a tagger and write it to a folder. See `agents.trainer.Trainer`.

        It goes on from the parent where that is a tagger of the same base for the same fields,
        which knows what fields one stretch may fill at once.
        """
        examples = self._examples(lessons)
        shared = shared_sets(examples)
        goes_on = parent is not None and can_go_on(parent, self.base, self._labels, shared)
        schedule = _GOING_ON if goes_on else _FROM_BASE
        report = train_tagger(
            examples,
            self._labels,
            base=self.base,
            out=out,
            epochs=schedule.epochs,
            learning_rate=schedule.learning_rate,
            batch_size=_BATCH_SIZE,
            held_out_share=_HELD_OUT,
            seed=seed,
            start=parent if goes_on else None,
            progress=_steps(on_step),
        )
        return Trained(
            seconds=report.seconds,
            num_examples=len(examples),
            num_left_out=len(lessons) - len(examples),
            facts={
                "started_from": "parent" if goes_on else "base",
                "learning_rate": schedule.learning_rate,
                "batch_size": _BATCH_SIZE,
                "loss": report.loss,
                "num_inexact_spans": report.num_inexact_spans,
                "num_epochs": report.num_epochs,
            },
        )

    def untrained(self, lessons: Sequence[Lesson], out: Path) -> Trained | None:
        """Write the student that marks what the nearest taught texts had marked.

        Raises:
            TrainingError: Nothing can be learned from these lessons.
            WeightsError: The folder is taken.
        """
        start = time.perf_counter()
        examples = self._examples(lessons)
        write_nearest(examples, self._labels, base=self.base, out=out)
        return Trained(
            seconds=time.perf_counter() - start,
            num_examples=len(examples),
            num_left_out=len(lessons) - len(examples),
        )

    def load(self, folder: Path) -> Tagger | NearestTagger:
        """The student of a folder that `train` or `untrained` wrote.

        Raises:
            WeightsError: It is none, or one for other fields.
        """
        student = NearestTagger if is_nearest(folder) else Tagger
        return student(weights=folder, labels=self._labels)

    def _examples(self, lessons: Sequence[Lesson]) -> list[TaggedText]:
        """What can be learned, in an order that only the content decides."""
        read = [tagged_text(lesson.example, self._specs, lesson.weight) for lesson in lessons]
        examples = [example for example in read if example is not None]
        if not examples:
            raise TrainingError(
                f"None of {len(lessons)} lessons holds spans of {list(self._labels)} in a text: "
                f"give examples that the sub-agent's `example` made."
            )
        return sorted(examples, key=_content)


def tagged_text(
    example: Example, specs: Sequence[FieldSpec], weight: float = 1.0
) -> TaggedText | None:
    """The example for a tagger; None where it would teach something that is not so.

    Args:
        example: As `Extraction.example` makes it.
        specs: The schema's fields.
        weight: Of the lesson.
    """
    text = example.task.get("text")
    target = example.target
    if not isinstance(text, str) or not text.strip() or not isinstance(target, Mapping):
        return None
    paths = {spec.label: spec.path for spec in specs}
    spans = _spans(target.get("spans"), text, paths)
    if spans is None:
        return None
    placed = tuple(
        FieldSpan(field=paths[s.label], start=s.start, end=s.end, text=s.text) for s in spans
    )
    values = target.get("values")
    record = Record(values=dict(values) if isinstance(values, Mapping) else {}, spans=placed)
    # A value that stands nowhere would be a lesson in leaving it out.
    if grounding_fault(text, record, specs) is not None:
        return None
    return TaggedText(text, spans, weight)


def _spans(entries: Any, text: str, labels: Mapping[str, str]) -> tuple[Span, ...] | None:
    """The spans; None where one has another label or is not at its offsets."""
    if not isinstance(entries, list | tuple):
        return None
    spans = []
    for entry in entries:
        try:
            span = Span(entry["label"], int(entry["start"]), int(entry["end"]), entry["text"])
        except (KeyError, TypeError, ValueError):
            return None
        if span.label not in labels or not span.text or text[span.start : span.end] != span.text:
            return None
        spans.append(span)
    return tuple(sorted(spans, key=lambda span: (span.start, span.end, span.label)))


def _content(example: TaggedText) -> tuple[Any, ...]:
    spans = tuple((span.start, span.end, span.label) for span in example.spans)
    return example.text, spans, example.weight


def _steps(on_step: OnStep | None) -> Callable[[TrainProgress], None] | None:
    if on_step is None:
        return None

    def tell(progress: TrainProgress) -> None:
        on_step(TrainingStep(f"epoch {progress.epoch}", progress.step, progress.num_steps))

    return tell
