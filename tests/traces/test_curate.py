"""What teaches never certifies, what is wrong never teaches, and the order of rows is nothing."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from journeyman.models.errors import ConfigError
from journeyman.models.types import Check
from journeyman.traces.curate import CHECK_SCORE, Curation, Settings, curate, review_scores
from journeyman.traces.decontaminate import Decontaminator
from journeyman.traces.labels import LabelledTask
from journeyman.traces.likeness import group_key
from journeyman.traces.split import Shares, part_of
from journeyman.traces.store import Store

from .conftest import Make
from .labelled import labelled, many

ROWS = st.lists(
    st.builds(
        lambda text, target, at, certifies, trainable: labelled(
            text, target, at=at, certifies=certifies, trainable=trainable
        ),
        st.sampled_from(
            [f"{a} {b}{c}" for a in ("top up", "pay") for b in "xyz" for c in ("", "!")]
        )
        | st.text(max_size=12),
        st.sampled_from(["a", "b"]),
        st.integers(0, 99),
        st.booleans(),
        st.booleans(),
    ),
    max_size=25,
    unique_by=lambda row: row.escalation_id,
)


def keys(rows: Any) -> set[str]:
    return {row.task_key for row in rows}


def held_out(curation: Curation) -> tuple[LabelledTask, ...]:
    return (*curation.head, *curation.calibration, *curation.spare)


def grounded(row: LabelledTask) -> list[Check]:
    return [Check("grounded", passed="wrong" not in str(row.target), detail="not in the text")]


@given(ROWS)
def test_no_group_is_on_two_sides(rows: list[LabelledTask]) -> None:
    curation = curate(rows)
    groups = [{row.group for row in part} for part in (curation.train, held_out(curation))]
    assert not groups[0] & groups[1]
    assert not {row.group for row in curation.head} & {row.group for row in curation.calibration}


@given(ROWS, ROWS)
def test_what_taught_in_one_round_never_certifies_in_another(
    first: list[LabelledTask], second: list[LabelledTask]
) -> None:
    taught = {row.group for row in curate(first).train}
    later = curate([*first, *second])
    assert not taught & {row.group for row in (*later.head, *later.calibration)}


@given(ROWS, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(
    rows: list[LabelledTask], shuffler: random.Random
) -> None:
    turned = list(rows)
    shuffler.shuffle(turned)
    assert curate(turned, verify=grounded) == curate(rows, verify=grounded)


@given(ROWS)
def test_curating_what_was_curated_changes_nothing(rows: list[LabelledTask]) -> None:
    once = curate(rows)
    again = curate([*once.train, *held_out(once)])
    assert (again.train, again.calibration, again.head) == (
        once.train,
        once.calibration,
        once.head,
    )


@given(ROWS)
def test_every_row_is_accounted_for(rows: list[LabelledTask]) -> None:
    curation = curate(rows, suites=["pay y"], verify=grounded)
    train_review = [drop for drop in curation.review if drop.row.part == "train"]
    assert len(curation.train) + len(held_out(curation)) + len(curation.dropped) + len(
        train_review
    ) == len(rows)
    assert curation.counts["given"] == len(rows)


def test_a_marker_in_rows_that_certify_never_comes_near_what_teaches() -> None:
    rows = many(400)
    marked = [
        replace(row, target=f"MARKER {row.target}")
        if part_of(group_key(row.task), "journeyman", Shares()) != "train"
        else row
        for row in rows
    ]
    curation = curate(marked)
    assert sum("MARKER" in str(row.target) for row in held_out(curation)) > 80
    assert not any("MARKER" in str(row) for row in curation.train)


def test_labels_of_merely_escalated_tasks_never_certify() -> None:
    curation = curate(many(300, certifies=False, reason="low_confidence"))
    assert curation.calibration == ()
    assert {row.part for row in curation.spare} == {"calibration"}
    assert len(curation.spare) > 30
    assert len(curation.train) > 150


def test_the_head_is_fitted_on_escalated_tasks_too_but_not_on_taught_ones() -> None:
    curation = curate(many(300, certifies=False, reason="low_confidence"))
    assert len(curation.head) > 15
    assert {row.part for row in curation.head} == {"head"}
    taught = {row.group for row in curation.train}
    assert not taught & {row.group for row in curation.head}


def test_poisoned_answers_that_fail_hard_checks_never_teach() -> None:
    rows = [replace(row, target="wrong") if i % 10 < 3 else row for i, row in enumerate(many(300))]
    curation = curate(rows, verify=grounded)
    assert not any(row.target == "wrong" for row in curation.train)
    assert curation.counts["review_failed_check"] == 90
    assert {drop.detail for drop in curation.review} == {"grounded: not in the text"}


def test_tasks_that_certify_stay_though_their_label_fails_a_check() -> None:
    """To leave the doubtful ones out would flatter the certificate."""
    rows = many(300)
    wrong = curate([replace(row, target="wrong") for row in rows], verify=grounded)
    assert keys(wrong.calibration) == keys(curate(rows).calibration)
    assert {row.failed_check for row in wrong.calibration} == {"grounded"}


def test_soft_checks_and_human_labels_do_not_send_to_review() -> None:
    soft = curate(many(20), verify=lambda _row: [Check("tidy", passed=False, hard=False)])
    assert soft.review == ()
    human = curate([replace(r, label_source="human", target="wrong") for r in many(20)],
                   verify=grounded)  # fmt: skip
    assert human.review == ()


def test_a_check_that_breaks_on_hostile_output_is_a_failed_check() -> None:
    def broken(row: LabelledTask) -> list[Check]:
        raise RecursionError("x" * 10_000 + "\x1b[31m")

    curation = curate(many(20), verify=broken)
    assert curation.train == ()
    assert all(drop.detail.startswith("check_error: RecursionError") for drop in curation.review)
    assert all(len(drop.detail) <= 200 for drop in curation.review)


def test_a_frontier_that_contradicts_itself_waits_for_a_person() -> None:
    rows = [row for row in many(60) for row in (row, replace(row, target="other"))]
    rows = [replace(row, escalation_id=f"e{i}") for i, row in enumerate(rows)]
    curation = curate(rows)
    assert curation.train == ()
    assert curation.counts["review_teacher_disagrees"] == 60


def test_rows_that_may_not_train_are_left_out_of_training_alone() -> None:
    rows = many(200)
    curation = curate([replace(row, trainable=False, withheld="terms") for row in rows])
    assert curation.train == ()
    assert keys(curation.calibration) == keys(curate(rows).calibration)
    withheld = [drop for drop in curation.dropped if drop.reason == "not_trainable"]
    assert len(withheld) == curation.counts["dropped_not_trainable"] > 100
    assert {drop.detail for drop in withheld} == {"terms"}


def test_what_stands_in_a_suite_neither_teaches_nor_certifies() -> None:
    rows = many(100)
    suites = [row.task["text"].upper() + "!" for row in rows[:30]]
    for given_suites in (suites, iter(suites), Decontaminator(suites)):
        curation = curate(rows, suites=given_suites)
        left = keys((*curation.train, *held_out(curation)))
        assert left == keys(rows[30:])
        assert curation.counts["dropped_in_suite"] == 30


def test_the_caller_may_say_what_the_text_and_the_group_are() -> None:
    rows = [
        replace(row, task={"n": i, "of": f"program {i % 10}"}) for i, row in enumerate(many(50))
    ]
    curation = curate(
        rows,
        suites=["program 3"],
        text_of=lambda row: row.task["of"],
        group_of=lambda row: row.task["of"],
    )
    assert curation.counts["dropped_in_suite"] == 5
    sides = {(row.group, row.part) for row in (*curation.train, *held_out(curation))}
    assert len(sides) == 9


def test_near_copies_of_what_certifies_do_not_teach() -> None:
    rows = many(300)
    held = held_out(curate(rows))[:20]
    copies = []
    for i, row in enumerate(held):
        for suffix in ("s", "t", "u", "v", "w", "x"):
            text = row.task["text"] + suffix
            if part_of(group_key({"text": text}), "journeyman", Shares()) == "train":
                copies.append(labelled(text, row.target, at=1000 + i))
                break
    curation = curate([*rows, *copies])
    assert curation.counts["dropped_copies_held_out"] == len(copies) > 10
    assert not keys(copies) & keys(curation.train)


def test_parts_of_earlier_rounds_win_over_new_shares() -> None:
    rows = many(200)
    first = curate(rows)
    fixed = {row.group: row.part for row in (*first.train, *held_out(first)) if row.part}
    wider = Settings(shares=Shares(calibration=0.6, head=0.1))
    assert keys(curate(rows, settings=wider).train) < keys(first.train)
    again = curate(rows, settings=wider, fixed=fixed)
    assert keys(again.train) == keys(first.train)


def test_replayed_rows_are_weighed_as_replay() -> None:
    old = [replace(row, origin="replay") for row in many(200)]
    new = [labelled(f"new {row.task['text']} thing {i}", "new", at=500 + i)
           for i, row in enumerate(many(200))]  # fmt: skip
    curation = curate([*old, *new])
    by_origin = Counter[str]()
    for row, weight in zip(curation.train, curation.weights, strict=True):
        by_origin[row.origin] += weight  # type: ignore[assignment]  # a counter of shares
    share = by_origin["replay"] / sum(curation.weights)
    assert share == pytest.approx(2 / 7, abs=0.02)  # the cap on weights leaves replay a little more


def test_rows_of_two_sub_agents_are_refused() -> None:
    with pytest.raises(ConfigError, match="by itself"):
        curate([labelled("a"), labelled("b", agent="other")])


def test_nothing_curates_to_nothing() -> None:
    curation = curate([])
    assert curation.train == curation.calibration == curation.review == ()
    assert curation.counts["given"] == 0


@hypothesis_settings(max_examples=30)
@given(
    st.lists(
        st.recursive(
            st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
            ),
            max_leaves=6,
        ),
        max_size=8,
    )
)
def test_any_task_and_any_answer_is_taken(values: list[Any]) -> None:
    rows = [
        labelled("", target=value, at=i, task=value, task_key=str(i))
        for i, value in enumerate(values)
    ]
    curation = curate(rows, suites=["", "x"])
    assert curation.counts["given"] == len(values)


def test_review_scores_show_reviewers_why_and_leave_the_label_pending(store: Store) -> None:
    attempt = Make.attempt("1" * 32, agent="desk")
    escalation = Make.escalation(attempt)
    store.write([attempt, escalation])
    rows = [replace(row, target="wrong") for row in many(20)]
    train_row = next(row for row in rows if keys([row]) & keys(curate(rows).train))
    row = replace(train_row, escalation_id=escalation.id, run_id=attempt.run_id)
    scores = review_scores(curate([row], verify=grounded))
    store.write(scores)
    store.write(scores)
    (kept,) = store.escalations(review_status="pending")
    assert kept.id == escalation.id
    assert [(s.name, s.label, s.explanation) for s in scores] == [
        (CHECK_SCORE, "failed_check", "grounded: not in the text")
    ]
    assert store.status().counts["scores"] == 1


def test_ten_thousand_rows_take_seconds() -> None:
    rows = many(10_000)
    start = time.perf_counter()
    curation = curate(rows, suites=[row.task["text"] + " x" for row in rows[:2000]])
    assert time.perf_counter() - start < 60
    assert curation.counts["given"] == 10_000


@pytest.mark.parametrize("wrong", [0.0, 1.5])
def test_a_similarity_that_makes_no_sense_is_refused(wrong: float) -> None:
    with pytest.raises(ConfigError):
        Settings(similarity=wrong)
