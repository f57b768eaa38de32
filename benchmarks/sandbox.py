"""Sandbox checks per second: cold, warm and in parallel, against a bare interpreter."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time

from journeyman.agents.sandbox import Sandbox
from journeyman.models.errors import SandboxUnavailable

CODE = "def add(a, b):\n    return a + b\n"
TESTS = "assert add(1, 2) == 3\nassert add(-1, 1) == 0\n"
NUM_CHECKS = 100


async def _measure() -> list[str]:
    start = time.perf_counter()
    async with Sandbox() as sandbox:
        await sandbox.check(CODE, TESTS)
        cold_ms = (time.perf_counter() - start) * 1000
        sandbox.warm_up()
        warm = []
        for _ in range(NUM_CHECKS):
            start = time.perf_counter()
            verdict = await sandbox.check(CODE, TESTS)
            warm.append((time.perf_counter() - start) * 1000)
            assert verdict.passed
        start = time.perf_counter()
        verdicts = await sandbox.check_many([CODE] * NUM_CHECKS, TESTS)
        parallel = NUM_CHECKS / (time.perf_counter() - start)
        assert all(verdict is not None and verdict.passed for verdict in verdicts)
    bare = await asyncio.to_thread(_bare_ms)
    middle = statistics.median(warm)
    return [
        (
            f"sandbox: first check {cold_ms:.0f} ms, warm {middle:.1f} ms in the median "
            f"(p90 {statistics.quantiles(warm, n=10)[-1]:.1f}), {parallel:.0f} a second in a "
            f"batch; a bare interpreter {statistics.median(bare):.1f} ms "
            f"({middle / statistics.median(bare):.2f}x)"
        )
    ]


def _bare_ms() -> list[float]:
    """The same check in interpreters without any wall."""
    times = []
    for _ in range(20):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", CODE + TESTS], check=True)
        times.append((time.perf_counter() - start) * 1000)
    return times


def measure() -> list[str]:
    """Lines of the report."""
    try:
        return asyncio.run(_measure())
    except SandboxUnavailable as error:
        return [f"sandbox: not measured: {error}"]
