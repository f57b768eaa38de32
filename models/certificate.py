"""Certificates: the proof that a threshold keeps an error target, or that none does yet.

Two risks, both over the traffic that the labelled items are a fair sample of:

- joint: P(accepted and wrong). It can only grow as the threshold falls, so one exact bound per
  threshold is enough, without correction for having looked at many of them.
- selective: P(wrong | accepted). It may go up and down, so thresholds of a grid that was fixed
  without the labels are tested in order, from several starts that share delta (learn then test).

An item is accepted when its score is at least the threshold. Where nothing can be certified the
threshold is infinity and the certificate says about how many more labels it would take.

What a certificate does not know: whether the labels are true (it bounds disagreement with their
source), whether items depend on each other, and whether they were kept out of training. Scores must
come from the head that will serve, on items that neither it nor the student was fitted to.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    model_validator,
)

from journeyman.models.bounds import binomial_tail, items_at_rate, upper_bound
from journeyman.models.errors import ConfigError
from journeyman.models.types import LabelSource, Risk, RiskKind

Floats = NDArray[np.float64]

NUM_STARTS = 4
NUM_GRID_POINTS = 48


def _infinite_if_null(value: Any) -> Any:
    return math.inf if value is None else value


def _null_if_infinite(value: float) -> float | None:
    return value if math.isfinite(value) else None


Threshold = Annotated[
    float,
    BeforeValidator(_infinite_if_null),
    PlainSerializer(_null_if_infinite, return_type=float | None, when_used="json"),
]
"""A threshold; infinity, which accepts nothing, is null in JSON."""


class Certificate(BaseModel):
    """What was proved about one threshold, on how many labels, and by whom these were given.

    Attributes:
        kind: `joint` bounds P(accepted and wrong); `selective` bounds P(wrong | accepted).
        max_error: The target, in (0, 1).
        delta: Probability in (0, 1) with which the proof may fail.
        n: Labelled items.
        k: Wrong ones among the accepted.
        threshold: Accept a score that is at least this; infinity (null in JSON) accepts nothing.
        num_accepted: Items with such a score.
        coverage: num_accepted / n, in [0, 1].
        num_wrong: Wrong ones among all labelled items, accepted or not.
        bound: Upper bound of the certified risk at the threshold; None where nothing is accepted.
        labels_needed: About how many more labels would make something certifiable if the surest
            answers went on being wrong as often as now; None where something is certified, or
            where no number of labels would do.
        label_source: Who said what is right; None where it was not stated.
        release: The one release for which it holds; empty until it is bound.
        data_hash: SHA-256 of scores, labels and grid in sorted order: what the proof rests on.
        created_at: When, with a time zone.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: RiskKind
    max_error: float = Field(gt=0, lt=1)
    delta: float = Field(gt=0, lt=1)
    n: int = Field(ge=0)
    k: int = Field(ge=0)
    threshold: Threshold
    num_accepted: int = Field(ge=0)
    coverage: float = Field(ge=0, le=1)
    num_wrong: int = Field(default=0, ge=0)
    bound: float | None = Field(default=None, ge=0, le=1)
    labels_needed: int | None = Field(default=None, gt=0)
    label_source: LabelSource | None = None
    release: str = ""
    data_hash: str = ""
    created_at: AwareDatetime

    @model_validator(mode="after")
    def _counts_fit(self) -> Certificate:
        if not self.k <= self.num_accepted <= self.n or not self.k <= self.num_wrong <= self.n:
            raise ValueError("a certificate needs k <= num_accepted <= n and k <= num_wrong <= n")
        if math.isnan(self.threshold) or self.threshold == -math.inf:
            raise ValueError("a threshold is a number, or infinity where nothing is accepted")
        return self

    @property
    def is_feasible(self) -> bool:
        """Something is certified."""
        return math.isfinite(self.threshold)

    @property
    def risk(self) -> Risk:
        """The target that it was made for."""
        return Risk(max_error=self.max_error, delta=self.delta, kind=self.kind)

    def accepts(self, score: float) -> bool:
        """Whether a score passes; infinity and not-a-number never do where nothing is certified."""
        return self.is_feasible and score >= self.threshold

    def bind(self, release: str, label_source: LabelSource) -> Certificate:
        """The same certificate for one release, with its label source said."""
        return self.model_copy(update={"release": release, "label_source": label_source})

    def describe(self) -> str:
        """One sentence for people: what holds, or what it would take."""
        target = f"{self.kind} error within {self.max_error:.3g} (delta {self.delta:.3g})"
        source = f"{self.label_source} labels" if self.label_source else "labels"
        if self.is_feasible:
            return (
                f"Certified: {target} at {self.coverage:.1%} coverage, "
                f"{self.k} wrong among {self.num_accepted} accepted of {self.n} {source}."
            )
        if self.labels_needed is not None:
            need = f"about {self.labels_needed} more would do at the present error rate"
        else:
            need = (
                "no number of labels would do while the surest answers are wrong this often: "
                "teach the student more, or allow more error"
            )
        return f"Not certifiable: {target} on {self.n} {source}; {need}."


