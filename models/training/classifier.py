"""Teaching a classifier: a linear head on frozen embeddings, with the taught texts beside it.

The objective is convex, so there is nothing to go on from: each teaching starts anew, and the same
examples in any order give the same weights. Knows nothing of where examples or vectors come from.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from journeyman.models.errors import TrainingError
from journeyman.models.students.classifier import Classification, Classifier, features
from journeyman.models.students.embedder import Embedder
from journeyman.models.students.folders import refuse_used
from journeyman.models.students.linear import LinearHead
from journeyman.models.students.neighbors import Neighbors

Vectors = NDArray[np.float32]

STRENGTH = 30.0


@dataclass(frozen=True, slots=True)
class LabelledText:
    """A teaching example.

    Attributes:
        text: As the classifier will be asked.
        labels: Sorted; just one where a text has one label.
        weight: How often it counts, positive.
    """

    text: str
    labels: tuple[str, ...]
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class ClassifierReport:
    """What teaching did.

    Attributes:
        seconds: Wall time.
        num_examples: Different examples that were learned from.
        num_label_sets: Different sets of labels among them.
        accuracy: Share of them that the written classifier labels just as taught, in [0, 1]; it
            flatters, since it has seen them.
        fingerprint: Of the classifier that was written.
    """

    seconds: float
    num_examples: int
    num_label_sets: int
    accuracy: float
    fingerprint: str


def merged(examples: Sequence[LabelledText]) -> list[LabelledText]:
    """The different examples in a fixed order; equal ones become one with their weights' sum."""
    weights: dict[tuple[str, tuple[str, ...]], float] = {}
    for example in sorted(examples, key=lambda each: (each.text, each.labels, each.weight)):
        key = (example.text, example.labels)
        weights[key] = weights.get(key, 0.0) + example.weight
    return [LabelledText(text, labels, weight) for (text, labels), weight in weights.items()]


def train_classifier(
    examples: Sequence[LabelledText],
    vectors: Vectors,
    labels: Mapping[str, str],
    *,
    embedder: Embedder,
    out: Path,
    multi_label: bool = False,
    words: int = 0,
    names: bool = True,
    with_head: bool = True,
    strength: float = STRENGTH,
) -> ClassifierReport:
    """Teach a classifier and write it to a new folder, to be used as `Classifier.load(out)`.

    Args:
        examples: As `merged` gives them.
        vectors: The query vector of each text (n, dimension), by the embedder.
        labels: Description by label; examples may have labels beside these (out of scope).
        embedder: What the classifier will embed with.
        out: Folder that does not exist yet, or is empty.
        multi_label: A text may have several labels, or none.
        words: See `Classifier`; the head alone reads them.
        names: See `Classifier`.
        with_head: Fit a head; without one the classifier goes by the nearest taught texts.
        strength: How closely the head follows the examples.

    Raises:
        TrainingError: There are not two sets of labels to tell apart, or an example has several
            labels or none where each text has one.
        WeightsError: `out` is not empty.
    """
    start = time.perf_counter()
    refuse_used(out, "classifier")
    num_sets = _check(examples, multi_label)
    texts = [example.text for example in examples]
    sets = [example.labels for example in examples]
    neighbors = Neighbors.of(vectors, sets)
    head = None
    if with_head:
        head = LinearHead.fit(
            features(texts, vectors, words),
            sets if multi_label else [one for (one,) in sets],
            multi_label=multi_label,
            weights=[example.weight for example in examples],
            strength=strength,
        )
    taught = Classifier(
        embedder,
        labels,
        head=head,
        neighbors=neighbors,
        multi_label=multi_label,
        words=words if with_head else 0,
        names=names,
    )
    taught.save(out)
    return ClassifierReport(
        seconds=time.perf_counter() - start,
        num_examples=len(examples),
        num_label_sets=num_sets,
        accuracy=_accuracy(taught.classify(texts, vectors), sets),
        fingerprint=taught.fingerprint(),
    )


def _check(examples: Sequence[LabelledText], multi_label: bool) -> int:
    num_sets = len({example.labels for example in examples})
    if num_sets < 2:
        raise TrainingError(
            f"Nothing can be learned from {len(examples)} examples with {num_sets} different "
            f"labels: collect examples of at least two."
        )
    odd = next((e for e in examples if len(e.labels) != 1), None)
    if odd is not None and not multi_label:
        raise TrainingError(
            f"An example has the labels {list(odd.labels)} where each text has one: give one, or "
            f"teach a classifier for several."
        )
    return num_sets


def _accuracy(found: Sequence[Classification], sets: Sequence[tuple[str, ...]]) -> float:
    return float(
        np.mean([each.decided == taught for each, taught in zip(found, sets, strict=True)])
    )
