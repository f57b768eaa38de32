"""The untaught rival of the tagger: it marks what the nearest taught texts had marked.

No weights are fitted. A text is laid beside the taught texts most like it (vectors of the frozen
base), and each stretch of its words that was a value there is marked as it was there: the longest
stretch first, by vote of the neighbours. A neighbour that has the same words and left them unmarked
votes against. Knows nothing of schemas or fields.
"""

from __future__ import annotations

import json
import math
import re
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from journeyman.models.catalog import file_digest
from journeyman.models.errors import WeightsError
from journeyman.models.students.embedder import Embedder
from journeyman.models.students.familiarity import Familiarity
from journeyman.models.students.tagger import Tagging
from journeyman.models.types import Span, canonical_json, content_hash

DECODING = 1
"""Raise it when the same taught texts give other spans or other numbers."""

FACTS = "nearest.json"
VECTORS = "nearest.safetensors"
NUM_NEIGHBOURS = 32

_SHARPNESS = 8.0  # a neighbour's vote is its likeness to this power: those far away hardly count
_WORD = re.compile(r"\w+|[^\w\s]")
_SMALLEST = 1e-6

Vectors = NDArray[np.float32]
Words = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Lesson:
    """A taught text as its words, and which of them were which label's."""

    words: Words
    values: tuple[tuple[int, int, str], ...]  # first word, past the last word, label


class NearestTagger:
    """Marks spans as the nearest taught texts had them. Safe to use from several threads.

    Args:
        weights: Folder that `training.nearest.write_nearest` wrote.
        labels: What spans may be marked as; must be those of the folder where given.
        device: `cpu`, `cuda`, ...; CUDA where there is one, if None.

    Raises:
        WeightsError: The folder is none, is damaged, or has other labels.
    """

    def __init__(
        self, weights: Path, *, labels: Sequence[str] = (), device: str | None = None
    ) -> None:
        self._weights = weights
        facts = _read_facts(weights)
        self.base: str = facts["base"]
        self.labels: tuple[str, ...] = tuple(facts["labels"])
        if labels and set(labels) != set(self.labels):
            raise WeightsError(
                f"The taught texts in {str(weights)!r} have the labels {sorted(self.labels)}, not "
                f"{sorted(labels)}: run a round with the new labels."
            )
        self._texts: list[dict[str, Any]] = facts["texts"]
        self._embedder = Embedder(self.base, device=device)
        if self._embedder.document_fingerprint() != facts["space"]:
            raise WeightsError(
                f"The taught texts in {str(weights)!r} were embedded by another {self.base!r}: "
                f"restore that base, or run a round with this one.",
                model=self.base,
            )
        self._load_lock = threading.Lock()
        self._loaded: _Taught | None = None

    @property
    def taught(self) -> bool:
        """Always: it has taught texts to go by."""
        return True

    def fingerprint(self) -> str:
        """Hash of everything that shapes an answer. Loads no model."""
        files = {name: file_digest(self._weights / name) for name in (FACTS, VECTORS)}
        return content_hash({"student": "nearest", "decoding": DECODING, "files": files})

    def predict(self, texts: Sequence[str]) -> list[Tagging]:
        """One tagging per text, in order."""
        if not texts:
            return []
        taught = self._load()
        likeness = self._embedder.embed_documents(texts) @ taught.vectors.T
        return [self._tagging(text, row, taught) for text, row in zip(texts, likeness, strict=True)]

    def _tagging(self, text: str, likeness: Vectors, taught: _Taught) -> Tagging:
        nearest = np.argsort(-likeness, kind="stable")[:NUM_NEIGHBOURS]
        weights = np.clip(likeness[nearest], 0.0, 1.0).astype(np.float64) ** _SHARPNESS
        total = float(weights.sum()) + _SMALLEST
        neighbours = [
            (taught.lessons[i], float(w) / total) for i, w in zip(nearest, weights, strict=True)
        ]
        places = [(m.start(), m.end()) for m in _WORD.finditer(text)]
        words = tuple(text[start:end].casefold() for start, end in places)
        marks = list(_marks(words, _votes(words, neighbours)))
        spans = tuple(
            Span(
                mark.label,
                places[mark.first][0],
                places[mark.last - 1][1],
                text[places[mark.first][0] : places[mark.last - 1][1]],
                mark.probability,
                mark.probability,
            )
            for mark in marks
        )
        best = float(np.clip(likeness[nearest[0]], 0.0, 1.0))
        return Tagging(
            spans=spans,
            taught=True,
            num_units=len(words),
            familiarity=taught.familiarity.numbers(text, spans),
            **_doubts(marks, best, _missed(self.labels, marks, neighbours)),
        )

    def _load(self) -> _Taught:
        with self._load_lock:
            if self._loaded is None:
                rows = [(row["text"], _spans(row)) for row in self._texts]
                self._loaded = _Taught(
                    _read_vectors(self._weights, len(rows)),
                    [_lesson(text, spans) for text, spans in rows],
                    Familiarity.of(rows),
                )
            return self._loaded


@dataclass(frozen=True, slots=True)
class _Taught:
    """What was taught, in memory: a vector and a lesson by text, and counts of them all."""

    vectors: Vectors
    lessons: list[_Lesson]
    familiarity: Familiarity


