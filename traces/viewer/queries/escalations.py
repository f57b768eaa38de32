"""Escalations: a filter, its queue page by page, the neighbours of one, and one with its answers.

What waits for a verdict comes first, and of that what the student and the frontier disagree about.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from journeyman.traces.payloads import preview
from journeyman.traces.viewer.queries.reading import json_of, mapping, mappings
from journeyman.traces.viewer.queries.run import contents
from journeyman.traces.viewer.sides import Sides, sides

PAGE = 50

STATUSES = ("pending", "approved", "edited", "rejected")
AGREEMENTS = {"no": 0, "yes": 1, "unknown": None}

PLACE = """CASE WHEN e.review_status <> 'pending' THEN 3 WHEN e.agreement IS NULL THEN 1
    WHEN e.agreement THEN 2 ELSE 0 END"""
"""Where an escalation stands in the queue before its time is looked at."""

_CHECK = {"name": "", "passed": False, "hard": True, "detail": ""}

_CLAUSES = {
    "agent": "e.agent = :agent",
    "reason": "e.reason = :reason",
    "label": "e.label_source = :label",
    "status": "e.review_status = :status",
    "frontier": "e.status = :frontier",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which escalations are looked at; an empty text does not filter.

    Attributes:
        agent: Of this sub-agent.
        reason: Escalated for this reason.
        label: What the answer is as a label: `frontier`, `reference`, `tests` or `human`.
        status: With this verdict, or `pending`.
        agreement: `yes`, `no` or `unknown`: whether the student's answer was the same.
        frontier: Whether the frontier `answered`, `failed`, or the task is `queued`.
    """

    agent: str = ""
    reason: str = ""
    label: str = ""
    status: str = ""
    agreement: str = ""
    frontier: str = ""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Self:
        """The filter that a query string says; other names in it are left alone."""
        return cls(**{item.name: query.get(item.name, "") for item in fields(cls)})

    @property
    def said(self) -> dict[str, str]:
        """What filters, by name: the query string of the same filter."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name)}

    def without(self, name: str) -> dict[str, str]:
        """The query string of the filter without one of its parts."""
        return replace(self, **{name: ""}).said


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of the queue.

    Attributes:
        rows: Escalations, each with `confidence`, `threshold` and `task` beside its columns.
        before, after: Cursors of the neighbouring pages; None where there is none.
    """

    rows: Sequence[dict[str, Any]]
    before: str | None
    after: str | None


def where(asked: Filter) -> tuple[str, dict[str, Any]]:
    """SQL that holds for the escalations of a filter, over `escalations AS e`, and its values."""
    said = asked.said
    clauses = [clause for name, clause in _CLAUSES.items() if name in said]
    if asked.agreement:
        clauses.append("e.agreement IS :agreement")
    values: dict[str, Any] = dict(said)
    if asked.agreement:
        values["agreement"] = AGREEMENTS.get(asked.agreement, asked.agreement)
    return " AND ".join(clauses) or "true", values


def listing(
    connection: sqlite3.Connection,
    asked: Filter,
    *,
    after: str | None = None,
    before: str | None = None,
    size: int = PAGE,
) -> Listing:
    """One page of a filter's queue.

    Args:
        connection: To the trace store.
        asked: The filter.
        after: Only what comes after this cursor.
        before: Only what comes before this cursor, the nearest to it.
        size: Escalations on a page.
    """
    clause, values = where(asked)
    backwards = bool(before) and not after
    cursor = _place(after or before or "")
    order, sign = ("DESC", "<") if backwards else ("ASC", ">")
    beyond = f"({PLACE}, e.created_at, e.id) {sign} (:place, :at, :id)" if cursor else "true"
    sql = f"""SELECT e.id, {PLACE} AS place, e.created_at, e.attempt_id, e.run_id, e.agent,
            e.reason, e.status, e.agreement, e.label_source, e.cost_microusd, e.review_status,
            e.reviewer
        FROM escalations AS e WHERE {clause} AND {beyond}
        ORDER BY place {order}, e.created_at {order}, e.id {order} LIMIT {size + 1}"""  # noqa: S608  # our own clauses; values are bound
    found = [dict(row) for row in connection.execute(sql, {**values, **(cursor or {})})]
    is_more = len(found) > size
    rows = found[:size][::-1] if backwards else found[:size]
    _add_tasks(connection, rows)
    has_before = is_more if backwards else bool(cursor)
    has_after = bool(cursor) if backwards else is_more
    return Listing(
        rows,
        before=cursor_of(rows[0]) if rows and has_before else None,
        after=cursor_of(rows[-1]) if rows and has_after else None,
    )


