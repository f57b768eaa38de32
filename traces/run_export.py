"""Runs as JSON for other tools, and labelled tasks as chat for those who train elsewhere.

Chat holds what may teach and nothing that certifies: tasks that a round set apart for its proofs
stay out. `export` does the same for a data set that a round has curated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from journeyman.traces.collect import collect
from journeyman.traces.export import chat_of_task
from journeyman.traces.labels import LabelledTask, preference
from journeyman.traces.schema import Escalation, Example
from journeyman.traces.store import Store


@dataclass(frozen=True, slots=True)
class Lesson:
    """One labelled task, or why it is left out.

    Attributes:
        agent: The sub-agent.
        messages: Chat, the answer last; None where it is left out.
        left_out: `terms`, `redacted`, `set_apart` (it certifies), `failed_check`; empty otherwise.
        is_split: A round has decided that it teaches.
    """

    agent: str
    messages: list[dict[str, str]] | None
    left_out: str = ""
    is_split: bool = False


def exported_runs(
    store: Store, *, agent: str | None = None, since: datetime | None = None
) -> Iterator[dict[str, Any]]:
    """Every run with its spans, attempts, escalations and scores, oldest first, one at a time."""
    for summary in reversed(store.runs(None, agent=agent, since=since)):
        yield asdict(store.run(summary.id))


def lessons(
    store: Store, *, agent: str | None = None, since: datetime | None = None
) -> Iterator[Lesson]:
    """The labelled tasks of a sub-agent, or of all, each task once with its best label."""
    for name in [agent] if agent is not None else store.read(_agents):
        apart = _parts(store, name)
        best: dict[str, LabelledTask] = {}
        for row in sorted(collect(store, name, since=since).rows, key=preference):
            best.setdefault(row.task_key, row)
        for row in best.values():
            yield _lesson(row, apart.get(row.task_key))


def _lesson(row: LabelledTask, part: str | None) -> Lesson:
    if part not in (None, "train"):
        return Lesson(row.agent, None, "set_apart")
    if not row.trainable:
        return Lesson(row.agent, None, row.withheld or "terms")
    if row.failed_check:
        return Lesson(row.agent, None, "failed_check")
    chat = chat_of_task(row.task, row.target)
    messages = [dict(message) for message in chat.prompt]
    messages.append({"role": "assistant", "content": chat.completion})
    return Lesson(row.agent, messages, is_split=part is not None)


def _agents(connection: Connection) -> list[str]:
    return list(connection.scalars(select(Escalation.agent).distinct().order_by(Escalation.agent)))


def _parts(store: Store, agent: str) -> dict[str, str]:
    """What rounds have decided about tasks: `train`, `head` or `calibration`."""
    query = select(Example.task_key, Example.split).where(Example.agent == agent)
    return store.read(lambda connection: {row[0]: row[1] for row in connection.execute(query)})
