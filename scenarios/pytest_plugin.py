"""Suites as pytest items: `pytest scenarios/` runs them in a user's own repository.

A suite is one file of items: each scenario that says what must hold, and each gate. They are run
together, as `journeyman run` would, when the first of them is due; every item then reports its own.
Rows of data sets without assertions are measurements: they run only for the sake of a gate, and
are no items. Loaded by pytest in every project, so that nothing of Journeyman is imported before a
suite is found.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from journeyman.scenarios.execution import Execution
    from journeyman.scenarios.report import ScenarioVerdict
    from journeyman.scenarios.suite import Suite

_KEYS = (
    re.compile(r"^[\"']?suite[\"']?\s*:", re.MULTILINE),
    re.compile(r"^[\"']?version[\"']?\s*:", re.MULTILINE),
)
_HEAD_BYTES = 65_536


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the plugin's options and settings."""
    group = parser.getgroup("journeyman")
    group.addoption(
        "--journeyman-configured",
        action="store_true",
        help="Ask the frontier of the settings; default: the reference stand-in, which is free.",
    )
    group.addoption(
        "--journeyman-store",
        metavar="FILE|URL",
        help="Where suite runs are recorded; default: the settings' store.",
    )
    group.addoption(
        "--journeyman-arm",
        default="system",
        choices=("system", "student-only", "frontier-only"),
        help="Who may answer; default: %(default)s.",
    )
    parser.addini(
        "journeyman_suites",
        "Collect suites from *.yaml files.",
        type="bool",
        default=True,
    )


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> SuiteFile | None:
    """Take files that are suites; other YAML is left alone."""
    if file_path.suffix not in {".yaml", ".yml"} or not parent.config.getini("journeyman_suites"):
        return None
    try:
        with file_path.open("rb") as file:
            head = file.read(_HEAD_BYTES).decode("utf-8", "replace")
    except OSError:
        return None
    if not all(key.search(head) for key in _KEYS):
        return None
    found: SuiteFile = SuiteFile.from_parent(parent, path=file_path)
    return found


class SuiteFailed(Exception):  # noqa: N818  # named for what happened, as pytest's own
    """A scenario or a gate did not hold; the message says why."""


class SuiteFile(pytest.File):
    """One suite, run once for all of its items."""

    def __init__(self, **how: Any) -> None:
        super().__init__(**how)
        self._execution: Execution | None = None
        self._failure: Exception | None = None
        self.verdicts: Mapping[str, ScenarioVerdict] = {}
        """Each scenario over its epochs, by id, once the suite was run."""

    def collect(self) -> Iterator[pytest.Item]:
        """An item for each scenario that says what must hold, and one for the gates."""
        from journeyman.models.errors import ConfigError
        from journeyman.scenarios.datasets import default_parts, iter_scenarios
        from journeyman.scenarios.finished import is_test

        try:
            suite = self._suite()
            for scenario in iter_scenarios(suite, parts=default_parts(suite)):
                if is_test(scenario):
                    item = ScenarioItem.from_parent(self, name=scenario.id)
                    item.extra_keyword_matches.update(scenario.tags)  # for -k
                    yield item
        except ConfigError as error:
            raise self.CollectError(str(error)) from None
        if suite.spec.gate.model_dump(exclude_none=True):
            yield GateItem.from_parent(self, name="gate")

    def _suite(self) -> Suite:
        from journeyman.scenarios.suite import load_suite

        return load_suite(self.path)

    def executed(self) -> Execution:
        """The suite's run: made at the first call, with the items that pytest selected.

        Raises:
            SuiteFailed: It could not be run.
        """
        if self._failure is not None:  # what failed once is not paid for again by every item
            raise self._failure
        if self._execution is None:
            from journeyman.models.errors import JourneymanError

            try:
                self._execution = self._run()
            except JourneymanError as error:
                self._failure = SuiteFailed(str(error))
                raise self._failure from error
            except Exception as error:
                self._failure = error
                raise
            self.verdicts = {one.scenario_id: one for one in self._execution.report.verdicts}
        return self._execution

    def _run(self) -> Execution:
        from journeyman.graph.settings import load_settings
        from journeyman.scenarios.execution import Execution
        from journeyman.scenarios.options import ExecutionOptions, ReferenceOptions
        from journeyman.scenarios.selection import Selection
        from journeyman.traces.store import Store

        settings = load_settings(self.path.parent)
        configured = bool(self.config.getoption("--journeyman-configured"))
        if configured and settings.frontier.model is None:
            raise SuiteFailed(
                "No frontier is configured: set [frontier] model in journeyman.toml, or leave "
                "--journeyman-configured out."
            )
        items = [item for item in self.session.items if item.parent is self]
        gated = any(isinstance(item, GateItem) for item in items)  # a gate is about all of them
        options = ExecutionOptions(
            selection=Selection() if gated else Selection(ids=tuple(item.name for item in items)),
            arm=self.config.getoption("--journeyman-arm"),
            reference=None if configured else ReferenceOptions(),
            label="pytest",
            argv=("pytest", str(self.path)),
        )
        store = self.config.getoption("--journeyman-store") or settings.store
        with Store.open(store) as opened:
            execution = Execution(self._suite(), settings, opened, options)
            asyncio.run(_exhaust(execution))
        return execution


async def _exhaust(execution: Execution) -> None:
    async for _ in execution.run():
        pass


class _SuiteItem(pytest.Item):
    """An item of a suite; how it fails is told in a line, without a traceback of ours."""

    parent: SuiteFile

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The reason alone, where it is one of ours."""
        if isinstance(excinfo.value, SuiteFailed):
            return f"{self.parent.path.name}: {self.name}: {excinfo.value}"
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """File and name; the line is the suite's own matter."""
        return self.path, None, f"{self.path.name}::{self.name}"


class ScenarioItem(_SuiteItem):
    """One scenario over all its epochs."""

    def runtest(self) -> None:
        """Run the suite, if nobody has, and look what became of this scenario.

        Raises:
            SuiteFailed: It failed, ended in an error, or was never reached.
        """
        verdict = self._verdict()
        reason = verdict.reason or ""
        match verdict.outcome:
            case "passed":
                return
            case "skipped":
                pytest.skip(reason)
            case "xfailed":
                pytest.xfail(reason)
            case "xpassed":  # gates nothing, as in `journeyman run`, and is worth a word
                self.add_report_section("call", "journeyman", "passed, though it was to fail")
                return
        raise SuiteFailed(reason or verdict.outcome)

    def _verdict(self) -> ScenarioVerdict:
        execution = self.parent.executed()
        verdict = self.parent.verdicts.get(self.name)
        if verdict is not None:
            return verdict
        stop = execution.stop.reason if execution.stop is not None else "the run ended before it"
        raise SuiteFailed(f"not run: {stop}")


class GateItem(_SuiteItem):
    """The gates of a suite, over all of its scenarios."""

    def runtest(self) -> None:
        """Look whether every gate was kept to.

        Raises:
            SuiteFailed: One was not.
        """
        missed = [gate for gate in self.parent.executed().verdict().gates if not gate.passed]
        if missed:
            raise SuiteFailed("; ".join(f"{gate.name}: {gate.detail}" for gate in missed))
