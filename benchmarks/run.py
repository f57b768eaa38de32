"""`make bench`: every measurement, or those named on the command line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import (
    batch,
    drift,
    graph_cost,
    repair,
    retrieval,
    routing,
    sandbox,
    serving,
    students,
    suites,
    traces,
    training,
    viewer,
)

MEASUREMENTS: dict[str, Callable[[], list[str]]] = {
    "graph": graph_cost.measure,
    "students": students.measure,
    "traces": traces.measure,
    "viewer": viewer.measure,
    "sandbox": sandbox.measure,
    "repair": repair.measure,
    "retrieval": retrieval.measure,
    "routing": routing.measure,
    "suites": suites.measure,
    "serving": serving.measure,
    "batch": batch.measure,
    "drift": drift.measure,
    "training": training.measure,
}


def main(names: list[str]) -> None:
    """Measure and print."""
    for name in names or MEASUREMENTS:
        if name not in MEASUREMENTS:
            sys.exit(f"No measurement is named {name!r}; choose of {', '.join(MEASUREMENTS)}.")
        print(f"\n{name}", flush=True)
        for line in MEASUREMENTS[name]():
            print(f"  {line}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
