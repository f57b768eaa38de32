"""Evidence of a debugging: what is known of a search before anyone judges its patch."""

from __future__ import annotations

import math
from typing import Any

from journeyman.agents.repair_search import Found
from journeyman.agents.sandbox import Verdict
from journeyman.models.types import content_hash

EVIDENCE = (
    "tests_passed_share",
    "log_candidates_tried",
    "log_rank",
    "log_num_passing",
    "agreement",
    "log_num_behaviours",
    "log_edit_size",
    "ranker_score",
    "ranker_margin",
    "operator_prior",
    "suspicion",
    "generator_log_probability",
    "log_num_tests",
    "failing_tests_share",
)
"""Names of the evidence, the same for every attempt. Counts are given as log(1 + count)."""

_NO_RIVAL = 5.0  # margin where no passing candidate behaves otherwise; no margin counts as more
_MOST_LISTED = 20


def debug_evidence(found: Found) -> dict[str, float]:
    """Numbers of a search and of its chosen candidate; neutral ones where there is none."""
    chosen = found.chosen
    proposal = chosen.proposal if chosen else None
    verdict = chosen.verdict if chosen else None
    tests = found.baseline.tests if found.baseline else ()
    failing = sum(test.status != "passed" for test in tests)
    margin = _NO_RIVAL if found.margin is None else min(found.margin, _NO_RIVAL)
    numbers = (
        num_passed(verdict) / len(verdict.tests) if verdict and verdict.tests else 0.0,
        math.log1p(found.num_tried),
        math.log1p(chosen.rank if chosen else 0),
        math.log1p(len(found.passing)),
        found.agreement,
        math.log1p(found.num_clusters),
        math.log1p(proposal.size if proposal else 0),
        proposal.score if proposal else 0.0,
        margin if chosen else 0.0,
        proposal.prior if proposal else 0.0,
        proposal.suspicion if proposal else 0.0,
        proposal.log_probability if proposal else 0.0,
        math.log1p(len(tests)),
        failing / len(tests) if tests else 0.0,
    )
    return dict(zip(EVIDENCE, numbers, strict=True))


def debug_record(found: Found) -> dict[str, Any]:
    """A search for the trace: its numbers, and the passing candidates."""
    known = found.localisation
    suspicion = (
        {str(line): round(value, 3) for line, value in known.suspicion.items()} if known else None
    )
    return {
        "candidates": len(found.proposals),
        "tried": found.num_tried,
        "suspicion": suspicion,
        "passing": [
            {
                "rank": item.rank,
                "operator": item.proposal.operator,
                "description": item.proposal.description,
                "line": item.proposal.line,
                "score": round(item.proposal.score, 4),
                "behaviour": content_hash(list(item.behaviour), length=8),
            }
            for item in found.passing[:_MOST_LISTED]
        ],
    }


def num_passed(verdict: Verdict | None) -> int:
    """Tests that pass."""
    return sum(test.status == "passed" for test in verdict.tests) if verdict else 0
