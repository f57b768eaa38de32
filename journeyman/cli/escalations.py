"""`journeyman escalations`: what went to the frontier, and what people say of its answers."""

from __future__ import annotations

import getpass
import json as json_module
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from journeyman.cli import completion
from journeyman.cli.cases import ENTRY_HEADERS, entry_row, plain_case, render_case
from journeyman.cli.console import ExitCode, emit, say, table, talk
from journeyman.cli.options import (
    AgentOption,
    JsonOption,
    LimitOption,
    StoreOption,
    open_store,
    store_target,
)

if TYPE_CHECKING:
    from journeyman.cli.reviewing import Answers
    from journeyman.traces.reviews import Verdict
    from journeyman.traces.store import Store

app = typer.Typer(
    help="""What went to the frontier, and what people say of its answers.

Examples:

  journeyman escalations list --agent extraction --review pending

  journeyman escalations show 0199a1b2-c3d4-7abc

  journeyman escalations review

A person's answer is a better label than the frontier's: the next round teaches and certifies by it.
""",
    no_args_is_help=True,
    rich_markup_mode=None,
)

ReasonName = Literal[
    "uncertified", "low_confidence", "invalid_output", "audit", "forced", "student_error"
]
ReasonOption = Annotated[ReasonName | None, typer.Option(help="Only those for this reason.")]


@app.command("list")
def list_escalations(
    agent: AgentOption = None,
    reason: ReasonOption = None,
    status: Annotated[
        Literal["answered", "failed", "queued"] | None,
        typer.Option(help="Only those that the frontier answered, failed, or has open."),
    ] = None,
    review: Annotated[
        Literal["pending", "approved", "edited", "rejected"] | None,
        typer.Option(help="Only those with this verdict."),
    ] = None,
    limit: LimitOption = 20,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Escalations, newest first.

    Examples:

      journeyman escalations list --reason audit --limit 50

      journeyman escalations list --review pending --json | jq -r .id
    """
    from dataclasses import asdict

    from journeyman.traces.reviews import entries

    with open_store(store) as opened:
        found = entries(
            opened,
            agent=agent,
            reason=reason,
            status=status,
            review_status=review,
            limit=limit or None,
        )
        name = opened.name
    if not found:
        talk(f"No such escalations are on record in {name}; --store names another trace store.")
        raise typer.Exit(ExitCode.NOTHING)
    if json:
        for entry in found:
            emit(asdict(entry))
        return
    say(table(ENTRY_HEADERS, [entry_row(entry) for entry in found], right=frozenset({6})))


@app.command("show")
def show_escalation(
    escalation: Annotated[str, typer.Argument(help="Id of an escalation, or how it starts.")],
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """One escalation: the task, both answers with their differences marked, and where it is from.

    Examples:

      journeyman escalations show 0199a1b2-c3d4-7abc

      journeyman escalations show 0199a1b2-c3d4-7abc --json | jq .differences
    """
    from journeyman.traces.reviews import find_case

    with open_store(store) as opened:
        case = find_case(opened, escalation)
    if json:
        emit(plain_case(case))
        return
    say(render_case(case))
    if case.status == "pending":
        talk(f"\nNext: journeyman escalations review {case.id[:18]} --approve | --edit | --reject")


@app.command("review")
def review_escalations(
    escalation: Annotated[
        str | None, typer.Argument(help="Id of an escalation; none goes through the queue.")
    ] = None,
    approve: Annotated[bool, typer.Option("--approve", help="The frontier is right.")] = False,
    student: Annotated[bool, typer.Option("--student", help="The student is right.")] = False,
    edit: Annotated[
        str | None,
        typer.Option("--edit", metavar="FILE|-", help="The right answer, as JSON."),
    ] = None,
    reject: Annotated[
        bool, typer.Option("--reject", help="Neither is right, and there is no answer.")
    ] = False,
    note: Annotated[str | None, typer.Option("--note", help="Kept with the verdict.")] = None,
    by: Annotated[
        str | None, typer.Option("--by", metavar="NAME", help="Who says so; default: your login.")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Replace a verdict; the record keeps both.")
    ] = False,
    suite: Annotated[
        str | None,
        typer.Option(
            autocompletion=completion.suites,
            help="Suite that says what answers look like; default: the recorded one.",
        ),
    ] = None,
    agent: AgentOption = None,
    reason: ReasonOption = None,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Say what the right answer is. Without an id: the queue, one by one, disagreements first.

    Examples:

      journeyman escalations review                    a to approve, e to edit, q to stop

      journeyman escalations review 0199a1b2-c3d4-7abc --approve

      journeyman escalations review 0199a1b2-c3d4-7abc --edit answer.json --note "total was net"

      jq .values.total=42 answer.json | journeyman escalations review 0199a1b2-c3d4-7abc --edit -

    An edited answer is checked against the sub-agent's output type before it is kept.
    """
    from journeyman.cli.reviewing import Answers
    from journeyman.traces.reviews import find_case
    from journeyman.traces.store import Store

    chosen = [approve, student, edit is not None, reject]
    if sum(chosen) > 1:
        raise typer.BadParameter("Give one of --approve, --student, --edit and --reject.")
    if any(chosen) and escalation is None:
        raise typer.BadParameter("A verdict needs the id of an escalation.")
    written = _written(edit)
    reviewer = by or _login()
    with Store.open(store_target(store), create=False) as opened:
        answers = Answers(suite)
        if not any(chosen):
            _go_through(opened, answers, escalation, agent, reason, reviewer, again)
            return
        assert escalation is not None, "checked above"
        case = find_case(opened, escalation)
        if student:
            done = answers.keep_students(opened, case, by=reviewer, note=note, again=again)
        else:
            verdict: Verdict = "approved" if approve else "rejected" if reject else "edited"
            done = answers.keep(
                opened, case, verdict, by=reviewer, answer=written, note=note, again=again
            )
    if json:
        emit(plain_case(done.case))
    else:
        talk(f"{done.case.id[:18]} is {done.case.status}, by {reviewer}.")


def _go_through(
    store: Store,
    answers: Answers,
    escalation: str | None,
    agent: str | None,
    reason: str | None,
    by: str,
    again: bool,
) -> None:
    from journeyman.cli.reviewing import Session
    from journeyman.cli.terminal import is_interactive
    from journeyman.traces.reviews import find_case, queue

    if not is_interactive():
        raise typer.BadParameter(
            "This is no terminal to ask on: give an id with --approve, --edit FILE, --student or "
            "--reject; `journeyman escalations list --review pending` has the ids."
        )
    if escalation is not None:
        waiting = [find_case(store, escalation).id]
    else:
        waiting = [entry.id for entry in queue(store, agent=agent, reason=reason)]
    if not waiting:
        talk("Nothing waits for a review.")
        raise typer.Exit(ExitCode.NOTHING)
    session = Session(store, answers, by=by, again=again)
    session.go_through(waiting)
    talk(session.summary())


def _written(edit: str | None) -> Any:
    """The answer that was given as a file; None without one."""
    if edit is None:
        return None
    from journeyman.models.errors import ConfigError

    try:
        text = sys.stdin.read() if edit == "-" else Path(edit).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The answer cannot be read ({error}): give a file of JSON.") from error
    try:
        return json_module.loads(text)
    except ValueError as error:
        raise ConfigError(f"The answer is not JSON ({error}): mend it and try again.") from error


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError) as error:
        raise typer.BadParameter("Who reviews is not known here: add --by NAME.") from error
