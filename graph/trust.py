"""Follows the releases in traffic: which student answers, by which head and threshold.

Every fifth of a second at most, one cheap query tells whether anything has changed; what has is
loaded once and serves all tasks that begin from then on. Tasks in flight keep the release that they
began with. Whatever cannot be loaded, read or vouched for earns no trust: everything escalates as
`uncertified`, the log says why once, and every record does. Knows no threshold of its own.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from journeyman.agents.base import Agent
from journeyman.graph.audits import early_rate_of, rate_at
from journeyman.graph.settings import Settings
from journeyman.graph.standing import Audit, Standing
from journeyman.models.audit import certifying_audits
from journeyman.models.confidence import ConfidenceHead
from journeyman.models.drift import audit_outcome
from journeyman.models.errors import ConfigError, TraceError, WeightsError
from journeyman.models.students.base import Student
from journeyman.traces.registry import Registry, ReleaseEntry
from journeyman.traces.split import Shares
from journeyman.traces.store import Store

logger = logging.getLogger("journeyman.graph")

Loader = Callable[[Path], Student[Any, Any]]
"""Makes a student from the folder that it was saved to."""

POLL_SECONDS = 0.2
RETRY_SECONDS = 30.0

_CERTIFYING = Shares().calibration
_KEPT = 2  # releases in memory for each sub-agent: the one in traffic and the one before


@dataclass(frozen=True, slots=True)
class _Earned:
    """Trust by a release's own head and its newest certificate."""

    release: str
    head: ConfidenceHead
    threshold: float | None

    def confidence(self, evidence: Mapping[str, float]) -> float | None:
        """Probability by the head; None for evidence that it was not fitted to."""
        try:
            return self.head.probability(evidence)
        except ConfigError as error:
            # An attempt that failed has no evidence either, which is nothing to warn of.
            if evidence:
                logger.warning("release %r: %s", self.release, error)
            return None


@dataclass(frozen=True, slots=True)
class _Bound:
    """A release in memory."""

    agent: Agent[Any, Any]
    head: ConfidenceHead | None


@dataclass
class _Followed:
    """What is known about one sub-agent; changed by the follower's own thread alone."""

    own: Standing
    standing: Standing
    version: int = -1
    fresh_until: float = float("-inf")
    retry_at: float = float("inf")
    recent: OrderedDict[str, _Bound] = field(default_factory=OrderedDict)
    pending: Future[Standing] | None = None


