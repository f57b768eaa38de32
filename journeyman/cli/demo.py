"""`journeyman demo`: the whole loop on the shipped desk suite, offline, with embedded models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from journeyman.cli.console import ExitCode, say, talk

if TYPE_CHECKING:
    from journeyman.graph.settings import Settings
    from journeyman.scenarios.report import Report
    from journeyman.traces.store import Store

STORE = ".journeyman/demo.db"
ERROR_RATE = 0.03
LATENCY_MS = 40.0
MAX_ERROR = 0.1
CALIBRATION, HEAD = 0.3, 0.15
"""A desk of a few hundred reports is small: a larger share than usual has to certify."""


def demo(
    store: Annotated[
        Path | None,
        typer.Option(
            help=f"Where the runs are recorded; default: {STORE}, or a free name beside it."
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many reports of each part.")
    ] = None,
    rounds: Annotated[
        bool, typer.Option("--rounds/--no-rounds", help="Teach the students, and run again.")
    ] = True,
) -> None:
    """Run the bug-report desk cold, teach its students one round, and run it again.

    Examples:

      journeyman demo

      journeyman demo --no-rounds --limit 40 --store /tmp/demo.db

    Students are taught by the reports of one part and measured on those of another.
    """
    from journeyman.cli.figures import render, render_pair
    from journeyman.scenarios.execution import REFERENCE_PRICE
    from journeyman.traces.store import Store

    store = store or _free(Path(STORE))
    settings = _settings(store)
    price = REFERENCE_PRICE
    talk(
        "The frontier is a stand-in on loopback. It answers from the suite's references, "
        f"{ERROR_RATE:.0%} of the tasks wrongly,\nin {LATENCY_MS:.0f} ms, at "
        f"${price.input_per_million_usd:g} and ${price.output_per_million_usd:g} "
        "per million tokens."
    )
    with Store.open(store) as opened:
        _refuse_taught(opened, store)
        talk("\n1. The reports that will be measured, cold: nothing is certified.")
        before = _pass(settings, opened, "test", limit)
        say(render(before, reference=True))
        if not rounds:
            _next(store)
            return
        talk("\n2. More reports, which become teaching material.")
        taught = _pass(settings, opened, "stream", limit)
        talk(
            f"\n3. One round for each sub-agent, to an error of at most {MAX_ERROR:.0%} "
            "(joint, delta 5 %)."
        )
        _rounds(settings, opened)
        talk("\n4. The first reports again; none of them was learned from.")
        after = _pass(settings, opened, "test", limit)
    say()
    say(render_pair(before, after, max_error=MAX_ERROR))
    _next(store)
    if before.errors or taught.errors or after.errors:
        raise typer.Exit(ExitCode.ERROR)


def _free(store: Path) -> Path:
    """The demo begins cold, and leaves what an earlier one recorded alone."""
    number = 1
    while store.exists():
        number += 1
        store = store.with_name(f"{Path(STORE).stem}-{number}{store.suffix}")
    return store


def _settings(store: Path) -> Settings:
    """Defaults: no file and no environment shapes the demo."""
    from journeyman.graph.settings import RoundSettings, Settings
    from journeyman.models.types import Risk

    return Settings.model_construct(
        data_dir=str(store.parent / store.stem),
        risk=Risk(max_error=MAX_ERROR),
        round=RoundSettings(calibration=CALIBRATION, head=HEAD),
    )


def _refuse_taught(opened: Store, store: Path) -> None:
    from journeyman.models.errors import ConfigError
    from journeyman.traces.rounds import RoundStore

    if RoundStore(opened).history():
        raise ConfigError(
            f"The demo begins cold, and rounds are on record in {str(store)!r}: remove "
            f"{str(store)!r} and {str(store.parent / store.stem)!r}, or give another --store.",
            path=store,
        )


def _pass(settings: Settings, opened: Store, part: str, limit: int | None) -> Report:
    from journeyman.cli.execute import execute
    from journeyman.scenarios.options import ExecutionOptions, ReferenceOptions
    from journeyman.scenarios.paths import find_suite
    from journeyman.scenarios.selection import Selection

    options = ExecutionOptions(
        parts=(part,),
        selection=Selection(limit=limit),
        reference=ReferenceOptions(error_rate=ERROR_RATE, latency_ms=LATENCY_MS),
        argv=("demo",),
    )
    return execute(find_suite("desk"), settings, opened, options, describe=False)


def _rounds(settings: Settings, opened: Store) -> None:
    from journeyman.cli.round import run_one
    from journeyman.graph.round_state import options_from
    from journeyman.scenarios.assembly import staff_for
    from journeyman.scenarios.known_texts import decontaminator
    from journeyman.scenarios.paths import find_suite
    from journeyman.scenarios.suite import load_suite

    suite = load_suite(find_suite("desk"))
    options = options_from(settings, decontaminator([suite]))
    for agent in staff_for(suite).everyone.values():
        if agent.trainer() is not None:
            say()
            run_one(agent, opened, Path(settings.data_dir), options, json=False)


def _next(store: Path) -> None:
    say()
    say("Next:")
    for command, what in (
        (f"rounds list --store {store}", "what each round found"),
        (f"releases list --store {store}", "which students there are, and what they earned"),
        (f"traces list --store {store}", "what happened, run by run"),
        (f"replay extraction --store {store}", "cost against quality at other targets"),
        ('ask --agent retrieval "why is my list shared?"', "a question of your own"),
    ):
        say(f"  journeyman {command:<48} {what}")
