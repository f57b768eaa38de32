"""A tiny ranking problem: ripe fruit is right, whatever else is said of it."""

from __future__ import annotations

import random
from pathlib import Path

from journeyman.models.training.ranker import RankerReport, RankingGroup, train_ranker

FRUITS = ["apple", "lemon", "cherry", "melon", "grape", "peach"]


def tiny_groups(num_groups: int = 24, seed: int = 0) -> list[RankingGroup]:
    """Groups whose right candidate is ripe; every fruit is right as often."""
    order = random.Random(seed)
    groups = []
    for number in range(num_groups):
        fruit = FRUITS[number % len(FRUITS)]
        names = order.sample(FRUITS, len(FRUITS))
        groups.append(
            RankingGroup(
                candidates=[f"{name} {'ripe' if name == fruit else 'green'}" for name in names],
                right=frozenset({names.index(fruit)}),
                source=f"shop {number // 2}",
            )
        )
    return groups


def teach_tiny_ranker(folder: Path) -> RankerReport:
    """Teach a ranker to take ripe fruit; then `Ranker.load(folder)`."""
    return train_ranker(tiny_groups(), out=folder)
