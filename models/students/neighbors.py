"""The nearest taught texts: what they were labelled, and how near each set of labels comes.

Vectors are kept as float16, which moves a cosine by less than 1e-4 and halves the file; everything
computes on these very values, so that a saved and a fresh one say the same to the last bit. Knows
nothing of texts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from journeyman.models.errors import WeightsError
from journeyman.models.types import canonical_json

Vectors = NDArray[np.float32]
LabelSet = tuple[str, ...]
"""Labels of one text, sorted; empty where no label fits."""

_SLAB = 256  # texts compared with all taught ones at a time: bounds memory
NUM_NEIGHBORS = 10
TEMPERATURE = 0.05
"""A neighbor whose cosine is this much lower has 1/e of the say."""


@dataclass(frozen=True, eq=False)
class Neighbors:
    """Taught texts as unit vectors, each with its set of labels.

    Attributes:
        vectors: Unit vectors (n, dimension) as float16.
        sets: The different label sets, sorted.
        owners: Index of its label set for each text (n,).
    """

    vectors: NDArray[np.float16]
    sets: tuple[LabelSet, ...]
    owners: NDArray[np.int32]

    def __post_init__(self) -> None:
        """Refuse arrays that do not fit together."""
        fits = self.vectors.ndim == 2 and self.owners.shape == self.vectors.shape[:1]
        known = not len(self.owners) or (
            self.owners.min() >= 0 and self.owners.max() < len(self.sets)
        )
        if not fits or not known or not len(self.owners):
            raise WeightsError(
                f"Taught vectors of shape {self.vectors.shape}, owners of shape "
                f"{self.owners.shape} and {len(self.sets)} label sets do not fit: teach the "
                f"student again, or restore its files."
            )

    @classmethod
    def of(cls, vectors: ArrayLike, labels: Sequence[Collection[str]]) -> Neighbors:
        """Taught texts from their unit vectors (n, dimension) and their labels (n)."""
        of_text = [tuple(sorted(set(each))) for each in labels]
        sets = tuple(sorted(set(of_text)))
        place = {labels: i for i, labels in enumerate(sets)}
        owners = np.array([place[each] for each in of_text], dtype=np.int32)
        return cls(np.ascontiguousarray(vectors, dtype=np.float16), sets, owners)

    @property
    def labels(self) -> tuple[str, ...]:
        """Every label that a taught text has, sorted."""
        return tuple(sorted({label for labels in self.sets for label in labels}))

    @cached_property
    def counts(self) -> Mapping[LabelSet, int]:
        """How many taught texts have each label set."""
        numbers = np.bincount(self.owners, minlength=len(self.sets))
        return {labels: int(number) for labels, number in zip(self.sets, numbers, strict=True)}

    def look(self, vectors: Vectors) -> list[Look]:
        """What the neighbors of each vector (m, dimension) say."""
        looks = []
        for first in range(0, len(vectors), _SLAB):
            cosines = vectors[first : first + _SLAB] @ self._sorted.vectors.T
            largest = np.maximum.reduceat(cosines, self._sorted.starts, axis=1)
            looks += [
                Look(self._votes(row), dict(zip(self._sorted.sets, map(float, near), strict=True)))
                for row, near in zip(cosines, largest, strict=True)
            ]
        return looks

    def fingerprint(self) -> str:
        """SHA-256 over all that shapes what the neighbors say."""
        facts = [NUM_NEIGHBORS, TEMPERATURE, self.vectors.shape, self.sets]
        digest = hashlib.sha256(canonical_json(facts).encode())
        digest.update(self.vectors.astype("<f2").tobytes())
        digest.update(self.owners.astype("<i4").tobytes())
        return digest.hexdigest()

    @cached_property
    def _sorted(self) -> _Sorted:
        order = np.argsort(self.owners, kind="stable")
        owners = self.owners[order]
        present, starts = np.unique(owners, return_index=True)
        sets = tuple(self.sets[i] for i in present)
        return _Sorted(self.vectors[order].astype(np.float32), owners, starts, sets)

    def _votes(self, cosines: Vectors) -> dict[LabelSet, float]:
        closest = np.arange(len(cosines))
        if len(cosines) > NUM_NEIGHBORS:
            closest = np.argpartition(-cosines, NUM_NEIGHBORS)[:NUM_NEIGHBORS]
        near = cosines[closest].astype(np.float64)
        weights = np.exp((near - near.max()) / TEMPERATURE)
        shares = np.bincount(self._sorted.owners[closest], weights / weights.sum())
        return {self.sets[i]: float(shares[i]) for i in np.flatnonzero(shares)}


@dataclass(frozen=True, slots=True, eq=False)
class _Sorted:
    """The taught texts by label set, so that each set's lie together."""

    vectors: Vectors
    owners: NDArray[np.int32]
    starts: NDArray[np.intp]
    sets: tuple[LabelSet, ...]


@dataclass(frozen=True, slots=True)
class Look:
    """What the neighbors of one text say.

    Attributes:
        votes: Share, in (0, 1], that each label set has among the nearest taught texts, nearer
            ones counting more; they add up to 1.
        nearest: Largest cosine to a taught text of each label set.
    """

    votes: Mapping[LabelSet, float]
    nearest: Mapping[LabelSet, float]

    def label_shares(self, labels: Sequence[str]) -> dict[str, float]:
        """Share of the neighbors' say that each label has, in [0, 1]."""
        shares = dict.fromkeys(labels, 0.0)
        for names, share in self.votes.items():
            for name in names:
                shares[name] += share
        return {name: min(share, 1.0) for name, share in shares.items()}
