"""What a student did on labelled tasks: its evidence, and whether it was right.

The student answers as it does in traffic, through its sub-agent, so that what is measured is what
will serve. Knows nothing of heads, thresholds or who the student competes with.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from journeyman.agents.base import Agent
from journeyman.models.errors import CorruptRecord, InvalidTask, TrainingError
from journeyman.models.types import Attempt, LabelSource
from journeyman.traces.dataset_files import DatasetRow
from journeyman.traces.labels import Part
from journeyman.traces.payloads import encode

logger = logging.getLogger("journeyman.graph")

_AT_ONCE = 32
_TIMED = 50  # attempts made one at a time, which is how latency is felt
_MOST_FAILURES = 0.5

OnDone = Callable[[int, int], None]
"""Told how many tasks are done, and how many there are."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One labelled task, attempted.

    Attributes:
        task_key: Content hash of the task.
        part: What its label may be used for.
        group: What belongs together.
        label_source: Who says what is right.
        evidence: Named numbers; empty where the student failed.
        right: The attempt is the same answer as the label.
        allowed: There is an output and no hard check fails: otherwise the gate never accepts it.
        certifies: The label is part of a fair sample of traffic, not merely of what was escalated.
    """

    task_key: str
    part: Part
    group: str
    label_source: LabelSource
    evidence: Mapping[str, float]
    right: bool
    allowed: bool
    certifies: bool = True


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What one student did on all of them.

    Attributes:
        items: In the order of the tasks.
        p50_ms: Median latency of an attempt alone, in milliseconds; None without attempts.
        p95_ms: 95th percentile of it.
    """

    items: tuple[Outcome, ...]
    p50_ms: float | None = None
    p95_ms: float | None = None

    def part(self, part: Part) -> tuple[Outcome, ...]:
        """Those of one part."""
        return tuple(item for item in self.items if item.part == part)

    def save(self, path: Path) -> None:
        """Write them as one JSON file, whole or not at all."""
        data = {
            "p50_ms": self.p50_ms,
            "p95_ms": self.p95_ms,
            "items": [asdict(item) for item in self.items],
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.new")
        fresh.write_text(encode(data), "utf-8")
        fresh.replace(path)

    @classmethod
    def load(cls, path: Path) -> Outcomes:
        """Read what `save` wrote.

        Raises:
            CorruptRecord: It is unreadable.
        """
        try:
            data = json.loads(path.read_text("utf-8"))
            items = tuple(_outcome(item) for item in data["items"])
            return cls(items, data["p50_ms"], data["p95_ms"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptRecord(
                f"The outcomes in {str(path)!r} cannot be read ({error}): remove the file and run "
                f"the round again.",
                path=path,
            ) from error


def _outcome(item: Mapping[str, Any]) -> Outcome:
    # Numbers that are not finite are kept as text.
    evidence = {name: float(value) for name, value in item["evidence"].items()}
    return Outcome(**{**item, "evidence": evidence})


def attempt_all(
    agent: Agent[Any, Any],
    rows: Sequence[tuple[Part, DatasetRow]],
    *,
    on_done: OnDone | None = None,
) -> Outcomes:
    """Let a sub-agent's student answer every labelled task. Blocks; call it off the event loop.

    Args:
        agent: The sub-agent, bound to the student.
        rows: The tasks with what their labels may be used for.
        on_done: Told of every task that is done.

    Raises:
        TrainingError: The student fails on most of the tasks.
    """
    return asyncio.run(_attempt_all(agent, rows, on_done))


async def _attempt_all(
    agent: Agent[Any, Any], rows: Sequence[tuple[Part, DatasetRow]], on_done: OnDone | None
) -> Outcomes:
    room = asyncio.Semaphore(_AT_ONCE)
    done, failures = 0, []

    async def one(part: Part, row: DatasetRow) -> tuple[Outcome, float]:
        nonlocal done
        async with room:
            outcome, latency, failure = await _attempt(agent, part, row)
        if failure is not None:
            failures.append(failure)
        done += 1
        if on_done is not None:
            on_done(done, len(rows))
        return outcome, latency

    # One at a time for the latency, the rest in batches.
    timed = [await one(part, row) for part, row in rows[:_TIMED]]
    others = await asyncio.gather(*(one(part, row) for part, row in rows[_TIMED:]))
    if rows and len(failures) > _MOST_FAILURES * len(rows):
        raise TrainingError(
            f"The student of {agent.name!r} fails on {len(failures)} of {len(rows)} tasks "
            f"({failures[0]}): mend the sub-agent, then run the round again."
        )
    items = tuple(outcome for outcome, _ in (*timed, *others))
    latencies = sorted(latency for _, latency in timed)
    if not latencies:
        return Outcomes(items)
    last = latencies[min(len(latencies) - 1, math.ceil(0.95 * len(latencies)) - 1)]
    return Outcomes(items, round(statistics.median(latencies), 3), round(last, 3))


async def _attempt(
    agent: Agent[Any, Any], part: Part, row: DatasetRow
) -> tuple[Outcome, float, str | None]:
    attempt, failure = Attempt(None), None
    right = False
    try:
        task = agent.validate(row.task)
        attempt = await agent.attempt(task)
        right = await asyncio.to_thread(_is_right, agent, attempt, row)
    except InvalidTask as error:
        failure = str(error)
    except Exception as error:  # noqa: BLE001  # a student that fails is wrong, whatever it raises
        failure = f"{type(error).__name__}: {error}"
    outcome = Outcome(
        task_key=row.task_key,
        part=part,
        group=str(row.provenance.get("group") or row.task_key),
        label_source=row.label_source,  # type: ignore[arg-type]  # curation wrote it
        evidence=dict(attempt.evidence),
        right=right,
        allowed=attempt.output is not None
        and all(check.passed for check in attempt.checks if check.hard),
        certifies=bool(row.provenance.get("certifies", True)),
    )
    return outcome, attempt.latency_ms, failure


def _is_right(agent: Agent[Any, Any], attempt: Attempt, row: DatasetRow) -> bool:
    """A label that fails a check is in doubt, and doubt counts against the student."""
    if attempt.output is None or row.provenance.get("failed_check"):
        return False
    label = agent.output_type.model_validate(row.answer)
    return bool(agent.agrees(attempt.output, label))


def rows_of(rows: Iterable[DatasetRow], part: Part) -> list[tuple[Part, DatasetRow]]:
    """Rows with the part that they belong to, by task key."""
    return [(part, row) for row in sorted(rows, key=lambda row: row.task_key)]
