"""Exact binomial bounds: what so many errors among so many answers prove about an error rate.

One-sided Clopper-Pearson bounds and the exact binomial test, and the questions turned round: how
many errors are allowed, how many answers it takes. Knows numbers alone: no scores, no certificates.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special  # type: ignore[import-untyped]  # scipy ships no types

from journeyman.models.errors import ConfigError

_MOST_ITEMS = 10_000_000
"""More labels than this is no advice to anybody."""


def upper_bound(k: float, n: int, delta: float) -> float:
    """One-sided upper bound of an error rate, exact (Clopper-Pearson).

    Over repeated samples the true rate lies above it with a probability of at most `delta`.

    Args:
        k: Errors seen, in [0, n]; a fraction is an expected number, for planning.
        n: Answers looked at; none prove nothing (the bound is 1).
        delta: Probability in (0, 1) with which the bound may be wrong.

    Raises:
        ConfigError: A number lies outside its range.
    """
    check_share("delta", delta)
    if not 0 <= k <= n:
        raise ConfigError(f"There cannot be {k} errors among {n} answers: give 0 <= k <= n.")
    return 1.0 if k >= n else float(special.betaincinv(k + 1, n - k, 1 - delta))


def binomial_tail(k: ArrayLike, n: ArrayLike, max_error: float) -> NDArray[np.float64]:
    """P(at most k errors among n) were the error rate `max_error`: the exact test's p-value.

    Args:
        k: Errors seen, one number or an array, each in [0, n].
        n: Answers looked at, of the same shape; where there are none the p-value is 1.
        max_error: The rate that the test tries to refute, in (0, 1).

    Returns:
        p-values in [0, 1] in the shape of `k`.
    """
    check_share("max_error", max_error)
    errors, answers = np.asarray(k, dtype=np.float64), np.asarray(n, dtype=np.float64)
    is_open = errors < answers
    tail = special.betaincc(
        errors + 1, np.where(is_open, answers - errors, 1.0), np.full(errors.shape, max_error)
    )
    return np.where(is_open, tail, 1.0)


def errors_allowed(n: int, max_error: float, delta: float) -> int | None:
    """The most errors among `n` answers that still prove `max_error`; None where not even 0 do.

    Raises:
        ConfigError: A number lies outside its range.
    """
    check_share("max_error", max_error)
    if upper_bound(0, n, delta) > max_error:
        return None
    return _first(lambda k: k >= n or upper_bound(k + 1, n, delta) > max_error, 0, n)


def items_needed(num_errors: int, max_error: float, delta: float) -> int:
    """The fewest answers among which `num_errors` errors still prove `max_error`.

    Raises:
        ConfigError: A number lies outside its range.
    """
    check_share("max_error", max_error)
    check_share("delta", delta)
    fewest = max(1, num_errors)
    return _first(lambda n: upper_bound(num_errors, n, delta) <= max_error, fewest, 2**53)


def items_at_rate(rate: float, max_error: float, delta: float) -> int | None:
    """About how many answers prove `max_error` when a share `rate` of them is wrong.

    Args:
        rate: Expected error rate in [0, 1].
        max_error: Target in (0, 1).
        delta: Probability in (0, 1) with which the proof may fail.

    Returns:
        The number of answers; None where no number (below ten million) would do.

    Raises:
        ConfigError: A number lies outside its range.
    """
    check_share("max_error", max_error)

    def is_proof(n: int) -> bool:
        return upper_bound(min(rate * n, n), n, delta) <= max_error

    if rate >= max_error or not is_proof(_MOST_ITEMS):
        return None
    return _first(is_proof, 1, _MOST_ITEMS)


def least_abstention(base_error: float, max_error: float) -> float:
    """The smallest share that must be escalated to keep P(wrong | accepted) within `max_error`.

    Even perfect confidence, which escalates wrong answers alone, cannot do with less.

    Args:
        base_error: Share of all answers that are wrong, in [0, 1].
        max_error: Target in (0, 1).
    """
    check_share("max_error", max_error)
    return max(0.0, (base_error - max_error) / (1 - max_error))


def delta_at_look(delta: float, look: int) -> float:
    """What may be spent of `delta` at the `look`-th look at one set of labels (from 1).

    delta * 6 / (pi^2 * look^2): however often one looks, the sum stays within `delta`.

    Raises:
        ConfigError: `delta` lies outside (0, 1), or `look` is not positive.
    """
    check_share("delta", delta)
    if look < 1:
        raise ConfigError(f"Look number {look} does not exist: count looks from 1.")
    return delta * 6 / (math.pi * look) ** 2


def check_share(name: str, value: float) -> None:
    """Refuse a number outside (0, 1).

    Raises:
        ConfigError: It is.
    """
    if not 0 < value < 1:
        raise ConfigError(f"{name} is {value!r}: give a number between 0 and 1, both excluded.")


def _first(holds: Callable[[int], bool], low: int, high: int) -> int:
    """The smallest number from `low` for which a property holds, which holds from there on."""
    step, probe = 1, low
    while probe < high and not holds(probe):
        low, probe, step = probe + 1, min(probe + step, high), step * 2
    high = probe
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low
