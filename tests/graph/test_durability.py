"""What was returned is on disk, whatever happens to the process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from journeyman.traces.store import Store

ROOT = Path(__file__).parent.parent.parent
NUM_KILLS = 50


def test_an_answer_that_was_returned_survives_a_kill(target: Path | str) -> None:
    Store.open(target).close()
    done = subprocess.run(
        [sys.executable, "-m", "tests.graph.killed", str(target), str(NUM_KILLS)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert "locked" not in done.stderr
    returned = [json.loads(line)["run_id"] for line in done.stdout.splitlines()]
    assert len(returned) >= NUM_KILLS
    with Store.open(target) as store:
        store.integrity()
        on_record = {run.id: run for run in store.runs(None)}
        answered = {attempt.run_id: attempt for attempt in store.attempts()}
    for run_id in returned:
        assert on_record[run_id].status == "ok"
        assert answered[run_id].answer == {"severity": "high"}
