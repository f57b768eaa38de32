"""Suites through the real graph: three arms, one record for each scenario, everything counted."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from journeyman.graph.settings import Settings
from journeyman.models.reference_frontier import Failures
from journeyman.scenarios.execution import Execution
from journeyman.scenarios.options import ExecutionOptions, ReferenceOptions
from journeyman.scenarios.paths import find_suite
from journeyman.scenarios.report import percentile
from journeyman.scenarios.runner import RunOptions, ScenarioResult
from journeyman.scenarios.selection import Selection
from journeyman.scenarios.suite import load_suite
from journeyman.traces.store import Store

SHELVES = """
version: 1
suite: shelves
agent: routing
metric: accuracy
defaults: {epochs: 2}
agents:
  routing:
    routes: {paint: wall paint and brushes, garden: plants and soil, tools: hammers and drills}
scenarios:
  - {id: one, input: "where is the white wall paint", expected: [paint]}
  - {id: two, input: "potting soil and tulips please", expected: [garden]}
  - {id: three, input: "a cordless drill", expected: [tools]}
"""


def execute(
    path: Path, store: Store, options: ExecutionOptions
) -> tuple[Execution, list[ScenarioResult]]:
    """Run a suite to its end."""
    execution = Execution(load_suite(path), Settings(), store, options)

    async def run() -> list[ScenarioResult]:
        return [result async for result in execution.run()]

    return execution, asyncio.run(run())


@pytest.fixture
def shelves(tmp_path: Path) -> Path:
    """A small suite for the router, run twice over."""
    path = tmp_path / "shelves.yaml"
    path.write_text(SHELVES, encoding="utf-8")
    return path


@pytest.fixture
def store(target: Path | str) -> Iterator[Store]:
    """A fresh trace store."""
    with Store.open(target) as opened:
        yield opened


def test_cold_start_asks_the_frontier_for_everything(shelves: Path, store: Store) -> None:
    execution, results = execute(shelves, store, ExecutionOptions())
    summary = execution.report.summary()
    assert len(results) == summary["n"] == 6
    assert summary["answered_by"] == {"student": 0, "frontier": 6, "none": 0}
    assert summary["escalations"] == {"uncertified": 6}
    assert summary["arms"]["system"]["accuracy"] == 1.0
    assert summary["cost_microusd"]["system"] == summary["cost_microusd"]["frontier_only"]


def test_every_scenario_and_epoch_is_one_row_that_names_its_run(
    shelves: Path, store: Store
) -> None:
    execution, results = execute(shelves, store, ExecutionOptions())
    rows = store.scenario_results(execution.id)
    assert {(row.scenario_id, row.epoch) for row in rows} == {
        (name, epoch) for name in ("one", "two", "three") for epoch in (0, 1)
    }
    assert {row.run_id for row in rows} == {result.run_id for result in results}
    assert {run.id for run in store.runs(None)} == {result.run_id for result in results}
    (suite_run,) = store.suite_runs()
    assert (suite_run.status, suite_run.num_total, suite_run.num_passed) == ("passed", 6, 6)


def test_a_frontier_that_errs_lowers_the_system_and_not_the_student(
    shelves: Path, store: Store
) -> None:
    right, _ = execute(shelves, store, ExecutionOptions())
    wrong, _ = execute(shelves, store, ExecutionOptions(reference=ReferenceOptions(error_rate=1.0)))
    arms, erring = right.report.summary()["arms"], wrong.report.summary()["arms"]
    assert erring["frontier"]["accuracy"] == erring["system"]["accuracy"] == 0.0
    assert erring["student"] == arms["student"]


def test_a_trusted_student_is_compared_with_what_the_frontier_would_have_said(
    shelves: Path, store: Store
) -> None:
    options = ExecutionOptions(run=RunOptions(trust_uncertified=True))
    summary = execute(shelves, store, options)[0].report.summary()
    assert summary["answered_by"]["student"] == 6
    assert summary["arms"]["system"] == summary["arms"]["student"]
    assert summary["arms"]["frontier"]["accuracy"] == 1.0
    assert summary["cost_microusd"]["system"] == 0
    assert summary["cost_microusd"]["frontier_only"] > 0


def test_tasks_that_the_frontier_never_answers_stay_open_and_count_as_wrong(
    shelves: Path, store: Store
) -> None:
    down = ReferenceOptions(failures=Failures(rate=1.0, kinds=("server_error",)))
    options = ExecutionOptions(reference=down, run=RunOptions(concurrency=2))
    execution, results = execute(shelves, store, options)
    summary = execution.report.summary()
    assert summary["answered_by"] == {"student": 0, "frontier": 0, "none": 6}
    assert summary["arms"]["system"]["accuracy"] == 0.0
    assert all(task.answer and task.answer.error for result in results for task in result.tasks)


def test_a_scenario_that_takes_too_long_is_an_error_and_the_rest_goes_on(
    shelves: Path, store: Store
) -> None:
    text = shelves.read_text(encoding="utf-8").replace("epochs: 2", "epochs: 1, timeout: 0.5")
    shelves.write_text(text, encoding="utf-8")
    slow = ReferenceOptions(latency_ms=5000)
    execution, results = execute(shelves, store, ExecutionOptions(reference=slow))
    assert [result.error for result in results] == ["no result within 0.5 s"] * 3
    assert len(execution.report.errors) == 3
    assert execution.report.summary()["arms"]["system"]["accuracy"] == 0.0
    (suite_run,) = store.suite_runs()
    assert (suite_run.status, suite_run.num_error) == ("error", 3)


def test_the_router_plans_the_desk_and_its_wrong_plans_cost_the_system(store: Store) -> None:
    options = ExecutionOptions(parts=("test", "stream"), selection=Selection(limit=24))
    execution, results = execute(find_suite("desk"), store, options)
    summary = execution.report.summary()
    assert summary["n"] == 24
    assert not execution.report.errors
    assert summary["answered_by"]["none"] == 0
    assert summary["arms"]["system"]["routing.accuracy"] == 1.0
    assert summary["arms"]["system"]["extraction.field_f1"] == 1.0
    assert summary["arms"]["student"]["retrieval.mrr"] > 0.3
    planned = [
        {task.agent for task in result.tasks if task.answer} - {"routing"} for result in results
    ]
    assert planned == [set(result.scenario.expected) - {"routing"} for result in results]
    erring = replace(options, reference=ReferenceOptions(error_rate=1.0))
    wrong = execute(find_suite("desk"), store, erring)[0].report.summary()
    assert wrong["arms"]["system"]["routing.accuracy"] == 0.0
    assert wrong["answered_by"]["none"] == 0


@pytest.mark.parametrize(("values", "p50", "p95"), [([], None, None), ([3.0], 3.0, 3.0)])
def test_percentiles_of_little(values: list[float], p50: float | None, p95: float | None) -> None:
    assert (percentile(values, 50), percentile(values, 95)) == (p50, p95)


def test_percentiles_interpolate() -> None:
    assert percentile([float(n) for n in range(101)], 95) == pytest.approx(95)
