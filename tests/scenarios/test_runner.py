"""The runner ends what it began: early, interrupted, or after a scenario that nobody foresaw."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from journeyman.scenarios.runner import RunOptions, ScenarioResult, SuiteRunner
from journeyman.scenarios.scenario import Scenario
from journeyman.scenarios.session import Heard


class Quick(SuiteRunner):
    """A runner whose scenarios take no graph."""

    def __init__(self, concurrency: int = 4) -> None:
        self._options = RunOptions(concurrency=concurrency)
        self.num_done = 0

    async def _one(self, scenario: Scenario, epoch: int) -> ScenarioResult:
        await asyncio.sleep(0)
        self.num_done += 1
        return ScenarioResult(scenario, epoch)


class Faulty(SuiteRunner):
    """A runner one of whose scenarios meets a bug."""

    def __init__(self) -> None:
        self._options = RunOptions(concurrency=2)

    async def _converse(
        self, scenario: Scenario, epoch: int, said: list[tuple[Scenario, Heard]]
    ) -> tuple[tuple[()], tuple[()]]:
        if scenario.id == "3":
            raise KeyError("nobody foresaw this")
        return (), ()


def numbered(n: int) -> Iterator[Scenario]:
    """Scenarios named by their number."""
    return (Scenario(str(number), None, "text", "text") for number in range(n))


async def test_every_scenario_and_epoch_comes_out_once() -> None:
    results = [result async for result in Quick().run(numbered(10), epochs=2)]
    assert sorted((int(r.scenario.id), r.epoch) for r in results) == [
        (number, epoch) for number in range(10) for epoch in (0, 1)
    ]


async def test_a_reader_that_stops_early_while_results_wait_is_let_go() -> None:
    results = Quick().run(numbered(100))
    await anext(results)
    await asyncio.sleep(0.05)  # every worker now waits for room
    await asyncio.wait_for(results.aclose(), 5)


async def test_a_slow_reader_bounds_what_is_held_in_memory() -> None:
    runner = Quick(concurrency=4)
    results = runner.run(numbered(100))
    await anext(results)
    await asyncio.sleep(0.05)
    assert runner.num_done <= 1 + 4 + 4  # read, waiting to be read, and waiting for room
    await results.aclose()


async def test_a_bug_in_one_scenario_is_its_error_and_the_others_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    results = {r.scenario.id: r async for r in Faulty().run(numbered(6))}
    assert len(results) == 6
    assert results["3"].error == "KeyError: 'nobody foresaw this'"
    assert [name for name, result in results.items() if result.error] == ["3"]
    assert "Traceback" in caplog.text
