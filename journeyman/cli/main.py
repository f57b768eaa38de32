"""The command line's front door: commands, exit codes, and how errors are told.

Command bodies live in modules of their own and import what they need when they run, so that help
and `doctor` start fast. Data goes to stdout, talk to stderr.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from journeyman.cli import ask, curve, db, demo, doctor, escalations, releases, replay, run, traces
from journeyman.cli import round as rounds
from journeyman.cli.console import ExitCode, talk
from journeyman.models.errors import JourneymanError

EXAMPLES = """Narrow sub-agents on small models you own; a frontier model when in doubt.

Examples:

  journeyman demo                               the desk suite, offline

  journeyman ask "KeyError in loader.py l. 88"  one request

  journeyman run snips --limit 200              a suite and its figures

  journeyman traces list                        what happened

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
app.command("demo")(demo.demo)
app.command("ask")(ask.ask)
app.command("run")(run.run)
app.command("round")(rounds.round_)
app.add_typer(rounds.app, name="rounds")
app.command("curve")(curve.curve)
app.add_typer(releases.app, name="releases")
app.command("replay")(replay.replay)
app.add_typer(escalations.app, name="escalations")
app.add_typer(traces.app, name="traces")
app.add_typer(db.app, name="db")
app.command("doctor")(doctor.doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"journeyman {version('journeyman')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Options of every command."""


def main() -> None:
    """Run the command line; errors of ours are one line and exit code 2."""
    try:
        app()
    except JourneymanError as error:
        talk(f"journeyman: {error}")
        sys.exit(ExitCode.USAGE)
    except SystemExit as end:
        if end.code == ExitCode.INTERRUPTED:  # what typer makes of Ctrl-C
            talk("journeyman: interrupted; what was finished is kept.")
        raise
