"""How good a confidence is: AUROC, Brier, expected calibration error, reliability bins.

A constant confidence at the base rate has a calibration error of 0 and tells nothing apart, so the
three are meant to be read together. Knows confidences and outcomes alone.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from journeyman.models.errors import ConfigError

Floats = NDArray[np.float64]

NUM_BINS = 15


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Answers of about the same confidence.

    Attributes:
        confidence: Their mean confidence.
        accuracy: Share of them that is right.
        num_items: How many they are.
    """

    confidence: float
    accuracy: float
    num_items: int


def auroc(confidence: ArrayLike, right: ArrayLike) -> float | None:
    """P(a right answer is given more confidence than a wrong one), ties counted half.

    Args:
        confidence: One finite number for each answer (n,), on any scale.
        right: Whether each answer is right (n,).

    Returns:
        In [0, 1]; None where all answers are right, or all wrong.

    Raises:
        ConfigError: The arrays do not fit together.
    """
    scores, outcomes = checked(confidence, right)
    num_right = int(outcomes.sum())
    num_wrong = len(outcomes) - num_right
    if not num_right or not num_wrong:
        return None
    _, level, counts = np.unique(scores, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(counts) - (counts - 1) / 2  # from 1, tied scores share theirs
    rank_sum = float(mean_rank[level][outcomes == 1].sum())
    return (rank_sum - num_right * (num_right + 1) / 2) / (num_right * num_wrong)


def brier(confidence: ArrayLike, right: ArrayLike) -> float:
    """Mean squared distance of confidence from what happened, in [0, 1]; smaller is better.

    Args:
        confidence: Probability that each answer is right (n,).
        right: Whether it is (n,).

    Raises:
        ConfigError: The arrays do not fit together.
    """
    scores, outcomes = checked(confidence, right)
    return float(np.mean((scores - outcomes) ** 2))


def calibration_error(confidence: ArrayLike, right: ArrayLike, num_bins: int = NUM_BINS) -> float:
    """Expected calibration error over bins of equal mass, in [0, 1].

    Args:
        confidence: Probability that each answer is right (n,).
        right: Whether it is (n,).
        num_bins: How many bins at most.

    Raises:
        ConfigError: The arrays do not fit together.
    """
    bins = reliability(confidence, right, num_bins)
    total = sum(b.num_items for b in bins)
    return sum(b.num_items * abs(b.accuracy - b.confidence) for b in bins) / total


def reliability(
    confidence: ArrayLike, right: ArrayLike, num_bins: int = NUM_BINS
) -> list[ReliabilityBin]:
    """Bins of equal mass from the lowest confidence up; equal confidences share a bin.

    Args:
        confidence: Probability that each answer is right (n,).
        right: Whether it is (n,).
        num_bins: How many bins at most; ties make fewer.

    Raises:
        ConfigError: The arrays do not fit together.
    """
    scores, outcomes = checked(confidence, right)
    order = np.argsort(scores, kind="stable")
    scores, outcomes = scores[order], outcomes[order]
    cuts = np.arange(1, num_bins) * len(scores) // num_bins
    # A cut inside a run of equal confidences moves to the run's beginning.
    edges = np.unique([0, *np.searchsorted(scores, scores[cuts]), len(scores)])
    return [
        ReliabilityBin(float(scores[a:b].mean()), float(outcomes[a:b].mean()), b - a)
        for a, b in itertools.pairwise(edges.tolist())
    ]


def checked(confidence: ArrayLike, right: ArrayLike) -> tuple[Floats, Floats]:
    """Confidences and outcomes (0 or 1) as arrays of one length.

    Raises:
        ConfigError: They differ in length, are empty, or hold something else.
    """
    scores = np.asarray(confidence, dtype=np.float64)
    outcomes = np.asarray(right, dtype=np.float64)
    if scores.ndim != 1 or scores.shape != outcomes.shape or not len(scores):
        raise ConfigError(
            f"Confidences of shape {scores.shape} and outcomes of shape {outcomes.shape} cannot be "
            f"scored: give one outcome for each of at least one confidence."
        )
    if not np.isfinite(scores).all() or not np.isin(outcomes, (0.0, 1.0)).all():
        raise ConfigError(
            "A confidence is not finite or an outcome is neither right nor wrong: leave out items "
            "that were not judged."
        )
    return scores, outcomes