def cursor_of(row: Mapping[str, Any]) -> str:
    """Where an escalation stands in the queue."""
    return f"{row['place']}~{row['created_at']}~{row['id']}"


def _place(cursor: str) -> dict[str, Any] | None:
    place, _, rest = cursor.partition("~")
    at, _, identifier = rest.partition("~")
    return {"place": int(place), "at": at, "id": identifier} if place in set("0123") else None


def _add_tasks(connection: sqlite3.Connection, rows: Sequence[dict[str, Any]]) -> None:
    """What was asked in short, and how sure the student was, for the rows of one page."""
    marks = ", ".join("?" * len(rows))
    found = connection.execute(
        f"""SELECT a.id, a.confidence, a.threshold, p.num_bytes, substr(p.content, 1, 4000) AS start
        FROM attempts AS a LEFT JOIN payloads AS p ON p.hash = a.input_hash
        WHERE a.id IN ({marks})""",  # noqa: S608  # question marks
        [row["attempt_id"] for row in rows],
    )
    by_attempt = {row["id"]: row for row in found}
    for row in rows:
        of_it = by_attempt.get(row["attempt_id"])
        row["confidence"] = of_it and of_it["confidence"]
        row["threshold"] = of_it and of_it["threshold"]
        row["task"] = (of_it and preview(json_of(of_it["start"], of_it["start"]))) or ""


def neighbours(
    connection: sqlite3.Connection, asked: Filter, row: Mapping[str, Any]
) -> tuple[str | None, str | None]:
    """Ids of what comes before and after an escalation in a filter's queue."""
    clause, values = where(asked)
    values |= {"place": row["place"], "at": row["created_at"], "id": row["id"]}
    ids: list[str | None] = []
    for sign, order in (("<", "DESC"), (">", "ASC")):
        found = connection.execute(
            f"""SELECT e.id FROM escalations AS e
            WHERE {clause} AND ({PLACE}, e.created_at, e.id) {sign} (:place, :at, :id)
            ORDER BY {PLACE} {order}, e.created_at {order}, e.id {order} LIMIT 1""",  # noqa: S608  # our own clauses; values are bound
            values,
        ).fetchone()
        ids.append(None if found is None else found[0])
    return ids[0], ids[1]


@dataclass(frozen=True, slots=True)
class Facets:
    """What a filter's escalations are, by kind.

    Attributes:
        total: How many there are.
        counts: By the filter's name: values with their escalations, the most frequent first.
    """

    total: int
    counts: Mapping[str, Sequence[tuple[str, int]]]


def facets(connection: sqlite3.Connection, asked: Filter) -> Facets:
    """Counts over all escalations of a filter."""
    clause, values = where(asked)
    names = ("status", "agreement", "agent", "reason", "label", "frontier")
    counts: dict[str, Counter[str]] = {name: Counter() for name in names}
    rows = connection.execute(
        f"""SELECT e.review_status, CASE WHEN e.agreement IS NULL THEN 'unknown'
                WHEN e.agreement THEN 'yes' ELSE 'no' END, e.agent, e.reason, e.label_source,
                e.status, count(*)
        FROM escalations AS e WHERE {clause} GROUP BY 1, 2, 3, 4, 5, 6""",  # noqa: S608  # our own clauses; values are bound
        values,
    )
    for row in rows:
        for name, value in zip(names, row, strict=False):
            counts[name][value] += row[6]
    return Facets(
        counts["status"].total(), {name: found.most_common(12) for name, found in counts.items()}
    )


