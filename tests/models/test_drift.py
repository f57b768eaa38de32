"""The drift alarm: worked cases, how soon it comes, how seldom it is false, and its state."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from journeyman.models.drift import DriftDetector, audit_outcome
from tests.models.worked import Bools, cases


def first_alarm(wrong: Bools, max_error: float) -> int | None:
    """Zero-based position of the first alarm."""
    detector = DriftDetector(max_error=max_error)
    for outcome in wrong:
        if detector.update(bool(outcome)):
            return detector.alarm_at
    return None


def test_alarms_are_those_of_an_independent_implementation() -> None:
    for case in cases("drift"):
        assert first_alarm(np.array(case["wrong"]) == 1, case["max_error"]) == case["alarm_at"]


@pytest.mark.parametrize(
    ("rate", "low", "high"), [(0.08, 120, 500), (0.15, 30, 90), (0.25, 15, 45)]
)
def test_delays_to_an_alarm_after_a_jump_from_2_percent(rate: float, low: int, high: int) -> None:
    """Published medians at a target of 5 %: 246 at 8 %, 53 at 15 %, 24 at 25 %."""
    rng = np.random.default_rng(0)
    delays = []
    for _ in range(60):
        wrong = np.concatenate([rng.random(300) < 0.02, rng.random(2000) < rate])
        at = first_alarm(wrong, 0.05)
        assert at is not None
        delays.append(at - 300)
    assert low < np.median(delays) < high


def test_alarms_are_seldom_false_while_errors_stay_within_the_target() -> None:
    rng = np.random.default_rng(1)
    for rate, most in ((0.02, 2), (0.03, 6)):
        alarms = [first_alarm(rng.random(3000) < rate, 0.05) for _ in range(40)]
        assert sum(at is not None for at in alarms) <= most


def test_at_the_target_itself_the_mean_time_to_an_alarm_is_at_least_the_level() -> None:
    rng = np.random.default_rng(2)
    lengths = []
    for _ in range(60):
        detector = DriftDetector(max_error=0.1, alarm_level=100)
        while not detector.update(bool(rng.random() < 0.1)):
            pass
        lengths.append(detector.num_audits)
    assert np.mean(lengths) > 100


def test_state_survives_a_restart_at_any_moment() -> None:
    wrong = np.random.default_rng(3).random(120) < 0.2
    through, restarted = DriftDetector(max_error=0.05), DriftDetector(max_error=0.05)
    for outcome in wrong:
        through.update(bool(outcome))
        restarted = DriftDetector.model_validate_json(restarted.model_dump_json())
        restarted.update(bool(outcome))
        assert restarted == through
    assert through.is_alarmed


def test_an_alarm_stays_until_it_is_reset() -> None:
    detector = DriftDetector(max_error=0.05)
    while not detector.update(True):
        pass
    at = detector.alarm_at
    assert all(detector.update(False) for _ in range(500))
    assert detector.level < detector.alarm_level
    assert detector.alarm_at == at
    detector.reset()
    assert not detector.is_alarmed
    assert detector == DriftDetector(max_error=0.05)
    assert not detector.update(False)


def test_a_detector_that_nobody_resets_stays_finite() -> None:
    detector = DriftDetector(max_error=0.05)
    for _ in range(2000):
        detector.update(True)
    assert np.isfinite(detector.level)
    assert DriftDetector.model_validate_json(detector.model_dump_json()) == detector


def test_counts_say_how_many_audits_were_wrong() -> None:
    detector = DriftDetector(max_error=0.05)
    for outcome in (True, False, False):
        detector.update(outcome)
    assert (detector.num_audits, detector.num_wrong) == (3, 1)


@pytest.mark.parametrize(
    "state", [{"max_error": 0.95}, {"max_error": 0.0}, {"max_error": 0.05, "statistics": [1.0]}]
)
def test_states_that_make_no_sense_are_refused(state: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        DriftDetector.model_validate(state)


@pytest.mark.parametrize(
    ("kind", "accepted", "wrong", "outcome"),
    [
        ("selective", True, True, True),
        ("selective", True, False, False),
        ("selective", False, True, None),
        ("joint", True, True, True),
        ("joint", True, False, False),
        ("joint", False, True, False),
    ],
)
def test_each_audit_speaks_of_the_risk_that_was_certified(
    kind: str, accepted: bool, wrong: bool, outcome: bool | None
) -> None:
    assert audit_outcome(kind, accepted=accepted, wrong=wrong) is outcome
