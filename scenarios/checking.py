"""Checks suites without running them: every mistake in them and in the files they name.

Running stops at the first mistake; here all are found, as far as one does not hide another.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from journeyman.models.errors import ConfigError
from journeyman.scenarios.datasets import iter_scenarios, parts
from journeyman.scenarios.findings import Mistakes
from journeyman.scenarios.imports import load_name
from journeyman.scenarios.marked import Loc, read_yaml
from journeyman.scenarios.paths import find_suite, yaml_files
from journeyman.scenarios.schemas import extraction_schema
from journeyman.scenarios.suite import Suite, assemble, problems_of, read_spec

_PLACE = re.compile(r"(?P<path>.+?):(?P<line>[0-9]+): (?P<message>.+)", re.DOTALL)


@dataclass(frozen=True)
class Problem:
    """One mistake.

    Attributes:
        path: The file it is in.
        line: Counted from 1; None where the file cannot be read at all.
        message: What is wrong and what to do, in one sentence.
    """

    path: str
    line: int | None
    message: str

    @classmethod
    def of(cls, error: ConfigError) -> Problem:
        """From an error, which says the place before its message."""
        told = " ".join(str(error).split())
        found = _PLACE.fullmatch(told)
        if found is None:
            path = "" if error.path is None else str(error.path)
            return cls(path, None, told.removeprefix(f"{path}: "))
        return cls(found["path"], int(found["line"]), found["message"])

    def __str__(self) -> str:
        """`file:line: message`."""
        place = ":".join(str(part) for part in (self.path, self.line) if part)
        return f"{place}: {self.message}" if place else self.message


@dataclass(frozen=True)
class Checked:
    """What came of checking one suite.

    Attributes:
        path: The file.
        name: The suite's name; empty where the file does not say it.
        num_scenarios: Those that could be read, of all data sets.
        problems: What is wrong, each mistake once.
    """

    path: Path
    name: str
    num_scenarios: int
    problems: tuple[Problem, ...]


def files_to_check(named: str) -> list[Path]:
    """The files that a path stands for: a file, a shipped suite's name, or a folder of them.

    In a folder, files that hold only scenarios are left to the suites that include them; one that
    is too broken to be known for a suite is among those to check.

    Raises:
        ConfigError: There is no such file, folder or suite.
    """
    path = Path(named)
    if not path.is_dir():
        return [find_suite(named)]
    return [file for file in yaml_files(path) if not _is_fragment(file)]


def _is_fragment(path: Path) -> bool:
    try:
        data = read_yaml(path).data
    except ConfigError:
        return False  # to be told of
    return isinstance(data, dict) and "scenarios" in data and "suite" not in data


def check_suite(path: Path, *, data: bool = True) -> Checked:
    """Look for mistakes in a suite, the files it includes, and those it names.

    Args:
        path: The suite.
        data: Read every row of its data sets, too.
    """
    errors: list[ConfigError] = []
    suite: Suite | None = None
    name = ""
    try:
        document, spec = read_spec(path)
        if isinstance(spec, Mistakes):
            errors += spec.each()
            name = str(document.data.get("suite", ""))
        else:
            name = spec.suite
            suite = assemble(document, spec)
    except ConfigError as error:
        errors.append(error)
    total = 0
    if suite is not None:
        errors += problems_of(suite)
        told, total = _named_files(suite, data=data)
        errors += told
    problems = dict.fromkeys(Problem.of(error) for error in errors)
    return Checked(path, name, total, tuple(problems))


def _named_files(suite: Suite, *, data: bool) -> tuple[list[ConfigError], int]:
    """What is wrong with the data and code that a suite names, and how many scenarios it has."""
    errors: list[ConfigError] = []
    total = len(suite.written)
    for part in parts(suite) if data else ():
        if part == "inline":
            continue
        try:
            total += sum(1 for _ in iter_scenarios(suite, parts=[part]))
        except ConfigError as error:
            errors.append(error)
    for name, agent in suite.spec.agents.own.items():
        errors += _raised(partial(_named, suite, ("agents", name, "use"), agent.use))
    settings = suite.spec.agents.extraction
    if settings is not None and settings.schema_path is not None:
        errors += _raised(partial(extraction_schema, suite))
    return errors, total


def _named(suite: Suite, at: Loc, written: str) -> None:
    """See that what a suite names is there; making a sub-agent of it may take a model."""
    try:
        found = load_name(written, suite.path.parent)
    except ConfigError as error:
        raise suite.error(at, str(error)) from error
    if found is None:
        source, _, name = written.rpartition(":")
        raise suite.error(at, f"{source!r} has no {name!r}; define it, or name another.")


def _raised(read: Callable[[], object]) -> Iterator[ConfigError]:
    try:
        read()
    except ConfigError as error:
        yield error