def is_nearest(folder: Path) -> bool:
    """Whether the folder holds taught texts, not a tagger's weights."""
    return (folder / FACTS).is_file()


def write_facts(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write `nearest.json`; see `training.nearest` for what is in it."""
    (folder / FACTS).write_text(canonical_json(dict(facts)), "utf-8")


def _read_facts(folder: Path) -> dict[str, Any]:
    try:
        facts = json.loads((folder / FACTS).read_text("utf-8"))
        return {key: facts[key] for key in ("base", "space", "labels", "texts")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"No taught texts can be read from {str(folder)!r} ({type(error).__name__}): give a "
            f"folder that a round wrote, or restore its files."
        ) from error


def _read_vectors(folder: Path, num_texts: int) -> Vectors:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        vectors: Vectors = load_file(folder / VECTORS)["vectors"]
    except (OSError, KeyError, SafetensorError) as error:
        raise WeightsError(
            f"The vectors in {str(folder)!r} cannot be loaded ({type(error).__name__}): restore "
            f"the file, or run a round."
        ) from error
    if len(vectors) != num_texts:
        raise WeightsError(
            f"The folder {str(folder)!r} has {len(vectors)} vectors for {num_texts} taught texts: "
            f"restore its files, or run a round."
        )
    return vectors


def _spans(row: Mapping[str, Any]) -> list[Span]:
    text = row["text"]
    return [Span(label, start, end, text[start:end]) for start, end, label in row["spans"]]


def _lesson(text: str, spans: Sequence[Span]) -> _Lesson:
    places = [(m.start(), m.end()) for m in _WORD.finditer(text)]
    values = []
    for span in spans:
        held = [i for i, (a, b) in enumerate(places) if a < span.end and b > span.start]
        if held:
            values.append((held[0], held[-1] + 1, span.label))
    return _Lesson(tuple(text[a:b].casefold() for a, b in places), tuple(values))


def _votes(
    words: Words, neighbours: Sequence[tuple[_Lesson, float]]
) -> Mapping[Words, Mapping[str, float]]:
    """What the neighbours say of the stretches that are values there and stand in the text too.

    Returns:
        By stretch, the weight of those who marked it, by label, and under "" of those who did not.
    """
    here = set(words)
    votes: dict[Words, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for lesson, weight in neighbours:
        for first, last, label in lesson.values:
            value = lesson.words[first:last]
            if here.issuperset(value):
                votes[value][label] += weight
    for value, ballot in votes.items():
        for lesson, weight in neighbours:
            marked = sum(lesson.words[a:b] == value for a, b, _ in lesson.values)
            ballot[""] += weight * max(_count(lesson.words, value) - marked, 0)
    return votes


def _count(words: Words, value: Words) -> int:
    if value[0] not in words:
        return 0
    return sum(words[i : i + len(value)] == value for i in range(len(words) - len(value) + 1))


@dataclass(frozen=True, slots=True)
class _Mark:
    first: int
    last: int
    label: str
    probability: float
    margin: float


def _marks(words: Words, votes: Mapping[Words, Mapping[str, float]]) -> Iterator[_Mark]:
    """From left to right the longest stretch that more neighbours marked than left."""
    longest = max(map(len, votes), default=0)
    at = 0
    while at < len(words):
        for length in range(min(longest, len(words) - at), 0, -1):
            ballot = votes.get(words[at : at + length])
            if ballot is None:
                continue
            total = sum(ballot.values()) + _SMALLEST
            ranked = sorted(ballot, key=lambda label: (-ballot[label], label))
            if ranked[0]:
                second = ballot[ranked[1]] if len(ranked) > 1 else 0.0
                chance = ballot[ranked[0]] / total
                yield _Mark(at, at + length, ranked[0], chance, chance - second / total)
                at += length
                break
        else:
            at += 1


def _missed(
    labels: Sequence[str], marks: Sequence[_Mark], neighbours: Sequence[tuple[_Lesson, float]]
) -> dict[str, float]:
    """By label, the share of the neighbours that have one more of it than was marked here."""
    found = Counter(mark.label for mark in marks)
    missed = dict.fromkeys(labels, 0.0)
    for lesson, weight in neighbours:
        for label, count in Counter(label for _, _, label in lesson.values).items():
            if count > found[label] and label in missed:
                missed[label] += weight
    return {label: min(1.0, share) for label, share in missed.items()}


def _doubts(marks: Sequence[_Mark], best: float, missed: dict[str, float]) -> dict[str, Any]:
    """The numbers of a tagging; `best` is the likeness of the nearest taught text."""
    chances = [min(1.0, max(mark.probability, _SMALLEST)) for mark in marks]
    logs = [math.log(chance) for chance in chances] + [math.log(max(best, _SMALLEST))]
    entropies = [-chance * math.log(chance) for chance in chances] or [0.0]
    return {
        "log_probability": sum(logs),
        "mean_log_probability": sum(logs) / len(logs),
        "min_probability": min([*chances, best]),
        "min_margin": min([mark.margin for mark in marks], default=best),
        "mean_entropy": sum(entropies) / len(entropies),
        "max_entropy": max(entropies),
        "max_missed": max(missed.values(), default=0.0),
        "missed": missed,
    }
