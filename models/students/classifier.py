"""A text classifier over embeddings: by a linear head, the nearest texts, or descriptions.

Untaught, a label's score is the cosine between the text and the label's description. Taught, it is
the head's probability and, where each text has one label, for a part the label's share among the
nearest taught texts; without a head it is that share alone. Knows nothing of routes, sub-agents or
what a label stands for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from journeyman.models.errors import ConfigError
from journeyman.models.students.classifier_files import ClassifierFiles
from journeyman.models.students.embedder import Embedder
from journeyman.models.students.linear import LinearHead
from journeyman.models.students.neighbors import LabelSet, Look, Neighbors
from journeyman.models.students.words import word_vectors
from journeyman.models.types import content_hash

Vectors = NDArray[np.float32]

WORD_SCALE = 2.0
"""Length of a word vector beside the embedding's 1: with less the words are not heard."""
NEIGHBORS_SAY = 0.4
"""Share of the nearest taught texts in what a classifier for one label says; see docs/lab.md."""
TEMPERATURE = 0.05
"""Cosines of MiniLM lie close together: with this a zero-shot softmax is neither flat nor sure."""


@dataclass(frozen=True, slots=True)
class Classification:
    """What the classifier says of one text.

    Attributes:
        probabilities: By label, in [0, 1]; they add up to 1 unless the classifier is multi-label.
        similarities: Cosine to each label's description, in [-1, 1].
        taught: It goes by examples, not by descriptions.
        multi_label: Each probability stands alone.
        votes: Share of each label set among the nearest taught texts; empty where none is known.
        nearest: Largest cosine to a taught text of each label set; empty where none is known.
        counts: Number of taught texts of each label set; empty where none is known.
    """

    probabilities: Mapping[str, float]
    similarities: Mapping[str, float]
    taught: bool
    multi_label: bool
    votes: Mapping[LabelSet, float] = field(default_factory=dict)
    nearest: Mapping[LabelSet, float] = field(default_factory=dict)
    counts: Mapping[LabelSet, int] = field(default_factory=dict)

    @property
    def nearest_taught(self) -> float:
        """Largest cosine to any taught text; 0 where none is known."""
        return max(self.nearest.values(), default=0.0)

    @property
    def decided(self) -> LabelSet:
        """The labels it is for: the most probable one, or each that is more likely than not."""
        if self.multi_label:
            return tuple(sorted(name for name, p in self.probabilities.items() if p >= 0.5))
        return (max(self.probabilities, key=lambda label: self.probabilities[label]),)


