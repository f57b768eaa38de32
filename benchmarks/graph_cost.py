"""What dispatch, gate and record cost: our graph against a bare one of the same shape."""

from __future__ import annotations

import asyncio
import operator
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import Send
from pydantic import BaseModel

from journeyman.agents.base import Agent
from journeyman.graph.orchestrator import create_orchestrator
from journeyman.graph.state import Task
from journeyman.models.types import Attempt, FrontierReply, FrontierRequest, Usage
from journeyman.traces.recorder import Recorder
from journeyman.traces.store import Store

ROUNDS = 5
RUNS_PER_ROUND = 100


class Text(BaseModel):
    """A task of one string."""

    text: str


class Length:
    """A scripted student: the length of the text."""

    def predict(self, items: Sequence[str]) -> list[int]:
        """Lengths."""
        return [len(item) for item in items]

    def fingerprint(self) -> str:
        """Constant."""
        return "length"


class Scripted(Agent[Text, Text]):
    """A sub-agent without a model."""

    name = "scripted"
    description = "Answers at once."
    input_type = Text
    output_type = Text

    def __init__(self) -> None:
        super().__init__(Length())

    def render(self, task: Text) -> str:
        """The text."""
        return task.text

    def parse(self, task: Text, raw: int) -> Text:
        """The text again."""
        return task

    def evidence(self, task: Text, raw: int, output: Text | None) -> dict[str, float]:
        """One number."""
        return {"length": float(raw)}

    def frontier_request(self, task: Text, attempt: Attempt) -> FrontierRequest:
        """One message."""
        message = {"role": "user", "content": task.text}
        return FrontierRequest((message,), Text.model_json_schema(), "text")

    def agrees(self, first: Text, second: Text) -> bool:
        """Equal texts."""
        return first == second


class AtOnce:
    """A scripted frontier."""

    model = "scripted"

    async def complete(self, request: FrontierRequest, *, run_id: str = "") -> FrontierReply:
        """The task's own text."""
        data = {"text": request.messages[-1]["content"]}
        return FrontierReply(data, "", self.model, "", Usage(10, 5), 1, 0.0)


class BareState(TypedDict):
    """What a bare orchestrator carries."""

    tasks: list[dict[str, Any]]
    answers: Annotated[dict[str, Any], operator.or_]


class BareAgentState(TypedDict):
    """What a bare sub-agent carries."""

    task: dict[str, Any]
    raw: int
    accepted: bool
    answers: Annotated[dict[str, Any], operator.or_]


def bare_graph() -> Any:
    """Plan, dispatch, one sub-agent's graph, collect, finish; scripted, nothing recorded."""

    async def attempt(state: BareAgentState) -> dict[str, Any]:
        return {"raw": len(state["task"]["input"]["text"])}

    async def gate(state: BareAgentState) -> dict[str, Any]:
        return {"accepted": False}

    async def answer(state: BareAgentState) -> dict[str, Any]:
        return {"answers": {state["task"]["id"]: state["task"]["input"]}}

    inner = StateGraph(BareAgentState)
    for name, function in (
        ("attempt", attempt),
        ("gate", gate),
        ("accept", answer),
        ("escalate", answer),
    ):
        inner.add_node(name, function)
    inner.add_edge(START, "attempt")
    inner.add_edge("attempt", "gate")
    inner.add_conditional_edges(
        "gate", lambda s: "accept" if s["accepted"] else "escalate", ["accept", "escalate"]
    )
    inner.add_edge("accept", END)
    inner.add_edge("escalate", END)

    async def plan(state: BareState) -> dict[str, Any]:
        return {"tasks": state["tasks"]}

    async def dispatch(state: BareState) -> dict[str, Any]:
        return {}

    async def collect(state: BareState) -> dict[str, Any]:
        return {"tasks": []}

    async def finish(state: BareState) -> dict[str, Any]:
        return {}

    def send(state: BareState) -> list[Send] | str:
        return [Send("scripted", {"task": task}) for task in state["tasks"]] or "finish"

    outer = StateGraph(BareState)
    for name, function in (
        ("plan", plan),
        ("dispatch", dispatch),
        ("collect", collect),
        ("finish", finish),
    ):
        outer.add_node(name, function)
    outer.add_node("scripted", inner.compile())
    outer.add_edge(START, "plan")
    outer.add_edge("plan", "dispatch")
    outer.add_conditional_edges("dispatch", send, ["scripted", "finish"])
    outer.add_edge("scripted", "collect")
    outer.add_edge("collect", "dispatch")
    outer.add_edge("finish", END)
    return outer.compile()


async def _per_task_ms(run: Callable[[int], Awaitable[Any]], *, at_once: int) -> float:
    start = time.perf_counter()
    for first in range(0, RUNS_PER_ROUND, at_once):
        await asyncio.gather(*(run(n) for n in range(first, first + at_once)))
    return (time.perf_counter() - start) * 1000 / RUNS_PER_ROUND


async def _measure(folder: Path) -> list[str]:
    lines = []
    with Store.open(folder / "bench.db") as store, Recorder(store) as recorder:
        ours = create_orchestrator([Scripted()], AtOnce(), store=recorder)
        silent = create_orchestrator([Scripted()], AtOnce(), store=None)
        bare = bare_graph()

        async def run_ours(n: int) -> None:
            await ours.ainvoke({"tasks": [Task(agent="scripted", input={"text": f"task {n}"})]})

        async def run_silent(n: int) -> None:
            await silent.ainvoke({"tasks": [Task(agent="scripted", input={"text": f"task {n}"})]})

        async def run_bare(n: int) -> None:
            await bare.ainvoke({"tasks": [{"id": "1", "input": {"text": f"task {n}"}}]})

        for at_once in (1, 10):
            times: dict[str, list[float]] = {"bare": [], "unrecorded": [], "recorded": []}
            for _ in range(ROUNDS):  # interleaved, so that a busy machine slows all alike
                times["bare"].append(await _per_task_ms(run_bare, at_once=at_once))
                times["unrecorded"].append(await _per_task_ms(run_silent, at_once=at_once))
                times["recorded"].append(await _per_task_ms(run_ours, at_once=at_once))
            middle = {name: statistics.median(values) for name, values in times.items()}
            lines.append(
                f"graph, {at_once:>2} at once: bare {middle['bare']:.2f} ms a task"
                + "".join(
                    f", {name} {middle[name]:.2f} ms ({middle[name] / middle['bare']:.2f}x)"
                    for name in ("unrecorded", "recorded")
                )
            )
    return lines


def measure() -> list[str]:
    """Lines of the report."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_measure(Path(folder)))
