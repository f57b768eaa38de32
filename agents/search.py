"""What a search returns, what can be searched, and how ranked lists become one.

Reciprocal rank fusion adds 1 / (rrf_k + rank) over the lists that name a passage: it needs no
common scale, so cosines and BM25 scores can be mixed. Equal scores are ordered by id, so the same
search always gives the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from journeyman.agents.passages import Passage

RRF_K = 60
"""The constant of the paper that introduced the method, and of most search engines."""
DEPTH = 100
"""How many passages of each list take part in a fusion."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage found, and its score on the scale of the list that it is in."""

    id: str
    score: float


@dataclass(frozen=True, slots=True)
class Found:
    """The result of one search.

    Attributes:
        query: What was searched for.
        fused: The answer, best first.
        dense: Best first by cosine; empty where there are no vectors.
        bm25: Best first by BM25; only passages that share a word with the query.
        num_terms: Distinct words of the query that BM25 looks for.
        num_known_terms: Those of them that occur in some passage.
    """

    query: str
    fused: tuple[Hit, ...]
    dense: tuple[Hit, ...] = ()
    bm25: tuple[Hit, ...] = ()
    num_terms: int = 0
    num_known_terms: int = 0


class SearchIndex(Protocol):
    """What retrieval needs of an index. Searches may come from several threads at once."""

    @property
    def dimension(self) -> int | None:
        """Length of the vectors it is searched with; None where it takes none."""
        ...

    @property
    def document_tower(self) -> str:
        """Fingerprint of the model that made its vectors; empty where it has none."""
        ...

    def search(
        self,
        query: str,
        vector: NDArray[np.float32] | None,
        k: int,
        *,
        rrf_k: int = RRF_K,
        depth: int = DEPTH,
    ) -> Found:
        """The best `k` passages for a query, by words, by vector, or both."""
        ...

    def get(self, passage_id: str) -> Passage | None:
        """The passage of that id; None where there is none."""
        ...

    def parts(self) -> dict[str, Any]:
        """Its settings that shape an answer, JSON-compatible; the corpus is not among them."""
        ...


def fuse(lists: Sequence[Sequence[Hit]], k: int, *, rrf_k: int = RRF_K) -> list[Hit]:
    """The best `k` of several ranked lists by reciprocal rank, ties in order of id."""
    scores: dict[str, float] = {}
    for hits in lists:
        for rank, hit in enumerate(hits, start=1):
            scores[hit.id] = scores.get(hit.id, 0.0) + 1.0 / (rrf_k + rank)
    ordered = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
    return [Hit(passage_id, score) for passage_id, score in ordered[:k]]


def top_rows(scores: NDArray[np.float32], k: int) -> NDArray[np.intp]:
    """Rows of the `k` highest scores, best first, ties by row.

    Args:
        scores: Shape (n,), no NaN.
        k: At least 1; where it exceeds n, all rows are returned.
    """
    if k < len(scores):
        # Every row that ties with the k-th must be seen, or the cut among them would be arbitrary.
        threshold = np.partition(scores, len(scores) - k)[len(scores) - k]
        rows = np.flatnonzero(scores >= threshold)
    else:
        rows = np.arange(len(scores))
    return rows[np.argsort(-scores[rows], kind="stable")][:k]
