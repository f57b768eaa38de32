"""The learning curve: a stream through the real graph, real rounds, tests that teach nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from journeyman.models.errors import ConfigError
from journeyman.scenarios.curve import Curve, CurveOptions, draw_curve
from journeyman.scenarios.curve_plot import plot_curves
from journeyman.scenarios.suite import load_suite
from journeyman.traces.store import Store
from tests.scenarios.requests_suite import write_requests

pytestmark = pytest.mark.sqlite_only("a curve keeps a file of its own in its folder")

OPTIONS = CurveOptions(rounds=2, tasks_per_round=250, audit_rate=0.1)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Curve, Path]:
    """A curve of two rounds, and the folder that it left."""
    folder = tmp_path_factory.mktemp("curve")
    suite = load_suite(write_requests(folder))
    return draw_curve(suite, OPTIONS, data=folder / "data"), folder / "data"


def test_it_begins_cold_and_ends_with_a_student_that_is_trusted(
    drawn: tuple[Curve, Path],
) -> None:
    cold, *_, last = drawn[0].rounds
    assert (cold.round, cold.certified_coverage, cold.release) == (0, 0.0, None)
    assert cold.cost_ratio == pytest.approx(1.0)
    assert last.certified_coverage > 0.5
    assert last.release is not None
    assert last.cost_ratio is not None
    assert last.cost_ratio < 1


def test_what_is_measured_adds_up(drawn: tuple[Curve, Path]) -> None:
    for point in drawn[0].rounds:
        assert point.certified_coverage + point.escalation_rate == pytest.approx(1)
        # With a frontier that is never wrong the system errs just where the student does.
        assert point.system_quality == pytest.approx(1 - point.joint_error)
        assert point.frontier_quality == 1.0
        if point.selective_error is not None:
            joint = point.selective_error * point.certified_coverage
            assert joint == pytest.approx(point.joint_error)


def test_its_json_is_the_contract(drawn: tuple[Curve, Path]) -> None:
    data = json.loads(drawn[0].model_dump_json())
    assert {"suite", "seed", "target", "rounds"} <= data.keys()
    assert data["target"] == {"max_error": 0.05, "delta": 0.05, "kind": "joint"}
    assert {
        "round",
        "tasks_seen",
        "student_quality",
        "frontier_quality",
        "system_quality",
        "certified_coverage",
        "escalation_rate",
        "joint_error",
        "selective_error",
        "auroc",
        "brier",
        "ece",
        "cost_ratio",
        "p50_ms",
        "p95_ms",
        "train_seconds",
        "release",
    } <= data["rounds"][-1].keys()
    assert [point["tasks_seen"] for point in data["rounds"]] == [0, 250, 500]


def test_the_test_tasks_are_not_on_record_where_rounds_learn(drawn: tuple[Curve, Path]) -> None:
    with Store.open(drawn[1] / "traces.db", read_only=True) as store:
        assert store.status().counts["runs"] == 500


def test_a_used_folder_is_refused(drawn: tuple[Curve, Path], tmp_path: Path) -> None:
    suite = load_suite(write_requests(tmp_path))
    with pytest.raises(ConfigError, match="not empty"):
        draw_curve(suite, OPTIONS, data=drawn[1])


def test_more_rounds_than_tasks_are_refused(tmp_path: Path) -> None:
    suite = load_suite(write_requests(tmp_path, num_stream=3, num_test=2))
    with pytest.raises(ConfigError, match="too few"):
        draw_curve(suite, CurveOptions(rounds=4), data=tmp_path / "data")


def test_a_suite_without_a_stream_is_refused(tmp_path: Path) -> None:
    path = write_requests(tmp_path)
    text = path.read_text(encoding="utf-8").replace("name: stream", "name: others")
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="stream"):
        draw_curve(load_suite(path), OPTIONS)


def test_the_picture_is_svg_and_the_same_every_time(
    drawn: tuple[Curve, Path], tmp_path: Path
) -> None:
    for name in ("one.svg", "two.svg"):
        plot_curves([drawn[0], drawn[0]], tmp_path / name)
    first = (tmp_path / "one.svg").read_bytes()
    assert first.startswith(b"<?xml")
    assert first == (tmp_path / "two.svg").read_bytes()
