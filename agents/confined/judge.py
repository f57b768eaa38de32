"""The process that decides: runs the tests, with the candidate in a process apart.

It is the first process of its own process namespace and has no memory or descriptor that another
process may open, so the candidate can neither end it, nor trace it, nor write its verdict.
"""

from __future__ import annotations

import builtins
import contextlib
import inspect
import linecache
import random
import sys
import time
import traceback
import unittest
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType, TracebackType
from typing import Any

from journeyman.agents.confined.describe import describe
from journeyman.agents.confined.nursery import Nursery
from journeyman.agents.confined.peer import last_line
from journeyman.agents.confined.plan import TESTS_FILE, WATCH, Plan, plan_tests
from journeyman.agents.confined.request import Request
from journeyman.agents.confined.session import (
    TESTS_MODULE,
    RemoteModule,
    Session,
    SubjectGone,
)
from journeyman.agents.confined.wire import PURE_MODULES

_MAX_TEXT = 500


@dataclass
class Result:
    """What came of one test."""

    name: str
    line: int | None
    status: str = "not_run"
    detail: dict[str, Any] | None = None
    lines: set[int] = field(default_factory=set)
    seconds: float = 0.0


class Enough(BaseException):
    """A test failed and nobody wants to know of the others."""


class Judge:
    """Judges one candidate.

    Args:
        request: The candidate and its tests.
        nursery: Processes for the candidate, forked before the request was read.
        deadline: When the check ends, on the `time.monotonic` clock.
    """

    def __init__(self, request: Request, nursery: Nursery, deadline: float) -> None:
        self._request = request
        self._nursery = nursery
        self._deadline = deadline
        self._flags: set[str] = set()
        self._results: list[Result] = []
        self.session: Session

    def verdict(self) -> dict[str, Any]:
        """Run everything; the verdict as JSON."""
        try:
            plan = plan_tests(self._request.tests)
        except (SyntaxError, ValueError, RecursionError) as error:
            return self._summary([_failed("tests", "error", error)])
        linecache.cache[TESTS_FILE] = (
            len(self._request.tests),
            None,
            self._request.tests.splitlines(keepends=True),
            TESTS_FILE,
        )
        self._results = [Result(test.name, test.line) for test in plan.assertions]
        namespace = self._open(plan)
        if namespace is None:
            return self._summary(self._results)
        if self._request.calls is not None:
            return {**self._summary([]), "observed": self._observe(namespace)}
        with contextlib.suppress(Enough):
            self._run(plan, namespace)
        statuses = {result.status for result in self._results}
        if not statuses:
            self._flags.add("no_tests")
        elif statuses <= {"passed", "not_run"} and "not_run" in statuses:
            self._flags.add("unreached_tests")
        return self._summary(self._results)

    def watch(self, number: int) -> Watch:
        """Watch over a planned assertion."""
        return Watch(self, self._results[number])

    def watch_named(self, name: str, line: int | None = None) -> Watch:
        """Watch over a test that was not planned as an assertion."""
        self._results.append(Result(name, line))
        return Watch(self, self._results[-1])

    def begin(self) -> None:
        """A test begins: its lines and its time are its own."""
        self._nursery.forget_lines()
        self.session.returned.clear()
        self.session.deadline = self._deadline
        if self._request.keep_going:
            allowed = time.monotonic() + self._request.limits.test_seconds
            self.session.deadline = min(self._deadline, allowed)

    def lines(self) -> set[int]:
        """Lines of the candidate that ran since the test began."""
        return self._nursery.lines()

    def goes_on(self) -> bool:
        """Whether another test may run after one that failed; revives the candidate."""
        if not self._request.keep_going or time.monotonic() >= self._deadline:
            return False
        if self.session.gone is not None:
            return self._revive()
        return True

    # The candidate.

    def _open(self, plan: Plan) -> dict[str, Any] | None:
        """Load the candidate; the namespace for the tests, None where it does not load."""
        living = self._nursery.take()
        assert living is not None
        self.session = Session(living, plan.identifiers, self._flags)
        self.session.deadline = self._deadline
        loading = Result("load", None)
        try:
            public, found = self.session.load(
                self._request.code, self._request.module, self._wanted(plan)
            )
            module = ModuleType(TESTS_MODULE)
            namespace = vars(module)
            namespace.update(self._without_shadows(found))
        except BaseException as error:  # noqa: BLE001 - the candidate's body may raise anything
            self._results.insert(0, loading)
            _settle(loading, error, self.session)
            loading.lines = self.lines()
            return None
        sys.modules[TESTS_MODULE] = module
        sys.modules[self._request.module] = RemoteModule(self._request.module, self.session, public)
        namespace[WATCH] = self.watch
        return namespace

    def _revive(self) -> bool:
        """Load the candidate again in a fresh process; False where that cannot be."""
        living = self._nursery.take()
        if living is None:
            return False
        self.session.channel.close()
        self.session.revive(living)
        self.session.deadline = self._deadline
        try:
            self.session.load(self._request.code, self._request.module, [])
        except BaseException:  # noqa: BLE001 - it loaded before, so it is unsteady
            return False
        return True

    def _wanted(self, plan: Plan) -> list[str]:
        wanted = set(plan.wanted)
        for call in self._request.calls or ():
            with contextlib.suppress(SyntaxError):  # evaluating the call says so
                wanted |= plan_tests(call).wanted
        return sorted(wanted)

    def _without_shadows(self, found: dict[str, Any]) -> dict[str, Any]:
        """What the tests take from the candidate by name.

        A candidate may not put its own `abs` or `math` between a test and its expected value:
        such names stay the judge's, unless they are what is being tested.
        """
        shadows = {
            name
            for name, value in found.items()
            if hasattr(builtins, name)
            or (name in PURE_MODULES and not isinstance(value, ModuleType))
        }
        tested = {self._request.entry_point} & shadows
        if not tested and not set(found) - shadows:
            tested = shadows
        if shadows - tested:
            self._flags.add("shadowed_builtin")
        return {name: value for name, value in found.items() if name not in shadows - tested}

    # The tests.

    def _run(self, plan: Plan, namespace: dict[str, Any]) -> None:
        self.begin()
        random.seed(0)
        self._do_outside(lambda: exec(plan.code, namespace))  # noqa: S102 - the tests are to run
        for name in plan.functions:
            code = getattr(namespace[name], "__code__", None)
            with self.watch_named(name, code.co_firstlineno if code else None):
                _call_test(namespace[name])
        for value in list(namespace.values()):
            if isinstance(value, type) and issubclass(value, unittest.TestCase):
                self._run_case(value)

    def _do_outside(self, action: Callable[[], Any]) -> None:
        """Do what is no test itself; where it fails, that is a test that did not pass."""
        try:
            action()
        except Enough:
            raise
        except BaseException as error:  # noqa: BLE001 - the candidate may raise anything
            outside = Result("outside of an assertion", None, lines=self.lines())
            _settle(outside, error, self.session)
            self._results.append(outside)
            if outside.status != "not_run" and not self.goes_on():
                raise Enough from None

    def _run_case(self, case: type[unittest.TestCase]) -> None:
        if case.__module__ != TESTS_MODULE:
            return
        self._do_outside(case.setUpClass)
        for name in unittest.defaultTestLoader.getTestCaseNames(case):
            with self.watch_named(f"{case.__name__}.{name}"):
                case(name).debug()
        self._do_outside(case.tearDownClass)

    def _observe(self, namespace: dict[str, Any]) -> list[dict[str, str]]:
        """What each call gives, as comparable text."""
        observed = []
        for call in self._request.calls or ():
            self.begin()
            random.seed(0)
            try:
                value = eval(call, namespace)  # noqa: S307 - expressions derived from the tests
                observed.append({"value": describe(value)})
            except BaseException as error:  # noqa: BLE001 - what it raises is its behaviour
                gone = self.session.gone
                text = f"{type(error).__name__}: {_message(error)}"
                observed.append({gone.status: ""} if gone else {"raised": text})
                if gone and not self.goes_on():
                    break
        return observed

    def _summary(self, results: list[Result]) -> dict[str, Any]:
        gone = getattr(getattr(self, "session", None), "gone", None)
        wrong = next((r for r in results if r.status not in {"passed", "not_run"}), None)
        status = wrong.status if wrong else (gone.status if gone else "passed")
        return {
            "status": status,
            "detail": wrong.detail if wrong else None,
            "flags": sorted(self._flags),
            "tests": [
                {
                    "name": result.name,
                    "line": result.line,
                    "status": result.status,
                    "detail": result.detail,
                    "lines": sorted(result.lines),
                    "duration_ms": round(result.seconds * 1000, 3),
                }
                for result in results
            ],
        }


