"""Somebody whose runs come while the viewer is looked at.

`python -m tests.traces.viewer.writing STORE NUM PER_SECOND` records so many runs, each as a graph
does, and waits until each is on disk. It writes the id of each run when it is, and then, as JSON,
how long each took and whether anything went wrong.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from journeyman.traces.recorder import Recorder
from journeyman.traces.store import Store
from tests.traces.viewer.conftest import happened, run_id

FIRST = 1_000_000
"""Number of the first run: past those that are there already."""


def main(path: Path, num_runs: int, per_second: float) -> None:
    """Record runs at a steady rate."""
    taken: list[float] = []
    kept = 0
    with Store.open(path) as store, Recorder(store) as recorder:
        begun = time.monotonic()
        for number in range(FIRST, FIRST + num_runs):
            time.sleep(max(0.0, begun + (number - FIRST) / per_second - time.monotonic()))
            started = time.perf_counter()
            recorder.record(*happened(number, at=datetime.now(UTC)))
            kept += recorder.wait(run_id(number))
            taken.append((time.perf_counter() - started) * 1000)
            sys.stdout.write(run_id(number) + "\n")
            sys.stdout.flush()
        trouble = recorder.trouble
    facts = {"kept": kept, "trouble": None if trouble is None else str(trouble), "ms": taken}
    sys.stdout.write(json.dumps(facts) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
