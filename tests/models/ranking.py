"""A tiny ranking problem that an encoder learns in seconds: which fruit does the task ask for?"""

from __future__ import annotations

import random
from pathlib import Path

from journeyman.models.training.ranker import RankerReport, RankingGroup, train_ranker

FRUITS = ["apple", "lemon", "cherry", "melon", "grape", "peach"]


def tiny_groups(num_groups: int = 24, seed: int = 0) -> list[RankingGroup]:
    """Groups whose right candidate names the task's fruit; every kind is right as often."""
    order = random.Random(seed)
    groups = []
    for number in range(num_groups):
        fruit = FRUITS[number % len(FRUITS)]
        names = order.sample(FRUITS, len(FRUITS))
        groups.append(
            RankingGroup(
                task=f"Buy a {fruit}, please.",
                candidates=[f"{order.choice(['take', 'put'])}: {name}" for name in names],
                right=frozenset({names.index(fruit)}),
                source=f"shop {number // 2}",
            )
        )
    return groups


def teach_tiny_ranker(folder: Path, *, seed: int = 0, epochs: int = 8) -> RankerReport:
    """Teach a ranker the fruits, in seconds on a CPU; then `Ranker(weights=folder)`."""
    return train_ranker(
        tiny_groups(),
        out=folder,
        epochs=epochs,
        batch_size=4,
        learning_rate=5e-4,
        seed=seed,
        device="cpu",
        held_out_share=0.2,
    )
