"""One label for each task, no copies, contrasts kept, and never the user's text alone as key."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from journeyman.traces.duplicates import (
    drop_near_copies,
    drop_same_content,
    merge_same_tasks,
)
from journeyman.traces.labels import LabelledTask

from .labelled import labelled, many

TEXTS = st.sampled_from(
    ["where is my card", "Where is my card?", "where is  my card", "top up", "Top up", "", "🙂"]
)
ROWS = st.lists(
    st.builds(
        lambda text, target, at, source: labelled(text, target, at=at, label_source=source),
        TEXTS,
        st.sampled_from(["a", "b"]),
        st.integers(0, 20),
        st.sampled_from(["frontier", "human", "tests"]),
    ),
    max_size=12,
    unique_by=lambda row: row.escalation_id,
)


def names(rows: Any) -> list[str]:
    return [row.escalation_id for row in rows]


def deduplicated(rows: list[LabelledTask]) -> tuple[LabelledTask, ...]:
    merged, _ = merge_same_tasks(rows)
    return drop_near_copies(drop_same_content(merged.kept).kept).kept


@given(ROWS)
def test_deduplication_twice_is_deduplication(rows: list[LabelledTask]) -> None:
    once = deduplicated(rows)
    assert deduplicated(list(once)) == once


@given(ROWS, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(
    rows: list[LabelledTask], shuffler: random.Random
) -> None:
    shuffled = list(rows)
    shuffler.shuffle(shuffled)
    assert deduplicated(shuffled) == deduplicated(rows)


@given(ROWS)
def test_every_row_is_kept_or_dropped_and_occurrences_add_up(rows: list[LabelledTask]) -> None:
    merged, _ = merge_same_tasks(rows)
    assert sorted(names(merged.kept) + names(d.row for d in merged.dropped)) == sorted(names(rows))
    assert sum(row.occurrences for row in merged.kept) == len(rows)


def test_the_same_user_text_with_other_tool_results_is_another_task() -> None:
    """The mistake of deduplicating by what the user said."""
    rows = [
        labelled("", "ok", at=i, task={"text": "what is my balance", "tool": {"balance": balance}})
        for i, balance in enumerate([100, 250])
    ]
    assert len(deduplicated(rows)) == 2


def test_a_long_shared_context_does_not_make_two_questions_one() -> None:
    context = " ".join(f"clause{i}" for i in range(300))
    rows = [
        labelled("", "yes", at=i, task={"context": context, "question": question})
        for i, question in enumerate(["who pays the rent", "when does the lease end"])
    ]
    assert len(deduplicated(rows)) == 2


def test_a_persons_label_wins_over_later_ones_and_later_over_earlier() -> None:
    rows = [
        labelled("x", "first", at=1),
        labelled("x", "human", at=2, label_source="human"),
        labelled("x", "last", at=3),
    ]
    assert [row.target for row in merge_same_tasks(rows)[0].kept] == ["human"]
    assert [row.target for row in merge_same_tasks(rows[::2])[0].kept] == ["last"]


def test_one_audit_among_the_labels_of_a_task_lets_it_certify() -> None:
    rows = [labelled("x", at=1), labelled("x", at=2, certifies=False, reason="low_confidence")]
    (kept,) = merge_same_tasks(rows)[0].kept
    assert (kept.certifies, kept.occurrences) == (True, 2)


def test_a_frontier_that_contradicts_itself_is_disputed_until_a_person_decides() -> None:
    rows = [labelled("x", "a", at=1), labelled("x", "b", at=2)]
    _, disputed = merge_same_tasks(rows)
    assert [drop.reason for drop in disputed] == ["teacher_disagrees"]
    gold = labelled("x", "b", at=3, label_source="human")
    assert merge_same_tasks([*rows, gold])[1] == ()
    assert merge_same_tasks(rows, agrees=lambda _first, _second: True)[1] == ()


def test_case_and_white_space_make_no_other_task() -> None:
    rows = [labelled("Top  up", at=1), labelled("top up", at=2)]
    result = drop_same_content(rows)
    assert names(result.kept) == ["escalation-000002"]
    assert [(d.reason, d.detail) for d in result.dropped] == [
        ("same_content", "as escalation-000002")
    ]


def test_alike_tasks_with_different_answers_are_a_contrast_and_stay() -> None:
    first = "please tell me how to activate the new card that came in the mail"
    second = "please tell me how to deactivate the new card that came in the mail"
    assert len(deduplicated([labelled(first, "on", at=1), labelled(second, "off", at=2)])) == 2
    assert len(deduplicated([labelled(first, "on", at=1), labelled(second, "on", at=2)])) == 1


def test_near_copies_of_long_texts_are_found() -> None:
    base = [f"word{i}" for i in range(120)]
    rows = [
        labelled(" ".join([*base[:spot], "other", *base[spot + 1 :]]), at=i)
        for i, spot in enumerate([10, 40, 70, 100])
    ]
    result = drop_near_copies([*rows, *many(20)])
    assert len(result.kept) == 21
    assert {drop.reason for drop in result.dropped} == {"near_copy"}


def test_small_steps_do_not_chain() -> None:
    """Only copies of what is kept are dropped: the far end of a chain stays."""
    letters = "abcdefghijklmnopqrstuvwxyzabcdefghijklmn"
    chain = ["0" * k + letters[k:] for k in range(12)]
    kept = drop_near_copies([labelled(text, at=i) for i, text in enumerate(chain)]).kept
    assert 1 < len(kept) < len(chain)


def test_small_steps_do_not_chain_through_long_texts() -> None:
    """Text k differs from text 0 in the first 10 k of 200 words."""
    words = [f"word{i}" for i in range(200)]
    texts = [" ".join([f"new{i}" for i in range(10 * k)] + words[10 * k :]) for k in range(6)]
    kept = drop_near_copies([labelled(text, at=-k) for k, text in enumerate(texts)]).kept
    assert [texts.index(row.task["text"]) for row in kept] == [0, 3, 5]


def test_anchors_stay_and_their_copies_go() -> None:
    anchor = labelled("please tell me where my new debit card is today", at=1)
    copies = [
        labelled("please tell me where my new debit card is, today!", at=2),
        labelled("Please tell me where my new debit cards is today", at=3),
    ]
    result = drop_near_copies(copies, anchors=[anchor])
    assert result.kept == ()
    assert {drop.reason for drop in result.dropped} == {"copies_held_out"}


def test_anchors_that_copy_each_other_all_keep_copies_away() -> None:
    words = [f"word{i:02d}" for i in range(20)]

    def changed(*spots: int) -> str:
        return " ".join("xxxx" if i in spots else word for i, word in enumerate(words))

    first, second, third = changed(), changed(3), changed(3, 9)
    anchors = [labelled(first, at=9), labelled(second, at=1)]
    result = drop_near_copies([labelled(third, at=5)], anchors=anchors, ratio=93)
    assert result.kept == ()


def test_texts_without_words_are_compared_as_they_are() -> None:
    rows = [labelled(text, at=i) for i, text in enumerate(["🙂", "🙃", "", "!", "!!"])]
    assert len(deduplicated(rows)) == 5


def test_a_flood_of_copies_is_cheap() -> None:
    rows = [labelled(f"set an alarm for order number {i} please", at=i) for i in range(3000)]
    assert len(drop_near_copies(rows).kept) < 50


@settings(max_examples=30)
@given(st.lists(st.text(max_size=30), max_size=8))
def test_any_text_is_taken(texts: list[str]) -> None:
    rows = [labelled(text, at=i) for i, text in enumerate(texts)]
    assert len(deduplicated(rows)) <= len(set(texts))
