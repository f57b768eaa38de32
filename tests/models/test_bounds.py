"""Exact binomial bounds: published values, and what must hold for all numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from journeyman.models.bounds import (
    binomial_tail,
    delta_at_look,
    errors_allowed,
    items_at_rate,
    items_needed,
    least_abstention,
    upper_bound,
)
from journeyman.models.errors import ConfigError

shares = st.floats(0.001, 0.999)


def test_59_answers_without_an_error_prove_5_percent_and_58_do_not() -> None:
    assert upper_bound(0, 59, 0.05) == pytest.approx(0.0495, abs=5e-5)
    assert upper_bound(0, 58, 0.05) == pytest.approx(0.0503, abs=5e-5)
    assert upper_bound(0, 59, 0.05) < 0.05 < upper_bound(0, 58, 0.05)


@pytest.mark.parametrize(("n", "k"), [(100, 1), (200, 4), (300, 8), (500, 16), (1000, 38)])
def test_errors_allowed_at_5_percent(n: int, k: int) -> None:
    assert errors_allowed(n, 0.05, 0.05) == k


@pytest.mark.parametrize(("n", "k"), [(100, 4), (200, 12), (500, 38)])
def test_errors_allowed_at_10_percent(n: int, k: int) -> None:
    assert errors_allowed(n, 0.10, 0.05) == k


@pytest.mark.parametrize(("k", "n"), [(0, 45), (1, 77), (2, 105), (3, 132), (4, 158), (5, 184)])
def test_items_needed_with_so_many_errors(k: int, n: int) -> None:
    assert items_needed(k, 0.05, 0.10) == n


@pytest.mark.parametrize(
    ("max_error", "delta", "n"),
    [
        (0.02, 0.05, 149),
        (0.05, 0.05, 59),
        (0.10, 0.05, 29),
        (0.02, 0.10, 114),
        (0.05, 0.01, 90),
        (0.10, 0.10, 22),
        (0.20, 0.01, 21),
    ],
)
def test_zero_error_minimum(max_error: float, delta: float, n: int) -> None:
    assert items_needed(0, max_error, delta) == n
    assert n == math.ceil(math.log(delta) / math.log(1 - max_error))
    assert errors_allowed(n, max_error, delta) == 0
    assert errors_allowed(n - 1, max_error, delta) is None


def test_bounds_are_those_of_the_beta_and_binomial_distributions() -> None:
    errors, answers = np.meshgrid(np.arange(0, 80), np.arange(1, 2000, 41))
    is_open = errors < answers
    k, n = errors[is_open], answers[is_open]
    ours = [upper_bound(int(a), int(b), 0.05) for a, b in zip(k, n, strict=True)]
    np.testing.assert_allclose(ours, stats.beta.ppf(0.95, k + 1, n - k), atol=1e-12)
    np.testing.assert_allclose(
        binomial_tail(k, n, 0.05), stats.binom.cdf(k, n, 0.05), rtol=1e-9, atol=1e-300
    )


def test_nothing_looked_at_proves_nothing() -> None:
    assert upper_bound(0, 0, 0.05) == 1
    assert upper_bound(7, 7, 0.05) == 1
    assert binomial_tail([0, 3], [0, 3], 0.05).tolist() == [1, 1]


@given(st.integers(0, 300), st.integers(1, 300), shares)
def test_the_bound_rises_with_errors_and_lies_above_the_rate(
    k: int, more: int, delta: float
) -> None:
    n = k + more
    bound = upper_bound(k, n, min(delta, 0.5))
    assert k / n < bound <= 1
    assert bound <= upper_bound(k + 1, n, min(delta, 0.5))


@given(st.integers(0, 200), st.integers(1, 200), shares, shares)
def test_the_bound_falls_with_answers_and_with_delta(
    k: int, more: int, one: float, other: float
) -> None:
    n = k + more
    low, high = sorted((one, other))
    assert upper_bound(k, n + 1, low) <= upper_bound(k, n, low) + 1e-12
    assert upper_bound(k, n, high) <= upper_bound(k, n, low) + 1e-12


@given(st.integers(1, 400), shares, shares)
def test_the_bound_and_the_test_say_the_same(n: int, max_error: float, delta: float) -> None:
    for k in {0, n // 10, n // 3, n - 1}:
        bound, tail = upper_bound(k, n, delta), float(binomial_tail(k, n, max_error))
        if abs(bound - max_error) > 1e-9:
            assert (bound <= max_error) == (tail <= delta)


@given(st.integers(0, 30), st.floats(0.005, 0.5), st.floats(0.005, 0.5))
def test_items_needed_is_the_fewest_that_do(k: int, max_error: float, delta: float) -> None:
    n = items_needed(k, max_error, delta)
    assert upper_bound(k, n, delta) <= max_error
    assert upper_bound(k, n - 1, delta) > max_error


def test_a_rate_at_or_above_the_target_is_never_proved() -> None:
    assert items_at_rate(0.05, 0.05, 0.05) is None
    assert items_at_rate(0.3, 0.05, 0.05) is None
    assert items_at_rate(0.0, 0.05, 0.05) == 59
    at_3_percent = items_at_rate(0.03, 0.05, 0.05)
    assert at_3_percent is not None
    assert errors_allowed(at_3_percent, 0.05, 0.05) == pytest.approx(0.03 * at_3_percent, abs=1)


def test_all_looks_together_spend_no_more_than_delta() -> None:
    spent = sum(delta_at_look(0.05, look) for look in range(1, 100_000))
    assert 0.0499 < spent < 0.05
    assert delta_at_look(0.05, 1) == pytest.approx(0.05 * 6 / math.pi**2)
    assert delta_at_look(0.05, 3) == pytest.approx(0.05 * 6 / (math.pi**2 * 9))


def test_perfect_confidence_must_still_escalate_this_much() -> None:
    assert least_abstention(0.20, 0.05) == pytest.approx(0.15 / 0.95)
    assert least_abstention(0.03, 0.05) == 0


@pytest.mark.parametrize(("k", "n", "delta"), [(-1, 5, 0.1), (6, 5, 0.1), (0, 5, 0), (0, 5, 1)])
def test_impossible_numbers_are_refused(k: int, n: int, delta: float) -> None:
    with pytest.raises(ConfigError, match="give"):
        upper_bound(k, n, delta)


def test_looks_are_counted_from_one() -> None:
    with pytest.raises(ConfigError, match="count looks from 1"):
        delta_at_look(0.05, 0)
