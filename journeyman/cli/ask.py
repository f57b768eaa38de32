"""`journeyman ask`: one request, or one typed task, through the graph of a suite's sub-agents."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from journeyman.cli.console import ExitCode, emit, say, talk
from journeyman.cli.options import JsonOption, StoreOption, store_target

if TYPE_CHECKING:
    from journeyman.models.types import Answer


def ask(
    text: Annotated[str, typer.Argument(help="The request; - reads it from stdin.")],
    agent: Annotated[
        str | None, typer.Option(help="Sub-agent; default: the router decides.")
    ] = None,
    suite: Annotated[
        str, typer.Option(help="Suite whose sub-agents answer: a file or a shipped one's name.")
    ] = "desk",
    trust_uncertified: Annotated[
        bool, typer.Option(help="For experiments: accept what nobody certified.")
    ] = False,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """One request through the graph; prints each answer and where it came from.

    Examples:

      journeyman ask "KeyError in loader.py line 88, pandas 2.1.0"

      journeyman ask --agent retrieval "why is my list shared between calls?"

      cat report.txt | journeyman ask - --json
    """
    if text == "-":
        text = sys.stdin.read()
    answers = asyncio.run(_ask(text, agent, suite, trust_uncertified, store_target(store)))
    for answer in answers:
        if json:
            emit(answer.model_dump(mode="json"))
        else:
            _print(answer)
    if not answers:
        talk("No sub-agent serves this request.")
        raise typer.Exit(ExitCode.NOTHING)
    if any(answer.error for answer in answers):
        talk("Some tasks have no trusted answer; set [frontier] in journeyman.toml for those.")
        raise typer.Exit(ExitCode.ERROR)


async def _ask(
    text: str, agent: str | None, suite: str, trust_uncertified: bool, target: str
) -> list[Answer]:
    from langchain_core.messages import HumanMessage

    from journeyman.graph.clients import frontier_from
    from journeyman.graph.orchestrator import create_orchestrator
    from journeyman.graph.settings import load_settings
    from journeyman.graph.state import Context, RunInput, Task
    from journeyman.models.errors import UnknownAgent
    from journeyman.scenarios.assembly import staff_for
    from journeyman.scenarios.paths import find_suite
    from journeyman.scenarios.suite import load_suite
    from journeyman.traces.recorder import Recorder
    from journeyman.traces.store import Store

    staff = staff_for(load_suite(find_suite(suite)))
    if agent is not None and agent not in staff.agents:
        raise UnknownAgent(
            f"No agent is named {agent!r}; suite {suite!r} has {', '.join(sorted(staff.agents))}."
        )
    given: RunInput = {"messages": [HumanMessage(text)]}
    if agent is not None:
        task = staff.agents[agent].from_request(text)
        given = {"tasks": [Task(agent=agent, input=task if task is not None else {})]}
    settings = load_settings()
    with Store.open(target) as store, Recorder(store) as recorder:
        frontier = frontier_from(settings, store)
        graph = create_orchestrator(
            list(staff.agents.values()), frontier, store=recorder, router=staff.router
        )
        context = Context(
            trust_uncertified=trust_uncertified, on_frontier_failure="return_uncertified"
        )
        result = await graph.ainvoke(given, context=context)
        if frontier is not None:
            await frontier.aclose()
    answers: dict[str, Any] = result["answers"]
    return [answer for answer in answers.values() if answer.agent in staff.agents]


def _print(answer: Answer) -> None:
    import json

    confidence = "none" if answer.confidence is None else f"{answer.confidence:.3f}"
    certified = "certified" if answer.certified else "not certified"
    say(f"{answer.agent}: answered by {answer.source}, {certified}, confidence {confidence}")
    if answer.reason:
        say(f"  escalated: {answer.reason}")
    if answer.error:
        say(f"  {answer.error}")
    if answer.value is not None:
        say(json.dumps(answer.value, ensure_ascii=False, indent=2))
    say(f"  run {answer.run_id[:8]}, {answer.latency_ms:.0f} ms")
