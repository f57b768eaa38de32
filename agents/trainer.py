"""How a sub-agent's student is taught, kept in a folder and loaded again.

A sub-agent that learns has a `Trainer`: it knows what the teaching examples of that sub-agent mean
and hands them to the trainer of the student's kind in `models.training`. Nothing here knows where
examples come from, whether the student is any good, or who decides that it takes traffic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from journeyman.models.students.base import Student
from journeyman.models.types import Example, StudentKind


@dataclass(frozen=True, slots=True)
class Lesson:
    """One teaching example.

    Attributes:
        example: What the sub-agent's `example` made.
        weight: How often it should count; the mean over a data set is 1.
        rejected: A wrong answer to the same task, in the sub-agent's output form, for students that
            learn preferences; None where none is known.
    """

    example: Example
    weight: float = 1.0
    rejected: Any = None


@dataclass(frozen=True, slots=True)
class TrainingStep:
    """How far training is, for a progress bar.

    Attributes:
        stage: What is going on, in a word or two: `embedding`, `epoch 2 of 4`.
        done: Steps done, of this training as a whole.
        total: Steps if it does not stop early.
    """

    stage: str
    done: int
    total: int


OnStep = Callable[[TrainingStep], None]


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training did.

    Attributes:
        seconds: Wall time.
        num_examples: Examples that were learned from.
        num_left_out: Lessons that could not be: nothing to learn in them, or not in this form.
        facts: The trainer's own figures, JSON-compatible: losses, epochs, settings.
    """

    seconds: float
    num_examples: int
    num_left_out: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)


class Trainer(Protocol):
    """Teaches the students of one sub-agent.

    Attributes:
        kind: Of the students.
        base: The model that they are taught from, as the catalog names it.
    """

    kind: StudentKind
    base: str

    def train(
        self,
        lessons: Sequence[Lesson],
        out: Path,
        *,
        parent: Path | None = None,
        seed: int = 0,
        on_step: OnStep | None = None,
    ) -> Trained:
        """Teach a student and write it to a folder, which appears complete or not at all.

        Args:
            lessons: Of this sub-agent. Their order does not shape the student.
            out: A folder that does not exist yet.
            parent: Folder of the student in traffic, or of a later one that was kept out for want
                of proof, to go on from where that is better than starting from the base; None
                where there is neither.
            seed: The same lessons, parent and seed give the same student on the same machine.
            on_step: Called as training goes on.

        Raises:
            TrainingError: Nothing can be learned from these lessons.
            WeightsError: The folder is taken, or the parent cannot be read.
        """
        ...

    def untrained(self, lessons: Sequence[Lesson], out: Path) -> Trained | None:
        """Write the student that no training made: it answers by the nearest taught examples.

        It competes in every round, and ships where it wins.

        Args:
            lessons: Of this sub-agent.
            out: A folder that does not exist yet.

        Returns:
            None where this sub-agent has no such student.
        """
        ...

    def load(self, folder: Path) -> Student[Any, Any]:
        """The student of a folder that `train` or `untrained` wrote.

        Raises:
            WeightsError: The folder is no such student.
        """
        ...
