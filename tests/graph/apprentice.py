"""A sub-agent that learns in milliseconds: which desk a note belongs to, by the words in it.

The student is real (naive Bayes over words, kept as JSON) and so is its doubt: notes mix the words
of several desks, so that some are hard and it can know which.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from journeyman.agents.base import Agent
from journeyman.agents.trainer import Lesson, OnStep, Trained
from journeyman.models.types import (
    Attempt,
    Check,
    FrontierReply,
    FrontierRequest,
    StudentKind,
    Usage,
    content_hash,
)
from journeyman.traces.records import AttemptRecord, EscalationRecord, now
from journeyman.traces.store import Store
from tests.traces.conftest import Make

DESKS = ("billing", "travel", "kitchen", "garden")
WORDS = {
    "billing": "invoice refund charge card payment receipt fee balance transfer statement",
    "travel": "flight hotel train ticket luggage visa passport cruise airport booking",
    "kitchen": "oven recipe flour butter pan spice knife dough simmer plate",
    "garden": "soil tulip rake compost hedge seed lawn shovel bloom pruning",
}


def notes(number: int, *, seed: int = 0, foreign: float = 0.6) -> list[tuple[str, str]]:
    """Texts with their desk; some of the words are other desks', and a number tells all apart."""
    rng = random.Random(seed)
    made = []
    for i in range(number):
        desk = rng.choice(DESKS)
        words = []
        for _ in range(6):
            source = rng.choice(DESKS) if rng.random() < foreign * 2 * rng.random() else desk
            words.append(rng.choice(WORDS[source].split()))
        made.append((f"{' '.join(words)} {content_hash([seed, i], length=10)}", desk))
    return made


def shifted_notes(number: int, *, seed: int = 0) -> list[tuple[str, str]]:
    """Notes in a jargon that nobody was taught, with four words that point to the next desk."""
    rng = random.Random(f"shifted {seed}")
    made = []
    for i in range(number):
        place = rng.randrange(len(DESKS))
        misleading = WORDS[DESKS[(place + 1) % len(DESKS)]].split()
        words = [f"{DESKS[place][:2]}{rng.randrange(8)}x" for _ in range(4)]
        words += rng.sample(misleading, 4)
        made.append((f"{' '.join(words)} {content_hash([seed, i, 1], length=10)}", DESKS[place]))
    return made


class Note(BaseModel):
    text: str


class Placed(BaseModel):
    desk: str


class WordStudent:
    """Naive Bayes over words; untaught, it knows nothing and says so."""

    def __init__(self, folder: Path | None = None) -> None:
        self.counts: dict[str, dict[str, int]] = {}
        if folder is not None:
            self.counts = json.loads((folder / "counts.json").read_text("utf-8"))

    def predict(self, items: Sequence[str]) -> list[dict[str, float]]:
        return [self._one(item) for item in items]

    def _one(self, text: str) -> dict[str, float]:
        logs = {
            desk: sum(
                math.log((words.get(word, 0) + 0.5) / (sum(words.values()) + 40))
                for word in text.split()[:-1]
            )
            for desk, words in self.counts.items()
        }
        top = max(logs.values(), default=0.0)
        odds = {desk: math.exp(value - top) for desk, value in logs.items()}
        return {desk: value / sum(odds.values()) for desk, value in odds.items()}

    def fingerprint(self) -> str:
        return content_hash(self.counts)


class WordTrainer:
    """Counts words; tells a spy, if there is one, which lessons it was given."""

    kind: StudentKind = "classifier"
    base = "words"

    def __init__(self, spy: Callable[[str, Sequence[Lesson]], None] | None = None) -> None:
        self._spy = spy

    def train(
        self,
        lessons: Sequence[Lesson],
        out: Path,
        *,
        parent: Path | None = None,
        seed: int = 0,
        on_step: OnStep | None = None,
    ) -> Trained:
        if self._spy is not None:
            self._spy("train", lessons)
        counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for lesson in lessons:
            counts[lesson.example.target["desk"]].update(lesson.example.task["text"].split()[:-1])
        out.mkdir(parents=True)
        (out / "counts.json").write_text(json.dumps(counts, sort_keys=True), "utf-8")
        return Trained(0.0, len(lessons))

    def untrained(self, lessons: Sequence[Lesson], out: Path) -> Trained | None:
        """One lesson of each desk is all that it remembers."""
        if self._spy is not None:
            self._spy("untrained", lessons)
        first = {lesson.example.target["desk"]: lesson for lesson in lessons}
        return WordTrainer().train(list(first.values()), out)

    def load(self, folder: Path) -> WordStudent:
        return WordStudent(folder)


