"""Retrieval untaught: BM25, dense, fused on CoSQA and XQuAD, with ranx as a second opinion.

And whether the evidence of a search tells right from wrong: what can be certified by it.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Mapping

import numpy as np

from journeyman.agents.index import Index
from journeyman.agents.search import Found, Fusion
from journeyman.agents.search_evidence import search_evidence
from journeyman.models.catalog import cache_dir
from journeyman.models.certificate import certify_joint
from journeyman.models.confidence import ConfidenceHead
from journeyman.models.errors import ConfigError
from journeyman.models.scoring import auroc
from journeyman.models.students.embedder import Embedder
from journeyman.models.types import Risk
from journeyman.scenarios.corpora import read_corpus
from journeyman.scenarios.datasets import iter_scenarios
from journeyman.scenarios.metrics import evaluate
from journeyman.scenarios.paths import find_suite
from journeyman.scenarios.scenario import ExpectedRanking
from journeyman.scenarios.suite import load_suite

DEPTH = 100
NUM_SPLITS = 10
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


def _trust(expected: Mapping[str, ExpectedRanking], found: Mapping[str, Found]) -> str:
    """Half of the queries fit a head, a quarter certifies a threshold, a quarter tests it.

    Right is an answer whose first passage is relevant, as `Retrieval.agrees` has it.
    """
    queries = list(expected)
    evidence = {query: search_evidence(found[query]) for query in queries}
    right = {q: expected[q].grades.get(found[q].fused[0].id, 0) > 0 for q in queries}
    rows = []
    for seed in range(NUM_SPLITS):
        random.Random(seed).shuffle(queries)
        half, three = len(queries) // 2, 3 * len(queries) // 4
        head = ConfidenceHead.fit(
            [evidence[q] for q in queries[:half]], [right[q] for q in queries[:half]], seed=seed
        )
        score = dict(zip(queries, head.probabilities([evidence[q] for q in queries]), strict=True))
        proof, test = queries[half:three], queries[three:]
        wrong = [not right[q] for q in proof]
        certificate = certify_joint([score[q] for q in proof], wrong, Risk())
        accepted = [score[q] >= certificate.threshold for q in test]
        errors = [a and not right[q] for a, q in zip(accepted, test, strict=True)]
        unseen = queries[half:]
        separation = auroc([score[q] for q in unseen], [right[q] for q in unseen])
        rows.append((separation or 0.5, np.mean(accepted), np.mean(errors)))
    separation, coverage, error = np.mean(rows, axis=0)
    return (
        f"first passage right for {np.mean(list(right.values())):.3f}; AUROC of the confidence "
        f"{separation:.3f}; certified at joint .05/.05: {coverage:.3f} of the traffic accepted, "
        f"{error:.3f} accepted and wrong ({NUM_SPLITS} splits)"
    )


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
        lines.append(f"{name}, evidence: {_trust(expected, found)}")
    return lines
