"""`journeyman traces`: what happened, from the trace store."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from journeyman.cli.console import ExitCode, emit, money, say, table, talk
from journeyman.cli.options import (
    AgentOption,
    JsonOption,
    LimitOption,
    RunArgument,
    SinceOption,
    StoreOption,
    open_store,
    since,
)
from journeyman.cli.terminal import harmless

if TYPE_CHECKING:
    from journeyman.traces.reads import RunSummary, RunTrace, SpanNode

app = typer.Typer(
    help="""What happened, from the trace store.

Examples:

  journeyman traces list --agent extraction

  journeyman traces show 3f2a

  journeyman traces search "connection refused"
""",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("list")
def list_runs(
    store: StoreOption = None,
    limit: LimitOption = 20,
    agent: AgentOption = None,
    status: Annotated[
        Literal["running", "ok", "error", "interrupted", "cancelled"] | None,
        typer.Option(help="Only runs that stand so."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """The latest runs, newest first.

    Examples:

      journeyman traces list

      journeyman traces list --agent retrieval --status error --json
    """
    with open_store(store) as opened:
        runs = opened.runs(limit or None, agent=agent, status=status)
        name = opened.name
    if not runs:
        talk(f"No such runs are on record in {name}; --store names another trace store.")
        raise typer.Exit(ExitCode.NOTHING)
    _print_runs(runs, json=json)


@app.command("show")
def show_run(
    run: RunArgument,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """One run: its spans as a tree, its attempts with their evidence, its escalations.

    Examples:

      journeyman traces show 3f2a

      journeyman traces show 3f2a --json | jq .attempts
    """
    with open_store(store) as opened:
        trace = opened.run(run)
    if json:
        emit(_plain(trace))
        return
    _print_trace(trace)


@app.command("search")
def search_runs(
    words: Annotated[
        list[str], typer.Argument(metavar="TEXT...", help="What was said, in any case.")
    ],
    store: StoreOption = None,
    limit: LimitOption = 20,
    agent: AgentOption = None,
    since_: SinceOption = None,
    json: JsonOption = False,
) -> None:
    """Runs in which something was said, newest first.

    Examples:

      journeyman traces search "connection refused"

      journeyman traces search KeyError --agent debugging --since 7d --json | jq -r .id

    Finds runs that hold every word of what was asked or answered, and those whose preview or error
    has the text as it stands. Exit code 5 where there are none.
    """
    from journeyman.traces.search import search

    phrase = " ".join(words)
    with open_store(store) as opened:
        runs = search(opened, phrase, limit or None, agent=agent, since=since(since_))
        name = opened.name
    if not runs:
        talk(f"No run in {name} says {phrase!r}.")
        raise typer.Exit(ExitCode.NOTHING)
    _print_runs(runs, json=json)


@app.command("diff")
def diff_runs(
    first: RunArgument,
    second: RunArgument,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Two runs side by side: answers, sources, cost and time, with the differences marked.

    Examples:

      journeyman traces diff 3f2a 81c0

      journeyman traces diff 3f2a 81c0 --json | jq '.tasks[] | select(.differs)'

    Exit code 0 where the answers are the same and from the same source, 1 where they differ.
    """
    from journeyman.cli.run_pair import plain_pair, render_pair
    from journeyman.traces.run_diff import pair_tasks

    with open_store(store) as opened:
        left, right = opened.run(first), opened.run(second)
    pairs = pair_tasks(left, right)
    if json:
        emit(plain_pair(left, right, pairs))
    else:
        say(render_pair(left, right, pairs))
    if any(pair.differs for pair in pairs):
        raise typer.Exit(ExitCode.FAILED)


@app.command("export")
def export_runs(
    form: Annotated[
        Literal["jsonl", "openai", "otlp"],
        typer.Option(
            "--format",
            help="jsonl: whole runs; openai: labelled tasks as chat, the form of its fine-tuning; "
            "otlp: spans as OpenTelemetry's file exporter writes them.",
        ),
    ] = "jsonl",
    content: Annotated[
        bool, typer.Option("--content", help="With otlp: what was asked and answered as well.")
    ] = False,
    agent: AgentOption = None,
    since_: SinceOption = None,
    store: StoreOption = None,
) -> None:
    """Runs, or the labelled tasks in them, as JSON Lines on stdout.

    Examples:

      journeyman traces export --since 7d > runs.jsonl

      journeyman traces export --format openai --agent extraction > train.jsonl

      journeyman traces export --format otlp --since 1d > spans.jsonl

    With `openai` every task is written once, with its best label. Tasks that may not train, that a
    person rejected, or that a round set apart for its proofs are left out.
    """
    from journeyman.traces.run_export import exported_runs, lessons

    _check_otlp(form)
    moment = since(since_)
    written = unsplit = 0
    left_out: Counter[str] = Counter()
    with open_store(store) as opened:
        if form == "jsonl":
            for run in exported_runs(opened, agent=agent, since=moment):
                written += 1
                emit(run)
        elif form == "otlp":
            from journeyman.traces.otlp import otlp_runs

            for request in otlp_runs(opened, agent=agent, since=moment, content=content):
                written += 1
                emit(request)
        else:
            for lesson in lessons(opened, agent=agent, since=moment):
                if lesson.messages is None:
                    left_out[lesson.left_out] += 1
                    continue
                written += 1
                unsplit += not lesson.is_split
                emit({"messages": lesson.messages})
        name = opened.name
    for reason, number in sorted(left_out.items()):
        talk(f"{number} left out: {reason}")
    if unsplit:
        talk(
            f"{unsplit} of {written} belong to no round yet: one that comes may set them apart for "
            "its proofs, so certify nothing here that was trained on them."
        )
    if not written:
        talk(f"Nothing to export is on record in {name}.")
        raise typer.Exit(ExitCode.NOTHING)


