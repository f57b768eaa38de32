"""The serving graph: plan, dispatch in waves, collect, finish.

    plan -> dispatch -(Send)-> agent graph -> collect -> dispatch (next wave) -> finish

Sub-agents of one wave run in parallel; one that consumes another's answer runs in a later wave with
that answer in hand. Typed tasks are dispatched as they are; from plain messages the router plans.
Knows no model and no threshold: those belong to the sub-agents' graphs and the gate.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage
from langgraph.cache.base import BaseCache
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Checkpointer, Overwrite, Send
from pydantic import BaseModel, ConfigDict, ValidationError

from journeyman.agents.base import Agent
from journeyman.agents.waves import waves
from journeyman.graph.agent_graph import FrontierClient, Services, build_agent_graph
from journeyman.graph.nodes import Node, Step, SyncDoor
from journeyman.graph.recording import Journal
from journeyman.graph.standing import NoTrust, TrustSource
from journeyman.graph.state import (
    Context,
    Envelope,
    RunInfo,
    RunInput,
    RunOutput,
    RunState,
    Task,
)
from journeyman.models.errors import ConfigError, InvalidTask, LoopDetected, UnknownAgent
from journeyman.models.types import Answer
from journeyman.traces.recorder import Recorder
from journeyman.traces.records import new_span_id, new_trace_id
from journeyman.traces.store import Store

RESERVED = frozenset({"plan", "dispatch", "collect", "finish"})

Orchestrator = CompiledStateGraph[RunState, Context, RunInput, RunOutput]


def create_orchestrator(
    agents: Sequence[Agent[Any, Any]],
    frontier: FrontierClient | None,
    *,
    store: Recorder | Store | str | Path | None,
    router: Agent[Any, Any] | None = None,
    trust: TrustSource | None = None,
    context_schema: type[Any] = Context,
    checkpointer: Checkpointer = None,
    cache: BaseCache[Any] | None = None,
    interrupt_before: list[str] | None = None,
    interrupt_after: list[str] | None = None,
    name: str = "journeyman",
    debug: bool = False,
) -> Orchestrator:
    """Build the serving graph.

    Args:
        agents: The sub-agents, with unique names.
        frontier: The large model; None makes every escalation end by the failure policy.
        store: Where runs are recorded: a recorder, an open store, a SQLAlchemy URL or a file;
            None records nothing.
        router: The sub-agent that plans plain messages; not needed for typed tasks, nor where there
            is one sub-agent only.
        trust: What has been certified; None is the cold start, where everything escalates.
        context_schema: `Context` or a subclass.
        checkpointer: None inherits the host graph's.
        cache: LangGraph's cache, for graphs that are built around this one: no node here has a
            cache policy, since a cached answer would be on no record.
        interrupt_before: Nodes to pause before.
        interrupt_after: Nodes to pause after.
        name: Name of the graph, in traces and as a node.
        debug: LangGraph's debug output.

    Returns:
        A compiled graph: input `{"tasks": [Task, ...]}` or `{"messages": [...]}`, output
        `{"answers": {task id: Answer}, "messages": [...], "run_id": ...}`.

    Raises:
        ConfigError: Names clash, or sub-agents consume each other in a circle.
    """
    everyone = [*agents, *([router] if router is not None else [])]
    _check_names(everyone)
    waves([agent.name for agent in agents], {agent.name: agent.consumes for agent in agents})
    journal = Journal(_recorder(store), graph=name)
    services = Services(frontier, journal, trust or NoTrust(), SyncDoor())
    nodes = OrchestratorNodes(agents, router, journal)
    graph = StateGraph(
        RunState, context_schema=context_schema, input_schema=RunInput, output_schema=RunOutput
    )
    graph.add_node("plan", Node("plan", nodes.plan, services.door))
    for step in ("dispatch", "collect", "finish"):
        function = journal.watched(getattr(nodes, step))
        graph.add_node(step, Node(step, function, services.door))
    for agent in everyone:
        graph.add_node(agent.name, build_agent_graph(agent, services))
        graph.add_edge(agent.name, "collect")
    graph.add_edge(START, "plan")
    graph.add_edge("plan", "dispatch")
    graph.add_conditional_edges("dispatch", _send, [agent.name for agent in everyone] + ["finish"])
    graph.add_edge("collect", "dispatch")
    graph.add_edge("finish", END)
    return graph.compile(
        checkpointer=checkpointer,
        cache=cache,
        interrupt_before=interrupt_before,
        interrupt_after=interrupt_after,
        name=name,
        debug=debug,
    )


class GivenTask(BaseModel):
    """A `Task` as it was given, with every key checked."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    agent: str
    input: Any
    id: str = ""


