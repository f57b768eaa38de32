"""A replay redraws what was certified, from the record alone, and promises no more than that."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from journeyman.models.bounds import upper_bound
from journeyman.models.certificate import certify_joint
from journeyman.models.types import Risk
from journeyman.traces.judged import Judged, Recording
from journeyman.traces.replay import Replay, replay

RISK = Risk()


def drawn(number: int, *, head: bool = True, seed: int = 0) -> list[Judged]:
    """Attempts whose confidence is what it says: right with that probability."""
    rng = np.random.default_rng(seed)
    sure = rng.beta(6, 1, number)
    return [
        Judged(
            evidence={"sure": float(p), "noise": float(rng.random())},
            confidence=float(p) if head else None,
            is_right=bool(rng.random() < p**0.3),
            group=str(i),
        )
        for i, p in enumerate(sure)
    ]


def recording(judged: list[Judged], **given: Any) -> Recording:
    values = {"agent": "desk", "release": "desk@0", "num_attempts": len(judged)}
    return Recording(**{**values, "judged": tuple(judged), **given})


def test_recorded_confidences_give_the_threshold_that_was_certified() -> None:
    judged = drawn(400)
    done = replay(recording(judged), RISK)
    scores = [each.confidence for each in judged]
    expected = certify_joint(scores, [not each.is_right for each in judged], RISK)
    got = done.asked.certificate
    assert done.scores == "recorded"
    assert (got.threshold, got.k, got.n) == (expected.threshold, expected.k, 400)
    assert got.data_hash == expected.data_hash
    assert done.asked.joint_error == expected.k / 400 <= expected.bound <= 0.05


def test_without_a_head_scores_come_from_heads_that_saw_neither_attempt_nor_group() -> None:
    done = replay(recording(drawn(400, head=False)), RISK)
    assert done.scores == "out_of_fold"
    assert done.auroc is not None
    assert done.auroc > 0.6
    noise = [
        replace(each, evidence={"noise": each.evidence["noise"]}) for each in drawn(400, head=False)
    ]
    blind = replay(recording(noise), RISK).auroc
    assert blind is not None
    assert blind < 0.6


def test_invalid_attempts_count_in_n_and_are_never_accepted() -> None:
    judged = drawn(200)
    invalid = [replace(each, is_valid=False, confidence=1.0) for each in drawn(50, seed=1)]
    alone, both = replay(recording(judged), RISK), replay(recording(judged + invalid), RISK)
    assert both.num_valid == 200
    assert both.asked.certificate.n == 250
    assert both.curve[-1].coverage == pytest.approx(0.8)
    assert both.asked.certificate.num_accepted >= alone.asked.certificate.num_accepted


def test_a_release_whose_head_did_not_speak_of_an_attempt_does_not_accept_it() -> None:
    judged = [*drawn(100), Judged(confidence=None, is_right=True)]
    assert replay(recording(judged), RISK).num_valid == 100


def test_a_laxer_target_never_accepts_less_and_targets_are_sorted() -> None:
    done = replay(recording(drawn(600)), Risk(max_error=0.03))
    targets = [each.certificate.max_error for each in done.outlooks]
    coverages = [each.coverage for each in done.outlooks]
    assert targets == [0.01, 0.02, 0.03, 0.05, 0.1, 0.2]
    assert coverages == sorted(coverages)
    assert done.asked in done.outlooks


def test_a_target_out_of_reach_says_how_many_more_labels_it_takes() -> None:
    few = [Judged(confidence=0.9, is_right=True) for _ in range(40)]
    asked = replay(recording(few), RISK).asked
    assert math.isinf(asked.certificate.threshold)
    assert asked.certificate.labels_needed == 59 - 40
    assert (asked.coverage, asked.escalation_rate, asked.saving) == (0, 1, 0)
    assert asked.selective_error is None
    hopeless = [replace(each, is_right=False) for each in few]
    assert replay(recording(hopeless), RISK).asked.certificate.labels_needed is None


def test_the_curve_agrees_with_the_certificate_and_with_the_exact_bound() -> None:
    judged = drawn(300)
    done = replay(recording(judged), RISK, max_points=1000)
    at = next(p for p in done.curve if p.threshold == done.asked.certificate.threshold)
    assert at.coverage == pytest.approx(done.asked.coverage)
    assert at.joint_error == pytest.approx(done.asked.joint_error)
    assert at.joint_bound == pytest.approx(done.asked.certificate.bound)
    assert at.joint_bound == upper_bound(done.asked.certificate.k, 300, 0.05)
    assert len(replay(recording(judged), RISK, max_points=20).curve) == 20


def test_the_selective_rule_draws_its_grid_from_unlabelled_traffic() -> None:
    judged = drawn(800)
    others = tuple(each.confidence or 0.0 for each in drawn(500, seed=3))
    risk = Risk(kind="selective", max_error=0.1)
    done = replay(recording(judged, unlabelled=others), risk)
    assert not done.is_grid_own
    assert done.asked.certificate.threshold in others
    assert done.asked.selective_error is not None
    assert done.asked.selective_error <= 0.1
    assert replay(recording(judged), risk).is_grid_own


@pytest.mark.parametrize("kind", ["joint", "selective"])
@pytest.mark.parametrize(
    "judged",
    [
        [],
        [Judged(is_right=True)],
        [Judged(is_right=False, is_valid=False)] * 5,
        [Judged(is_right=True, evidence={"a": math.nan}, group=str(i)) for i in range(9)],
    ],
)
def test_next_to_nothing_on_record_certifies_nothing(kind: Any, judged: list[Judged]) -> None:
    done = replay(recording(judged), Risk(kind=kind))
    assert done.asked.coverage == 0
    assert done.asked.certificate.n == len(judged)


def test_the_least_trusted_source_names_the_label() -> None:
    judged = [Judged(is_right=True, label_source="human"), Judged(is_right=True)]
    done: Replay = replay(recording(judged), RISK)
    assert done.label_source == "frontier"
    assert done.label_sources == {"human": 1, "frontier": 1}
