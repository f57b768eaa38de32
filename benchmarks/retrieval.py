"""Retrieval untaught: BM25, dense, fused on CoSQA and XQuAD, with ranx as a second opinion."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np

from journeyman.agents.index import Index
from journeyman.agents.search import Found, Fusion
from journeyman.models.catalog import cache_dir
from journeyman.models.errors import ConfigError
from journeyman.models.students.embedder import Embedder
from journeyman.scenarios.corpora import read_corpus
from journeyman.scenarios.datasets import iter_scenarios
from journeyman.scenarios.metrics import evaluate
from journeyman.scenarios.paths import find_suite
from journeyman.scenarios.scenario import ExpectedRanking
from journeyman.scenarios.suite import load_suite

DEPTH = 100
Rankings = Mapping[str, Mapping[str, list[str]]]


def _searches(name: str) -> tuple[dict[str, ExpectedRanking], dict[str, Found]]:
    suite = load_suite(find_suite(name))
    embedder = Embedder()
    index = Index.build(read_corpus(suite), embedder, cache=cache_dir() / "embeddings")
    scenarios = list(iter_scenarios(suite))
    vectors = embedder.predict([scenario.text for scenario in scenarios])
    expected: dict[str, ExpectedRanking] = {}
    found: dict[str, Found] = {}
    for scenario, vector in zip(scenarios, vectors, strict=True):
        wanted = scenario.expected["retrieval"]
        assert isinstance(wanted, ExpectedRanking)
        expected[scenario.id] = wanted
        found[scenario.id] = index.search(scenario.text, np.asarray(vector), DEPTH)
    return expected, found


def _lists(found: Mapping[str, Found]) -> Rankings:
    by_rank = Fusion("ranks", dense_weight=0.5)
    return {
        "BM25": {q: [hit.id for hit in f.bm25] for q, f in found.items()},
        "dense": {q: [hit.id for hit in f.dense] for q, f in found.items()},
        "fused by rank": {
            q: [hit.id for hit in by_rank.fuse(f.dense, f.bm25, DEPTH)] for q, f in found.items()
        },
        "fused (default)": {q: [hit.id for hit in f.fused] for q, f in found.items()},
    }


def _independent(
    expected: Mapping[str, ExpectedRanking], ranking: Mapping[str, list[str]]
) -> tuple[float, float]:
    """MRR and nDCG@10 by ranx."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numba warns of its own future
        from ranx import Qrels, Run
        from ranx import evaluate as independent

        qrels = Qrels({query: dict(wanted.grades) for query, wanted in expected.items()})
        run = Run(
            {
                query: {name: float(DEPTH - rank) for rank, name in enumerate(ids)} or {"": 0.0}
                for query, ids in ranking.items()
            }
        )
        scores = independent(qrels, run, ["mrr", "ndcg@10"], make_comparable=True)
    return float(scores["mrr"]), float(scores["ndcg@10"])


def measure() -> list[str]:
    """Lines of the report; where the public data is absent, one line that says so."""
    lines = []
    for name in ("cosqa", "xquad"):
        try:
            expected, found = _searches(name)
        except ConfigError as error:
            lines.append(f"{name}: not measured: {error}")
            continue
        for method, ranking in _lists(found).items():
            ours = evaluate("mrr", [(expected[q], ranking[q]) for q in expected])
            mrr, ndcg = _independent(expected, ranking)
            lines.append(
                f"{name}, {method}: MRR {ours['mrr'].value:.3f}, "
                f"nDCG@10 {ours['ndcg@10'].value:.3f} of {len(expected)} queries "
                f"(ranx: {mrr:.3f}, {ndcg:.3f})"
            )
    return lines