class OrchestratorNodes:
    """The node functions of the orchestrator."""

    def __init__(
        self,
        agents: Sequence[Agent[Any, Any]],
        router: Agent[Any, Any] | None,
        journal: Journal,
    ) -> None:
        self._agents = {agent.name: agent for agent in agents}
        self._router = router
        self._journal = journal

    async def plan(self, state: RunState, step: Step) -> dict[str, Any]:
        """Open the run and lay out its first waves."""
        run = RunInfo(
            run_id=new_trace_id(),
            span_id=new_span_id(),
            started_at=time.time(),
            epoch=step.context.epoch,
            tags=list(step.context.tags),
        )
        self._journal.run_started(
            run,
            given=_given(state),
            context=step.context,
            session_id=step.configurable.get("thread_id"),
        )
        planned = await self._journal.watched(self._first_waves)({**state, "run": run}, step)
        return {
            # A thread may hold an earlier turn's values; this run starts afresh.
            "run": run,
            "run_id": run["run_id"],
            "waves": planned,
            "dispatched": [],
            "done": Overwrite({}),
            "tallies": Overwrite({}),
        }

    async def _first_waves(self, state: RunState, step: Step) -> list[list[Envelope]]:
        tasks = state.get("tasks")
        if tasks:
            planned = self._in_waves(self._envelopes([_checked(task) for task in tasks]))
            self._tell(state["run"], step, planned)
            return planned
        text = _last_request(state.get("messages", []))
        if self._router is not None:
            task = self._router.validate({"text": text})
            return [[self._envelope(self._router, task, f"{self._router.name}-1")]]
        if len(self._agents) == 1:
            (agent,) = self._agents.values()
            task = agent.from_request(text)
            if task is None:
                raise InvalidTask(
                    f"Agent {agent.name!r} finds no {agent.input_type.__name__} in the request; "
                    f"pass typed `tasks` instead.",
                    agent=agent.name,
                )
            return [[self._envelope(agent, task, f"{agent.name}-1")]]
        raise ConfigError(
            "The input holds messages but this graph has several sub-agents and no router; "
            "pass `router=` to create_orchestrator, or typed `tasks`."
        )

    async def dispatch(self, state: RunState, step: Step) -> dict[str, Any]:
        """Check that the run still ends, before the next wave leaves."""
        if not state["waves"]:
            return {}
        prints = [task["agent"] + ":" + task["key"] for task in state["waves"][0]]
        done = state["dispatched"]
        if len(done) + len(prints) > step.context.max_steps:
            raise LoopDetected(
                f"Run {state['run_id']!r} would dispatch more than {step.context.max_steps} tasks; "
                f"raise `max_steps` in its context if that is meant."
            )
        repeated = [print_ for print_ in prints if print_ in done]
        if repeated:
            raise LoopDetected(
                f"Run {state['run_id']!r} would dispatch a task of agent "
                f"{repeated[0].partition(':')[0]!r} that it has answered already; "
                f"check what the router plans."
            )
        return {"dispatched": done + prints}

    async def collect(self, state: RunState, step: Step) -> dict[str, Any]:
        """A wave is done: drop it, and where it was the router's, lay out what it planned."""
        rest = state["waves"][1:]
        name = self._router.name if self._router is not None else None
        if name is None or state["waves"][0][0]["agent"] != name:
            return {"waves": rest}
        answer = state["done"][state["waves"][0][0]["id"]]
        steps = (answer["value"] or {}).get("steps", [])
        tasks = [GivenTask(agent=planned["agent"], input=planned["input"]) for planned in steps]
        planned = self._in_waves(self._envelopes(tasks))
        self._tell(state["run"], step, planned)
        return {"waves": planned}

    async def finish(self, state: RunState, _: Step) -> dict[str, Any]:
        """Everything is answered: close the record, then let the answers out."""
        done = state["done"]
        answers = {task_id: Answer.model_validate(value) for task_id, value in done.items()}
        await self._journal.run_ended(
            state["run"], output=done, answers=answers, tallies=state["tallies"]
        )
        told = AIMessage(content=_summary(answers, self._router), name="journeyman")
        return {"answers": answers, "messages": [told]}

    def _envelopes(self, tasks: Sequence[GivenTask]) -> list[Envelope]:
        counts: dict[str, int] = {}
        envelopes = []
        for task in tasks:
            agent = self._agents.get(task.agent)
            if agent is None:
                known = ", ".join(sorted(self._agents))
                raise UnknownAgent(
                    f"No agent is named {task.agent!r}; this graph has {known}.", agent=task.agent
                )
            counts[task.agent] = counts.get(task.agent, 0) + 1
            task_id = task.id or f"{task.agent}-{counts[task.agent]}"
            envelopes.append(self._envelope(agent, agent.validate(task.input), task_id))
        ids = [envelope["id"] for envelope in envelopes]
        if len(set(ids)) < len(ids):
            twice = next(task_id for task_id in ids if ids.count(task_id) > 1)
            raise InvalidTask(f"Two tasks share the id {twice!r}; give each its own.")
        return envelopes

    @staticmethod
    def _envelope(agent: Agent[Any, Any], task: Any, task_id: str) -> Envelope:
        data = task.model_dump(mode="json")
        return Envelope(id=task_id, agent=agent.name, key=agent.task_key(task), input=data)

    def _in_waves(self, envelopes: Sequence[Envelope]) -> list[list[Envelope]]:
        consumes = {name: agent.consumes for name, agent in self._agents.items()}
        order = waves([envelope["agent"] for envelope in envelopes], consumes)
        return [[task for task in envelopes if task["agent"] in wave] for wave in order]

    def _tell(self, run: RunInfo, step: Step, planned: Sequence[Sequence[Envelope]]) -> None:
        laid_out = [[{"id": t["id"], "agent": t["agent"]} for t in wave] for wave in planned]
        step.emit({"type": "plan", "run_id": run["run_id"], "waves": laid_out})


