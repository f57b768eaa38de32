"""Labels come from answered and reviewed escalations, with provenance and what they may do."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from journeyman.models.errors import CorruptRecord
from journeyman.traces.collect import collect
from journeyman.traces.labels import LabelledTask
from journeyman.traces.payloads import DROPPED, HIDDEN
from journeyman.traces.records import EscalationRecord, new_trace_id, now
from journeyman.traces.schema import Escalation, Payload
from journeyman.traces.store import Store

from .conftest import Make

STUDENT = {"route": "left"}
FRONTIER = {"route": "right"}
GOLD = {"route": "straight on"}


def escalate(store: Store, text: Any = "where to?", **given: Any) -> EscalationRecord:
    """Write one escalated task; what is given goes to the record that has the field."""
    of_attempt = {
        name: given.pop(name)
        for name in ("task_key", "evidence", "confidence", "audit_probability", "run_id", "input")
        if name in given
    }
    run = Make.run(id=of_attempt.pop("run_id", new_trace_id()), suite_run_id="suite-1")
    attempt = Make.attempt(
        run.id,
        **{"input": {"text": text}, "output": STUDENT, "decision": "escalate", **of_attempt},
        source="frontier",
    )
    values = {
        "reason": "uncertified",
        "student_output": STUDENT,
        "frontier_output": FRONTIER,
        "agreement": False,
        "frontier_model": "big",
    }
    escalation = Make.escalation(attempt, **{**values, **given})
    store.write([run, attempt, escalation])
    return escalation


def review(store: Store, escalation: EscalationRecord, status: str, answer: Any = None) -> None:
    """Give a person's verdict, as a reviewer's tool writes it."""
    other = escalate(store, student_output=answer, agent="reviewer") if answer else None

    def work(connection: Any) -> None:
        hashed = None
        if other is not None:
            query = Escalation.__table__.select().where(Escalation.id == other.id)
            hashed = connection.execute(query).mappings().one()["student_output_hash"]
        connection.execute(
            update(Escalation.__table__)
            .where(Escalation.id == escalation.id)
            .values(
                review_status=status,
                reviewer="ann",
                reviewed_at=now(),
                reviewed_output_hash=hashed,
            )
        )

    store.transact(work)


def only(store: Store, **given: Any) -> LabelledTask:
    (row,) = collect(store, "extraction", **given).rows
    return row


def test_an_answered_escalation_is_a_label_with_its_provenance(store: Store) -> None:
    written = escalate(
        store, task_key="k", evidence={"p": 0.5}, confidence=0.25, audit_probability=0.1
    )
    row = only(store)
    assert (row.task, row.target, row.student_output) == ({"text": "where to?"}, FRONTIER, STUDENT)
    assert (row.task_key, row.evidence, row.confidence) == ("k", {"p": 0.5}, 0.25)
    assert (row.escalation_id, row.attempt_id) == (written.id, written.attempt_id)
    assert (row.run_id, row.suite_run_id) == (written.run_id, "suite-1")
    assert (row.release, row.frontier_model) == ("extraction@00000000", "big")
    assert (row.label_source, row.origin, row.audit_probability) == ("frontier", "escalation", 0.1)
    assert row.created_at == written.created_at


@pytest.mark.parametrize("status", ["queued", "failed"])
def test_a_queued_or_failed_escalation_is_no_label_and_is_counted(
    store: Store, status: str
) -> None:
    escalate(store, status=status, frontier_output=FRONTIER)
    collected = collect(store, "extraction")
    assert collected.rows == ()
    assert collected.passed_over == {status: 1}


def test_an_answer_that_is_missing_is_no_label(store: Store) -> None:
    escalate(store, frontier_output=None, agreement=None)
    assert collect(store, "extraction").passed_over == {"no_answer": 1}


def test_an_edited_answer_is_human_gold_and_the_frontiers_is_what_it_corrects(store: Store) -> None:
    review(store, escalate(store), "edited", GOLD)
    row = only(store)
    assert (row.target, row.label_source) == (GOLD, "human")
    assert row.rejected == FRONTIER
    assert row.agreement is None
    assert row.frontier_model is None


def test_an_approved_answer_is_human_gold(store: Store) -> None:
    review(store, escalate(store), "approved")
    row = only(store)
    assert (row.target, row.label_source, row.rejected) == (FRONTIER, "human", STUDENT)


def test_a_rejected_answer_is_no_label_but_is_known(store: Store) -> None:
    review(store, escalate(store), "rejected")
    collected = collect(store, "extraction")
    assert collected.rows == ()
    assert collected.passed_over == {"rejected": 1}
    assert [row.target for row in collected.rejected] == [None]


def test_an_edit_without_an_answer_is_no_label(store: Store) -> None:
    review(store, escalate(store), "edited")
    assert collect(store, "extraction").passed_over == {"no_answer": 1}


@pytest.mark.parametrize(
    ("reason", "origin", "certifies"),
    [
        ("audit", "audit", True),
        ("uncertified", "escalation", True),
        ("low_confidence", "escalation", False),
        ("invalid_output", "escalation", False),
        ("student_error", "escalation", False),
        ("forced", "escalation", False),
    ],
)
def test_only_reasons_that_do_not_look_at_the_student_certify(
    store: Store, reason: str, origin: str, certifies: bool
) -> None:
    escalate(store, reason=reason)
    row = only(store)
    assert (row.reason, row.origin, row.certifies) == (reason, origin, certifies)


def test_provider_terms_withhold_a_label_from_training(store: Store) -> None:
    escalate(store, trainable=False)
    row = only(store)
    assert (row.trainable, row.withheld) == (False, "terms")


def test_a_task_with_something_masked_may_not_train(store: Store) -> None:
    escalate(store, f"my key is {HIDDEN}")
    row = only(store)
    assert (row.trainable, row.withheld) == (False, "redacted")


@pytest.mark.parametrize("gone", [HIDDEN, DROPPED])
def test_a_task_whose_content_was_never_kept_is_no_label(store: Store, gone: str) -> None:
    escalate(store, input=gone)
    assert collect(store, "extraction").passed_over == {"content_missing": 1}


def test_a_wrong_student_answer_forms_a_preference_pair_and_a_right_one_does_not(
    store: Store,
) -> None:
    escalate(store)
    escalate(store, agreement=True)
    assert [row.rejected for row in collect(store, "extraction").rows] == [STUDENT, None]


def test_a_period_takes_its_start_and_leaves_its_end(store: Store) -> None:
    start = now()
    for i in range(4):
        escalate(store, str(i), created_at=start + timedelta(minutes=i))
    rows = collect(
        store, "extraction", since=start + timedelta(minutes=1), until=start + timedelta(minutes=3)
    ).rows
    assert [row.task["text"] for row in rows] == ["1", "2"]


def test_a_late_review_brings_an_old_label_back(store: Store) -> None:
    old = escalate(store, created_at=now() - timedelta(days=9))
    since = now() - timedelta(days=1)
    assert collect(store, "extraction", since=since).rows == ()
    review(store, old, "edited", GOLD)
    assert only(store, since=since).target == GOLD


def test_other_sub_agents_are_left_alone(store: Store) -> None:
    escalate(store, agent="routing")
    assert collect(store, "extraction").rows == ()


def test_an_empty_store_gives_nothing(store: Store) -> None:
    collected = collect(store, "extraction")
    assert (collected.rows, collected.rejected, collected.passed_over) == ((), (), {})


def test_hostile_texts_come_back_as_they_were_kept(store: Store) -> None:
    for text in ["\u2028\x00'; DROP TABLE examples; --", "🙂" * 1000, "\udc80", ""]:
        escalate(store, text)
    texts = [row.task["text"] for row in collect(store, "extraction").rows]
    assert texts == ["\u2028\x00'; DROP TABLE examples; --", "🙂" * 1000, "\udc80", ""]


def test_a_payload_that_was_changed_is_noticed(store: Store) -> None:
    escalate(store)
    store.transact(
        lambda c: c.execute(
            update(Payload.__table__)
            .where(Payload.content.contains("where to"))
            .values(content='{"text":"elsewhere"}')
        )
    )
    with pytest.raises(CorruptRecord):
        collect(store, "extraction")
