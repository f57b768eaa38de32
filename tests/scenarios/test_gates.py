"""What a run comes to: which failures count, what gates decide, and when a verdict is not one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from journeyman.scenarios.finished import Finished, TaskFigures
from journeyman.scenarios.gates import Verdict, check_gates, conclude
from journeyman.scenarios.limits import Limits, Stop, Watch
from journeyman.scenarios.report import Report
from journeyman.scenarios.spec import Gate, PassRule
from journeyman.scenarios.suite import load_suite
from journeyman.scenarios.verdicts import Status
from tests.scenarios.scripted import said, write_echoes


def one(name: str, status: Status, *, is_test: bool = True, **more: object) -> Finished:
    """A finished scenario."""
    right = status == "passed"
    return Finished(name, 0, "hash", status, is_right=right, is_test=is_test, **more)  # type: ignore[arg-type]  # names of its fields


def verdict(
    folder: Path, *results: Finished, gate: Gate | None = None, stop: Stop | None = None
) -> Verdict:
    """The verdict on a run with these results."""
    report = Report(load_suite(write_echoes(folder, said("a", "one"))))
    for result in results:
        report.add(result)
    gate = gate or Gate()
    return conclude(report, check_gates(report, gate), gate=gate, stop=stop)


def test_a_scenario_that_says_what_must_hold_fails_the_run(tmp_path: Path) -> None:
    found = verdict(tmp_path, one("a", "passed"), one("b", "failed", reason="it is not"))
    assert (found.status, found.reasons) == ("failed", ("b: it is not",))


def test_a_measured_row_fails_nothing_by_itself(tmp_path: Path) -> None:
    found = verdict(tmp_path, one("a", "passed"), one("b", "failed", is_test=False))
    assert found.status == "passed"


def test_a_measured_row_counts_for_the_gate(tmp_path: Path) -> None:
    results = one("a", "passed", is_test=False), one("b", "failed", is_test=False)
    assert verdict(tmp_path, *results, gate=Gate(min_pass_rate=0.6)).status == "failed"
    assert verdict(tmp_path, *results, gate=Gate(min_pass_rate=0.5)).status == "passed"


def test_a_gate_on_the_pass_rate_decides_in_place_of_each_failure(tmp_path: Path) -> None:
    results = one("a", "passed"), one("b", "failed")
    assert verdict(tmp_path, *results, gate=Gate(min_pass_rate=0.5)).status == "passed"


def test_an_expected_failure_fails_nothing_and_counts_nowhere(tmp_path: Path) -> None:
    results = one("a", "passed"), one("b", "failed", xfail="known")
    assert verdict(tmp_path, *results, gate=Gate(min_pass_rate=1.0)).status == "passed"


def test_an_error_outweighs_failures_since_the_verdict_is_not_to_be_trusted(tmp_path: Path) -> None:
    found = verdict(tmp_path, one("a", "failed"), one("b", "error", reason="it broke"))
    assert (found.status, found.reasons[0]) == ("error", "b: it broke")


def test_tasks_that_the_frontier_left_open_are_an_error(tmp_path: Path) -> None:
    task = TaskFigures("echo", "none", reason="uncertified", error="the frontier is down")
    assert verdict(tmp_path, one("a", "failed", is_test=False, tasks=(task,))).status == "error"


@pytest.mark.parametrize(
    ("kind", "status"), [("cost", "stopped"), ("time", "stopped"), ("key", "error")]
)
def test_a_run_that_was_stopped_says_so_first(tmp_path: Path, kind: str, status: str) -> None:
    found = verdict(tmp_path, one("a", "failed"), stop=Stop(kind, "that is why"))
    assert (found.status, found.reasons[0]) == (status, "that is why")


def test_stopping_at_the_first_failure_is_a_failure(tmp_path: Path) -> None:
    assert verdict(tmp_path, one("a", "failed"), stop=Stop("failure", "x")).status == "failed"


def test_gates_on_escalations_and_cost(tmp_path: Path) -> None:
    tasks = (
        TaskFigures("echo", "student", cost_microusd=0),
        TaskFigures("echo", "frontier", reason="uncertified", cost_microusd=2_000_000),
    )
    done = one("a", "passed", tasks=tasks)
    kept = Gate(max_escalation_rate=0.5, max_cost_usd=2)
    assert verdict(tmp_path, done, gate=kept).status == "passed"
    assert verdict(tmp_path, done, gate=Gate(max_escalation_rate=0.49)).status == "failed"
    assert verdict(tmp_path, done, gate=Gate(max_cost_usd=1.99)).status == "failed"


def test_a_cost_that_nobody_knows_keeps_no_gate(tmp_path: Path) -> None:
    tasks = (TaskFigures("echo", "frontier", reason="uncertified", cost_microusd=None),)
    found = verdict(tmp_path, one("a", "passed", tasks=tasks), gate=Gate(max_cost_usd=100))
    assert found.status == "failed"


def test_an_epoch_that_the_pass_rule_forgives_is_no_error_of_the_run(tmp_path: Path) -> None:
    open_task = TaskFigures("echo", "none", reason="uncertified", error="the frontier is down")
    once = PassRule(rule="any")
    passed = one("a", "passed", passes=once)
    broken = replace(one("a", "error", passes=once), epoch=1)
    unanswered = replace(one("a", "failed", passes=once, tasks=(open_task,)), epoch=2)
    assert verdict(tmp_path, passed, broken, unanswered).status == "passed"
    assert verdict(tmp_path, replace(passed, status="failed"), broken).status == "error"


def test_failing_fast_waits_until_a_pass_rule_cannot_be_met() -> None:
    watch = Watch(Limits(fail_fast=True), {"a": 3})
    lost = one("a", "failed", passes=PassRule(rule="at_least", n=2))
    watch.count(lost)
    assert watch.stop() is None
    watch.count(replace(lost, epoch=1))
    assert watch.stop() == Stop("failure", "'a' did not pass (--fail-fast).")
