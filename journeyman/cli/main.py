"""The command line's front door: commands, exit codes, and how errors are told.

Command bodies live in modules of their own and import what they need when they run, so that help
and `doctor` start fast. Data goes to stdout, talk to stderr.
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

from journeyman.cli import (
    ask,
    batch,
    compare,
    config,
    curve,
    db,
    demo,
    doctor,
    escalations,
    init,
    releases,
    replay,
    run,
    serve,
    traces,
    validate,
    view,
)
from journeyman.cli import round as rounds
from journeyman.cli.console import ExitCode, complain, environment, voice
from journeyman.cli.terminal import harmless
from journeyman.models.errors import JourneymanError

EXAMPLES = """Narrow sub-agents on small models you own; a frontier model when in doubt.

Examples:

  journeyman init && journeyman run             a project of your own that passes

  journeyman demo                               the desk suite, offline

  journeyman ask "KeyError in loader.py l. 88"  one request

  journeyman run snips --limit 200              a suite and its figures

  journeyman compare blessed latest             what got better, and what worse

  journeyman validate scenarios/                its mistakes, without running it

  journeyman traces list                        what happened

  journeyman view                               the same, in a browser

  journeyman escalations review                 say who was right

  journeyman round all                          teach from it, and trust what is proved

  journeyman replay extraction --max-error 0.02 what could be certified, and saved
"""

app = typer.Typer(
    name="journeyman",
    help=EXAMPLES,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("init")(init.init)
app.command("demo")(demo.demo)
app.command("ask")(ask.ask)
app.command("run")(run.run)
app.command("batch")(batch.batch)
app.command("compare")(compare.compare)
app.command("bless")(compare.bless)
app.command("validate")(validate.validate)
app.command("round")(rounds.round_)
app.add_typer(rounds.app, name="rounds")
app.command("curve")(curve.curve)
app.add_typer(releases.app, name="releases")
app.command("replay")(replay.replay)
app.add_typer(escalations.app, name="escalations")
app.add_typer(traces.app, name="traces")
app.command("serve")(serve.serve)
app.command("view")(view.view)
app.add_typer(db.app, name="db")
app.add_typer(config.app, name="config")
app.command("doctor")(doctor.doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"journeyman {version('journeyman')}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    config_file: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="Settings file; default: the nearest."),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="Data and errors only: no talk, no progress.")
    ] = False,
    verbose: Annotated[
        int,
        typer.Option(
            "-v",
            "--verbose",
            count=True,
            help="Log lines too, and where an error is from; -vv more.",
        ),
    ] = 0,
    no_color: Annotated[
        bool, typer.Option("--no-color", help="No colors, as with NO_COLOR in the environment.")
    ] = False,
    version: Annotated[  # noqa: ARG001  # its callback prints it
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Options of every command, which go before its name."""
    given = {}
    if config_file is not None:
        given["JOURNEYMAN_CONFIG"] = str(config_file.absolute())
    if no_color:
        given["NO_COLOR"] = "1"
    # Both end with the command: whoever calls the command line from Python finds all as it was.
    context.with_resource(environment(given))
    context.with_resource(voice(-1 if quiet else verbose))


def main() -> None:
    """Run the command line.

    Errors of ours are one line and exit code 2. Any other keeps its traceback and is exit code 3:
    Python's own 1 would say that a scenario failed.
    """
    try:
        app(prog_name="journeyman")  # also where it is started as a module: completion goes by it
    except JourneymanError as error:
        complain(harmless(f"journeyman: {error}"))
        sys.exit(ExitCode.USAGE)
    except Exception:  # noqa: BLE001  # nothing is hidden: it is told with its traceback
        traceback.print_exc()
        sys.exit(ExitCode.ERROR)
    except SystemExit as end:
        if end.code == ExitCode.INTERRUPTED:  # what typer makes of Ctrl-C
            complain("journeyman: interrupted; what was finished is kept.")
        raise
