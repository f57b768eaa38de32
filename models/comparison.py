"""Candidate against incumbent on the same items: is it not worse, is it better?

Non-inferiority by a lower bound of the paired difference whose standard error allows for items that
belong together (one document, one conversation); improvement by McNemar's exact test, which small
counts cannot fool. A difference of 0 without one discordant item has a standard error of 0: two
equal releases are never inferior to each other, however few the items.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict
from scipy import special  # type: ignore[import-untyped]  # scipy ships no types

from journeyman.models.bounds import check_share
from journeyman.models.errors import ConfigError
from journeyman.models.scoring import checked

Floats = NDArray[np.float64]

MIN_SLICE = 50


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
    if groups is None:
        sums = residuals
    elif len(groups) != n:
        raise ConfigError(f"{len(groups)} groups do not fit {n} items: name one for each item.")
    else:
        number = {group: i for i, group in enumerate(dict.fromkeys(groups))}
        sums = np.bincount([number[group] for group in groups], weights=residuals)
    num_groups = len(sums)
    if num_groups < 2:
        return math.inf, num_groups
    # With a group for each item this is sd / sqrt(n), sd with n - 1.
    variance = num_groups / (num_groups - 1) * float((sums**2).sum()) / n**2
    return math.sqrt(variance), num_groups
