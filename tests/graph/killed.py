"""Run as a program: answers tasks in forked children, killing each at a random moment.

Prints the run id and answer of every run that had returned before its child was killed. Forking
from a process that has imported everything makes a kill cost milliseconds instead of seconds.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time

from journeyman.graph.orchestrator import create_orchestrator
from journeyman.graph.state import Task
from journeyman.traces.recorder import Recorder
from journeyman.traces.store import Store
from tests.graph.conftest import ScriptedFrontier
from tests.graph.triage import KeywordStudent, Triage


async def _answer_for_ever(path: str, out: int) -> None:
    with Store.open(path) as store, Recorder(store) as recorder:
        frontier = ScriptedFrontier({"severity": "high"})
        graph = create_orchestrator([Triage(KeywordStudent())], frontier, store=recorder)

        async def one(number: int) -> None:
            tasks = [Task(agent="triage", input={"text": f"down {os.getpid()} {number}"})]
            result = await graph.ainvoke({"tasks": tasks})
            os.write(out, (json.dumps({"run_id": result["run_id"]}) + "\n").encode())

        number = 0
        while True:
            await asyncio.gather(*(one(number + extra) for extra in range(4)))
            number += 4


def main(path: str, num_kills: int) -> None:
    """Fork, wait for a first answer, kill, print what had come."""
    for _ in range(num_kills):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            asyncio.run(_answer_for_ever(path, writer))
        os.close(writer)
        with os.fdopen(reader, "rb") as answers:
            first = answers.readline()
            time.sleep(random.uniform(0, 0.12))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            rest = answers.read()
        for line in (first + rest).splitlines(keepends=True):
            if line.endswith(b"\n"):
                sys.stdout.buffer.write(line)
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
