"""`journeyman compare` and `journeyman bless`: suite runs against each other, and a baseline."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from journeyman.cli import completion
from journeyman.cli.console import ExitCode, emit, say, talk
from journeyman.cli.options import JsonOption, StoreOption, open_store

SuiteRunArgument = Annotated[
    str,
    typer.Argument(
        autocompletion=completion.suite_runs,
        metavar="RUN|FILE",
        help="latest, blessed, a label, how an id starts, or a JSON report.",
    ),
]


def compare(
    base: SuiteRunArgument,
    other: SuiteRunArgument,
    by: Annotated[
        Literal["agent", "tag"] | None,
        typer.Option(help="Also the scenarios of each sub-agent, or of each tag."),
    ] = None,
    suite: Annotated[
        str | None, typer.Option(help="Of this suite, where the words do not say it.")
    ] = None,
    fail_on_regression: Annotated[
        bool, typer.Option(help="Exit 1 where the other run is worse.")
    ] = False,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Compare two suite runs scenario by scenario: regressions first, then paired differences.

    Examples:

      journeyman compare blessed latest

      journeyman compare main.json latest --by tag --fail-on-regression

      journeyman compare before after --json

    A scenario that passes in BASE and is missing from OTHER is a regression, unless OTHER was
    asked for other scenarios. Scenarios that say what must hold count one by one; rows that are
    measured only count where the losses as a whole are more than luck.
    """
    from journeyman.cli.figures import render_comparison
    from journeyman.models.errors import ConfigError
    from journeyman.scenarios.comparing import compare as compare_sides
    from journeyman.scenarios.comparing import find_side

    with open_store(store) as opened:
        second = find_side(opened, other, suite=suite)
        arm = second.arm if base == "blessed" else None  # each arm has a baseline of its own
        first = find_side(opened, base, suite=suite or second.suite, arm=arm)
    if first.suite != second.suite:
        raise ConfigError(
            f"{base!r} is a run of suite {first.suite!r} and {other!r} one of {second.suite!r}: "
            "compare runs of one suite."
        )
    found = compare_sides(first, second, by=by)
    if json:
        emit(found.to_json())
    else:
        say(render_comparison(found))
    if found.overall is None:
        talk("The two runs have no scenario in common.")
    if fail_on_regression and found.regressions:
        raise typer.Exit(ExitCode.FAILED)


def bless(
    run: SuiteRunArgument,
    suite: Annotated[
        str | None, typer.Option(help="Of this suite, where the word does not say it.")
    ] = None,
    arm: Annotated[str | None, typer.Option(help="Of this arm, where several were run.")] = None,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Make a run the baseline of its suite: what `run --baseline blessed` compares with.

    Examples:

      journeyman bless latest

      journeyman bless 01a2038c --json

    A baseline never changes by itself. Each arm of a suite has its own.
    """
    from journeyman.scenarios.comparing import bless as make_baseline
    from journeyman.scenarios.resume import find_run

    with open_store(store, read_only=False, create=False) as opened:
        record = find_run(opened, run, suite=suite, arm=arm)
        make_baseline(opened, record)
    if json:
        emit({"event": "blessed", "run": record.id, "suite": record.suite, "arm": record.arm})
    else:
        passed, total = record.num_passed, record.num_total
        say(f"Run {record.id} is the baseline of {record.suite}: {passed} of {total} passed.")
