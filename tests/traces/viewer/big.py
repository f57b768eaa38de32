"""A trace store as large as a busy year's: 1,000,000 spans in 50,000 runs.

    python -m tests.traces.viewer.big traces.db 50000

Rows are written in bulk, past the records: what is measured is reading. Every run has two tasks and
twenty spans, but the first, which has 5,000; texts are unlike each other and sizes are usual ones.
"""

from __future__ import annotations

import hashlib
import json
import random
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from journeyman.traces.store import Store

AGENTS = ("extraction", "retrieval", "debugging", "routing")
SPANS_PER_RUN = 20
SPANS_OF_FIRST = 5_000
START = datetime(2026, 1, 1, tzinfo=UTC)
SECONDS_PER_RUN = 60
CHUNK = 2_000

SYLLABLES = ("ba", "ce", "di", "fo", "gu", "la", "me", "ni", "po", "ru", "sa", "te", "vi", "zo")
WORDS = ["museum", "ferry", *(a + b + c for a in SYLLABLES for b in SYLLABLES for c in SYLLABLES)]
FREQUENCIES = [1 / (rank + 10) for rank in range(len(WORDS))]
"""A few words are frequent and most are rare, as in texts."""

Row = Sequence[Any]


def build(path: Path, num_runs: int, seed: int = 0) -> None:
    """Fill a new store."""
    Store.open(path).close()
    chance = random.Random(seed)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        for first in range(0, num_runs, CHUNK):
            tables: dict[str, list[Row]] = {}
            for number in range(first, min(first + CHUNK, num_runs)):
                for table, row in _rows(number, chance):
                    tables.setdefault(table, []).append(row)
            for table in ("payloads", "runs", "spans", "attempts", "escalations"):
                _insert(connection, table, tables[table])
            connection.commit()
        for table, row in _releases():
            _insert(connection, table, [row])
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


COLUMNS = {
    "payloads": "hash, content, num_bytes, created_at",
    "runs": "id, graph, status, started_at, ended_at, duration_ms, session_id, epoch, input_hash, "
    "output_hash, input_preview, output_preview, num_tasks, num_escalations, input_tokens, "
    "output_tokens, cost_microusd, tags",
    "spans": "id, run_id, parent_id, name, kind, agent, node, status, started_at, duration_ms, "
    "input_tokens, output_tokens, cached_tokens, attributes",
    "attempts": "id, run_id, task_id, task_key, agent, release, input_hash, output_hash, "
    "answer_hash, evidence, checks, confidence, threshold, decision, reason, certified, audited, "
    "would_accept, audit_probability, source, cost_microusd, latency_ms, created_at",
    "escalations": "id, attempt_id, run_id, agent, reason, status, frontier_model, "
    "student_output_hash, frontier_output_hash, agreement, input_tokens, output_tokens, "
    "cost_microusd, latency_ms, label_source, trainable, created_at, review_status",
    "releases": "id, agent, status, created_at, promoted_at, student_kind, base_model, path, "
    "num_bytes, metrics",
    "certificates": "id, release_id, kind, max_error, delta, n, k, threshold, coverage, "
    "label_source, data_hash, created_at",
}


def _insert(connection: sqlite3.Connection, table: str, rows: Sequence[Row]) -> None:
    marks = ", ".join("?" * len(rows[0]))
    sql = f"INSERT OR IGNORE INTO {table} ({COLUMNS[table]}) VALUES ({marks})"
    connection.executemany(sql, rows)


