"""The picture of a learning curve hides no missed target and no cost above the frontier's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from journeyman.models.types import RiskKind
from journeyman.scenarios.curve import Curve, Point, Target
from journeyman.scenarios.curve_plot import plot_curves


def picture(
    path: Path, *, kind: RiskKind = "joint", errors: tuple[float, ...], cost: float | None = 1.0
) -> str:
    """The SVG of a curve with these joint errors; texts stand in it as comments."""
    points = tuple(
        Point(
            round=number,
            tasks_seen=100 * number,
            student_quality=0.8,
            frontier_quality=1.0,
            system_quality=0.95,
            certified_coverage=0.5 if error else 0.0,
            escalation_rate=0.5 if error else 1.0,
            joint_error=error,
            selective_error=2 * error if error else None,
            auroc=None,
            brier=None,
            ece=None,
            cost_ratio=cost,
            p50_ms=None,
            p95_ms=None,
            train_seconds=0.0,
            release=None,
        )
        for number, error in enumerate(errors)
    )
    target = Target(max_error=0.05, delta=0.05, kind=kind)
    curve = Curve(suite="desk", seed=0, error_rate=0.0, num_test=100, target=target, rounds=points)
    plot_curves([curve], path / "curve.svg")
    return (path / "curve.svg").read_text("utf-8")


def highest_error_shown(svg: str) -> float:
    """The highest mark of the right picture's vertical axis."""
    marks = re.findall(r"<!-- (\d+\.\d+) -->", svg.split('id="axes_2"')[1])
    return max(float(mark) for mark in marks)


def test_an_error_far_beyond_the_target_lies_inside_the_picture(tmp_path: Path) -> None:
    assert highest_error_shown(picture(tmp_path, errors=(0.0, 0.2))) == pytest.approx(0.2)
    assert highest_error_shown(picture(tmp_path, errors=(0.0, 0.02))) < 0.1


def test_a_cost_above_the_frontiers_lies_inside_the_picture(tmp_path: Path) -> None:
    assert "<!-- 1.4 -->" in picture(tmp_path, errors=(0.0, 0.02), cost=1.5)


def test_a_selective_target_is_drawn_against_the_selective_error(tmp_path: Path) -> None:
    drawn = picture(tmp_path, kind="selective", errors=(0.0, 0.02))
    assert "selective error on the test tasks" in drawn


@pytest.mark.parametrize("kind", ["joint", "selective"])
def test_a_curve_on_which_nothing_is_certified_or_priced_is_drawn(
    tmp_path: Path, kind: RiskKind
) -> None:
    assert picture(tmp_path, kind=kind, errors=(0.0, 0.0), cost=None)
