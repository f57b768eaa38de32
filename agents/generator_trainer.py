"""Teaching a sub-agent's generator: lessons become prompts and answers, as the student meets them.

How a lesson reads is the sub-agent's to say. Nothing here knows where the lessons come from or
whether the student is any good.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from journeyman.agents.trainer import Lesson, OnStep, Trained, TrainingStep
from journeyman.models.errors import TrainingError
from journeyman.models.served import ServedGenerator
from journeyman.models.students.generator import Generator
from journeyman.models.students.generator_weights import open_generator, write_untaught
from journeyman.models.training.generator import train_generator
from journeyman.models.training.generator_rows import PromptedAnswer
from journeyman.models.training.steps import TrainProgress
from journeyman.models.types import StudentKind

ReadLesson = Callable[[Lesson], PromptedAnswer | None]
"""A lesson as prompt and answer; None where nothing can be learned from it."""


class GeneratorTrainer:
    """Teaches generators that write by the settings of one that is there.

    Args:
        like: The sub-agent's generator; its base is taught, and its settings are kept. Where it is
            served, so are those that are loaded: what is evaluated is what will answer.
        read: How a lesson reads.
        epochs: Most passes over the lessons.
        max_length: Most tokens of prompt and answer together; longer lessons are left out.
    """

    kind: StudentKind = "generator"

    def __init__(
        self,
        like: Generator | ServedGenerator,
        read: ReadLesson,
        *,
        epochs: int = 4,
        max_length: int = 1024,
    ) -> None:
        self.base = like.base.name
        self._served = like if isinstance(like, ServedGenerator) else None
        self._like = like.local if isinstance(like, ServedGenerator) else like
        self._read = read
        self._epochs = epochs
        self._max_length = max_length

    def train(
        self,
        lessons: Sequence[Lesson],
        out: Path,
        *,
        parent: Path | None = None,
        seed: int = 0,
        on_step: OnStep | None = None,
    ) -> Trained:
        """Teach a generator and write it to a folder. See `agents.trainer.Trainer`.

        Starts from the base whatever the parent: the lessons hold what the parent was taught, and
        an adapter that goes on and on drifts. The same training, started again after a crash, goes
        on from its last checkpoint.
        """
        examples = self._examples(lessons)
        report = train_generator(
            examples,
            base=self.base,
            out=out,
            epochs=self._epochs,
            max_length=self._max_length,
            seed=seed,
            device=self._like.base.device,
            progress=_steps(on_step, self._epochs),
        )
        num_used = report.num_examples + report.num_held_out
        return Trained(
            seconds=report.seconds,
            num_examples=num_used,
            num_left_out=len(lessons) - num_used,
            facts={
                name: list(value) if isinstance(value, tuple) else value
                for name, value in asdict(report).items()
                if name not in {"seconds", "num_examples"}
            },
        )

    def untrained(self, lessons: Sequence[Lesson], out: Path) -> Trained | None:
        """Write the base itself, which answers by what it brought along."""
        start = time.perf_counter()
        canary = () if self._served is None else self._served.rebased().canary()
        write_untaught(out, self._like.base.files, canary)
        return Trained(seconds=time.perf_counter() - start, num_examples=0)

    def load(self, folder: Path) -> Generator | ServedGenerator:
        """The generator of a folder that `train` or `untrained` wrote.

        Generators that were taught on the same base share its weights in memory.

        Raises:
            WeightsError: It is none, or its base is missing or another.
        """
        generator = open_generator(folder, like=self._like)
        return generator if self._served is None else self._served.rebound(generator, folder)

    def _examples(self, lessons: Sequence[Lesson]) -> list[PromptedAnswer]:
        read = [self._read(lesson) for lesson in lessons]
        examples = [example for example in read if example is not None]
        if not examples:
            raise TrainingError(
                f"None of {len(lessons)} lessons holds an answer that a generator can be taught: "
                f"give examples that the sub-agent's `example` made.",
                model=self.base,
            )
        return examples


def _steps(on_step: OnStep | None, epochs: int) -> Callable[[TrainProgress], None] | None:
    if on_step is None:
        return None

    def tell(progress: TrainProgress) -> None:
        stage = f"epoch {progress.epoch} of {epochs}"
        if progress.epoch > epochs:
            stage = "preferences"
        on_step(TrainingStep(stage, progress.step, progress.num_steps))

    return tell
