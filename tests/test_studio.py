"""The factory that LangGraph's tools load."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_langgraph_json_names_a_factory_whose_graph_has_no_checkpointer(
    target: Path | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOURNEYMAN_STORE", str(target))
    config = json.loads((ROOT / "langgraph.json").read_text(encoding="utf-8"))
    path, _, name = config["graphs"]["orchestrator"].partition(":")
    spec = importlib.util.spec_from_file_location("studio", ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    graph = getattr(module, name)()
    assert graph.checkpointer is None
    assert {"plan", "dispatch", "extraction", "retrieval", "routing"} <= set(graph.nodes)
