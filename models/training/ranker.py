"""Teaching a ranker: listwise logistic regression over all candidates of all groups.

Every word gets a weight such that right candidates stand before wrong ones of their group, beside
what is known of them anyway; weights are shrunk towards 0. The problem is convex, so nothing is
drawn and the same groups give the same weights, for the same library versions. Knows nothing of
where the groups come from.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize  # type: ignore[import-untyped]  # scipy ships no types
from scipy.sparse import csr_matrix  # type: ignore[import-untyped]  # scipy ships no types

from journeyman.models.errors import ConfigError
from journeyman.models.students.folders import refuse_used
from journeyman.models.students.ranker import Ranker
from journeyman.models.types import content_hash

Floats = NDArray[np.float64]

_LEAST = 1e-3  # weights nearer to 0 are left out
_FOLDS = 5  # one of so many parts of the sources is held out for the report


@dataclass(frozen=True, slots=True)
class RankingGroup:
    """One task's candidates.

    Attributes:
        candidates: The words of each, with blanks between them.
        right: Numbers of the right ones: at least one, and not all.
        offsets: What else speaks for each, in log-odds, which is added to the ranker's score when
            it is asked; empty where nothing does.
        source: Groups of one source are held out together.
        weight: How much it counts.
    """

    candidates: Sequence[str]
    right: frozenset[int]
    offsets: Sequence[float] = ()
    source: str = ""
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class RankerReport:
    """What a training did.

    Attributes:
        seconds: Wall time.
        num_groups: Groups that were learned from.
        num_words: Words that got a weight.
        loss: Mean over groups of -log(probability of any right candidate).
        held_out_mrr: Mean reciprocal rank of the first right candidate in groups of a fifth of the
            sources, by weights that were fitted to the others; None where there are too few.
        offset_mrr: The same by the offsets alone.
        fingerprint: Of the ranker.
    """

    seconds: float
    num_groups: int
    num_words: int
    loss: float
    held_out_mrr: float | None
    offset_mrr: float | None
    fingerprint: str


def train_ranker(
    groups: Sequence[RankingGroup],
    *,
    out: Path,
    start: Ranker | None = None,
    shrinking: float = 0.016,
    fewest: int = 3,
    num_steps: int = 60,
    progress: Callable[[int, int], None] | None = None,
) -> RankerReport:
    """Fit weights to groups and write a folder for `Ranker.load`.

    Args:
        groups: At least one.
        out: Folder that does not exist yet, or is empty.
        start: A taught ranker; weights are shrunk towards its own instead of 0.
        shrinking: Of the sum of squares of what weights change by, beside the mean loss of a group.
        fewest: Candidates that have a word; rarer words get no weight.
        num_steps: Steps of the solver at most.
        progress: Called after every step with how many were done, and how many there are at most.

    Raises:
        ConfigError: There is no group, or one from which nothing can be learned.
        WeightsError: The folder is not empty.
    """
    begun = time.perf_counter()
    refuse_used(out, "ranker")
    _check(groups)
    known = start if start is not None else Ranker()

    def step(number: int) -> None:
        if progress is not None:
            progress(min(number, 2 * num_steps), 2 * num_steps)

    fit = _Fit(known, shrinking, fewest, num_steps)
    held_out, offsets_alone = _held_out(groups, fit, step)
    weights, loss = fit(groups, lambda number: step(num_steps + number))
    ranker = Ranker(weights)
    ranker.save(out)
    return RankerReport(
        seconds=time.perf_counter() - begun,
        num_groups=len(groups),
        num_words=len(weights),
        loss=loss,
        held_out_mrr=held_out,
        offset_mrr=offsets_alone,
        fingerprint=ranker.fingerprint(),
    )


def _check(groups: Sequence[RankingGroup]) -> None:
    if not groups:
        raise ConfigError("A ranker cannot be taught without groups: give at least one.")
    for i, group in enumerate(groups):
        count = len(group.candidates)
        known = all(0 <= k < count for k in group.right)
        weighed = len(group.offsets) in (0, count) and all(map(math.isfinite, group.offsets))
        if not (known and weighed and 0 < len(group.right) < count and group.weight > 0):
            raise ConfigError(
                f"Ranking group {i} has {count} candidates, {len(group.right)} right ones, "
                f"{len(group.offsets)} offsets and weight {group.weight}: it needs a right one, a "
                f"wrong one, a finite offset for each candidate or none, and a positive weight."
            )


class _Table:
    """All candidates of all groups, one after the other, with the words that have a column."""

    def __init__(self, groups: Sequence[RankingGroup], columns: dict[str, int]) -> None:
        own: list[int] = []
        marks: list[int] = []
        ends = [0]
        for number, group in enumerate(groups):
            for candidate in group.candidates:
                words = dict.fromkeys(candidate.split())
                marks += [columns[word] for word in words if word in columns]
                ends.append(len(marks))
                own.append(number)
        shape = (len(own), len(columns))
        self.words = csr_matrix((np.ones(len(marks)), marks, ends), shape=shape)
        self.own = np.array(own)
        self.right = np.array(
            [i in group.right for group in groups for i in range(len(group.candidates))]
        )
        self.offsets: Floats = np.concatenate(
            [np.array(g.offsets or [0.0] * len(g.candidates), dtype=np.float64) for g in groups]
        )
        shares = np.array([group.weight for group in groups])
        self.shares: Floats = shares / shares.sum()

    def log_sums(self, scores: Floats, own: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """log(sum(exp(scores))) of each group, and each candidate's share of its group's sum."""
        highest = np.full(len(self.shares), -np.inf)
        np.maximum.at(highest, own, scores)
        each = np.exp(scores - highest[own])
        sums = np.bincount(own, each, len(self.shares))
        return highest + np.log(sums), each / sums[own]


@dataclass(frozen=True, slots=True)
class _Fit:
    """The settings of a fit; see `train_ranker`."""

    known: Ranker
    shrinking: float
    fewest: int
    num_steps: int

    def __call__(
        self, groups: Sequence[RankingGroup], step: Callable[[int], None]
    ) -> tuple[dict[str, float], float]:
        """Weights by word, and the loss without what shrinks them."""
        counts = Counter[str]()
        for group in groups:
            for candidate in group.candidates:
                counts.update(set(candidate.split()))
        known = sorted(word for word, count in counts.items() if count >= self.fewest)
        table = _Table(groups, {word: i for i, word in enumerate(known)})
        table.offsets += [
            score for group in groups for score in self.known.predict(group.candidates)
        ]
        by_word = table.words.T.tocsr()
        right = np.flatnonzero(table.right)
        right_own = table.own[right]
        num_done = 0

        def loss(weights: Floats) -> tuple[float, Floats]:
            scores = table.words @ weights + table.offsets
            all_sums, pull = table.log_sums(scores, table.own)
            right_sums, push = table.log_sums(scores[right], right_own)
            slopes = pull * table.shares[table.own]
            slopes[right] -= push * table.shares[right_own]
            value = (all_sums - right_sums) @ table.shares + self.shrinking * (weights @ weights)
            return float(value), by_word @ slopes + 2 * self.shrinking * weights

        def after(_: Floats) -> None:
            nonlocal num_done
            num_done += 1
            step(num_done)

        found = minimize(
            loss,
            np.zeros(len(known)),
            jac=True,
            method="L-BFGS-B",
            callback=after,
            options={"maxiter": self.num_steps},
        )
        # Rounded, so that the last bits of a sum, which machines add up differently, are no part
        # of the student.
        change = dict(zip(known, found.x, strict=True))
        before = self.known.weights
        summed = {
            word: round(before.get(word, 0.0) + float(change.get(word, 0.0)), 4)
            for word in sorted({*before, *change})
        }
        weights = {word: weight for word, weight in summed.items() if abs(weight) >= _LEAST}
        return weights, float(found.fun) - self.shrinking * float(found.x @ found.x)


def _held_out(
    groups: Sequence[RankingGroup], fit: _Fit, step: Callable[[int], None]
) -> tuple[float | None, float | None]:
    """Mean reciprocal rank of groups that were not learned from, with weights and without."""
    folds = [
        int(content_hash(group.source or f"#{i}", length=8), 16) % _FOLDS
        for i, group in enumerate(groups)
    ]
    learned = [group for group, fold in zip(groups, folds, strict=True) if fold]
    exam = [group for group, fold in zip(groups, folds, strict=True) if not fold]
    if not learned or not exam:
        return None, None
    weights, _ = fit(learned, step)
    return (
        float(np.mean([reciprocal_rank(group, Ranker(weights)) for group in exam])),
        float(np.mean([reciprocal_rank(group, Ranker()) for group in exam])),
    )


def reciprocal_rank(group: RankingGroup, ranker: Ranker) -> float:
    """One over the rank of a group's first right candidate; among equals it comes last."""
    totals = np.array(ranker.predict(group.candidates))
    if group.offsets:
        totals = totals + np.array(group.offsets)
    right = np.zeros(len(totals), dtype=bool)
    right[list(group.right)] = True
    return 1 / (1 + int((totals[~right] >= totals[right].max()).sum()))
