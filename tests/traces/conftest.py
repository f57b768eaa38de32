"""A fresh store for each test, and records with what the schema demands filled in."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from journeyman.traces.records import (
    AttemptRecord,
    EscalationRecord,
    RunRecord,
    SpanRecord,
    new_id,
    new_span_id,
    new_trace_id,
    now,
)
from journeyman.traces.store import Store

Target = Path | str

PROGRAM = Path(__file__).with_name("program.py")


class Make:
    """Records with sensible values for whatever a test does not care about."""

    @staticmethod
    def run(**given: Any) -> RunRecord:
        values = {"id": new_trace_id(), "graph": "test", "status": "ok", "started_at": now()}
        return RunRecord(**{**values, **given})

    @staticmethod
    def span(run_id: str, **given: Any) -> SpanRecord:
        values = {
            "id": new_span_id(),
            "run_id": run_id,
            "name": "step",
            "kind": "CHAIN",
            "started_at": now(),
            "duration_ms": 1.5,
        }
        return SpanRecord(**{**values, **given})

    @staticmethod
    def attempt(run_id: str, **given: Any) -> AttemptRecord:
        values = {
            "id": new_id(),
            "run_id": run_id,
            "task_id": "task",
            "task_key": "key",
            "agent": "extraction",
            "release": "extraction@00000000",
            "decision": "accept",
            "source": "student",
        }
        return AttemptRecord(**{**values, **given})

    @staticmethod
    def escalation(attempt: AttemptRecord, **given: Any) -> EscalationRecord:
        values = {
            "id": new_id(),
            "attempt_id": attempt.id,
            "run_id": attempt.run_id,
            "agent": attempt.agent,
            "reason": "audit",
            "status": "answered",
        }
        return EscalationRecord(**{**values, **given})


@pytest.fixture
def make() -> type[Make]:
    return Make


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file behind `store`: a test that asks for it runs on SQLite alone."""
    return tmp_path / "traces.db"


@pytest.fixture
def store(target: Path | str) -> Iterator[Store]:
    with Store.open(target) as opened:
        yield opened


@pytest.fixture
def program() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `program.py` in a process of its own, and ends it with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(PROGRAM), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()
