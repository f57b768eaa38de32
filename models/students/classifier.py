"""A text classifier: the embedder with a linear head, or label descriptions when nothing is taught.

Untaught, a label's score is the cosine between the text and the label's description; taught, it is
the head's probability. Knows nothing of routes, sub-agents or what a label stands for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from journeyman.models.students.embedder import Embedder
from journeyman.models.students.linear import LinearHead
from journeyman.models.types import content_hash

Vectors = NDArray[np.float32]

TEMPERATURE = 0.05
"""Cosines of MiniLM lie close together: with this a zero-shot softmax is neither flat nor sure."""


@dataclass(frozen=True, slots=True)
class Classification:
    """What the classifier says of one text.

    Attributes:
        probabilities: By label, in [0, 1]; they add up to 1 unless the head is multi-label.
        similarities: Cosine to each label's description, in [-1, 1].
        nearest_taught: Largest cosine to a taught text; 0 where nothing is taught.
        taught: A head has been fitted.
        multi_label: Each probability stands alone.
    """

    probabilities: Mapping[str, float]
    similarities: Mapping[str, float]
    nearest_taught: float
    taught: bool
    multi_label: bool


class Classifier:
    """Embedder plus linear head over a fixed set of described labels.

    Args:
        embedder: Gives the vectors.
        labels: Description by label; the order is kept.
        head: Fitted head, whose classes may include labels without a description (out of scope).
        taught_vectors: Unit vectors (n, d) of the taught texts, for the distance to the nearest.
        names: Read a label's name together with its description.
    """

    name = "classifier"

    def __init__(
        self,
        embedder: Embedder,
        labels: Mapping[str, str],
        *,
        head: LinearHead | None = None,
        taught_vectors: Vectors | None = None,
        names: bool = True,
    ) -> None:
        self._embedder = embedder
        self._labels = dict(labels)
        self._head = head
        self._taught = taught_vectors
        self._names = names

    @cached_property
    def _label_vectors(self) -> Vectors:
        texts = []
        for label, text in self._labels.items():
            name = label.replace("_", " ")
            texts.append(f"{name}: {text}" if text and self._names else text or name)
        return np.asarray(self._embedder.embed_documents(texts), dtype=np.float32)

    def predict(self, items: Sequence[str]) -> list[Classification]:
        """Classify texts; vectors are computed in one batch."""
        if not items:
            return []
        vectors = np.stack(self._embedder.predict(items))
        cosines = vectors @ self._label_vectors.T
        if self._head is None:
            scaled = cosines / TEMPERATURE
            odds = np.exp(scaled - scaled.max(axis=1, keepdims=True))
            probabilities = odds / odds.sum(axis=1, keepdims=True)
            classes: Sequence[str] = list(self._labels)
        else:
            probabilities, classes = self._head.probabilities(vectors), self._head.classes
        nearest = np.zeros(len(items))
        if self._taught is not None and len(self._taught):
            nearest = (vectors @ self._taught.T).max(axis=1)
        return [
            Classification(
                probabilities=dict(zip(classes, map(float, probabilities[row]), strict=True)),
                similarities=dict(zip(self._labels, map(float, cosines[row]), strict=True)),
                nearest_taught=float(nearest[row]),
                taught=self._head is not None,
                multi_label=self._head is not None and self._head.multi_label,
            )
            for row in range(len(items))
        ]

    def fingerprint(self) -> str:
        """Hash of the embedder, the labels in their order, the head and the taught vectors."""
        return content_hash(
            [
                self._embedder.fingerprint(),
                list(self._labels.items()),
                self._names,
                ["zero-shot", TEMPERATURE] if self._head is None else self._head.fingerprint(),
                None if self._taught is None else _digest(self._taught),
            ]
        )


def _digest(vectors: Vectors) -> str:
    data = np.ascontiguousarray(vectors, dtype="<f4")
    return hashlib.sha256(f"{data.shape}".encode() + data.tobytes()).hexdigest()
