"""Paired comparison: worked cases, groups, slices, and A/A rounds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike
from scipy import stats

from journeyman.models.comparison import (
    Measure,
    PairedComparison,
    compare_measures,
    compare_paired,
    compare_slices,
    items_for_power,
    mcnemar,
)
from journeyman.models.errors import ConfigError
from tests.models.worked import cases


def releases(
    n: int, *, discordant: float, gain: float = 0.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Two releases that differ on some items; the candidate is better by `gain` in the mean."""
    rng = np.random.default_rng(seed)
    incumbent = rng.random(n) < 0.85
    draw = rng.random(n)
    wins, losses = (discordant + gain) / 2, (discordant - gain) / 2
    incumbent = np.where(draw < wins, False, np.where(draw < wins + losses, True, incumbent))
    candidate = np.where(draw < wins, True, np.where(draw < wins + losses, False, incumbent))
    return incumbent, candidate


def test_figures_are_those_of_an_independent_implementation() -> None:
    for case in cases("paired"):
        made = compare_paired(
            case["incumbent_right"],
            case["candidate_right"],
            margin=case["margin"],
            level=case["level"],
        )
        for name in ("difference", "lower", "mcnemar_p"):
            assert getattr(made, name) == pytest.approx(case[name], abs=1e-9), name
        assert (made.wins, made.losses) == (case["wins"], case["losses"])
        assert made.is_non_inferior == case["non_inferior"]


def test_by_hand() -> None:
    made = compare_paired([1, 1, 0, 0, 1], [1, 0, 1, 1, 1], margin=0.1)
    d = np.array([0, -1, 1, 1, 0])
    assert made.difference == pytest.approx(0.2)
    assert made.standard_error == pytest.approx(d.std(ddof=1) / math.sqrt(5))
    assert made.lower == pytest.approx(0.2 - stats.norm.ppf(0.95) * made.standard_error)
    assert (made.wins, made.losses, made.n, made.num_groups) == (2, 1, 5, 5)
    assert (made.incumbent, made.candidate) == pytest.approx((0.6, 0.8))


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (1, 0), (0, 3), (7, 3), (5, 5), (60, 31)])
def test_mcnemar_is_the_exact_binomial_test(wins: int, losses: int) -> None:
    exact = stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    assert mcnemar(wins, losses) == pytest.approx(exact, abs=1e-12)


def test_items_that_belong_together_count_for_less() -> None:
    """Each item four times over is no more evidence than once."""
    incumbent, candidate = releases(200, discordant=0.2)
    alone = compare_paired(incumbent, candidate, margin=0.05)
    naive = compare_paired(np.repeat(incumbent, 4), np.repeat(candidate, 4), margin=0.05)
    robust = compare_paired(
        np.repeat(incumbent, 4),
        np.repeat(candidate, 4),
        margin=0.05,
        groups=np.repeat(np.arange(200), 4).tolist(),
    )
    assert naive.standard_error < 0.51 * alone.standard_error
    assert robust.standard_error == pytest.approx(alone.standard_error)
    assert robust.num_groups == 200
    assert robust.difference == naive.difference


def test_non_inferiority_is_rarely_granted_to_a_candidate_at_the_margin() -> None:
    granted = better = 0
    for seed in range(1000):
        made = compare_paired(*releases(400, discordant=0.1, gain=-0.05, seed=seed), margin=0.05)
        granted += made.is_non_inferior
        better += made.is_better
    assert granted / 1000 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1000)
    assert granted > 10  # not by refusing everything
    assert better == 0


def test_a_round_with_the_same_weights_is_neither_better_nor_worse() -> None:
    incumbent, _ = releases(60, discordant=0.1)
    made = compare_paired(incumbent, incumbent, margin=0.02)
    assert (made.difference, made.lower, made.mcnemar_p) == (0, 0, 1)
    assert made.is_non_inferior
    assert not made.is_better


def test_noise_alone_is_rarely_called_better() -> None:
    """200 simulated rounds of two equally good releases."""
    rounds = [
        compare_paired(*releases(1600, discordant=0.1, seed=seed), margin=0.02)
        for seed in range(200)
    ]
    assert sum(r.is_better for r in rounds) <= 10
    assert sum(r.is_non_inferior for r in rounds) >= 140  # 80 % power at 1,546 items


def test_a_few_wins_are_not_called_better() -> None:
    made = compare_paired([True] * 97 + [False] * 3, [True] * 100, margin=0.02)
    assert made.lower > 0
    assert not made.is_better
    assert compare_paired([True] * 80 + [False] * 20, [True] * 100, margin=0.02).is_better


@pytest.mark.parametrize(
    ("margin", "effect", "n"),
    [
        (0.02, 0.0, 1546),
        (0.03, 0.0, 687),
        (0.05, 0.0, 248),
        (0.02, 0.01, 687),
        (0.03, 0.01, 387),
        (0.05, 0.01, 172),
    ],
)
def test_items_for_power_of_80_percent(margin: float, effect: float, n: int) -> None:
    assert items_for_power(margin, discordant=0.1, effect=effect) == n


