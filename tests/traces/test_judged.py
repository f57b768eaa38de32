"""Which recorded attempts count for a replay, and which of them count as right."""

from __future__ import annotations

from journeyman.traces.attempts import attempted, find_attempted
from journeyman.traces.collect import collect
from journeyman.traces.judged import Recording, read_recording
from journeyman.traces.reviews import find_case, review
from journeyman.traces.store import Store

from .conftest import Make
from .test_collect import GOLD, STUDENT, escalate

RELEASE = "extraction@00000000"


def read(store: Store) -> Recording:
    return read_recording(store, "extraction", RELEASE)


def test_only_labels_of_a_fair_sample_count(store: Store) -> None:
    for i, reason in enumerate(["uncertified", "audit", "low_confidence", "forced"]):
        escalate(store, str(i), task_key=str(i), reason=reason, confidence=0.5)
    found = read(store)
    assert (len(found.judged), found.num_labels, found.num_attempts) == (2, 4, 4)
    assert found.unlabelled == (0.5, 0.5)


def test_a_task_asked_again_counts_once(store: Store) -> None:
    for _ in range(3):
        escalate(store, agreement=True)
    assert len(read(store).judged) == 1


def test_other_releases_do_not_count(store: Store) -> None:
    escalate(store)
    assert read_recording(store, "extraction", "extraction@11111111").judged == ()
    assert [each.release for each in attempted(store, "extraction")] == [RELEASE]
    assert find_attempted(store, "extraction", "extraction@0").num_attempts == 1


def test_a_failed_hard_check_and_an_absent_answer_can_never_be_accepted(store: Store) -> None:
    hard = {"name": "schema", "passed": False, "hard": True, "detail": ""}
    soft = {**hard, "hard": False}
    for i, (output, check) in enumerate([(STUDENT, hard), (STUDENT, soft), (None, soft)]):
        run = Make.run()
        attempt = Make.attempt(
            run.id, task_key=str(i), input={"text": str(i)}, output=output, checks=[check],
            decision="escalate", source="frontier",
        )  # fmt: skip
        escalation = Make.escalation(
            attempt, reason="uncertified", student_output=output, frontier_output=GOLD
        )
        store.write([run, attempt, escalation])
    assert [each.is_valid for each in read(store).judged] == [False, True, False]


def test_a_rejected_answer_counts_as_wrong_unless_a_person_gave_another(store: Store) -> None:
    first = escalate(store, agreement=True)
    review(store, find_case(store, first.id), "rejected", by="ann")
    assert [each.is_right for each in read(store).judged] == [False]
    again = escalate(store, agreement=True)  # the frontier says the same once more
    assert [each.is_right for each in read(store).judged] == [False]
    review(store, find_case(store, again.id), "edited", by="ann", answer=STUDENT)
    (judged,) = read(store).judged
    assert (judged.is_right, judged.label_source) == (True, "human")


def test_an_edited_answer_is_compared_with_the_students(store: Store) -> None:
    escalation = escalate(store, agreement=True)
    review(store, find_case(store, escalation.id), "edited", by="ann", answer=GOLD)
    assert collect(store, "extraction").rows[0].agreement is None
    assert [each.is_right for each in read(store).judged] == [False]
    lenient = read_recording(store, "extraction", RELEASE, agrees=lambda *_: True)
    assert [each.is_right for each in lenient.judged] == [True]


def test_the_price_is_what_was_paid_and_unknown_where_nothing_was_priced(store: Store) -> None:
    escalate(store, task_key="a")
    assert (read(store).frontier_microusd, read(store).num_unpriced) == (None, 1)
    for i, cost in enumerate([100, 300]):
        escalate(store, task_key=str(i), cost_microusd=cost)
    assert (read(store).frontier_microusd, read(store).num_unpriced) == (200.0, 1)
