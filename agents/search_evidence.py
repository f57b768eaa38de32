"""What one search says about itself before anyone judges it.

Raw cosines and BM25 scores are not comparable from query to query, so most of these numbers relate
scores of one list to each other, or the two lists. Every search gives the same names and no NaN: a
list that is absent or too short gives 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from journeyman.agents.search import Found, Hit

_NEAR = 10  # hits that the first one is compared with
_TEMPERATURE = 0.05  # of the softmax over cosines; the usual scale 20 of contrastive training


def search_evidence(found: Found) -> dict[str, float]:
    """Seventeen numbers about a search.

    Scores of the fused list lie in [0, 1], cosines in [-1, 1], BM25 is not bounded; `dense_z` is in
    standard deviations; overlap, reciprocal ranks and shares lie in [0, 1].
    """
    fused, dense, bm25 = (_scores(hits) for hits in (found.fused, found.dense, found.bm25))
    num_terms = max(found.num_terms, 1)
    return {
        "fused_top": _at(fused, 0),
        "fused_margin": _at(fused, 0) - _at(fused, 1),
        "fused_margin_3": _at(fused, 0) - _at(fused, 3),
        "dense_top": _at(dense, 0),
        "dense_margin": _at(dense, 0) - _at(dense, 1),
        "dense_z": _z(dense),
        "dense_softmax": _softmax(dense),
        "dense_spread": _spread(dense),
        "bm25_top": _at(bm25, 0),
        "bm25_margin": _share(_at(bm25, 0) - _at(bm25, 1), _at(bm25, 0)),
        "bm25_per_term": _at(bm25, 0) / num_terms,
        "overlap_at_10": _overlap(found.dense, found.bm25),
        "dense_top_in_bm25": _reciprocal_rank(found.dense, found.bm25),
        "bm25_top_in_dense": _reciprocal_rank(found.bm25, found.dense),
        "fused_top_in_both": _agreement(found),
        "log_num_terms": math.log1p(found.num_terms),
        "known_terms": found.num_known_terms / num_terms,
    }


def _scores(hits: Sequence[Hit]) -> list[float]:
    return [hit.score for hit in hits[:_NEAR]]


def _at(scores: Sequence[float], place: int) -> float:
    return scores[place] if place < len(scores) else 0.0


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 1e-9 else 0.0


def _z(scores: Sequence[float]) -> float:
    spread = float(np.std(scores)) if scores else 0.0
    return (scores[0] - float(np.mean(scores))) / spread if spread > 1e-9 else 0.0


def _softmax(scores: Sequence[float]) -> float:
    total = sum(math.exp((score - scores[0]) / _TEMPERATURE) for score in scores)
    return 1.0 / total if scores else 0.0


def _spread(scores: Sequence[float]) -> float:
    return _share(float(np.std(scores)), abs(float(np.mean(scores)))) if scores else 0.0


def _overlap(first: Sequence[Hit], second: Sequence[Hit]) -> float:
    one, other = ({hit.id for hit in hits[:_NEAR]} for hits in (first, second))
    return len(one & other) / max(len(one), len(other), 1)


def _reciprocal_rank(first: Sequence[Hit], second: Sequence[Hit]) -> float:
    """1 / rank of the first list's top in the second; 0 where it is not there."""
    if not first:
        return 0.0
    return next((1 / rank for rank, hit in enumerate(second, 1) if hit.id == first[0].id), 0.0)


def _agreement(found: Found) -> float:
    """How high both lists rank the answer: the lower of its two reciprocal ranks."""
    in_dense = _reciprocal_rank(found.fused, found.dense)
    return min(in_dense, _reciprocal_rank(found.fused, found.bm25))
