"""The orchestrator inside other people's programs: as a LangChain tool, as a deepagents sub-agent.

As a node of a host graph it needs nothing from here: it is a compiled graph.
"""

from __future__ import annotations

from typing import Any, TypedDict

from langchain_core.tools import StructuredTool

from journeyman.agents.base import Agent
from journeyman.graph.orchestrator import Orchestrator
from journeyman.graph.state import RunInput, Task


class SubAgent(TypedDict):
    """The form in which deepagents takes a compiled graph (its `CompiledSubAgent`)."""

    name: str
    description: str
    runnable: Orchestrator


def as_tool(graph: Orchestrator, agent: Agent[Any, Any]) -> StructuredTool:
    """One sub-agent of a graph as a LangChain tool, with its input type as arguments.

    The tool returns the answer as JSON-compatible data, with its source and whether it is
    certified.
    """

    def one_task(arguments: dict[str, Any]) -> RunInput:
        return {"tasks": [Task(agent=agent.name, input=arguments, id="task")]}

    def call(**arguments: Any) -> dict[str, Any]:
        result = graph.invoke(one_task(arguments))
        return _told(result)

    async def acall(**arguments: Any) -> dict[str, Any]:
        result = await graph.ainvoke(one_task(arguments))
        return _told(result)

    return StructuredTool.from_function(
        func=call,
        coroutine=acall,
        name=agent.name,
        description=agent.description,
        args_schema=agent.input_type,
    )


def as_subagent(graph: Orchestrator, *, description: str, name: str = "journeyman") -> SubAgent:
    """The whole graph as a sub-agent for deepagents: messages in, messages out."""
    return SubAgent(name=name, description=description, runnable=graph)


def _told(result: dict[str, Any]) -> dict[str, Any]:
    answer = result["answers"]["task"]
    told: dict[str, Any] = answer.model_dump(
        mode="json", include={"value", "source", "certified", "reason", "run_id"}
    )
    return told
