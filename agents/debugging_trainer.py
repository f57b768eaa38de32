"""How debugging's student learns: verified patches, and correct programs, become ranking groups.

A lesson is a broken program with a patch that its tests passed; the candidates that give the
patched program are right. Patches that no single edit reaches teach nothing here and are counted.
The patched programs are broken anew besides, as correct programs are before there is any traffic.
Knows nothing of where lessons come from.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import ValidationError

from journeyman.agents.debug_task import DebuggingTask
from journeyman.agents.edits import OPERATORS_VERSION
from journeyman.agents.repair_search import PRIOR_WEIGHT, Fault
from journeyman.agents.repair_teaching import (
    Program,
    lesson_group,
    mutant_groups,
    read_programs,
    refuse_shared,
)
from journeyman.agents.repair_words import WORDS_VERSION
from journeyman.agents.sandbox import Sandbox
from journeyman.agents.trainer import Lesson, OnStep, Trained, TrainingStep
from journeyman.models.catalog import cache_dir, file_digest
from journeyman.models.errors import ConfigError, TrainingError
from journeyman.models.students.folders import refuse_used
from journeyman.models.students.ranker import DECODING, Ranker
from journeyman.models.training.ranker import RankingGroup, train_ranker
from journeyman.models.types import StudentKind, content_hash

logger = logging.getLogger(__name__)

TEACHING_VERSION = "1"
"""Raise it when the same programs would teach otherwise: kept rankers are taught anew then."""

NUM_BUGS = 600
"""Bugs that a ranker is taught on before there is traffic; twice as many order no better."""

_FIT = 120  # steps that a fit is told as, beside one for each bug or lesson
_MUTANTS_PER_LESSON = 2
_MUTANT_WEIGHT = 0.25  # of a lesson's: what people get wrong is not what an edit breaks


class DebuggingTrainer:
    """Teaches rankers.

    Args:
        sandbox: Gives the sandbox in which the broken programs' tests are run.
    """

    kind: StudentKind = "ranker"
    base = "generic-order"  # what a ranker corrects; there are no weights to start from

    def __init__(self, sandbox: Callable[[], Sandbox]) -> None:
        self._sandbox = sandbox

    def train(
        self,
        lessons: Sequence[Lesson],
        out: Path,
        *,
        parent: Path | None = None,
        seed: int = 0,
        on_step: OnStep | None = None,
    ) -> Trained:
        """Fit weights to the lessons, shrunk towards the parent's; see `Trainer.train`.

        Raises:
            SandboxUnavailable: The broken programs' tests cannot be run here.
            TrainingError: No lesson holds a verified patch that a single edit makes.
            WeightsError: The folder is taken, or the parent cannot be read.
        """
        start = time.perf_counter()
        refuse_used(out, "ranker")
        known = Ranker.load(parent) if parent is not None else None
        # The order of the lessons must not shape the student.
        read = sorted(
            (found for found in map(_read, lessons) if found is not None), key=lambda r: r.key
        )
        groups = asyncio.run(_lesson_groups(read, self._sandbox(), on_step))
        if not groups:
            raise TrainingError(
                f"None of {len(lessons)} lessons holds a verified patch that a single edit makes: "
                f"collect examples."
            )
        mutants = asyncio.run(
            mutant_groups(
                [repair.program for repair in read],
                self._sandbox(),
                num_bugs=_MUTANTS_PER_LESSON * len(groups),
                seed=seed,
            )
        )
        top_up = [
            RankingGroup(each.candidates, each.right, each.offsets, each.source, _MUTANT_WEIGHT)
            for each in mutants
        ]
        report = train_ranker(
            [*groups, *top_up],
            out=out,
            start=known,
            progress=_fitting(on_step, len(read)),
        )
        return Trained(
            seconds=time.perf_counter() - start,
            num_examples=len(groups),
            num_left_out=len(lessons) - len(groups),
            facts={"num_mutants": len(top_up), **asdict(report)},
        )

    def untrained(self, lessons: Sequence[Lesson], out: Path) -> Trained | None:
        """The generic order, which no lesson shapes; see `Trainer.untrained`."""
        start = time.perf_counter()
        Ranker().save(out)
        return Trained(time.perf_counter() - start, num_examples=0, num_left_out=len(lessons))

    def load(self, folder: Path) -> Ranker:
        """The student of a folder; see `Trainer.load`."""
        return Ranker.load(folder)


@dataclass(frozen=True, slots=True)
class _Repair:
    """A lesson that was read."""

    fault: Fault
    repaired: str
    group: str
    weight: float

    @property
    def key(self) -> str:
        """The same for the same lesson."""
        return content_hash([self.fault.code, self.fault.tests, self.repaired])

    @property
    def program(self) -> Program:
        """The repaired program as one to be broken anew."""
        return Program(
            self.group or self.key,
            self.repaired,
            self.fault.tests,
            self.fault.description,
            self.fault.entry_point,
        )


def _read(lesson: Lesson) -> _Repair | None:
    """The lesson's fault and repair; None where the patch was not verified by tests."""
    target = lesson.example.target
    try:
        task = DebuggingTask.model_validate(lesson.example.task)
    except ValidationError:
        return None
    if not isinstance(target, dict) or target.get("verified") is not True or lesson.weight <= 0:
        return None
    code = target.get("code")
    if not isinstance(code, str) or not code.strip() or not task.tests.strip():
        return None
    return _Repair(task.fault, code, lesson.example.group, lesson.weight)


