"""Decides in a sandbox whether candidate Python code passes tests.

A candidate is hostile text. It runs behind bubblewrap: no network, no files but the interpreter's,
no other process in sight, limits on time, memory, processes, files and output. Its tests run in a
*second* process, the judge, which calls the candidate's functions from afar and compares plain
copies of what they return with the expected values under its own operators. So a candidate cannot
patch an assertion, end the process before the assertions run, or return an object that equals
everything; it can only return right answers.

What remains possible, and is said here because a certificate rests on it:

- A candidate that recognises the tests' arguments may answer from a list. No sandbox sees that.
- An object of a class that the tests name decides its own operators, as it must. Equality with
  plain values is probed with values that it cannot equal; arithmetic and equality among its own
  objects are believed and flagged (`own_equality`, `own_operators`).
- The wall is the kernel's: a flaw in the kernel is a hole in it.
- Level 'process' has limits and the second process, and no wall at all.

Tests see the candidate through proxies. Mutable containers that a function gets are updated in
place, an argument that is returned keeps its identity, and everything else plain is a copy, so
`f(x) is f(x)` does not hold for two equal lists.
"""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, get_args

from journeyman.agents.bubblewrap import Level, require_bubblewrap
from journeyman.agents.confined.request import Limits, Request
from journeyman.agents.sandbox_worker import SandboxWorker

