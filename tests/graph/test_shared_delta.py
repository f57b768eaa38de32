"""All proofs of a sub-agent have one delta together: what is in traffic keeps the promise.

Simulated: students that improve, judged by labels that rounds share and that grow, each put into
traffic if its proof lets it answer more of them. That choice is the hardest a promise can meet,
since it favors the proof whose labels were the luckiest.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from journeyman.models.certificate import certify_joint
from journeyman.models.spending import Spending, most_spent
from journeyman.models.types import Risk

TARGET = 0.05
DELTA = 0.1
NUM_ROUNDS = 8
NUM_SEQUENCES = 400


def joint_risk(accuracy: float, threshold: float, slope: float) -> float:
    """Share of all tasks accepted and wrong, where a student is wrong above a latent difficulty."""
    limit = stats.norm.ppf(accuracy)
    # Accepted: -(slope * difficulty + noise) >= threshold, with noise of variance 1 - slope^2.
    corner = stats.multivariate_normal([0, 0], [[1, slope], [slope, 1]])
    both_below = float(corner.cdf([limit, -threshold]))
    return float(stats.norm.cdf(-threshold)) - both_below


def sequence(seed: int, *, shared: bool) -> bool:
    """Whether any release that came into traffic lets out more errors than the target allows."""
    rng = np.random.default_rng(seed)
    slope, num_labels = 0.75, 300 + 60 * NUM_ROUNDS
    common = rng.normal(size=num_labels)
    covered, failed, spent = 0.0, False, Spending()
    for number in range(1, NUM_ROUNDS + 1):
        accuracy = 0.9 - 0.06 * 0.6**number
        n = 300 + 60 * number
        difficulty = 0.8 * common + 0.6 * rng.normal(size=num_labels)
        noise = np.sqrt(1 - slope**2) * rng.normal(size=num_labels)
        wrong = difficulty > stats.norm.ppf(accuracy)
        scores = -(slope * difficulty + noise)
        risk = Risk(max_error=TARGET, delta=DELTA * spent.offer if shared else DELTA)
        spent = spent.after(most_spent(n, risk) / DELTA)
        proof = certify_joint(scores[:n], wrong[:n], risk)
        if proof.coverage > covered:
            covered = proof.coverage
            failed |= joint_risk(accuracy, proof.threshold, slope) > TARGET
    return failed


def test_releases_in_traffic_exceed_the_target_no_more_often_than_promised() -> None:
    failures = sum(sequence(seed, shared=True) for seed in range(NUM_SEQUENCES))
    assert stats.binomtest(failures, NUM_SEQUENCES, DELTA, alternative="greater").pvalue > 0.01


def test_without_sharing_they_would() -> None:
    """Each proof alone keeps its promise, and the luckiest of them does not."""
    failures = sum(sequence(seed, shared=False) for seed in range(NUM_SEQUENCES))
    assert failures / NUM_SEQUENCES > 2 * DELTA