def find(connection: sqlite3.Connection, escalation_id: str) -> dict[str, Any] | None:
    """An escalation with its place in the queue and where it is from; None where there is none."""
    row = connection.execute(
        f"""SELECT e.*, {PLACE} AS place, r.scenario_id, r.suite_run_id, s.suite,
            x.status AS release_status
        FROM escalations AS e LEFT JOIN runs AS r ON r.id = e.run_id
        LEFT JOIN suite_runs AS s ON s.id = r.suite_run_id
        LEFT JOIN attempts AS a ON a.id = e.attempt_id
        LEFT JOIN releases AS x ON x.id = a.release
        WHERE e.id = ?""",  # noqa: S608  # a constant
        [escalation_id],
    ).fetchone()
    return None if row is None else dict(row)


def starting_with(connection: sqlite3.Connection, prefix: str) -> list[str]:
    """Ids that start so, at most two: the command line shows the start alone."""
    rows = connection.execute(
        "SELECT id FROM escalations WHERE id >= ? AND id < ? ORDER BY id LIMIT 2",
        [prefix, prefix + "~"],
    )
    return [row[0] for row in rows]


@dataclass(frozen=True, slots=True)
class Side:
    """Everything about one escalation that is worth a reviewer's look.

    Attributes:
        attempt: Columns of the attempt; None where it is not on record.
        evidence: Named numbers about it, by name.
        checks: Results of the checks.
        task: What was asked; None where it is too large, or not on record.
        both: The two answers; None where there is neither, or one is too large to show.
        reviewed: The answer that a reviewer gave, beside the frontier's; None without one.
        start: Where an edited answer starts from: the frontier's answer, or else the student's, as
            JSON; None where it is too large for a page.
        scores: What was said of it, oldest first.
    """

    attempt: Mapping[str, Any] | None
    evidence: Mapping[str, Any]
    checks: Sequence[Mapping[str, Any]]
    task: Sides | None
    both: Sides | None
    reviewed: Sides | None
    start: str | None
    scores: Sequence[Mapping[str, Any]]


def side_of(connection: sqlite3.Connection, row: Mapping[str, Any]) -> Side:
    """What belongs to an escalation."""
    attempt = connection.execute(
        "SELECT * FROM attempts WHERE id = ?", [row["attempt_id"]]
    ).fetchone()
    student, frontier, reviewed = (
        row[f"{name}_output_hash"] for name in ("student", "frontier", "reviewed")
    )
    asked = attempt["input_hash"] if attempt is not None else None
    content = contents(connection, [asked, student, frontier, reviewed])
    both = None
    if all(key is None or key in content for key in (student, frontier)):
        both = sides(content.get(student), content.get(frontier))
    scores = connection.execute(
        """SELECT * FROM scores WHERE target_type = 'escalation' AND target_id = ?
        ORDER BY created_at, id LIMIT 100""",
        [row["id"]],
    )
    return Side(
        None if attempt is None else dict(attempt),
        mapping(json_of(attempt["evidence"])) if attempt is not None else {},
        mappings(json_of(attempt["checks"]), **_CHECK) if attempt is not None else [],
        sides(content.get(asked or ""), None),
        both,
        sides(content[reviewed], content.get(frontier)) if reviewed in content else None,
        _start(content, frontier or student),
        [dict(score) for score in scores],
    )


def _start(content: Mapping[str, Any], hashed: str | None) -> str | None:
    if hashed is not None and hashed not in content:
        return None
    value = content[hashed] if hashed is not None else {}
    return json.dumps(value, indent=2, ensure_ascii=False)
