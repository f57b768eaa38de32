"""Reviews become labels, nobody overwrites anybody unknowingly, and every verdict is kept."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from journeyman.models.errors import AlreadyReviewed, TraceError
from journeyman.traces.collect import collect
from journeyman.traces.payloads import HIDDEN
from journeyman.traces.records import EscalationRecord
from journeyman.traces.reviews import Case, entries, find_case, queue, review
from journeyman.traces.store import Store

from .test_collect import FRONTIER, GOLD, STUDENT, escalate, only


def say(store: Store, escalation: EscalationRecord, verdict: Any, **given: Any) -> Case:
    """Give a verdict on an escalation as it stands now."""
    values = {"by": "ann", **given}
    return review(store, find_case(store, escalation.id), verdict, **values).case


def test_an_approved_answer_is_a_persons_label(store: Store) -> None:
    say(store, escalate(store), "approved")
    row = only(store)
    assert (row.target, row.label_source, row.agreement) == (FRONTIER, "human", False)


def test_an_edited_answer_replaces_the_frontiers(store: Store) -> None:
    case = say(store, escalate(store), "edited", answer=GOLD)
    assert (case.status, case.reviewer, case.reviewed_output) == ("edited", "ann", GOLD)
    row = only(store)
    assert (row.target, row.label_source, row.rejected) == (GOLD, "human", FRONTIER)


def test_a_rejected_answer_leaves_no_label(store: Store) -> None:
    say(store, escalate(store), "rejected", note="neither is right")
    collected = collect(store, "extraction")
    assert (collected.rows, collected.passed_over) == ((), {"rejected": 1})


@pytest.mark.parametrize(
    ("answer", "agrees", "agreement"),
    [(STUDENT, None, True), (GOLD, None, None), (GOLD, True, True), (GOLD, False, False)],
)
def test_whether_the_student_gave_the_reviewers_answer_is_on_record(
    store: Store, answer: Any, agrees: bool | None, agreement: bool | None
) -> None:
    say(store, escalate(store), "edited", answer=answer, agrees=agrees)
    assert only(store).agreement is agreement


def test_a_student_without_an_answer_agrees_with_none(store: Store) -> None:
    escalation = escalate(store, student_output=None, agreement=None)
    say(store, escalation, "edited", answer=GOLD)
    assert only(store).agreement is False


def test_a_task_that_the_frontier_failed_gets_its_label_from_a_person_and_never_certifies(
    store: Store,
) -> None:
    escalation = escalate(store, status="queued", frontier_output=None, agreement=None)
    assert collect(store, "extraction").passed_over == {"queued": 1}
    say(store, escalation, "edited", answer=GOLD)
    row = only(store)
    assert (row.target, row.label_source, row.certifies) == (GOLD, "human", False)


def test_nothing_can_be_approved_where_the_frontier_failed(store: Store) -> None:
    escalation = escalate(store, status="failed", frontier_output=None, agreement=None)
    with pytest.raises(TraceError, match="no frontier answer to approve"):
        say(store, escalation, "approved")


def test_the_second_reviewer_is_told_who_was_first(store: Store) -> None:
    escalation = escalate(store)
    seen = find_case(store, escalation.id)
    review(store, seen, "approved", by="ann")
    with pytest.raises(AlreadyReviewed, match="approved by ann"):
        review(store, seen, "rejected", by="bob")
    with pytest.raises(AlreadyReviewed, match="approved by ann"):
        say(store, escalation, "rejected", by="bob")
    assert find_case(store, escalation.id).status == "approved"


def test_a_verdict_is_replaced_only_as_it_was_seen(store: Store) -> None:
    escalation = escalate(store)
    say(store, escalation, "approved")
    seen = find_case(store, escalation.id)
    review(store, seen, "rejected", by="bob", again=True)
    with pytest.raises(AlreadyReviewed, match="rejected by bob"):
        review(store, seen, "edited", by="cid", answer=GOLD, again=True)


def test_of_many_reviewers_at_once_one_wins_and_the_others_hear_of_it(store: Store) -> None:
    seen = find_case(store, escalate(store).id)
    heard: list[str] = []
    start = threading.Barrier(6)

    def work(name: str) -> None:
        start.wait()
        try:
            review(store, seen, "approved", by=name)
            heard.append("won")
        except AlreadyReviewed:
            heard.append("late")

    threads = [threading.Thread(target=work, args=(f"r{i}",)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(heard) == ["late"] * 5 + ["won"]


def test_the_record_keeps_every_verdict_and_every_answer(store: Store) -> None:
    escalation = escalate(store)
    say(store, escalation, "edited", answer=GOLD, note="the sign says so")
    case = say(store, escalation, "edited", answer=STUDENT, by="bob", again=True)
    verdicts = [score for score in case.scores if score.name == "review"]
    assert [(score.label, score.explanation) for score in verdicts] == [
        ("edited", "the sign says so"),
        ("edited", None),
    ]
    assert [score.identifier.split()[0] for score in verdicts] == ["ann", "bob"]
    answers = [store.payload(s.label or "") for s in case.scores if s.name == "review_answer"]
    assert answers == [GOLD, STUDENT]
    assert only(store).agreement is True


def test_a_verdict_that_takes_the_answer_away_takes_its_agreement_away(store: Store) -> None:
    escalation = escalate(store)
    say(store, escalation, "edited", answer=STUDENT)
    say(store, escalation, "approved", again=True)
    row = only(store)
    assert (row.target, row.agreement) == (FRONTIER, False)


def test_secrets_in_an_answer_and_in_a_note_are_hidden_and_keep_it_from_teaching(
    store: Store,
) -> None:
    secret = "sk-" + "a1" * 12
    seen = find_case(store, escalate(store).id)
    done = review(store, seen, "edited", by="ann", answer={"route": secret}, note=f"key {secret}")
    assert done.is_masked
    assert done.case.reviewed_output == {"route": HIDDEN}
    assert secret not in str(done.case.scores)
    assert only(store).withheld == "redacted"


@pytest.mark.parametrize(
    ("verdict", "answer", "by"),
    [("edited", None, "ann"), ("approved", GOLD, "ann"), ("rejected", GOLD, "ann"),
     ("approved", None, " ")],
)  # fmt: skip
def test_verdicts_that_make_no_sense_are_refused(
    store: Store, verdict: Any, answer: Any, by: str
) -> None:
    escalation = escalate(store)
    with pytest.raises(TraceError):
        say(store, escalation, verdict, answer=answer, by=by)
    assert find_case(store, escalation.id).status == "pending"


def test_a_run_written_again_undoes_no_review(store: Store) -> None:
    escalation = escalate(store)
    say(store, escalation, "edited", answer=GOLD)
    store.write([escalation])
    assert find_case(store, escalation.id).reviewed_output == GOLD


def test_lists_are_filtered_and_newest_first(store: Store) -> None:
    first = escalate(store, reason="audit")
    second = escalate(store)
    other = escalate(store, agent="routing", status="failed", frontier_output=None)
    say(store, first, "approved")
    assert [entry.id for entry in entries(store)] == [other.id, second.id, first.id]
    assert [entry.id for entry in entries(store, limit=1)] == [other.id]
    assert [entry.id for entry in entries(store, agent="routing")] == [other.id]
    assert [entry.id for entry in entries(store, reason="audit")] == [first.id]
    assert [entry.id for entry in entries(store, status="failed")] == [other.id]
    assert [entry.id for entry in entries(store, review_status="approved")] == [first.id]


def test_the_queue_has_disagreements_first_and_nothing_that_was_reviewed(store: Store) -> None:
    agreed = escalate(store, agreement=True)
    unknown = escalate(store, agreement=None)
    differing = escalate(store)
    done = escalate(store)
    say(store, done, "approved")
    assert [entry.id for entry in queue(store)] == [differing.id, unknown.id, agreed.id]
    assert queue(store, agent="routing") == []


def test_a_case_is_found_by_how_its_id_starts(store: Store) -> None:
    escalation = escalate(store)
    assert find_case(store, escalation.id[:20]).task == {"text": "where to?"}
    with pytest.raises(TraceError, match="journeyman escalations list"):
        find_case(store, "nothing")


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.text(max_size=8),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=20),
            lambda inner: st.lists(inner, max_size=3),
            max_leaves=5,
        ),
        max_size=4,
    )
)
def test_any_answer_comes_back_as_it_was_given(store: Store, answer: dict[str, Any]) -> None:
    from journeyman.traces.payloads import encode

    escalation = escalate(store)
    case = say(store, escalation, "edited", answer=answer, redact=None)
    assert encode(case.reviewed_output) == encode(answer)
