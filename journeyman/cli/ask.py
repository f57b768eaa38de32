"""`journeyman ask`: one request, or one typed task, through the graph of a suite's sub-agents."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from journeyman.cli import completion
from journeyman.cli.console import ExitCode, emit, say, talk
from journeyman.cli.options import JsonOption, StoreOption, store_target

if TYPE_CHECKING:
    from journeyman.models.types import Answer


def ask(
    text: Annotated[str, typer.Argument(help="The request; - reads it from stdin.")] = "",
    agent: Annotated[
        str | None,
        typer.Option(
            autocompletion=completion.agents, help="Sub-agent; default: the router decides."
        ),
    ] = None,
    suite: Annotated[
        str,
        typer.Option(
            autocompletion=completion.suites,
            help="Suite whose sub-agents answer: a file or a shipped one's name.",
        ),
    ] = "desk",
    trust_uncertified: Annotated[
        bool, typer.Option(help="For experiments: accept what nobody certified.")
    ] = False,
    code: Annotated[
        Path | None, typer.Option(help="Debugging: the program that misbehaves.", exists=True)
    ] = None,
    tests: Annotated[
        Path | None, typer.Option(help="Debugging: tests that it fails.", exists=True)
    ] = None,
    traceback: Annotated[
        Path | None, typer.Option(help="Debugging: what it raised; never certified.", exists=True)
    ] = None,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """One request through the graph; prints each answer and where it came from.

    Examples:

      journeyman ask --agent retrieval "why is my list shared between calls?"

      journeyman ask "pandas 2.1.0 raises KeyError in loader.py line 88; why?"

      cat report.txt | journeyman ask - --json

      journeyman ask --agent debugging --code f.py --tests t.py
    """
    if text == "-":
        text = sys.stdin.read()
    typed = _repair(text, code, tests, traceback)
    if typed is not None:
        agent = agent or "debugging"
    elif not text.strip():
        raise typer.BadParameter("Give a request, or --code with --tests or --traceback.")
    seen = asyncio.run(_ask(text, typed, agent, suite, trust_uncertified, store_target(store)))
    answers = [answer for answer, _ in seen]
    for answer, attempt in seen:
        if json:
            emit({**answer.model_dump(mode="json"), "attempt": attempt})
        else:
            _print(answer, attempt)
    if not answers:
        talk(
            "The router finds no sub-agent for this request; name one with --agent "
            "if it is wrong (untaught, it goes by the descriptions alone)."
        )
        raise typer.Exit(ExitCode.NOTHING)
    if any(answer.error for answer in answers):
        talk("Some tasks have no trusted answer; what stood in the way is said above.")
        raise typer.Exit(ExitCode.ERROR)


def _repair(
    text: str, code: Path | None, tests: Path | None, traceback: Path | None
) -> dict[str, Any] | None:
    """The typed debugging task that the files make; None without any."""
    if code is None:
        if tests is not None or traceback is not None:
            raise typer.BadParameter("--tests and --traceback need the program: add --code.")
        return None
    if tests is None and traceback is None:
        raise typer.BadParameter("--code needs --tests, or --traceback, to judge a patch by.")
    from journeyman.agents.debug_request import entry_point_of

    program, judge = code.read_text("utf-8"), tests.read_text("utf-8") if tests else ""
    return {
        "code": program,
        "tests": judge,
        "traceback": traceback.read_text("utf-8") if traceback else "",
        "description": text,
        "entry_point": entry_point_of(program, judge),
    }


async def _ask(
    text: str,
    typed: dict[str, Any] | None,
    agent: str | None,
    suite: str,
    trust_uncertified: bool,
    target: str,
) -> list[tuple[Answer, dict[str, Any]]]:
    """Each answer with the event that told of the student's attempt."""
    from langchain_core.messages import HumanMessage

    from journeyman.graph.clients import forwarder_from, frontier_from
    from journeyman.graph.orchestrator import create_orchestrator
    from journeyman.graph.settings import load_settings
    from journeyman.graph.state import Context, RunInput, Task
    from journeyman.graph.trust import loaders_of, trust_from
    from journeyman.models.errors import UnknownAgent
    from journeyman.models.types import Answer
    from journeyman.scenarios.assembly import Staff, repairer, staff_for
    from journeyman.scenarios.paths import find_suite
    from journeyman.scenarios.suite import load_suite
    from journeyman.traces.recorder import Recorder
    from journeyman.traces.store import Store

    loaded = load_suite(find_suite(suite))
    alone = typed is not None and agent == "debugging"
    staff = Staff({"debugging": repairer(loaded)}) if alone else staff_for(loaded)
    settings = load_settings()
    staff = staff.served(settings)
    if agent is not None and agent not in staff.agents:
        raise UnknownAgent(
            f"No agent is named {agent!r}; suite {suite!r} has {', '.join(sorted(staff.agents))}."
        )
    given: RunInput = {"messages": [HumanMessage(text)]}
    if agent is not None:
        task = typed if typed is not None else staff.agents[agent].from_request(text)
        given = {"tasks": [Task(agent=agent, input=task if task is not None else {})]}
    forward = forwarder_from(settings.otlp)
    with Store.open(target) as store, Recorder(store, forward=forward) as recorder:
        frontier = frontier_from(settings, store)
        trust = trust_from(settings, store, loaders_of(staff.everyone.values()))
        graph = create_orchestrator(
            list(staff.agents.values()),
            frontier,
            store=recorder,
            router=staff.router,
            trust=trust,
        )
        context = Context(
            trust_uncertified=trust_uncertified, on_frontier_failure="return_uncertified"
        )
        attempts: dict[str, dict[str, Any]] = {}
        answers: list[Answer] = []
        stream = graph.astream(given, context=context, stream_mode="custom", subgraphs=True)
        async for part in stream:
            event: dict[str, Any] = part[1]  # type: ignore[index]  # (namespace, event)
            if event["type"] == "attempt":
                attempts[event["task_id"]] = event
            elif event["type"] == "answer":
                answers.append(Answer.model_validate(event["answer"]))
        trust.close()
        if frontier is not None:
            await frontier.aclose()
    kept = [answer for answer in answers if answer.agent in staff.agents]
    return [(answer, _told(attempts.get(answer.task_id, {}))) for answer in kept]


