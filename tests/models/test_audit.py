"""Audits: fair, repeatable draws, and what they say about everything that was not drawn."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from journeyman.models.audit import (
    audit_chances,
    audit_draw,
    certifying_audits,
    hajek,
    horvitz_thompson,
    is_audited,
    prediction_powered,
)
from journeyman.models.errors import ConfigError

KEYS = [f"task-{i}" for i in range(20_000)]


def test_a_draw_is_the_same_everywhere_and_logs_its_probability() -> None:
    draw = audit_draw("9f86d081", "run-1", 0.25, "extraction")
    assert draw == audit_draw("9f86d081", "run-1", 0.25, "extraction")
    assert draw.probability == 0.25
    assert draw.is_audited == is_audited("9f86d081", "run-1", 0.25, "extraction")


def test_the_hash_is_fixed_for_ever() -> None:
    """Another version, or another program, must draw the same tasks."""
    for i in range(100):
        first_byte = hashlib.sha256(f'["salt","t{i}",7]'.encode()).digest()[0]
        assert is_audited(f"t{i}", 7, 0.5, "salt") == (first_byte < 128)


SHARES = st.floats(min_value=0, max_value=1)


@given(rate=SHARES, share=SHARES, focus=SHARES)
def test_audits_are_moved_between_tasks_and_never_multiplied(
    rate: float, share: float, focus: float
) -> None:
    chances = audit_chances(rate, share, focus)
    assert 0 <= chances.other <= chances.certifying <= 1
    assert share * chances.certifying + (1 - share) * chances.other == pytest.approx(rate)


def test_three_audits_in_four_are_kept_for_tasks_that_certify() -> None:
    chances = audit_chances(0.05, 0.2)
    assert chances.certifying == pytest.approx(0.2)  # 4 % of all tasks: of 5 % three in four
    assert chances.other == pytest.approx(0.0125)  # and their fifth of the fourth one


@pytest.mark.parametrize(("rate", "share"), [(0.0, 0.2), (1.0, 0.2), (0.05, 0.0), (0.3, 1.0)])
def test_nothing_is_moved_where_there_is_nowhere_to_move_it(rate: float, share: float) -> None:
    chances = audit_chances(rate, share)
    assert (chances.certifying, chances.other) == (rate, rate)


@pytest.mark.parametrize("broken", [(1.5, 0.2, 0.5), (0.1, -0.1, 0.5), (0.1, 0.2, float("nan"))])
def test_chances_out_of_range_are_refused(broken: tuple[float, float, float]) -> None:
    with pytest.raises(ConfigError, match="give shares from 0 to 1"):
        audit_chances(*broken)


@pytest.mark.parametrize("rate", [0.02, 0.05, 0.2, 0.9])
def test_the_share_drawn_is_the_rate(rate: float) -> None:
    drawn = sum(is_audited(key, 0, rate, "salt") for key in KEYS)
    assert stats.binomtest(drawn, len(KEYS), rate).pvalue > 1e-4


def test_all_or_nothing_are_rates_too() -> None:
    assert all(is_audited(key, 0, 1.0, "salt") for key in KEYS[:1000])
    assert not any(is_audited(key, 0, 0.0, "salt") for key in KEYS[:1000])


def test_draws_are_uniform() -> None:
    """Every band of rates draws its share, so the number behind a draw is uniform."""
    bands = np.zeros(20, dtype=int)
    for key in KEYS[:4000]:
        bands[next(b for b in range(20) if is_audited(key, 0, (b + 1) / 20, "salt"))] += 1
    assert stats.chisquare(bands).pvalue > 1e-4


def test_a_higher_rate_keeps_what_a_lower_one_drew() -> None:
    low = {key for key in KEYS if is_audited(key, 0, 0.05, "salt")}
    high = {key for key in KEYS if is_audited(key, 0, 0.2, "salt")}
    assert low < high


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((0, "a"), (1, "a")),
        ((0, "a"), (0, "b")),
        (("run-1", "a"), ("run-2", "a")),
        ((1, "a"), ("1", "a")),
    ],
)
def test_another_occurrence_or_salt_is_another_draw(
    one: tuple[str | int, str], other: tuple[str | int, str]
) -> None:
    first = np.array([is_audited(key, one[0], 0.5, one[1]) for key in KEYS[:5000]])
    second = np.array([is_audited(key, other[0], 0.5, other[1]) for key in KEYS[:5000]])
    assert abs(np.mean(first == second) - 0.5) < 0.03


def test_parts_of_the_key_do_not_run_together() -> None:
    same = [
        is_audited(f"c{i}", 0, 0.5, "ab") == is_audited(f"bc{i}", 0, 0.5, "a") for i in range(500)
    ]
    assert 0.4 < np.mean(same) < 0.6


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_a_rate_that_is_no_probability_is_refused(rate: float) -> None:
    with pytest.raises(ConfigError, match="from 0 to 1"):
        audit_draw("key", 0, rate, "salt")


def traffic(n: int, *, seed: int) -> tuple[np.ndarray, ...]:
    """Known labels, confidence, audits and their probabilities, and all labels.

    There are more audits where confidence is less sure.
    """
    rng = np.random.default_rng(seed)
    confidence = rng.beta(8, 1.5, size=n)
    wrong = (rng.random(n) > confidence).astype(float)
    spread = np.sqrt(confidence * (1 - confidence))
    probability = np.clip(0.05 + 0.1 * spread / spread.mean(), 0, 1)
    audited = rng.random(n) < probability
    return np.where(audited, wrong, np.nan), confidence, audited, probability, wrong


def test_estimates_are_unbiased_although_audits_prefer_doubtful_answers() -> None:
    rows = []
    for seed in range(300):
        labels, confidence, audited, probability, wrong = traffic(1500, seed=seed)
        rows.append(
            [
                horvitz_thompson(labels, audited, probability).value - wrong.mean(),
                hajek(labels, audited, probability).value - wrong.mean(),
                prediction_powered(labels, audited, probability, confidence).value - wrong.mean(),
                float(np.nanmean(labels)) - wrong.mean(),
            ]
        )
    off = np.mean(rows, axis=0)
    error = np.std(rows, axis=0) / np.sqrt(len(rows))
    assert (np.abs(off[:3]) < 3.5 * error[:3]).all()
    assert off[3] > 0.02  # the plain mean of audits is not


def test_intervals_cover_the_truth_and_good_confidence_narrows_them() -> None:
    covered, widths = np.zeros(3), np.zeros(3)
    for seed in range(300):
        labels, confidence, audited, probability, _ = traffic(1500, seed=1000 + seed)
        truth = 1 - 8 / 9.5
        estimates = (
            horvitz_thompson(labels, audited, probability),
            hajek(labels, audited, probability),
            prediction_powered(labels, audited, probability, confidence),
        )
        covered += [e.low <= truth <= e.high for e in estimates]
        widths += [e.high - e.low for e in estimates]
    assert (covered / 300 > 0.9).all()
    assert widths[2] < 0.95 * widths[0]


def test_with_everything_audited_all_estimates_are_the_mean() -> None:
    wrong = np.array([1, 0, 0, 1, 0, 0, 0, 0, 0, 0])
    audited = np.ones(10, dtype=bool)
    for estimate in (
        horvitz_thompson(wrong, audited, 1.0),
        hajek(wrong, audited, 1.0),
        prediction_powered(wrong, audited, 1.0, np.linspace(0, 1, 10)),
    ):
        assert estimate.value == pytest.approx(0.2)
        assert estimate.standard_error == pytest.approx(np.std(wrong, ddof=1) / np.sqrt(10))
        assert (estimate.num_items, estimate.num_audited) == (10, 10)


def test_by_hand() -> None:
    audited, wrong = [True, True, False, False], [1.0, 0.0, np.nan, np.nan]
    probability = [0.5, 0.25, 0.5, 0.5]
    assert horvitz_thompson(wrong, audited, probability).value == pytest.approx(0.5)  # 2 / 4
    assert hajek(wrong, audited, probability).value == pytest.approx(2 / 6)
    powered = prediction_powered(wrong, audited, probability, [0.9, 0.8, 0.7, 0.6])
    # f = .1 .2 .3 .4; .1 + 2 (1 - .1) = 1.9, .2 + 4 (0 - .2) = -.6, .3, .4
    assert powered.value == pytest.approx((1.9 - 0.6 + 0.3 + 0.4) / 4)


@pytest.mark.parametrize(
    ("wrong", "audited", "probability", "message"),
    [
        ([], [], 0.5, "at least one item"),
        ([1.0], [True, False], 0.5, "do not fit"),
        ([1.0], [True], 0.0, "logged probability"),
        ([np.nan], [True], 0.5, "no label"),
    ],
)
def test_audits_without_what_they_need_are_refused(
    wrong: list[float], audited: list[bool], probability: float, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        horvitz_thompson(wrong, audited, probability)


def test_estimates_need_an_audit_or_a_confidence() -> None:
    with pytest.raises(ConfigError, match="without one audit"):
        hajek([np.nan], [False], 0.5)
    with pytest.raises(ConfigError, match="one probability from 0 to 1"):
        prediction_powered([1.0], [True], 0.5, [1.2])


def test_four_audits_in_five_certify_by_the_usual_shares() -> None:
    assert certifying_audits(0.25, 0.2) == pytest.approx(0.8)
    assert certifying_audits(0.05, 0.2) == pytest.approx(0.8)
    assert certifying_audits(1.0, 0.2) == pytest.approx(0.2)  # then every task is audited
    assert certifying_audits(0.0, 0.2) == certifying_audits(0.05, 0.0) == 1.0