class ReleaseTrust:
    """Trust as the registry has it, followed while a graph runs, in all processes.

    Args:
        registry: Where releases are promoted, suspended and audited.
        loaders: How each sub-agent's student is loaded, by the sub-agent's name. Those without a
            loader answer as they are and are trusted with nothing.
        audit_rate: Share of tasks in [0, 1] shown to the frontier although a certificate holds.
        early_audit_rate: The same while there are few labels about a release, if it is more; see
            `graph.audits`.
        certifying_share: Share of the groups in [0, 1) that rounds certify with, as they are told
            by `round.calibration`; three in four audits are kept for them.
        poll_seconds: For how long an answer of the registry is good.
        clock: Seconds, for tests.

    Raises:
        ConfigError: The rate is none.
    """

    def __init__(
        self,
        registry: Registry,
        loaders: Mapping[str, Loader],
        *,
        audit_rate: float = 0.05,
        early_audit_rate: float = 0.0,
        certifying_share: float = _CERTIFYING,
        poll_seconds: float = POLL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        for rate in (audit_rate, early_audit_rate):
            if not 0 <= rate <= 1:
                raise ConfigError(f"The audit rate is {rate!r}: give a share from 0 to 1.")
        self._registry = registry
        self._loaders = dict(loaders)
        if not 0 <= certifying_share < 1:
            raise ConfigError(
                f"The share that certifies is {certifying_share!r}: give one from 0, below 1."
            )
        self._audit_rate = audit_rate
        self._early_audit_rate = early_audit_rate
        self._certifying_share = certifying_share
        self._certifying_audits = certifying_audits(
            max(audit_rate, early_audit_rate), certifying_share
        )
        self._poll_seconds = poll_seconds
        self._clock = clock
        self._lock = threading.Lock()
        # One thread: what changes is read, loaded and swapped in order, off every event loop.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journeyman-trust")
        self._followed: dict[Agent[Any, Any], _Followed] = {}
        self._versions: Mapping[str, int] = {}
        self._versions_until = float("-inf")
        self._said: dict[str, str] = {}

    # What the nodes ask

    async def standing(self, agent: Agent[Any, Any], release: str) -> Standing:
        """Who answers a task that begins now, and how far that one is trusted."""
        if agent.name not in self._loaders:
            return Standing(agent, release)
        with self._lock:
            followed = self._followed.get(agent)
            if followed is None:
                own = Standing(agent, release)
                followed = self._followed[agent] = _Followed(own, own)
            if followed.pending is None and self._clock() < followed.fresh_until:
                return followed.standing
            if followed.pending is None:
                followed.pending = self._thread.submit(self._refresh, followed)
            pending = followed.pending
        # Shielded: a task that is cancelled must not cancel what others wait for.
        return await asyncio.shield(asyncio.wrap_future(pending))

    async def bound(self, agent: Agent[Any, Any], release: str) -> Agent[Any, Any]:
        """The sub-agent bound to the student of a release; as it was given where that is gone."""
        followed = self._followed.get(agent)
        if followed is None or release == followed.own.release:
            return agent
        known = followed.recent.get(release)
        if known is not None:
            return known.agent

        def load() -> Agent[Any, Any]:
            try:
                return self._bind(followed, release).agent
            except Exception as error:  # noqa: BLE001  # the frontier answers: any student will do
                logger.warning("release %r of a task in flight is gone: %s", release, error)
                return agent

        return await asyncio.shield(asyncio.wrap_future(self._thread.submit(load)))

    async def audited(self, audit: Audit) -> None:
        """Tell the drift detector; an alarm ends trust before this returns, for all processes."""
        outcome = audit_outcome(audit.kind, accepted=audit.accepted, wrong=audit.wrong)
        if outcome is None:
            return

        def tell() -> None:
            try:
                state = self._registry.audited(audit.certificate, wrong=outcome)
            except TraceError as error:  # trouble with the store never fails a run
                self._say(f"audits of {audit.release}", logging.ERROR, str(error))
                return
            if state is not None and state.suspended:
                logger.warning(
                    "drift alarm: trust in release %r is withdrawn after %d wrong in %d audits; "
                    "everything escalates until a round, or `journeyman releases resume`",
                    audit.release,
                    state.detector.num_wrong,
                    state.detector.num_audits,
                )
                self._expire()

        await asyncio.shield(asyncio.wrap_future(self._thread.submit(tell)))

    def close(self) -> None:
        """End the thread; what is asked later raises."""
        self._thread.shutdown(wait=True)

    # On the follower's own thread

    def _expire(self) -> None:
        with self._lock:
            self._versions_until = float("-inf")
            for followed in self._followed.values():
                followed.fresh_until = float("-inf")

    def _refresh(self, followed: _Followed) -> Standing:
        now = self._clock()
        name = followed.own.agent.name
        try:
            version = self._current_versions().get(name, 0)
            if version != followed.version or now >= followed.retry_at:
                followed.retry_at = float("inf")
                followed.version, followed.standing = self._look(followed)
        except Exception as error:  # noqa: BLE001  # whatever it is, it must cost trust and not the run
            note = f"Trust in {name!r} cannot be looked up, so nothing is certified: {error}"
            self._say(name, logging.ERROR, note)
            followed.standing = _without_trust(followed.standing, note)
            followed.version = -1
        with self._lock:
            followed.fresh_until = now + self._poll_seconds
            followed.pending = None
        return followed.standing

    def _current_versions(self) -> Mapping[str, int]:
        now = self._clock()
        if now >= self._versions_until:
            self._versions = self._registry.versions()
            self._versions_until = now + self._poll_seconds
        return self._versions

    def _look(self, followed: _Followed) -> tuple[int, Standing]:
        """What is in traffic, loaded, with what it has earned."""
        name = followed.own.agent.name
        traffic = self._registry.in_traffic(name)
        entry = traffic.release
        if entry is None:
            return traffic.version, followed.own
        try:
            bound = self._bind(followed, entry.id)
        except Exception as error:  # noqa: BLE001  # a loader may raise anything
            note = f"Release {entry.id!r} cannot be loaded, so nothing is certified: {error}"
            self._say(name, logging.ERROR, note)
            followed.retry_at = self._clock() + RETRY_SECONDS
            return traffic.version, replace(followed.own, note=note)
        standing = self._earned(entry, bound)
        if standing.note is not None:
            self._say(name, logging.WARNING if entry.is_suspended else logging.INFO, standing.note)
        else:
            self._said.pop(name, None)
        return traffic.version, standing

    def _bind(self, followed: _Followed, release_id: str) -> _Bound:
        known = followed.recent.get(release_id)
        if known is None:
            release = self._registry.load(release_id)
            agent = followed.own.agent
            bound = agent.with_student(self._loaders[agent.name](release.student))
            if not release.has_parts(bound.release_parts()):
                raise WeightsError(
                    f"Release {release_id!r} was made with another version or other settings of "
                    f"agent {agent.name!r} than this graph has: run a round, or go back to those."
                )
            known = _Bound(bound, release.head)
            followed.recent[release_id] = known
        followed.recent.move_to_end(release_id)
        while len(followed.recent) > _KEPT:
            followed.recent.popitem(last=False)
        return known

    def _earned(self, entry: ReleaseEntry, bound: _Bound) -> Standing:
        newest, note = entry.newest, None
        if bound.head is None or newest is None:
            note = f"Release {entry.id!r} has no certificate."
        elif newest.withdrawn_at is not None:
            note = f"Trust in release {entry.id!r} is withdrawn: {newest.withdrawn_reason}."
        elif newest.certificate.release != entry.id:
            note = f"The certificate of release {entry.id!r} is bound to another one."
        elif not newest.certificate.is_feasible:
            note = newest.certificate.describe()
        threshold = newest.certificate.threshold if newest is not None and note is None else None
        return Standing(
            agent=bound.agent,
            release=entry.id,
            trust=None if bound.head is None else _Earned(entry.id, bound.head, threshold),
            certificate=newest.id if newest is not None else "",
            kind=newest.certificate.kind if newest is not None else "joint",
            audit_rate=rate_at(
                self._registry.num_labels(newest, certifying=self._certifying_audits),
                self._audit_rate,
                self._early_audit_rate,
            ),
            certifying_share=self._certifying_share,
            note=note,
        )

    def _say(self, about: str, level: int, text: str) -> None:
        """Log once, until something else is to be said of it."""
        if self._said.get(about) != text:
            self._said[about] = text
            logger.log(level, "%s", text)


def _without_trust(standing: Standing, note: str) -> Standing:
    trust = standing.trust
    if isinstance(trust, _Earned):
        trust = replace(trust, threshold=None)
    return replace(standing, trust=trust, note=note)


def loaders_of(agents: Iterable[Agent[Any, Any]]) -> dict[str, Loader]:
    """How the students of sub-agents are loaded, by name; those that do not learn are left out."""
    trainers = {agent.name: agent.trainer() for agent in agents}
    return {name: trainer.load for name, trainer in trainers.items() if trainer is not None}


def trust_from(settings: Settings, store: Store, loaders: Mapping[str, Loader]) -> ReleaseTrust:
    """The trust that settings describe, by the releases that a store has on record.

    Args:
        settings: Where releases lie, and how many tasks are audited.
        store: An open store.
        loaders: See `ReleaseTrust`; `loaders_of` the sub-agents.
    """
    registry = Registry(store, Path(settings.data_dir))
    return ReleaseTrust(
        registry,
        loaders,
        audit_rate=settings.audit.rate,
        early_audit_rate=early_rate_of(settings.audit.rate, settings.audit.early_rate),
        certifying_share=settings.round.calibration,
    )
