"""`journeyman demo`: the shipped desk suite, offline, with the embedded models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from journeyman.cli.console import ExitCode, say, talk

STORE = ".journeyman/demo.db"
ERROR_RATE = 0.03
LATENCY_MS = 40.0


def demo(
    store: Annotated[Path, typer.Option(help="Where the runs are recorded.")] = Path(STORE),
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many reports.")] = None,
) -> None:
    """Run the bug-report desk offline and show what happened.

    Examples:

      journeyman demo

      journeyman demo --limit 40 --store /tmp/demo.db
    """
    from journeyman.cli.execute import execute
    from journeyman.cli.figures import render
    from journeyman.graph.settings import Settings
    from journeyman.scenarios.execution import REFERENCE_PRICE, ExecutionOptions, ReferenceOptions
    from journeyman.scenarios.paths import find_suite
    from journeyman.traces.store import Store

    options = ExecutionOptions(
        parts=("test", "stream"),
        limit=limit,
        reference=ReferenceOptions(error_rate=ERROR_RATE, latency_ms=LATENCY_MS),
        argv=("demo",),
    )
    price = REFERENCE_PRICE
    talk(
        "The frontier is a stand-in on loopback. It answers from the suite's references, "
        f"{ERROR_RATE:.0%} of the tasks wrongly,\nin {LATENCY_MS:.0f} ms, at "
        f"${price.input_per_million_usd:g} and ${price.output_per_million_usd:g} "
        "per million tokens."
    )
    with Store.open(store) as opened:
        report = execute(
            find_suite("desk"),
            Settings.model_construct(),  # defaults: no file and no environment shapes the demo
            opened,
            options,
        )
    say(render(report, reference=True))
    say()
    say(
        "Nothing is certified yet, so every task was escalated as `uncertified`, and every\n"
        "escalation is on record as teaching material."
    )
    say()
    say("Next:")
    for command, what in (
        (f"traces list --store {store}", "what happened, run by run"),
        (f"traces show ID --store {store}", "one run: spans, evidence, answers"),
        ("run desk --trust-uncertified", "the same with the students alone"),
        ('ask --agent retrieval "why is my list shared?"', "a question of your own"),
    ):
        say(f"  journeyman {command:<48} {what}")
    if report.errors:
        raise typer.Exit(ExitCode.ERROR)
