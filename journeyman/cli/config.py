"""`journeyman config`: every setting with its value, and where it has it from."""

from __future__ import annotations

import json as json_module
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from journeyman.cli.console import ExitCode, emit, say, table, talk
from journeyman.cli.options import JsonOption

if TYPE_CHECKING:
    from journeyman.graph.settings_origins import Setting

app = typer.Typer(
    help="""Every setting with its value, and where it has it from.

Examples:

  journeyman config show --origin

  journeyman config path
""",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("show")
def show(
    origin: Annotated[
        bool,
        typer.Option("--origin", help="Also where each value is from: file and line, variable."),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Every setting as it holds here; secrets are never shown.

    Examples:

      journeyman config show

      journeyman config show --origin

      journeyman config show --json | jq 'select(.origin == "environment")'

    A setting that names an environment variable says whether that is set, and no more.
    """
    from journeyman.graph.settings_origins import settings_in_force

    _, settings = settings_in_force()
    if json:
        for setting in settings:
            emit(asdict(setting))
        return
    rows = [
        [setting.key, _shown(setting), *([_from(setting)] if origin else [])]
        for setting in settings
    ]
    say(table(["setting", "value", *(["from"] if origin else [])], rows))


@app.command("path")
def path(json: JsonOption = False) -> None:
    """The settings file that holds here.

    Examples:

      journeyman config path

      journeyman --config other.toml config path

    Exit code 5 where there is none, so that the defaults hold.
    """
    from journeyman.graph.settings_origins import settings_in_force

    found, _ = settings_in_force()
    if json:
        emit({"path": None if found is None else str(found)})
    elif found is not None:
        say(str(found))
    if found is None:
        talk("No settings file is at or above this folder: the defaults hold.")
        raise typer.Exit(ExitCode.NOTHING)


def _shown(setting: Setting) -> str:
    text = _toml(setting.value)
    if setting.is_set is None:
        return text
    return f"{text} ({'set' if setting.is_set else 'not set'})"


def _toml(value: Any) -> str:
    return "-" if value is None else json_module.dumps(value, ensure_ascii=False)


def _from(setting: Setting) -> str:
    if setting.where is None:
        return setting.origin
    if setting.origin == "environment":
        return f"${setting.where}"
    try:
        return str(Path(setting.where).relative_to(Path.cwd()))
    except ValueError:
        return setting.where
