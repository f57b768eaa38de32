"""Releases, certificates, changes and drift as rows, and the steps that transactions are made of.

Every function works on the caller's transaction; which of them belong together is the registry's
business. Knows no file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, cast

from sqlalchemy import Connection, RowMapping, Table, delete, func, insert, literal, select, update

from journeyman.models.certificate import Certificate
from journeyman.models.drift import DriftDetector
from journeyman.models.release import Release
from journeyman.traces import schema
from journeyman.traces.engine import take_turns
from journeyman.traces.payloads import encode
from journeyman.traces.records import new_id

Action = Literal["promote", "rollback", "certify", "suspend", "resume"]
Status = Literal["candidate", "active", "retired", "rejected"]

RELEASES = cast("Table", schema.Release.__table__)
CERTIFICATES = cast("Table", schema.Certificate.__table__)
CHANGES = cast("Table", schema.ReleaseChange.__table__)
DRIFT = cast("Table", schema.Drift.__table__)


@dataclass(frozen=True, slots=True)
class CertificateEntry:
    """A certificate on record.

    Attributes:
        id: Its own id.
        certificate: What was proved.
        withdrawn_at: When trust in it was withdrawn; None while it holds.
        withdrawn_reason: Why.
    """

    id: str
    certificate: Certificate
    withdrawn_at: datetime | None = None
    withdrawn_reason: str | None = None


@dataclass(frozen=True, slots=True)
class ReleaseEntry:
    """A release on record.

    Attributes:
        id: `<agent>@<8 hex digits>`.
        agent: Name of the sub-agent.
        status: `candidate` until it takes traffic; `rejected` by a round.
        created_at: When it was made.
        promoted_at: When it first took traffic.
        retired_at: When it last stopped.
        parent: The release that its training could go on from; else what it was to replace.
        round_id: The round that made it.
        student_kind: What the student is.
        base_model: What it was taught from.
        folder: Where its files lie.
        weights_sha256: One hash over the student's files; None without weights.
        num_bytes: Size of its files.
        metrics: Named numbers of its evaluation.
        newest: Its newest certificate, withdrawn or not; None where it has none.
    """

    id: str
    agent: str
    status: Status
    created_at: datetime
    promoted_at: datetime | None
    retired_at: datetime | None
    parent: str | None
    round_id: str | None
    student_kind: str
    base_model: str
    folder: Path
    weights_sha256: str | None
    num_bytes: int
    metrics: Mapping[str, Any]
    newest: CertificateEntry | None

    @property
    def is_suspended(self) -> bool:
        """Trust in it was withdrawn."""
        return self.newest is not None and self.newest.withdrawn_at is not None


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of a sub-agent's history.

    Attributes:
        agent: Name of the sub-agent.
        version: 1 for its first change, and one more for each.
        action: What was done.
        release: The release that it is about; None where a rollback left none in traffic.
        previous: The release in traffic before.
        reason: Why, where it was said.
        changed_at: When.
    """

    agent: str
    version: int
    action: Action
    release: str | None
    previous: str | None
    reason: str | None
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class InTraffic:
    """What a sub-agent answers with, as of one version.

    Attributes:
        version: Of the sub-agent's history; 0 before its first change.
        release: The active release; None in the cold start.
    """

    version: int
    release: ReleaseEntry | None


def lock(connection: Connection, agent: str) -> None:
    """Whoever else is about to change the releases of this agent waits for this transaction."""
    take_turns(connection, f"releases of {agent}")


def switch(
    connection: Connection,
    agent: str,
    action: Action,
    release_id: str | None,
    *,
    reason: str | None,
    moment: datetime,
) -> int:
    """Give an agent's traffic to a release, or to none; the agent's new version."""
    previous = active_id(connection, agent)
    connection.execute(
        update(RELEASES)
        .where(RELEASES.c.agent == agent, RELEASES.c.status == "active")
        .values(status="retired", retired_at=moment)
    )
    if release_id is not None:
        connection.execute(
            update(RELEASES)
            .where(RELEASES.c.id == release_id)
            .values(
                status="active",
                promoted_at=func.coalesce(
                    RELEASES.c.promoted_at, literal(moment, RELEASES.c.promoted_at.type)
                ),
                retired_at=None,
            )
        )
    change = Change(agent, 0, action, release_id, previous, reason, moment)
    return log(connection, change)


def log(connection: Connection, change: Change) -> int:
    """Write a change under the agent's next version, which is returned."""
    version = version_of(connection, change.agent) + 1
    connection.execute(
        insert(CHANGES).values(
            agent=change.agent,
            version=version,
            action=change.action,
            release_id=change.release,
            previous_id=change.previous,
            reason=change.reason,
            changed_at=change.changed_at,
        )
    )
    return version


def withdraw(
    connection: Connection, agent: str, release_id: str, reason: str, moment: datetime
) -> int:
    """Withdraw every certificate of a release; the agent's version, the same if there was none."""
    withdrawn = connection.execute(
        update(CERTIFICATES)
        .where(CERTIFICATES.c.release_id == release_id, CERTIFICATES.c.withdrawn_at.is_(None))
        .values(withdrawn_at=moment, withdrawn_reason=reason)
    )
    if not withdrawn.rowcount:
        return version_of(connection, agent)
    in_traffic = active_id(connection, agent)
    return log(connection, Change(agent, 0, "suspend", release_id, in_traffic, reason, moment))


