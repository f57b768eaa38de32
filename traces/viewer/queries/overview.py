"""What the overview asks: how much, answered by whom, at what cost, and how far each is trusted."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

SOURCES = ("student", "frontier", "human", "none")


@dataclass(frozen=True, slots=True)
class Traffic:
    """Tasks of some days.

    Attributes:
        days: Every day, without gaps, oldest first.
        by_source: Tasks of each day, by who answered.
        by_agent: By sub-agent: tasks by who answered.
    """

    days: Sequence[str]
    by_source: Mapping[str, Sequence[int]]
    by_agent: Mapping[str, Mapping[str, int]]

    @property
    def totals(self) -> dict[str, int]:
        """Tasks by who answered."""
        return {source: sum(values) for source, values in self.by_source.items()}

    @property
    def num_tasks(self) -> int:
        """All of them."""
        return sum(self.totals.values())

    @property
    def most(self) -> int:
        """Tasks of the busiest day."""
        return max(map(sum, zip(*self.by_source.values(), strict=True)), default=0)

    @property
    def student_share(self) -> float | None:
        """Share of the tasks that students answered; None without tasks."""
        return self.totals["student"] / self.num_tasks if self.num_tasks else None


FEWEST_DAYS = 7


def period(connection: sqlite3.Connection, days: int) -> tuple[str, str] | None:
    """First and last day to look at; None where no task is on record.

    Args:
        connection: To the trace store.
        days: At most so many, up to the latest task; none are shown from before the first one,
            but for those that make up `FEWEST_DAYS`.
    """
    first = connection.execute("SELECT min(created_at) FROM attempts").fetchone()[0]
    last = connection.execute("SELECT max(created_at) FROM attempts").fetchone()[0]
    if last is None:
        return None
    end = date.fromisoformat(last[:10])
    since_first = (end - date.fromisoformat(first[:10])).days + 1
    shown = min(days, max(since_first, FEWEST_DAYS))
    return str(end - timedelta(days=shown - 1)), str(end)


def traffic(connection: sqlite3.Connection, since: str, until: str) -> Traffic:
    """Tasks from one day to another, both included."""
    first, last = date.fromisoformat(since), date.fromisoformat(until)
    days = [str(first + timedelta(days=i)) for i in range((last - first).days + 1)]
    place = {day: i for i, day in enumerate(days)}
    by_source = {source: [0] * len(days) for source in SOURCES}
    by_agent: defaultdict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(SOURCES, 0))
    rows = connection.execute(
        """SELECT substr(created_at, 1, 10) AS day, agent, source, count(*) FROM attempts
        WHERE created_at >= :since AND created_at < :until GROUP BY 1, 2, 3""",
        {"since": since, "until": until + "~"},
    )
    for day, agent, source, number in rows:
        if day in place and source in by_source:
            by_source[source][place[day]] += number
            by_agent[agent][source] += number
    return Traffic(days, by_source, dict(by_agent))


@dataclass(frozen=True, slots=True)
class Cost:
    """What the frontier cost, and would have cost alone.

    Attributes:
        spent_microusd: Known cost; None where answers were given and no price is known.
        frontier_only_microusd: Every task at its sub-agent's mean price; None where one lacks.
        num_unpriced: Answered escalations without a known price.
    """

    spent_microusd: int | None
    frontier_only_microusd: float | None
    num_unpriced: int

    @property
    def saving(self) -> float | None:
        """Share of the frontier-only cost that was saved; None where a price is unknown."""
        if self.spent_microusd is None or self.num_unpriced or not self.frontier_only_microusd:
            return None
        return 1 - self.spent_microusd / self.frontier_only_microusd


def cost(
    connection: sqlite3.Connection,
    since: str,
    until: str,
    by_agent: Mapping[str, Mapping[str, int]],
) -> Cost:
    """Cost of the same days, against asking the frontier about every task."""
    # The plus keeps SQLite from an index that has the agents in order and the costs elsewhere.
    rows = connection.execute(
        """SELECT agent, sum(cost_microusd), count(cost_microusd),
            sum(cost_microusd IS NULL AND status = 'answered'), avg(cost_microusd)
        FROM escalations WHERE created_at >= :since AND created_at < :until GROUP BY +agent""",
        {"since": since, "until": until + "~"},
    ).fetchall()
    means = {agent: mean for agent, _, _, _, mean in rows if mean is not None}
    unpriced = sum(row[3] for row in rows)
    spent = [row[1] for row in rows if row[1] is not None]
    tasks = {agent: sum(sources.values()) for agent, sources in by_agent.items()}
    known = all(agent in means for agent in tasks)
    return Cost(
        spent_microusd=sum(spent) if spent or not unpriced else None,
        frontier_only_microusd=(
            sum(means[agent] * number for agent, number in tasks.items()) if known else None
        ),
        num_unpriced=unpriced,
    )


def reasons(connection: sqlite3.Connection, since: str, until: str) -> list[tuple[str, int]]:
    """Escalations of the same days by reason, the most frequent first."""
    rows = connection.execute(
        """SELECT reason, count(*) FROM escalations
        WHERE created_at >= :since AND created_at < :until GROUP BY reason ORDER BY 2 DESC""",
        {"since": since, "until": until + "~"},
    )
    return [(row[0], row[1]) for row in rows]


def trust(connection: sqlite3.Connection) -> list[dict[str, Any]]:
    """Every sub-agent, who answers for it, and how far that one is trusted."""
    return [dict(row) for row in connection.execute("SELECT * FROM v_trust ORDER BY agent")]


def pending(connection: sqlite3.Connection) -> dict[str, int]:
    """Escalations that nobody has reviewed, by sub-agent."""
    rows = connection.execute(
        "SELECT agent, count(*) FROM escalations WHERE review_status = 'pending' GROUP BY agent"
    )
    return {row[0]: row[1] for row in rows}


def last_suites(connection: sqlite3.Connection, limit: int = 6) -> list[dict[str, Any]]:
    """The latest suite runs."""
    rows = connection.execute(
        "SELECT * FROM v_suite_history ORDER BY started_at DESC LIMIT ?", [limit]
    )
    return [dict(row) for row in rows]
