"""Labelled tasks for tests of curation, with sensible values for whatever a test does not say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from journeyman.models.types import content_hash
from journeyman.traces.labels import LabelledTask

START = datetime(2026, 1, 1, tzinfo=UTC)

TOPICS = (
    "weather", "alarm", "music", "invoice", "flight", "hotel", "recipe", "payment", "calendar",
    "parcel", "insurance", "doctor", "garden", "bicycle", "printer", "contract", "museum", "ferry",
    "battery", "lecture", "passport", "concert", "pension", "orchard", "harbour", "violin",
)  # fmt: skip


def labelled(text: str, target: Any = "yes", *, at: int = 0, **given: Any) -> LabelledTask:
    """A row whose task has one text; `at` are seconds after the start, and tell rows apart."""
    task = given.pop("task", {"text": text})
    values: dict[str, Any] = {
        "agent": "desk",
        "task_key": content_hash(["desk", task]),
        "task": task,
        "target": target,
        "certifies": True,
        "reason": "uncertified",
        "escalation_id": f"escalation-{at:06d}",
        "attempt_id": f"attempt-{at:06d}",
        "created_at": START + timedelta(seconds=at),
    }
    return LabelledTask(**{**values, **given})


def many(number: int, **given: Any) -> list[LabelledTask]:
    """Rows about different things, none of which is near another."""
    rows = []
    for i in range(number):
        first, second = TOPICS[i % len(TOPICS)], TOPICS[(i * 7 + i // len(TOPICS)) % len(TOPICS)]
        mark = content_hash(i, length=12)
        rows.append(labelled(f"{mark} {first} {second} {mark[::-1]}", f"answer {i}", at=i, **given))
    return rows
