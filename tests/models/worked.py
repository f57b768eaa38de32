"""Worked cases of an independent implementation, and populations whose true risks are known."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_DATA = Path(__file__).parents[2].parent / "shared" / "data"


def cases(section: str) -> list[dict[str, Any]]:
    """Worked cases of one section; skips the test where the file is absent."""
    path = Path(os.environ.get("JOURNEYMAN_DATA", _DATA)) / "guarantees.json"
    if not path.exists():
        pytest.skip(f"the worked cases are not here: no file {path.name!r} among the public data")
    found: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))[section]
    assert found
    return found


@dataclass(frozen=True)
class Population:
    """Many answers with their scores; drawn from with replacement, its own risks are the truth."""

    scores: Floats
    wrong: Bools

    def draws(self, n: int, num_draws: int, seed: int) -> Iterator[tuple[Floats, Bools]]:
        """Independent samples of `n` labelled answers."""
        rng = np.random.default_rng(seed)
        for rows in rng.integers(len(self.scores), size=(num_draws, n)):
            yield self.scores[rows], self.wrong[rows]

    def risks(self, thresholds: Floats) -> tuple[Floats, Floats, Floats]:
        """True joint risk, selective risk and coverage at each threshold."""
        order = np.argsort(-self.scores)
        accepted = np.searchsorted(-self.scores[order], -thresholds, side="right")
        errors = np.concatenate([[0], np.cumsum(self.wrong[order])])[accepted]
        n = len(self.scores)
        return errors / n, errors / np.maximum(accepted, 1), accepted / n


def population(shape: str, *, skill: float = 0.0, size: int = 40_000, seed: int = 0) -> Population:
    """Answers of a student: `smooth` scores, two-digit `ties`, six `discrete` ones, or a `bump`.

    Args:
        shape: Of the scores; a bump is over-confident errors at the very top.
        skill: Raises the student's log odds of being right.
        size: Number of answers.
        seed: Of the population.
    """
    rng = np.random.default_rng(seed)
    log_odds = rng.normal(2.0 + skill, 1.8, size=size)
    chance = 1 / (1 + np.exp(-log_odds))
    scores = chance.copy()
    if shape == "bump":
        sure = scores > np.quantile(scores, 0.93)
        chance = np.where(sure, 0.9, chance)
    wrong = rng.random(size) > chance
    if shape == "ties":
        scores = scores.round(2)
    elif shape == "discrete":
        scores = np.floor(scores * 5.999) / 5
    return Population(scores, wrong)
