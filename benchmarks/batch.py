"""Rows a second of `journeyman batch`, peak memory, and outputs of jobs that were killed twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.batch_agent import receipt

NUM_ROWS = 100_000
NUM_TAGGED = 5_000

_AGENT = Path(__file__).with_name("batch_agent.py")
_OPEN = ("--no-frontier", "--trust-uncertified", "--trace", "none")


@dataclass(frozen=True)
class _Run:
    """One process: its summary (None where it was killed), peak memory and CPU time."""

    summary: dict[str, Any] | None
    peak_mb: float
    cpu_seconds: float


def _journeyman(
    folder: Path,
    out: str,
    *options: str,
    agent: str = "receipts",
    kill_at: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> _Run:
    """Run the command; kill it once so many bytes are in the part."""
    command = [sys.executable, "-m", "journeyman", "batch", "in.jsonl", out, "--json"]
    root = str(_AGENT.parent.parent)
    process = subprocess.Popen(
        [*command, "--agent", f"{_AGENT}:{agent}", *_OPEN, *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1", **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    part = folder / f"{out}.part"
    while kill_at is not None and process.poll() is None:
        if part.exists() and part.stat().st_size > kill_at:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.05)
    assert process.stdout is not None
    told = process.stdout.read()
    _, _, usage = os.wait4(process.pid, 0)
    lines = told.splitlines()
    cpu_seconds = usage.ru_utime + usage.ru_stime
    return _Run(json.loads(lines[-1]) if lines else None, usage.ru_maxrss / 1024, cpu_seconds)


def _told(name: str, run: _Run) -> str:
    assert run.summary is not None, f"{name} did not come to its end"
    num, seconds = run.summary["finished"] - run.summary["resumed"], run.summary["seconds"]
    return (
        f"{name}: {num / seconds:,.0f} rows a second by the clock, {run.cpu_seconds:,.1f} s of CPU "
        f"with the start, peak {run.peak_mb:,.0f} MB"
    )


def _write(folder: Path, num: int) -> None:
    with (folder / "in.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps({"text": receipt(n)}) + "\n" for n in range(num))


def _local(folder: Path, num: int) -> list[str]:
    _write(folder, num // 10)
    tenth = _journeyman(folder, "tenth.jsonl")
    _write(folder, num)
    whole = _journeyman(folder, "whole.jsonl")
    size = (folder / "whole.jsonl").stat().st_size
    lines = [
        _told(f"batch, {num // 10:,} rows, scripted student", tenth),
        _told(f"batch, {num:,} rows, scripted student", whole),
    ]
    for third in (1, 2):
        _journeyman(folder, "cut.jsonl", kill_at=size * third // 3)
    last = _journeyman(folder, "cut.jsonl")
    assert last.summary is not None
    same = (folder / "cut.jsonl").read_bytes() == (folder / "whole.jsonl").read_bytes()
    lines.append(
        f"batch, killed twice and gone on with, {last.summary['resumed']:,} rows taken up at last: "
        f"output {'identical' if same else 'DIFFERS'}"
    )
    return lines


@contextmanager
def _two_nodes() -> Iterator[str]:
    """A Ray cluster of two nodes on this machine, one CPU each; its address."""
    from ray.cluster_utils import Cluster

    given: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 200 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={**given, "include_dashboard": False})
    try:
        cluster.add_node(**given)
        yield cluster.address
    finally:
        cluster.shutdown()


def _ray(folder: Path, num: int) -> list[str]:
    with _two_nodes() as address:
        run = _journeyman(
            folder, "ray.jsonl", "--engine", "ray", "--ray-address", address, "--workers", "2"
        )
    same = (folder / "ray.jsonl").read_bytes() == (folder / "whole.jsonl").read_bytes()
    told = _told(f"batch, {num:,} rows, Ray on two nodes (the driving process)", run)
    return [f"{told}, output {'identical' if same else 'DIFFERS'}"]


def _tagged(folder: Path, num: int) -> list[str]:
    from journeyman.models.training.tagger import TaggedText, train_tagger
    from journeyman.models.types import Span

    text = receipt(0)
    at = text.index("Harbor")
    spans = (Span("shop", at, at + 12, text[at : at + 12]),)
    examples = [TaggedText(text=text, spans=spans)] * 16
    train_tagger(examples, ("shop", "total"), out=folder / "tagger", epochs=1)
    _write(folder, num)
    environment = {"BENCH_TAGGER": str(folder / "tagger")}
    runs = [
        _journeyman(folder, f"{name}.jsonl", agent="tagged", environment=environment)
        for name in ("tagged", "again")
    ]
    same = (folder / "tagged.jsonl").read_bytes() == (folder / "again.jsonl").read_bytes()
    told = _told(f"batch, {num:,} rows, 22M tagger in this process", runs[0])
    return [f"{told}, output of a second run {'identical' if same else 'DIFFERS'}"]


def measure() -> list[str]:
    """Lines of the report."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return [*_local(folder, NUM_ROWS), *_ray(folder, NUM_ROWS), *_tagged(folder, NUM_TAGGED)]