Status = Literal[
    "passed",
    "failed",
    "error",
    "timeout",
    "memory",
    "crashed",
    "killed",
    "output",
    "early_exit",
    "not_run",
]
"""How a check or a single test ended; a check as a whole is never 'not_run'."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a test did not pass.

    Attributes:
        type: The exception's class, or the status where there was no exception.
        message: Its words; for a bare assertion its source and what was last returned.
        line: The candidate's last line that the exception passed through, counted from 1.
        source: That line's text.
    """

    type: str
    message: str
    line: int | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class TestResult:
    """What came of one test.

    Attributes:
        name: The assertion's source, or the test function's name.
        line: Its line in the tests, counted from 1.
        status: How it ended; 'not_run' where an earlier one failed first.
        detail: Why it did not pass.
        covered_lines: Lines of the candidate's functions that it ran, if lines were traced.
        duration_ms: How long it took.
    """

    __test__ = False  # not a test of pytest's

    name: str
    line: int | None
    status: Status
    detail: Failure | None = None
    covered_lines: frozenset[int] = frozenset()
    duration_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one check.

    Attributes:
        passed: The candidate loaded and every test that ran passed.
        status: How it ended: the status of the first test that did not pass.
        detail: Why it did not pass.
        duration_ms: Wall time inside the sandbox.
        tests: One result for each test; empty where it did not come to that.
        covered_lines: Lines of the candidate that any test ran, if lines were traced.
        flags: What looks like deceit or needs a second look: 'own_equality', 'own_operators',
            'forged_equality', 'shadowed_builtin', 'no_tests', 'unreached_tests'.
        output: The beginning of what it printed.
    """

    passed: bool
    status: Status
    detail: Failure | None = None
    duration_ms: float = 0.0
    tests: tuple[TestResult, ...] = ()
    covered_lines: frozenset[int] = frozenset()
    flags: frozenset[str] = frozenset()
    output: str = ""


@dataclass(frozen=True, slots=True)
class Observation:
    """What one call of a candidate did; equal where the behaviour was.

    Attributes:
        kind: 'value', 'raised' or a status such as 'timeout'.
        text: The value or the exception as text.
    """

    kind: str
    text: str = ""


@dataclass
class _Pool:
    """Workers that are free, and those that exist."""

    level: Level
    packages: tuple[Path, ...]
    lock: threading.Lock = field(default_factory=threading.Lock)
    free: list[SandboxWorker] = field(default_factory=list)
    all: list[SandboxWorker] = field(default_factory=list)

    def take(self) -> SandboxWorker:
        with self.lock:
            if not self.free:
                self.free.append(SandboxWorker(self.level, self.packages))
                self.all.append(self.free[-1])
            return self.free.pop()

    def stop(self) -> None:
        for worker in self.all:
            worker.stop()


class Sandbox:
    """Checks candidates, several at once, with warm workers behind a wall.

    Usable from any event loop or thread. Close it, or use it as an async context manager.

    Args:
        level: 'bubblewrap', or 'process' for limits without isolation: only for code that you
            would run anyway.
        limits: What a check may use unless it says otherwise.
        workers: Checks at once; each worker is a process. As many as there are cores is best.
        packages: Folders of installed packages that candidates may import; none by default. A
            sandbox started by root needs them readable by everybody.

    Raises:
        SandboxUnavailable: bubblewrap is missing; the message says how to install it.
    """

    def __init__(
        self,
        level: Level = "bubblewrap",
        limits: Limits | None = None,
        workers: int = 2,
        packages: Sequence[Path] = (),
    ) -> None:
        if level not in get_args(Level):
            raise ValueError(f"A sandbox has no level {level!r}: choose one of {get_args(Level)}.")
        if level == "bubblewrap":
            require_bubblewrap()
        self.level = level
        self.limits = limits or Limits()
        self.workers = workers
        self._pool = _Pool(level, tuple(Path(path).resolve() for path in packages))
        # Threads of its own: bubblewrap ends with the thread that started it, and asyncio's
        # default pool ends its threads when a loop closes.
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="journeyman-sandbox")
        self._finalizer = weakref.finalize(self, self._pool.stop)

    async def check(
        self,
        code: str,
        tests: str,
        *,
        trace_lines: bool = False,
        keep_going: bool = False,
        entry_point: str = "",
        module: str = "candidate",
        limits: Limits | None = None,
    ) -> Verdict:
        """Judge one candidate.

        Args:
            code: The candidate's source, run as a module.
            tests: Python source that uses the candidate's names, or imports them from `module`:
                assertions, `check(f)` functions, `test...` functions without fixtures, or
                `unittest.TestCase` classes.
            trace_lines: Record which lines each test runs; slower, and implies `keep_going`.
            keep_going: Run the tests after one that failed as well, in a fresh process if need be.
            entry_point: Name of the function under test, where it is also a builtin's.
            module: Name by which tests may import the candidate.
            limits: Other limits for this check.

        Raises:
            SandboxUnavailable: A worker cannot be started here.
        """
        job = self._submit(
            code,
            tests,
            trace_lines=trace_lines,
            keep_going=keep_going,
            entry_point=entry_point,
            module=module,
            limits=limits,
        )
        return await asyncio.wrap_future(job)

    def check_blocking(self, code: str, tests: str, **options: Any) -> Verdict:
        """`check` for callers without an event loop."""
        return self._submit(code, tests, **options).result()

    async def check_many(
        self,
        candidates: Sequence[str],
        tests: str,
        *,
        stop_after: int | None = None,
        seconds: float | None = None,
        **options: Any,
    ) -> list[Verdict | None]:
        """Judge candidates in order, `workers` at once.

        Args:
            candidates: Sources, best first.
            tests: As for `check`.
            stop_after: Start no more candidates once so many have passed; None judges all.
                Whichever candidate passes, all before it are judged too.
            seconds: Start no more candidates after so long.
            options: As for `check`.

        Returns:
            One entry for each candidate; None where it was not started.
        """
        verdicts: list[Verdict | None] = [None] * len(candidates)
        queue = iter(range(len(candidates)))
        deadline = None if seconds is None else time.monotonic() + seconds
        num_passed = 0

        async def work() -> None:
            nonlocal num_passed
            while stop_after is None or num_passed < stop_after:
                index = next(queue, None)
                if index is None or (deadline is not None and time.monotonic() >= deadline):
                    return
                verdict = await self.check(candidates[index], tests, **options)
                verdicts[index] = verdict
                num_passed += verdict.passed

        async with asyncio.TaskGroup() as group:
            for _ in range(min(self.workers, len(candidates))):
                group.create_task(work())
        return verdicts

    async def observe(
        self,
        code: str,
        calls: Sequence[str],
        *,
        module: str = "candidate",
        limits: Limits | None = None,
    ) -> list[Observation]:
        """What expressions give with a candidate, to compare two candidates' behaviour.

        Args:
            code: The candidate's source.
            calls: Expressions that use its names, e.g. `f([1, 2])`.
            module: Name of the module that the candidate becomes.
            limits: Other limits; each call may take `test_seconds`.

        Returns:
            One observation for each call. Where the candidate does not load, or the check as a
            whole was stopped, all that is left says so.
        """
        job = self._submit_calls(code, calls, module=module, limits=limits)
        return await asyncio.wrap_future(job)

    def observe_blocking(
        self, code: str, calls: Sequence[str], **options: Any
    ) -> list[Observation]:
        """`observe` for callers without an event loop."""
        return self._submit_calls(code, calls, **options).result()

    def warm_up(self) -> None:
        """Start the workers now instead of with the first checks.

        Raises:
            SandboxUnavailable: They cannot be started here.
        """
        taken = [self._pool.take() for _ in range(self.workers)]
        try:
            for job in [self._threads.submit(worker.start) for worker in taken]:
                job.result()
        finally:
            self._pool.free.extend(taken)

    def close(self) -> None:
        """End the workers; checks under way end with status 'killed', others are cancelled."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in list(self._pool.all):
            worker.kill()
        self._threads.shutdown(wait=True)
        self._finalizer()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.close)

    def _submit(
        self,
        code: str,
        tests: str,
        *,
        trace_lines: bool = False,
        keep_going: bool = False,
        entry_point: str = "",
        module: str = "candidate",
        limits: Limits | None = None,
    ) -> Future[Verdict]:
        request = Request(
            code=code,
            limits=limits or self.limits,
            tests=tests,
            module=module,
            entry_point=entry_point,
            trace_lines=trace_lines,
            keep_going=keep_going or trace_lines,
        )
        return self._threads.submit(lambda: _read_verdict(self._ask(request)))

    def _submit_calls(
        self,
        code: str,
        calls: Sequence[str],
        *,
        module: str = "candidate",
        limits: Limits | None = None,
    ) -> Future[list[Observation]]:
        request = Request(
            code, limits or self.limits, calls=tuple(calls), module=module, keep_going=True
        )
        return self._threads.submit(lambda: _read_observations(self._ask(request), len(calls)))

    def _ask(self, request: Request) -> dict[str, Any]:
        worker = self._pool.take()
        try:
            return worker.check(request)
        finally:
            with self._pool.lock:
                self._pool.free.append(worker)


def _read_observations(raw: dict[str, Any], num_calls: int) -> list[Observation]:
    observed = [Observation(*next(iter(entry.items()))) for entry in raw.get("observed", ())]
    kind = raw["status"] if raw["status"] != "passed" else "not_run"
    return observed + [Observation(kind)] * (num_calls - len(observed))


def _read_verdict(raw: dict[str, Any]) -> Verdict:
    tests = tuple(
        TestResult(
            name=test["name"],
            line=test["line"],
            status=test["status"],
            detail=_read_failure(test["detail"]),
            covered_lines=frozenset(test["lines"]),
            duration_ms=test["duration_ms"],
        )
        for test in raw["tests"]
    )
    return Verdict(
        passed=raw["status"] == "passed",
        status=raw["status"],
        detail=_read_failure(raw["detail"]),
        duration_ms=raw["duration_ms"],
        tests=tests,
        covered_lines=frozenset().union(*(test.covered_lines for test in tests)),
        flags=frozenset(raw["flags"]),
        output=raw["output"],
    )


def _read_failure(raw: dict[str, Any] | None) -> Failure | None:
    return None if raw is None else Failure(**raw)