class Classifier:
    """Embedder plus linear head, or nearest taught texts, over a fixed set of described labels.

    Args:
        embedder: Gives the vectors.
        labels: Description by label; the order is kept.
        head: Fitted head, whose classes may include labels without a description (out of scope).
        neighbors: The taught texts: evidence beside a head, and the classifier itself without one.
        multi_label: Without a head: a text may have several labels. A head says so itself.
        words: Size of the word vectors that the head reads beside the embedding; 0 for none.
        names: Read a label's name together with its description.

    Raises:
        ConfigError: There is no label.
    """

    name = "classifier"

    def __init__(
        self,
        embedder: Embedder,
        labels: Mapping[str, str],
        *,
        head: LinearHead | None = None,
        neighbors: Neighbors | None = None,
        multi_label: bool = False,
        words: int = 0,
        names: bool = True,
    ) -> None:
        if not labels:
            raise ConfigError("A classifier without labels says nothing: describe at least one.")
        self.embedder = embedder
        self.labels = dict(labels)
        self.head = head
        self.neighbors = neighbors
        self.multi_label = multi_label if head is None else head.multi_label
        self.words = words
        self.names = names

    @property
    def taught(self) -> bool:
        """Whether it goes by examples."""
        return self.head is not None or self.neighbors is not None

    @property
    def _is_mixed(self) -> bool:
        """Whether head and neighbors both have a say."""
        return self.head is not None and self.neighbors is not None and not self.multi_label

    @cached_property
    def _label_vectors(self) -> Vectors:
        texts = []
        for label, text in self.labels.items():
            name = label.replace("_", " ")
            texts.append(f"{name}: {text}" if text and self.names else text or name)
        return np.asarray(self.embedder.embed_documents(texts), dtype=np.float32)

    def predict(self, items: Sequence[str]) -> list[Classification]:
        """Classify texts; vectors are computed in one batch."""
        if not items:
            return []
        return self.classify(items, np.stack(self.embedder.predict(items)))

    def classify(self, items: Sequence[str], vectors: Vectors) -> list[Classification]:
        """Classify texts (n) whose vectors (n, dimension) the embedder has given."""
        cosines = vectors @ self._label_vectors.T
        looks: Sequence[Look | None] = [None] * len(vectors)
        if self.neighbors is not None:
            looks = self.neighbors.look(vectors)
        return [
            Classification(
                probabilities=probabilities,
                similarities=dict(zip(self.labels, map(float, row), strict=True)),
                taught=self.taught,
                multi_label=self.taught and self.multi_label,
                votes=look.votes if look else {},
                nearest=look.nearest if look else {},
                counts={} if self.neighbors is None else self.neighbors.counts,
            )
            for row, look, probabilities in zip(
                cosines, looks, self._probabilities(items, vectors, cosines, looks), strict=True
            )
        ]

    def _probabilities(
        self,
        items: Sequence[str],
        vectors: Vectors,
        cosines: Vectors,
        looks: Sequence[Look | None],
    ) -> list[dict[str, float]]:
        if self.head is not None:
            read = features(items, vectors, self.words)
            table, classes = self.head.probabilities(read), list(self.head.classes)
            if self._is_mixed:
                shares = [look.label_shares(classes) for look in looks if look is not None]
                said = np.array([[share[name] for name in classes] for share in shares])
                table = (1 - NEIGHBORS_SAY) * table + NEIGHBORS_SAY * said
        elif self.neighbors is not None:
            every = sorted({*self.labels, *self.neighbors.labels})
            return [look.label_shares(every) for look in looks if look is not None]
        else:
            scaled = cosines / TEMPERATURE
            odds = np.exp(scaled - scaled.max(axis=1, keepdims=True))
            table, classes = odds / odds.sum(axis=1, keepdims=True), list(self.labels)
        return [dict(zip(classes, map(float, row), strict=True)) for row in table]

    def with_embedder(self, embedder: Embedder) -> Classifier:
        """The same classifier, which embeds by another embedder of the same vectors."""
        return Classifier(
            embedder,
            self.labels,
            head=self.head,
            neighbors=self.neighbors,
            multi_label=self.multi_label,
            words=self.words,
            names=self.names,
        )

    def fingerprint(self) -> str:
        """Hash of the embedder, the labels in their order, the head and the taught texts."""
        return content_hash(
            [
                self.embedder.fingerprint(),
                list(self.labels.items()),
                self.names,
                TEMPERATURE if self.head is None else self.head.fingerprint(),
                self.multi_label,
                [self.words, WORD_SCALE] if self.words else 0,
                *([NEIGHBORS_SAY] if self._is_mixed else []),
                None if self.neighbors is None else self.neighbors.fingerprint(),
            ]
        )

    def save(self, folder: Path) -> None:
        """Write it to a new folder, which appears complete or not at all.

        The embedder's weights are not copied: its base is named, and must be there when it is
        loaded.

        Raises:
            WeightsError: There is something in the folder already.
        """
        ClassifierFiles(
            labels=self.labels,
            names=self.names,
            multi_label=self.multi_label,
            words=self.words,
            base=self.embedder.base.name,
            embedder=self.embedder.fingerprint(),
            head=self.head,
            neighbors=self.neighbors,
        ).write(folder)

    @classmethod
    def load(cls, folder: Path, embedder: Embedder | None = None) -> Classifier:
        """Read what `save` wrote.

        Args:
            folder: Of a classifier.
            embedder: One that is there already; used where it is the one that the classifier was
                taught on, else another is made from the base that the folder names.

        Raises:
            WeightsError: The folder is no classifier's, is damaged, or its base is missing or has
                changed.
        """
        files = ClassifierFiles.read(folder)
        return cls(
            files.embedder_for(folder, embedder),
            files.labels,
            head=files.head,
            neighbors=files.neighbors,
            multi_label=files.multi_label,
            words=files.words,
            names=files.names,
        )


def features(items: Sequence[str], vectors: Vectors, words: int) -> Vectors:
    """What a head reads of texts (n): their vectors (n, dimension) and then their words.

    Args:
        items: The texts.
        vectors: As the embedder gives them.
        words: Size of the word vectors; 0 leaves them out.
    """
    if not words:
        return vectors
    return np.hstack([vectors, np.float32(WORD_SCALE) * word_vectors(items, words)])
