"""Journeyman: narrow sub-agents on small models you own, and a frontier model when in doubt.

Importing this package loads nothing heavy: names are resolved when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from journeyman.agents.base import Agent
    from journeyman.agents.debugging import Debugging
    from journeyman.agents.extraction import Extraction, ExtractionTask, Record
    from journeyman.agents.retrieval import Ranking, Retrieval, RetrievalTask
    from journeyman.agents.routing import Plan, Route, Routing, RoutingTask
    from journeyman.agents.trainer import Lesson, Trained, Trainer
    from journeyman.graph.embedding import as_subagent, as_tool
    from journeyman.graph.orchestrator import create_orchestrator
    from journeyman.graph.round import run_round
    from journeyman.graph.round_report import RoundReport
    from journeyman.graph.round_state import RoundOptions
    from journeyman.graph.state import Context, Task
    from journeyman.graph.trust import ReleaseTrust, loaders_of
    from journeyman.models.errors import JourneymanError
    from journeyman.models.frontier import Frontier
    from journeyman.models.release import Release
    from journeyman.models.types import Answer, Risk
    from journeyman.traces.recorder import Recorder
    from journeyman.traces.registry import Registry
    from journeyman.traces.store import Store

__all__ = [
    "Agent",
    "Answer",
    "Context",
    "Debugging",
    "Extraction",
    "ExtractionTask",
    "Frontier",
    "JourneymanError",
    "Lesson",
    "Plan",
    "Ranking",
    "Record",
    "Recorder",
    "Registry",
    "Release",
    "ReleaseTrust",
    "Retrieval",
    "RetrievalTask",
    "Risk",
    "RoundOptions",
    "RoundReport",
    "Route",
    "Routing",
    "RoutingTask",
    "Store",
    "Task",
    "Trained",
    "Trainer",
    "as_subagent",
    "as_tool",
    "create_orchestrator",
    "loaders_of",
    "run_round",
]

_HOMES = {
    "Agent": "agents.base",
    "Answer": "models.types",
    "Context": "graph.state",
    "Debugging": "agents.debugging",
    "Extraction": "agents.extraction",
    "ExtractionTask": "agents.extraction",
    "Frontier": "models.frontier",
    "JourneymanError": "models.errors",
    "Lesson": "agents.trainer",
    "Plan": "agents.routing",
    "Ranking": "agents.retrieval",
    "Record": "agents.extraction",
    "Recorder": "traces.recorder",
    "Registry": "traces.registry",
    "Release": "models.release",
    "ReleaseTrust": "graph.trust",
    "Retrieval": "agents.retrieval",
    "RetrievalTask": "agents.retrieval",
    "Risk": "models.types",
    "RoundOptions": "graph.round_state",
    "RoundReport": "graph.round_report",
    "Route": "agents.routing",
    "Routing": "agents.routing",
    "RoutingTask": "agents.routing",
    "Store": "traces.store",
    "Task": "graph.state",
    "Trained": "agents.trainer",
    "Trainer": "agents.trainer",
    "as_subagent": "graph.embedding",
    "as_tool": "graph.embedding",
    "create_orchestrator": "graph.orchestrator",
    "loaders_of": "graph.trust",
    "run_round": "graph.round",
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
