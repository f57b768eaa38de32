"""Scores of a confidence, against scikit-learn where it has them."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, roc_auc_score

from journeyman.models.errors import ConfigError
from journeyman.models.scoring import auroc, brier, calibration_error, reliability


def answers(n: int, *, digits: int = 9, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Confidences that mean what they say, and outcomes."""
    rng = np.random.default_rng(seed)
    confidence = rng.beta(4, 1.5, size=n)
    return confidence.round(digits), rng.random(n) < confidence


@pytest.mark.parametrize("digits", [9, 2, 1, 0])
def test_auroc_and_brier_are_those_of_scikit_learn(digits: int) -> None:
    confidence, right = answers(700, digits=digits)
    assert auroc(confidence, right) == pytest.approx(roc_auc_score(right, confidence), abs=1e-12)
    assert brier(confidence, right) == pytest.approx(brier_score_loss(right, confidence), abs=1e-12)


def test_auroc_of_one_class_is_unknown_and_of_a_constant_one_half() -> None:
    assert auroc([0.2, 0.9], [True, True]) is None
    assert auroc([0.2, 0.9], [False, False]) is None
    assert auroc([0.7] * 5, [True, False, True, True, False]) == 0.5


def test_a_base_rate_predictor_is_calibrated_and_tells_nothing() -> None:
    right = [True] * 80 + [False] * 20
    assert calibration_error([0.8] * 100, right) == pytest.approx(0)
    assert auroc([0.8] * 100, right) == 0.5
    assert len(reliability([0.8] * 100, right)) == 1


def test_over_confidence_is_an_error_of_its_size() -> None:
    confidence, right = answers(6000)
    assert calibration_error(confidence, right) < 0.025
    raised = 0.5 + confidence / 2
    assert calibration_error(raised, right) == pytest.approx(np.mean(raised - right), abs=0.01)


def test_bins_hold_equal_shares_from_the_lowest_confidence_up() -> None:
    confidence, right = answers(1500)
    bins = reliability(confidence, right)
    assert [b.num_items for b in bins] == [100] * 15
    means = [b.confidence for b in bins]
    assert means == sorted(means)
    by_hand = sum(abs(b.accuracy - b.confidence) for b in bins) / 15
    assert calibration_error(confidence, right) == pytest.approx(by_hand)
    assert sum(b.accuracy * b.num_items for b in bins) == pytest.approx(right.sum())


def test_equal_confidences_share_a_bin_whatever_their_order() -> None:
    confidence, right = answers(500, digits=1)
    order = np.random.default_rng(5).permutation(500)
    bins, shuffled = (
        np.array([(b.confidence, b.accuracy, b.num_items) for b in reliability(c, r)])
        for c, r in ((confidence, right), (confidence[order], right[order]))
    )
    np.testing.assert_allclose(bins, shuffled, rtol=1e-12)
    assert 3 < len(bins) <= len(np.unique(confidence))
    assert bins[:, 2].sum() == 500


def test_fewer_answers_than_bins_get_a_bin_each() -> None:
    assert [b.num_items for b in reliability([0.1, 0.5, 0.9], [False, True, True])] == [1, 1, 1]


@pytest.mark.parametrize(
    ("confidence", "right"),
    [([], []), ([0.5], [True, False]), ([np.nan], [True]), ([0.5], [0.5])],
)
def test_what_cannot_be_scored_is_refused(confidence: list[float], right: list[float]) -> None:
    with pytest.raises(ConfigError):
        brier(confidence, right)
