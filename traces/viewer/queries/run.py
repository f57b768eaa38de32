"""One run: its spans in the order of their tree, its tasks with both answers, its neighbours.

Only numbers and names are read of the spans; content is read of one span, when it is asked for.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from journeyman.traces.viewer.sides import Sides, sides

KindT = TypeVar("KindT", list[Any], dict[str, Any])

PAGE = 500
"""Spans on a page."""

MAX_ANSWER_BYTES = 65_536
"""A larger answer is linked to rather than compared in the page."""

MAX_TASKS = 50
"""Tasks of one run whose answers are shown."""


def find(connection: sqlite3.Connection, run_id: str) -> dict[str, Any] | None:
    """The run; None where it is not on record."""
    row = connection.execute(
        """SELECT r.*, s.starred_at, substr(t.input, 1, 2000) AS asked
        FROM runs AS r LEFT JOIN stars AS s ON s.run_id = r.id
        LEFT JOIN run_texts AS t ON t.run_id = r.id
        WHERE r.id = ?""",
        [run_id],
    ).fetchone()
    return None if row is None else {**dict(row), "tags": _parsed(row["tags"], list)}


def starting_with(connection: sqlite3.Connection, prefix: str) -> list[str]:
    """Ids that start so, at most two: the command line shows the start alone."""
    rows = connection.execute(
        "SELECT id FROM runs WHERE id >= ? AND id < ? ORDER BY id LIMIT 2", [prefix, prefix + "~"]
    )
    return [row[0] for row in rows]


@dataclass(frozen=True, slots=True)
class Step:
    """A span where it stands in its tree and in time.

    Attributes:
        row: Its columns.
        depth: Spans around it.
        start, width: Of its bar, as shares of the whole run.
    """

    row: Mapping[str, Any]
    depth: int
    start: float
    width: float


@dataclass(frozen=True, slots=True)
class Steps:
    """One page of a run's spans.

    Attributes:
        rows: In the order of the tree.
        num_spans: Of the whole run.
        page, num_pages: From 1.
        total_ms: What the bars are measured by.
    """

    rows: Sequence[Step]
    num_spans: int
    page: int
    num_pages: int
    total_ms: float


def steps(connection: sqlite3.Connection, run_id: str, *, page: int, span: str | None) -> Steps:
    """One page of a run's spans as tree and waterfall.

    Args:
        connection: To the trace store.
        run_id: The run.
        page: From 1; what lies beyond the last is the last.
        span: A span that must be on the page, whichever was asked for; None for none.
    """
    rows = [
        dict(row)
        for row in connection.execute(
            """SELECT id, parent_id, name, kind, agent, node, status, status_message, started_at,
                duration_ms, model, input_tokens, output_tokens, cost_microusd, input_preview
            FROM spans WHERE run_id = ? ORDER BY started_at, id""",
            [run_id],
        )
    ]
    ordered = _in_tree_order(rows)
    if span is not None:
        places = [i for i, (row, _) in enumerate(ordered) if row["id"] == span]
        page = places[0] // PAGE + 1 if places else page
    num_pages = max((len(ordered) + PAGE - 1) // PAGE, 1)
    page = min(max(page, 1), num_pages)
    starts = [_milliseconds(row["started_at"]) for row in rows]
    first = min(starts, default=0.0)
    ends = [start + row["duration_ms"] for start, row in zip(starts, rows, strict=True)]
    total = max(max(ends, default=0.0) - first, 1e-3)
    at = {row["id"]: start for row, start in zip(rows, starts, strict=True)}
    shown = ordered[(page - 1) * PAGE : page * PAGE]
    return Steps(
        [
            Step(row, depth, (at[row["id"]] - first) / total, row["duration_ms"] / total)
            for row, depth in shown
        ],
        len(rows),
        page,
        num_pages,
        total,
    )


def _in_tree_order(rows: Sequence[dict[str, Any]]) -> list[tuple[dict[str, Any], int]]:
    """Spans with their depth, each before those inside it, siblings by their start."""
    known = {row["id"] for row in rows}
    inside: defaultdict[str | None, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        inside[row["parent_id"] if row["parent_id"] in known else None].append(row)
    ordered: list[tuple[dict[str, Any], int]] = []
    stack = [(row, 0) for row in reversed(inside[None])]
    while stack:  # deep trees are no reason to recurse
        row, depth = stack.pop()
        ordered.append((row, depth))
        stack.extend((child, depth + 1) for child in reversed(inside[row["id"]]))
    # Spans that name each other as parents hang on nothing; they are shown at the end.
    reached = {row["id"] for row, _ in ordered}
    ordered.extend((row, 0) for row in rows if row["id"] not in reached)
    return ordered


def span_of(connection: sqlite3.Connection, run_id: str, span_id: str) -> dict[str, Any] | None:
    """Everything about one span of a run; None where it is not on record."""
    row = connection.execute(
        "SELECT * FROM spans WHERE run_id = ? AND id = ?", [run_id, span_id]
    ).fetchone()
    if row is None:
        return None
    return {**dict(row), "attributes": _parsed(row["attributes"], dict)}


def scores(connection: sqlite3.Connection, run_id: str) -> list[dict[str, Any]]:
    """Verdicts about the run and what is in it."""
    rows = connection.execute(
        "SELECT * FROM scores WHERE run_id = ? ORDER BY created_at, id LIMIT 200", [run_id]
    )
    return [dict(row) for row in rows]


def inside(connection: sqlite3.Connection, run_id: str) -> list[dict[str, Any]]:
    """Runs of graphs inside this one."""
    rows = connection.execute(
        "SELECT id, graph, status FROM runs WHERE parent_run_id = ? LIMIT 50", [run_id]
    )
    return [dict(row) for row in rows]


@dataclass(frozen=True, slots=True)
class Task:
    """One task of a run: what was asked, what the student and the frontier said.

    Attributes:
        row: Columns of the attempt, and of its escalation under names that start with `e_`.
        evidence: Named numbers, by name.
        checks: Results of the checks.
        question: What was asked; None where it is too large to show.
        both: The student's and the frontier's answer; None where one is too large, or both lack.
        answer: The final answer, where there is nothing to compare.
    """

    row: Mapping[str, Any]
    evidence: Mapping[str, Any]
    checks: Sequence[Mapping[str, Any]]
    question: Any
    both: Sides | None
    answer: Any


def tasks(connection: sqlite3.Connection, run_id: str) -> list[Task]:
    """Tasks of a run in order of time, at most `MAX_TASKS`."""
    rows = [
        dict(row)
        for row in connection.execute(
            f"""SELECT a.*, e.id AS e_id, e.reason AS e_reason, e.status AS e_status,
                e.frontier_model AS e_model, e.agreement AS e_agreement, e.error AS e_error,
                e.cost_microusd AS e_cost, e.latency_ms AS e_latency,
                e.review_status AS e_review, e.reviewer AS e_reviewer,
                e.student_output_hash AS e_student, e.frontier_output_hash AS e_frontier,
                e.reviewed_output_hash AS e_reviewed
            FROM attempts AS a LEFT JOIN escalations AS e ON e.attempt_id = a.id
            WHERE a.run_id = ? ORDER BY a.created_at, a.id LIMIT {MAX_TASKS}""",  # noqa: S608  # a constant
            [run_id],
        )
    ]
    content = contents(
        connection,
        [row[name] for row in rows for name in ("input_hash", "output_hash", "answer_hash",
                                                "e_frontier")],
    )  # fmt: skip
    return [_task(row, content) for row in rows]


def _task(row: dict[str, Any], content: Mapping[str, Any]) -> Task:
    student, frontier = row["output_hash"], row["e_frontier"]
    comparable = all(key is None or key in content for key in (student, frontier))
    both = None
    if comparable:
        both = sides(content[student] if student else None, content[frontier] if frontier else None)
    return Task(
        row,
        _parsed(row["evidence"], dict),
        [check for check in _parsed(row["checks"], list) if isinstance(check, dict)],
        content.get(row["input_hash"]),
        both,
        content.get(row["answer_hash"]),
    )


def contents(connection: sqlite3.Connection, hashes: Sequence[str | None]) -> dict[str, Any]:
    """Decoded payloads by hash; those that are missing or too large for a page are left out."""
    wanted = sorted({key for key in hashes if key})
    marks = ", ".join("?" * len(wanted))
    rows = connection.execute(
        f"""SELECT hash, content FROM payloads
        WHERE hash IN ({marks}) AND num_bytes <= {MAX_ANSWER_BYTES}""",  # noqa: S608  # question marks and a constant
        wanted,
    )
    return {row[0]: _json(row[1], row[1]) for row in rows}


def _json(text: str, otherwise: Any) -> Any:
    """What a JSON text says; whatever else is in the column must not break a page."""
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return otherwise


def _parsed(text: str, kind: type[KindT]) -> KindT:
    """What a JSON text says where it is of the kind that it should be; else an empty one."""
    found = _json(text, None)
    return found if isinstance(found, kind) else kind()


def _milliseconds(time: str) -> float:
    """A stored time; 0 where it is none."""
    try:
        return datetime.fromisoformat(time).timestamp() * 1000
    except (ValueError, OverflowError):
        return 0.0
