"""How often a sub-agent's labels were looked at, and what that leaves of delta.

Rounds choose by labels that they share. All proofs that are tried for a sub-agent therefore have
one delta together: else the release that is in traffic, the luckiest of them, would miss the target
several times as often as was promised. Reads the record alone; knows no student and no label.
"""

from __future__ import annotations

from datetime import datetime

from journeyman.models.bounds import delta_at_look, errors_allowed
from journeyman.models.certificate import Certificate
from journeyman.models.types import Risk
from journeyman.traces.registry import Registry
from journeyman.traces.rounds import RoundEntry, RoundStore

_BY_STAGE = {"certify": 1, "decide": 1, "promote": 2}
"""Proofs that a round may have tried when it was given up in a stage."""

_WORTH = 1.05
"""Times the wrong answers that the proof before allowed. A further proof costs all later ones half
as much: at the fifth look some 2.5 % of what they allow."""


class Looks:
    """The looks before and in one round.

    Args:
        entry: The round.
        rounds: Of the sub-agent, among others.
        registry: Its releases, with the alarms about them.
    """

    def __init__(self, entry: RoundEntry, rounds: RoundStore, registry: Registry) -> None:
        self._entry = entry
        self._rounds = rounds
        self._registry = registry

    def risk(self, target: Risk, *, further: bool) -> Risk:
        """The target, with what a proof of this round may spend of its delta.

        Args:
            target: With delta for all proofs together.
            further: The proof comes after that of the round's own release.
        """
        look = self._proofs_before() + (2 if further else 1)
        return target.model_copy(update={"delta": delta_at_look(target.delta, look)})

    def judged(self) -> int:
        """How many rounds have put a student up, this one included."""
        history = self._rounds.history(self._entry.agent)
        return 1 + sum(e.status == "done" and e.candidate_id is not None for e in history)

    def is_worth_while(
        self, target: Risk, num_labels: int, release: str, known: Certificate
    ) -> bool:
        """Whether a further proof of the release in traffic would allow clearly more wrong answers.

        There are more labels than at the proof before, and less of delta. Asks for their number
        alone, never for what they say: else the choice to look would be a look.

        Args:
            target: With delta for all proofs together.
            num_labels: That the further proof would rest on.
            release: In traffic.
            known: The proof that it is in traffic by.
        """
        proofs = [proof for proof in self._tried(release) if proof.created_at > known.created_at]
        before = max(_allowed(proof.n, proof.risk) for proof in (known, *proofs))
        return _allowed(num_labels, self.risk(target, further=True)) > _WORTH * before

    def _tried(self, release: str) -> list[Certificate]:
        """Further proofs of a release that earlier rounds tried, taken or not."""
        earlier = self._rounds.history(self._entry.agent, reports=True)
        proofs = [(each.report or {}).get("tried") for each in earlier]
        found = [Certificate.model_validate(proof) for proof in proofs if proof is not None]
        return [proof for proof in found if proof.release == release]

    def shifted_at(self) -> datetime | None:
        """When traffic last became another, by the alarms before this round that stand."""
        alarms: dict[str | None, datetime] = {}
        for change in self._registry.history(self._entry.agent):
            if change.changed_at >= self._entry.started_at:
                break
            if change.action == "suspend":
                alarms[change.release] = change.changed_at
            elif change.action == "resume":  # that alarm was false
                alarms.pop(change.release, None)
        return max(alarms.values(), default=None)

    def _proofs_before(self) -> int:
        """Proofs that earlier rounds tried since labels were first collected, or the last alarm."""
        since = self.shifted_at()
        proofs = 0
        for entry in self._rounds.history(self._entry.agent, reports=True):
            if entry.id == self._entry.id or (since is not None and entry.started_at < since):
                continue
            if entry.status != "done":  # one that was given up may have looked, too
                proofs += _BY_STAGE.get(entry.stage, 0)
                continue
            proofs += entry.candidate_id is not None
            proofs += (entry.report or {}).get("tried") is not None
        return proofs


def _allowed(num_labels: int, risk: Risk) -> float:
    """The largest share of wrong answers among all that still proves the target."""
    return (errors_allowed(num_labels, risk.max_error, risk.delta) or 0) / max(num_labels, 1)
