"""A command's suite runs as files: JSON, JUnit, Markdown and HTML.

Each kind is written whole, then moved into its place, so that no reader meets half a file.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from journeyman.models.errors import ConfigError
from journeyman.scenarios.comparing import REPORT_FORMAT, Comparison, Line, lines_of
from journeyman.scenarios.gates import Verdict
from journeyman.scenarios.report import Report
from journeyman.scenarios.selection import Selection

Kind = Literal["json", "junit", "html", "md"]

INSTALL = "pip install 'journeyman[suites]'"


@dataclass(frozen=True)
class RunReport:
    """One suite run with what it came to.

    Attributes:
        id: The suite run on record.
        label: Its name; None without one.
        report: Its figures.
        verdict: Whether it passed.
        selection: What of the suite was asked for.
        frontier: Which frontier answered.
        comparison: Against the baseline; None where there was none.
        interrupted: It was broken off.
    """

    id: str
    label: str | None
    report: Report
    verdict: Verdict
    selection: Selection
    frontier: str = ""
    comparison: Comparison | None = None
    interrupted: bool = False

    @property
    def name(self) -> str:
        """Suite and arm."""
        arm = self.report.arm
        return self.report.suite.name + (f" ({arm})" if arm != "system" else "")

    @property
    def status(self) -> str:
        """One word."""
        return "interrupted" if self.interrupted else self.verdict.status

    @property
    def lines(self) -> Mapping[str, Line]:
        """Its scenarios, those that did not pass first."""
        lines = lines_of(self.report.results).values()
        return {line.id: line for line in sorted(lines, key=lambda line: (line.passes, line.id))}

    def to_json(self) -> dict[str, Any]:
        """As JSON-compatible data; `comparing` reads it back."""
        summary = {key: value for key, value in self.report.summary().items() if key != "event"}
        return {
            "run": self.id,
            "label": self.label,
            "suite": self.report.suite.name,
            "arm": self.report.arm,
            "frontier": self.frontier,
            "status": self.status,
            "reasons": list(self.verdict.reasons),
            "gates": [asdict(gate) for gate in self.verdict.gates],
            "selection": self.selection.to_json(),
            "summary": summary,
            "comparison": self.comparison.to_json() if self.comparison is not None else None,
            "scenarios": [asdict(line) for line in lines_of(self.report.results).values()],
        }


@dataclass(frozen=True, slots=True)
class Target:
    """A file to write, and its kind."""

    kind: Kind
    path: Path


def parse_target(written: str) -> Target:
    """A `--report` such as `junit=out.xml`.

    Raises:
        ConfigError: The kind is unknown, or there is no file.
    """
    named, _, file = written.partition("=")
    kinds: tuple[Kind, ...] = get_args(Kind)
    for kind in kinds:
        if kind == named and file:
            return Target(kind, Path(file))
    raise ConfigError(
        f"--report {written!r} is not KIND=FILE; write it as junit=out.xml, with one of "
        f"{', '.join(kinds)}."
    )


def check_target(target: Target) -> None:
    """Find out before a run whether its report can be written after it.

    Raises:
        ConfigError: A package is missing, or the place cannot be written.
    """
    try:
        if target.kind == "junit":
            import junitparser  # noqa: F401  # only: is it there
        elif target.kind == "html":
            import jinja2  # noqa: F401  # only: is it there
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"A report of kind {target.kind!r} needs the package {error.name!r}; run `{INSTALL}`."
        ) from error
    folder = target.path.parent
    if target.path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ConfigError(
            f"The report {str(target.path)!r} cannot be written there; give another file.",
            path=target.path,
        )


def write_report(target: Target, runs: Sequence[RunReport]) -> None:
    """Write a command's runs.

    Raises:
        ConfigError: The file cannot be written.
    """
    text = _text(target.kind, runs)
    try:
        handle, name = tempfile.mkstemp(dir=target.path.parent, prefix=f".{target.path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
            os.chmod(name, 0o666 & ~_umask())  # noqa: PTH101  # as a file made by `open` has it
            Path(name).replace(target.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ConfigError(
            f"Cannot write the report {str(target.path)!r} ({error}); give another file.",
            path=target.path,
        ) from error


def to_json(runs: Sequence[RunReport]) -> dict[str, Any]:
    """The JSON report: every run with every scenario."""
    return {"format": REPORT_FORMAT, "version": 1, "runs": [run.to_json() for run in runs]}


def _text(kind: Kind, runs: Sequence[RunReport]) -> str:
    match kind:
        case "json":
            return json.dumps(to_json(runs), ensure_ascii=False, indent=1) + "\n"
        case "junit":
            from journeyman.scenarios.report_junit import to_junit

            return to_junit(runs)
        case "html":
            from journeyman.scenarios.report_html import to_html

            return to_html(runs)
        case "md":
            from journeyman.scenarios.report_markdown import to_markdown

            return to_markdown(runs)


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
