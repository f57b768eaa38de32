"""What a query is told apart from: its answers, hard negatives, and the frozen vectors of both.

Documents have one vector each, which teaching never changes, so that any number of them can stand
against a query at the price of a matrix product. A document that nobody judged may be an answer
too: it is no negative where it is all but the same as one. Knows no model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Rows = NDArray[np.intp]

_TWINS = 0.95  # cosine of two documents from which they say the same


@dataclass(frozen=True, slots=True)
class QueryLesson:
    """A teaching example: a query, what answers it and what does not.

    Attributes:
        query: As users ask.
        positives: Texts of documents that answer it; at least one.
        negatives: Texts of documents that somebody judged and found not to answer it.
        weight: How often it should count; the mean over a data set is 1.
    """

    query: str
    positives: tuple[str, ...]
    negatives: tuple[str, ...] = ()
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Contrast:
    """A lesson as rows of the table of documents.

    Attributes:
        query: Its text.
        positives: Rows that answer it.
        negatives: Rows that are hard to tell from an answer, the hardest first.
        weight: How often it counts.
    """

    query: str
    positives: Rows
    negatives: Rows
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Batch:
    """What the queries of one step are told apart from.

    Attributes:
        documents: Vectors (num_documents, dimension).
        positive: Which document answers which query (num_queries, num_documents).
        counted: Which documents stand against which query, answers included; same shape.
        weights: Of the queries (num_queries,).
    """

    documents: Floats
    positive: NDArray[np.bool_]
    counted: NDArray[np.bool_]
    weights: Floats


def merged(lessons: Iterable[QueryLesson]) -> list[QueryLesson]:
    """One lesson per query, in order of the queries, with the sum of their weights.

    A document that ever answered a query is none of its negatives.
    """
    found: dict[str, tuple[set[str], set[str], float]] = {}
    for lesson in lessons:
        positives, negatives, weight = found.get(lesson.query, (set(), set(), 0.0))
        found[lesson.query] = (
            positives | set(lesson.positives),
            negatives | set(lesson.negatives),
            weight + lesson.weight,
        )
    return [
        QueryLesson(query, tuple(sorted(yes)), tuple(sorted(no - yes)), weight)
        for query, (yes, no, weight) in sorted(found.items())
    ]


def contrast(
    lesson: QueryLesson,
    vector: Floats,
    rows: dict[str, int],
    vectors: Floats,
    *,
    num_negatives: int,
    margin: float,
) -> Contrast:
    """A lesson with its hard negatives: those judged, and unjudged ones below the margin.

    Args:
        lesson: One per query.
        vector: Of the query, by the base.
        rows: Row of each text.
        vectors: Of all documents (n, dimension).
        num_negatives: Most of them.
        margin: An unjudged document whose likeness is more than `1 - margin` times that of the
            answer may be an answer.
    """
    likeness = vectors @ vector
    positives = np.array([rows[text] for text in lesson.positives], dtype=np.intp)
    judged = np.array([rows[text] for text in lesson.negatives], dtype=np.intp)
    best = float(likeness[positives].max())
    eligible = likeness < best - margin * abs(best)
    eligible[judged] = True
    eligible[positives] = False
    order = np.argsort(-likeness, kind="stable")
    hard = order[eligible[order]][:num_negatives]
    return Contrast(lesson.query, positives, hard, lesson.weight)


def batch_of(contrasts: Sequence[Contrast], vectors: Floats, *, everything: bool = False) -> Batch:
    """The documents of a step and which of them count for which query.

    Args:
        contrasts: The step's queries.
        vectors: Of all documents.
        everything: Take all documents instead of the step's answers and hard negatives.
    """
    named = [rows for c in contrasts for rows in (c.positives, c.negatives)]
    rows = np.arange(len(vectors)) if everything else np.unique(np.concatenate(named))
    documents = vectors[rows]
    place = np.full(len(vectors), -1, dtype=np.intp)
    place[rows] = np.arange(len(rows))
    positive = np.zeros((len(contrasts), len(rows)), dtype=np.bool_)
    counted = np.empty_like(positive)
    for number, each in enumerate(contrasts):
        positive[number, place[each.positives]] = True
        likeness = documents @ vectors[each.positives].T
        counted[number] = likeness.max(axis=1) < _TWINS
        counted[number, place[each.negatives]] = True
    weights = np.array([c.weight for c in contrasts], dtype=np.float32)
    return Batch(documents, positive, counted | positive, weights)


def reciprocal_ranks(
    queries: Floats, contrasts: Sequence[Contrast], vectors: Floats
) -> NDArray[np.float64]:
    """One over the rank of each query's best answer among all documents; last among equals."""
    ranks = np.empty(len(contrasts))
    for number, each in enumerate(contrasts):
        likeness = vectors @ queries[number]
        best = likeness[each.positives].max()
        likeness[each.positives] = -np.inf
        ranks[number] = 1 + int((likeness >= best).sum())
    return 1.0 / ranks
