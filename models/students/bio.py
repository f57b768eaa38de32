"""BIO tags: which sequences are spans, the best of them, and how spans become tags to learn from.

Pure arithmetic over numpy arrays. A *unit* is what gets one tag: a word or a punctuation mark,
given by its character range. Tag 0 is O; tags 2i+1 and 2i+2 are B and I of label set i: a label, or
several that one stretch has at once ("in an hour" is a date and a time). Knows nothing of models or
tokenizers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from journeyman.models.errors import ConfigError
from journeyman.models.types import Span

Floats = NDArray[np.float32]
Tags = NDArray[np.int64]
Units = NDArray[np.int64]
"""Character ranges (num_units, 2): start inclusive, end exclusive, in order, not overlapping."""

LabelSets = Sequence[tuple[str, ...]]
"""What one stretch may be marked as, by tag number; labels within a set are sorted."""

OUTSIDE = 0
_NEVER = np.float32(-1e9)


def tag_names(label_sets: LabelSets) -> list[str]:
    """Names of the tags, by tag number."""
    return ["O", *(f"{part}-{'+'.join(labels)}" for labels in label_sets for part in "BI")]


def shared_sets(texts: Iterable[Sequence[Span]], fewest: int) -> tuple[tuple[str, ...], ...]:
    """The sets of several labels that a stretch has in at least so many of some texts, sorted."""
    seen: Counter[tuple[str, ...]] = Counter()
    for spans in texts:
        seen.update({labels for labels in _by_place(spans).values() if len(labels) > 1})
    return tuple(sorted(labels for labels, count in seen.items() if count >= fewest))


def _by_place(spans: Sequence[Span]) -> dict[tuple[int, int], tuple[str, ...]]:
    """The labels of each marked stretch; longer stretches before shorter ones that begin there."""
    places: dict[tuple[int, int], set[str]] = {}
    for span in sorted(spans, key=lambda span: (span.start, -span.end)):
        places.setdefault((span.start, span.end), set()).add(span.label)
    return {place: tuple(sorted(labels)) for place, labels in places.items()}


def decode(log_probs: Floats) -> Tags:
    """The most probable tags that form spans: an I only after the B or I of its own label.

    Args:
        log_probs: Log-probabilities (num_units, num_tags), units taken as independent.

    Returns:
        Tags (num_units,).
    """
    best: Tags = log_probs.argmax(axis=1)
    return best if _is_valid(best) else _viterbi(log_probs)


def _is_valid(tags: Tags) -> bool:
    inside = (tags > 0) & (tags % 2 == 0)
    before = np.concatenate(([OUTSIDE], tags[:-1]))
    return bool(np.all(~inside | (before == tags) | (before == tags - 1)))


def _viterbi(log_probs: Floats) -> Tags:
    num_units, num_tags = log_probs.shape
    begins = np.arange(1, num_tags, 2)
    insides = begins + 1
    score = log_probs[0].astype(np.float64)
    score[insides] = _NEVER
    came_from = np.zeros((num_units, num_tags), dtype=np.int16)
    for i in range(1, num_units):
        # O and every B may follow anything; an I follows only its own B or I.
        came_from[i] = score.argmax()
        from_begin = score[begins] >= score[insides]
        came_from[i, insides] = np.where(from_begin, begins, insides)
        score = score[came_from[i]] + log_probs[i]
    tags = np.zeros(num_units, dtype=np.int64)
    tags[-1] = score.argmax()
    for i in range(num_units - 1, 0, -1):
        tags[i - 1] = came_from[i, tags[i]]
    return tags


def runs(tags: Tags) -> Iterator[tuple[int, int, int]]:
    """Spans of a valid tag sequence: (label set's index, first unit, past the last unit)."""
    start = None
    for i, tag in enumerate([*tags.tolist(), OUTSIDE]):
        inside = tag > 0 and tag % 2 == 0
        if start is not None and not inside:
            yield (int(tags[start]) - 1) // 2, start, i
            start = None
        if tag % 2 == 1:
            start = i


def to_spans(
    text: str, units: Units, tags: Tags, log_probs: Floats, label_sets: LabelSets
) -> tuple[Span, ...]:
    """The spans of a valid tag sequence, one a label, with the probabilities of their tags."""
    probability = np.exp(log_probs[np.arange(len(tags)), tags]).tolist()
    spans = []
    for number, first, last in runs(tags):
        start, end = int(units[first, 0]), int(units[last - 1, 1])
        inner = probability[first:last]
        spans += [
            Span(
                label=label,
                start=start,
                end=end,
                text=text[start:end],
                probability=_unit_interval(min(inner)),
                mean_probability=_unit_interval(sum(inner) / len(inner)),
            )
            for label in label_sets[number]
        ]
    return tuple(spans)


class Doubts(TypedDict):
    """Numbers about decoded tags, as `Tagging` explains them."""

    log_probability: float
    mean_log_probability: float
    min_probability: float
    min_margin: float
    mean_entropy: float
    max_entropy: float
    max_missed: float


def doubts(log_probs: Floats, tags: Tags) -> Doubts:
    """How sure the tags of at least one unit are."""
    probs = np.exp(log_probs.astype(np.float64))
    rows = np.arange(len(tags))
    chosen = probs[rows, tags]
    others = probs.copy()
    others[rows, tags] = 0.0
    entropy = -(probs * log_probs).sum(axis=1)
    outside = tags == OUTSIDE
    log_chosen = log_probs[rows, tags].astype(np.float64)
    return {
        "log_probability": min(0.0, float(log_chosen.sum())),
        "mean_log_probability": min(0.0, float(log_chosen.mean())),
        "min_probability": _unit_interval(chosen.min()),
        "min_margin": float((chosen - others.max(axis=1)).min()),
        "mean_entropy": max(0.0, float(entropy.mean())),
        "max_entropy": max(0.0, float(entropy.max())),
        "max_missed": _unit_interval((1.0 - chosen[outside]).max()) if outside.any() else 0.0,
    }


def missed(log_probs: Floats, tags: Tags, label_sets: LabelSets) -> dict[str, float]:
    """By label, the largest probability of a unit that is in no span of the label."""
    probs = np.exp(log_probs.astype(np.float64))
    names = list(dict.fromkeys(label for labels in label_sets for label in labels))
    has = np.array([[name in labels for name in names] for labels in label_sets])
    by_label = (probs[:, 1::2] + probs[:, 2::2]) @ has  # (num_units, num_labels)
    held = np.flatnonzero(tags)
    by_label[held] *= ~has[(tags[held] - 1) // 2]
    return {n: _unit_interval(v) for n, v in zip(names, by_label.max(axis=0), strict=True)}


@dataclass(frozen=True, slots=True)
class Alignment:
    """Tags made from spans, and how many spans no tag sequence could say exactly.

    Attributes:
        tags: One tag per unit.
        num_inexact: Spans that begin or end inside a unit (taken with the whole unit), that cover
            no unit, or that overlap an earlier one (left out; of a stretch whose labels are no set,
            all but the first).
    """

    tags: Tags
    num_inexact: int


def align(spans: Sequence[Span], units: Units, label_sets: LabelSets) -> Alignment:
    """The tags that say these spans.

    Raises:
        ConfigError: A span's label is not among the labels.
    """
    number = {labels: i for i, labels in enumerate(label_sets)}
    for span in spans:
        if (span.label,) not in number:
            raise ConfigError(
                f"A teaching example marks {span.text!r} as {span.label!r}, which is not one of "
                f"the tagger's labels: add it to them or drop the span.",
                key=span.label,
            )
    tags = np.zeros(len(units), dtype=np.int64)
    num_inexact = 0
    for (start, end), labels in _by_place(spans).items():
        covered = np.flatnonzero((units[:, 0] < end) & (units[:, 1] > start))
        if not len(covered) or tags[covered].any():
            num_inexact += len(labels)
            continue
        known = labels if labels in number else labels[:1]
        tags[covered] = 2 * number[known] + 2
        tags[covered[0]] = 2 * number[known] + 1
        exact = units[covered[0], 0] == start and units[covered[-1], 1] == end
        num_inexact += len(labels) - len(known) + (0 if exact else len(known))
    return Alignment(tags, num_inexact)


def span_f1(gold: Sequence[Sequence[Span]], found: Sequence[Sequence[Span]]) -> float:
    """Micro F1 of exact spans (label, start, end) over texts; 1.0 where there is none to find."""
    pairs = [
        ({(s.label, s.start, s.end) for s in expected}, {(s.label, s.start, s.end) for s in given})
        for expected, given in zip(gold, found, strict=True)
    ]
    hits = sum(len(expected & given) for expected, given in pairs)
    total = sum(len(expected) + len(given) for expected, given in pairs)
    return 2 * hits / total if total else 1.0


def _unit_interval(value: float) -> float:
    return min(1.0, max(0.0, float(value)))
