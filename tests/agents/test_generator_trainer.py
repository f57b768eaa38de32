"""Teaching extraction's and debugging's generators from lessons."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from journeyman.agents.extraction import ExtractionTask
from journeyman.agents.generated_extraction import GeneratedExtraction
from journeyman.agents.generator_trainer import GeneratorTrainer
from journeyman.agents.repair_lessons import prompted_repair
from journeyman.agents.repair_text import code_of, generator_prompt, written_code
from journeyman.agents.sandbox import Sandbox
from journeyman.agents.trainer import Lesson, TrainingStep
from journeyman.models.errors import SandboxUnavailable, TrainingError
from journeyman.models.release import Release
from journeyman.models.students.generator import Generation, Generator
from journeyman.models.types import Attempt, Example
from tests.models.tiny_causal import make_tiny_base


class Complaint(BaseModel):
    author: str | None = None
    mood: Literal["calm", "angry"] | None = Field(
        default=None, json_schema_extra={"verbatim": False}
    )


TEXTS = [f"{name}: {cry}" for name in ("Ann", "Bo", "Cy") for cry in ("fine", "bad!", "ok")]


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> GeneratedExtraction:
    base = make_tiny_base(tmp_path_factory.mktemp("base") / "tiny")
    return GeneratedExtraction(Complaint, Generator(base, device="cpu", max_new_tokens=60))


def lesson(agent: GeneratedExtraction, text: str, answer: dict[str, Any], **options: Any) -> Lesson:
    task = ExtractionTask(text=text)
    return Lesson(agent.example(task, agent.parse_frontier(task, Attempt(None), answer)), **options)


def lessons(agent: GeneratedExtraction) -> list[Lesson]:
    made = []
    for text in TEXTS:
        mood = "angry" if "bad" in text else "calm"
        made.append(lesson(agent, text, {"author": text.partition(":")[0], "mood": mood}))
    return made


def test_a_lesson_reads_as_the_student_meets_it(agent: GeneratedExtraction) -> None:
    given = agent.prompted(lesson(agent, "Zoë: bad!", {"mood": "angry", "author": "Zoë"}, weight=2))
    assert given is not None
    assert given.prompt == agent.render(ExtractionTask(text="Zoë: bad!")).messages
    assert given.answer == '{"author": "Zoë", "mood": "angry"}'
    assert given.weight == 2
    assert given.rejected is None
    assert agent.parse(ExtractionTask(text="Zoë: bad!"), Generation(given.answer)).values == {
        "author": "Zoë",
        "mood": "angry",
    }


def test_what_is_taught_is_what_the_grammar_lets_through(agent: GeneratedExtraction) -> None:
    import xgrammar

    base = agent.student.base  # type: ignore[attr-defined]  # a generator
    tokenizer = base._load().tokenizer
    info = xgrammar.TokenizerInfo.from_huggingface(tokenizer)
    compiled = xgrammar.GrammarCompiler(info, max_threads=1).compile_json_schema(
        json.dumps(agent.json_schema), any_whitespace=False
    )

    @given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).map(str.strip))
    def accepted(name: str) -> None:
        made = agent.prompted(lesson(agent, f"{name} is glad", {"author": name, "mood": "calm"}))
        if made is not None:
            assert xgrammar.GrammarMatcher(compiled).accept_string(made.answer)

    accepted()


def test_a_value_that_stands_nowhere_is_not_taught(agent: GeneratedExtraction) -> None:
    good = lesson(agent, "Ann: fine", {"author": "Ann", "mood": "calm"})
    target = good.example.target | {"answer": {"author": "Tom", "mood": "calm"}}
    bad = Lesson(Example(agent.name, good.example.task, target))
    assert agent.prompted(good) is not None
    assert agent.prompted(bad) is None
    for broken in ({}, {"answer": "text"}, {"answer": {"author": ["a", "b"]}}, None):
        assert agent.prompted(Lesson(Example(agent.name, good.example.task, broken))) is None


def test_a_wrong_record_makes_a_preference_pair(agent: GeneratedExtraction) -> None:
    task = ExtractionTask(text="Ann: fine")
    wrong = agent.parse_frontier(task, Attempt(None), {"author": "Ann", "mood": "angry"})
    made = agent.prompted(
        lesson(
            agent,
            task.text,
            {"author": "Ann", "mood": "calm"},
            rejected=wrong.model_dump(mode="json"),
        )
    )
    assert made is not None
    assert made.rejected == '{"author": "Ann", "mood": "angry"}'
    assert made.answer == '{"author": "Ann", "mood": "calm"}'


def test_a_generator_is_taught_loaded_and_released(
    agent: GeneratedExtraction, tmp_path: Path
) -> None:
    pytest.importorskip("trl", reason="teaching generators needs journeyman[train]")
    trainer = agent.trainer()
    assert isinstance(trainer, GeneratorTrainer)
    assert trainer.kind == "generator"
    steps: list[TrainingStep] = []
    given = lessons(agent)
    unfit = Lesson(Example(agent.name, {"text": "x"}, {"answer": {"author": "Tom"}}))
    trained = trainer.train([*given, unfit], tmp_path / "g", on_step=steps.append)
    assert (trained.num_examples, trained.num_left_out) == (len(given), 1)
    assert json.loads(json.dumps(trained.facts))["losses"][-1] < trained.facts["losses"][0]
    assert steps[-1].done == steps[-1].total
    assert steps[0].stage == "epoch 1 of 4"
    student = trainer.load(tmp_path / "g")
    assert student.base is agent.student.base  # type: ignore[attr-defined]  # a generator
    assert student.max_new_tokens == 60
    taught = agent.with_student(student)
    assert taught.release != agent.release
    release = Release.write(
        tmp_path,
        taught.name,
        parts=taught.release_parts(),
        student=tmp_path / "g",
        student_kind=trainer.kind,
        base_model=trainer.base,
    )
    again = agent.with_student(trainer.load(Release.load(release.folder).student))
    assert again.release == taught.release


def test_the_untrained_student_is_the_base(agent: GeneratedExtraction, tmp_path: Path) -> None:
    trainer = agent.trainer()
    assert trainer is not None
    made = trainer.untrained(lessons(agent), tmp_path / "g")
    assert made is not None
    student = trainer.load(tmp_path / "g")
    assert student.fingerprint() == agent.student.fingerprint()
    assert agent.with_student(student).note(Generation("{}")) is not None


def test_lessons_without_an_answer_are_refused(agent: GeneratedExtraction, tmp_path: Path) -> None:
    trainer = agent.trainer()
    assert trainer is not None
    with pytest.raises(TrainingError, match="None of 1 lessons"):
        trainer.train([Lesson(Example(agent.name, {"text": "x"}, {}))], tmp_path / "g")


def test_a_student_of_another_kind_is_not_taught() -> None:
    class Writer:
        def predict(self, items: Any) -> list[Generation]:
            return [Generation("{}") for _ in items]

        def fingerprint(self) -> str:
            return "writer"

    assert GeneratedExtraction(Complaint, Writer()).trainer() is None


CODE = "def add(a, b):\n    return a - b\n"
FIXED = "def add(a, b):\n    return a + b\n"
DRAFT = "def add(a, b):\n    return a * b\n"
TASK = {"code": CODE, "tests": "assert add(1, 2) == 3\n", "description": "Adds."}


def repair(*, verified: bool = True, **options: Any) -> Lesson:
    target = {"code": FIXED, "diff": "", "verified": verified}
    return Lesson(Example("debugging", TASK, target, group="g"), **options)


async def test_a_failed_draft_and_the_verified_patch_are_a_preference_pair() -> None:
    async with Sandbox("process", workers=1) as sandbox:
        try:
            made = await prompted_repair(repair(rejected={"code": DRAFT, "diff": ""}), sandbox)
        except SandboxUnavailable as error:
            pytest.skip(str(error))
        plain = await prompted_repair(repair(), sandbox)
        unverified = await prompted_repair(repair(verified=False), sandbox)
        broken = await prompted_repair(Lesson(Example("debugging", {}, {"code": ""})), sandbox)
    assert made is not None
    assert plain is not None
    assert code_of(made.answer).strip() == FIXED.strip()
    assert made.rejected is not None
    assert code_of(made.rejected).strip() == DRAFT.strip()
    assert made.source == "g"
    assert plain.rejected is None
    assert plain.prompt == made.prompt
    assert "AssertionError" in made.prompt[0]["content"]  # type: ignore[index]  # chat
    assert unverified is broken is None


@given(st.lists(st.sampled_from(["x = 1", "```", "~~~", "s = '''", "````python", ""]), min_size=1))
def test_a_program_is_read_back_from_what_is_taught(lines: list[str]) -> None:
    code = "\n".join(lines)
    if code.strip():
        assert code_of(written_code(code)).rstrip() == code.rstrip()


def test_the_prompt_names_the_first_failure_alone() -> None:
    (message,) = generator_prompt(CODE, description=" Adds. ", failures=["one", "two"])
    assert "It fails: one" in message["content"]
    assert "two" not in message["content"]
