"""What a suite costs beyond its tasks: wall time against the bare graph, and memory.

Both do the same tasks with the same scripted student, the same number at once, and both are on
record when they are counted.
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.graph_cost import Scripted
from journeyman.graph.orchestrator import create_orchestrator
from journeyman.graph.settings import Settings
from journeyman.graph.state import Context, Task
from journeyman.scenarios.assembly import Staff
from journeyman.scenarios.execution import Execution
from journeyman.scenarios.options import ExecutionOptions
from journeyman.scenarios.runner import RunOptions
from journeyman.scenarios.scenario import ExpectedOutput, Scenario
from journeyman.scenarios.suite import load_suite
from journeyman.traces.recorder import Recorder
from journeyman.traces.store import Store

NUM_TASKS = 5_000
CONCURRENCY = 8
NUM_WARM = 100

SUITE = """
version: 1
suite: bench
agent: scripted
agents: {scripted: {use: "benchmarks.graph_cost:Scripted"}}
scenarios: [{id: one, input: one}]
"""


def measure(num_tasks: int = NUM_TASKS) -> list[str]:
    """Lines for `make bench`."""
    scenarios = [
        Scenario(
            id=f"s{n}",
            agent="scripted",
            input=f"task number {n}",
            text=f"task number {n}",
            expected={"scripted": ExpectedOutput({"text": f"task number {n}"})},
        )
        for n in range(num_tasks)
    ]
    with tempfile.TemporaryDirectory() as folder:
        warm = scenarios[:NUM_WARM]
        asyncio.run(_bare(Path(folder) / "warm-bare.db", warm))
        asyncio.run(_suite(Path(folder), "warm-suite.db", warm))
        gc.collect()
        before = _resident_bytes()
        start = _clocks()
        execution = asyncio.run(_suite(Path(folder), "suite.db", scenarios))
        suite_s, suite_cpu_s = _since(start)
        gc.collect()
        grown = _resident_bytes() - before
        assert execution.report.num_right == num_tasks, "every answer is the expected one"
        start = _clocks()
        asyncio.run(_bare(Path(folder) / "bare.db", scenarios))
        bare_s, bare_cpu_s = _since(start)
    per_task_ms = 1000 / num_tasks
    return [
        f"{num_tasks} tasks, {CONCURRENCY} at once, scripted student, recorded to SQLite",
        f"bare graph   {bare_s:7.2f} s  ({bare_s * per_task_ms:.2f} ms a task)",
        f"suite        {suite_s:7.2f} s  ({suite_s * per_task_ms:.2f} ms a task)",
        f"suite / bare {suite_s / bare_s:7.2f}    (the target is 1.3)",
        # Wall time on a machine that does other things as well says little.
        f"in CPU time  {suite_cpu_s / bare_cpu_s:7.2f}",
        f"memory grown {grown / 2**20:7.1f} MiB  ({grown / num_tasks / 1024:.1f} KiB a task)",
    ]


async def _suite(folder: Path, name: str, scenarios: Sequence[Scenario]) -> Execution:
    path = folder / "bench.yaml"
    path.write_text(SUITE, encoding="utf-8")
    options = ExecutionOptions(arm="student-only", run=RunOptions(concurrency=CONCURRENCY))
    with Store.open(folder / name) as store:
        staff = Staff({"scripted": Scripted()})
        execution = Execution(
            load_suite(path), Settings(), store, options, staff=staff, scenarios=scenarios
        )
        async for _ in execution.run():
            pass
    return execution


async def _bare(path: Path, scenarios: Sequence[Scenario]) -> None:
    with Store.open(path) as store, Recorder(store) as recorder:
        graph = create_orchestrator([Scripted()], None, store=recorder)
        context = Context(trust_uncertified=True, on_frontier_failure="queue")
        left = iter(scenarios)

        async def work() -> None:
            for scenario in left:
                task = Task(agent="scripted", input={"text": scenario.text})
                await graph.ainvoke({"tasks": [task]}, context=context)

        await asyncio.gather(*(work() for _ in range(CONCURRENCY)))


def _clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _since(start: tuple[float, float]) -> tuple[float, float]:
    """Wall and CPU seconds since."""
    wall, cpu = _clocks()
    return wall - start[0], cpu - start[1]


def _resident_bytes() -> int:
    """Resident memory of this process, from Linux's own count."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status names no VmRSS")
