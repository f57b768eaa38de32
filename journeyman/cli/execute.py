"""Runs a suite for a command: progress on stderr, results as they come, the report at the end."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

from journeyman.cli.console import emit, talk
from journeyman.cli.progress import Progress

if TYPE_CHECKING:
    from journeyman.graph.settings import Settings
    from journeyman.scenarios.options import ExecutionOptions
    from journeyman.scenarios.report import Report
    from journeyman.scenarios.runner import ScenarioResult
    from journeyman.traces.store import Store


def execute(
    path: Path,
    settings: Settings,
    store: Store,
    options: ExecutionOptions,
    *,
    json: bool = False,
    describe: bool = True,
) -> Report:
    """Run one suite to its end.

    Raises:
        ConfigError: The suite or its data cannot be used.
    """
    from journeyman.scenarios.execution import Execution
    from journeyman.scenarios.suite import load_suite

    suite = load_suite(path)
    if describe and not json:
        talk(f"{suite.name}: {suite.spec.description.strip()}")
    with Progress("prepared", quiet=json) as prepared:
        execution = Execution(
            suite,
            settings,
            store,
            options,
            progress=lambda done, total: prepared.update(done, total, "passages embedded"),
            teaching=lambda done, total: prepared.update(done, total, "steps of teaching"),
        )

    async def run() -> None:
        total = execution.num_open
        with Progress("scenarios", total, quiet=json) as progress:
            async with aclosing(execution.run()) as results:
                async for result in results:
                    progress.advance()
                    if json:
                        emit(_line(result))

    if execution.scenarios:
        try:
            asyncio.run(run())
        except KeyboardInterrupt:
            done = execution.report.num_scenarios
            talk(f"Stopped after {done} of {len(execution.planned)}.")
            raise
    if execution.trouble is not None:
        talk(f"The record is incomplete: {execution.trouble}")
    return execution.report


def _line(result: ScenarioResult) -> dict[str, object]:
    return {
        "event": "scenario",
        "id": result.scenario.id,
        "epoch": result.epoch,
        "run_id": result.run_id,
        "right": result.is_right,
        "duration_ms": round(result.duration_ms, 2),
        "error": result.error,
        "tasks": [
            {
                "agent": task.agent,
                "source": task.answer.source if task.answer else None,
                "reason": task.answer.reason if task.answer else None,
                "certified": task.answer.certified if task.answer else False,
                "confidence": task.answer.confidence if task.answer else None,
                "cost_microusd": task.answer.cost_microusd if task.answer else None,
                "error": task.answer.error if task.answer else None,
            }
            for task in result.tasks
        ],
    }
