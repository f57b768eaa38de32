"""What a search returns, what can be searched, and how two ranked lists become one.

Equal scores are ordered by id, so the same search always gives the same order. Knows nothing of
vectors, words or files.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from journeyman.agents.passages import Passage
from journeyman.models.errors import ConfigError


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


@dataclass(frozen=True, slots=True)
class Fusion:
    """How the dense and the BM25 list become one.

    `scores` stretches each list's best `depth` scores to [0, 1] and takes the weighted mean;
    `ranks` is reciprocal rank fusion, weight / (rrf_k + rank) summed. Scores keep what ranks throw
    away: how far the first is ahead. Measured with the untaught MiniLM, MRR of BM25, dense, ranks,
    scores: XQuAD .964, .927, .960, .971; CoSQA .357, .541, .477, .517.

    Attributes:
        method: `scores` or `ranks`.
        dense_weight: Share of the dense list, in [0, 1]; BM25 has the rest. `tuned` fits it.
        rrf_k: The greater, the less the first ranks stand out; for `ranks` alone.
        depth: Passages of each list that take part.
    """

    method: Literal["scores", "ranks"] = "scores"
    dense_weight: float = 0.6
    rrf_k: int = 60
    depth: int = 100

    def __post_init__(self) -> None:
        """Refuse settings that no search could follow."""
        if not 0 <= self.dense_weight <= 1 or self.rrf_k < 0 or self.depth < 1:
            raise ConfigError(
                f"{self} cannot be followed: dense_weight lies in [0, 1], rrf_k is not negative, "
                "depth is at least 1.",
                key="fusion",
            )

    def parts(self) -> dict[str, Any]:
        """The settings as JSON-compatible data."""
        return asdict(self)

    def fuse(self, dense: Sequence[Hit], bm25: Sequence[Hit], k: int) -> list[Hit]:
        """The best `k` of both lists, ties in order of id; an absent list has no say."""
        scores: dict[str, float] = {}
        share = self.dense_weight if dense and bm25 else float(bool(dense))
        for hits, weight, floor in ((dense, share, None), (bm25, 1 - share, 0.0)):
            for hit, value in zip(hits, self._values(hits[: self.depth], floor), strict=False):
                scores[hit.id] = scores.get(hit.id, 0.0) + weight * value
        # The last digits depend on the order of addition; they must not decide between equals.
        ordered = sorted((-round(score, 12), name) for name, score in scores.items())
        return [Hit(name, -score) for score, name in ordered[:k]]

    def _values(self, hits: Sequence[Hit], floor: float | None) -> list[float]:
        """What each hit of a list is worth; `floor` is the score of passages not in a short one."""
        if self.method == "ranks":
            return [1.0 / (self.rrf_k + rank) for rank in range(1, len(hits) + 1)]
        if not hits:
            return []
        high = hits[0].score
        low = floor if floor is not None and len(hits) < self.depth else hits[-1].score
        return [(hit.score - low) / (high - low) if high > low else 1.0 for hit in hits]

    def tuned(self, searches: Sequence[Found], relevant: Sequence[Collection[str]]) -> Fusion:
        """This fusion with the dense weight that ranks relevant passages best (MRR).

        For a round, on labels that train the student and certify nothing.

        Args:
            searches: Searches with both lists, to at least `depth`.
            relevant: For each, the ids that answer it.
        """
        candidates = [replace(self, dense_weight=step / 10) for step in range(11)]
        candidates.sort(key=lambda other: abs(other.dense_weight - self.dense_weight))
        if not searches:
            return self
        return max(candidates, key=lambda fusion: fusion._mrr(searches, relevant))  # noqa: SLF001  # its own kind

    def _mrr(self, searches: Sequence[Found], relevant: Sequence[Collection[str]]) -> float:
        total = 0.0
        for found, wanted in zip(searches, relevant, strict=True):
            ranked = self.fuse(found.dense, found.bm25, self.depth)
            ranks = (rank for rank, hit in enumerate(ranked, start=1) if hit.id in wanted)
            total += next((1 / rank for rank in ranks), 0.0)
        return total / len(searches)


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
        fusion: Fusion | None = None,
    ) -> Found:
        """The best `k` passages for a query, by words, by vector, or both."""
        ...

    def get(self, passage_id: str) -> Passage | None:
        """The passage of that id; None where there is none."""
        ...

    def vector(self, passage_id: str) -> NDArray[np.float32] | None:
        """The passage's vector by the document tower; None where there is none."""
        ...

    def parts(self) -> dict[str, Any]:
        """Its settings that shape an answer, JSON-compatible; the corpus is not among them."""
        ...


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
