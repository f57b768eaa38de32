"""A batch on a Ray cluster of two nodes on this machine, one of which is killed on the way.

A process of its own: Ray's servers and warnings are not the test session's. Prints one JSON line.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from pathlib import Path
from typing import Any

from ray.cluster_utils import Cluster

from journeyman.graph.settings import Settings
from journeyman.scenarios.batch import BatchOptions, run_batch
from journeyman.scenarios.batch_agent import AgentSource
from journeyman.scenarios.batch_engines import RayOptions

# A silent node is dead after these; by default that takes half a minute.
IMPATIENT = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 4,
}
# Ray takes the machine's own address for its nodes, whatever it is given.
NODE = {"num_cpus": 1, "object_store_memory": 100 * 2**20}


def main(folder: Path, store: str) -> None:
    """Answer `in.jsonl` there into `out.jsonl`."""
    head = {**NODE, "include_dashboard": False, "_system_config": IMPATIENT}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    second = cluster.add_node(**NODE)
    killed: list[int] = []

    def kill(tally: Any, num_rows: int) -> None:
        if not killed and tally.num_rows > num_rows // 4:
            killed.append(tally.num_rows)
            gone = threading.Thread(
                target=cluster.remove_node, args=(second,), kwargs={"allow_graceful": False}
            )
            gone.start()

    options = BatchOptions(
        engine="ray",
        ask_frontier=False,
        trust_uncertified=True,
        ray=RayOptions(address=cluster.address, workers=2),
    )
    agent = AgentSource("bills.py:Bills", folder=Path(__file__).parent)
    given = folder / "in.jsonl", folder / "out.jsonl", agent, Settings()
    report = asyncio.run(run_batch(*given, options=options, store=store, on_progress=kill))
    left = len(cluster.list_all_nodes())  # the killed one is no longer among them
    told = {"killed_at": killed, "nodes": left, "rows": report.tally.num_rows}
    sys.stdout.write(json.dumps(told) + "\n")
    cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
