"""Deferral: worked cases, curves by hand, and bounds that hold for any student."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeyman.models.deferral import augrc, aurc, cost_to_close, measure_deferral, risk_coverage
from journeyman.models.errors import ConfigError
from tests.models.worked import cases


def test_figures_are_those_of_an_independent_implementation() -> None:
    for case in cases("deferral"):
        figures = measure_deferral(
            case["confidence"], case["student_right"], case["frontier_right"]
        )
        for name in ("aurc", "augrc", "audc", "apgr", "cpt50", "cpt80"):
            assert getattr(figures, name) == pytest.approx(case[name], abs=1e-9), name


def test_by_hand() -> None:
    confidence = [0.9, 0.1, 0.6, 0.3]
    student = [True, False, True, False]
    figures = measure_deferral(confidence, student, [True] * 4)
    assert figures.aurc == pytest.approx((0 + 0 + 1 / 3 + 2 / 4) / 4)
    assert figures.augrc == pytest.approx((0 + 0 + 1 / 4 + 2 / 4) / 4)
    # Accuracy at 0, 1, ..., 4 deferred: .5 .75 1 1 1
    assert figures.audc == pytest.approx((0.5 / 2 + 0.75 + 1 + 1 + 1 / 2) / 4)
    assert figures.cpt50 == 0.25
    assert figures.cpt80 == 0.5
    assert figures.apgr == pytest.approx(np.mean([0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1, 1, 1]))
    assert (figures.student_accuracy, figures.frontier_accuracy) == (0.5, 1.0)


def test_a_frontier_that_is_not_better_leaves_no_gap_to_close() -> None:
    figures = measure_deferral([0.9, 0.1], [True, False], [False, True])
    assert (figures.apgr, figures.cpt50, figures.cpt80) == (None, None, None)
    assert figures.audc == pytest.approx((0.5 / 2 + 1 + 0.5 / 2) / 2)  # both together beat each
    assert cost_to_close([0.9, 0.1], [True, True], [True, True], 0.95) is None


def test_random_confidence_closes_the_gap_at_the_rate_it_defers() -> None:
    rng = np.random.default_rng(0)
    student = rng.random(20_000) < 0.6
    figures = measure_deferral(rng.random(20_000), student, np.ones(20_000))
    assert figures.apgr == pytest.approx(0.55, abs=0.01)  # the mean of .1, .2, ..., 1
    assert figures.cpt50 == pytest.approx(0.5, abs=0.02)
    assert figures.aurc == pytest.approx(0.4, abs=0.02)
    assert figures.augrc == pytest.approx(0.2, abs=0.01)


outcomes = st.lists(
    st.tuples(st.floats(0, 1), st.booleans(), st.booleans()), min_size=1, max_size=60
)


@given(outcomes)
def test_no_order_beats_the_oracle_or_loses_to_its_reverse(
    rows: list[tuple[float, bool, bool]],
) -> None:
    confidence, student, frontier = (np.array(column) for column in zip(*rows, strict=True))
    oracle = student.astype(float)
    assert aurc(oracle, student) <= aurc(confidence, student) + 1e-12
    assert aurc(confidence, student) <= aurc(-oracle, student) + 1e-12
    assert augrc(oracle, student) <= augrc(confidence, student) + 1e-12
    worth = student.astype(float) - frontier
    best = measure_deferral(worth, student, frontier)
    assert measure_deferral(confidence, student, frontier).audc <= best.audc + 1e-12


@given(outcomes)
def test_more_of_the_gap_never_costs_less(rows: list[tuple[float, bool, bool]]) -> None:
    confidence, student, frontier = (list(column) for column in zip(*rows, strict=True))
    costs = [cost_to_close(confidence, student, frontier, s) for s in (0.1, 0.5, 0.8, 0.95, 1.0)]
    if costs[0] is None:
        assert costs == [None] * 5
    else:
        assert costs == sorted(costs)


def test_risk_and_coverage_at_each_distinct_confidence() -> None:
    points = risk_coverage([0.9, 0.5, 0.9, 0.1], [True, False, False, True])
    assert [p.threshold for p in points] == [0.9, 0.5, 0.1]
    assert [p.coverage for p in points] == [0.5, 0.75, 1.0]
    assert [p.selective_risk for p in points] == pytest.approx([0.5, 2 / 3, 0.5])
    assert [p.joint_risk for p in points] == pytest.approx([0.25, 0.5, 0.5])


def test_a_thinned_curve_keeps_its_ends() -> None:
    rng = np.random.default_rng(0)
    confidence, right = rng.random(1000), rng.random(1000) < 0.8
    whole, thin = risk_coverage(confidence, right), risk_coverage(confidence, right, 50)
    assert (len(whole), len(thin)) == (1000, 50)
    assert (thin[0], thin[-1]) == (whole[0], whole[-1])
    assert set(thin) <= set(whole)


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(ConfigError, match="one outcome for each"):
        measure_deferral([0.5], [True], [True, False])
    with pytest.raises(ConfigError, match="cannot be closed"):
        cost_to_close([0.5], [True], [True], 0)
    with pytest.raises(ConfigError, match="two or more"):
        risk_coverage([0.5], [True], 1)
