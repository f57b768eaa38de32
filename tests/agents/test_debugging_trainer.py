"""How debugging's student learns: from verified patches, and from correct programs."""

from __future__ import annotations

import ast
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from journeyman.agents import debugging_trainer
from journeyman.agents.debugging import Debugging, DebuggingTask
from journeyman.agents.debugging_trainer import DebuggingTrainer, taught_ranker
from journeyman.agents.repair_search import Fault, propose, ranked
from journeyman.agents.repair_teaching import (
    Mutants,
    Program,
    lesson_group,
    mutant_groups,
    read_programs,
    refuse_shared,
)
from journeyman.agents.sandbox import Sandbox
from journeyman.agents.trainer import Lesson, TrainingStep
from journeyman.models.errors import ConfigError, TrainingError, WeightsError
from journeyman.models.students.ranker import Ranker
from journeyman.models.types import Example

WIDEST = """def widest(rows):
    best = 0
    for row in rows:
        if len(row) > best:
            best = len(row)
    return best
"""
PROGRAMS = {
    "total": ("def total(a, b):\n    return a + b\n", "assert total(1, 2) == 3\n"),
    "widest": (WIDEST, "assert widest(['a', 'abc', '']) == 3\nassert widest([]) == 0\n"),
    "above": (
        "def above(values, limit):\n    return [v for v in values if v > limit]\n",
        "assert above([1, 2, 3], 2) == [3]\nassert above([], 1) == []\n",
    ),
}
SUMS = [
    (f"def add{n}(a, b):\n    return a - b\n", f"def add{n}(a, b):\n    return a + b\n")
    for n in range(4)
]


def programs() -> list[Program]:
    return [Program(name, code, tests) for name, (code, tests) in PROGRAMS.items()]


def lesson(broken: str, fixed: str, **target: Any) -> Lesson:
    name = broken.partition("(")[0].removeprefix("def ")
    task = DebuggingTask(code=broken, tests=f"assert {name}(2, 3) == 5\n")
    kept = {"code": fixed, "diff": "", "verified": True, **target}
    return Lesson(Example("debugging", task.model_dump(mode="json"), kept, group=name))


@pytest.fixture(scope="module")
def wall() -> Iterator[Sandbox]:
    if shutil.which("bwrap") is None:
        pytest.skip("needs bubblewrap: apt-get install bubblewrap")
    made = Sandbox()
    yield made
    made.close()


# Correct programs.


def test_mutants_differ_from_their_program_and_can_be_repaired() -> None:
    source = Mutants(programs()[1], seed=0)
    taken = []
    while not source.exhausted and len(taken) < 12:
        found = source.take({})
        if found is not None:
            taken.append(found[0])
    assert len(set(taken)) == len(taken) == 12
    assert PROGRAMS["widest"][0] not in taken
    for code in taken:
        ast.parse(code)


async def test_a_mutant_is_a_group_whose_right_candidate_is_the_way_back(wall: Sandbox) -> None:
    groups = await mutant_groups(programs(), wall, num_bugs=6)
    assert len(groups) == 6
    assert {group.source for group in groups} == set(PROGRAMS)
    for group in groups:
        assert group.right
        assert len(group.candidates) == len(group.offsets) > len(group.right)


async def test_the_same_seed_makes_the_same_bugs(wall: Sandbox) -> None:
    first = await mutant_groups(programs(), wall, num_bugs=4, seed=1)
    assert first == await mutant_groups(programs(), wall, num_bugs=4, seed=1)
    assert first != await mutant_groups(programs(), wall, num_bugs=4, seed=2)


async def test_a_repair_that_no_edit_makes_is_no_group(wall: Sandbox) -> None:
    broken, fixed = SUMS[0]
    fault = Fault(broken, "assert add0(2, 3) == 5\n")
    assert await lesson_group(fault, fixed, wall) is not None
    reformatted = fixed.replace("a + b", "(a  +  b)  # sums")
    assert await lesson_group(fault, reformatted, wall) is not None, "it is the same program"
    another = "def add0(a, b):\n    return sum([a, b])\n"
    assert await lesson_group(fault, another, wall) is None
    assert await lesson_group(replace(fault, code=fixed), fixed, wall) is None, "it does not fail"


def test_programs_of_the_test_are_refused() -> None:
    broken = PROGRAMS["widest"][0].replace(">", "<")
    with pytest.raises(ConfigError, match="widest"):
        refuse_shared(programs(), [broken])
    same_name = "def widest(rows):\n    return sorted(rows, key=len)[-1]\n"
    refuse_shared(programs(), [same_name])


def test_rows_without_tests_are_no_programs(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps({"id": "a", "code": "x = 1"}) + "\n")
    with pytest.raises(ConfigError, match=r"p\.jsonl"):
        read_programs(path)
    with pytest.raises(ConfigError, match="JOURNEYMAN_DATA"):
        read_programs(tmp_path / "none.jsonl")