@app.command("tail")
def tail_runs(
    limit: LimitOption = 10,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="Go on with what comes, until Ctrl-C.")
    ] = False,
    agent: AgentOption = None,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """The latest runs, oldest first, and with -f those that come.

    Examples:

      journeyman traces tail -f

      journeyman traces tail -n 100 --agent extraction --json

    A run is shown once it has ended.
    """
    from journeyman.cli.follow import follow_runs

    with open_store(store) as opened:
        for run in follow_runs(opened, limit or None, agent=agent, follow=follow):
            if json:
                emit(_plain(run))
            else:
                say("  ".join(_row(run)))
                sys.stdout.flush()


def _check_otlp(form: str) -> None:
    """Refuse a form that cannot be written here.

    Raises:
        ConfigError: The `otlp` extra is not installed.
    """
    from importlib.util import find_spec

    from journeyman.models.errors import ConfigError

    if form == "otlp" and find_spec("opentelemetry.exporter") is None:
        raise ConfigError("OTLP needs the `otlp` extra: pip install 'journeyman[otlp]'.")


def _print_runs(runs: Sequence[RunSummary], *, json: bool) -> None:
    if json:
        for run in runs:
            emit(_plain(run))
        return
    headers = ["run", "started", "status", "tasks", "escalated", "cost", "ms", "input"]
    say(table(headers, [_row(run) for run in runs], right=frozenset({3, 4, 5, 6})))


def _row(run: RunSummary) -> list[str]:
    return [
        run.id[:8],
        f"{run.started_at:%Y-%m-%d %H:%M:%S}",
        run.status,
        str(run.num_tasks),
        str(run.num_escalations),
        money(run.cost_microusd),
        "" if run.duration_ms is None else f"{run.duration_ms:.0f}",
        harmless((run.input_preview or "").replace("\n", " ")[:50]),
    ]


def _print_trace(trace: RunTrace) -> None:
    run = trace.run
    say(f"run {run.id}  {run.status}  {run.started_at:%Y-%m-%d %H:%M:%S} UTC")
    if run.error_message:
        _tell(f"{run.error_type}: {run.error_message}")
    say()
    for node in trace.spans:
        _print_span(node, 0)
    for attempt in trace.attempts:
        say()
        reason = f" ({attempt.reason})" if attempt.reason else ""
        _tell(f"{attempt.agent} {attempt.task_id}: {attempt.decision}{reason} -> {attempt.source}")
        say(f"  release    {attempt.release}")
        if attempt.note:
            _tell(f"  note       {attempt.note}")
        _tell(f"  student    {_short(attempt.output)}")
        _tell(f"  answer     {_short(attempt.answer)}")
        numbers = "  ".join(f"{name}={value:.3g}" for name, value in attempt.evidence.items())
        _tell(f"  evidence   {numbers or 'none'}")
        failed = [check["name"] for check in attempt.checks if not check["passed"]]
        _tell(f"  checks     {'failed: ' + ', '.join(failed) if failed else 'passed'}")
    for escalation in trace.escalations:
        agreed = {True: "agrees", False: "differs", None: "unknown"}[escalation.agreement]
        say()
        _tell(
            f"escalation {escalation.agent}: {escalation.status} by {escalation.frontier_model}, "
            f"{money(escalation.cost_microusd)}, student {agreed}"
        )


def _print_span(node: SpanNode, depth: int) -> None:
    span = node.span
    name = "  " * depth + span.name
    mark = "" if span.status == "ok" else f"  {span.status}: {span.status_message}"
    _tell(f"{name:<46} {span.duration_ms:>9.1f} ms{mark}")
    for child in node.children:
        _print_span(child, depth + 1)


def _tell(text: str) -> None:
    """Say what models, users and servers wrote, which a terminal must not take for orders."""
    say(harmless(text))


def _short(value: Any, limit: int = 160) -> str:
    import json

    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _plain(value: Any) -> Any:
    from dataclasses import asdict

    return asdict(value)
