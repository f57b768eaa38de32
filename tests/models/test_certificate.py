"""Certificates: worked cases, ties, what is missing, and that they survive being stored."""

from __future__ import annotations

import math
import warnings
from datetime import UTC, datetime
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats

from journeyman.models.certificate import (
    Certificate,
    certify,
    certify_joint,
    certify_selective,
    quantile_grid,
)
from journeyman.models.errors import ConfigError
from journeyman.models.types import Risk
from tests.models.worked import cases, population

NOW = datetime(2025, 1, 2, tzinfo=UTC)


def null_if_infinite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def test_thresholds_are_those_of_an_independent_implementation() -> None:
    for case in cases("thresholds"):
        risk = Risk(max_error=case["max_error"], delta=case["delta"])
        joint = certify_joint(case["scores"], case["wrong"], risk)
        selective = certify_selective(case["scores"], case["wrong"], risk, case["grid"])
        assert null_if_infinite(joint.threshold) == case["joint_threshold"]
        assert null_if_infinite(selective.threshold) == case["selective_threshold"]


def test_joint_counts_errors_among_all_items() -> None:
    scores = np.linspace(1, 0.001, 100)
    wrong = np.isin(np.arange(100), [40, 70, 80])
    certificate = certify_joint(scores, wrong, Risk(max_error=0.05, delta=0.05))
    # One error among a hundred is proved to lie within 5 %, two are not: stop before the second.
    assert certificate.threshold == scores[69]
    assert (certificate.n, certificate.k, certificate.num_accepted) == (100, 1, 70)
    assert certificate.coverage == 0.7
    assert certificate.num_wrong == 3
    assert certificate.bound == pytest.approx(stats.beta.ppf(0.95, 2, 99))


def test_selective_counts_errors_among_the_accepted() -> None:
    scores = np.repeat([0.9, 0.5, 0.1], [100, 100, 100])
    wrong = np.repeat([False, False, True], [100, 40, 160])
    certificate = certify_selective(scores, wrong, Risk(max_error=0.05, delta=0.1), [0.9, 0.5, 0.1])
    assert certificate.threshold == 0.9
    assert (certificate.k, certificate.num_accepted, certificate.n) == (0, 100, 300)
    assert certificate.bound == pytest.approx(stats.beta.ppf(1 - 0.1 / 4, 1, 100))
    assert certificate.kind == "selective"


def test_equal_scores_are_accepted_or_left_together() -> None:
    scores = [0.9] * 60 + [0.5] * 60
    wrong = [False] * 60 + [False] * 54 + [True] * 6
    certificate = certify_joint(scores, wrong, Risk(max_error=0.05, delta=0.05))
    assert certificate.threshold == 0.9
    assert certificate.num_accepted == 60


def test_a_later_start_goes_on_where_an_over_confident_top_stops_the_first() -> None:
    scores = np.linspace(1, 0, 1000)
    wrong = np.arange(1000) < 12
    grid = scores[np.linspace(99, 999, 48).astype(int)]
    risk = Risk(max_error=0.05, delta=0.1)
    assert math.isinf(certify_selective(scores, wrong, risk, grid, num_starts=1).threshold)
    assert certify_selective(scores, wrong, risk, grid).threshold == 0


def test_nothing_certifiable_gives_infinity_and_never_the_strictest_point() -> None:
    scores = np.linspace(0, 1, 40)
    wrong = np.zeros(40, dtype=bool)
    for certificate in (
        certify_joint(scores, wrong, Risk()),
        certify_selective(scores, wrong, Risk(), quantile_grid(scores)),
    ):
        assert certificate.threshold == math.inf
        assert not certificate.is_feasible
        assert not certificate.accepts(1.0)
        assert not certificate.accepts(math.inf)
        assert certificate.coverage == certificate.num_accepted == certificate.k == 0
        assert certificate.bound is None


@pytest.mark.parametrize("num_labels", [0, 1, 20, 40, 58])
def test_the_labels_that_are_said_to_be_missing_are_enough(num_labels: int) -> None:
    short = certify_joint(np.linspace(0, 1, num_labels), np.zeros(num_labels), Risk())
    assert short.labels_needed == 59 - num_labels
    assert str(short.labels_needed) in short.describe()
    total = num_labels + short.labels_needed
    assert certify_joint(np.linspace(0, 1, total), np.zeros(total), Risk()).is_feasible


