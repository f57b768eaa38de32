"""The graph for LangGraph's own tools: a factory without a checkpointer, named in `langgraph.json`.

Serves the shipped desk suite's sub-agents; a project of your own points at its own factory.
"""

from __future__ import annotations

from journeyman.graph.clients import forwarder_from, frontier_from
from journeyman.graph.orchestrator import Orchestrator, create_orchestrator
from journeyman.graph.settings import load_settings
from journeyman.scenarios.assembly import staff_for
from journeyman.scenarios.paths import find_suite
from journeyman.scenarios.suite import load_suite
from journeyman.traces.recorder import Recorder
from journeyman.traces.store import Store


def make_graph() -> Orchestrator:
    """Build the graph of the desk's sub-agents with the frontier and store of the settings."""
    settings = load_settings()
    staff = staff_for(load_suite(find_suite("desk")))
    store = Store.open(settings.store)
    return create_orchestrator(
        list(staff.agents.values()),
        frontier_from(settings, store),
        store=Recorder(store, forward=forwarder_from(settings.otlp)),
        router=staff.router,
    )
