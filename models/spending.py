"""What proofs that share their labels have spent of delta, and what the next one may spend.

Alpha spending (Lan and DeMets 1983, "Discrete sequential boundaries for clinical trials",
Biometrika 70): each proof may spend a share of what is left, and spends no more than its exact test
can err with. Errors are whole numbers, so that this is less, by a third in the mean: 6 of 265
labels may be wrong at a delta of .025, and at .02 too. What is not spent stays for those to come.
Knows numbers alone: no rounds, no releases.
"""

from __future__ import annotations

from dataclasses import dataclass

from journeyman.models.bounds import binomial_tail, errors_allowed
from journeyman.models.types import Risk


@dataclass(frozen=True, slots=True)
class Spending:
    """Shares of one delta.

    Attributes:
        left: Share of delta that no proof has spent, in [0, 1].
        num_proofs: Proofs that spent some of it.
    """

    left: float = 1.0
    num_proofs: int = 0

    @property
    def offer(self) -> float:
        """Share of delta that the next proof may spend.

        1 / (k + 1) of what is left to the k-th: where each spends all that it is offered they have
        1 / (k (k + 1)) of delta, whose sum stays below 1 however many there are.
        """
        return self.left / (self.num_proofs + 2)

    def after(self, share: float) -> Spending:
        """What is left after a proof; one that could not have proved anything is none.

        Args:
            share: Of delta, in [0, 1], that it spent.
        """
        if share <= 0:
            return self
        return Spending(max(self.left - share, 0.0), self.num_proofs + 1)


def most_spent(num_labels: int, risk: Risk) -> float:
    """The largest probability with which a proof by so many labels lets out too many errors.

    Known before the labels are. Joint: of seeing no more errors than are allowed were the risk just
    above the target, at the one threshold where it begins to be (see `models.certificate`); 0 where
    not even a faultless student would be certified. Selective: delta, as its tests at several
    thresholds rest on different numbers of labels.

    Args:
        num_labels: That the proof rests on.
        risk: Target, kind, and the delta that the proof may spend.
    """
    if risk.kind != "joint":
        return risk.delta
    allowed = errors_allowed(num_labels, risk.max_error, risk.delta)
    return 0.0 if allowed is None else float(binomial_tail(allowed, num_labels, risk.max_error))