@dataclass(frozen=True, slots=True)
class _Labelled:
    """Labelled items from the highest score down."""

    scores: Floats
    wrong: NDArray[np.bool_]
    data_hash: str

    @property
    def n(self) -> int:
        return len(self.scores)

    def counts_at(self, thresholds: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """How many are accepted, and how many of them wrong, at each threshold."""
        num_accepted = np.searchsorted(-self.scores, -thresholds, side="right")
        num_wrong = np.concatenate([[0], np.cumsum(self.wrong)])[num_accepted]
        return num_accepted.astype(np.int64), num_wrong.astype(np.int64)


def certify_joint(
    scores: ArrayLike,
    wrong: ArrayLike,
    risk: Risk,
    *,
    label_source: LabelSource | None = None,
    release: str = "",
    created_at: datetime | None = None,
) -> Certificate:
    """The lowest threshold with P(accepted and wrong) <= max_error, at confidence 1 - delta.

    Goes through the distinct scores from the highest down and stops before the first whose exact
    bound, over all items, exceeds the target. Items of one score are accepted together.

    Args:
        scores: Confidence in each item (n,). All labelled items count, so give those that can never
            be accepted (no output, a failed hard check) a score of minus infinity.
        wrong: Whether the answer is wrong, for each item (n,): booleans, or 0 and 1.
        risk: Target and delta; its kind is not looked at.
        label_source: Who said what is right.
        release: The release whose scores these are.
        created_at: With a time zone; now, where it is None.

    Raises:
        ConfigError: Scores and labels do not fit together, or are not numbers of that kind.
    """
    items = _labelled(scores, wrong)
    levels = np.unique(items.scores[np.isfinite(items.scores)])[::-1]
    _, errors = items.counts_at(levels)
    num_certified, bound = 0, None
    for count, first in zip(*np.unique(errors, return_index=True), strict=True):
        # Scores down to the next error share a count, hence a bound.
        reached = upper_bound(int(count), items.n, risk.delta)
        if reached > risk.max_error:
            num_certified = int(first)
            break
        num_certified, bound = len(levels), reached
    needed = None
    if num_certified:
        threshold = float(levels[num_certified - 1])
    else:
        threshold = math.inf
        rate = errors[0] / items.n if len(levels) else 0.0
        needed = _more(items_at_rate(rate, risk.max_error, risk.delta), items.n)
    stamp = _Stamp(label_source, release, created_at)
    return _certificate("joint", items, risk, threshold, bound, needed, stamp)


def certify_selective(
    scores: ArrayLike,
    wrong: ArrayLike,
    risk: Risk,
    grid: ArrayLike,
    num_starts: int = NUM_STARTS,
    *,
    label_source: LabelSource | None = None,
    release: str = "",
    created_at: datetime | None = None,
) -> Certificate:
    """The lowest threshold of a grid with P(wrong | accepted) <= max_error, at 1 - delta.

    Each start walks down the grid while the exact binomial test, at delta / num_starts, refutes a
    rate above the target; a point that another start certified is walked over.

    Args:
        scores: Confidence in each item (n,); minus infinity for what can never be accepted.
        wrong: Whether the answer is wrong, for each item (n,): booleans, or 0 and 1.
        risk: Target and delta; its kind is not looked at.
        grid: Candidate thresholds, fixed without these labels: `quantile_grid` of unlabelled
            scores.
        num_starts: How many points of the grid to start from, evenly spaced from the highest.
        label_source: Who said what is right.
        release: The release whose scores these are.
        created_at: With a time zone; now, where it is None.

    Raises:
        ConfigError: Scores and labels do not fit together, or the grid is empty or not finite.
    """
    points = np.sort(np.asarray(grid, dtype=np.float64).ravel())[::-1]
    if not len(points) or not np.isfinite(points).all() or num_starts < 1:
        raise ConfigError(
            f"A grid of {len(points)} thresholds with {num_starts} starts cannot be tested: give "
            f"finite thresholds (quantiles of unlabelled scores) and at least one start."
        )
    items = _labelled(scores, wrong, points)
    num_accepted, errors = items.counts_at(points)
    p_values = binomial_tail(errors, num_accepted, risk.max_error)
    starts = [i * (len(points) // num_starts) for i in range(num_starts)]
    local_delta = risk.delta / num_starts
    lowest = _walk(p_values, starts, local_delta)
    stamp = _Stamp(label_source, release, created_at)
    if lowest is not None:
        bound = upper_bound(int(errors[lowest]), int(num_accepted[lowest]), local_delta)
        threshold = float(points[lowest])
        return _certificate("selective", items, risk, threshold, bound, None, stamp)
    needed = _selective_labels(items.n, num_accepted[starts], errors[starts], risk, local_delta)
    return _certificate("selective", items, risk, math.inf, None, needed, stamp)


def certify(
    scores: ArrayLike,
    wrong: ArrayLike,
    risk: Risk,
    unlabelled: ArrayLike,
    *,
    label_source: LabelSource | None = None,
    release: str = "",
    created_at: datetime | None = None,
) -> Certificate:
    """The certificate of the kind that the risk names.

    Args:
        scores: See `certify_joint`.
        wrong: See `certify_joint`.
        risk: Target, delta and kind.
        unlabelled: Scores of traffic that the labels had no part in; used by `selective` alone.
        label_source: Who said what is right.
        release: The release whose scores these are.
        created_at: With a time zone; now, where it is None.

    Raises:
        ConfigError: As the two rules do.
    """
    if risk.kind == "joint":
        return certify_joint(
            scores, wrong, risk, label_source=label_source, release=release, created_at=created_at
        )
    return certify_selective(
        scores,
        wrong,
        risk,
        quantile_grid(unlabelled),
        label_source=label_source,
        release=release,
        created_at=created_at,
    )


def quantile_grid(
    unlabelled: ArrayLike, num_points: int = NUM_GRID_POINTS, lowest_coverage: float = 0.1
) -> Floats:
    """Thresholds that accept from a tenth to all of some unlabelled scores, highest first.

    Args:
        unlabelled: Scores of traffic (m,), never those of the labels that will certify; minus
            infinity for what can never be accepted.
        num_points: Thresholds.
        lowest_coverage: Share of the scores that the first threshold accepts, in (0, 1].

    Returns:
        Thresholds (num_points,), falling; scores that repeat give thresholds that repeat.

    Raises:
        ConfigError: There is no finite score.
    """
    scores = np.asarray(unlabelled, dtype=np.float64).ravel()
    finite = scores[np.isfinite(scores)]
    if not len(finite):
        raise ConfigError(
            "A grid of thresholds cannot be drawn from no finite score: give scores of traffic "
            "that has not been labelled."
        )
    coverages = np.linspace(lowest_coverage, 1.0, num_points)
    # A real score at each point: between two of them thresholds would accept the same items.
    return np.quantile(finite, 1 - coverages, method="lower")


@dataclass(frozen=True, slots=True)
class _Stamp:
    label_source: LabelSource | None
    release: str
    created_at: datetime | None


def _certificate(
    kind: RiskKind,
    items: _Labelled,
    risk: Risk,
    threshold: float,
    bound: float | None,
    needed: int | None,
    stamp: _Stamp,
) -> Certificate:
    num_accepted, errors = items.counts_at(np.array([threshold]))
    return Certificate(
        kind=kind,
        max_error=risk.max_error,
        delta=risk.delta,
        n=items.n,
        k=int(errors[0]),
        threshold=threshold,
        num_accepted=int(num_accepted[0]),
        coverage=int(num_accepted[0]) / items.n if items.n else 0.0,
        num_wrong=int(items.wrong.sum()),
        bound=bound,
        labels_needed=needed,
        label_source=stamp.label_source,
        release=stamp.release,
        data_hash=items.data_hash,
        created_at=stamp.created_at or datetime.now(UTC),
    )


def _labelled(scores: ArrayLike, wrong: ArrayLike, grid: Floats | None = None) -> _Labelled:
    values = np.asarray(scores, dtype=np.float64)
    labels = np.asarray(wrong, dtype=np.float64)
    if values.ndim != 1 or values.shape != labels.shape:
        raise ConfigError(
            f"Scores of shape {values.shape} and labels of shape {labels.shape} cannot be "
            f"certified: give one label for each score."
        )
    if np.isnan(values).any() or (values == math.inf).any():
        raise ConfigError(
            "A score is not a number or is infinite: give finite scores, and minus infinity for "
            "what can never be accepted."
        )
    if not np.isin(labels, (0.0, 1.0)).all():
        raise ConfigError(
            "A label says neither right nor wrong: give true or 1 where the answer is wrong, else "
            "false or 0, and leave out items without a label."
        )
    # Ties in order of the label, so that the hash knows nothing of the order of the items.
    order = np.lexsort((labels, -values))
    values, labels = values[order] + 0.0, labels[order]  # + 0.0: minus zero is zero
    digest = hashlib.sha256(values.astype("<f8").tobytes())
    digest.update(labels.astype("<f8").tobytes())
    if grid is not None:
        digest.update((grid + 0.0).astype("<f8").tobytes())
    return _Labelled(values, labels == 1, digest.hexdigest())


def _walk(p_values: Floats, starts: Sequence[int], level: float) -> int | None:
    """The last point that any start reaches; None where no start gets anywhere."""
    passed = p_values <= level
    lowest = None
    for start in starts:
        # A start that fails where another has walked through cannot happen: both use one level.
        stop = start
        while stop < len(passed) and passed[stop]:
            stop += 1
        if stop > start:
            lowest = stop - 1 if lowest is None else max(lowest, stop - 1)
    return lowest


def _selective_labels(
    n: int, num_accepted: NDArray[np.int64], errors: NDArray[np.int64], risk: Risk, level: float
) -> int | None:
    """The fewest more labels with which one of the starts would pass."""
    if n == 0:
        return items_at_rate(0.0, risk.max_error, level)
    needs = []
    for accepted, wrong in zip(num_accepted.tolist(), errors.tolist(), strict=True):
        fewest = items_at_rate(wrong / accepted, risk.max_error, level) if accepted else None
        if fewest is not None:
            needs.append(math.ceil(fewest * n / accepted))
    return _more(min(needs, default=None), n)


def _more(total: int | None, n: int) -> int | None:
    return None if total is None else max(1, total - n)
