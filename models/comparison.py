"""Candidate against incumbent on the same items: is it not worse, is it better?

Non-inferiority by a lower bound of the paired difference whose standard error allows for items that
belong together (one document, one conversation); improvement by McNemar's exact test, which small
counts cannot fool. A difference of 0 without one discordant item has a standard error of 0: two
equal releases are never inferior to each other, however few the items.

What is itself found from the items, as a certified coverage is, hangs on a few of them, and no test
of item against item sees that: such figures are compared by finding them again on resamples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict
from scipy import special  # type: ignore[import-untyped]  # scipy ships no types

from journeyman.models.bounds import check_share
from journeyman.models.errors import ConfigError
from journeyman.models.scoring import checked

Floats = NDArray[np.float64]

Measure = Callable[[NDArray[np.intp]], float]
"""A figure found from items, given by their positions (m,), which may repeat."""

MIN_SLICE = 50
NUM_RESAMPLES = 200


class PairedComparison(BaseModel):
    """Candidate minus incumbent.

    Attributes:
        n: Items that both answered.
        incumbent: Share that the incumbent has right.
        candidate: Share that the candidate has right.
        difference: candidate - incumbent.
        standard_error: Of the difference, robust to groups; infinite with fewer than two groups.
        lower: Lower bound of the difference at confidence 1 - level.
        level: Of both tests.
        margin: Loss that is still called no loss.
        wins: Items that only the candidate has right.
        losses: Items that only the incumbent has right.
        mcnemar_p: Exact two-sided p-value of wins against losses.
        num_groups: Groups that were drawn independently; n without groups.
    """

    # One group alone has an infinite standard error; JSON has no number for that.
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")

    n: int
    incumbent: float
    candidate: float
    difference: float
    standard_error: float
    lower: float
    level: float
    margin: float
    wins: int
    losses: int
    mcnemar_p: float
    num_groups: int

    @property
    def is_non_inferior(self) -> bool:
        """The loss, if there is one, is proved to lie within the margin."""
        return self.lower > -self.margin

    @property
    def is_better(self) -> bool:
        """More wins than losses, and by more than luck."""
        return self.wins > self.losses and self.mcnemar_p <= self.level


class MeasureComparison(BaseModel):
    """Candidate minus incumbent in a figure that is found from all items together.

    Attributes:
        incumbent: The incumbent's figure.
        candidate: The candidate's.
        difference: candidate - incumbent.
        standard_error: Of the difference, over resamples of the groups.
        p_value: Two-sided, of no difference.
        num_groups: Groups that were drawn independently.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    incumbent: float
    candidate: float
    difference: float
    standard_error: float
    p_value: float
    num_groups: int


def compare_paired(
    incumbent_right: ArrayLike,
    candidate_right: ArrayLike,
    *,
    margin: float,
    level: float = 0.05,
    groups: Sequence[Hashable] | None = None,
) -> PairedComparison:
    """Compare two releases on the same items.

    Args:
        incumbent_right: Whether the incumbent's answer is right, for each item (n,).
        candidate_right: Whether the candidate's is, for the same items in the same order (n,).
        margin: Loss that is still called no loss, in (0, 1).
        level: Probability in (0, 1) with which a loss beyond the margin may go unnoticed.
        groups: What items belong together (n,); each item alone where None.

    Raises:
        ConfigError: The arrays do not fit together, or a number lies outside its range.
    """
    check_share("margin", margin)
    check_share("level", level)
    _, incumbent = checked(incumbent_right, incumbent_right)
    _, candidate = checked(incumbent, candidate_right)
    differences = candidate - incumbent
    error, num_groups = _clustered_error(differences, groups)
    difference = float(differences.mean())
    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    return PairedComparison(
        n=len(differences),
        incumbent=float(incumbent.mean()),
        candidate=float(candidate.mean()),
        difference=difference,
        standard_error=error,
        lower=difference - float(special.ndtri(1 - level)) * error,
        level=level,
        margin=margin,
        wins=wins,
        losses=losses,
        mcnemar_p=mcnemar(wins, losses),
        num_groups=num_groups,
    )


def compare_slices(
    incumbent_right: ArrayLike,
    candidate_right: ArrayLike,
    slices: Sequence[str],
    *,
    margin: float,
    level: float = 0.05,
    groups: Sequence[Hashable] | None = None,
    min_items: int = MIN_SLICE,
) -> dict[str, PairedComparison]:
    """Compare two releases on each slice that is large enough to say something.

    Args:
        incumbent_right: See `compare_paired`.
        candidate_right: See `compare_paired`.
        slices: The slice of each item (n,).
        margin: See `compare_paired`.
        level: See `compare_paired`; of each slice's own test.
        groups: See `compare_paired`.
        min_items: Slices of fewer items are left out.

    Returns:
        A comparison for each slice, by name; empty where all are too small.

    Raises:
        ConfigError: As `compare_paired`, or the slices do not fit the items.
    """
    _, incumbent = checked(incumbent_right, incumbent_right)
    _, candidate = checked(incumbent, candidate_right)
    if len(slices) != len(incumbent):
        raise ConfigError(
            f"{len(slices)} slices do not fit {len(incumbent)} items: name one slice for each item."
        )
    members: dict[str, list[int]] = {}
    for i, name in enumerate(slices):
        members.setdefault(name, []).append(i)
    return {
        name: compare_paired(
            incumbent[rows],
            candidate[rows],
            margin=margin,
            level=level,
            groups=None if groups is None else [groups[i] for i in rows],
        )
        for name, rows in sorted(members.items())
        if len(rows) >= min_items
    }


