"""Sub-agents of a user's own in a suite: named by path, judged by their own word."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from journeyman.graph.settings import Settings
from journeyman.models.errors import ConfigError
from journeyman.scenarios.assembly import staff_for
from journeyman.scenarios.execution import Execution
from journeyman.scenarios.options import ExecutionOptions, ReferenceOptions
from journeyman.scenarios.suite import load_suite
from journeyman.traces.store import Store
from tests.scenarios.scripted import said, write_echoes
from tests.stores import store_at


def run(path: Path, options: ExecutionOptions) -> Execution:
    """Run a suite to its end."""
    with Store.open(store_at(path.parent / "traces.db")) as store:
        execution = Execution(load_suite(path), Settings(), store, options)

        async def collect() -> list[Any]:
            return [result async for result in execution.run()]

        asyncio.run(collect())
    return execution


def test_the_options_reach_what_makes_the_agent(tmp_path: Path) -> None:
    staff = staff_for(load_suite(write_echoes(tmp_path, said("a", "one"))))
    assert list(staff.agents) == ["echo"]
    assert staff.agents["echo"].greeting == "hi"  # type: ignore[attr-defined]  # the test's own agent


@pytest.mark.usefixtures("any_store")
def test_the_agent_says_itself_which_answers_are_right(tmp_path: Path) -> None:
    path = write_echoes(tmp_path, said("a", "one") + said("b", "two", expected="three"))
    report = run(path, ExecutionOptions(arm="student-only")).report
    assert {one.scenario_id: one.status for one in report.results} == {"a": "passed", "b": "failed"}
    assert report.quality("echo", "system")["agreement"].value == 0.5


@pytest.mark.usefixtures("any_store")
def test_the_reference_frontier_answers_for_it_and_errs_with_another_tasks_answer(
    tmp_path: Path,
) -> None:
    path = write_echoes(tmp_path, said("a", "one") + said("b", "two"))
    right = run(path, ExecutionOptions()).report
    assert right.quality("echo", "frontier")["agreement"].value == 1.0
    wrong = ExecutionOptions(reference=ReferenceOptions(error_rate=1.0))
    report = run(path, wrong).report
    assert report.quality("echo", "frontier")["agreement"].value == 0.0
    assert report.summary()["answered_by"]["none"] == 0


@pytest.mark.parametrize(
    ("use", "told"),
    [
        ("echo_agent.py:Nobody", "gives no Agent but None"),
        ("echo_agent.py:Word", "could not make an agent"),
        ("no_such_module_here:Echo", "Cannot import 'no_such_module_here'"),
        ("nowhere.py:Echo", "there is no file"),
    ],
)
def test_what_is_no_agent_is_named_with_its_line(tmp_path: Path, use: str, told: str) -> None:
    path = write_echoes(tmp_path, said("a", "one"))
    path.write_text(path.read_text().replace("echo_agent.py:Echo", use))
    with pytest.raises(ConfigError, match=r"echoes\.yaml:6") as caught:
        staff_for(load_suite(path))
    assert told in str(caught.value)


def test_the_name_in_the_suite_is_the_agents_own(tmp_path: Path) -> None:
    path = write_echoes(tmp_path, said("a", "one"))
    path.write_text(
        path.read_text().replace("  echo:", "  eco:").replace("agent: echo", "agent: eco")
    )
    with pytest.raises(ConfigError, match="an agent named 'echo'"):
        staff_for(load_suite(path))


def test_an_agent_that_nobody_knows_is_refused_at_its_line(tmp_path: Path) -> None:
    path = write_echoes(tmp_path, said("a", "one", more=", agent: ecco"))
    with pytest.raises(ConfigError, match=r"echoes\.yaml:8: .*not 'ecco'; .*agents\.ecco\.use"):
        load_suite(path)


@pytest.mark.usefixtures("any_store")
def test_an_expected_answer_that_the_agent_cannot_give_is_an_error(tmp_path: Path) -> None:
    path = write_echoes(tmp_path, '  - {id: a, input: "say one", expected: {wrd: "one"}}\n')
    options = replace(ExecutionOptions(arm="student-only"))
    ((_, why),) = run(path, options).report.errors
    assert "is no Word" in why
