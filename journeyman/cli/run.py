"""`journeyman run`: suites through the graph, with their figures, verdict and exit code."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from journeyman.cli import completion
from journeyman.cli.asked import Asked
from journeyman.cli.options import JsonOption, StoreOption


def run(
    suites: Annotated[
        list[str] | None,
        typer.Argument(
            autocompletion=completion.suites,
            help="Suite files, folders of them, or names of shipped suites. "
            "Default: scenarios/ of the project.",
        ),
    ] = None,
    keyword: Annotated[
        str | None,
        typer.Option(
            "-k",
            metavar="EXPR",
            help="Ids or tags that contain these words: 'invoice and not slow'.",
        ),
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option("-t", "--tag", help="Any of these tags; repeatable.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--id", help="Just these ids; repeatable.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many scenarios, spread over the data.")
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="One of N disjoint parts, stable by the scenarios' ids."),
    ] = None,
    part: Annotated[
        list[str] | None, typer.Option(help="Data set of the suite; repeatable. Default: test.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of --limit's choice and the reference frontier.")] = 0,
    jobs: Annotated[int, typer.Option("-j", "--jobs", min=1, help="Scenarios at once.")] = 8,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Run each so often; default: as the suite says.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(min=0.001, help="Seconds until a scenario is given up.")
    ] = None,
    arm: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ARM",
            help="Who may answer: system, student-only, frontier-only. "
            "Several are compared with the first, which decides. Default: system.",
        ),
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Another value for a setting or a key of the suite: risk.max_error=0.02, "
            "agents.retrieval.k=5; repeatable.",
        ),
    ] = None,
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
    cache: Annotated[
        bool,
        typer.Option(
            "--cache/--no-cache",
            help="Keep the configured frontier's replies for the next run, each epoch its own.",
        ),
    ] = False,
    max_cost: Annotated[
        float | None, typer.Option(min=0, metavar="USD", help="Stop once so much is spent.")
    ] = None,
    max_time: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="Stop after so long.")
    ] = None,
    max_errors: Annotated[
        str | None,
        typer.Option(metavar="N|P%", help="Stop when more scenarios than that end in an error."),
    ] = None,
    fail_fast: Annotated[
        bool, typer.Option("-x", "--fail-fast", help="Stop at the first failure or error.")
    ] = False,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="Go on with a run: latest, a label, or how its id starts. Its selection and arms "
            "are kept; nothing finished is repeated.",
        ),
    ] = None,
    retry_errors: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="As --resume, and run what ended in an error again."),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="RUN|FILE|blessed",
            help="Fail where the run is worse than this one: a run, a JSON report, or the blessed.",
        ),
    ] = None,
    tolerance: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIGURE=X",
            help="With --baseline: how much worse a figure may be, as pass_rate=0.02; repeatable.",
        ),
    ] = None,
    min_pass_rate: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Fail below this share; decides in place of each failure."),
    ] = None,
    report: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND=FILE", help="Write a report: junit, json, html or md; repeatable."
        ),
    ] = None,
    label: Annotated[str | None, typer.Option(help="A name for the run.")] = None,
    dry_run: Annotated[bool, typer.Option(help="List what would run, and run nothing.")] = False,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Run suites and report each arm: student alone, frontier, and the system of both.

    Examples:

      journeyman run                                     the suites of this project

      journeyman run scenarios/ -k "invoice and not slow" -x

      journeyman run snips --limit 200 --report html=report.html

      journeyman run my.yaml --baseline blessed --report junit=results.xml

      journeyman run my.yaml --arm system --arm student-only

      journeyman run --resume latest

      journeyman run desk --json | tail -1

    Exit codes:

      0  passed.

      1  a scenario with assertions or its own `expected` failed, a gate was missed, or the run is
      worse than its baseline.

      2  usage, settings or suite.

      3  a scenario ended in an error, the frontier left tasks open, or its key was rejected; or
      Journeyman itself failed, which it tells with a traceback.

      4  stopped by a limit.

      5  nothing matched.

      130  interrupted.

    Rows of data sets without assertions are measurements: they are reported with intervals and
    fail a run only through a gate, --min-pass-rate or --baseline.
    """
    from journeyman.cli.running import run_suites

    asked = Asked(
        suites=tuple(suites or ()),
        keyword=keyword,
        tags=tuple(tag or ()),
        ids=tuple(only or ()),
        limit=limit,
        shard=shard,
        parts=tuple(part) if part else None,
        seed=seed,
        jobs=jobs,
        epochs=epochs,
        timeout_s=timeout,
        arms=tuple(arm or ()),
        sets=tuple(sets or ()),
        reference=reference,
        error_rate=error_rate,
        latency_ms=latency_ms,
        trust_uncertified=trust_uncertified,
        cache=cache,
        max_cost_usd=max_cost,
        max_time_s=max_time,
        max_errors=max_errors,
        fail_fast=fail_fast,
        resume=resume,
        retry_errors=retry_errors,
        baseline=baseline,
        tolerances=tuple(tolerance or ()),
        min_pass_rate=min_pass_rate,
        reports=tuple(report or ()),
        label=label,
        dry_run=dry_run,
        store=store,
        json=json,
        argv=tuple(sys.argv[1:]),
    )
    code = run_suites(asked)
    if code:
        raise typer.Exit(code)
