"""A measured number with its 95 % interval.

Shares get Wilson's interval; means and ratios of sums get a percentile bootstrap over scenarios,
since it is scenarios that would be drawn again. A bootstrap that saw only perfect (or only failed)
scenarios knows no spread; Wilson's bound for so many scenarios takes its place then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats  # type: ignore[import-untyped]  # scipy ships no types

Floats = NDArray[np.float64]

NUM_RESAMPLES = 2000
_CONFIDENCE = 0.95
_MAX_WEIGHTS = 4_000_000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number in [0, 1], its 95 % interval, and the number of scenarios behind it."""

    value: float
    low: float
    high: float
    n: int


def share(successes: int, n: int) -> Estimate:
    """A share of scenarios with Wilson's interval.

    Raises:
        ValueError: `n` is 0, or `successes` lies outside [0, n].
    """
    interval = stats.binomtest(successes, n).proportion_ci(_CONFIDENCE, method="wilson")
    return Estimate(successes / n, float(interval.low), float(interval.high), n)


def mean(values: Sequence[float]) -> Estimate:
    """The mean of one number in [0, 1] for each scenario, with a bootstrap interval.

    Raises:
        ValueError: There are no values.
    """
    rows = np.asarray(values, dtype=np.float64).reshape(-1, 1)
    num_rows = len(rows)
    return bootstrap(rows, lambda sums: sums[:, 0] / num_rows)


def bootstrap(rows: Floats, statistic: Callable[[Floats], Floats], seed: int = 0) -> Estimate:
    """A statistic of column sums with a percentile bootstrap interval.

    Args:
        rows: One row of numbers for each scenario, shape (n, k).
        statistic: From column sums of shape (b, k) to b numbers in [0, 1].
        seed: Of the resampling; the same rows give the same interval.

    Raises:
        ValueError: There are no rows.
    """
    num_rows = len(rows)
    if num_rows == 0:
        raise ValueError("an estimate needs at least one scenario")
    value = float(statistic(rows.sum(axis=0, keepdims=True))[0])
    generator = np.random.default_rng(seed)
    # Drawing rows with replacement is drawing how often each is taken: sums are then one product.
    size = max(1, min(NUM_RESAMPLES, _MAX_WEIGHTS // num_rows))
    even = np.full(num_rows, 1 / num_rows)
    drawn = [
        statistic(generator.multinomial(num_rows, even, size=batch).astype(np.float64) @ rows)
        for batch in _batches(size)
    ]
    low, high = np.quantile(np.concatenate(drawn), [0.025, 0.975])
    if low == high and value in (0.0, 1.0):
        return share(round(value * num_rows), num_rows)
    return Estimate(value, float(min(low, value)), float(max(high, value)), num_rows)


def _batches(size: int) -> list[int]:
    whole, rest = divmod(NUM_RESAMPLES, size)
    return [size] * whole + ([rest] if rest else [])
