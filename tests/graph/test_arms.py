"""Students that compete are made once, whole or not at all, and judged on labels of their own."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from journeyman.agents.trainer import Trained
from journeyman.graph.arms import Arm, judge, same_evidence, strength
from journeyman.graph.outcomes import Outcome, Outcomes
from journeyman.models.types import Risk


def outcome(i: int, part: Any, *, right: bool = True, **given: Any) -> Outcome:
    values: dict[str, Any] = {
        "task_key": f"{part}-{i}",
        "part": part,
        "group": f"{part}-{i}",
        "label_source": "frontier",
        "evidence": {"p": 0.9 if right else 0.1 + i / 1000},
        "right": right,
        "allowed": True,
    }
    return Outcome(**{**values, **given})


def outcomes(num_head: int, num_calibration: int, *, wrong_every: int = 10) -> Outcomes:
    return Outcomes(
        tuple(
            outcome(i, part, right=i % wrong_every != 0)
            for part, number in (("head", num_head), ("calibration", num_calibration))
            for i in range(number)
        )
    )


def test_an_arm_is_made_once(tmp_path: Path) -> None:
    made = []

    def teach(out: Path) -> Trained:
        made.append(out)
        out.mkdir()
        (out / "weights.json").write_text("{}")
        return Trained(1.5, 10, 2, {"loss": 0.5})

    arm = Arm("trained", tmp_path / "arms" / "trained")
    assert arm.made() is None
    assert arm.make(teach) == arm.make(teach) == arm.made() == Trained(1.5, 10, 2, {"loss": 0.5})
    assert len(made) == 1
    assert (arm.student / "weights.json").is_file()


def test_a_training_that_fails_makes_no_arm_and_can_go_on_from_its_checkpoint(
    tmp_path: Path,
) -> None:
    tries = []

    def teach(out: Path) -> Trained:
        checkpoint = out.with_name("checkpoint.json")
        tries.append(checkpoint.is_file())
        out.mkdir()
        if not tries[-1]:
            checkpoint.write_text("{}")
            raise RuntimeError("out of memory")
        return Trained(1.0, 10)

    arm = Arm("trained", tmp_path / "arms" / "trained")
    with pytest.raises(RuntimeError):
        arm.make(teach)
    assert arm.made() is None
    assert not arm.folder.exists()
    assert arm.make(teach) == Trained(1.0, 10)
    assert tries == [False, True]


def test_an_arm_that_a_sub_agent_has_not_got_is_none(tmp_path: Path) -> None:
    arm = Arm("untrained", tmp_path / "arms" / "untrained")
    assert arm.make(lambda _: None) is None
    assert not arm.folder.exists()


def test_the_head_is_fitted_on_its_own_part() -> None:
    given = outcomes(50, 200)
    found = judge(given, Risk())
    assert found is not None
    assert found.head.num_labels == 50
    assert found.certificate.n == len(found.scores) == 200
    turned = [replace(item, right=not item.right) for item in given.part("calibration")]
    other = judge(Outcomes((*given.part("head"), *turned)), Risk())
    assert other is not None
    assert other.head == found.head
    assert not other.certificate.is_feasible


def test_what_the_gate_never_accepts_counts_and_is_not_accepted() -> None:
    given = outcomes(50, 200)
    items = tuple(
        replace(item, allowed=False)
        if item.part == "calibration" and int(item.task_key.split("-")[1]) % 2
        else item
        for item in given.items
    )
    found = judge(Outcomes(items), Risk(max_error=0.2))
    assert found is not None
    assert found.certificate.n == 200
    assert not found.accepted[1::2].any()
    assert found.figures()["coverage"] == found.accepted.mean() <= 0.5


@pytest.mark.parametrize(("num_head", "num_calibration"), [(0, 100), (100, 0)])
def test_without_labels_of_both_parts_there_is_no_judgement(
    num_head: int, num_calibration: int
) -> None:
    assert judge(outcomes(num_head, num_calibration), Risk()) is None


def test_a_head_that_is_given_needs_no_labels_of_its_own() -> None:
    known = judge(outcomes(50, 100), Risk())
    assert known is not None
    found = judge(outcomes(0, 100), Risk(), head=known.head)
    assert found is not None
    np.testing.assert_array_equal(found.scores, known.scores)
    assert judge(outcomes(0, 100), Risk(kind="selective"), head=known.head) is None


def test_too_few_labels_certify_nothing_and_say_how_many_more() -> None:
    found = judge(outcomes(20, 30, wrong_every=1000), Risk())
    assert found is not None
    assert not found.accepted.any()
    assert "more would do" in found.certificate.describe()


def test_coverage_on_all_tasks_is_that_of_the_certificate() -> None:
    for kind in ("joint", "selective"):
        found = judge(outcomes(100, 300), Risk(kind=kind))  # type: ignore[arg-type]
        assert found is not None
        assert found.coverage_on(np.arange(300)) == found.certificate.coverage > 0
        assert found.coverage_on(np.arange(20)) == 0


def test_strength_rewards_being_right_and_knowing_when() -> None:
    knowing = outcomes(100, 0)
    blind = Outcomes(tuple(replace(item, evidence={"p": 0.5}) for item in knowing.items))
    worse = outcomes(100, 0, wrong_every=2)
    assert strength(knowing) > strength(blind) > strength(worse)
    assert strength(Outcomes(())) == -math.inf


def test_strength_looks_at_no_label_that_certifies() -> None:
    given = outcomes(60, 60)
    turned = [replace(item, right=not item.right) for item in given.part("calibration")]
    assert strength(given) == strength(Outcomes((*given.part("head"), *turned)))


def test_the_same_evidence_up_to_arithmetic() -> None:
    assert same_evidence({"p": 0.5, "q": math.nan}, {"q": math.nan, "p": 0.5001})
    assert not same_evidence({"p": 0.5}, {"p": 0.6})
    assert not same_evidence({"p": 0.5}, {"p": 0.5, "q": 0.1})