def test_a_ranker_is_taught_once_and_then_kept(
    wall: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(debugging_trainer, "cache_dir", lambda: tmp_path / "cache")
    path = tmp_path / "programs.jsonl"
    rows = [{"id": p.id, "code": p.code, "tests": p.tests} for p in programs()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    steps: list[TrainingStep] = []
    first = taught_ranker(path, tested=[], sandbox=lambda: wall, num_bugs=8, on_step=steps.append)
    assert first.taught
    assert steps[0].stage == "bugs"
    assert all(0 <= s.done <= s.total == steps[0].total for s in steps)

    def none() -> Sandbox:
        raise AssertionError("nothing is to be taught")

    assert taught_ranker(path, tested=[], sandbox=none, num_bugs=8).weights == first.weights
    path.write_text(path.read_text() + "\n\n")
    again = taught_ranker(path, tested=[], sandbox=lambda: wall, num_bugs=8)
    assert again.weights == first.weights, "another file, the same programs: taught anew"
    assert len([p for p in (tmp_path / "cache" / "students").iterdir() if p.is_dir()]) == 2
    with pytest.raises(ConfigError, match="total"):
        taught_ranker(path, tested=[rows[0]["code"]], sandbox=none, num_bugs=8)


# Verified patches.


def test_lessons_teach_what_was_right_in_them(wall: Sandbox, tmp_path: Path) -> None:
    trainer = DebuggingTrainer(lambda: wall)
    steps: list[TrainingStep] = []
    trained = trainer.train([lesson(*pair) for pair in SUMS], tmp_path / "r", on_step=steps.append)
    student = trainer.load(tmp_path / "r")
    right, wrong = student.predict(["arithmetic -~+ ++ -- in_return", "arithmetic -~* +* --"])
    assert right > wrong
    assert (trained.num_examples, trained.num_left_out) == (4, 0)
    assert trained.facts["num_mutants"] > 0
    assert steps[-1].done <= steps[-1].total
    assert {step.stage for step in steps} == {"lessons", "fitting"}


def test_what_cannot_teach_is_counted(wall: Sandbox, tmp_path: Path) -> None:
    broken, fixed = SUMS[1]
    lessons = [
        lesson(*SUMS[0]),
        lesson(broken, fixed, verified=False),
        lesson(broken, "def add1(a, b):\n    return sum([a, b])\n"),
        Lesson(Example("debugging", {"no": "task"}, {"code": fixed, "verified": True})),
    ]
    trained = DebuggingTrainer(lambda: wall).train(lessons, tmp_path / "r")
    assert (trained.num_examples, trained.num_left_out) == (1, 3)
    with pytest.raises(TrainingError, match="3 lessons"):
        DebuggingTrainer(lambda: wall).train(lessons[1:], tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_the_order_of_lessons_shapes_nothing(wall: Sandbox, tmp_path: Path) -> None:
    trainer = DebuggingTrainer(lambda: wall)
    lessons = [lesson(*pair) for pair in SUMS[:3]]
    trainer.train(lessons, tmp_path / "a")
    trainer.train(lessons[::-1], tmp_path / "b")
    assert trainer.load(tmp_path / "a").fingerprint() == trainer.load(tmp_path / "b").fingerprint()


def test_the_parents_knowledge_goes_on(wall: Sandbox, tmp_path: Path) -> None:
    Ranker({"loop": 1.25}).save(tmp_path / "parent")
    trainer = DebuggingTrainer(lambda: wall)
    trainer.train([lesson(*SUMS[0])], tmp_path / "r", parent=tmp_path / "parent")
    assert trainer.load(tmp_path / "r").weights["loop"] == 1.25


def test_a_used_folder_is_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("something")

    def none() -> Sandbox:
        raise AssertionError("nothing is to be run")

    with pytest.raises(WeightsError, match="not empty"):
        DebuggingTrainer(none).train([lesson(*SUMS[0])], tmp_path)


def test_the_untrained_student_is_the_generic_order(tmp_path: Path) -> None:
    trainer = DebuggingTrainer(Sandbox)
    trained = trainer.untrained([], tmp_path / "r")
    assert trained is not None
    assert not trainer.load(tmp_path / "r").taught


async def test_the_sub_agent_takes_what_its_trainer_made(wall: Sandbox, tmp_path: Path) -> None:
    agent = Debugging(None, wall)
    trainer = agent.trainer()
    assert (trainer.kind, trainer.base) == ("ranker", "generic-order")
    Ranker({"arithmetic": 9.0}).save(tmp_path / "r")
    taught = agent.with_student(trainer.load(tmp_path / "r"))
    broken, _ = SUMS[0]
    task = DebuggingTask(code=broken, tests="assert add0(2, 3) == 5\n")
    assert (await taught.search(task)).proposals[0].operator == "arithmetic"
    assert taught.release != agent.release


async def test_scores_correct_the_generic_order_and_do_not_replace_it(wall: Sandbox) -> None:
    from journeyman.agents.repair_search import look

    proposals = propose(await look(Fault(SUMS[0][0], "assert add0(2, 3) == 5\n"), wall))
    generic = [p.code for p in ranked(proposals, None)]
    assert [p.code for p in ranked(proposals, Ranker({}).predict)] == generic
    assert [p.code for p in ranked(proposals, Ranker({proposals[-1].operator: 9}).predict)] != (
        generic
    )
