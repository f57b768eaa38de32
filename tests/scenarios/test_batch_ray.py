"""The Ray engine keeps the contract of the local one, also when a node dies."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from journeyman.graph.settings import Settings
from journeyman.models.errors import ConfigError
from journeyman.scenarios.batch import BatchOptions, run_batch
from journeyman.scenarios.batch_agent import AgentSource
from tests.scenarios.bills import Bills
from tests.stores import store_at

pytestmark = pytest.mark.usefixtures("any_store")

HERE = Path(__file__).parent

NUM_ROWS = 5_000


def test_an_agent_that_is_there_already_cannot_go_to_other_processes(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "pay 1"}\n')
    options = BatchOptions(engine="ray", ask_frontier=False)
    given = tmp_path / "in.jsonl", tmp_path / "out.jsonl", Bills(), Settings()
    with pytest.raises(ConfigError, match="pass an AgentSource"):
        asyncio.run(run_batch(*given, options=options, store=store_at(tmp_path / "traces.db")))


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
def test_a_node_that_dies_on_the_way_costs_no_row(tmp_path: Path) -> None:
    lines = [json.dumps({"text": f"pay {i}"}) for i in range(NUM_ROWS)]
    lines[17] = "{"  # errors go the same way
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    local = BatchOptions(ask_frontier=False, trust_uncertified=True)
    agent = AgentSource("bills.py:Bills", folder=HERE)
    given = tmp_path / "in.jsonl", tmp_path / "local.jsonl", agent, Settings()
    asyncio.run(run_batch(*given, options=local, store=store_at(tmp_path / "traces.db")))
    done = subprocess.run(
        [sys.executable, HERE / "ray_job.py", tmp_path, store_at(tmp_path / "traces.db")],
        env={**os.environ, "PYTHONPATH": str(HERE.parent.parent), "BILLS_SECONDS": "0.05"},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["nodes"] == 1
    assert told["killed_at"][0] < NUM_ROWS
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "local.jsonl").read_bytes()