def _send(state: RunState) -> list[Send] | str:
    if not state["waves"]:
        return "finish"
    upstream = {
        answer["agent"]: answer["value"]
        for answer in state["done"].values()
        if answer["value"] is not None
    }
    return [
        Send(task["agent"], {"task": task, "run": state["run"], "upstream": upstream})
        for task in state["waves"][0]
    ]


def _check_names(agents: Sequence[Agent[Any, Any]]) -> None:
    if not agents:
        raise ConfigError("create_orchestrator needs at least one agent.")
    names = [agent.name for agent in agents]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"Two agents are named {name!r}; names must be unique in a graph.")
        if name in RESERVED or not name.isidentifier():
            raise ConfigError(
                f"An agent cannot be named {name!r}: use letters, digits and underscores, and none "
                f"of {', '.join(sorted(RESERVED))}."
            )


def _recorder(store: Recorder | Store | str | Path | None) -> Recorder | None:
    if store is None or isinstance(store, Recorder):
        return store
    return Recorder(store if isinstance(store, Store) else Store.open(store))


def _checked(task: Task) -> GivenTask:
    try:
        return GivenTask.model_validate(task)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the task"
        raise InvalidTask(
            f"An entry of `tasks` is no Task: {where}: {first['msg']}; give `agent` and `input`."
        ) from error


def _given(state: RunState) -> Any:
    if state.get("tasks"):
        return {
            "tasks": [
                {"agent": task.agent, "id": task.id, "input": _plain(task.input)}
                for task in map(_checked, state["tasks"])
            ]
        }
    return {"messages": [message.text for message in state.get("messages", [])[-1:]]}


def _plain(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    return dump(mode="json") if dump is not None else value


def _last_request(messages: Sequence[BaseMessage]) -> str:
    for message in reversed(messages):
        if message.type == "human" and message.text.strip():
            return message.text
    raise InvalidTask("The input holds neither tasks nor a message of a person; pass one of them.")


def _summary(answers: Mapping[str, Answer], router: Agent[Any, Any] | None) -> str:
    """What a host that speaks in messages is told."""
    routing = router.name if router is not None else None
    given = {key: answer for key, answer in answers.items() if answer.agent != routing}
    failed = next((a.error for a in answers.values() if a.agent == routing and a.error), None)
    if not given and failed is not None:
        return f"The request could not be routed: {failed}"
    if not given:
        return "No sub-agent serves this request."
    return json.dumps(
        {
            key: {"value": answer.value, "source": answer.source, "certified": answer.certified}
            for key, answer in given.items()
        },
        ensure_ascii=False,
    )
