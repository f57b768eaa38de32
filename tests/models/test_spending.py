"""Proofs that share labels spend delta together, and each no more than it can err with."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from journeyman.models.certificate import certify_joint
from journeyman.models.spending import Spending, most_spent
from journeyman.models.types import Risk


def joint(max_error: float, delta: float) -> Risk:
    return Risk(max_error=max_error, delta=delta)


def test_proofs_that_spend_all_they_are_offered_never_spend_all_of_delta() -> None:
    spent, offers = Spending(), []
    for _ in range(2000):
        offers.append(spent.offer)
        spent = spent.after(spent.offer)
    assert offers[:4] == pytest.approx([1 / 2, 1 / 6, 1 / 12, 1 / 20])
    assert offers[-1] > 0
    assert sum(offers) == pytest.approx(1 - 1 / 2001)


@given(st.lists(st.tuples(st.integers(1, 3000), st.sampled_from([0.02, 0.05, 0.1])), max_size=30))
def test_whatever_proofs_rest_on_together_they_spend_no_more_than_delta(
    proofs: list[tuple[int, float]],
) -> None:
    delta, total, spent = 0.05, 0.0, Spending()
    for num_labels, max_error in proofs:
        used = most_spent(num_labels, joint(max_error, delta * spent.offer))
        assert used <= delta * spent.offer * (1 + 1e-9)
        total += used
        spent = spent.after(used / delta)
    assert total <= delta
    assert spent.left == pytest.approx(1 - total / delta)


def test_what_is_not_spent_is_offered_to_the_next() -> None:
    assert Spending().after(0.5).offer == pytest.approx(1 / 6)
    assert Spending().after(0.2).offer == pytest.approx(0.8 / 3)


def test_a_proof_that_could_not_have_proved_anything_does_not_count() -> None:
    assert most_spent(58, joint(0.05, 0.05)) == 0
    assert most_spent(59, joint(0.05, 0.05)) == pytest.approx(0.95**59)
    assert Spending().after(0.0) == Spending()


@pytest.mark.parametrize("num_labels", [59, 100, 265, 1200])
def test_a_joint_proof_spends_what_its_exact_test_errs_with(num_labels: int) -> None:
    """The certificate itself lets out so many wrong answers and not one more."""
    risk = joint(0.05, 0.05)
    scores = np.linspace(1, 0, num_labels)
    wrong = np.ones(num_labels, dtype=bool)
    allowed = certify_joint(scores, wrong, risk).k
    assert most_spent(num_labels, risk) == pytest.approx(stats.binom.cdf(allowed, num_labels, 0.05))
    assert stats.binom.cdf(allowed + 1, num_labels, 0.05) > 0.05


def test_a_selective_proof_spends_all_that_it_is_offered() -> None:
    risk = Risk(kind="selective", max_error=0.05, delta=0.01)
    assert most_spent(10, risk) == 0.01


def test_proofs_on_growing_labels_fail_together_no_more_often_than_delta() -> None:
    """Of a student that is wrong a little more often than the target, at every threshold."""
    rng, delta, num_failed, num_draws = np.random.default_rng(0), 0.1, 0, 2000
    for _ in range(num_draws):
        wrong, spent, failed = rng.random(1000) < 0.0501, Spending(), False
        for n in range(100, 1001, 100):
            risk = joint(0.05, delta * spent.offer)
            # Everything is accepted: the one threshold that is just too low.
            failed |= certify_joint(np.zeros(n), wrong[:n], risk).is_feasible
            spent = spent.after(most_spent(n, risk) / delta)
        num_failed += failed
    test = stats.binomtest(num_failed, num_draws, delta, alternative="greater")
    assert test.pvalue > 0.01, f"{num_failed} of {num_draws}"
