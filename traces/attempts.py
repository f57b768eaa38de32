"""Attempts as numbers: evidence, confidence, whether there was an answer, what escalating cost.

Read without payloads, so that a whole release fits in memory. Says nothing of who was right: that
is `collect`'s business.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Connection, Table, func, select

from journeyman.models.errors import TraceError
from journeyman.traces.schema import Attempt, Escalation
from journeyman.traces.store import Store

_ATTEMPTS = cast("Table", Attempt.__table__)
_ESCALATIONS = cast("Table", Escalation.__table__)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFacts:
    """What the gate went by, for one attempt.

    Attributes:
        id: The attempt.
        task_key: Content hash of the task.
        evidence: Named numbers; not-a-number where one was not finite.
        confidence: Probability that it is right; None where no head spoke.
        is_valid: There is an answer and no hard check failed: only such an answer may be accepted.
        created_at: When it was recorded.
    """

    id: str
    task_key: str
    evidence: Mapping[str, float] = field(default_factory=dict)
    confidence: float | None = None
    is_valid: bool = True
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Attempted:
    """A release that made attempts.

    Attributes:
        release: Its id.
        num_attempts: How many are on record.
        last_at: When the latest was made.
    """

    release: str
    num_attempts: int
    last_at: datetime


@dataclass(frozen=True, slots=True)
class EscalationCosts:
    """What the frontier's answers to one sub-agent cost.

    Attributes:
        num_answered: Answered escalations.
        num_priced: Those with a known price.
        total_microusd: Sum over these.
    """

    num_answered: int = 0
    num_priced: int = 0
    total_microusd: int = 0

    @property
    def mean_microusd(self) -> float | None:
        """Of one answer; None where no price is known."""
        return self.total_microusd / self.num_priced if self.num_priced else None


def attempted(store: Store, agent: str) -> list[Attempted]:
    """The releases that made attempts for a sub-agent, the one used last first.

    Raises:
        TraceError: The store cannot be read.
    """
    release, made = _ATTEMPTS.c.release, _ATTEMPTS.c.created_at
    last = func.max(made, type_=made.type)
    query = (
        select(release, func.count(), last)
        .where(_ATTEMPTS.c.agent == agent)
        .group_by(release)
        .order_by(last.desc(), release)
    )
    rows = store.read(lambda connection: connection.execute(query).all())
    return [Attempted(name, number, when) for name, number, when in rows]


def find_attempted(store: Store, agent: str, id_or_prefix: str) -> Attempted:
    """The one release with attempts whose id is, or else starts with, what is given.

    Raises:
        TraceError: There is none, or more than one; the message lists what there is.
    """
    known = attempted(store, agent)
    found = [each for each in known if each.release == id_or_prefix] or [
        each for each in known if id_or_prefix and each.release.startswith(id_or_prefix)
    ]
    if len(found) == 1:
        return found[0]
    what = "More than one release starts with" if found else "No attempt is on record of release"
    there = ", ".join(each.release for each in known[:5]) or "none"
    raise TraceError(
        f"{what} {id_or_prefix!r}; sub-agent {agent!r} has attempts of {there} in trace store "
        f"{store.name}: give the id of one of them."
    )


def attempt_facts(store: Store, agent: str, release: str) -> list[AttemptFacts]:
    """Every attempt of one release, oldest first.

    Raises:
        TraceError: The store cannot be read.
    """
    a = _ATTEMPTS.c
    query = (
        select(a.id, a.task_key, a.evidence, a.confidence, a.checks, a.output_hash, a.created_at)
        .where(a.agent == agent, a.release == release)
        .order_by(a.created_at, a.id)
    )

    def work(connection: Connection) -> list[AttemptFacts]:
        return [_facts(row) for row in connection.execute(query).mappings()]

    return store.read(work)


def escalation_costs(store: Store, agent: str) -> EscalationCosts:
    """Costs of the answered escalations of a sub-agent, whichever release attempted first.

    Raises:
        TraceError: The store cannot be read.
    """
    cost = _ESCALATIONS.c.cost_microusd
    query = select(func.count(), func.count(cost), func.sum(cost)).where(
        _ESCALATIONS.c.agent == agent, _ESCALATIONS.c.status == "answered"
    )
    row = store.read(lambda connection: connection.execute(query).one())
    return EscalationCosts(row[0], row[1], int(row[2] or 0))


def fails_hard(checks: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a hard check failed: such an answer is never accepted, however sure the head is."""
    return any(check.get("hard", True) and not check["passed"] for check in checks)


def _facts(row: Mapping[Any, Any]) -> AttemptFacts:
    return AttemptFacts(
        id=row["id"],
        task_key=row["task_key"],
        # Numbers that are not finite are kept as text.
        evidence={name: float(value) for name, value in (row["evidence"] or {}).items()},
        confidence=row["confidence"],
        is_valid=row["output_hash"] is not None and not fails_hard(row["checks"] or ()),
        created_at=row["created_at"],
    )
