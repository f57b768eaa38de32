"""A round from labels on record to a release in traffic, and everything that must not pass."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from journeyman.agents.trainer import Lesson
from journeyman.graph.round import run_round
from journeyman.graph.round_report import RoundReport
from journeyman.graph.round_state import STAGES, RoundOptions
from journeyman.models.errors import ConfigError, WeightsError
from journeyman.models.spending import Spending, most_spent
from journeyman.traces.curate import Settings as CurationSettings
from journeyman.traces.decontaminate import Decontaminator
from journeyman.traces.examples import ExampleStore
from journeyman.traces.registry import Registry
from journeyman.traces.reviews import find_case, review
from journeyman.traces.rounds import RoundStore
from journeyman.traces.split import Shares
from journeyman.traces.store import Store
from tests.graph.apprentice import DESKS, Desk, Knowing, WordTrainer, notes, put_on_record
from tests.graph.triage import KeywordStudent, Triage

HALF = RoundOptions(curation=CurationSettings(shares=Shares(calibration=0.4, head=0.2)))
"""Many certifying labels, so that few tasks do."""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def registry_of(store: Store, data: Path) -> Registry:
    return Registry(store, data)


def wrong(given: Sequence[tuple[str, str]], share: float) -> list[tuple[str, str]]:
    """The same notes as a teacher would have it that errs."""
    teacher = Knowing(dict(given), errs=share)
    return [(text, teacher.answer(text)) for text, _ in given]


# From labels to traffic


def test_a_first_round_promotes_what_it_can_certify(store: Store, data: Path) -> None:
    put_on_record(store, Desk(), notes(500))
    told: list[str] = []
    report = run_round(
        Desk(), store, data, options=HALF, on_stage=lambda stage, _: told.append(stage)
    )
    assert report.decision.verdict == "promote"
    assert report.challenger == "trained"
    assert list(dict.fromkeys(told)) == list(STAGES)
    active = registry_of(store, data).active("desk")
    assert active is not None
    assert active.newest is not None
    winner = report.winner
    assert winner is not None
    assert winner.certificate is not None
    assert report.in_traffic == active.id == winner.release
    assert active.newest.certificate.label_source == report.label_source == "frontier"
    assert active.newest.certificate.data_hash == winner.certificate.data_hash
    assert winner.certificate.n == report.curated["calibration"]
    assert report.arms["untrained"].quality is not None
    assert not (data / "rounds" / report.round).exists()


def test_the_record_has_what_the_report_has(store: Store, data: Path) -> None:
    put_on_record(store, Desk(), notes(500))
    report = run_round(Desk(), store, data, options=HALF)
    entry = RoundStore(store).get(report.round)
    assert RoundReport.model_validate(entry.report) == report
    assert (entry.status, entry.decision, entry.number) == ("done", "promote", 1)


def test_a_round_with_nothing_new_ends_early_and_says_so(store: Store, data: Path) -> None:
    put_on_record(store, Desk(), notes(400))
    first = run_round(Desk(), store, data, options=HALF)
    for number in (2, 3):
        again = run_round(Desk(), store, data, options=HALF)
        assert again.number == number
        assert again.collected["new"] == 0
        assert again.decision.verdict == "keep"
        assert again.decision.reason == "There is nothing new since round 1."
        assert (again.arms, again.in_traffic) == ({}, first.in_traffic)
    assert len(list((data / "datasets").iterdir())) == 1


@pytest.mark.parametrize("change", ["target", "version", "label"])
def test_nothing_new_is_not_said_of_what_has_changed(store: Store, data: Path, change: str) -> None:
    class Newer(Desk):
        version = "2"

    put_on_record(store, Desk(), notes(400))
    run_round(Desk(), store, data, options=HALF)
    options, agent = HALF, Desk()
    if change == "target":
        options = replace(HALF, risk=HALF.risk.model_copy(update={"max_error": 0.1}))
    elif change == "version":
        agent = Newer()
    else:
        put_on_record(store, Desk(), notes(1, seed=1))
    report = run_round(agent, store, data, options=options)
    assert "nothing new" not in report.decision.reason
    assert report.arms


def test_data_sets_know_the_one_before(store: Store, data: Path) -> None:
    put_on_record(store, Desk(), notes(300))
    first = run_round(Desk(), store, data, options=HALF)
    put_on_record(store, Desk(), notes(300, seed=1))
    run_round(Desk(), store, data, options=HALF)
    manifests = [path.read_text("utf-8") for path in (data / "datasets").glob("*/manifest.json")]
    assert sum(f'"parent": "{first.dataset}"' in text for text in manifests) == 1


def test_too_few_labels_keep_everything_and_say_how_many_more(store: Store, data: Path) -> None:
    put_on_record(store, Desk(), notes(80, foreign=0.1))
    report = run_round(Desk(), store, data)
    assert report.decision.verdict == "keep"
    assert "more would do" in report.decision.reason
    assert report.in_traffic is None
    assert report.winner is not None


@pytest.mark.parametrize(
    ("number", "reason"),
    [(0, "no labelled task of 'desk'"), (5, "too few to teach"), (15, "no held-out labels")],
)
def test_next_to_no_labels_end_a_round_with_a_reason(
    store: Store, data: Path, number: int, reason: str
) -> None:
    put_on_record(store, Desk(), notes(number))
    nothing_held = RoundOptions(curation=CurationSettings(shares=Shares(0.0, 0.0)))
    report = run_round(Desk(), store, data, options=nothing_held)
    assert report.decision.verdict == "keep"
    assert reason in report.decision.reason


def test_new_labels_prove_more_of_a_release_that_stays(store: Store, data: Path) -> None:
    put_on_record(store, Desk(), notes(250))
    first = run_round(Desk(), store, data, options=HALF)
    put_on_record(store, Desk(), notes(500, seed=1))
    second = run_round(Desk(), store, data, options=HALF)
    assert second.collected["new"] == 500
    assert second.collected["known"] == first.curated["given"]
    if second.decision.verdict == "keep":
        assert second.recertified is not None
        assert second.in_traffic == first.in_traffic
        assert second.recertified.delta < HALF.risk.delta
    active = registry_of(store, data).active("desk")
    assert active is not None
    assert active.newest is not None
    assert active.newest.certificate.n > first.curated["calibration"]


def test_a_further_proof_that_was_not_taken_has_spent_delta_too(store: Store, data: Path) -> None:
    """Trying again and again at one level until a proof succeeds would prove nothing."""

    class Worse(WordTrainer):
        def train(self, lessons: Sequence[Lesson], out: Path, **given: Any) -> Any:
            mixed = [replace(each, example=lessons[0].example) for each in lessons]
            return super().train(mixed, out, **given)

        def untrained(self, lessons: Sequence[Lesson], out: Path) -> None:
            return None

    put_on_record(store, Desk(), notes(250))
    good = run_round(Desk(), store, data, options=HALF)
    assert good.decision.verdict == "promote"
    proofs = [good.arms["trained"].certificate]
    for number in (1, 2, 3):  # each time enough for a further proof to be worth its delta
        put_on_record(store, Desk(), wrong(notes(300 * 2**number, seed=number), 0.5))
        report = run_round(
            Desk(trainer=Worse()), store, data, options=replace(HALF, max_failed_labels=1.0)
        )
        assert report.in_traffic == good.in_traffic
        assert report.recertified is None
        assert report.tried is not None
        assert report.winner is not None
        proofs += [report.winner.certificate, report.tried]
    spent = Spending()
    for proof in proofs:
        assert proof is not None
        assert proof.delta == pytest.approx(HALF.risk.delta * spent.offer)
        spent = spent.after(most_spent(proof.n, proof.risk) / HALF.risk.delta)
    assert spent.num_proofs == 7


def test_an_agent_that_does_not_learn_is_refused(store: Store, data: Path) -> None:
    with pytest.raises(ConfigError, match="does not learn"):
        run_round(Triage(KeywordStudent()), store, data)


async def test_a_running_event_loop_is_refused_before_anything_is_trained(
    store: Store, data: Path
) -> None:
    with pytest.raises(ConfigError, match="to_thread"):
        run_round(Desk(), store, data)
    assert not RoundStore(store).history()


def test_texts_of_suites_neither_teach_nor_certify(store: Store, data: Path) -> None:
    given = notes(300)
    put_on_record(store, Desk(), given)
    known = Decontaminator(text for text, _ in given[:100])
    report = run_round(Desk(), store, data, options=replace(HALF, suites=known))
    assert report.curated["dropped_in_suite"] >= 100
    sides = ("train", "head", "calibration", "spare")
    assert sum(report.curated[side] for side in sides) <= 200


# What certifies was never taught


@pytest.mark.slow
def test_what_is_held_out_is_never_among_the_lessons_of_any_round(store: Store, data: Path) -> None:
    """Four rounds with more and more labels, whose shares somebody changes on the way."""
    taught: set[str] = set()
    held: set[str] = set()

    def spy(_: str, lessons: Sequence[Lesson]) -> None:
        taught.update(str(lesson.example.task["text"]) for lesson in lessons)

    agent = Desk(trainer=WordTrainer(spy))
    for number in range(4):
        reason = "low_confidence" if number == 2 else "uncertified"
        put_on_record(store, agent, notes(150, seed=number), reason=reason)
        shares = Shares(0.2, 0.1) if number < 3 else Shares(0.05, 0.05)
        run_round(
            agent, store, data, options=RoundOptions(curation=CurationSettings(shares=shares))
        )
        rows = ExampleStore(store).load("desk")
        held |= {row.task["text"] for row in rows if row.part != "train"}
        assert not taught & held
    assert len(taught) > 300
    assert len(held) > 120


def test_escalations_of_doubt_teach_and_never_certify(store: Store, data: Path) -> None:
    put_on_record(store, Desk(), notes(300))
    first = run_round(Desk(), store, data, options=HALF)
    put_on_record(store, Desk(), notes(300, seed=1), reason="low_confidence")
    second = run_round(Desk(), store, data, options=HALF)
    assert second.curated["train"] > first.curated["train"]
    assert second.curated["calibration"] == first.curated["calibration"]
    assert second.curated["spare"] > 0


def test_a_task_that_certifies_does_so_after_it_was_escalated_in_doubt_as_well(
    store: Store, data: Path
) -> None:
    """To lose just the tasks that students came to doubt would leave the easy ones to certify."""
    put_on_record(store, Desk(), notes(300))
    first = run_round(Desk(), store, data, options=HALF)
    put_on_record(store, Desk(), notes(200), reason="low_confidence")
    for seed in (1, 2):
        put_on_record(store, Desk(), notes(5, seed=seed), reason="low_confidence")
        later = run_round(Desk(), store, data, options=HALF)
        assert later.curated["calibration"] == first.curated["calibration"]
        assert later.curated["head"] >= first.curated["head"]


# Teachers that are wrong


@pytest.fixture
def good(store: Store, data: Path) -> RoundReport:
    """A release in traffic that a sound teacher taught."""
    put_on_record(store, Desk(), notes(400))
    report = run_round(Desk(), store, data, options=HALF)
    assert report.decision.verdict == "promote"
    return report


def test_a_poisoned_round_is_refused_and_the_incumbent_keeps_its_certificate(
    store: Store, data: Path, good: RoundReport
) -> None:
    before = registry_of(store, data).active("desk")
    put_on_record(store, Desk(), wrong(notes(400, seed=1), 0.3))
    report = run_round(Desk(), store, data, options=HALF)
    assert report.decision.verdict in {"keep", "reject"}
    assert registry_of(store, data).active("desk") == before
    assert report.in_traffic == good.in_traffic
    assert report.recertified is None


def test_labels_that_contradict_each_other_doubt_the_teacher(
    store: Store, data: Path, good: RoundReport
) -> None:
    known = notes(400)
    put_on_record(store, Desk(), wrong(known, 0.6))
    report = run_round(Desk(), store, data, options=HALF)
    assert "contradict each other" in report.decision.reason
    assert "journeyman escalations review" in report.decision.reason
    assert report.in_traffic == good.in_traffic


def test_a_teacher_that_fails_hard_checks_stays_in_doubt_until_somebody_looks(
    store: Store, data: Path
) -> None:
    agent = Desk(allowed=DESKS[1:])
    records = put_on_record(store, agent, notes(300))
    for _ in range(2):  # to ask again is no answer
        report = run_round(agent, store, data, options=HALF)
        assert report.decision.verdict == "keep"
        assert "fail a check" in report.decision.reason
        assert "journeyman escalations review" in report.decision.reason
        assert not report.arms
    entry = RoundStore(store).get(report.round)
    assert entry.status == "stopped"
    for record in records:
        if record.frontier_output == {"desk": DESKS[0]}:
            review(store, find_case(store, record.id), "rejected", by="ann")
    looked = run_round(agent, store, data, options=HALF)
    assert looked.arms
    assert looked.curated["doubted"] == 0


def test_a_few_labels_that_fail_are_luck(store: Store, data: Path, good: RoundReport) -> None:
    put_on_record(store, Desk(), [("a note", "moon"), *notes(1, seed=1)])
    report = run_round(Desk(), store, data, options=HALF)
    assert report.curated["doubted"] == 1
    assert report.arms


def test_a_label_that_a_person_rejects_later_no_longer_teaches(store: Store, data: Path) -> None:
    lessons: list[str] = []

    def spy(_: str, given: Sequence[Lesson]) -> None:
        lessons[:] = [str(lesson.example.task["text"]) for lesson in given]

    agent = Desk(trainer=WordTrainer(spy))
    records = put_on_record(store, agent, notes(300))
    run_round(agent, store, data, options=HALF)
    part_of = {row.escalation_id: row.part for row in ExampleStore(store).load("desk")}
    taught, held = (
        [record for record in records if part_of.get(record.id) == part]
        for part in ("train", "calibration")
    )
    texts = set(lessons)
    for record in (*taught[:5], *held[:5]):
        review(store, find_case(store, record.id), "rejected", by="ann")
    report = run_round(agent, store, data, options=HALF)
    assert len(texts - set(lessons)) == 5
    assert report.curated["calibration"] == len(held)
    assert report.winner is not None
    assert report.winner.certificate is not None
    assert report.winner.certificate.num_wrong >= 5
    third = run_round(agent, store, data, options=HALF)
    assert "nothing new" in third.decision.reason


# One at a time


def test_two_rounds_of_one_sub_agent_at_once_are_refused(store: Store, data: Path) -> None:
    put_on_record(store, Desk(), notes(100))
    met: list[str] = []

    def on_stage(stage: str, step: Any) -> None:
        if stage == "train" and step is None:
            with pytest.raises(ConfigError, match="running already") as error:
                run_round(Desk(), store, data)
            met.append(str(error.value))

    run_round(Desk(), store, data, on_stage=on_stage)
    assert len(met) == 1
    assert "'desk'" in met[0]
    assert len(RoundStore(store).history("desk")) == 1


def test_rounds_of_two_sub_agents_run_side_by_side(store: Store, data: Path) -> None:
    """Each waits in its training until the other is there."""
    barrier = threading.Barrier(2, timeout=30)
    agents = [
        Desk(name=name, trainer=WordTrainer(lambda arm, _: barrier.wait() if arm == "train" else 0))
        for name in ("desk", "counter")
    ]
    for agent in agents:
        put_on_record(store, agent, notes(300))
    reports: dict[str, RoundReport] = {}

    def run(agent: Desk) -> None:
        reports[agent.name] = run_round(agent, store, data, options=HALF)

    threads = [threading.Thread(target=run, args=(agent,)) for agent in agents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert {name: report.decision.verdict for name, report in reports.items()} == {
        "desk": "promote",
        "counter": "promote",
    }


# What others do meanwhile


def test_a_release_that_others_promoted_meanwhile_is_not_pushed_aside(
    store: Store, data: Path, good: RoundReport
) -> None:
    registry = registry_of(store, data)
    put_on_record(store, Desk(), wrong(notes(300, seed=3), 0.0))

    def on_stage(stage: str, step: Any) -> None:
        if stage == "promote" and step is None:
            registry.rollback("desk")

    # Trust is withdrawn, so that whatever can be certified would be promoted.
    registry.suspend("desk", str(good.in_traffic), "a person")
    put_on_record(store, Desk(), notes(400, seed=4))
    report = run_round(Desk(), store, data, options=HALF, on_stage=on_stage)
    assert report.decision.verdict == "keep"
    assert "another release" in report.decision.reason
    assert registry.active("desk") is None


def test_a_release_that_serves_otherwise_than_it_was_judged_fails_the_canary(
    store: Store, data: Path
) -> None:
    class Forgetful(WordTrainer):
        is_serving = False

        def load(self, folder: Path) -> Any:
            student = super().load(folder)
            if self.is_serving:
                student.counts = {desk: {} for desk in student.counts}
            return student

    trainer = Forgetful()

    def on_stage(stage: str, step: Any) -> None:
        trainer.is_serving = stage == "promote"

    put_on_record(store, Desk(), notes(400))
    report = run_round(Desk(trainer=trainer), store, data, options=HALF, on_stage=on_stage)
    assert report.decision.verdict == "keep"
    assert "canary" in report.decision.reason
    assert report.in_traffic is None


@pytest.mark.parametrize("breaks", ["loading", "answering"])
def test_a_release_that_does_not_serve_at_all_ends_the_round_without_it(
    store: Store, data: Path, breaks: str
) -> None:
    class Mute(KeywordStudent):
        def predict(self, inputs: Sequence[Any]) -> list[Any]:
            raise RuntimeError("no answer")

    class Broken(WordTrainer):
        is_serving = False

        def load(self, folder: Path) -> Any:
            if not self.is_serving:
                return super().load(folder)
            if breaks == "loading":
                raise WeightsError("The student cannot be read: teach it again.")
            return Mute()

    trainer = Broken()

    def on_stage(stage: str, step: Any) -> None:
        trainer.is_serving = stage == "promote"

    put_on_record(store, Desk(), notes(400))
    report = run_round(Desk(trainer=trainer), store, data, options=HALF, on_stage=on_stage)
    assert report.decision.verdict == "keep"
    assert "does not serve" in report.decision.reason
    assert report.in_traffic is None
    assert RoundStore(store).get(report.round).status == "done"


# After an alarm


def test_after_an_alarm_only_labels_since_then_certify(
    store: Store, data: Path, good: RoundReport
) -> None:
    registry = registry_of(store, data)
    registry.suspend("desk", str(good.in_traffic), "drift alarm")
    few = run_round(Desk(), store, data, options=HALF)
    assert "nothing new" in few.decision.reason
    put_on_record(store, Desk(), notes(60, seed=1))
    short = run_round(Desk(), store, data, options=HALF)
    assert short.decision.verdict == "keep"
    assert short.winner is not None
    assert short.winner.certificate is not None
    assert short.winner.certificate.n <= 40 < short.curated["calibration"]
    assert short.winner.certificate.delta == HALF.risk.delta / 2  # as the first proof's
    put_on_record(store, Desk(), notes(400, seed=2))
    enough = run_round(Desk(), store, data, options=HALF)
    assert enough.decision.verdict == "promote"
    assert "incumbent" not in enough.arms
    active = registry.active("desk")
    assert active is not None
    assert active.newest is not None
    assert active.newest.withdrawn_at is None


def test_an_alarm_that_was_false_costs_no_labels(
    store: Store, data: Path, good: RoundReport
) -> None:
    registry = registry_of(store, data)
    registry.suspend("desk", str(good.in_traffic), "drift alarm")
    registry.resume("desk", str(good.in_traffic))
    put_on_record(store, Desk(), notes(50, seed=1))
    report = run_round(Desk(), store, data, options=HALF)
    assert report.winner is not None
    assert report.winner.certificate is not None
    assert report.winner.certificate.n == report.curated["calibration"]
    assert "incumbent" in report.arms


def test_labels_of_before_an_alarm_do_not_certify_because_somebody_reviews_them(
    store: Store, data: Path
) -> None:
    records = put_on_record(store, Desk(), notes(400))
    good = run_round(Desk(), store, data, options=HALF)
    registry_of(store, data).suspend("desk", str(good.in_traffic), "drift alarm")
    for record in records[:60]:
        review(store, find_case(store, record.id), "approved", by="ann")
    put_on_record(store, Desk(), notes(50, seed=1))
    report = run_round(Desk(), store, data, options=HALF)
    assert report.winner is not None
    assert report.winner.certificate is not None
    assert report.winner.certificate.n <= 35


def test_the_same_student_is_trusted_again_by_a_new_proof(store: Store, data: Path) -> None:
    """Only held-out tasks are new, so that training makes the very release that was suspended."""

    def held_out(given: list[tuple[str, str]]) -> list[tuple[str, str]]:
        from journeyman.traces.likeness import group_key
        from journeyman.traces.split import part_of

        shares, salt = HALF.curation.shares, HALF.curation.salt
        return [
            note
            for note in given
            if part_of(group_key({"text": note[0]}), salt, shares) == "calibration"
        ]

    registry = registry_of(store, data)
    put_on_record(store, Desk(), notes(400))
    good = run_round(Desk(), store, data, options=HALF)
    registry.suspend("desk", str(good.in_traffic), "drift alarm")
    put_on_record(store, Desk(), held_out(notes(500, seed=1)))
    report = run_round(Desk(), store, data, options=HALF)
    assert report.decision.verdict == "promote"
    assert report.in_traffic == good.in_traffic
    active = registry.active("desk")
    assert active is not None
    assert not active.is_suspended
    assert active.newest is not None
    assert report.winner is not None
    assert active.newest.certificate.n == report.winner.certificate.n  # type: ignore[union-attr]
    assert isinstance(active.newest.certificate.created_at, datetime)
