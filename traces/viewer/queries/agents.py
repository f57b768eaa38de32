"""What the pages of sub-agents ask: trust and why, latest attempts with their labels, drift, money.

Figures about attempts are of the latest `WINDOW` of one release, so that they say how it is now,
and a page takes as long in a large store as in a small one.
"""

from __future__ import annotations

import math
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from pydantic import ValidationError

from journeyman.models.certificate import Certificate
from journeyman.models.drift import DriftDetector
from journeyman.traces.attempts import fails_hard
from journeyman.traces.collect import CERTIFYING, REVIEW, STUDENT_AGREES
from journeyman.traces.release_rows import certificate_of
from journeyman.traces.viewer.queries import overview
from journeyman.traces.viewer.queries.reading import json_of, mappings, numbers

WINDOW = 3_000
"""Attempts that are looked at."""


def trust(connection: sqlite3.Connection, agent: str) -> dict[str, Any] | None:
    """How far a sub-agent is trusted; None for one that is not on record."""
    row = connection.execute("SELECT * FROM v_trust WHERE agent = ?", [agent]).fetchone()
    return None if row is None else dict(row)


def standing(connection: sqlite3.Connection, release_id: str | None) -> dict[str, Any] | None:
    """The newest certificate of a release: its row, what it proves, and the drift detector.

    `certificate` and `detector` are None where the row does not hold one.
    """
    row = connection.execute(
        """SELECT c.*, d.detector, d.updated_at AS audited_at FROM certificates AS c
        LEFT JOIN drift AS d ON d.certificate_id = c.id
        WHERE c.release_id = ? ORDER BY c.id DESC LIMIT 1""",
        [release_id],
    ).fetchone()
    if row is None:
        return None
    return {**dict(row), "certificate": proved(dict(row)), "detector": _detector(row["detector"])}


def proved(row: Mapping[str, Any]) -> Certificate | None:
    """The certificate of a row; None where it holds none."""
    try:
        return certificate_of(row).certificate
    except (ValidationError, ValueError, TypeError):
        return None


def _detector(text: str | None) -> DriftDetector | None:
    try:
        return None if text is None else DriftDetector.model_validate_json(text)
    except ValidationError:
        return None


def changes(connection: sqlite3.Connection, agent: str, limit: int = 12) -> list[dict[str, Any]]:
    """What changed about the release in traffic and the trust in it, the latest first."""
    rows = connection.execute(
        "SELECT * FROM release_changes WHERE agent = ? ORDER BY version DESC LIMIT ?",
        [agent, limit],
    )
    return [dict(row) for row in rows]


def releases(connection: sqlite3.Connection, agent: str) -> list[dict[str, Any]]:
    """Releases that could be looked at, the one in traffic first: on record, or lately attempted.

    Each has `id`, `status` (None where it is not on record) and `num_attempts`, of the latest.
    """
    rows = connection.execute(
        f"""SELECT release, count(*), max(created_at) FROM (
            SELECT release, created_at FROM attempts WHERE agent = ?
            ORDER BY created_at DESC LIMIT {WINDOW})
        GROUP BY release ORDER BY 3 DESC""",  # noqa: S608  # a constant
        [agent],
    )
    counts = {row[0]: row[1] for row in rows}
    known = connection.execute(
        "SELECT id, status FROM releases WHERE agent = ? ORDER BY created_at DESC LIMIT 50", [agent]
    )
    status = {row[0]: row[1] for row in known}
    found = [
        {"id": name, "status": status.get(name), "num_attempts": counts.get(name, 0)}
        for name in dict.fromkeys((*counts, *status))
    ]
    return sorted(found, key=lambda each: each["status"] != "active")


@dataclass(frozen=True, slots=True)
class Attempted:
    """One attempt, and whether its label says that it is right.

    Attributes:
        confidence: None where no head spoke.
        is_right: None without a label.
        is_fair: Its label is part of a fair sample of traffic.
        label_source: Who gave the label; empty without one.
        evidence: The attempt's numbers, as JSON.
        is_valid: It has an answer and failed no hard check; no other can ever be accepted.
    """

    confidence: float | None
    is_right: bool | None
    is_fair: bool
    label_source: str
    evidence: str
    is_valid: bool = True