def _told(attempt: dict[str, Any]) -> dict[str, Any]:
    """What of an attempt is shown: what the student said, and the evidence about it."""
    return {key: attempt.get(key) for key in ("output", "note", "evidence")}


def _print(answer: Answer, attempt: dict[str, Any]) -> None:
    import json

    proposed = attempt["output"] or {}
    confidence = "none" if answer.confidence is None else f"{answer.confidence:.3f}"
    certified = "certified" if answer.certified else "not certified"
    say(f"{answer.agent}: answered by {answer.source}, {certified}, confidence {confidence}")
    if answer.reason:
        say(f"  escalated: {answer.reason}")
    if answer.error:
        say(f"  {answer.error}")
    if isinstance(answer.value, dict) and answer.value.get("diff"):
        _print_patch(answer.value)
    elif answer.value is not None:
        say(json.dumps(answer.value, ensure_ascii=False, indent=2))
    elif proposed.get("diff"):
        say("The student's proposal, which nothing vouches for:")
        _print_patch(proposed)
    if attempt["note"]:
        say(f"  {attempt['note']}")
    if answer.agent == "debugging" and attempt["evidence"]:
        told = (f"{name} {value:.3g}" for name, value in attempt["evidence"].items())
        say(f"  the student's evidence: {', '.join(told)}")
    say(f"  run {answer.run_id[:8]}, {answer.latency_ms:.0f} ms")


def _print_patch(patch: dict[str, Any]) -> None:
    """A patch as its diff, and what speaks for it."""
    say(patch["diff"].rstrip("\n"))
    tests = f"{patch['tests_passed']} of {patch['tests_total']} visible tests pass"
    say(f"  {tests}; proposed by {patch['proposed_by']} ({patch['description']})")
    if patch["rank"]:
        say(
            f"  candidate {patch['rank']} of {patch['candidates_tried']} tried; "
            f"{patch['num_passing']} pass, of which {patch['agreement']:.0%} by weight behave alike"
        )
