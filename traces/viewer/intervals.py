"""Shares with their intervals, as the reports of suites give them."""

from __future__ import annotations

import math
from statistics import NormalDist

_Z = NormalDist().inv_cdf(0.975)


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share.

    Args:
        successes: At least 0, at most `n`.
        n: How many were looked at; of none nothing is known.

    Returns:
        Lower and upper end, in [0, 1].
    """
    if n <= 0:
        return 0.0, 1.0
    share, room = successes / n, _Z**2 / n
    middle = (share + room / 2) / (1 + room)
    reach = _Z * math.sqrt(share * (1 - share) / n + room / (4 * n)) / (1 + room)
    low = 0.0 if successes <= 0 else max(middle - reach, 0.0)
    high = 1.0 if successes >= n else min(middle + reach, 1.0)
    return low, high