def test_selective_labels_allow_for_those_that_are_not_accepted() -> None:
    scores, wrong = np.linspace(0, 1, 40), np.zeros(40)
    risk = Risk(max_error=0.05, delta=0.05)
    short = certify_selective(scores, wrong, risk, quantile_grid(scores))
    assert short.labels_needed is not None
    total = 40 + short.labels_needed
    more = np.linspace(0, 1, total)
    assert certify_selective(more, np.zeros(total), risk, quantile_grid(scores)).is_feasible
    # Only errors at rate 0 among about three quarters accepted, at a quarter of delta.
    assert total == pytest.approx(math.log(0.05 / 4) / math.log(0.95) / 0.78, rel=0.05)


def test_no_number_of_labels_is_promised_where_the_surest_answers_are_wrong_too_often() -> None:
    scores, wrong = np.repeat([0.9, 0.1], 50), np.tile([True, False], 50)
    for certificate in (
        certify_joint(scores, wrong, Risk()),
        certify_selective(scores, wrong, Risk(), [0.9, 0.1]),
    ):
        assert certificate.labels_needed is None
        assert "no number of labels" in certificate.describe()


def test_what_can_never_be_accepted_counts_as_traffic_alone() -> None:
    scores = np.concatenate([np.full(50, 0.9), np.full(50, -math.inf)])
    wrong = np.concatenate([np.zeros(50), np.ones(50)])
    certificate = certify_joint(scores, wrong, Risk(max_error=0.05, delta=0.05))
    assert certificate.threshold == 0.9
    assert (certificate.n, certificate.num_accepted, certificate.num_wrong) == (100, 50, 50)
    none = certify_joint(np.full(10, -math.inf), np.ones(10), Risk())
    assert none.threshold == math.inf


def test_certify_follows_the_kind_of_the_risk() -> None:
    drawn = population("smooth", skill=1)
    scores, wrong = next(drawn.draws(500, 1, seed=1))
    joint = certify(scores, wrong, Risk(max_error=0.1), drawn.scores, created_at=NOW)
    selective = certify(
        scores, wrong, Risk(max_error=0.1, kind="selective"), drawn.scores, created_at=NOW
    )
    assert joint == certify_joint(scores, wrong, Risk(max_error=0.1), created_at=NOW)
    assert selective == certify_selective(
        scores, wrong, Risk(max_error=0.1), quantile_grid(drawn.scores), created_at=NOW
    )
    assert joint.risk.kind == "joint"
    assert selective.risk.kind == "selective"


scored = st.lists(
    st.tuples(st.sampled_from([0.1, 0.2, 0.35, 0.5, 0.75, 0.9, 1.0]), st.booleans()), max_size=120
)


@settings(max_examples=50)
@given(scored, st.randoms(use_true_random=False), st.sampled_from([0.02, 0.1, 0.3]))
def test_the_order_of_items_does_not_matter(
    items: list[tuple[float, bool]], random: Random, max_error: float
) -> None:
    risk = Risk(max_error=max_error, delta=0.1)
    shuffled = list(items)
    random.shuffle(shuffled)

    def both(rows: list[tuple[float, bool]]) -> tuple[Certificate, Certificate]:
        scores, wrong = [s for s, _ in rows], [w for _, w in rows]
        return (
            certify_joint(scores, wrong, risk, created_at=NOW),
            certify_selective(scores, wrong, risk, [0.2, 0.9, 0.5, 0.75], created_at=NOW),
        )

    assert both(items) == both(shuffled)


@settings(max_examples=50)
@given(scored, st.sampled_from([0.02, 0.1, 0.3]), st.sampled_from(["joint", "selective"]))
def test_certificates_survive_json(
    items: list[tuple[float, bool]], max_error: float, kind: str
) -> None:
    risk = Risk(max_error=max_error, delta=0.1, kind=kind)
    made = certify([s for s, _ in items], [w for _, w in items], risk, [0.2, 0.5, 0.9])
    text = made.model_dump_json()
    assert Certificate.model_validate_json(text) == made
    assert "Infinity" not in text
    assert "NaN" not in text
    assert Certificate.model_validate(made.model_dump()) == made


@settings(max_examples=50)
@given(scored, st.floats(0.01, 0.4), st.floats(0.01, 0.4))
def test_a_wider_target_never_accepts_less(
    items: list[tuple[float, bool]], one: float, other: float
) -> None:
    low, high = sorted((one, other))
    scores, wrong = [s for s, _ in items], [w for _, w in items]
    grid = [0.9, 0.75, 0.5, 0.2]
    for rule in (certify_joint, lambda s, w, r: certify_selective(s, w, r, grid)):
        strict = rule(scores, wrong, Risk(max_error=low, delta=0.1))
        loose = rule(scores, wrong, Risk(max_error=high, delta=0.1))
        assert loose.threshold <= strict.threshold


