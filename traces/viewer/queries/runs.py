"""The list of runs: a filter, its runs page by page, its neighbours, and what is in it by kind."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import groupby
from operator import itemgetter
from typing import Any, Self

PAGE = 50

STATUSES = ("ok", "error", "running", "interrupted", "cancelled")
SOURCES = ("student", "frontier", "human", "none")

_COLUMNS = """r.id, r.graph, r.status, r.started_at, r.duration_ms, r.session_id, r.num_tasks,
    r.num_escalations, r.cost_microusd, r.input_preview, r.output_preview, r.error_type,
    r.error_message, r.suite_run_id, r.scenario_id,
    (SELECT substr(t.input, 1, 300) FROM run_texts AS t WHERE t.run_id = r.id) AS asked"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which runs are looked at; an empty text does not filter.

    Attributes:
        q: Words that were asked or answered.
        agent: Runs with a task for this sub-agent.
        source: Runs with an answer from this one.
        reason: Runs with an escalation for this reason.
        status: How the run stands.
        graph: The graph that ran.
        escalated: `yes` or `no`: whether anything was.
        starred: `yes`: marked runs only.
        session, suite_run: Runs that belong to these.
        since, until: Days, `2026-01-31`; both included.
    """

    q: str = ""
    agent: str = ""
    source: str = ""
    reason: str = ""
    status: str = ""
    graph: str = ""
    escalated: str = ""
    starred: str = ""
    session: str = ""
    suite_run: str = ""
    since: str = ""
    until: str = ""

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
    """One page of runs, newest first.

    Attributes:
        rows: The runs, each with `agents` and `sources` beside its columns.
        newer, older: Cursors of the neighbouring pages; None where there is none.
    """

    rows: Sequence[dict[str, Any]]
    newer: str | None
    older: str | None


def where(asked: Filter) -> tuple[str, dict[str, Any]]:
    """SQL that holds for the runs of a filter, over `runs AS r`, and its parameters."""
    clauses: list[str] = []
    values: dict[str, Any] = {}
    simple = {
        "status": "r.status = :status",
        "graph": "r.graph = :graph",
        "session": "r.session_id = :session",
        "suite_run": "r.suite_run_id = :suite_run",
        "since": "r.started_at >= :since",
        "source": "EXISTS (SELECT 1 FROM attempts AS a WHERE a.run_id = r.id "
        "AND a.source = :source)",
        "reason": "EXISTS (SELECT 1 FROM escalations AS e WHERE e.run_id = r.id "
        "AND e.reason = :reason)",
        "agent": "EXISTS (SELECT 1 FROM attempts AS a WHERE a.run_id = r.id AND a.agent = :agent)",
    }
    for name, clause in simple.items():
        if value := getattr(asked, name):
            clauses.append(clause)
            values[name] = value
    if asked.until:
        clauses.append("r.started_at < :until")
        values["until"] = asked.until + "~"  # after every time of that day
    if asked.escalated:
        clauses.append(
            "r.num_escalations > 0" if asked.escalated == "yes" else "r.num_escalations = 0"
        )
    if asked.starred:
        clauses.append("r.id IN (SELECT run_id FROM stars)")
    if asked.q:
        clauses.append(
            "r.id IN (SELECT run_id FROM run_texts WHERE id IN "
            "(SELECT rowid FROM run_search WHERE run_search MATCH :q))"
        )
        values["q"] = match(asked.q)
    return " AND ".join(clauses) or "true", values


def match(words: str) -> str:
    """Words as a question to FTS5: all of them, the last one as it starts; never its own syntax."""
    quoted = ['"' + word.replace('"', '""') + '"' for word in words.replace("\0", " ").split()]
    # A star alone would be syntax; an empty text finds nothing.
    return " ".join(quoted or ['""']) + "*"


def listing(
    connection: sqlite3.Connection,
    asked: Filter,
    *,
    before: str | None = None,
    after: str | None = None,
    size: int = PAGE,
) -> Listing:
    """One page of a filter's runs.

    Args:
        connection: To the trace store.
        asked: The filter.
        before: Only runs older than this cursor.
        after: Only runs newer than this cursor, the nearest to it.
        size: Runs on a page.
    """
    clause, values = where(asked)
    cursor = before or after
    place, order = "true", "DESC"
    if cursor:
        values["at"], _, values["id"] = cursor.partition("~")
        place = f"(r.started_at, r.id) {'<' if before else '>'} (:at, :id)"
        order = "DESC" if before else "ASC"
    sql = f"""SELECT {_COLUMNS} FROM runs AS r WHERE {clause} AND {place}
        ORDER BY r.started_at {order}, r.id {order} LIMIT {size + 1}"""  # noqa: S608  # our own clauses; values are bound
    found = [dict(row) for row in connection.execute(sql, values)]
    is_more = len(found) > size
    rows = found[:size] if order == "DESC" else found[:size][::-1]
    _add_answers(connection, rows)
    _add_stars(connection, rows)
    has_newer = is_more if after else bool(before)
    has_older = bool(after) or is_more
    return Listing(
        rows,
        newer=cursor_of(rows[0]) if rows and has_newer else None,
        older=cursor_of(rows[-1]) if rows and has_older else None,
    )


def cursor_of(row: Mapping[str, Any]) -> str:
    """Where a run stands in the list."""
    return f"{row['started_at']}~{row['id']}"


def neighbours(
    connection: sqlite3.Connection, asked: Filter, run: Mapping[str, Any]
) -> tuple[str | None, str | None]:
    """Ids of the next newer and the next older run of a filter."""
    clause, values = where(asked)
    values |= {"at": run["started_at"], "id": run["id"]}
    ids: list[str | None] = []
    for sign, order in ((">", "ASC"), ("<", "DESC")):
        row = connection.execute(
            f"""SELECT r.id FROM runs AS r
            WHERE {clause} AND (r.started_at, r.id) {sign} (:at, :id)
            ORDER BY r.started_at {order}, r.id {order} LIMIT 1""",  # noqa: S608  # our own clauses; values are bound
            values,
        ).fetchone()
        ids.append(None if row is None else row[0])
    return ids[0], ids[1]


MAX_COUNTED = 5_000
"""Runs that are counted by kind: the newest of a filter, so that a large store takes no longer."""


@dataclass(frozen=True, slots=True)
class Facets:
    """What a filter's runs are, by kind.

    Attributes:
        num_runs: How many were counted.
        is_more: There are more than were counted.
        counts: By the filter's name: values with their runs, the most frequent first.
    """

    num_runs: int
    is_more: bool
    counts: Mapping[str, Sequence[tuple[str, int]]] = field(default_factory=dict)


def facets(connection: sqlite3.Connection, asked: Filter, limit: int = MAX_COUNTED) -> Facets:
    """Counts over the runs of a filter, the newest where there are more than the limit."""
    clause, values = where(asked)
    found = connection.execute(
        f"""SELECT r.id, r.status, r.graph, r.num_escalations > 0 FROM runs AS r WHERE {clause}
        ORDER BY r.started_at DESC, r.id DESC LIMIT {limit + 1}""",  # noqa: S608  # our own clauses; values are bound
        values,
    ).fetchall()
    counted = found[:limit]
    counts = {
        "status": Counter(row[1] for row in counted),
        "graph": Counter(row[2] for row in counted),
        "escalated": Counter("yes" if row[3] else "no" for row in counted),
        **_by_attempt(connection, [row[0] for row in counted]),
    }
    shown = {name: of_it.most_common(12) for name, of_it in counts.items()}
    return Facets(len(counted), len(found) > limit, shown)


def _by_attempt(connection: sqlite3.Connection, ids: Sequence[str]) -> dict[str, Counter[str]]:
    """How many of these runs asked each sub-agent, and how many had an answer from each source."""
    rows = connection.execute(
        """SELECT run_id, agent, source FROM attempts
        WHERE run_id IN (SELECT value FROM json_each(?)) ORDER BY run_id""",
        [json.dumps(ids)],
    )
    counts: dict[str, Counter[str]] = {"agent": Counter(), "source": Counter()}
    for _, of_run in groupby(rows, key=itemgetter(0)):
        asked = list(of_run)
        counts["agent"].update({row[1] for row in asked})
        counts["source"].update({row[2] for row in asked})
    return counts


def choices(connection: sqlite3.Connection) -> dict[str, list[str]]:
    """Values that the filter's form offers."""
    agents = "SELECT agent FROM v_trust ORDER BY 1 LIMIT 200"
    reasons = "SELECT DISTINCT reason FROM escalations ORDER BY 1 LIMIT 50"
    return {
        "agent": [row[0] for row in connection.execute(agents)],
        "reason": [row[0] for row in connection.execute(reasons)],
        "source": list(SOURCES),
        "status": list(STATUSES),
    }


def _add_answers(connection: sqlite3.Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Who was asked and who answered, for the runs of one page."""
    by_id = {row["id"]: row for row in rows}
    for row in rows:
        row["agents"], row["sources"] = [], []
    marks = ", ".join("?" * len(by_id))
    found = connection.execute(
        f"SELECT DISTINCT run_id, agent, source FROM attempts WHERE run_id IN ({marks})",  # noqa: S608  # question marks
        list(by_id),
    )
    for run_id, agent, source in found:
        row = by_id[run_id]
        for name, value in (("agents", agent), ("sources", source)):
            if value not in row[name]:
                row[name].append(value)


def _add_stars(connection: sqlite3.Connection, rows: Sequence[dict[str, Any]]) -> None:
    marks = ", ".join("?" * len(rows))
    found = connection.execute(
        f"SELECT run_id FROM stars WHERE run_id IN ({marks})",  # noqa: S608  # question marks
        [row["id"] for row in rows],
    )
    starred = {row[0] for row in found}
    for row in rows:
        row["is_starred"] = row["id"] in starred