def test_small_slices_say_nothing_and_large_ones_show_what_the_whole_hides() -> None:
    incumbent = np.ones(449, dtype=bool)
    candidate = incumbent.copy()
    candidate[300:320] = False
    slices = ["large"] * 300 + ["hurt"] * 100 + ["tiny"] * 49
    whole = compare_paired(incumbent, candidate, margin=0.1)
    parts = compare_slices(incumbent, candidate, slices, margin=0.1)
    assert whole.is_non_inferior
    assert sorted(parts) == ["hurt", "large"]
    assert parts["large"].is_non_inferior
    assert not parts["hurt"].is_non_inferior
    assert parts["hurt"].n == 100
    grouped = compare_slices(
        incumbent, candidate, slices, margin=0.1, groups=[i // 2 for i in range(449)]
    )
    assert grouped["hurt"].num_groups == 50


def test_one_group_proves_nothing_and_still_fits_json() -> None:
    made = compare_paired([1, 0, 1], [1, 1, 1], margin=0.5, groups=["only"] * 3)
    assert made.standard_error == math.inf
    assert not made.is_non_inferior
    assert PairedComparison.model_validate_json(made.model_dump_json()) == made


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ConfigError, match="one outcome for each"):
        compare_paired([1, 0], [1], margin=0.1)
    with pytest.raises(ConfigError, match="one outcome for each"):
        compare_paired([], [], margin=0.1)
    with pytest.raises(ConfigError, match="margin"):
        compare_paired([1], [1], margin=0.0)
    with pytest.raises(ConfigError, match="groups do not fit"):
        compare_paired([1, 0], [1, 0], margin=0.1, groups=["a"])
    with pytest.raises(ConfigError, match="slices do not fit"):
        compare_slices([1, 0], [1, 0], ["a"], margin=0.1)
    with pytest.raises(ConfigError, match="widen the margin"):
        items_for_power(0.02, discordant=0.1, effect=-0.02)


# Figures that are found from all items together


def mean_of(values: ArrayLike) -> Measure:
    array = np.asarray(values, dtype=float)
    return lambda rows: float(array[rows].mean())


def test_the_error_of_a_mean_is_the_one_of_the_formula() -> None:
    rng = np.random.default_rng(0)
    old, new = rng.random(400), rng.random(400)
    made = compare_measures(mean_of(old), mean_of(new), 400, num_resamples=2000)
    assert made.difference == pytest.approx((new - old).mean())
    assert made.standard_error == pytest.approx((new - old).std(ddof=1) / 20, rel=0.1)
    assert made.num_groups == 400


def test_groups_are_drawn_whole() -> None:
    values = np.repeat(np.random.default_rng(1).random(40), 10)
    alone = compare_measures(mean_of(np.zeros(400)), mean_of(values), 400)
    whole = compare_measures(
        mean_of(np.zeros(400)), mean_of(values), 400, groups=[i // 10 for i in range(400)]
    )
    assert whole.num_groups == 40
    assert whole.standard_error > 2 * alone.standard_error


def test_the_same_figure_differs_by_nothing() -> None:
    figure = mean_of(np.arange(10))
    made = compare_measures(figure, figure, 10)
    assert (made.difference, made.standard_error, made.p_value) == (0, 0, 1)


def test_a_figure_that_never_varies_is_sure() -> None:
    made = compare_measures(mean_of(np.zeros(10)), mean_of(np.ones(10)), 10)
    assert (made.difference, made.p_value) == (1, 0)


def test_a_seed_gives_the_same_resamples() -> None:
    rng = np.random.default_rng(2)
    sides = mean_of(rng.random(50)), mean_of(rng.random(50))
    assert compare_measures(*sides, 50, seed=1) == compare_measures(*sides, 50, seed=1)
    assert compare_measures(*sides, 50, seed=1) != compare_measures(*sides, 50, seed=2)


@pytest.mark.parametrize(
    ("num_items", "given"),
    [(0, {}), (10, {"num_resamples": 1}), (10, {"groups": [1, 2]})],
)
def test_nothing_to_resample_is_refused(num_items: int, given: Any) -> None:
    figure = mean_of(np.ones(10))
    with pytest.raises(ConfigError):
        compare_measures(figure, figure, num_items, **given)


def test_a_difference_in_one_group_alone_may_be_luck() -> None:
    found = compare_measures(lambda _: 0.0, lambda _: 1.0, 5, groups=["one"] * 5)
    assert (found.difference, found.num_groups, found.p_value) == (1.0, 1, 1.0)
    apart = compare_measures(lambda _: 0.0, lambda _: 1.0, 5)
    assert apart.p_value == 0.0
