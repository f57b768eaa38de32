"""`journeyman traces`: what happened, from the trace store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from journeyman.cli.console import ExitCode, emit, money, say, table, talk
from journeyman.cli.options import JsonOption, StoreOption, open_store

if TYPE_CHECKING:
    from journeyman.traces.reads import RunSummary, RunTrace, SpanNode

app = typer.Typer(
    help="""What happened, from the trace store.

Examples:

  journeyman traces list --agent extraction

  journeyman traces show 3f2a
""",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("list")
def list_runs(
    store: StoreOption = None,
    limit: Annotated[int, typer.Option("-n", "--limit", min=0, help="How many; 0 for all.")] = 20,
    agent: Annotated[str | None, typer.Option(help="Runs with a task for this sub-agent.")] = None,
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
    if json:
        for run in runs:
            emit(_plain(run))
        return
    rows = [_row(run) for run in runs]
    headers = ["run", "started", "status", "tasks", "escalated", "cost", "ms", "input"]
    say(table(headers, rows, right=frozenset({3, 4, 5, 6})))


@app.command("show")
def show_run(
    run: Annotated[str, typer.Argument(help="Id of a run, or how it starts.")],
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


def _row(run: RunSummary) -> list[str]:
    return [
        run.id[:8],
        f"{run.started_at:%Y-%m-%d %H:%M:%S}",
        run.status,
        str(run.num_tasks),
        str(run.num_escalations),
        money(run.cost_microusd),
        "" if run.duration_ms is None else f"{run.duration_ms:.0f}",
        (run.input_preview or "").replace("\n", " ")[:50],
    ]


def _print_trace(trace: RunTrace) -> None:
    run = trace.run
    say(f"run {run.id}  {run.status}  {run.started_at:%Y-%m-%d %H:%M:%S} UTC")
    if run.error_message:
        say(f"{run.error_type}: {run.error_message}")
    say()
    for node in trace.spans:
        _print_span(node, 0)
    for attempt in trace.attempts:
        say()
        reason = f" ({attempt.reason})" if attempt.reason else ""
        say(f"{attempt.agent} {attempt.task_id}: {attempt.decision}{reason} -> {attempt.source}")
        say(f"  release    {attempt.release}")
        if attempt.note:
            say(f"  note       {attempt.note}")
        say(f"  student    {_short(attempt.output)}")
        say(f"  answer     {_short(attempt.answer)}")
        numbers = "  ".join(f"{name}={value:.3g}" for name, value in attempt.evidence.items())
        say(f"  evidence   {numbers or 'none'}")
        failed = [check["name"] for check in attempt.checks if not check["passed"]]
        say(f"  checks     {'failed: ' + ', '.join(failed) if failed else 'passed'}")
    for escalation in trace.escalations:
        agreed = {True: "agrees", False: "differs", None: "unknown"}[escalation.agreement]
        say()
        say(
            f"escalation {escalation.agent}: {escalation.status} by {escalation.frontier_model}, "
            f"{money(escalation.cost_microusd)}, student {agreed}"
        )


def _print_span(node: SpanNode, depth: int) -> None:
    span = node.span
    name = "  " * depth + span.name
    mark = "" if span.status == "ok" else f"  {span.status}: {span.status_message}"
    say(f"{name:<46} {span.duration_ms:>9.1f} ms{mark}")
    for child in node.children:
        _print_span(child, depth + 1)


def _short(value: Any, limit: int = 160) -> str:
    import json

    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _plain(value: Any) -> Any:
    from dataclasses import asdict

    return asdict(value)