def latest(connection: sqlite3.Connection, agent: str, release: str) -> list[Attempted]:
    """The latest attempts of a release, at most `WINDOW`; each with its label, where it has one.

    As `judged` has it: a person's verdict beats the frontier's, and no answer is right to a task
    whose only one they rejected.
    """
    rows = connection.execute(
        f"""SELECT a.id, a.confidence, a.evidence, a.checks, a.output_hash, e.reason, e.status,
            CASE e.review_status WHEN 'rejected' THEN 0 WHEN 'edited' THEN s.score
                ELSE e.agreement END,
            CASE e.review_status WHEN 'pending' THEN e.label_source ELSE 'human' END
        FROM (SELECT id, confidence, evidence, checks, output_hash, created_at FROM attempts
            WHERE agent = :agent AND release = :release
            ORDER BY created_at DESC LIMIT {WINDOW}) AS a
        LEFT JOIN escalations AS e ON e.attempt_id = a.id
        LEFT JOIN scores AS s ON s.target_type = 'escalation' AND s.target_id = e.id
            AND s.name = :name AND s.identifier = :review""",  # noqa: S608  # a constant
        {"agent": agent, "release": release, "name": STUDENT_AGREES, "review": REVIEW},
    )
    found: dict[str, Attempted] = {}
    for row in rows:
        identifier, confidence, evidence, checks, output, reason, status, agreement, source = row
        is_fair = agreement is not None and reason in CERTIFYING and status == "answered"
        known = found.get(identifier)
        # An attempt may have been escalated more than once.
        if known is None or (known.is_right is None and agreement is not None) or is_fair:
            is_right = None if agreement is None else bool(agreement)
            label = source if agreement is not None else ""
            is_valid = output is not None and not fails_hard(
                mappings(json_of(checks), passed=False)
            )
            found[identifier] = Attempted(confidence, is_right, is_fair, label, evidence, is_valid)
    return list(found.values())


def sources_of(attempts: Sequence[Attempted]) -> list[str]:
    """Who gave the labels of some attempts, who gave most first."""
    return [name for name, _ in Counter(a.label_source for a in attempts).most_common() if name]


@dataclass(frozen=True, slots=True)
class Evidence:
    """One named number over some attempts.

    Attributes:
        name: Which.
        names: All that there are.
        edges: Ends of the bins, one more than there are.
        right, wrong, unlabelled: Attempts in each bin, by what their label says.
    """

    name: str
    names: Sequence[str]
    edges: Sequence[float]
    right: Sequence[int]
    wrong: Sequence[int]
    unlabelled: Sequence[int]


def evidence(attempts: Sequence[Attempted], wanted: str, num_bins: int = 20) -> Evidence | None:
    """A histogram of one of the attempts' numbers; None where there are none.

    Args:
        attempts: Whose evidence it is.
        wanted: The number's name; the first there is where there is none of this name.
        num_bins: Bins of equal width between the smallest and the largest.
    """
    read = [(numbers(json_of(each.evidence)), each.is_right) for each in attempts]
    names = sorted({name for values, _ in read for name in values})
    if not names:
        return None
    name = wanted if wanted in names else names[0]
    found = [
        (values[name], is_right)
        for values, is_right in read
        if name in values and math.isfinite(values[name])
    ]
    if not found:
        return Evidence(name, names, [0.0, 1.0], [0], [0], [0])
    low, high = min(value for value, _ in found), max(value for value, _ in found)
    width = (high - low) / num_bins
    has_width = math.isfinite(width) and width > 0
    num_bins = num_bins if has_width else 1
    counts = {verdict: [0] * num_bins for verdict in (True, False, None)}
    for value, is_right in found:
        place = min(int((value - low) / width), num_bins - 1) if has_width else 0
        counts[is_right][place] += 1
    edges = [low, *(low + i * width for i in range(1, num_bins)), high]
    return Evidence(name, names, edges, counts[True], counts[False], counts[None])


@dataclass(frozen=True, slots=True)
class Spending:
    """What the frontier cost for a sub-agent.

    Attributes:
        days: Every day, without gaps, oldest first.
        microusd: Known cost of each.
        num_escalations: Of all of them.
        num_unpriced: Answered ones without a known price.
    """

    days: Sequence[str]
    microusd: Sequence[int]
    num_escalations: int
    num_unpriced: int

    @property
    def total_microusd(self) -> int | None:
        """Known cost; None where there are answers and no price is known."""
        return sum(self.microusd) if any(self.microusd) or not self.num_unpriced else None


def spending(connection: sqlite3.Connection, agent: str, days: int = 30) -> Spending | None:
    """Money of the days up to the latest escalation; None where there was none."""
    first, last = connection.execute(
        "SELECT min(created_at), max(created_at) FROM escalations WHERE agent = ?", [agent]
    ).fetchone()
    if last is None:
        return None
    until = date.fromisoformat(last[:10])
    since_first = (until - date.fromisoformat(first[:10])).days + 1
    days = min(days, max(since_first, overview.FEWEST_DAYS))
    shown = [str(until - timedelta(days=days - 1 - i)) for i in range(days)]
    rows = connection.execute(
        """SELECT substr(created_at, 1, 10), coalesce(sum(cost_microusd), 0), count(*),
            sum(cost_microusd IS NULL AND status = 'answered')
        FROM escalations WHERE agent = ? AND created_at >= ? GROUP BY 1""",
        [agent, shown[0]],
    ).fetchall()
    by_day = {row[0]: row for row in rows}
    return Spending(
        shown,
        [by_day[day][1] if day in by_day else 0 for day in shown],
        sum(row[2] for row in rows),
        sum(row[3] for row in rows),
    )
