"""Runs that come while the viewer is open are there on a reload, and do not wait for it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from journeyman.traces.store import Store
from tests.traces.viewer.conftest import Site
from tests.traces.viewer.writing import FIRST

PER_SECOND = 500 / 60  # tasks
NUM_RUNS = 80  # in about 10 seconds


@contextmanager
def writer(path: Path, num_runs: int) -> Iterator[subprocess.Popen[str]]:
    """Another process that records runs."""
    command = [sys.executable, "-m", "tests.traces.viewer.writing", str(path), str(num_runs)]
    with subprocess.Popen(
        [*command, f"{PER_SECOND}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.slow
async def test_a_steady_writer_and_a_busy_reader_do_not_hold_each_other_up(filled: Path) -> None:
    site = Site(filled, write=True)
    others = ("", "/sessions", "/escalations", "/agents", "/agents/extraction", "/suites")
    seen = 0
    with writer(filled, NUM_RUNS) as process:
        assert process.stdout is not None
        for number in range(NUM_RUNS):
            written = (await asyncio.to_thread(process.stdout.readline)).strip()
            if number % 4 == 0:  # the others go on meanwhile
                page = await site.get("/runs")
                assert page.status_code == 200
                assert written in page.text
                seen += 1
            else:
                assert (await site.get(others[number % len(others)])).status_code == 200
        facts = json.loads(await asyncio.to_thread(process.stdout.readline))
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert (facts["kept"], facts["trouble"], seen) == (NUM_RUNS, None, NUM_RUNS // 4)
    with Store.open(filled, read_only=True) as store:
        for number in range(FIRST, FIRST + NUM_RUNS):
            assert store.run(f"{number:032x}").run.status == "ok"


@pytest.mark.slow
async def test_a_star_is_kept_between_the_writes_of_others(filled: Path) -> None:
    site = Site(filled, write=True)
    with writer(filled, 20) as process:
        assert process.stdout is not None
        starred = []
        for _ in range(20):
            written = (await asyncio.to_thread(process.stdout.readline)).strip()
            given = {"origin": "http://localhost", "sec-fetch-site": "same-origin"}
            answer = await site.post(f"/runs/{written}/star", {"star": "yes"}, **given)
            assert answer.status_code == 303
            starred.append(written)
        facts = json.loads(await asyncio.to_thread(process.stdout.readline))
    assert (facts["kept"], facts["trouble"]) == (20, None)
    page = await site.get("/runs?starred=yes")
    assert all(run in page.text for run in starred)
