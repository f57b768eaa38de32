"""Extraction by a student that writes."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from journeyman.agents.extraction import ExtractionTask, Record
from journeyman.agents.generated_extraction import GeneratedExtraction, value_places
from journeyman.models.errors import MalformedOutput
from journeyman.models.students.generator import Generation, Generator, Prompt
from journeyman.models.types import Attempt

TEXT = "Nina Weber wrote on 3 May 2024: the pump leaks again, this is unacceptable!"


class Complaint(BaseModel):
    author: str | None = None
    mood: Literal["calm", "angry"] | None = Field(
        default=None, json_schema_extra={"verbatim": False}
    )
    topic: str | None = Field(default=None, json_schema_extra={"verbatim": False})
    parts: list[str] = Field(default_factory=list)


ANSWER = {"author": "Nina Weber", "mood": "angry", "topic": "leaking pump", "parts": ["pump"]}


class Writer:
    """Writes what it is told, each character a token, those of `doubtful` at -1."""

    taught = True

    def __init__(self, write: Callable[[Prompt], str], doubtful: str = "") -> None:
        self._write = write
        self._doubtful = doubtful

    def predict(self, items: Sequence[Prompt]) -> list[Generation]:
        return [self._generation(self._write(item)) for item in items]

    def _generation(self, text: str) -> Generation:
        at = text.find(self._doubtful) if self._doubtful else -1
        doubt = range(at, at + len(self._doubtful)) if at >= 0 else range(0)
        return Generation(
            text=text,
            token_ids=tuple(map(ord, text)),
            starts=tuple(range(len(text))),
            log_probabilities=tuple(-1.0 if i in doubt else 0.0 for i in range(len(text))),
        )

    def fingerprint(self) -> str:
        return "writer"


def agent_for(answer: Any, doubtful: str = "") -> GeneratedExtraction:
    text = answer if isinstance(answer, str) else json.dumps(answer)
    return GeneratedExtraction(Complaint, Writer(lambda _: text, doubtful))


async def test_a_value_that_is_not_in_the_text_is_kept_where_the_field_is_not_verbatim() -> None:
    attempt = await agent_for(ANSWER).attempt(ExtractionTask(text=TEXT))
    assert attempt.output.values == ANSWER
    assert attempt.failed_check is None
    assert {span.field for span in attempt.output.spans} == {"author", "parts"}


async def test_a_verbatim_value_that_is_not_in_the_text_fails_the_hard_check() -> None:
    attempt = await agent_for(ANSWER | {"author": "Tom"}).attempt(ExtractionTask(text=TEXT))
    assert attempt.failed_check is not None
    assert attempt.failed_check.name == "grounded"
    assert "author" not in {span.field for span in attempt.output.spans}


async def test_whether_a_told_value_is_in_the_text_is_a_soft_check() -> None:
    attempt = await agent_for(ANSWER | {"topic": "the pump"}).attempt(ExtractionTask(text=TEXT))
    told = {check.name: check for check in attempt.checks if check.name.startswith("stated:")}
    assert told["stated:topic"].passed
    assert not told["stated:mood"].passed
    assert not told["stated:mood"].hard


async def test_evidence_tells_the_fields_apart() -> None:
    attempt = await agent_for(ANSWER, doubtful="angry").attempt(ExtractionTask(text=TEXT))
    assert attempt.evidence["mood:log_probability_min"] == -1.0
    assert attempt.evidence["mood:log_probability_sum"] == -5.0
    assert attempt.evidence["author:log_probability_sum"] == 0.0
    assert attempt.evidence["values:log_probability_sum"] == -5.0


async def test_evidence_has_the_same_names_for_full_and_empty_answers() -> None:
    empty = {"author": None, "mood": None, "topic": None, "parts": []}
    task = ExtractionTask(text=TEXT)
    full, none = [await agent_for(a).attempt(task) for a in (ANSWER, empty)]
    assert set(full.evidence) == set(none.evidence)
    assert none.output.values["parts"] == []


@pytest.mark.parametrize("broken", ['{"author": "Ni', "[]", "no", ""])
def test_an_answer_that_is_no_object_is_malformed(broken: str) -> None:
    agent = agent_for(broken)
    task = ExtractionTask(text=TEXT)
    raw = agent.student.predict([agent.render(task)])[0]
    with pytest.raises(MalformedOutput):
        agent.parse(task, raw)
    assert agent.record(raw)["fields"] == {}


def test_the_student_is_given_fields_text_and_the_grammar() -> None:
    prompt = agent_for(ANSWER).render(ExtractionTask(text=TEXT))
    assert prompt.schema is not None
    assert prompt.schema["properties"]["mood"]["enum"] == ["calm", "angry", None]
    assert "enum" not in prompt.schema["properties"]["author"]
    assert TEXT in str(prompt.messages)


def test_student_and_frontier_agree_on_the_same_answer() -> None:
    agent = agent_for(ANSWER)
    task = ExtractionTask(text=TEXT)
    mine = agent.parse(task, agent.student.predict([agent.render(task)])[0])
    theirs = agent.parse_frontier(task, Attempt(None), ANSWER)
    assert agent.agrees(mine, theirs)


def test_a_known_answer_survives_the_frontiers_shape_with_its_told_values() -> None:
    agent = agent_for(ANSWER)
    task = ExtractionTask(text=TEXT)
    right = agent.parse_frontier(task, Attempt(None), ANSWER)
    assert agent.reference_answer(task, right) == ANSWER
    assert agent.reference_answer(task, Record(values=ANSWER)) == ANSWER
    wrong = agent.parse_frontier(
        task, Attempt(None), agent.wrong_answer(ANSWER, random.Random(0), text=TEXT)
    )
    assert not agent.agrees(right, wrong)


def test_the_teaching_example_holds_what_the_student_should_write() -> None:
    agent = agent_for(ANSWER)
    task = ExtractionTask(text=TEXT)
    right = agent.parse_frontier(task, Attempt(None), ANSWER)
    example = agent.example(task, right)
    assert example.target["answer"] == ANSWER
    assert {span["label"] for span in example.target["spans"]} == {"author", "parts"}


def test_an_untaught_generator_says_so() -> None:
    agent = agent_for(ANSWER)
    assert agent.note(Generation("{}")) is None
    agent.student.taught = False  # type: ignore[attr-defined]
    assert "not been taught" in str(agent.note(Generation("{}")))


SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
OBJECTS = st.dictionaries(
    st.text("abc", min_size=1, max_size=3),
    SCALARS
    | st.lists(SCALARS, max_size=3)
    | st.dictionaries(st.text("xyz", min_size=1, max_size=2), SCALARS, max_size=2)
    | st.lists(st.dictionaries(st.text("xyz", min_size=1, max_size=2), SCALARS, max_size=2)),
    max_size=4,
)


def leaves(value: Any, path: str) -> list[tuple[str, str]]:
    if isinstance(value, dict):
        return [leaf for k, v in value.items() for leaf in leaves(v, f"{path}.{k}" if path else k)]
    if isinstance(value, list) and value:
        return [leaf for one in value for leaf in leaves(one, path)]
    written = json.dumps(value)
    return [(path, written[1:-1] if isinstance(value, str) and value else written)]


@given(OBJECTS, st.sampled_from([None, 2]))
def test_every_value_has_its_place(data: dict[str, Any], indent: int | None) -> None:
    text = json.dumps(data, indent=indent)
    places = [(path, text[start:end]) for path, start, end in value_places(text)]
    assert places == leaves(data, "")


@pytest.mark.slow
async def test_a_real_generator_fills_the_schema() -> None:
    agent = GeneratedExtraction(Complaint, Generator(device="cpu", max_new_tokens=64))
    raw = agent.student.predict([agent.render(ExtractionTask(text=TEXT))])[0]
    assert set(json.loads(raw.text)) == set(ANSWER)
    assert agent.note(raw) is not None
    assert set(agent.record(raw)["fields"]) == set(ANSWER)
