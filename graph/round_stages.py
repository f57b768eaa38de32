"""The stages of a round, each from the files and figures of those before it.

Every stage can be run again after a crash and then finds what it had finished. Knows nothing of the
graph that orders the stages, of checkpoints, or of the lock.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from journeyman.agents.base import Agent
from journeyman.agents.trainer import Lesson, OnStep, Trained, Trainer, TrainingStep
from journeyman.graph.arms import Arm, Judged, judge, same_evidence, strength
from journeyman.graph.decision import Contender, Decision, decide
from journeyman.graph.looks import Looks
from journeyman.graph.outcomes import Outcomes, attempt_all, rows_of
from journeyman.graph.round_labels import RoundLabels, are_doubtful, content_of, doubts
from journeyman.graph.round_state import OnStage, RoundOptions, RoundState
from journeyman.models.errors import JourneymanError, TrainingError, WeightsError
from journeyman.models.release import Release, identify
from journeyman.models.types import LabelSource, content_hash
from journeyman.traces.curate import Curation, review_scores
from journeyman.traces.dataset_files import Dataset, DatasetRow, open_dataset
from journeyman.traces.dataset_writer import write_dataset
from journeyman.traces.labels import TRUST, Part
from journeyman.traces.recorder import Recorder
from journeyman.traces.registry import Registry, ReleaseEntry
from journeyman.traces.rounds import RoundEntry, RoundStore
from journeyman.traces.store import Store

_CANARIES = 8
_CANARIES_LOST = 1  # a sandbox that ran out of time tells otherwise, a wrong student all over
_ORIGINS = ("escalation", "audit", "import")


class Stages:
    """The stages, bound to one round.

    Args:
        agent: As it is given to the orchestrator.
        trainer: Its own.
        store: The trace store, open for writing.
        data: The data directory.
        entry: The round on record.
        options: See `RoundOptions`.
        on_stage: Told how far the round is.
    """

    def __init__(
        self,
        agent: Agent[Any, Any],
        trainer: Trainer,
        store: Store,
        data: Path,
        entry: RoundEntry,
        options: RoundOptions,
        on_stage: OnStage | None,
    ) -> None:
        self._agent = agent
        self._trainer = trainer
        self._store = store
        self._data = data
        self._entry = entry
        self._options = options
        self._on_stage = on_stage
        self._rounds = RoundStore(store)
        self._registry = Registry(store, data)
        self._looks = Looks(entry, self._rounds, self._registry)
        before = self._rounds.last_done(agent.name)
        since = before.started_at if before is not None else None
        self._labels = RoundLabels(agent, store, entry, since)
        self.folder = data / "rounds" / entry.id

    def say(self, stage: str, step: TrainingStep | None) -> None:
        """Tell how far the round is."""
        if self._on_stage is not None:
            self._on_stage(stage, step)

    # Stages, in their order

    def collect(self, _: RoundState) -> RoundState:
        """Count the labels that there are, and note what answers now."""
        gathered = self._labels.gather()
        active = self._registry.active(self._agent.name)
        origins = {name: sum(row.origin == name for row in gathered.new) for name in _ORIGINS}
        return RoundState(
            incumbent=active.id if active is not None else None,
            collected={
                "new": len(gathered.new),
                "known": len(gathered.known),
                **origins,
                **gathered.passed_over,
            },
        )

    def curate(self, state: RoundState) -> RoundState:
        """Turn the labels into a data set on disk, and ask reviewers where one is in doubt."""
        gathered = self._labels.gather()
        if not gathered.rows:
            return RoundState(stop=f"There is no labelled task of {self._agent.name!r} yet.")
        curation = self._labels.curate(gathered, self._options.curation, self._options.suites or ())
        with Recorder(self._store) as recorder:  # so that reviewers see why a label waits for them
            for score in review_scores(curation):
                recorder.record(score)
        figures = {**curation.counts, **doubts(gathered, curation)}
        basis = self._basis(curation)
        before = self._judged_before()
        known: Mapping[str, Any] = {} if before is None else before.report or {}
        if before is not None and (known.get("basis"), known.get("in_traffic")) == (
            basis,
            state["incumbent"],
        ):
            return RoundState(
                stop=f"There is nothing new since round {before.number}.",
                curated=figures,
                basis=basis,
                dataset_hash=known["dataset"],
            )
        dataset = write_dataset(
            self._data / "datasets",
            self._agent.name,
            curation,
            example_of=self._labels.example,
            settings=self._options.curation,
            parent=known.get("dataset"),
        )
        self._rounds.reach(
            self._entry.id,
            "curate",
            dataset_hash=dataset.hash,
            num_train=len(curation.train),
            num_calibration=len(curation.calibration),
            num_excluded=len(curation.dropped) + len(curation.review),
        )
        return RoundState(
            curated=figures,
            basis=basis,
            dataset=str(dataset.folder),
            dataset_hash=dataset.hash,
        )

    def _basis(self, curation: Curation) -> str:
        """Hash of all that a round's outcome rests on but the incumbent."""
        parts = {**self._agent.release_parts(), "student": None}
        trainer = [self._trainer.kind, self._trainer.base]
        return content_hash([content_of(curation), self._options.to_json(), parts, trainer])

    def _judged_before(self) -> RoundEntry | None:
        """The last round that put a student up, with its report."""
        history = self._rounds.history(self._agent.name)
        judged = [e for e in history if e.status == "done" and e.candidate_id is not None]
        return self._rounds.get(judged[-1].id) if judged else None

    def teacher_check(self, state: RoundState) -> RoundState:
        """Whoever gave the labels is doubted as a whole where too many of them cannot be right."""
        checked, doubted = state["curated"]["checked"], state["curated"]["doubted"]
        if not are_doubtful(doubted, checked, self._options.max_failed_labels):
            return RoundState(stop="")
        return RoundState(
            are_labels_doubted=True,
            stop=f"{doubted} of {checked} new labels fail a check or contradict each other, more "
            f"than {self._options.max_failed_labels:.0%}: look at them with "
            f"`journeyman escalations review`.",
        )

    def train(self, state: RoundState) -> RoundState:
        """Teach a student, and make the one that needs no teaching."""
        lessons = [
            Lesson(row.example, row.weight, row.rejected)
            for row in self._dataset(state).rows("train")
            if row.example is not None
        ]
        if len(lessons) < self._options.fewest_lessons:
            return RoundState(
                stop=f"{len(lessons)} lessons are too few to teach anything; "
                f"{self._options.fewest_lessons} are needed."
            )
        seed = self._options.seed + self._entry.number
        parent, student = self._parent(state)

        def teach(out: Path) -> Trained:
            return self._trainer.train(
                lessons, out, parent=student, seed=seed, on_step=self._stepper("train")
            )

        try:
            trained = self._arm("trained").make(teach)
        except TrainingError as error:
            return RoundState(stop=str(error))
        untrained = self._arm("untrained").make(lambda out: self._trainer.untrained(lessons, out))
        made = {"trained": trained, "untrained": untrained}
        return RoundState(
            parent=parent,
            arms={
                name: {
                    "train_seconds": round(what.seconds, 3),
                    "num_examples": what.num_examples,
                    "facts": {**dict(what.facts), "num_left_out": what.num_left_out},
                }
                for name, what in made.items()
                if what is not None
            },
        )

    def evaluate(self, state: RoundState) -> RoundState:
        """Every arm, and what answers now, on the same held-out tasks."""
        rows = self._held_out(state)
        arms = dict(state["arms"])
        for name in arms:
            self._attempts(name, self._bound(self._arm(name).student), rows)
        incumbent = self._incumbent(state)
        if incumbent is not None:
            try:
                self._attempts("incumbent", incumbent[0], rows)
            except TrainingError:  # it does not answer any more: nothing has to beat it
                return RoundState(arms=arms)
            arms["incumbent"] = {"release": incumbent[1].id}
        return RoundState(arms=arms)

    def _attempts(
        self, name: str, agent: Agent[Any, Any], rows: list[tuple[Part, DatasetRow]]
    ) -> None:
        path = self._arm(name).outcomes
        if path.is_file():
            return

        def on_done(done: int, total: int) -> None:
            self.say("evaluate", TrainingStep(name, done, total))

        attempt_all(agent, rows, on_done=on_done).save(path)

    def certify(self, state: RoundState) -> RoundState:
        """Choose the arm by labels that certify nothing, then prove what can be proved of it."""
        made = [name for name in ("trained", "untrained") if name in state["arms"]]
        seed = self._options.seed
        chosen = max(
            made, key=lambda name: (strength(self._outcomes(name), seed=seed), name == "trained")
        )
        arms = {name: dict(facts) for name, facts in state["arms"].items()}
        found: dict[str, Judged] = {}
        for name, facts in arms.items():
            judged = self._judged(name, state)
            if judged is None:
                continue
            outcomes = self._outcomes(name)
            found[name] = judged
            facts |= judged.figures() | {"p50_ms": outcomes.p50_ms, "p95_ms": outcomes.p95_ms}
            facts["certificate"] = judged.certificate.model_dump(mode="json")
        if chosen not in found:
            return RoundState(
                arms=arms,
                stop="There are no held-out labels to fit a confidence head and to certify with: "
                "let more tasks escalate, then run the round again.",
            )
        source = self._label_source(found[chosen])
        release = self._release(chosen, found[chosen], source, state)
        proof = found[chosen].certificate.bind(release.id, source)
        arms[chosen] |= {"release": release.id, "certificate": proof.model_dump(mode="json")}
        self._registry.register(
            release, round_id=self._entry.id, metrics=_numbers(found[chosen].figures())
        )
        return RoundState(arms=arms, challenger=chosen, label_source=source)

    def _release(
        self, name: str, judged: Judged, source: LabelSource, state: RoundState
    ) -> Release:
        student = self._arm(name).student
        parts = self._bound(student).release_parts()
        identity = identify(self._agent.name, parts=parts, student=student, head=judged.head)
        return Release.write(
            self._data,
            self._agent.name,
            parts=parts,
            student=student,
            head=judged.head,
            certificate=judged.certificate.bind(identity.id, source),
            student_kind=self._trainer.kind,
            base_model=self._trainer.base,
            # An older round's checkpoint does not say what was gone on from.
            parent=state.get("parent", state["incumbent"])
            if name == "trained"
            else state["incumbent"],
            created_at=self._entry.started_at,  # the same after a crash
        )

    def decide(self, state: RoundState) -> RoundState:
        """Put the chosen arm up against what answers now, on the same tasks."""
        name = state["challenger"]
        assert name is not None, "certify stops the round where there is none"
        judged = self._judged(name, state)
        assert judged is not None, "certify judged it"
        incumbent = self._judged("incumbent", state) if "incumbent" in state["arms"] else None
        rows = {row.task_key: row for _, row in self._held_out(state)}
        kept = [rows[item.task_key] for item in judged.outcomes]
        slice_of = self._options.slice_of
        decision = decide(
            self._contender(name, judged, state),
            None if incumbent is None else self._contender("incumbent", incumbent, state),
            bars=self._options.bars.model_copy(update={"looks": self._looks.judged()}),
            groups=[item.group for item in judged.outcomes],
            slices=None if slice_of is None else [slice_of(row) for row in kept],
            golden=[item.label_source == "human" for item in judged.outcomes],
        )
        return RoundState(decision=decision.model_dump(mode="json"))

    def _contender(self, name: str, judged: Judged, state: RoundState) -> Contender:
        facts = state["arms"][name]
        proof = judged.certificate
        return Contender(
            str(facts["release"]),
            judged.right,
            judged.accepted,
            coverage_on=judged.coverage_on,
            confidence=judged.confidence,
            shortfall="" if proof.is_feasible else proof.describe(),
            latency_ms=facts.get("p50_ms"),
            in_force=self._in_force(judged, state) if name == "incumbent" else None,
        )

    def _in_force(self, judged: Judged, state: RoundState) -> float | None:
        newest = self._registry.get(str(state["incumbent"])).newest
        return None if newest is None else judged.in_force(newest.certificate, self._options.risk)

    def promote(self, state: RoundState) -> RoundState:
        """Do what was decided; where the incumbent stays, prove more of it if labels allow."""
        decision = Decision.model_validate(state["decision"])
        name = state["challenger"]
        assert name is not None, "certify stops the round where there is none"
        release = str(state["arms"][name]["release"])
        if decision.verdict == "promote":
            fault = self._fault(release, name, state)
            if fault is None:
                self._vouch(release, name, state)
                self._registry.promote(self._agent.name, release, reason=decision.reason)
            else:
                decision = decision.model_copy(
                    update={"verdict": "keep", "reason": fault, "goes_on": False}
                )
        if decision.verdict == "reject":
            self._registry.reject(release)
        further = RoundState() if decision.verdict == "promote" else self._recertify(state)
        now_active = self._registry.active(self._agent.name)
        return RoundState(
            **further,
            decision=decision.model_dump(mode="json"),
            in_traffic=now_active.id if now_active is not None else None,
        )

    def _fault(self, release_id: str, name: str, state: RoundState) -> str | None:
        """Why a release must not take traffic after all: the canary, and what others did."""
        active = self._registry.active(self._agent.name)
        if (active.id if active is not None else None) not in {state["incumbent"], release_id}:
            return (
                "Traffic was given to another release while the round ran: run the next round "
                "against that one."
            )
        try:
            served = self._bound(self._registry.load(release_id).student)
            told = attempt_all(served, self._held_out(state)[:_CANARIES]).items
        except (TrainingError, WeightsError) as error:
            # Raised, it would end every later attempt at this round here as well.
            return f"The canary failed: the release does not serve. {error}"
        measured = {item.task_key: item for item in self._outcomes(name).items}
        same = sum(same_evidence(t.evidence, measured[t.task_key].evidence) for t in told)
        if same < len(told) - _CANARIES_LOST:
            return (
                f"The canary failed: loaded from its release, the student tells the same as in "
                f"evaluation on {same} of {len(told)} tasks only."
            )
        return None

    def _vouch(self, release_id: str, name: str, state: RoundState) -> None:
        """Let a release that an earlier round made be trusted by what this round proved."""
        judged = self._judged(name, state)
        newest = self._registry.get(release_id).newest
        assert judged is not None, "certify judged it"
        if newest is None or newest.certificate.data_hash != judged.certificate.data_hash:
            self._registry.certify(judged.certificate.bind(release_id, self._label_source(judged)))

    def _recertify(self, state: RoundState) -> RoundState:
        """More labels prove more of the release that stays; whatever is tried spends delta."""
        incumbent = self._incumbent(state)
        if incumbent is None or "incumbent" not in state["arms"]:
            return RoundState()
        entry = incumbent[1]
        newest = entry.newest
        if newest is None or newest.withdrawn_at is not None or entry.id != state["incumbent"]:
            return RoundState()
        known = newest.certificate
        if known.created_at >= self._entry.started_at:  # before a crash
            proved = known.model_dump(mode="json")
            return RoundState(recertified=proved, tried=proved)
        num_labels = len(self._outcomes("incumbent").part("calibration"))
        if not self._looks.is_worth_while(self._options.risk, num_labels, entry.id, known):
            return RoundState()
        judged = self._judged("incumbent", state, further=True)
        if judged is None:
            return RoundState()
        fresh = judged.certificate.bind(entry.id, self._label_source(judged))
        proved = fresh.model_dump(mode="json")
        if fresh.coverage <= known.coverage:
            return RoundState(tried=proved)
        self._registry.certify(fresh)
        return RoundState(recertified=proved, tried=proved)

    # What the stages share

    def _arm(self, name: str) -> Arm:
        return Arm(name, self.folder / "arms" / name)

    def _dataset(self, state: RoundState) -> Dataset:
        return open_dataset(Path(state["dataset"]))

    def _bound(self, student: Path) -> Agent[Any, Any]:
        return self._agent.with_student(self._trainer.load(student))

    def _outcomes(self, name: str) -> Outcomes:
        return Outcomes.load(self._arm(name).outcomes)

    def _stepper(self, stage: str) -> OnStep:
        return lambda step: self.say(stage, step)

    def _incumbent(self, state: RoundState) -> tuple[Agent[Any, Any], ReleaseEntry] | None:
        """What answers now, where it is trusted and can still be loaded."""
        if state["incumbent"] is None:
            return None
        entry = self._registry.get(state["incumbent"])
        if entry.newest is None or entry.newest.withdrawn_at is not None:
            return None
        try:
            release = self._registry.load(entry.id)
            bound = self._bound(release.student)
            if release.head is None or not release.has_parts(bound.release_parts()):
                return None
        except WeightsError:
            return None
        return bound, entry

    def _parent(self, state: RoundState) -> tuple[str | None, Path | None]:
        """The release that the next student goes on from, and its weights.

        That of the last round where it was kept out for want of proof alone, so that what it
        learned is not lost; else, or where traffic was given to another since, what is in traffic.
        """
        candidates = [state["incumbent"]]
        before = self._judged_before()
        report: Mapping[str, Any] = {} if before is None else before.report or {}
        if (
            before is not None
            and report.get("challenger") == "trained"
            and report["decision"].get("goes_on", False)
            and report.get("in_traffic") == state["incumbent"]
        ):
            candidates[:0] = [before.candidate_id]
        for release in candidates:
            with suppress(JourneymanError):  # it is gone, or damaged
                if release is not None:
                    return release, self._registry.load(release).student
        return None, None  # begin from the base

    def _held_out(self, state: RoundState) -> list[tuple[Part, DatasetRow]]:
        """Tasks of the head and the calibration part.

        After a drift alarm only labels made since then certify: the earlier ones are of traffic
        that is no more.
        """
        dataset = self._dataset(state)
        since = self._looks.shifted_at()
        certifying = [
            row
            for row in dataset.rows("calibration")
            if since is None or datetime.fromisoformat(row.provenance["asked_at"]) >= since
        ]
        return rows_of(dataset.rows("head"), "head") + rows_of(certifying, "calibration")

    def _judged(self, name: str, state: RoundState, *, further: bool = False) -> Judged | None:
        head = None
        if name == "incumbent":
            head = self._registry.load(str(state["incumbent"])).head
        outcomes = self._outcomes(name)
        on = len(outcomes.part("calibration")) if further else None
        return judge(
            outcomes,
            self._looks.risk(self._options.risk, further_on=on),
            head=head,
            seed=self._options.seed,
        )

    def _label_source(self, judged: Judged) -> LabelSource:
        """The least trusted of the sources: a proof is worth no more than its weakest label."""
        return max((item.label_source for item in judged.outcomes), key=TRUST.index)


def _numbers(figures: Mapping[str, float | None]) -> dict[str, float]:
    return {name: number for name, number in figures.items() if number is not None}
