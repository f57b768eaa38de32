"""Which release of each sub-agent is in traffic, and whether it is trusted.

Promote, rollback, suspend and resume are one transaction each, and each raises the sub-agent's
version, so that whoever follows notices with one cheap query. The history is never rewritten. A
release is trusted by its newest certificate, unless that was withdrawn: by a person, or by the
drift detector, which lives here too, so that all processes that audit share it. Release files lie
under the data directory; the database knows their digests. Loads no model and decides no task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, RowMapping, func, insert, select, update

from journeyman.models.certificate import Certificate
from journeyman.models.drift import DriftDetector
from journeyman.models.errors import ConfigError, TraceError, WeightsError
from journeyman.models.release import Release, release_folder
from journeyman.traces import release_rows as rows
from journeyman.traces.payload_rows import keep
from journeyman.traces.payloads import digest, encode
from journeyman.traces.records import now
from journeyman.traces.release_rows import (
    CERTIFICATES,
    CHANGES,
    RELEASES,
    CertificateEntry,
    Change,
    InTraffic,
    ReleaseEntry,
)
from journeyman.traces.store import Store

__all__ = [
    "AuditState",
    "CertificateEntry",
    "Change",
    "InTraffic",
    "Registry",
    "ReleaseEntry",
]


_HIGHEST_TARGET = 0.95
"""A detector needs room for something worse."""


@dataclass(frozen=True, slots=True)
class AuditState:
    """The drift detector after an audit.

    Attributes:
        detector: Its state.
        suspended: This audit raised the alarm, and trust has been withdrawn.
    """

    detector: DriftDetector
    suspended: bool


class Registry:
    """Releases in a trace store, their files under a data directory.

    Args:
        store: An open store.
        data: The data directory.
        clock: The present time, for tests.
    """

    def __init__(self, store: Store, data: Path, *, clock: Callable[[], datetime] = now) -> None:
        self.data = data
        self._store = store
        self._clock = clock

    # Putting on record

    def register(
        self,
        release: Release,
        *,
        round_id: str | None = None,
        metrics: Mapping[str, Any] | None = None,
    ) -> ReleaseEntry:
        """Put a release on record as a candidate, with its certificate. A second time does nothing.

        Raises:
            ConfigError: The release does not lie under the data directory.
            TraceError: The store cannot be written, or knows another release of this id.
        """
        folder = release_folder(self.data, release.id)
        if release.folder.resolve() != folder.resolve():
            raise ConfigError(
                f"Release {release.id!r} lies in {str(release.folder)!r}, outside the data "
                f"directory: write it to {str(self.data)!r}."
            )
        parts = encode(rows.facts(release))
        values = {
            **rows.release_row(release, folder.relative_to(self.data)),
            "round_id": round_id,
            "parts_hash": digest(parts),
            "metrics": encode(dict(metrics or {})),
        }

        def work(connection: Connection) -> None:
            rows.lock(connection, release.agent)
            known = connection.scalar(
                select(RELEASES.c.parts_hash).where(RELEASES.c.id == release.id)
            )
            if known is not None:
                if known != values["parts_hash"]:
                    raise TraceError(
                        f"Trace store {self._store.name} knows another release {release.id!r}: "
                        f"change anything in the new one (its version, say) and make it again."
                    )
                return
            keep(connection, parts, self._clock())
            connection.execute(insert(RELEASES).values(values))
            if release.certificate is not None:
                connection.execute(
                    insert(CERTIFICATES).values(rows.certificate_row(release.certificate))
                )

        self._store.transact(work)
        return self.get(release.id)

    def certify(self, certificate: Certificate) -> int:
        """Put a newer certificate of a known release on record; trust goes by it from now on.

        Returns:
            The sub-agent's version.

        Raises:
            ConfigError: It is bound to no release on record, or does not say who gave the labels.
            TraceError: The store cannot be written.
        """
        if certificate.label_source is None:
            raise ConfigError(
                "A certificate without a label source proves nothing that could be said: bind it "
                "with `certificate.bind(release, label_source)`."
            )

        def work(connection: Connection) -> int:
            agent = self._agent_of(connection, certificate.release)
            rows.lock(connection, agent)
            connection.execute(insert(CERTIFICATES).values(rows.certificate_row(certificate)))
            return rows.log(
                connection, self._change(connection, agent, "certify", certificate.release)
            )

        return self._store.transact(work)

    def reject(self, release_id: str) -> None:
        """Mark a candidate as rejected; a release that has taken traffic keeps its status.

        Raises:
            TraceError: The store cannot be written, or does not know the release.
        """

        def work(connection: Connection) -> None:
            self._agent_of(connection, release_id)
            connection.execute(
                update(RELEASES)
                .where(RELEASES.c.id == release_id, RELEASES.c.status == "candidate")
                .values(status="rejected")
            )

        self._store.transact(work)

    # Traffic

    def promote(self, agent: str, release_id: str, *, reason: str | None = None) -> int:
        """Let a release take the traffic of its sub-agent. Does nothing where it has it already.

        Its files are held against their digests first.

        Returns:
            The sub-agent's version.

        Raises:
            ConfigError: The release belongs to another sub-agent.
            WeightsError: Its files are not what was registered.
            TraceError: The store cannot be written, or does not know the release.
        """
        entry = self.get(release_id)
        if entry.agent != agent:
            raise ConfigError(
                f"Release {release_id!r} belongs to {entry.agent!r}: promote it there, or choose "
                f"one of {agent!r}."
            )
        self.load(entry.id)

        def work(connection: Connection) -> int:
            rows.lock(connection, agent)
            if rows.active_id(connection, agent) == entry.id:
                return rows.version_of(connection, agent)
            return rows.switch(
                connection, agent, "promote", entry.id, reason=reason, moment=self._clock()
            )

        return self._store.transact(work)

    def rollback(self, agent: str, *, reason: str | None = None) -> ReleaseEntry | None:
        """Give traffic back to the release that had it before the present one was promoted.

        Before the first promotion there was none; rolled back so far, everything escalates.

        Returns:
            The release in traffic now; None where there is none.

        Raises:
            ConfigError: No release is in traffic.
            TraceError: The store cannot be written.
        """

        def work(connection: Connection) -> None:
            rows.lock(connection, agent)
            had = rows.line_of(rows.history(connection, agent))
            if not had:
                raise ConfigError(
                    f"Agent {agent!r} has no release in traffic that could be rolled back: see "
                    f"`journeyman releases list`."
                )
            earlier = had[-2] if len(had) > 1 else None
            rows.switch(connection, agent, "rollback", earlier, reason=reason, moment=self._clock())

        self._store.transact(work)
        return self.active(agent)

    # Trust

    def suspend(self, agent: str, release_id: str, reason: str) -> int:
        """Withdraw trust in a release; it keeps its traffic, and everything escalates.

        Returns:
            The sub-agent's version; the same as before where there was no trust to withdraw.

        Raises:
            TraceError: The store cannot be written, or does not know the release.
        """

        def work(connection: Connection) -> int:
            self._check_owner(connection, agent, release_id)
            rows.lock(connection, agent)
            return rows.withdraw(connection, agent, release_id, reason, self._clock())

        return self._store.transact(work)

    def resume(self, agent: str, release_id: str, *, reason: str | None = None) -> int:
        """Trust a suspended release again, by its newest certificate; its audits begin anew.

        Returns:
            The sub-agent's version; the same as before where it was not suspended.

        Raises:
            TraceError: The store cannot be written, or does not know the release.
        """

        def work(connection: Connection) -> int:
            self._check_owner(connection, agent, release_id)
            rows.lock(connection, agent)
            newest = rows.newest(connection, [release_id]).get(release_id)
            if newest is None or newest.withdrawn_at is None:
                return rows.version_of(connection, agent)
            connection.execute(
                update(CERTIFICATES)
                .where(CERTIFICATES.c.id == newest.id)
                .values(withdrawn_at=None, withdrawn_reason=None)
            )
            rows.save_drift(connection, newest.id, None, self._clock())
            return rows.log(
                connection, self._change(connection, agent, "resume", release_id, reason)
            )

        return self._store.transact(work)

    def audited(self, certificate_id: str, *, wrong: bool) -> AuditState | None:
        """Tell the drift detector of a certificate of one audit; an alarm suspends its release.

        Args:
            certificate_id: Of the certificate under which the task was attempted.
            wrong: What `models.drift.audit_outcome` made of the audit.

        Returns:
            None where the certificate's target is so high that nothing could be detected.

        Raises:
            TraceError: The store cannot be written, or does not know the certificate.
        """

        def work(connection: Connection) -> AuditState | None:
            row = (
                connection.execute(
                    select(CERTIFICATES, RELEASES.c.agent)
                    .join(RELEASES, RELEASES.c.id == CERTIFICATES.c.release_id)
                    .where(CERTIFICATES.c.id == certificate_id)
                )
                .mappings()
                .first()
            )
            if row is None:
                raise TraceError(
                    f"Trace store {self._store.name} has no certificate {certificate_id!r}: check "
                    f"that the audit goes to the store that holds its release."
                )
            if row["max_error"] >= _HIGHEST_TARGET:
                return None
            rows.lock(connection, row["agent"])
            return self._take_audit(connection, row, wrong)

        return self._store.transact(work)

    def drift(self, certificate_id: str) -> DriftDetector | None:
        """The detector of a certificate; None where it has not been audited.

        Raises:
            TraceError: The store cannot be read.
        """
        return self._store.read(lambda connection: rows.drift_of(connection, certificate_id))

    def num_labels(self, newest: CertificateEntry | None, *, certifying: float) -> int:
        """About how many labels would certify a release now: its certificate's, and audits since.

        Args:
            newest: The certificate.
            certifying: Share of the audits since, in [0, 1], whose labels certify.

        Raises:
            TraceError: The store cannot be read.
        """
        if newest is None:
            return 0
        detector = self.drift(newest.id)
        num_audits = detector.num_audits if detector is not None else 0
        return newest.certificate.n + round(num_audits * certifying)

    # Asking

    def versions(self) -> dict[str, int]:
        """The version of every sub-agent that has a history: one cheap query.

        Raises:
            TraceError: The store cannot be read.
        """
        query = select(CHANGES.c.agent, func.max(CHANGES.c.version)).group_by(CHANGES.c.agent)
        return self._store.read(
            lambda connection: {row[0]: row[1] for row in connection.execute(query)}
        )

    def in_traffic(self, agent: str) -> InTraffic:
        """The active release with its newest certificate, and the version, of one moment.

        Raises:
            TraceError: The store cannot be read.
        """

        def work(connection: Connection) -> InTraffic:
            clause = (RELEASES.c.agent == agent) & (RELEASES.c.status == "active")
            found = rows.entries(connection, clause, self.data)
            return InTraffic(rows.version_of(connection, agent), found[0] if found else None)

        return self._store.read(work)

    def active(self, agent: str) -> ReleaseEntry | None:
        """The release in traffic; None where there is none.

        Raises:
            TraceError: The store cannot be read.
        """
        return self.in_traffic(agent).release

    def releases(self, agent: str | None = None) -> list[ReleaseEntry]:
        """Releases on record, oldest first.

        Raises:
            TraceError: The store cannot be read.
        """
        clause = RELEASES.c.agent == agent if agent is not None else RELEASES.c.id.is_not(None)
        return self._store.read(lambda connection: rows.entries(connection, clause, self.data))

    def get(self, id_or_prefix: str) -> ReleaseEntry:
        """One release.

        Raises:
            TraceError: None, or more than one, has an id that starts like this.
        """
        starts = RELEASES.c.id.startswith(id_or_prefix, autoescape=True)
        found = self._store.read(lambda connection: rows.entries(connection, starts, self.data))
        exact = [entry for entry in found if entry.id == id_or_prefix]
        if not found or not id_or_prefix:
            raise self._unknown(id_or_prefix)
        if len(found) > 1 and not exact:
            raise TraceError(
                f"More than one release starts with {id_or_prefix!r}: give more of the id."
            )
        return (exact or found)[0]

    def history(self, agent: str) -> list[Change]:
        """Every change of a sub-agent, oldest first.

        Raises:
            TraceError: The store cannot be read.
        """
        return self._store.read(lambda connection: rows.history(connection, agent))

    def load(self, release_id: str) -> Release:
        """A release from its files, held against their digests and against the record.

        Raises:
            WeightsError: The files are not what was registered.
            TraceError: The store cannot be read, or does not know the release.
        """
        registered = self._store.read(
            lambda connection: connection.scalar(
                select(RELEASES.c.parts_hash).where(RELEASES.c.id == release_id)
            )
        )
        if registered is None:
            raise self._unknown(release_id)
        folder = release_folder(self.data, release_id)
        release = Release.load(folder)
        if release.id != release_id or digest(encode(rows.facts(release))) != registered:
            raise WeightsError(
                f"The folder {str(folder)!r} holds another release than the one registered as "
                f"{release_id!r}: restore it, or run `journeyman releases rollback "
                f"{release_id.partition('@')[0]}`."
            )
        return release

    # Parts of transactions

    def _agent_of(self, connection: Connection, release_id: str) -> str:
        agent = connection.scalar(select(RELEASES.c.agent).where(RELEASES.c.id == release_id))
        if agent is None:
            raise self._unknown(release_id)
        return str(agent)

    def _unknown(self, release_id: str) -> TraceError:
        return TraceError(
            f"Trace store {self._store.name} has no release {release_id!r}: list what it has with "
            f"`journeyman releases list`."
        )

    def _take_audit(self, connection: Connection, row: RowMapping, wrong: bool) -> AuditState:
        detector = rows.drift_of(connection, row["id"])
        if detector is None:
            detector = DriftDetector(max_error=row["max_error"])
        was_alarmed, moment = detector.is_alarmed, self._clock()
        suspended = detector.update(wrong) and not was_alarmed
        rows.save_drift(connection, row["id"], detector, moment)
        if suspended:
            reason = (
                f"drift alarm: {detector.num_wrong} wrong in {detector.num_audits} audits under a "
                f"target of {detector.max_error:g}"
            )
            rows.withdraw(connection, row["agent"], row["release_id"], reason, moment)
        return AuditState(detector, suspended)

    def _change(
        self,
        connection: Connection,
        agent: str,
        action: rows.Action,
        release_id: str,
        reason: str | None = None,
    ) -> Change:
        in_traffic = rows.active_id(connection, agent)
        return Change(agent, 0, action, release_id, in_traffic, reason, self._clock())

    def _check_owner(self, connection: Connection, agent: str, release_id: str) -> None:
        owner = self._agent_of(connection, release_id)
        if owner != agent:
            raise ConfigError(
                f"Release {release_id!r} belongs to {owner!r}: name one of {agent!r}."
            )
