"""Journeyman: narrow sub-agents on small models you own, and a frontier model when in doubt.

Importing this package loads nothing heavy: names are resolved when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from journeyman.agents.base import Agent
    from journeyman.agents.extraction import Extraction, ExtractionTask, Record
    from journeyman.agents.retrieval import Ranking, Retrieval, RetrievalTask
    from journeyman.agents.routing import Plan, Route, Routing, RoutingTask
    from journeyman.graph.embedding import as_subagent, as_tool
    from journeyman.graph.orchestrator import create_orchestrator
    from journeyman.graph.state import Context, Task
    from journeyman.models.errors import JourneymanError
    from journeyman.models.frontier import Frontier
    from journeyman.models.types import Answer, Risk
    from journeyman.traces.recorder import Recorder
    from journeyman.traces.store import Store

__all__ = [
    "Agent",
    "Answer",
    "Context",
    "Extraction",
    "ExtractionTask",
    "Frontier",
    "JourneymanError",
    "Plan",
    "Ranking",
    "Record",
    "Recorder",
    "Retrieval",
    "RetrievalTask",
    "Risk",
    "Route",
    "Routing",
    "RoutingTask",
    "Store",
    "Task",
    "as_subagent",
    "as_tool",
    "create_orchestrator",
]

_HOMES = {
    "Agent": "agents.base",
    "Answer": "models.types",
    "Context": "graph.state",
    "Extraction": "agents.extraction",
    "ExtractionTask": "agents.extraction",
    "Frontier": "models.frontier",
    "JourneymanError": "models.errors",
    "Plan": "agents.routing",
    "Ranking": "agents.retrieval",
    "Record": "agents.extraction",
    "Recorder": "traces.recorder",
    "Retrieval": "agents.retrieval",
    "RetrievalTask": "agents.retrieval",
    "Risk": "models.types",
    "Route": "agents.routing",
    "Routing": "agents.routing",
    "RoutingTask": "agents.routing",
    "Store": "traces.store",
    "Task": "graph.state",
    "as_subagent": "graph.embedding",
    "as_tool": "graph.embedding",
    "create_orchestrator": "graph.orchestrator",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'journeyman' has no attribute {name!r}")
    return getattr(import_module(f"journeyman.{home}"), name)


def __dir__() -> list[str]:
    """The public names."""
    return __all__
