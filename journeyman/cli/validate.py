"""`journeyman validate`: every mistake in suites, without running them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from journeyman.cli import completion
from journeyman.cli.console import ExitCode, emit, say, talk
from journeyman.cli.options import JsonOption

if TYPE_CHECKING:
    from journeyman.scenarios.checking import Checked


def validate(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            autocompletion=completion.suites,
            help="Suite files, folders of them, or names of shipped suites. "
            "Default: scenarios/ of the project.",
        ),
    ] = None,
    data: Annotated[
        bool, typer.Option("--data/--no-data", help="Read every row of the data sets, too.")
    ] = True,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of suite files, and end.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Say every mistake in suites with file and line, and how many scenarios they hold.

    Examples:

      journeyman validate

      journeyman validate scenarios/smoke.yaml

      journeyman validate scenarios/ --json

      journeyman validate --schema > suite.schema.json
    """
    if schema:
        from journeyman.scenarios.schema import shipped_schema

        say(shipped_schema().rstrip("\n"))
        return
    checked = [one for named in paths or [_project_suites()] for one in _check(named, data)]
    for one in checked:
        if json:
            emit(_plain(one))
            continue
        for problem in one.problems:
            say(str(problem))
        if not one.problems:
            say(f"{one.path}: {one.name}, {_scenarios(one.num_scenarios)}")
    if not checked:
        talk("There are no suites here; they are files that end in .yaml and name a `suite`.")
        raise typer.Exit(ExitCode.NOTHING)
    wrong = sum(len(one.problems) for one in checked)
    if wrong:
        talk(f"{wrong} mistake{'s' if wrong > 1 else ''}.")
        raise typer.Exit(ExitCode.USAGE)


def _project_suites() -> str:
    """The folder that `journeyman run` takes as well where no suite is named."""
    from journeyman.graph.settings_file import chosen_file, here

    file = chosen_file()
    return str((file.parent if file is not None else here()) / "scenarios")


def _check(named: str, data: bool) -> list[Checked]:
    from pathlib import Path

    from journeyman.models.errors import ConfigError
    from journeyman.scenarios.checking import Checked, Problem, check_suite, files_to_check

    try:
        return [check_suite(path, data=data) for path in files_to_check(named)]
    except ConfigError as error:
        return [Checked(Path(named), "", 0, (Problem.of(error),))]


def _scenarios(count: int) -> str:
    return f"{count:,} scenario{'' if count == 1 else 's'}"


def _plain(checked: Checked) -> dict[str, object]:
    return {
        "event": "suite",
        "path": str(checked.path),
        "suite": checked.name,
        "scenarios": checked.num_scenarios,
        "valid": not checked.problems,
        "problems": [
            {"path": one.path, "line": one.line, "message": one.message} for one in checked.problems
        ],
    }
