"""The promise itself, by simulation: how often does the realised risk exceed the target?

Labels are drawn from populations whose true risks are known, so what is counted is exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from journeyman.models.certificate import certify_joint, certify_selective, quantile_grid
from journeyman.models.types import Risk
from tests.models.worked import Bools, Floats, Population, population

NUM_DRAWS = 2000
SHAPES = ["smooth", "ties", "discrete", "bump"]


def thresholds(
    drawn: Population, rule: Callable[[Floats, Bools], float], *, n: int, seed: int = 0
) -> Floats:
    """What a rule chooses on each of many draws of `n` labels."""
    return np.array([rule(*labels) for labels in drawn.draws(n, NUM_DRAWS, seed)])


def most_violations(delta: float) -> float:
    """A delta share plus three standard errors of the simulation."""
    return delta + 3 * math.sqrt(delta * (1 - delta) / NUM_DRAWS)


@pytest.mark.parametrize("n", [30, 100, 400])
@pytest.mark.parametrize("shape", SHAPES)
def test_joint_risk_exceeds_the_target_in_at_most_a_delta_share(shape: str, n: int) -> None:
    drawn, risk = population(shape), Risk(max_error=0.1, delta=0.1)
    chosen = thresholds(drawn, lambda s, w: certify_joint(s, w, risk).threshold, n=n)
    realised, _, coverage = drawn.risks(chosen)
    assert np.mean(realised > risk.max_error) <= most_violations(risk.delta)
    assert coverage.mean() > 0.2  # not by refusing everything


@pytest.mark.parametrize("n", [100, 400, 1000])
@pytest.mark.parametrize("shape", SHAPES)
def test_selective_risk_exceeds_the_target_in_at_most_a_delta_share(shape: str, n: int) -> None:
    drawn, risk = population(shape), Risk(max_error=0.1, delta=0.1)
    grid = quantile_grid(drawn.scores[:4000])
    chosen = thresholds(drawn, lambda s, w: certify_selective(s, w, risk, grid).threshold, n=n)
    _, realised, coverage = drawn.risks(chosen)
    assert np.mean(realised > risk.max_error) <= most_violations(risk.delta)
    assert n < 400 or coverage.mean() > 0.2


@pytest.mark.parametrize("shape", ["smooth", "ties"])
def test_the_naive_rule_breaks_the_same_promise(shape: str) -> None:
    """The lowest threshold whose empirical error is within the target."""
    drawn = population(shape)

    def naive(scores: Floats, wrong: Bools) -> float:
        order = np.argsort(-scores, kind="stable")
        levels, errors = scores[order], np.cumsum(wrong[order])
        ends = np.append(levels[1:] != levels[:-1], True)
        within = ends & (errors / np.arange(1, len(levels) + 1) <= 0.1)
        return float(levels[within].min(initial=math.inf))

    _, realised, _ = drawn.risks(thresholds(drawn, naive, n=500))
    assert np.mean(realised > 0.1) > 0.17


def test_the_joint_rule_leaves_little_of_the_budget_unused() -> None:
    drawn, risk = population("smooth"), Risk(max_error=0.05, delta=0.05)
    possible = max(
        coverage
        for joint, _, coverage in zip(*drawn.risks(np.unique(drawn.scores)), strict=True)
        if joint <= risk.max_error
    )
    chosen = thresholds(drawn, lambda s, w: certify_joint(s, w, risk).threshold, n=800)
    assert drawn.risks(chosen)[2].mean() > 0.9 * possible


@pytest.mark.parametrize("kind", ["joint", "selective"])
def test_a_better_student_escalates_less_at_the_same_risk(kind: str) -> None:
    """No target rate: what is accepted follows from what is right."""
    risk = Risk(max_error=0.05, delta=0.1)
    escalated = []
    for skill in (0.0, 0.7, 1.4, 2.1):
        drawn = population("smooth", skill=skill)
        grid = quantile_grid(drawn.scores[:4000])

        def rule(scores: Floats, wrong: Bools, grid: Floats = grid) -> float:
            if kind == "joint":
                return certify_joint(scores, wrong, risk).threshold
            return certify_selective(scores, wrong, risk, grid).threshold

        chosen = np.array([rule(*labels) for labels in drawn.draws(400, 300, seed=1)])
        joint, selective, coverage = drawn.risks(chosen)
        realised = joint if kind == "joint" else selective
        assert np.mean(realised > risk.max_error) < 0.2
        escalated.append(1 - coverage.mean())
    assert escalated == sorted(escalated, reverse=True)
    assert escalated[-1] < escalated[0] - 0.2