class Desk(Agent[Note, Placed]):
    """Places notes; `allowed` desks pass its hard check."""

    name = "desk"
    description = "Says which desk a note belongs to."
    input_type = Note
    output_type = Placed

    def __init__(
        self,
        student: Any = None,
        *,
        name: str = "desk",
        trainer: WordTrainer | None = None,
        allowed: Sequence[str] = DESKS,
        pause: float = 0.0,
    ) -> None:
        super().__init__(student or WordStudent())
        self.name = name
        self._trainer = trainer or WordTrainer()
        self._allowed = tuple(allowed)
        self._pause = pause

    def trainer(self) -> WordTrainer:
        return self._trainer

    def render(self, task: Note) -> str:
        return task.text

    def parse(self, task: Note, raw: Mapping[str, float]) -> Placed | None:
        time.sleep(self._pause)
        return Placed(desk=max(raw, key=lambda desk: raw[desk])) if raw else None

    def evidence(
        self, task: Note, raw: Mapping[str, float], output: Placed | None
    ) -> dict[str, float]:
        ranked = [*sorted(raw.values(), reverse=True), 0.0, 0.0]
        return {"top": ranked[0], "margin": ranked[0] - ranked[1]}

    def checks(self, task: Note, output: Placed) -> list[Check]:
        return [Check("known_desk", passed=output.desk in self._allowed)]

    def frontier_request(self, task: Note, attempt: Attempt) -> FrontierRequest:
        message = {"role": "user", "content": task.text}
        return FrontierRequest((message,), Placed.model_json_schema(), "placed")

    def agrees(self, first: Placed, second: Placed) -> bool:
        return first == second


class Knowing:
    """A frontier that knows the right desk, and errs on a share of the notes."""

    model = "knowing"

    def __init__(self, right: Mapping[str, str], *, errs: float = 0.0) -> None:
        self.right = dict(right)
        self.errs = errs
        self.calls = 0

    def answer(self, text: str) -> str:
        """The desk, or by a draw that depends on the note alone another one."""
        right = self.right[text]
        rng = random.Random(f"errs {text}")
        others = [desk for desk in DESKS if desk != right]
        return rng.choice(others) if rng.random() < self.errs else right

    async def complete(self, request: FrontierRequest, *, run_id: str = "") -> FrontierReply:
        self.calls += 1
        data = {"desk": self.answer(str(request.messages[-1]["content"]))}
        return FrontierReply(data, str(data), self.model, "test", Usage(10, 5), 7, 1.0)


def put_on_record(
    store: Store,
    agent: Agent[Any, Any],
    given: Sequence[tuple[str, str]],
    *,
    reason: str = "uncertified",
) -> list[EscalationRecord]:
    """What the graph leaves of tasks that escalated, without running one: quick, and many."""
    records: list[Any] = []
    escalations = []
    for text, desk in given:
        task = Note(text=text)
        run = Make.run(started_at=now())
        attempt: AttemptRecord = Make.attempt(
            run.id,
            agent=agent.name,
            release=agent.release,
            task_key=agent.task_key(task),
            input=task.model_dump(mode="json"),
            decision="escalate",
            source="frontier",
        )
        escalation = Make.escalation(
            attempt,
            reason=reason,
            frontier_output={"desk": desk},
            frontier_model="knowing",
            agreement=False,
        )
        records += [run, attempt, escalation]
        escalations.append(escalation)
    store.write(records)
    return escalations
