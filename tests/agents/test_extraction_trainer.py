"""Teaching extraction: what lessons mean, what cannot be learned, and a student that loads."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field

from journeyman.agents.extraction import Extraction, ExtractionTask, Record
from journeyman.agents.extraction_trainer import ExtractionTrainer, tagged_text
from journeyman.agents.generated_extraction import GeneratedExtraction
from journeyman.agents.trainer import Lesson, Trainer, TrainingStep
from journeyman.models.errors import TrainingError, WeightsError
from journeyman.models.students.tagger import Tagger
from journeyman.models.types import Example

from .extraction_students import ScriptedTagger, ScriptedTagging


class Order(BaseModel):
    dish: str
    place: str | None = None
    mood: str | None = Field(default=None, json_schema_extra={"verbatim": False})


DISHES = ("soup", "noodles", "rye bread", "plum cake", "rice", "stew")
PLACES = ("Rome", "New York", "Oslo", "Bath")


def order(dish: str, place: str | None) -> tuple[str, dict[str, Any]]:
    text = f"bring {dish} to {place}" if place else f"one {dish} please"
    return text, {"dish": dish, "place": place}


def lessons_of(agent: Extraction, weight: float = 1.0) -> list[Lesson]:
    rows = [order(dish, place) for dish in DISHES for place in (*PLACES, None)]
    return [lesson_of(agent, text, values, weight) for text, values in rows]


def lesson_of(agent: Extraction, text: str, values: dict[str, Any], weight: float = 1.0) -> Lesson:
    example = agent.example(ExtractionTask(text=text), Record(values=values))
    return Lesson(example, weight)


def trainer_of(agent: Extraction) -> Trainer:
    trainer = agent.trainer()
    assert trainer is not None
    return trainer


def test_a_round_teaches_a_student_that_answers(tmp_path: Path) -> None:
    agent = Extraction(Order, Tagger())
    trainer = trainer_of(agent)
    assert (trainer.kind, trainer.base) == ("tagger", "all-MiniLM-L6-v2")
    steps: list[TrainingStep] = []
    trained = trainer.train(lessons_of(agent), tmp_path / "t", on_step=steps.append)
    assert (trained.num_examples, trained.num_left_out) == (30, 0)
    assert steps[-1].done == steps[-1].total
    assert steps[0].stage == "epoch 1"
    taught = agent.with_student(trainer.load(tmp_path / "t"))
    attempt = asyncio.run(taught.attempt(ExtractionTask(text="bring rice to Rome")))
    assert attempt.output.values == {"dish": "rice", "place": "Rome", "mood": None}
    again = trainer_of(taught).train(lessons_of(agent), tmp_path / "u", parent=tmp_path / "t")
    assert (trained.facts["started_from"], again.facts["started_from"]) == ("base", "parent")
    assert again.facts["loss"] < trained.facts["loss"]
    assert (trained.facts["num_epochs"], again.facts["num_epochs"]) == (8, 5)


def test_a_parent_of_another_kind_or_other_fields_is_no_start(tmp_path: Path) -> None:
    agent = Extraction(Order, Tagger())
    trainer = trainer_of(agent)
    lessons = lessons_of(agent)[:4]
    trainer.untrained(lessons, tmp_path / "n")
    Tagger(labels=("price",)).save(tmp_path / "p")
    for name in "np":
        made = trainer.train(lessons, tmp_path / f"t{name}", parent=tmp_path / name)
        assert made.facts["started_from"] == "base"


def test_the_untrained_student_answers_by_what_is_nearest(tmp_path: Path) -> None:
    agent = Extraction(Order, Tagger())
    trainer = trainer_of(agent)
    lost = Lesson(Example("extraction", {"text": "rice"}, {"values": {"dish": "stew"}}))
    made = trainer.untrained([*lessons_of(agent), lost], tmp_path / "n")
    assert made is not None
    assert (made.num_examples, made.num_left_out) == (30, 1)
    untrained = agent.with_student(trainer.load(tmp_path / "n"))
    attempt = asyncio.run(untrained.attempt(ExtractionTask(text="bring Plum  cake to Rome")))
    assert attempt.output.values == {"dish": "Plum cake", "place": "Rome", "mood": None}
    assert attempt.note is None
    blank = asyncio.run(agent.attempt(ExtractionTask(text="bring rice")))
    assert attempt.evidence.keys() == blank.evidence.keys()
    assert untrained.release != agent.release
    following = trainer_of(untrained)
    assert (following.kind, following.base) == (trainer.kind, trainer.base)


def test_only_taggers_are_taught_here() -> None:
    scripted = ScriptedTagger(lambda _: ScriptedTagging())
    assert Extraction(Order, scripted).trainer() is None
    assert GeneratedExtraction(Order, scripted).trainer() is None  # type: ignore[arg-type]


def test_spans_are_learned_as_they_stand_and_weigh_as_the_lesson_does() -> None:
    agent = Extraction(Order, Tagger())
    lesson = lesson_of(agent, "bring rice to Rome", {"dish": "rice", "place": "Rome"}, 2.5)
    learned = tagged_text(lesson.example, agent.specs, lesson.weight)
    assert learned is not None
    assert [(s.label, s.start, s.end, s.text) for s in learned.spans] == [
        ("dish", 6, 10, "rice"),
        ("place", 14, 18, "Rome"),
    ]
    assert learned.weight == 2.5


def test_a_text_that_states_nothing_is_a_lesson_too() -> None:
    agent = Extraction(Order, Tagger())
    learned = tagged_text(lesson_of(agent, "hello there", {}).example, agent.specs)
    assert learned is not None
    assert learned.spans == ()


def test_what_is_told_needs_no_place_in_the_text() -> None:
    agent = Extraction(Order, Tagger())
    example = lesson_of(agent, "rice, at once!", {"dish": "rice", "mood": "impatient"}).example
    assert tagged_text(example, agent.specs) is not None


@pytest.mark.parametrize(
    ("task", "target"),
    [
        ({"text": "bring rice"}, {"spans": [], "values": {"dish": "stew"}}),
        (
            {"text": "bring rice"},
            {"spans": [{"label": "dish", "start": 0, "end": 4, "text": "ri"}]},
        ),
        (
            {"text": "bring rice"},
            {"spans": [{"label": "x", "start": 6, "end": 10, "text": "rice"}]},
        ),
        ({"text": "bring rice"}, {"spans": [{"label": "dish"}]}),
        ({"text": "bring rice"}, {"values": {}}),
        ({"text": "bring rice"}, None),
        ({"text": " \n"}, {"spans": [], "values": {}}),
        ({}, {"spans": []}),
    ],
)
def test_what_would_teach_something_false_is_left_out(task: Any, target: Any) -> None:
    """A value that stands nowhere in the text would be a lesson in leaving it out."""
    agent = Extraction(Order, Tagger())
    assert tagged_text(Example("extraction", task, target), agent.specs) is None


def test_nothing_to_learn_is_an_error_that_says_so(tmp_path: Path) -> None:
    agent = Extraction(Order, Tagger())
    lost = Lesson(Example("extraction", {"text": "rice"}, {"values": {"dish": "stew"}}))
    with pytest.raises(TrainingError, match="None of 1 lessons"):
        trainer_of(agent).train([lost], tmp_path / "t")
    assert not (tmp_path / "t").exists()


def test_the_order_of_lessons_does_not_shape_the_student(tmp_path: Path) -> None:
    agent = Extraction(Order, Tagger())
    trainer = trainer_of(agent)
    lessons = lessons_of(agent)[:8]
    trainer.train(lessons, tmp_path / "a")
    trainer.train(lessons[::-1], tmp_path / "b")
    first, second = trainer.load(tmp_path / "a"), trainer.load(tmp_path / "b")
    assert first.fingerprint() == second.fingerprint()


def test_a_student_of_other_fields_is_refused(tmp_path: Path) -> None:
    Tagger(labels=("price",)).save(tmp_path / "t")
    with pytest.raises(WeightsError, match="price"):
        ExtractionTrainer(Extraction(Order, Tagger()).specs, "all-MiniLM-L6-v2").load(
            tmp_path / "t"
        )
