"""How often a sub-agent's labels were looked at, and what that leaves of delta.

Rounds choose by labels that they share. All proofs that are tried for a sub-agent therefore have
one delta together: else the release that is in traffic, the luckiest of them, would miss the target
several times as often as was promised. Reads the record alone; knows no student and no label. How
delta is shared out is `models.spending`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from journeyman.models.bounds import errors_allowed
from journeyman.models.certificate import Certificate
from journeyman.models.spending import Spending, most_spent
from journeyman.models.types import Risk
from journeyman.traces.registry import Registry
from journeyman.traces.rounds import RoundEntry, RoundStore

_BY_STAGE = {"certify": 1, "decide": 1, "promote": 2}
"""Proofs that a round may have tried when it was given up in a stage."""

_WORTH = 1.05
"""Times the wrong answers that the proof before allowed: a further proof leaves less of delta to
all later ones."""


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

    def risk(self, target: Risk, *, further_on: int | None = None) -> Risk:
        """The target, with what a proof of this round may spend of its delta.

        Args:
            target: With delta for all proofs together.
            further_on: Labels of a further proof, which comes after that of the round's own
                release, on the same ones; None for the round's own.
        """
        spent = self._spent()
        if further_on is not None:
            own = most_spent(further_on, _offered(target, spent))
            spent = spent.after(own / target.delta)
        return _offered(target, spent)

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
        return _allowed(num_labels, self.risk(target, further_on=num_labels)) > _WORTH * before

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

    def _spent(self) -> Spending:
        """By proofs of earlier rounds, since labels were first collected or the last alarm."""
        since = self.shifted_at()
        spent = Spending()
        for entry in self._rounds.history(self._entry.agent, reports=True):
            if entry.id == self._entry.id or (since is not None and entry.started_at < since):
                continue
            if entry.status == "done":
                for share in _shares(entry.report or {}):
                    spent = spent.after(share)
            else:  # one that was given up may have looked, too, and nothing says at how many labels
                for _ in range(_BY_STAGE.get(entry.stage, 0)):
                    spent = spent.after(spent.offer)
        return spent


def _offered(target: Risk, spent: Spending) -> Risk:
    return target.model_copy(update={"delta": target.delta * spent.offer})


def _shares(report: Mapping[str, Any]) -> list[float]:
    """What each proof of a round has spent of the delta that the round was asked for."""
    winner = report.get("arms", {}).get(report.get("challenger"), {})
    proofs = [
        Certificate.model_validate(proof)
        for proof in (winner.get("certificate"), report.get("tried"))
        if proof is not None
    ]
    return [most_spent(proof.n, proof.risk) / report["target"]["delta"] for proof in proofs]


def _allowed(num_labels: int, risk: Risk) -> float:
    """The largest share of wrong answers among all that still proves the target."""
    return (errors_allowed(num_labels, risk.max_error, risk.delta) or 0) / max(num_labels, 1)
