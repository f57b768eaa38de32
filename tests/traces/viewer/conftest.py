"""A trace store with a little of everything in it, and a Datasette over it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from journeyman.traces.recorder import Recorder
from journeyman.traces.records import (
    AttemptRecord,
    EscalationRecord,
    RunRecord,
    ScoreRecord,
    SpanRecord,
    SuiteRunRecord,
    new_id,
)
from journeyman.traces.store import Store
from journeyman.traces.viewer.app import make_datasette
from journeyman.traces.viewer.options import Options
from journeyman.traces.viewer.source import Source
from tests.traces.viewer.learned import learn

START = datetime(2026, 3, 1, 12, tzinfo=UTC)

SITE = "/-/journeyman"


def run_id(number: int) -> str:
    return f"{number:032x}"


def span_id(run: int, number: int) -> str:
    return f"{run:08x}{number:08x}"


def happened(number: int, *, text: str | None = None, **given: Any) -> list[Any]:
    """Records of one run: even ones are answered by the student, odd ones by the frontier."""
    at = given.pop("at", START + timedelta(hours=number))
    student = number % 2 == 0
    asked = text or f"question {number} about parcels"
    answer = {"carrier": "post", "days": number}
    own = answer if student else {"carrier": "ferry", "days": number}
    run, top, inner = run_id(number), span_id(number, 0), span_id(number, 1)
    attempt = f"attempt-{number}"
    frontier = None if student else answer
    records: list[Any] = [
        SpanRecord(id=top, run_id=run, name="journeyman", kind="CHAIN", started_at=at,
                   duration_ms=90),
        SpanRecord(id=inner, run_id=run, parent_id=top, name="attempt tagger", kind="LLM",
                   agent="extraction", node="attempt", model="tagger", started_at=at,
                   duration_ms=30, input=asked, output=own, attributes={"seed": 1}),
        AttemptRecord(id=attempt, run_id=run, span_id=inner, task_id="extraction-1",
                      task_key=f"key-{number}", agent="extraction",
                      release="extraction@00000001", input={"text": asked}, output=own,
                      answer=answer, evidence={"min_p": 0.5},
                      checks=({"name": "schema", "passed": student, "hard": True, "detail": ""},),
                      confidence=0.9 if student else 0.2, threshold=0.5,
                      decision="accept" if student else "escalate",
                      reason=None if student else "low_confidence", certified=student,
                      source="student" if student else "frontier",
                      cost_microusd=0 if student else 2_000, latency_ms=80, created_at=at),
    ]  # fmt: skip
    if not student:
        records.append(
            EscalationRecord(id=f"escalation-{number}", attempt_id=attempt, run_id=run,
                             span_id=span_id(number, 2), agent="extraction",
                             reason="low_confidence", status="answered", frontier_model="big",
                             student_output=own, frontier_output=frontier, agreement=False,
                             cost_microusd=2_000, latency_ms=60, created_at=at)
        )  # fmt: skip
    values: dict[str, Any] = {
        "id": run, "graph": "journeyman", "status": "ok", "started_at": at,
        "ended_at": at + timedelta(milliseconds=90), "session_id": f"thread-{number % 3}",
        "input": {"messages": [asked]}, "output": {"extraction-1": {"agent": "extraction",
        "value": answer}}, "num_tasks": 1, "num_escalations": 0 if student else 1,
        "cost_microusd": 0 if student else 2_000,
    }  # fmt: skip
    return [RunRecord(**{**values, **given}), *records]


def record(target: Path | str, *records: Any) -> None:
    """Write records as a running graph does."""
    with Store.open(target) as store, Recorder(store) as recorder:
        recorder.record(*records)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 runs, a score and a suite run, in a file of their own."""
    path = tmp_path_factory.mktemp("viewer") / "traces.db"
    suite = SuiteRunRecord(id=new_id(), suite="desk", suite_hash="s", config_hash="c",
                           status="passed", started_at=START, num_total=4, num_passed=3,
                           num_failed=1)  # fmt: skip
    score = ScoreRecord(target_type="run", target_id=run_id(1), run_id=run_id(1), name="exact",
                        score=0.0, explanation="wrong carrier", created_at=START)  # fmt: skip
    record(path, suite, score, *(each for number in range(120) for each in happened(number)))
    return path


@pytest.fixture
def filled(template: Path, tmp_path: Path) -> Path:
    """A copy of it, which a test may change."""
    path = tmp_path / "traces.db"
    path.write_bytes(template.read_bytes())
    return path


@pytest.fixture(scope="session")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that the whole loop has filled; tests that change it take a copy."""
    folder = tmp_path_factory.mktemp("learned")
    learn(folder / "traces.db", folder / "data")
    return folder / "traces.db"


@pytest.fixture
def copied(learned: Path, tmp_path: Path) -> Path:
    """A copy of it, which a test may change."""
    path = tmp_path / "traces.db"
    path.write_bytes(learned.read_bytes())
    return path


class Site:
    """A Datasette over one store, asked as a browser asks."""

    def __init__(self, path: Path, *, allow_sql: bool = True, **options: Any) -> None:
        shown = Source(path, is_live=True)
        self.datasette = make_datasette(shown, Options(**options), allow_sql=allow_sql)

    async def get(self, path: str, **given: Any) -> Any:
        """The answer to a GET; paths that start with one slash and `-` are whole."""
        whole = path if path.startswith("/-/") else SITE + path
        return await self.datasette.client.get(whole, **given)

    async def post(self, path: str, data: dict[str, str], **headers: str) -> Any:
        """The answer to a form, with the token that 0.65's own check wants."""
        page = await self.get("/runs")
        cookies = dict(page.cookies)
        token = {"csrftoken": cookies["ds_csrftoken"]} if "ds_csrftoken" in cookies else {}
        return await self.datasette.client.post(
            SITE + path, data={**data, **token}, headers=headers, cookies=cookies
        )


@pytest.fixture
def site(template: Path) -> Site:
    """The viewer over the store that no test changes, read-only."""
    return Site(template)