def compare_measures(
    incumbent: Measure,
    candidate: Measure,
    num_items: int,
    *,
    groups: Sequence[Hashable] | None = None,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> MeasureComparison:
    """Compare two releases in a figure that is found anew from whatever items there are.

    Both are found on the same resamples of the groups, with replacement; what the difference does
    there is its standard error.

    Args:
        incumbent: The incumbent's figure, from positions of items.
        candidate: The candidate's.
        num_items: How many items there are, at least 1.
        groups: What items belong together (n,); each item alone where None.
        num_resamples: How many resamples, at least 2.
        seed: Of the resamples.

    Raises:
        ConfigError: The groups do not fit the items, or there is nothing to resample.
    """
    if num_items < 1 or num_resamples < 2:
        raise ConfigError(
            f"{num_items} items cannot be resampled {num_resamples} times: give at least one item "
            f"and two resamples."
        )
    number = _group_numbers(num_items, groups)
    members = np.split(np.argsort(number, kind="stable"), np.cumsum(np.bincount(number))[:-1])
    rng = np.random.default_rng(seed)
    found = np.empty(num_resamples)
    for i in range(num_resamples):
        drawn = rng.integers(0, len(members), len(members))
        rows = np.concatenate([members[group] for group in drawn])
        found[i] = candidate(rows) - incumbent(rows)
    everything = np.arange(num_items)
    known = (incumbent(everything), candidate(everything))
    difference, error = known[1] - known[0], float(found.std(ddof=1))
    p_value = float(difference == 0 or len(members) < 2)  # one group alone tells nothing of luck
    if error > 0:
        p_value = 2 * float(special.ndtr(-abs(difference) / error))
    return MeasureComparison(
        incumbent=known[0],
        candidate=known[1],
        difference=difference,
        standard_error=error,
        p_value=p_value,
        num_groups=len(members),
    )


def mcnemar(wins: int, losses: int) -> float:
    """Exact two-sided p-value of McNemar's test: would a fair coin split them so unevenly?"""
    discordant = wins + losses
    if discordant == 0:
        return 1.0
    return min(1.0, 2 * float(special.bdtr(min(wins, losses), discordant, 0.5)))


def items_for_power(
    margin: float,
    *,
    discordant: float,
    effect: float = 0.0,
    level: float = 0.05,
    power: float = 0.8,
) -> int:
    """How many items the non-inferiority test needs.

    Args:
        margin: Loss that is still called no loss, in (0, 1).
        discordant: Share of items on which the two differ, in (0, 1).
        effect: True difference, candidate minus incumbent; above -margin.
        level: Of the test, in (0, 1).
        power: Probability in (0, 1) of passing at that difference.

    Raises:
        ConfigError: A number lies outside its range.
    """
    for name, value in {
        "margin": margin,
        "discordant": discordant,
        "level": level,
        "power": power,
    }.items():
        check_share(name, value)
    if margin + effect <= 0 or effect**2 >= discordant:
        raise ConfigError(
            f"No number of items shows non-inferiority at a difference of {effect!r} with margin "
            f"{margin!r} and {discordant!r} discordant: widen the margin."
        )
    reach = float(special.ndtri(1 - level) + special.ndtri(power))
    return math.ceil((reach / (margin + effect)) ** 2 * (discordant - effect**2))


def _clustered_error(differences: Floats, groups: Sequence[Hashable] | None) -> tuple[float, int]:
    """Standard error of the mean, robust to groups, and the number of groups."""
    n = len(differences)
    residuals = differences - differences.mean()
    sums = np.bincount(_group_numbers(n, groups), weights=residuals)
    num_groups = len(sums)
    if num_groups < 2:
        return math.inf, num_groups
    # With a group for each item this is sd / sqrt(n), sd with n - 1.
    variance = num_groups / (num_groups - 1) * float((sums**2).sum()) / n**2
    return math.sqrt(variance), num_groups


def _group_numbers(n: int, groups: Sequence[Hashable] | None) -> NDArray[np.intp]:
    """The number of each item's group (n,), from 0, in the order of their first items."""
    if groups is None:
        return np.arange(n)
    if len(groups) != n:
        raise ConfigError(f"{len(groups)} groups do not fit {n} items: name one for each item.")
    number = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    return np.array([number[group] for group in groups], dtype=np.intp)