class Watch:
    """Records what comes of one test, and lets the next one run if somebody wants to know."""

    def __init__(self, judge: Judge, result: Result) -> None:
        self._judge = judge
        self._result = result
        self._started = 0.0

    def __enter__(self) -> None:
        self._judge.begin()
        self._started = time.monotonic()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        result = self._result
        result.seconds += time.monotonic() - self._started
        result.lines |= self._judge.lines()
        if isinstance(error, Enough):
            return False
        if error is None:
            result.status = "passed" if result.status == "not_run" else result.status
            return False
        _settle(result, error, self._judge.session)
        if result.status == "not_run":  # skipped
            return True
        if not self._judge.goes_on():
            raise Enough from None
        return True


def _call_test(test: Callable[..., Any]) -> None:
    needed = [
        name
        for name, parameter in inspect.signature(test).parameters.items()
        if parameter.default is parameter.empty
    ]
    if needed:
        raise TypeError(f"{test.__name__} wants {', '.join(needed)}: fixtures are not supported")
    outcome = test()
    if inspect.iscoroutine(outcome):
        import asyncio  # costs more than a check; few tests need it

        asyncio.run(outcome)


def _settle(result: Result, error: BaseException, session: Session) -> None:
    """Write into a result what an exception means; a first failure is not overwritten."""
    if isinstance(error, unittest.SkipTest):
        return
    if result.status not in {"passed", "not_run"}:
        return
    if isinstance(error, SubjectGone):
        status = error.status
    elif isinstance(error, AssertionError):
        status = "failed"
    elif isinstance(error, MemoryError):
        status = "memory"
    else:
        status = "early_exit" if isinstance(error, SystemExit) else "error"
    failed = _failed(result.name, status, error)
    result.status, result.detail = status, failed.detail
    if status == "failed" and failed.detail and "_journeyman_where" not in vars(error):
        failed.detail["message"] += _last_answer(session)


def _last_answer(session: Session) -> str:
    """What the candidate returned last, since an assertion does not say so."""
    if not session.returned:
        return ""
    try:
        return f" (the last call returned {describe(session.returned[-1])[:_MAX_TEXT]})"
    except BaseException:  # noqa: BLE001 - a proxy asks the candidate, which may be gone
        return ""


def _failed(name: str, status: str, error: BaseException) -> Result:
    line, source = last_line(error) or (None, None)
    detail = {
        "type": status if isinstance(error, SubjectGone) else type(error).__name__,
        "message": _message(error),
        "line": line,
        "source": source,
    }
    return Result(name, None, status, detail)


def _message(error: BaseException) -> str:
    """The exception's words; for a bare assertion, its source."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - a mirror's arguments may be proxies that raise
        text = ""
    if not text and isinstance(error, AssertionError):
        frames = traceback.extract_tb(error.__traceback__)
        text = next((f.line or "" for f in reversed(frames) if f.filename == TESTS_FILE), "")
    return text[:_MAX_TEXT]
