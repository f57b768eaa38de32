"""Drives one suite run for a command: progress on stderr, results as they come.

Ctrl-C and SIGTERM end a run cleanly: what is finished is on record and in the report.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, TextIO

from journeyman.cli.console import emit, talk
from journeyman.cli.progress import Progress
from journeyman.cli.terminal import harmless

if TYPE_CHECKING:
    from journeyman.graph.settings import Settings
    from journeyman.scenarios.assembly import Staff
    from journeyman.scenarios.execution import Execution
    from journeyman.scenarios.options import ExecutionOptions
    from journeyman.scenarios.report import Report
    from journeyman.scenarios.results import ScenarioResult
    from journeyman.scenarios.resume import Resumed
    from journeyman.scenarios.suite import Suite
    from journeyman.traces.store import Store


def execute(
    path: Path,
    settings: Settings,
    store: Store,
    options: ExecutionOptions,
    *,
    describe: bool = True,
) -> Report:
    """Run one suite to its end.

    Raises:
        ConfigError: The suite or its data cannot be used.
        KeyboardInterrupt: It was interrupted.
    """
    from journeyman.scenarios.suite import load_suite

    suite = load_suite(path)
    if describe:
        talk(f"{suite.name}: {suite.spec.description.strip()}")
    execution = prepare(suite, settings, store, options)
    if drive(execution):
        raise KeyboardInterrupt
    return execution.report


def prepare(
    suite: Suite,
    settings: Settings,
    store: Store,
    options: ExecutionOptions,
    *,
    quiet: bool = False,
    staff: Staff | None = None,
    resumed: Resumed | None = None,
) -> Execution:
    """A suite run that is ready to go, with its sub-agents.

    Raises:
        ConfigError: The suite or its data cannot be used, or are not those of the resumed run.
    """
    from journeyman.scenarios.execution import Execution

    with Progress("prepared", quiet=quiet) as prepared:
        return Execution(
            suite,
            settings,
            store,
            options,
            progress=lambda done, total: prepared.update(done, total, "passages embedded"),
            teaching=lambda done, total: prepared.update(done, total, "steps of teaching"),
            staff=staff,
            resumed=resumed,
        )


def drive(execution: Execution, *, out: TextIO | None = None, each: bool = False) -> bool:
    """Run what is left of a suite run.

    Args:
        execution: The run.
        out: Takes a JSON line for each result, and silences progress; None shows progress.
        each: Off a terminal, tell each result in a plain line.

    Returns:
        Whether it was interrupted.
    """

    async def run() -> None:
        with Progress("scenarios", execution.num_open, quiet=out is not None) as progress:
            async with aclosing(execution.run()) as results:
                async for result in results:
                    if out is not None:
                        emit(_line(result), out)
                    elif each and not sys.stderr.isatty():
                        talk(plain_line(result))
                    progress.advance(_tally(execution))

    interrupted = False
    if execution.num_open:
        try:
            with _sigterm_interrupts():
                asyncio.run(run())
        except KeyboardInterrupt:
            interrupted = True
            done = len(execution.report.results)
            talk(f"Stopped after {done} of {len(execution.planned)}.")
    if execution.trouble is not None:
        talk(f"The record is incomplete: {execution.trouble}")
    return interrupted


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """SIGTERM, by which containers and services end a program, is taken for Ctrl-C meanwhile.

    Where somebody else has a say about it already, or this is no main thread, all stays as it is.
    """
    before = signal.getsignal(signal.SIGTERM)
    if before != signal.SIG_DFL or threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in the background of a script
            signal.default_int_handler(number, frame)
        signal.raise_signal(signal.SIGINT)  # asyncio ends its tasks at this one

    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def plain_line(result: ScenarioResult) -> str:
    """One result as one line: what became of it, which scenario, how long it took, and why."""
    from journeyman.scenarios.finished import finish

    finished = finish(result)
    word: str = finished.outcome
    if not finished.is_test and word in ("passed", "failed"):
        word = "right" if finished.is_right else "not right"
    epoch = f" epoch {result.epoch}" if result.epoch else ""
    why = f"  {finished.reason}" if finished.reason and finished.outcome != "passed" else ""
    line = f"{word:<9} {result.scenario.id}{epoch}  {result.duration_ms:.0f} ms{why}"
    return harmless(" ".join(line.splitlines()))


def _tally(execution: Execution) -> str:
    """Running counts for the progress bar."""
    counts = execution.report.counts
    return ", ".join(f"{n} {word}" for word, n in sorted(counts.items()))


def _line(result: ScenarioResult) -> dict[str, object]:
    return {
        "event": "scenario",
        "id": result.scenario.id,
        "epoch": result.epoch,
        "run_id": result.run_id,
        "status": result.status,
        "outcome": result.outcome,
        "right": result.is_right,
        "duration_ms": round(result.duration_ms, 2),
        "error": result.error,
        "assertions": [
            {
                "type": one.type,
                "name": one.name,
                "passed": one.passed,
                "score": one.score,
                "reason": one.reason,
            }
            for one in result.assertions
        ],
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
