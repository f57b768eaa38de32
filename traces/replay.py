"""Cost against quality, drawn anew from recorded attempts; no model is called.

For each error target it says what would have been certified, how much of the traffic would have
stayed with the student, and what that saves; the curve says the same of every threshold.

A replay certifies nothing: a release is trusted by the certificate that a round makes on labels
kept apart. Where the release had a confidence head its recorded confidences count. Where it had
none, each attempt is scored by a head that saw neither it nor its like; no such head serves, so
these figures are an estimate. Either way "wrong" means that the label source disagrees.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from journeyman.models.bounds import upper_bound
from journeyman.models.certificate import Certificate, certify
from journeyman.models.confidence import out_of_fold
from journeyman.models.deferral import RiskPoint, risk_coverage
from journeyman.models.savings import Terms
from journeyman.models.scoring import auroc
from journeyman.models.types import LabelSource, Risk
from journeyman.traces.judged import Judged, Recording
from journeyman.traces.labels import TRUST

Floats = NDArray[np.float64]

TARGETS = (0.01, 0.02, 0.05, 0.1, 0.2)
"""Error targets that a replay shows beside the one asked for."""

MAX_POINTS = 200

Scores = Literal["recorded", "out_of_fold"]
"""Where the confidences come from."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What one error target would mean.

    Attributes:
        certificate: What the labels prove for it; its threshold is infinite where nothing is.
        coverage: Share of the traffic whose student answers would be accepted.
        escalation_rate: Share of the traffic that goes to the frontier, audits included.
        joint_error: Share of the labelled attempts that is accepted and wrong.
        selective_error: Share of the accepted ones that is wrong; None where none is accepted.
        saving: Share of the frontier-only cost that is saved, in (-inf, 1]; None where the
            frontier's price is needed and not known.
        microusd_per_task: Expected cost of one task; None where the frontier's price is unknown.
    """

    certificate: Certificate
    coverage: float
    escalation_rate: float
    joint_error: float
    selective_error: float | None
    saving: float | None
    microusd_per_task: float | None


@dataclass(frozen=True, slots=True)
class WhatIf:
    """What one threshold would have done, certified or not: one point of the curve.

    Attributes:
        threshold: Accept a confidence that is at least this.
        coverage: Share of all labelled attempts that is accepted.
        selective_error: Share of the accepted that is wrong.
        joint_error: Share of all that is accepted and wrong.
        joint_bound: Exact upper bound of the joint risk at 1 - delta, were this threshold the only
            one looked at.
        escalation_rate, saving: As in `Outlook`.
    """

    threshold: float
    coverage: float
    selective_error: float
    joint_error: float
    joint_bound: float
    escalation_rate: float
    saving: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Cost against quality of one release, as its record has it.

    Attributes:
        recording: What it rests on.
        risk: The target that was asked for.
        asked: The outlook at it.
        outlooks: At every target, the asked one among them, the strictest first.
        curve: Every threshold's what-if, the highest threshold first; at most so many as asked.
        scores: Where the confidences come from.
        label_sources: Labels that count, by who gave them.
        num_valid: Attempts among them that could be accepted at all.
        num_right: Attempts among them that are right.
        auroc: How well confidence tells right from wrong among the valid; None where all are
            right, or all wrong.
        audit_rate: Share of the traffic that is audited once something is certified.
        is_grid_own: The grid of the selective rule comes from the labelled attempts' own scores,
            since no others are on record.
    """

    recording: Recording
    risk: Risk
    asked: Outlook
    outlooks: tuple[Outlook, ...]
    curve: tuple[WhatIf, ...]
    scores: Scores
    label_sources: Mapping[LabelSource, int]
    num_valid: int
    num_right: int
    auroc: float | None
    audit_rate: float
    is_grid_own: bool

    @property
    def num_labels(self) -> int:
        """Labelled attempts that count."""
        return len(self.recording.judged)

    @property
    def label_source(self) -> LabelSource | None:
        """The least trusted source among the labels: what is certified is agreement with it."""
        present = [source for source in TRUST if self.label_sources.get(source)]
        return present[-1] if present else None