def _rows(number: int, chance: random.Random) -> Iterator[tuple[str, Row]]:
    at = START + timedelta(seconds=number * SECONDS_PER_RUN)
    run_id = hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest()
    text = " ".join(chance.choices(WORDS, FREQUENCIES, k=30)) + f" {number}"
    asked, asked_row = _payload({"messages": [text]}, at)
    answers: dict[str, Any] = {}
    escalated = 0
    for task in range(2):
        agent = AGENTS[(number + task) % len(AGENTS)]
        rows, is_escalated, answer = _task(run_id, task, agent, text, at, chance)
        escalated += is_escalated
        answers[f"{agent}-{task}"] = {"agent": agent, "value": answer}
        yield from rows
    answered, answered_row = _payload(answers, at)
    yield "payloads", asked_row
    yield "payloads", answered_row
    took = chance.uniform(50, 4_000)
    yield "runs", (
        run_id, "journeyman", "error" if number % 97 == 0 else "ok", _time(at),
        _time(at + timedelta(milliseconds=took)), took, f"thread-{number // 5}", 0, asked, answered,
        text[:200], json.dumps(answers)[:200], 2, escalated, 900, 80, escalated * 2_000, "[]",
    )  # fmt: skip
    yield from _spans(run_id, number, took, at)


def _task(
    run_id: str, task: int, agent: str, text: str, at: datetime, chance: random.Random
) -> tuple[list[tuple[str, Row]], bool, Any]:
    confidence = chance.betavariate(4, 1.5)
    accept, audit = confidence > 0.7, chance.random() < 0.05
    escalate = audit or not accept
    answer = {"total": chance.randint(1, 9_999), "currency": "EUR", "note": text[:80]}
    own = answer if chance.random() < confidence else {**answer, "total": 0}
    asked, asked_row = _payload({"text": text, "task": task}, at)
    answered, answered_row = _payload(answer, at)
    student, student_row = _payload(own, at)
    moment, attempt = _time(at), f"{run_id}-{task}"
    reason = "audit" if audit else "low_confidence" if escalate else None
    rows: list[tuple[str, Row]] = [
        ("payloads", asked_row), ("payloads", answered_row), ("payloads", student_row),
        ("attempts", (
            attempt, run_id, f"{agent}-{task}", asked, agent, f"{agent}@00000001", asked, student,
            answered, json.dumps({"min_p": confidence, "margin": confidence / 2}), "[]",
            confidence, 0.7, "escalate" if escalate else "accept", reason, not escalate, audit,
            accept, 0.05, "frontier" if escalate else "student", 2_000 if escalate else 0, 40.0,
            moment,
        )),
    ]  # fmt: skip
    if escalate:
        rows.append(("escalations", (
            f"e-{attempt}", attempt, run_id, agent, reason, "answered", "big", student, answered,
            own == answer, 400, 40, 2_000, 600.0, "frontier", True, moment,
            "pending" if chance.random() < 0.3 else "approved",
        )))  # fmt: skip
    return rows, escalate, answer


def _spans(run_id: str, number: int, took: float, at: datetime) -> Iterator[tuple[str, Row]]:
    total = SPANS_OF_FIRST if number == 0 else SPANS_PER_RUN
    top = f"{run_id[:12]}0000"
    for i in range(total):
        start = took * i / total
        agent = AGENTS[i % len(AGENTS)]
        parent = None if i == 0 else top if i % 4 == 1 else f"{run_id[:12]}{i - i % 4:04x}"
        yield "spans", (
            f"{run_id[:12]}{i:04x}", run_id, parent, "journeyman" if i == 0 else f"step {agent}",
            "CHAIN" if i % 3 else "LLM", agent, "attempt" if i % 2 else "escalate", "ok",
            _time(at + timedelta(milliseconds=start)), took - start, 10, 1, 0, "{}",
        )  # fmt: skip


def _releases() -> Iterator[tuple[str, Row]]:
    for agent in AGENTS:
        release, moment = f"{agent}@00000001", _time(START)
        yield "releases", (
            release, agent, "active", moment, moment, "tagger", "base", agent, 1, "{}",
        )  # fmt: skip
        yield "certificates", (
            f"c-{agent}", release, "joint", 0.05, 0.05, 900, 12, 0.7, 0.6, "frontier", "d", moment,
        )  # fmt: skip


def _payload(value: Any, at: datetime) -> tuple[str, Row]:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    hashed = "sha256:" + hashlib.sha256(text.encode()).hexdigest()
    return hashed, (hashed, text, len(text), _time(at))


def _time(at: datetime) -> str:
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")


if __name__ == "__main__":
    build(Path(sys.argv[1]), int(sys.argv[2]))
