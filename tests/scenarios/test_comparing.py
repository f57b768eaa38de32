"""Runs against each other: what is missing is lost, and luck is told from loss."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from journeyman.models.errors import ConfigError
from journeyman.scenarios.comparing import (
    Comparison,
    Line,
    Side,
    check_tolerances,
    compare,
    parse_tolerances,
    side_of_file,
)
from journeyman.scenarios.selection import Selection


def side(selection: Selection | None = None, **outcomes: str) -> Side:
    """A run of tests; a name that begins with `m` is a measured row."""
    lines = {
        name: Line(
            name,
            outcome,
            is_test=not name.startswith("m"),
            num_passed=int(outcome == "passed"),
            num_epochs=1,
            agents=("echo",),
            tags=("odd",) if name.endswith(("1", "3")) else ("even",),
        )
        for name, outcome in outcomes.items()
    }
    return Side("run", "suite", "system", lines, selection)


def changes(found: Comparison) -> list[tuple[str, str]]:
    """What changed, in order."""
    return [(one.change, one.id) for one in found.changed]


def test_regressions_come_first_and_a_missing_scenario_is_one() -> None:
    found = compare(
        side(a="failed", b="passed", c="passed", d="passed"),
        side(a="passed", b="failed", d="passed", e="passed"),
    )
    assert changes(found) == [
        ("missing", "c"),
        ("regression", "b"),
        ("improvement", "a"),
        ("new", "e"),
    ]
    assert [one.id for one in found.regressions] == ["c", "b"]


@pytest.mark.parametrize(
    ("selection", "is_lost"),
    [
        (Selection(), True),
        (Selection(keyword="b"), True),
        (Selection(keyword="zzz"), False),
        (Selection(ids=("a",)), False),
        (Selection(tags=("even",)), True),
        (Selection(limit=1), False),
    ],
)
def test_what_a_run_was_not_asked_for_is_not_missing(selection: Selection, is_lost: bool) -> None:
    found = compare(side(a="passed", b="passed"), side(selection, a="passed"))
    assert bool(found.regressions) == is_lost


@pytest.mark.parametrize("outcome", ["error", "failed", "skipped"])
def test_whatever_is_not_a_pass_is_a_regression(outcome: str) -> None:
    found = compare(side(a="passed"), side(a=outcome))
    assert len(found.regressions) == 1


def test_a_failure_that_is_expected_by_now_is_no_regression() -> None:
    assert not compare(side(a="passed"), side(a="xfailed")).regressions


def test_measured_rows_that_change_by_luck_are_no_regressions() -> None:
    before = side(**{f"m{n}": "passed" if n < 50 else "failed" for n in range(100)})
    luck = side(**{f"m{n}": "passed" if 3 <= n < 52 else "failed" for n in range(100)})
    assert not compare(before, luck).regressions
    loss = side(**{f"m{n}": "passed" if 20 <= n < 50 else "failed" for n in range(100)})
    assert len(compare(before, loss).regressions) == 20


def test_the_difference_has_an_interval_that_holds_it() -> None:
    before = side(**{f"t{n}": "passed" for n in range(40)})
    after = side(**{f"t{n}": "passed" if n < 30 else "failed" for n in range(40)})
    found = compare(before, after).overall
    assert found is not None
    assert found.low < found.difference == -0.25 < found.high < 0
    assert (found.wins, found.losses, found.n) == (0, 10, 40)
    assert found.p_value < 0.01


def test_groups_are_compared_by_themselves() -> None:
    found = compare(side(a1="passed", a2="passed"), side(a1="failed", a2="passed"), by="tag")
    assert {one.name: one.difference for one in found.groups} == {"even": 0.0, "odd": -1.0}


def test_runs_without_a_common_scenario_have_no_difference() -> None:
    assert compare(side(a="passed"), side(b="passed")).overall is None


def test_figures_may_lose_what_they_are_allowed_and_no_more() -> None:
    base = replace(side(), figures={"pass_rate": 0.9, "escalation_rate": 0.2})
    now = {"pass_rate": 0.88, "escalation_rate": 0.25}
    kept = check_tolerances(base, now, {"pass_rate": 0.02, "escalation_rate": 0.04})
    assert [gate.passed for gate in kept] == [True, False]
    with pytest.raises(ConfigError, match="known are escalation_rate, pass_rate"):
        check_tolerances(base, now, {"pass": 0.1})
    (unmeasured,) = check_tolerances(base, {}, {"pass_rate": 0.5})
    assert (unmeasured.passed, unmeasured.detail) == (False, "0.9000 -> not measured")


def test_measured_rows_that_were_not_run_are_no_losses() -> None:
    rows = [f"m{n}" for n in range(10)]
    after = dict.fromkeys(rows[:9], "skipped") | {"m9": "failed"}
    found = compare(side(**dict.fromkeys(rows, "passed")), side(**after))
    assert {one.change for one in found.regressions} == {"missing"}


@pytest.mark.parametrize("written", ["pass_rate", "=1", "a=-1", "a=nan", "a=b"])
def test_a_tolerance_is_a_figure_and_a_number(written: str) -> None:
    with pytest.raises(ConfigError, match=r"write it as pass_rate=0\.02"):
        parse_tolerances([written])


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": "journeyman-report", "version": 1, "runs": [{}]}', "[" * 9]
)
def test_a_file_that_is_no_report_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"report\.json"):
        side_of_file(path)


def test_a_report_of_several_runs_needs_to_be_told_which(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps({"format": "journeyman-report", "version": 1, "runs": []}))
    with pytest.raises(ConfigError, match="holds 0 runs"):
        side_of_file(path)
    run = {"label": None, "suite": "s", "scenarios": [], "selection": None, "summary": {}}
    runs = [{**run, "arm": arm} for arm in ("system", "student-only")]
    path.write_text(json.dumps({"format": "journeyman-report", "version": 1, "runs": runs}))
    with pytest.raises(ConfigError, match="holds 2 runs of suite 's'"):
        side_of_file(path, suite="s")
    assert side_of_file(path, suite="s", arm="student-only").arm == "student-only"
