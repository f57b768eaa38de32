"""Audits: tasks drawn by hash before the gate, and what they say about all the others.

A draw depends on a salt, the task and which occurrence of it this is, and on nothing the student or
the gate does, so that audited tasks are a fair sample of traffic. Raising the rate keeps every task
that a lower rate had drawn. Tasks that may certify can be drawn more often than the others, whose
labels could only teach. The estimates use the logged probability of each draw; they do not know
whether labels are true.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special  # type: ignore[import-untyped]  # scipy ships no types

from journeyman.models.errors import ConfigError
from journeyman.models.types import canonical_json

Floats = NDArray[np.float64]

FOCUS = 0.75
"""Share of the audits that is kept for tasks whose labels may certify."""

_LEVEL = 0.95
_BITS = 53  # as many as a float holds exactly


@dataclass(frozen=True, slots=True)
class AuditDraw:
    """One draw and the probability that it had, for the record."""

    is_audited: bool
    probability: float


@dataclass(frozen=True, slots=True)
class AuditEstimate:
    """An error rate estimated from audits.

    Attributes:
        value: The rate; unbiased estimates may leave [0, 1] on small samples.
        standard_error: Its standard error; infinite where there are fewer than two items.
        low: Lower end of the 95 % interval, cut off at 0.
        high: Upper end, cut off at 1.
        num_items: Items that the rate speaks of.
        num_audited: Items among them with a label.
    """

    value: float
    standard_error: float
    low: float
    high: float
    num_items: int
    num_audited: int


@dataclass(frozen=True, slots=True)
class AuditChances:
    """How likely a task is to be audited, by what its label could be used for.

    Attributes:
        certifying: Probability for a task that may certify, in [0, 1].
        other: Probability for any other task, never the higher one.
    """

    certifying: float
    other: float


def audit_chances(rate: float, share: float, focus: float = FOCUS) -> AuditChances:
    """Spend audits where their labels certify, at the same number of audits.

    Of the audits, `focus` is kept for tasks that may certify, as far as there are such tasks; the
    rest is spread over all tasks, so that no kind of traffic goes unseen. Over the hash that says
    which tasks may certify, each task has the probability `rate`.

    Args:
        rate: Share of all tasks to be audited, in [0, 1].
        share: Share of the tasks that may certify, in [0, 1].
        focus: Share of the audits, in [0, 1], that is kept for them.

    Raises:
        ConfigError: One of them is no share.
    """
    if not all(0 <= value <= 1 for value in (rate, share, focus)):
        raise ConfigError(
            f"An audit rate of {rate!r}, a certifying share of {share!r} and a focus of {focus!r} "
            "make no sense: give shares from 0 to 1."
        )
    if share == 0 or share == 1:
        return AuditChances(rate, rate)
    certifying = min(1.0, rate * (focus / share + 1 - focus))
    other = max(0.0, rate - share * certifying) / (1 - share)
    return AuditChances(certifying, min(other, certifying))  # rounding, where share is almost 1


def certifying_audits(rate: float, share: float) -> float:
    """Share of the audits, in [0, 1], that falls on tasks that may certify.

    Args:
        rate: See `audit_chances`.
        share: See `audit_chances`; 0 says that nobody keeps tasks apart to certify.
    """
    if rate == 0 or share == 0:
        return 1.0
    return share * audit_chances(rate, share).certifying / rate


def audit_draw(task_key: str, occurrence: str | int, rate: float, salt: str) -> AuditDraw:
    """Draw, or do not draw, one task for an audit; the same for the same arguments, everywhere.

    Args:
        task_key: Content hash of the task.
        occurrence: What tells this occurrence of the task from another: a run id, or a count.
        rate: Probability of a draw in [0, 1].
        salt: Secret or not, one for each sub-agent; another salt draws other tasks.

    Raises:
        ConfigError: The rate lies outside [0, 1].
    """
    if not 0 <= rate <= 1:
        raise ConfigError(f"The audit rate is {rate!r}: give a probability from 0 to 1.")
    key = canonical_json([salt, task_key, occurrence]).encode("utf-8", "surrogatepass")
    number = int.from_bytes(hashlib.sha256(key).digest()[:8], "big") >> (64 - _BITS)
    return AuditDraw(number < rate * 2**_BITS, rate)


def is_audited(task_key: str, occurrence: str | int, rate: float, salt: str) -> bool:
    """Whether `audit_draw` draws the task."""
    return audit_draw(task_key, occurrence, rate, salt).is_audited


def horvitz_thompson(wrong: ArrayLike, audited: ArrayLike, probability: ArrayLike) -> AuditEstimate:
    """Error rate of all items: each audited one stands for 1 / probability of them. Unbiased.

    Args:
        wrong: Whether each answer is wrong (n,); looked at only where it was audited.
        audited: Whether each item was audited (n,).
        probability: Logged probability of each item's audit (n,) or one for all, in (0, 1].

    Raises:
        ConfigError: The arrays do not fit together, or an audited item had no chance to be drawn.
    """
    errors, weights, num_audited = _weighted(wrong, audited, probability)
    return _estimate(weights * errors, num_audited)


def hajek(wrong: ArrayLike, audited: ArrayLike, probability: ArrayLike) -> AuditEstimate:
    """As `horvitz_thompson`, divided by the weights drawn: slightly biased, rarely worse.

    Args:
        wrong: See `horvitz_thompson`.
        audited: See `horvitz_thompson`.
        probability: See `horvitz_thompson`.

    Raises:
        ConfigError: As `horvitz_thompson`, or nothing was audited.
    """
    errors, weights, num_audited = _weighted(wrong, audited, probability)
    if num_audited == 0:
        raise ConfigError("An error rate cannot be estimated without one audit: draw some first.")
    value = float((weights * errors).sum() / weights.sum())
    residuals = weights * (errors - value) / weights.mean()
    return _estimate(value + residuals, num_audited)


def prediction_powered(
    wrong: ArrayLike, audited: ArrayLike, probability: ArrayLike, confidence: ArrayLike
) -> AuditEstimate:
    """Error rate of all items: what confidence expects, corrected by the audits. Unbiased.

    However wrong the confidence, the audits mend it; the better it is, the narrower the interval.

    Args:
        wrong: See `horvitz_thompson`.
        audited: See `horvitz_thompson`.
        probability: See `horvitz_thompson`.
        confidence: Probability that each answer is right (n,), in [0, 1].

    Raises:
        ConfigError: As `horvitz_thompson`, or a confidence is no probability.
    """
    errors, weights, num_audited = _weighted(wrong, audited, probability)
    expected = 1 - np.asarray(confidence, dtype=np.float64)
    if expected.shape != errors.shape or not ((expected >= 0) & (expected <= 1)).all():
        raise ConfigError(
            f"Confidence of shape {expected.shape} does not fit {len(errors)} items: give one "
            f"probability from 0 to 1 for each."
        )
    return _estimate(expected + weights * (errors - expected), num_audited)


def _weighted(
    wrong: ArrayLike, audited: ArrayLike, probability: ArrayLike
) -> tuple[Floats, Floats, int]:
    """Errors (0 where unknown), weights (0 where not audited), number of audits."""
    is_drawn = np.asarray(audited, dtype=bool)
    labels = np.asarray(wrong, dtype=np.float64)
    if is_drawn.ndim != 1 or labels.shape != is_drawn.shape or not len(is_drawn):
        raise ConfigError(
            f"Labels of shape {labels.shape} and audits of shape {is_drawn.shape} do not fit: give "
            f"both for each of at least one item."
        )
    chance = np.broadcast_to(np.asarray(probability, dtype=np.float64), is_drawn.shape)[is_drawn]
    if not ((chance > 0) & (chance <= 1)).all() or not np.isin(labels[is_drawn], (0, 1)).all():
        raise ConfigError(
            "An audited item has no label of 0 or 1, or no logged probability in (0, 1]: log both "
            "with every audit."
        )
    weights = np.zeros(is_drawn.shape)
    weights[is_drawn] = 1 / chance
    return np.where(is_drawn, labels, 0.0), weights, int(is_drawn.sum())


def _estimate(summands: Floats, num_audited: int) -> AuditEstimate:
    num_items = len(summands)
    value = float(summands.mean())
    error = float(summands.std(ddof=1)) / math.sqrt(num_items) if num_items > 1 else math.inf
    reach = float(special.ndtri(0.5 + _LEVEL / 2)) * error
    low, high = max(0.0, value - reach), min(1.0, value + reach)
    return AuditEstimate(value, error, low, high, num_items, num_audited)