def save_drift(
    connection: Connection, certificate_id: str, detector: DriftDetector | None, moment: datetime
) -> None:
    """Keep the state of a certificate's detector; None forgets it."""
    connection.execute(delete(DRIFT).where(DRIFT.c.certificate_id == certificate_id))
    if detector is not None:
        state = encode(detector.model_dump(mode="json"))
        connection.execute(
            insert(DRIFT).values(certificate_id=certificate_id, detector=state, updated_at=moment)
        )


def entries(connection: Connection, clause: Any, data: Path) -> list[ReleaseEntry]:
    """Releases that fit a clause, oldest first, with their newest certificates."""
    query = select(RELEASES).where(clause).order_by(RELEASES.c.created_at, RELEASES.c.id)
    rows = connection.execute(query).mappings().all()
    certificates = newest(connection, [row["id"] for row in rows])
    return [_entry(row, certificates.get(row["id"]), data) for row in rows]


def _entry(row: RowMapping, certificate: CertificateEntry | None, data: Path) -> ReleaseEntry:
    return ReleaseEntry(
        id=row["id"],
        agent=row["agent"],
        status=row["status"],
        created_at=row["created_at"],
        promoted_at=row["promoted_at"],
        retired_at=row["retired_at"],
        parent=row["parent_id"],
        round_id=row["round_id"],
        student_kind=row["student_kind"],
        base_model=row["base_model"],
        folder=data / row["path"],
        weights_sha256=row["weights_sha256"],
        num_bytes=row["num_bytes"],
        metrics=row["metrics"],
        newest=certificate,
    )


def facts(release: Release) -> dict[str, Any]:
    """What is kept of a release as its parts: enough to tell it from any other."""
    return {"digest": release.manifest.digest, "parts": release.manifest.parts}


def release_row(release: Release, path: Path) -> dict[str, Any]:
    """A new candidate; `path` is relative to the data directory."""
    manifest = release.manifest
    return {
        "id": release.id,
        "agent": release.agent,
        "status": "candidate",
        "created_at": manifest.created_at,
        "parent_id": manifest.parent,
        "student_kind": manifest.student_kind,
        "base_model": manifest.base_model,
        "path": path.as_posix(),
        "weights_sha256": release.weights_sha256,
        "num_bytes": release.num_bytes,
    }


_PROVED = (
    "kind",
    "max_error",
    "delta",
    "n",
    "k",
    "coverage",
    "num_accepted",
    "num_wrong",
    "bound",
    "labels_needed",
    "label_source",
    "data_hash",
    "created_at",
)


def certificate_row(certificate: Certificate) -> dict[str, Any]:
    """A new certificate; infinity, which accepts nothing, is NULL."""
    return {
        **{name: getattr(certificate, name) for name in _PROVED},
        "id": new_id(),
        "release_id": certificate.release,
        "threshold": certificate.threshold if certificate.is_feasible else None,
    }


def certificate_of(row: Mapping[Any, Any]) -> CertificateEntry:
    """A certificate from its row.

    Raises:
        ValueError: The row holds no certificate.
    """
    proved = {name: row[name] for name in _PROVED}
    # Rows that an older version wrote lack these.
    proved["num_wrong"] = row["k"] if row["num_wrong"] is None else row["num_wrong"]
    if row["num_accepted"] is None:
        proved["num_accepted"] = max(row["k"], round((row["coverage"] or 0.0) * row["n"]))
    certificate = Certificate.model_validate(
        {**proved, "threshold": row["threshold"], "release": row["release_id"]}
    )
    return CertificateEntry(row["id"], certificate, row["withdrawn_at"], row["withdrawn_reason"])


def newest(connection: Connection, release_ids: Iterable[str]) -> dict[str, CertificateEntry]:
    """The certificate that was put on record last, by release."""
    # Ids sort by the time they were made.
    query = (
        select(CERTIFICATES)
        .where(CERTIFICATES.c.release_id.in_(list(release_ids)))
        .order_by(CERTIFICATES.c.id)
    )
    rows = connection.execute(query).mappings()
    return {row["release_id"]: certificate_of(row) for row in rows}


def version_of(connection: Connection, agent: str) -> int:
    """Number of changes so far."""
    query = select(func.max(CHANGES.c.version)).where(CHANGES.c.agent == agent)
    return connection.scalar(query) or 0


def active_id(connection: Connection, agent: str) -> str | None:
    """The release in traffic; None where there is none."""
    return connection.scalar(
        select(RELEASES.c.id).where(RELEASES.c.agent == agent, RELEASES.c.status == "active")
    )


def history(connection: Connection, agent: str) -> list[Change]:
    """Every change of a sub-agent, oldest first."""
    query = select(CHANGES).where(CHANGES.c.agent == agent).order_by(CHANGES.c.version)
    return [Change(*row) for row in connection.execute(query)]


def line_of(changes: Iterable[Change]) -> list[str]:
    """Releases that are in traffic or were replaced by one that is, the present one last."""
    line: list[str] = []
    for change in changes:
        if change.action == "promote" and change.release is not None:
            line.append(change.release)
        elif change.action == "rollback":
            line.pop()
    return line


def drift_of(connection: Connection, certificate_id: str) -> DriftDetector | None:
    """The detector of a certificate; None where it has not been audited."""
    state = connection.scalar(
        select(DRIFT.c.detector).where(DRIFT.c.certificate_id == certificate_id)
    )
    return None if state is None else DriftDetector.model_validate(state)