async def _lesson_groups(
    read: Sequence[_Repair], sandbox: Sandbox, on_step: OnStep | None
) -> list[RankingGroup]:
    groups = []
    for number, repair in enumerate(read, start=1):
        group = await lesson_group(
            repair.fault, repair.repaired, sandbox, source=repair.group, weight=repair.weight
        )
        if group is not None:
            groups.append(group)
        if on_step is not None:
            on_step(TrainingStep("lessons", number, len(read) + _FIT))
    return groups


def _fitting(on_step: OnStep | None, before: int) -> Callable[[int, int], None]:
    def step(done: int, total: int) -> None:
        if on_step is not None:
            on_step(TrainingStep("fitting", before + done * _FIT // total, before + _FIT))

    return step


def taught_ranker(
    programs: Path,
    *,
    tested: Sequence[str],
    sandbox: Callable[[], Sandbox],
    num_bugs: int = NUM_BUGS,
    seed: int = 0,
    on_step: OnStep | None = None,
) -> Ranker:
    """A ranker taught on a file of correct programs: at the first call, later ones find it kept.

    It is kept in the cache, under a hash of the programs, the settings and the versions of all code
    that shapes it. Two processes that ask at once teach once. Blocks; not for an event loop.

    Args:
        programs: As `read_programs` takes it.
        tested: Broken programs that the ranker will be measured on; none may be one of these.
        sandbox: Gives the sandbox in which the mutants run, if there is anything to teach.
        num_bugs: Bugs to make of the programs.
        seed: Of the bugs.
        on_step: Told how it goes on; never where it is kept already.

    Raises:
        ConfigError: The programs cannot be read, are the test's, or yield no bug.
        SandboxUnavailable: Nothing here can run them safely.
    """
    import filelock  # only where something may have to be taught

    read = read_programs(programs)
    refuse_shared(read, tested)
    versions = [TEACHING_VERSION, WORDS_VERSION, OPERATORS_VERSION, str(DECODING)]
    settings = [num_bugs, seed, PRIOR_WEIGHT]
    key = content_hash([file_digest(programs), settings, versions], length=16)
    folder = cache_dir() / "students" / f"ranker-{key}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder.with_suffix(".lock")):
            if not folder.exists():
                _teach(read, folder, sandbox(), num_bugs, seed, on_step)
    return Ranker.load(folder)


def _teach(
    programs: Sequence[Program],
    folder: Path,
    sandbox: Sandbox,
    num_bugs: int,
    seed: int,
    on_step: OnStep | None,
) -> None:
    def made(done: int, total: int) -> None:
        if on_step is not None:
            on_step(TrainingStep("bugs", done, total + _FIT))

    groups = asyncio.run(
        mutant_groups(programs, sandbox, num_bugs=num_bugs, seed=seed, on_bug=made)
    )
    if not groups:
        raise ConfigError(
            f"The {len(programs)} programs yield no bug to learn from: give correct programs whose "
            f"tests notice a change."
        )
    report = train_ranker(groups, out=folder, progress=_fitting(on_step, num_bugs))
    logger.info("taught a ranker in %s: %s", folder, report)
