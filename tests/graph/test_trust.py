"""Trust is followed while the graph runs: whole releases, audits, alarms, and nothing on credit."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from journeyman.agents.extraction import Extraction
from journeyman.graph.orchestrator import Orchestrator, create_orchestrator
from journeyman.graph.settings import load_settings
from journeyman.graph.state import Context, Task
from journeyman.graph.trust import ReleaseTrust, trust_from
from journeyman.models.confidence import ConfidenceHead
from journeyman.models.errors import ConfigError, EscalationFailed, TraceError
from journeyman.models.release import Release, identify
from journeyman.models.students.tagger import Tagger
from journeyman.models.training.tagger import train_tagger
from journeyman.models.types import Answer, Reason
from journeyman.traces.recorder import Recorder
from journeyman.traces.registry import Registry
from journeyman.traces.store import Store
from tests.graph.released import Agreeing, OneWord, Released, certificate, make_release, promoted
from tests.models.conftest import TINY_LABELS, tiny_examples

LOADERS = {"triage": OneWord}


@pytest.fixture
def registry(store: Store, tmp_path: Path) -> Registry:
    return Registry(store, tmp_path / "data")


@pytest.fixture
def follow(registry: Registry) -> Iterator[Callable[..., ReleaseTrust]]:
    """Followers that ask the registry every time, unless a test says otherwise."""
    made: list[ReleaseTrust] = []

    def make(**given: Any) -> ReleaseTrust:
        values = {"audit_rate": 0.0, "poll_seconds": 0.0}
        made.append(ReleaseTrust(registry, LOADERS, **{**values, **given}))
        return made[-1]

    yield make
    for each in made:
        each.close()


def graph_of(trust: ReleaseTrust, frontier: Any = None, **given: Any) -> Orchestrator:
    agent = given.pop("agent", None) or Released(OneWord(None))
    return create_orchestrator([agent], frontier or Agreeing(), trust=trust, store=None, **given)


async def ask(graph: Orchestrator, text: str = "down", **context: Any) -> Answer:
    tasks = [Task(agent="triage", input={"text": text})]
    result = await graph.ainvoke({"tasks": tasks}, context=Context(**context))
    answer: Answer = result["answers"]["triage-1"]
    return answer


# Following


async def test_without_a_release_it_is_the_cold_start(follow: Callable[..., ReleaseTrust]) -> None:
    agent = Released(OneWord(None))
    answer = await ask(graph_of(follow(), agent=agent))
    assert (answer.reason, answer.release) == (Reason.UNCERTIFIED, agent.release)


async def test_an_agent_without_a_loader_is_trusted_with_nothing(registry: Registry) -> None:
    promoted(registry, "high")
    trust = ReleaseTrust(registry, {})
    assert (await ask(graph_of(trust))).reason == Reason.UNCERTIFIED


async def test_a_running_graph_follows_promote_and_rollback(
    registry: Registry, follow: Callable[..., ReleaseTrust]
) -> None:
    graph = graph_of(follow(), Agreeing("high"))
    assert (await ask(graph)).reason == Reason.UNCERTIFIED
    high = promoted(registry, "high")
    first = await ask(graph)
    assert (first.value, first.source, first.certified) == ({"severity": "high"}, "student", True)
    assert first.release == high.id
    assert first.confidence is not None
    low = promoted(registry, "low")
    second = await ask(graph)
    assert (second.value, second.release) == ({"severity": "low"}, low.id)
    registry.rollback("triage")
    assert (await ask(graph)).release == high.id
    registry.rollback("triage")
    assert (await ask(graph)).reason == Reason.UNCERTIFIED


async def test_the_registry_is_asked_at_most_once_in_its_time(
    registry: Registry, follow: Callable[..., ReleaseTrust], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    asked: list[float] = []
    versions = registry.versions

    def counted() -> dict[str, int]:
        asked.append(now[0])
        return versions()

    monkeypatch.setattr(registry, "versions", counted)
    graph = graph_of(follow(poll_seconds=0.2, clock=lambda: now[0]))
    for _ in range(5):
        await ask(graph)
    promoted(registry, "high")
    assert (await ask(graph)).reason == Reason.UNCERTIFIED
    assert asked == [100.0]
    now[0] = 100.21
    assert (await ask(graph)).source == "student"
    assert asked == [100.0, 100.21]


def test_the_synchronous_door_follows_too(
    registry: Registry, follow: Callable[..., ReleaseTrust]
) -> None:
    graph = graph_of(follow())
    release = promoted(registry, "high")
    result = graph.invoke({"tasks": [Task(agent="triage", input={"text": "down"})]})
    assert result["answers"]["triage-1"].release == release.id


async def test_another_process_promotes_suspends_and_rolls_back(
    target: Path | str, registry: Registry, follow: Callable[..., ReleaseTrust]
) -> None:
    high, low = (make_release(registry.data, word) for word in ("high", "low"))
    registry.register(high)
    registry.register(low)
    graph = graph_of(follow(poll_seconds=0.05))
    program = Path(__file__).with_name("promoter.py")

    async def elsewhere(*arguments: str) -> Answer:
        command = [sys.executable, program, str(target), registry.data, *arguments]
        await asyncio.to_thread(subprocess.run, command, check=True)
        await asyncio.sleep(0.06)
        return await ask(graph)

    assert (await elsewhere("promote", "triage", high.id)).release == high.id
    assert (await elsewhere("promote", "triage", low.id)).release == low.id
    assert (await elsewhere("suspend", "triage", low.id)).reason == Reason.UNCERTIFIED
    assert (await elsewhere("rollback", "triage")).release == high.id


# One release for each task


async def test_promoting_with_32_tasks_in_flight_loses_none_and_mixes_none(
    registry: Registry, follow: Callable[..., ReleaseTrust], recorder: Recorder
) -> None:
    releases = {word: make_release(registry.data, word, pause=0.01) for word in ("high", "low")}
    for release in releases.values():
        registry.register(release)
    registry.promote("triage", releases["high"].id)
    graph = create_orchestrator(
        [Released(OneWord(None))], Agreeing("high"), trust=follow(), store=recorder
    )
    answers: list[Answer] = []
    done = asyncio.Event()

    async def keep_asking(number: int) -> None:
        while not done.is_set():
            answers.append(await ask(graph, f"down {number} {len(answers)}"))

    asking = [asyncio.create_task(keep_asking(number)) for number in range(32)]
    for turn in range(6):
        await asyncio.sleep(0.15)
        if turn % 3 == 2:
            await asyncio.to_thread(registry.rollback, "triage")
        else:
            word = ("low", "high")[turn % 2]
            await asyncio.to_thread(registry.promote, "triage", releases[word].id)
    done.set()
    await asyncio.gather(*asking)
    word_of = {release.id: word for word, release in releases.items()}
    assert {answer.release for answer in answers} == set(word_of)
    for answer in answers:
        assert (answer.source, answer.certified) == ("student", True)
        assert answer.value == {"severity": word_of[answer.release]}
    recorded = recorder.store.attempts(agent="triage")
    assert len(recorded) == len(answers)
    for attempt in recorded:
        assert attempt.output == {"severity": word_of[attempt.release]}


async def test_trust_that_is_withdrawn_is_withdrawn_from_tasks_in_flight(
    registry: Registry, follow: Callable[..., ReleaseTrust]
) -> None:
    class Late(Released):
        def evidence(self, task: Any, raw: Any, output: Any) -> dict[str, float]:
            registry.suspend("triage", release.id, "in the middle")
            return super().evidence(task, raw, output)

    release = promoted(registry, "low", agent=Late(OneWord(None)))
    answer = await ask(graph_of(follow(), Agreeing("high"), agent=Late(OneWord(None))))
    assert (answer.reason, answer.release) == (Reason.UNCERTIFIED, release.id)


async def test_a_task_that_outlives_two_promotions_still_finds_its_student(
    registry: Registry, follow: Callable[..., ReleaseTrust]
) -> None:
    agent, trust = Released(OneWord(None)), follow()
    first = promoted(registry, "high")
    began = await trust.standing(agent, agent.release)
    for pause in (0.001, 0.002, 0.003):
        promoted(registry, "low", pause=pause)
        await trust.standing(agent, agent.release)
    bound = await trust.bound(agent, first.id)
    assert began.release == first.id
    assert bound.student.fingerprint() == began.agent.student.fingerprint()
    assert await trust.bound(agent, "triage@00000000") is agent


class Bill(BaseModel):
    company: str | None = None
    amount: str | None = None
    date: str | None = None


@pytest.mark.slow
async def test_a_rollback_restores_the_earlier_answers_bit_for_bit_while_answering(
    registry: Registry, recorder: Recorder, tmp_path: Path
) -> None:
    base = Extraction(Bill, Tagger(labels=TINY_LABELS))
    releases = []
    for number, epochs in enumerate((6, 2)):
        folder = tmp_path / f"tagger-{number}"
        train_tagger(
            tiny_examples(),
            TINY_LABELS,
            out=folder,
            epochs=epochs,
            batch_size=8,
            learning_rate=1e-3,
            held_out_share=0.0,
            device="cpu",
        )
        parts = base.with_student(Tagger.load(folder, device="cpu")).release_parts()
        release = Release.write(
            registry.data, "extraction", parts=parts, student=folder, student_kind="tagger"
        )
        registry.register(release)
        releases.append(release.id)
    texts = [example.text for example in tiny_examples(12)]
    trust = ReleaseTrust(
        registry, {"extraction": lambda path: Tagger.load(path, device="cpu")}, poll_seconds=0.0
    )
    graph = create_orchestrator([base], None, trust=trust, store=recorder)
    context = Context(trust_uncertified=True, on_frontier_failure="queue")
    answering, seen = True, []

    async def answer_all() -> list[tuple[str, Any, Any]]:
        """One after the other, so that batches, and with them the last bits, are the same."""
        told = []
        for text in texts:
            tasks = [Task(agent="extraction", input={"text": text})]
            parts = graph.astream({"tasks": tasks}, context=context, stream_mode="custom",
                                  subgraphs=True)  # fmt: skip
            events = {part[1]["type"]: part[1] async for part in parts}
            release = events["answer"]["answer"]["release"]
            told.append((release, events["attempt"]["output"], events["attempt"]["evidence"]))
        return told

    async def traffic() -> None:
        while answering:
            seen.extend(await answer_all())

    registry.promote("extraction", releases[0])
    before = await answer_all()
    registry.promote("extraction", releases[1])
    between = await answer_all()
    background = [asyncio.create_task(traffic()) for _ in range(3)]
    await asyncio.sleep(0.1)
    await asyncio.to_thread(registry.rollback, "extraction")
    await asyncio.sleep(0.1)
    answering = False
    await asyncio.gather(*background)
    after = await answer_all()
    trust.close()
    assert {release for release, _, _ in before} == {releases[0]}
    assert {release for release, _, _ in between} == {releases[1]}
    assert [row[1:] for row in between] != [row[1:] for row in before]
    assert after == before
    # Amid others a batch may change the last bits of a probability, but never an answer.
    known = [row[:2] for row in (*before, *between)]
    assert {release for release, _, _ in seen} == set(releases)
    assert all(row[:2] in known for row in seen)


# Nothing on credit


async def note_of(graph: Orchestrator, recorder: Recorder) -> str:
    answer = await ask(graph)
    assert answer.reason == Reason.UNCERTIFIED
    assert not answer.certified
    (attempt,) = [a for a in recorder.store.attempts() if a.run_id == answer.run_id]
    assert attempt.audited is None
    return attempt.note or ""


@pytest.mark.parametrize("name", ["student/facts.json", "confidence.json", "certificate.json"])
@pytest.mark.parametrize("how", ["changed", "missing"])
async def test_a_release_that_cannot_be_vouched_for_earns_no_trust(
    registry: Registry,
    follow: Callable[..., ReleaseTrust],
    recorder: Recorder,
    caplog: pytest.LogCaptureFixture,
    name: str,
    how: str,
) -> None:
    path = promoted(registry, "high").folder / name
    if how == "missing":
        path.unlink()
    else:
        path.write_text(path.read_text("utf-8").replace("0.", "1.", 1) + " ", "utf-8")
    agent = Released(OneWord(None))
    graph = create_orchestrator([agent], Agreeing(), trust=follow(), store=recorder)
    with caplog.at_level(logging.WARNING, logger="journeyman.graph"):
        notes = {await note_of(graph, recorder) for _ in range(3)}
    assert len(notes) == 1
    assert path.name in notes.pop()
    assert len([r for r in caplog.records if "cannot be loaded" in r.getMessage()]) == 1


async def test_a_certificate_of_another_release_is_refused(
    registry: Registry, follow: Callable[..., ReleaseTrust], recorder: Recorder
) -> None:
    import hashlib

    release = promoted(registry, "high")
    other = certificate("triage@00000000").model_dump_json()
    (release.folder / "certificate.json").write_text(other, "utf-8")
    digest = hashlib.sha256(other.encode()).hexdigest()
    files = {**release.manifest.files, "certificate.json": digest}
    sealed = release.manifest.model_copy(update={"files": files}).sealed()
    (release.folder / "manifest.json").write_text(sealed.model_dump_json(), "utf-8")
    graph = create_orchestrator(
        [Released(OneWord(None))], Agreeing(), trust=follow(), store=recorder
    )
    assert "proves nothing" in await note_of(graph, recorder)


async def test_code_or_settings_that_changed_since_the_release_earn_no_trust(
    registry: Registry, follow: Callable[..., ReleaseTrust], recorder: Recorder
) -> None:
    promoted(registry, "high")
    newer = Released(OneWord(None))
    newer.version = "2"
    graph = create_orchestrator([newer], Agreeing(), trust=follow(), store=recorder)
    assert "another version" in await note_of(graph, recorder)


async def test_a_suspended_release_answers_no_task_and_says_why(
    registry: Registry, follow: Callable[..., ReleaseTrust], recorder: Recorder
) -> None:
    release = promoted(registry, "high")
    registry.suspend("triage", release.id, "looks odd")
    graph = create_orchestrator(
        [Released(OneWord(None))], Agreeing(), trust=follow(), store=recorder
    )
    assert "looks odd" in await note_of(graph, recorder)
    (attempt,) = recorder.store.attempts()
    # The student is still heard, so that its confidence can be compared.
    assert (attempt.release, attempt.confidence is None) == (release.id, False)
    registry.resume("triage", release.id)
    assert (await ask(graph)).certified


async def test_a_certificate_that_accepts_nothing_is_no_certificate(
    registry: Registry, follow: Callable[..., ReleaseTrust], recorder: Recorder
) -> None:
    promoted(registry, "high", num_labels=20)
    graph = create_orchestrator(
        [Released(OneWord(None))], Agreeing(), trust=follow(), store=recorder
    )
    assert "Not certifiable" in await note_of(graph, recorder)


async def test_without_a_registry_to_ask_nothing_is_certified_until_it_is_back(
    registry: Registry,
    follow: Callable[..., ReleaseTrust],
    recorder: Recorder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def busy() -> dict[str, int]:
        raise TraceError("The store is busy.")

    promoted(registry, "high")
    graph = create_orchestrator(
        [Released(OneWord(None))], Agreeing(), trust=follow(), store=recorder
    )
    assert (await ask(graph)).certified
    monkeypatch.setattr(registry, "versions", busy)
    assert "The store is busy" in await note_of(graph, recorder)
    monkeypatch.undo()
    assert (await ask(graph)).certified


async def test_evidence_that_the_head_does_not_know_is_no_confidence(
    registry: Registry, follow: Callable[..., ReleaseTrust]
) -> None:
    class Renamed(Released):
        def evidence(self, task: Any, raw: Any, output: Any) -> dict[str, float]:
            return {"certain": 1.0}

    promoted(registry, "low", agent=Renamed(OneWord(None)))
    answer = await ask(graph_of(follow(), agent=Renamed(OneWord(None))))
    assert (answer.reason, answer.confidence) == (Reason.LOW_CONFIDENCE, None)


def test_an_impossible_audit_rate_is_refused(registry: Registry) -> None:
    with pytest.raises(ConfigError, match="audit rate"):
        ReleaseTrust(registry, {}, audit_rate=1.5)
    with pytest.raises(ConfigError, match="share that certifies"):
        ReleaseTrust(registry, {}, certifying_share=1.0)


# Audits


async def test_audits_are_a_fair_share_and_on_record_with_their_probability(
    registry: Registry, follow: Callable[..., ReleaseTrust], recorder: Recorder
) -> None:
    promoted(registry, "high")
    graph = create_orchestrator(
        [Released(OneWord(None))],
        Agreeing("high"),
        trust=follow(audit_rate=0.2, poll_seconds=1.0),
        store=recorder,
    )
    texts = [f"{'unsure ' if number % 4 == 0 else ''}{number}" for number in range(240)]
    for start in range(0, len(texts), 40):
        await asyncio.gather(*(ask(graph, text) for text in texts[start : start + 40]))
    attempts = recorder.store.attempts()
    chances = {round(attempt.audit_probability or 0.0, 9) for attempt in attempts}
    assert chances == {0.8, 0.05}  # of a task that may certify, and of any other
    drawn = [attempt for attempt in attempts if attempt.audited]
    assert 24 <= len(drawn) <= 75  # five standard deviations
    assert {(a.decision, a.reason, a.source) for a in drawn} == {("escalate", "audit", "frontier")}
    assert {a.would_accept for a in drawn} == {True, False}
    rest = [attempt for attempt in attempts if not attempt.audited]
    assert {(a.reason, a.would_accept) for a in rest} == {(None, True), ("low_confidence", False)}
    newest = registry.releases("triage")[0].newest
    assert newest is not None
    detector = registry.drift(newest.id)
    assert detector is not None
    assert (detector.num_audits, detector.num_wrong) == (len(drawn), 0)
    known = newest.certificate.n
    assert registry.num_labels(newest, certifying=1.0) == known + len(drawn)
    assert registry.num_labels(newest, certifying=0.5) == known + round(len(drawn) / 2)


async def test_a_certificate_of_few_labels_is_audited_more_often(
    registry: Registry, follow: Callable[..., ReleaseTrust]
) -> None:
    promoted(registry, "high")
    answer = await ask(graph_of(follow(audit_rate=0.0, early_audit_rate=1.0)))
    assert answer.reason == Reason.AUDIT


async def test_audits_of_a_suite_are_the_same_in_every_run(
    registry: Registry, follow: Callable[..., ReleaseTrust]
) -> None:
    promoted(registry, "high")
    graph = graph_of(follow(audit_rate=0.5, certifying_share=0.0))
    drawn = [
        [(await ask(graph, scenario_id=str(number))).reason for number in range(12)]
        for _ in range(2)
    ]
    assert drawn[0] == drawn[1]
    assert set(drawn[0]) == {None, Reason.AUDIT}


async def test_an_alarm_ends_trust_at_once_and_says_so(
    registry: Registry,
    follow: Callable[..., ReleaseTrust],
    recorder: Recorder,
    caplog: pytest.LogCaptureFixture,
) -> None:
    release = promoted(registry, "low")
    graph = create_orchestrator(
        [Released(OneWord(None))],
        Agreeing("high"),  # disagrees with every answer
        trust=follow(audit_rate=1.0, poll_seconds=60.0),
        store=recorder,
    )
    reasons = [(await ask(graph, f"down {number}")).reason for number in range(30)]
    first = reasons.index(Reason.UNCERTIFIED)
    assert 1 < first < 15
    assert set(reasons[:first]) == {Reason.AUDIT}
    assert set(reasons[first:]) == {Reason.UNCERTIFIED}
    assert registry.get(release.id).is_suspended
    assert len([r for r in caplog.records if r.getMessage().startswith("drift alarm")]) == 1
    assert "drift alarm" in (recorder.store.attempts()[-1].note or "")


async def test_wrong_answers_that_were_not_accepted_raise_no_alarm_under_a_joint_certificate(
    registry: Registry, follow: Callable[..., ReleaseTrust]
) -> None:
    release = promoted(registry, "low")
    graph = graph_of(follow(audit_rate=1.0), Agreeing("high"))
    for number in range(30):
        await ask(graph, f"unsure {number}")
    assert not registry.get(release.id).is_suspended


async def test_an_audit_that_fails_costs_no_answer_that_was_good_enough_without_it(
    registry: Registry, follow: Callable[..., ReleaseTrust], recorder: Recorder
) -> None:
    promoted(registry, "low")
    frontier = Agreeing()
    frontier.is_down = True
    graph = create_orchestrator(
        [Released(OneWord(None))], frontier, trust=follow(audit_rate=1.0), store=recorder
    )
    answer = await ask(graph)
    assert (answer.source, answer.certified, answer.reason) == ("student", True, Reason.AUDIT)
    (escalation,) = recorder.store.escalations()
    assert (escalation.status, escalation.agreement) == ("failed", None)
    newest = registry.releases("triage")[0].newest
    assert newest is not None
    assert registry.drift(newest.id) is None
    with pytest.raises(EscalationFailed):
        await ask(graph, "unsure")


async def test_forced_tasks_are_no_audits(
    registry: Registry, follow: Callable[..., ReleaseTrust]
) -> None:
    promoted(registry, "low")
    graph = graph_of(follow(audit_rate=1.0))
    answer = await ask(graph, force_escalation=True)
    assert answer.reason == Reason.FORCED
    newest = registry.releases("triage")[0].newest
    assert newest is not None
    assert registry.drift(newest.id) is None


async def test_settings_say_where_releases_lie_and_how_many_tasks_are_audited(
    tmp_path: Path, store: Store
) -> None:
    (tmp_path / "journeyman.toml").write_text('data_dir = "data"\naudit.rate = 1.0\n', "utf-8")
    settings = load_settings(tmp_path)
    promoted(Registry(store, tmp_path / "data"), "high")
    trust = trust_from(settings, store, LOADERS)
    assert (await ask(graph_of(trust))).reason == Reason.AUDIT
    trust.close()


def test_a_head_is_part_of_the_release_that_it_serves(registry: Registry) -> None:
    release = make_release(registry.data, "high")
    other = ConfidenceHead.fit([{"sure": i / 10} for i in range(10)], [i > 5 for i in range(10)])
    parts = json.loads((release.folder / "manifest.json").read_text("utf-8"))["parts"]
    assert identify("triage", parts=parts, student=release.student, head=other).id != release.id