def replay(
    recording: Recording,
    risk: Risk,
    *,
    targets: Iterable[float] = TARGETS,
    terms: Terms | None = None,
    max_points: int = MAX_POINTS,
    seed: int = 0,
) -> Replay:
    """Redraw cost against quality.

    Args:
        recording: What is on record.
        risk: The target asked for: its kind and delta hold for all targets.
        targets: Further error targets in (0, 1) to look at.
        terms: Costs and the audit rate; by default the recording's frontier price.
        max_points: Points of the curve at most.
        seed: Of the folds, where no confidences are on record.

    Raises:
        ConfigError: The evidence of the attempts does not fit together.
    """
    terms = terms or Terms(frontier_microusd=recording.frontier_microusd)
    judged = recording.judged
    source: Scores = "recorded" if _has_head(recording) else "out_of_fold"
    scores = _recorded(judged) if source == "recorded" else _out_of_fold(judged, seed)
    wrong = np.array([not each.is_right for each in judged], dtype=bool)
    others = np.array(recording.unlabelled if source == "recorded" else (), dtype=np.float64)
    finite = np.isfinite(scores)
    # The labels had no part in the scores, so these may serve where there are no others.
    grid = others if len(others) else scores[finite] if finite.any() else np.zeros(1)
    label_sources = Counter(each.label_source for each in judged)

    def outlook(max_error: float) -> Outlook:
        target = risk.model_copy(update={"max_error": max_error})
        return _outlook(certify(scores, wrong, target, grid), terms)

    wanted = sorted({*targets, risk.max_error})
    outlooks = {max_error: outlook(max_error) for max_error in wanted}
    return Replay(
        recording=recording,
        risk=risk,
        asked=outlooks[risk.max_error],
        outlooks=tuple(outlooks.values()),
        curve=_curve(scores, wrong, risk.delta, terms, max_points),
        scores=source,
        label_sources=dict(label_sources),
        num_valid=int(finite.sum()),
        num_right=int((~wrong).sum()),
        auroc=auroc(scores[finite], ~wrong[finite]) if finite.any() else None,
        audit_rate=terms.audit_rate,
        is_grid_own=risk.kind == "selective" and not len(others),
    )


def _has_head(recording: Recording) -> bool:
    """A head spoke of any attempt: then where it did not, the gate escalated."""
    spoken = any(each.confidence is not None for each in recording.judged)
    return spoken or bool(recording.unlabelled)


def _recorded(judged: Sequence[Judged]) -> Floats:
    return np.array(
        [
            each.confidence if each.is_valid and each.confidence is not None else -math.inf
            for each in judged
        ],
        dtype=np.float64,
    )


def _out_of_fold(judged: Sequence[Judged], seed: int) -> Floats:
    """Scores by heads that saw neither the attempt nor its group; minus infinity if not valid."""
    scores = np.full(len(judged), -math.inf)
    valid = [i for i, each in enumerate(judged) if each.is_valid]
    groups = [judged[i].group for i in valid]
    if len(set(groups)) < 2:
        scores[valid] = 0.5  # nothing to tell apart by
        return scores
    scores[valid] = out_of_fold(
        [judged[i].evidence for i in valid],
        [judged[i].is_right for i in valid],
        groups,
        seed,
    )
    return scores


def _outlook(certificate: Certificate, terms: Terms) -> Outlook:
    n, accepted, k = certificate.n, certificate.num_accepted, certificate.k
    return Outlook(
        certificate=certificate,
        coverage=certificate.coverage,
        escalation_rate=terms.escalation_rate(certificate.coverage),
        joint_error=k / n if n else 0.0,
        selective_error=k / accepted if accepted else None,
        saving=terms.saving(certificate.coverage),
        microusd_per_task=terms.microusd_per_task(certificate.coverage),
    )


def _curve(
    scores: Floats, wrong: NDArray[np.bool_], delta: float, terms: Terms, max_points: int
) -> tuple[WhatIf, ...]:
    finite = np.isfinite(scores)
    if not finite.any():
        return ()
    points = risk_coverage(scores[finite], ~wrong[finite], max_points)
    share = float(finite.sum()) / len(scores)
    return tuple(_what_if(point, share, len(scores), delta, terms) for point in points)


def _what_if(point: RiskPoint, share: float, n: int, delta: float, terms: Terms) -> WhatIf:
    """A point among the valid attempts (a `share` of `n`) as one among all of them."""
    coverage, joint = point.coverage * share, point.joint_risk * share
    return WhatIf(
        threshold=point.threshold,
        coverage=coverage,
        selective_error=point.selective_risk,
        joint_error=joint,
        joint_bound=upper_bound(round(joint * n), n, delta),
        escalation_rate=terms.escalation_rate(coverage),
        saving=terms.saving(coverage),
    )
