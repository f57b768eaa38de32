"""What deferring to the frontier costs and buys, at every rate at once.

Answers are deferred in order of rising confidence; those of equal confidence in the order in which
they are given. AURC and AUGRC look at the student's answers alone; AUDC, APGR and CPT need to know
how the frontier does on the same items. Computed from recorded outcomes: no model is called.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from journeyman.models.errors import ConfigError
from journeyman.models.scoring import checked

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Deferral:
    """The trade of student answers against frontier calls.

    Attributes:
        aurc: Mean selective risk over all coverages.
        augrc: Mean joint risk over all coverages.
        audc: Area under the system's accuracy against the share of answers deferred.
        apgr: Mean share of the gap between student and frontier that is closed at 10, 20, ...,
            100 % deferred; None where the frontier is not better than the student.
        cpt50: Lowest share deferred that closes half of the gap; None as above.
        cpt80: The same for 80 % of the gap.
        student_accuracy: With nothing deferred.
        frontier_accuracy: With everything deferred.
    """

    aurc: float
    augrc: float
    audc: float
    apgr: float | None
    cpt50: float | None
    cpt80: float | None
    student_accuracy: float
    frontier_accuracy: float


@dataclass(frozen=True, slots=True)
class RiskPoint:
    """What a threshold would have done.

    Attributes:
        threshold: Accept a confidence that is at least this.
        coverage: Share of all items that is accepted.
        selective_risk: Share of the accepted that is wrong.
        joint_risk: Share of all items that is accepted and wrong.
    """

    threshold: float
    coverage: float
    selective_risk: float
    joint_risk: float


def measure_deferral(
    confidence: ArrayLike, student_right: ArrayLike, frontier_right: ArrayLike
) -> Deferral:
    """All figures of one student against one frontier.

    Args:
        confidence: In each of the student's answers (n,), on any scale.
        student_right: Whether each is right (n,).
        frontier_right: Whether the frontier's answer to the same task is right (n,).

    Raises:
        ConfigError: The arrays do not fit together.
    """
    scores, student = checked(confidence, student_right)
    _, frontier = checked(confidence, frontier_right)
    shares, quality = _system_quality(scores, student, frontier)
    curve = _gap_closed(shares, quality)
    return Deferral(
        aurc=aurc(scores, student),
        augrc=augrc(scores, student),
        audc=float(np.trapezoid(quality, shares)),
        apgr=None if curve is None else _apgr(shares, curve),
        cpt50=None if curve is None else _cpt(shares, curve, 0.5),
        cpt80=None if curve is None else _cpt(shares, curve, 0.8),
        student_accuracy=float(student.mean()),
        frontier_accuracy=float(frontier.mean()),
    )


def aurc(confidence: ArrayLike, right: ArrayLike) -> float:
    """Area under selective risk against coverage: (1/n) sum over k of errors in the top k / k.

    Args:
        confidence: In each answer (n,), on any scale.
        right: Whether each is right (n,).

    Raises:
        ConfigError: The arrays do not fit together.
    """
    errors = _errors_kept(*checked(confidence, right))
    return float(np.mean(errors / np.arange(1, len(errors) + 1)))


def augrc(confidence: ArrayLike, right: ArrayLike) -> float:
    """Area under joint risk against coverage: (1/n) sum over k of errors in the top k / n.

    Args:
        confidence: In each answer (n,), on any scale.
        right: Whether each is right (n,).

    Raises:
        ConfigError: The arrays do not fit together.
    """
    errors = _errors_kept(*checked(confidence, right))
    return float(np.mean(errors)) / len(errors)


def cost_to_close(
    confidence: ArrayLike, student_right: ArrayLike, frontier_right: ArrayLike, share: float
) -> float | None:
    """CPT: the lowest share deferred that closes `share` of the gap between student and frontier.

    Args:
        confidence: In each of the student's answers (n,).
        student_right: Whether each is right (n,).
        frontier_right: Whether the frontier's is (n,).
        share: Of the gap, in (0, 1].

    Returns:
        In [0, 1]; None where the frontier is not better than the student.

    Raises:
        ConfigError: The arrays do not fit together, or the share lies outside (0, 1].
    """
    if not 0 < share <= 1:
        raise ConfigError(f"A share of {share!r} of the gap cannot be closed: give one in (0, 1].")
    scores, student = checked(confidence, student_right)
    _, frontier = checked(confidence, frontier_right)
    shares, quality = _system_quality(scores, student, frontier)
    curve = _gap_closed(shares, quality)
    return None if curve is None else _cpt(shares, curve, share)


def risk_coverage(
    confidence: ArrayLike, right: ArrayLike, max_points: int | None = None
) -> list[RiskPoint]:
    """Both risks at every distinct confidence, from the highest threshold down, for plotting.

    Args:
        confidence: In each answer (n,).
        right: Whether each is right (n,).
        max_points: Keep about evenly spaced points, the first and the last among them; all of
            them where None.

    Raises:
        ConfigError: The arrays do not fit together, or fewer than two points are asked for.
    """
    if max_points is not None and max_points < 2:
        raise ConfigError(f"A curve of {max_points} points cannot be drawn: ask for two or more.")
    scores, outcomes = checked(confidence, right)
    order = np.argsort(-scores, kind="stable")
    scores, errors = scores[order], np.cumsum(1 - outcomes[order])
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))  # of each run of equals
    if max_points is not None and len(last) > max_points:
        last = last[np.linspace(0, len(last) - 1, max_points).round().astype(int)]
    n = len(scores)
    return [
        RiskPoint(float(scores[i]), (i + 1) / n, float(errors[i]) / (i + 1), float(errors[i]) / n)
        for i in last.tolist()
    ]


def _errors_kept(scores: Floats, right: Floats) -> Floats:
    """Wrong answers among the 1, 2, ..., n that are deferred last."""
    order = np.argsort(scores, kind="stable")[::-1]
    return np.cumsum(1 - right[order])


def _system_quality(scores: Floats, student: Floats, frontier: Floats) -> tuple[Floats, Floats]:
    """Shares deferred (n + 1,) and the system's accuracy at each."""
    n = len(scores)
    order = np.argsort(scores, kind="stable")
    gained = np.concatenate([[0.0], np.cumsum((frontier - student)[order])])
    return np.arange(n + 1) / n, (student.sum() + gained) / n


def _gap_closed(shares: Floats, quality: Floats) -> Floats | None:
    """PGR at each share deferred; above 1 where the student knows what the frontier does not."""
    n = len(shares) - 1
    # In whole answers, so that a share of exactly one half is not missed by a rounding error.
    gained = np.rint((quality - quality[0]) * n)
    return gained / gained[-1] if gained[-1] > 0 else None


def _apgr(shares: Floats, curve: Floats) -> float:
    return float(np.interp(np.arange(1, 11) / 10, shares, curve).mean())


def _cpt(shares: Floats, curve: Floats, share: float) -> float:
    return float(shares[np.argmax(curve >= share)])
