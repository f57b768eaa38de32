"""`journeyman run`: a suite through the graph, with its figures."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from journeyman.cli import completion
from journeyman.cli.console import ExitCode, emit, say, talk
from journeyman.cli.options import JsonOption, StoreOption, store_target


def run(
    suites: Annotated[
        list[str],
        typer.Argument(
            autocompletion=completion.suites, help="Suite files, or names of shipped suites."
        ),
    ],
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many scenarios, spread over the data.")
    ] = None,
    part: Annotated[
        list[str] | None, typer.Option(help="Data set of the suite; repeatable. Default: test.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of --limit's choice and the reference frontier.")] = 0,
    jobs: Annotated[int, typer.Option("-j", "--jobs", min=1, help="Scenarios at once.")] = 8,
    reference: Annotated[
        bool | None,
        typer.Option(
            "--reference/--configured",
            help="Frontier: the reference stand-in, or the settings'. "
            "Default: the settings', if they name a model.",
        ),
    ] = None,
    error_rate: Annotated[
        float, typer.Option(min=0, max=1, help="Share of wrong answers of the reference frontier.")
    ] = 0.0,
    latency_ms: Annotated[
        float, typer.Option(min=0, help="Latency of the reference frontier.")
    ] = 0.0,
    trust_uncertified: Annotated[
        bool,
        typer.Option(help="For experiments: accept what nobody certified, marked as such."),
    ] = False,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Run suites and report each arm: student alone, frontier, and the system of both.

    Examples:

      journeyman run scenarios/suites/public/snips.yaml --limit 200

      journeyman run desk --json | tail -1

      journeyman run my.yaml --reference --error-rate 0.05
    """
    from journeyman.cli.execute import execute
    from journeyman.cli.figures import render
    from journeyman.cli.repairs import compare_repairs, render_repairs
    from journeyman.graph.settings import load_settings
    from journeyman.models.errors import ConfigError
    from journeyman.scenarios.options import ExecutionOptions, ReferenceOptions
    from journeyman.scenarios.paths import find_suite
    from journeyman.scenarios.runner import RunOptions
    from journeyman.scenarios.selection import Selection
    from journeyman.traces.store import Store

    settings = load_settings()
    stand_in = settings.frontier.model is None if reference is None else reference
    if not stand_in and settings.frontier.model is None:
        raise ConfigError(
            "No frontier is configured; set [frontier] model in journeyman.toml, "
            "or use --reference."
        )
    options = ExecutionOptions(
        parts=part,
        selection=Selection(limit=limit, seed=seed),
        reference=ReferenceOptions(error_rate, latency_ms, seed=seed) if stand_in else None,
        run=RunOptions(concurrency=jobs, trust_uncertified=trust_uncertified),
        argv=tuple(sys.argv[1:]),
    )
    target = store_target(store)
    failed = empty = False
    with Store.open(target) as opened:
        for named in suites:
            report = execute(find_suite(named), settings, opened, options, json=json)
            empty |= report.num_scenarios == 0
            failed |= bool(report.errors or report.open_because)
            repairs = compare_repairs(find_suite(named), options, quiet=json)
            if json:
                emit({**report.summary(), **({"repairs": repairs.summary()} if repairs else {})})
            elif report.num_scenarios:
                say(render(report, reference=stand_in))
                if repairs is not None:
                    say(f"\n{render_repairs(repairs.figures())}")
                where = f" --store {store}" if store else ""
                talk(f"\nOn record in {opened.name}; `journeyman traces list{where}` shows it.")
    if empty:
        talk("Nothing matched; see the suite's data sets and --part.")
        raise typer.Exit(ExitCode.NOTHING)
    if failed:
        raise typer.Exit(ExitCode.ERROR)
