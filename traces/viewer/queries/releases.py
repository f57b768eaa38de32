"""Releases: which came of which, which is in traffic, and what one is made of."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from journeyman.traces.viewer.queries.agents import proved
from journeyman.traces.viewer.queries.reading import json_of, mapping, numbers
from journeyman.traces.viewer.queries.run import contents

MAX_RELEASES = 300


@dataclass(frozen=True, slots=True)
class Entry:
    """A release where it stands in the line of its parents.

    Attributes:
        row: Its columns, with those of its newest certificate under names that start with `c_`.
        depth: Releases between it and the first of its line.
        metrics: Named numbers of its evaluation.
    """

    row: Mapping[str, Any]
    depth: int
    metrics: Mapping[str, float]


def lineage(connection: sqlite3.Connection, agent: str = "") -> dict[str, list[Entry]]:
    """Releases by sub-agent, each after the one that it was trained from or replaced."""
    rows = connection.execute(
        f"""SELECT r.*, c.kind AS c_kind, c.max_error AS c_max_error, c.coverage AS c_coverage,
            c.threshold AS c_threshold, c.label_source AS c_label_source,
            c.withdrawn_at AS c_withdrawn_at, n.number AS round_number
        FROM (SELECT * FROM releases WHERE :agent = '' OR agent = :agent
            ORDER BY created_at DESC LIMIT {MAX_RELEASES}) AS r
        LEFT JOIN certificates AS c ON c.id = (
            SELECT max(id) FROM certificates WHERE release_id = r.id)
        LEFT JOIN rounds AS n ON n.id = r.round_id
        ORDER BY r.agent, r.created_at, r.id""",  # noqa: S608  # a constant
        {"agent": agent},
    )
    grouped: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        grouped.setdefault(row["agent"], []).append(dict(row))
    return {name: _in_line(found) for name, found in grouped.items()}


def _in_line(rows: Sequence[dict[str, Any]]) -> list[Entry]:
    known = {row["id"] for row in rows}
    children: dict[str | None, list[dict[str, Any]]] = {}
    for row in rows:
        parent = row["parent_id"] if row["parent_id"] in known else None
        children.setdefault(parent, []).append(row)
    ordered: list[tuple[dict[str, Any], int]] = []
    stack = [(row, 0) for row in reversed(children.get(None, []))]
    while stack:  # long lines are no reason to recurse
        row, depth = stack.pop()
        ordered.append((row, depth))
        below = children.get(row["id"], [])
        stack.extend((child, depth + 1) for child in reversed(below))
    # Releases that name each other as parents hang on nothing; they are shown at the end.
    reached = {row["id"] for row, _ in ordered}
    ordered.extend((row, 0) for row in rows if row["id"] not in reached)
    return [Entry(row, depth, numbers(json_of(row["metrics"]))) for row, depth in ordered]


def find(connection: sqlite3.Connection, release_id: str) -> dict[str, Any] | None:
    """A release; None where it is not on record."""
    row = connection.execute(
        """SELECT r.*, n.number AS round_number FROM releases AS r
        LEFT JOIN rounds AS n ON n.id = r.round_id WHERE r.id = ?""",
        [release_id],
    ).fetchone()
    return None if row is None else {**dict(row), "metrics": numbers(json_of(row["metrics"]))}


def starting_with(connection: sqlite3.Connection, prefix: str) -> list[str]:
    """Ids that start so, at most two: people give the start alone."""
    rows = connection.execute(
        "SELECT id FROM releases WHERE id >= ? AND id < ? ORDER BY id LIMIT 2",
        [prefix, prefix + "~"],
    )
    return [row[0] for row in rows]


@dataclass(frozen=True, slots=True)
class Around:
    """What belongs to a release.

    Attributes:
        certificates: The newest first, each with `certificate`, None where the row holds none.
        changes: Of the traffic and the trust, as far as they are about it, the latest first.
        parents: Its parent, that one's parent and so on; each `(id, is on record)`.
        children: Releases that were trained from it or replaced it.
        digest: Hash of everything that shapes an answer.
        parts: What it is made of, besides its files; None where that is too large to show.
    """

    certificates: Sequence[Mapping[str, Any]]
    changes: Sequence[Mapping[str, Any]]
    parents: Sequence[tuple[str, bool]]
    children: Sequence[str]
    digest: str
    parts: Mapping[str, Any] | None


def around(connection: sqlite3.Connection, row: Mapping[str, Any]) -> Around:
    """Certificates, changes, family and parts of a release."""
    certificates = connection.execute(
        "SELECT * FROM certificates WHERE release_id = ? ORDER BY id DESC LIMIT 50", [row["id"]]
    )
    changes = connection.execute(
        """SELECT * FROM release_changes WHERE agent = :agent
        AND (release_id = :id OR previous_id = :id) ORDER BY version DESC LIMIT 50""",
        {"agent": row["agent"], "id": row["id"]},
    )
    children = connection.execute(
        "SELECT id FROM releases WHERE agent = ? AND parent_id = ? ORDER BY created_at LIMIT 50",
        [row["agent"], row["id"]],
    )
    content = contents(connection, [row["parts_hash"]])
    kept = mapping(content.get(row["parts_hash"]))
    digest = kept.get("digest")
    return Around(
        [{**dict(one), "certificate": proved(dict(one))} for one in certificates],
        [dict(one) for one in changes],
        _parents(connection, row),
        [one[0] for one in children],
        digest if isinstance(digest, str) else "",
        mapping(kept.get("parts")) if row["parts_hash"] in content else None,
    )


def _parents(
    connection: sqlite3.Connection, row: Mapping[str, Any], most: int = 20
) -> list[tuple[str, bool]]:
    found: list[tuple[str, bool]] = []
    parent = row["parent_id"]
    while parent and len(found) < most and parent not in {name for name, _ in found}:
        above = connection.execute(
            "SELECT parent_id FROM releases WHERE id = ?", [parent]
        ).fetchone()
        found.append((parent, above is not None))
        parent = None if above is None else above[0]
    return found