def test_the_hash_tells_other_labels_and_another_grid_from_these() -> None:
    def selective(wrong: list[int], grid: list[float]) -> str:
        return certify_selective([0.1, 0.2, 0.3], wrong, Risk(), grid).data_hash

    hashes = {
        certify_joint([0.1, 0.2, 0.3], [0, 0, 1], Risk()).data_hash,
        certify_joint([0.1, 0.2, 0.3], [0, 1, 0], Risk()).data_hash,
        selective([0, 0, 1], [0.2]),
        selective([0, 0, 1], [0.3]),
    }
    assert len(hashes) == 4


def test_a_certificate_is_bound_to_one_release_and_says_whose_labels() -> None:
    made = certify_joint(np.linspace(0, 1, 80), np.zeros(80), Risk(), created_at=NOW)
    assert (made.release, made.label_source) == ("", None)
    bound = made.bind("extraction@1a2b3c4d", "frontier")
    assert (bound.release, bound.label_source) == ("extraction@1a2b3c4d", "frontier")
    assert "frontier labels" in bound.describe()
    assert bound.created_at == NOW
    with pytest.raises(ValidationError, match="frozen"):
        bound.threshold = 0.0  # type: ignore[misc]  # this is what is refused


def test_a_certificate_knows_when_it_was_made() -> None:
    before = datetime.now(UTC)
    assert before <= certify_joint([], [], Risk()).created_at <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("scores", "wrong", "message"),
    [
        ([0.1, 0.2], [True], "one label for each"),
        ([[0.1]], [[True]], "one label for each"),
        ([math.nan], [True], "not a number"),
        ([math.inf], [True], "infinite"),
        ([0.5], [math.nan], "neither right nor wrong"),
        ([0.5], [2], "neither right nor wrong"),
    ],
)
def test_labels_that_make_no_sense_are_refused(
    scores: list[float], wrong: list[float], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        certify_joint(scores, wrong, Risk())


@pytest.mark.parametrize(("grid", "num_starts"), [([], 4), ([math.nan], 4), ([0.5], 0)])
def test_a_grid_that_cannot_be_tested_is_refused(grid: list[float], num_starts: int) -> None:
    with pytest.raises(ConfigError, match="quantiles of unlabelled"):
        certify_selective([0.5], [False], Risk(), grid, num_starts)


@pytest.mark.parametrize("change", [{"k": 30}, {"num_accepted": 99}, {"threshold": math.nan}])
def test_a_certificate_that_contradicts_itself_does_not_load(change: dict[str, float]) -> None:
    good = certify_joint(np.linspace(0, 1, 80), np.zeros(80), Risk()).model_dump()
    with pytest.raises(ValidationError):
        Certificate.model_validate(good | change)


def test_the_grid_covers_from_a_tenth_to_all_of_the_scores() -> None:
    scores = np.random.default_rng(0).random(1000)
    grid = quantile_grid(np.append(scores, -math.inf))
    assert len(grid) == 48
    assert (np.diff(grid) < 0).all()
    assert np.mean(scores >= grid[0]) == pytest.approx(0.1, abs=0.005)
    assert grid[-1] == scores.min()
    with pytest.raises(ConfigError, match="no finite score"):
        quantile_grid([-math.inf])


@pytest.mark.parametrize("shape", ["smooth", "ties", "discrete", "bump"])
def test_selective_certifies_what_mapie_certifies(shape: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the package's own imports
        risk_control = pytest.importorskip("mapie.risk_control")
    drawn = population(shape, skill=2.0)
    grid = quantile_grid(drawn.scores[:5000])
    num_feasible = 0
    for scores, wrong in drawn.draws(400, 40, seed=3):
        accepted = scores[None, :] >= grid[:, None]
        p_values = stats.binom.cdf((accepted & wrong).sum(1), accepted.sum(1), 0.05)
        starts = risk_control.FWERFixedSequenceTesting(n_starts=4)
        certified = risk_control.control_fwer(p_values, 0.1, starts)
        expected = grid[certified].min() if len(certified) else math.inf
        ours = certify_selective(scores, wrong, Risk(max_error=0.05, delta=0.1), grid)
        assert ours.threshold == expected
        num_feasible += ours.is_feasible
    assert num_feasible > 5
