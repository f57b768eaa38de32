"""What the nodes of a sub-agent ask about trust: which student answers, and what it has earned.

A task is given one standing when it begins; attempt, gate, escalation and record all go by that
one, whatever is promoted in the meantime. Knows no registry and no file.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from journeyman.agents.base import Agent
from journeyman.graph.gate import Trust
from journeyman.models.types import RiskKind

logger = logging.getLogger("journeyman.graph")


@dataclass(frozen=True)
class Standing:
    """Who answers a task, and how far it is trusted.

    Attributes:
        agent: The sub-agent, bound to the student that answers.
        release: The release that this student belongs to.
        trust: What the release has earned; None where it has no head either.
        certificate: Id of the certificate that the threshold comes from; empty where there is none.
        kind: Which risk that certificate bounds.
        audit_rate: Share of tasks in [0, 1] to be drawn for an audit while something is certified.
        certifying_share: Share of the groups in [0, 1) whose labels may certify; most audits are
            drawn among them.
        note: Why nothing is certified although one could expect it; for the record.
    """

    agent: Agent[Any, Any]
    release: str
    trust: Trust | None = None
    certificate: str = ""
    kind: RiskKind = "joint"
    audit_rate: float = 0.0
    certifying_share: float = 0.0
    note: str | None = None

    def met(self, evidence: Mapping[str, float] | None) -> dict[str, Any]:
        """What the gate goes by, JSON-compatible, so that it survives a restart between two nodes.

        Args:
            evidence: Of the attempt; None where the student failed.
        """
        threshold = self.trust.threshold if self.trust is not None else None
        return {
            "release": self.release,
            "confidence": None if evidence is None else _finite(self._confidence(evidence)),
            "threshold": _finite(threshold),
            "certificate": self.certificate,
            "kind": self.kind,
            "audit_rate": self.audit_rate,
            "certifying_share": self.certifying_share,
            "note": self.note,
        }

    def _confidence(self, evidence: Mapping[str, float]) -> float | None:
        if self.trust is None:
            return None
        try:
            return self.trust.confidence(evidence)
        except Exception:  # no confidence escalates, whatever went wrong
            logger.exception("the confidence of release %r could not be told", self.release)
            return None


@dataclass(frozen=True, slots=True)
class Met:
    """Trust as one attempt met it: the gate's view of `Standing.met`."""

    threshold: float | None
    measured: float | None

    def confidence(self, evidence: Mapping[str, float]) -> float | None:  # noqa: ARG002  # the protocol's name
        """As it was measured."""
        return self.measured


@dataclass(frozen=True, slots=True)
class Audit:
    """An audited task whose two answers have been compared.

    Attributes:
        agent: Name of the sub-agent.
        release: The release that made the attempt.
        certificate: Id of the certificate that it was judged by.
        kind: Which risk that certificate bounds.
        accepted: The gate would have accepted the student's answer.
        wrong: The frontier disagrees with it.
    """

    agent: str
    release: str
    certificate: str
    kind: RiskKind
    accepted: bool
    wrong: bool


class TrustSource(Protocol):
    """Where trust is looked up; it may change while a graph runs. None of its methods raises."""

    async def standing(self, agent: Agent[Any, Any], release: str) -> Standing:
        """Who answers a task that begins now.

        Args:
            agent: The sub-agent as it was given to the graph.
            release: Its own release id, which is in traffic as long as none has been promoted.
        """
        ...

    async def bound(self, agent: Agent[Any, Any], release: str) -> Agent[Any, Any]:
        """The sub-agent bound to the student of a release, for a task that began with it."""
        ...

    async def audited(self, audit: Audit) -> None:
        """Take an audit into account, which may end trust at once."""
        ...


class NoTrust:
    """The cold start: nothing is certified, and the sub-agents answer as they were given."""

    async def standing(self, agent: Agent[Any, Any], release: str) -> Standing:
        """The sub-agent itself, with nothing earned."""
        return Standing(agent, release)

    async def bound(self, agent: Agent[Any, Any], release: str) -> Agent[Any, Any]:  # noqa: ARG002  # the protocol's names
        """The sub-agent itself."""
        return agent

    async def audited(self, audit: Audit) -> None:
        """Nothing: without a certificate no audits are drawn."""


def _finite(number: float | None) -> float | None:
    return float(number) if number is not None and math.isfinite(number) else None
