"""`journeyman batch`: one sub-agent over the rows of a file."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from journeyman.cli import completion
from journeyman.cli.console import ExitCode, emit, money, say, talk
from journeyman.cli.options import JsonOption, StoreOption

if TYPE_CHECKING:
    from journeyman.scenarios.batch import BatchOptions, BatchReport
    from journeyman.scenarios.batch_agent import AgentSource


class Engine(StrEnum):
    """Where students answer."""

    LOCAL = "local"
    RAY = "ray"


class Trace(StrEnum):
    """Which rows are put on record."""

    ALL = "all"
    ESCALATIONS = "escalations"
    NONE = "none"


class Failure(StrEnum):
    """What becomes of a row that the frontier fails."""

    QUEUE = "queue"
    RETURN_UNCERTIFIED = "return_uncertified"


def batch(
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="JSON Lines or Parquet: a task each row.")
    ],
    target: Annotated[
        Path, typer.Argument(metavar="OUT", help="JSON Lines or Parquet; appears when all is done.")
    ],
    agent: Annotated[
        str,
        typer.Option(
            autocompletion=completion.agents,
            help="Sub-agent of the suite; or module:attribute or file.py:attribute.",
        ),
    ],
    suite: Annotated[
        str | None,
        typer.Option(
            autocompletion=completion.suites,
            help="Suite whose sub-agent it is: a file or a shipped one's name. Default: desk.",
        ),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="Its text is the whole request. Default: the row is the task."
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="Names each row in the output. Default: the line number."
        ),
    ] = None,
    frontier: Annotated[
        bool,
        typer.Option(
            "--frontier/--no-frontier", help="Ask the frontier, or leave escalations open."
        ),
    ] = True,
    on_frontier_failure: Annotated[
        Failure,
        typer.Option(
            help="Of a row that the frontier fails: an error, or with the student's word."
        ),
    ] = Failure.QUEUE,
    trust_uncertified: Annotated[
        bool, typer.Option(help="For experiments: accept what nobody certified.")
    ] = False,
    engine: Annotated[
        Engine, typer.Option(help="Where students answer: this process, or a Ray cluster.")
    ] = Engine.LOCAL,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Ray: students at once. Default: one for each CPU.")
    ] = None,
    worker_cpus: Annotated[
        float, typer.Option(min=0, help="Ray: CPUs that each of them takes.")
    ] = 1.0,
    worker_gpus: Annotated[
        float, typer.Option(min=0, help="Ray: GPUs that each of them takes.")
    ] = 0.0,
    ray_address: Annotated[
        str | None,
        typer.Option(help="Ray: the cluster. Default: $RAY_ADDRESS, else one on this machine."),
    ] = None,
    trace: Annotated[
        Trace, typer.Option(help="Rows on record; escalations are what teaches.")
    ] = Trace.ESCALATIONS,
    max_cost: Annotated[
        float | None,
        typer.Option(
            min=0, metavar="USD", help="Stop once so much is spent, resumptions included."
        ),
    ] = None,
    max_errors: Annotated[
        str | None,
        typer.Option(metavar="N|P%", help="Stop when more rows than that end in an error."),
    ] = None,
    unordered: Annotated[
        bool, typer.Option(help="Rows as they are finished, not in the order of IN.")
    ] = False,
    details: Annotated[
        bool, typer.Option(help="Further columns, which differ from run to run: latency, run id.")
    ] = False,
    restart: Annotated[
        bool, typer.Option(help="Start anew: drop what is there of OUT, finished or not.")
    ] = False,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """One sub-agent over every row of a file; run again after an interruption, it goes on.

    Examples:

      journeyman batch in.jsonl out.jsonl --agent extraction --text body --key id

      journeyman batch in.parquet out.parquet --agent my_agents:invoices

      journeyman batch in.jsonl out.jsonl --agent extraction --no-frontier

      journeyman batch in.jsonl out.jsonl --agent extraction --max-cost 5 --max-errors 1%

      journeyman batch in.jsonl out.jsonl --agent extraction --engine ray

    Exit codes:

      0  every row has an answer, or is left open with --no-frontier.

      2  usage or settings; or OUT is there already, or was begun by another job.

      3  a row ended in an error (its row says which), the frontier's key was rejected, or the trace
      store failed that counts the day's budget.

      4  stopped by a limit or a budget; the same command goes on.

      130  interrupted; the same command goes on.
    """
    from journeyman.scenarios.batch import BatchOptions
    from journeyman.scenarios.batch_agent import AgentSource
    from journeyman.scenarios.batch_engines import RayOptions
    from journeyman.scenarios.limits import parse_max_errors

    number, share = parse_max_errors(max_errors)
    options = BatchOptions(
        key=key,
        text=text,
        engine=engine.value,
        ray=RayOptions(ray_address, workers, worker_cpus, worker_gpus),
        ask_frontier=frontier,
        on_frontier_failure=on_frontier_failure.value,
        trust_uncertified=trust_uncertified,
        trace=trace.value,
        max_cost_usd=max_cost,
        max_errors=number,
        max_error_share=share,
        unordered=unordered,
        details=details,
        restart=restart,
    )
    named = AgentSource(agent, suite, Path.cwd())
    report = _run(source, target, named, options, store, quiet=json)
    code = _code(report)
    if json:
        emit(_summary(report, target, code))
    else:
        _tell(report, target)
    if code:
        raise typer.Exit(code)


def _run(
    source: Path,
    target: Path,
    agent: AgentSource,
    options: BatchOptions,
    store: str | None,
    *,
    quiet: bool,
) -> BatchReport:
    from journeyman.cli.console import data_only
    from journeyman.cli.progress import Progress
    from journeyman.graph.settings import load_settings
    from journeyman.scenarios.batch import run_batch
    from journeyman.scenarios.batch_journal import Tally

    settings = load_settings()
    with data_only(wanted=quiet), Progress("rows", quiet=quiet) as progress:

        def show(tally: Tally, num_rows: int) -> None:
            told = ", ".join(f"{num} {name}" for name, num in sorted(tally.by_source.items()))
            progress.update(tally.num_rows, num_rows, told)

        return asyncio.run(
            run_batch(
                source,
                target,
                agent,
                settings,
                options=options,
                store=store,
                on_progress=show,
            )
        )


def _code(report: BatchReport) -> ExitCode:
    if report.stop is not None:
        return ExitCode.ERROR if report.stop.kind in {"key", "failure"} else ExitCode.LIMIT
    return ExitCode.ERROR if report.tally.num_errors else ExitCode.PASSED


def _summary(report: BatchReport, target: Path, code: ExitCode) -> dict[str, object]:
    tally = report.tally
    return {
        "event": "batch",
        "out": str(target) if report.stop is None else None,
        "rows": report.num_rows,
        "finished": tally.num_rows,
        "resumed": report.num_resumed,
        "answered_by": dict(sorted(tally.by_source.items())),
        "certified": tally.num_certified,
        "open": tally.num_open,
        "errors": tally.num_errors,
        "cost_microusd": tally.cost_microusd,
        "unpriced": tally.num_unpriced,
        "seconds": round(report.seconds, 3),
        "stopped": report.stop.reason if report.stop is not None else None,
        "exit_code": int(code),
    }


def _tell(report: BatchReport, target: Path) -> None:
    tally = report.tally
    if report.num_resumed:
        talk(f"Went on after {report.num_resumed} rows.")
    cost = money(tally.cost_microusd) + (
        f" and {tally.num_unpriced} rows of unknown price" if tally.num_unpriced else ""
    )
    students, frontier = tally.by_source.get("student", 0), tally.by_source.get("frontier", 0)
    rate = (tally.num_rows - report.num_resumed) / report.seconds if report.seconds else 0
    say(
        f"{tally.num_rows} of {report.num_rows} rows: {students} answered by the student "
        f"({tally.num_certified} certified), {frontier} by the frontier, {tally.num_open} open, "
        f"{tally.num_errors} with an error; {cost}; {rate:.0f} rows/s"
    )
    if report.trouble is not None:
        talk(f"The record is incomplete: {report.trouble}")
    if report.stop is not None:
        talk(f"{report.stop.reason} The same command goes on; {target} appears when all is done.")
    else:
        say(f"Output: {target}")
