"""Repairs in suites: desk rows that ask for them, references, and judging by hidden tests."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from journeyman.agents.debugging import Debugging, DebuggingTask
from journeyman.agents.patches import Patch
from journeyman.agents.sandbox import Sandbox
from journeyman.cli.repairs import render_repairs
from journeyman.models.errors import ConfigError
from journeyman.models.students.generator import Generation, Prompt
from journeyman.models.students.ranker import Ranker
from journeyman.scenarios.assembly import Staff, repairer
from journeyman.scenarios.datasets import iter_scenarios
from journeyman.scenarios.judging import given, judged
from journeyman.scenarios.paths import shipped_suites
from journeyman.scenarios.references import references, task_for
from journeyman.scenarios.repairs import Repairs
from journeyman.scenarios.scenario import ExpectedRoutes, ExpectedTests, Scenario
from journeyman.scenarios.spec import DebuggingSettings
from journeyman.scenarios.suite import Suite, load_suite

CODE = "def top(values):\n    return min(values)\n"
FIXED = "def top(values):\n    return max(values)\n"
TESTS = "assert top([2, 2]) == 2\nassert top([1, 5]) == 5\n"
HIDDEN = "assert top([5, 1]) == 5\nassert top([-3, -4, -5]) == -3\n"
LAST = "def top(values):\n    return values[-1]\n"
REPAIR = {
    "entry_point": "top",
    "code": CODE,
    "tests": TESTS,
    "hidden_tests": HIDDEN,
    "fixed": FIXED,
}
ROW = {
    "id": "r1",
    "text": f"Top is low.\n\n```python\n{CODE}```\n\n```python tests\n{TESTS}```\n",
    "tasks": ["debugging"],
    "repair": REPAIR,
}


def make_desk(folder: Path, row: dict[str, Any], agent: str = "null") -> Suite:
    (folder / "know.jsonl").write_text('{"_id": "k1", "title": "T", "text": "x"}\n')
    (folder / "reports.jsonl").write_text(json.dumps(row) + "\n")
    (folder / "form.py").write_text(
        "from pydantic import BaseModel\nclass Bug(BaseModel):\n    line: int | None = None\n"
    )
    path = folder / "suite.yaml"
    path.write_text(
        f"version: 1\nsuite: made\nagent: {agent}\n"
        "agents:\n  extraction: {schema: 'form.py:Bug'}\n  retrieval: {corpus: know.jsonl}\n"
        "  debugging: {candidates: 50, seconds: 9.5, look_past: 7}\n"
        "data: [{name: test, format: desk, file: reports.jsonl}]\n"
    )
    return load_suite(path)


@pytest.fixture(scope="module")
def wall() -> Iterator[Sandbox]:
    if shutil.which("bwrap") is None:
        pytest.skip("needs bubblewrap: apt-get install bubblewrap")
    made = Sandbox()
    yield made
    made.close()


def test_a_desk_row_may_ask_for_a_repair(tmp_path: Path) -> None:
    suite = make_desk(tmp_path, ROW)
    (scenario,) = iter_scenarios(suite)
    assert scenario.expected == {
        "debugging": ExpectedTests(TESTS, HIDDEN, FIXED, "top"),
        "routing": ExpectedRoutes(frozenset({"debugging"})),
    }
    assert "debugging" in suite.agents


def test_a_desk_row_may_ask_for_all_three(tmp_path: Path) -> None:
    more = {"tasks": ["extraction", "retrieval", "debugging"], "fields": {"line": 3}}
    suite = make_desk(tmp_path, ROW | more | {"relevant": ["k1"]})
    (scenario,) = iter_scenarios(suite)
    assert set(scenario.expected) == {"extraction", "retrieval", "debugging", "routing"}


def test_a_desk_suite_for_debugging_takes_its_rows_alone(tmp_path: Path) -> None:
    (scenario,) = iter_scenarios(make_desk(tmp_path, ROW, "debugging"))
    assert set(scenario.expected) == {"debugging"}
    task = task_for(Debugging(), scenario)
    assert isinstance(task, DebuggingTask)
    assert (task.code, task.tests) == (CODE, TESTS)
    other = {"id": "r2", "text": "line 3", "tasks": ["extraction"], "fields": {"line": 3}}
    assert list(iter_scenarios(make_desk(tmp_path, other, "debugging"))) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"repair": None}, "just where it has 'repair'"),
        ({"tasks": []}, "just where it has 'repair'"),
        ({"repair": REPAIR | {"tests": " ", "hidden_tests": ""}}, "neither 'tests' nor"),
        ({"repair": REPAIR | {"code": ""}}, "'repair.code'"),
    ],
)
def test_repairs_that_contradict_themselves_are_named(
    tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=r"reports\.jsonl:1: ") as caught:
        list(iter_scenarios(make_desk(tmp_path, ROW | change)))
    assert says in str(caught.value)


def test_the_suite_sets_the_budget(tmp_path: Path) -> None:
    budget = repairer(make_desk(tmp_path, ROW)).budget
    assert (budget.candidates, budget.seconds, budget.look_past) == (50, 9.5, 7)


class Echo:
    """A generator that gives the program back, or another one."""

    def __init__(self, code: str) -> None:
        self.code = code

    def predict(self, items: Sequence[Prompt]) -> list[Generation]:
        return [Generation(f"```python\n{self.code}```", log_probabilities=(-0.5,)) for _ in items]

    def fingerprint(self) -> str:
        return self.code


async def test_ways_to_repair_are_compared_on_the_same_bugs(tmp_path: Path, wall: Sandbox) -> None:
    (scenario,) = iter_scenarios(make_desk(tmp_path, ROW, "debugging"))
    agent = Debugging(Ranker({"min~max": 9.0}), wall)
    settings = DebuggingSettings(baselines=True, generator_bugs=1)
    repairs = Repairs(agent, [scenario], settings, generator=Echo(LAST))
    made = [repair async for repair in repairs.run()]
    assert len(made) == repairs.num_steps == 3
    ranker, generic, writer = repairs.figures()
    assert [row.name for row in (ranker, generic, writer)] == [
        "ranker", "generic order", "generator alone"
    ]  # fmt: skip
    assert ranker.hidden.value == generic.hidden.value == 1.0
    assert ranker.needed is not None
    assert generic.needed is not None
    assert ranker.needed[0] == 1 < generic.needed[0]
    assert (writer.visible.value, writer.hidden.value) == (1.0, 0.0), "right for the visible tests"
    assert made[2].tried == 1
    json.dumps(repairs.summary())
    told = render_repairs(repairs.figures())
    assert "generic order" in told
    assert "100.0%" in told


async def test_the_generator_gets_no_more_bugs_than_its_share(
    tmp_path: Path, wall: Sandbox
) -> None:
    (scenario,) = iter_scenarios(make_desk(tmp_path, ROW, "debugging"))
    repairs = Repairs(Debugging(None, wall), [scenario], DebuggingSettings(generator_bugs=0))
    assert [repair.bug async for repair in repairs.run()] == [scenario.id] * 2
    assert [row.name for row in repairs.figures()] == ["ranker", "generic order"]


def test_a_ranker_is_not_taught_on_the_suites_own_repairs(tmp_path: Path) -> None:
    row = {"id": "p", "code": FIXED.replace("max", "None or max"), "tests": TESTS}
    (tmp_path / "programs.jsonl").write_text(json.dumps(row) + "\n")
    bug = {"id": "b", **REPAIR, "code": FIXED.replace("max", "None or max")}
    (tmp_path / "bugs.jsonl").write_text(json.dumps(bug) + "\n")
    path = tmp_path / "own.yaml"
    path.write_text(
        "version: 1\nsuite: own\nagent: debugging\nmetric: tests_passed\n"
        "agents:\n  debugging: {programs: programs.jsonl}\n"
        "data: [{name: test, format: repair, file: bugs.jsonl}]\n"
    )
    with pytest.raises(ConfigError, match="other programs"):
        repairer(load_suite(path))


def test_the_desks_reports_hold_the_programs_that_their_references_repair() -> None:
    """What the sub-agent reads out of a report is what the reference was made for."""
    path = shipped_suites()["desk"]
    rows = [
        json.loads(line)
        for file in sorted(path.parent.glob("reports_*.jsonl"))
        for line in file.read_text("utf-8").splitlines()
    ]
    repairs = [row for row in rows if row.get("repair")]
    if not repairs:
        pytest.skip("the desk has no reports that ask for a repair yet")
    agent = Debugging()
    for row in repairs:
        task = agent.from_request(row["text"])
        assert task is not None, row["id"]
        assert task.code.strip() == row["repair"]["code"].strip(), row["id"]
        assert task.tests.strip() == row["repair"]["tests"].strip(), row["id"]
    for row in rows:
        if "debugging" not in row["tasks"]:
            assert agent.from_request(row["text"]) is None, row["id"]


@pytest.mark.parametrize(
    ("code", "right"),
    [(FIXED, True), (LAST, False), (CODE, False), ("import os\nos._exit(0)\n", False)],
    ids=["right", "right for the visible tests alone", "as it was", "gone before the tests"],
)
async def test_hidden_tests_judge_a_repair(wall: Sandbox, code: str, right: bool) -> None:
    agent = Debugging(None, wall)
    value = Patch(diff="", code=code, tests_passed=2, tests_total=2).model_dump(mode="json")
    assert await judged(agent, value, ExpectedTests(TESTS, HIDDEN, FIXED, "top")) is right


async def test_the_visible_tests_judge_where_there_are_no_others(wall: Sandbox) -> None:
    agent = Debugging(None, wall)
    value = Patch(diff="", code=LAST).model_dump(mode="json")
    assert await judged(agent, value, ExpectedTests(TESTS)) is True
    assert await judged(agent, None, ExpectedTests(TESTS)) is None
    assert given(agent, value) is False, "without tests a patch has its own word alone"


def test_a_wrong_repair_passes_the_visible_tests_and_fails_the_hidden_ones(
    wall: Sandbox, tmp_path: Path
) -> None:
    suite = make_desk(tmp_path, ROW, "debugging")
    scenarios: list[Scenario] = list(iter_scenarios(suite))
    agent = Debugging(None, wall)
    staff = Staff({"debugging": agent})
    wrong = set()
    for seed in range(8):
        (reference,) = references(staff, scenarios, seed=seed)
        assert reference.answer == {"code": FIXED}
        assert reference.wrong is not None
        wrong.add(reference.wrong["code"])
        task = task_for(agent, scenarios[0])
        assert reference.task_key == agent.task_key(task)
    for code in wrong - {CODE}:
        assert wall.check_blocking(code, TESTS).passed
        assert not wall.check_blocking(code, HIDDEN).passed
    (quick,) = references(staff, scenarios, mistakes=False)
    assert quick.wrong == {"code": CODE}
