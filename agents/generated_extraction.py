"""Extraction by a student that writes: its answer is JSON, and values need not stand in the text.

The generator fills, by grammar, the same shape that the frontier is asked for, and both are read by
the same code. Fields declared with `json_schema_extra={"verbatim": False}` may hold what the text
only implies (a sentiment, a category, a summary). Nothing here knows how a generator learns.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from typing_extensions import override

from journeyman.agents.extraction import Extraction, ExtractionTask, prompt_line
from journeyman.agents.fields import FieldSpec
from journeyman.agents.generator_trainer import GeneratorTrainer
from journeyman.agents.grounding import Document
from journeyman.agents.quotes import read_quotes, write_quotes
from journeyman.agents.record import Record
from journeyman.agents.trainer import Lesson, Trainer
from journeyman.models.errors import AgentError, MalformedOutput
from journeyman.models.served import ServedGenerator
from journeyman.models.students.base import Student
from journeyman.models.students.generator import Generation, Generator, Prompt
from journeyman.models.training.generator_rows import PromptedAnswer
from journeyman.models.types import Attempt, Check, Example

_PROMPT = """\
Extract fields from the text as one JSON object. A field that the text does not state is null.
{fields}"""


class GeneratedExtraction(Extraction):
    """Fills one schema from texts, by a student that writes JSON.

    Args:
        schema: Model of the record. See `fields_of` for the types it may have.
        student: A generator.
        options: As `Extraction` takes them.

    Raises:
        ConfigError: A field cannot be extracted, or the locale is unknown.
    """

    def __init__(
        self, schema: type[BaseModel], student: Student[Prompt, Generation], **options: Any
    ) -> None:
        # The base class asks nothing of a tagger that is not overridden here.
        super().__init__(schema, student, **options)  # type: ignore[arg-type]
        lines = "\n".join(prompt_line(spec) for spec in self.specs)
        self._student_prompt = _PROMPT.format(fields=lines)

    @override
    def render(self, task: ExtractionTask) -> Prompt:  # type: ignore[override]  # the other student
        """The fields and the text, as chat messages, with the schema of the answer."""
        return Prompt(
            messages=(
                {"role": "system", "content": self._student_prompt},
                {"role": "user", "content": task.text},
            ),
            schema=self.json_schema,
        )

    @override
    def parse(self, task: ExtractionTask, raw: Generation) -> Record:  # type: ignore[override]
        """The record that the JSON makes; verbatim fields are looked for in the text.

        Raises:
            MalformedOutput: It was cut off, or is no such object.
        """
        return self.parse_frontier(task, Attempt(None), _read_object(raw, self.name))

    @override
    def note(self, raw: Generation) -> str | None:  # type: ignore[override]
        """Says so where the base answers without having been taught."""
        if getattr(self.student, "taught", True):
            return None
        return f"The student of {self.name!r} has not been taught yet."

    @override
    def record(self, raw: Generation) -> dict[str, Any]:  # type: ignore[override]
        """The text as it was written, and the log-probabilities of each field's value."""
        return {
            "text": raw.text,
            "finished": raw.finished,
            "fields": {path: list(logs) for path, logs in self._value_logs(raw).items()},
            "evidence": raw.evidence(),
        }

    @override
    def evidence(  # type: ignore[override]
        self, task: ExtractionTask, raw: Generation, output: Record | None
    ) -> dict[str, float]:
        """Numbers of the values' tokens, by field and together, and of the answer (`student_*`).

        Quotes, keys and brackets are left out: a grammar makes them certain. A field without a
        value has the tokens of its `null` or `[]`.
        """
        logs = self._value_logs(raw)
        numbers: dict[str, float] = {}
        for spec in self.specs:
            numbers |= _aggregates(f"{spec.path}:", logs.get(spec.path, ()))
        numbers |= _aggregates("values:", [log for own in logs.values() for log in own])
        problems = output.problems if output else ()
        numbers["num_ungrounded"] = float(sum(p.kind == "ungrounded" for p in problems))
        numbers["num_unreadable"] = float(sum(p.kind == "unreadable" for p in problems))
        numbers["num_spans"] = float(len(output.spans) if output else 0)
        numbers["text_length_log"] = math.log1p(len(task.text))
        return numbers | {f"student_{name}": value for name, value in raw.evidence().items()}

    @override
    def checks(self, task: ExtractionTask, output: Record) -> list[Check]:
        """As of every extraction, and `stated:<field>`, soft, for fields that are not verbatim."""
        document = Document(task.text)
        stated = {span.field for span in output.spans}
        told = [
            Check(
                name=f"stated:{spec.path}",
                passed=spec.path in stated
                or all(document.find(str(v)) for v in _values(spec, output.values)),
                hard=False,
                detail="not in the document's words",
            )
            for spec in self.specs
            if not spec.verbatim
        ]
        return super().checks(task, output) + told

    @override
    def example(self, task: ExtractionTask, answer: Record) -> Example:
        """The text and the JSON that the student should write: `{"answer": {...}, ...}`."""
        made = super().example(task, answer)
        target = made.target | {"answer": self.reference_answer(task, answer)}
        return Example(agent=made.agent, task=made.task, target=target, group=made.group)

    @override
    def trainer(self) -> Trainer | None:
        """Teaches generators like the student; None where the student is no generator."""
        if not isinstance(self.student, Generator | ServedGenerator):
            return None
        return GeneratorTrainer(self.student, self.prompted)

    def prompted(self, lesson: Lesson) -> PromptedAnswer | None:
        """A lesson as the student meets it: its prompt, and the JSON that the grammar lets through.

        Returns:
            None where there is nothing to learn: no such answer, or one that fails a hard check,
            such as a verbatim value that stands nowhere in the text.
        """
        example = lesson.example
        try:
            task = self.input_type.model_validate(example.task)
            answer = self._read_written(example.target["answer"])
            record = self.parse_frontier(task, Attempt(None), answer)
        except (ValidationError, MalformedOutput, KeyError, TypeError):
            return None
        if any(check.hard and not check.passed for check in self.checks(task, record)):
            return None
        return PromptedAnswer(
            prompt=self.render(task).messages,
            answer=json.dumps(answer, ensure_ascii=False),
            rejected=self._rejected(task, lesson.rejected),
            weight=lesson.weight,
            source=example.group,
        )

    def _rejected(self, task: ExtractionTask, rejected: Any) -> str | None:
        """A wrong record as the student would have written it."""
        if rejected is None:
            return None
        try:
            answer = self.reference_answer(task, Record.model_validate(rejected))
        except (ValidationError, AgentError):
            return None
        return json.dumps(answer, ensure_ascii=False)

    def _read_written(self, data: Any) -> dict[str, Any]:
        """The answer with every key, in the order of the grammar."""
        if not isinstance(data, Mapping):
            raise MalformedOutput(f"The lesson's answer for agent {self.name!r} is no object.")
        return write_quotes(self.specs, read_quotes(self.specs, data))

    @override
    def release_parts(self) -> dict[str, Any]:
        """The student's prompt, beside what every extraction has."""
        return super().release_parts() | {"student_prompt": self._student_prompt}

    def _value_logs(self, raw: Generation) -> dict[str, tuple[float, ...]]:
        """Log-probabilities of the tokens of each field's values; nothing of a broken answer."""
        try:
            _read_object(raw, self.name)
        except MalformedOutput:
            return {}
        logs: dict[str, tuple[float, ...]] = {}
        known = {spec.path for spec in self.specs}
        for path, start, end in value_places(raw.text):
            if path in known:
                own = raw.log_probabilities_between(start, end)
                logs[path] = logs.get(path, ()) + own
        return logs


def _read_object(raw: Generation, name: str) -> dict[str, Any]:
    try:
        data = json.loads(raw.text)
    except ValueError as error:
        why = "is no JSON" if raw.finished else "was cut off"
        raise MalformedOutput(
            f"The student's answer for agent {name!r} {why}: give it a schema, or more "
            f"max_new_tokens.",
            completion=raw.text,
        ) from error
    if not isinstance(data, dict):
        raise MalformedOutput(
            f"The student's answer for agent {name!r} is not a JSON object: give it a schema.",
            completion=raw.text,
        )
    return data


def value_places(text: str) -> Iterator[tuple[str, int, int]]:
    """Path, first character and end of every value of a JSON object, strings without their quotes.

    A list's path is its field's, once for each entry (and once for an empty list); objects within
    contribute their fields as `parent.child`.

    Args:
        text: An object that `json.loads` reads.
    """
    yield from _places_in_object(text, text.index("{"), "")


def _places_in_object(text: str, start: int, prefix: str) -> Iterator[tuple[str, int, int]]:
    decoder = json.JSONDecoder()
    at = _skip(text, start + 1)
    while text[at] != "}":
        key, at = decoder.raw_decode(text, at)
        at = _skip(text, _skip(text, at) + 1)  # the colon
        _, end = decoder.raw_decode(text, at)
        yield from _places_of(text, at, end, f"{prefix}{key}")
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)


def _places_of(text: str, start: int, end: int, path: str) -> Iterator[tuple[str, int, int]]:
    if text[start] == "{":
        yield from _places_in_object(text, start, f"{path}.")
    elif text[start] == "[" and text[_skip(text, start + 1)] != "]":
        at = _skip(text, start + 1)
        while at < end:
            _, stop = json.JSONDecoder().raw_decode(text, at)
            yield from _places_of(text, at, stop, path)
            at = _skip(text, _skip(text, stop) + 1)  # past the comma, or past the end
    elif text[start] == '"' and end - start > 2:
        yield path, start + 1, end - 1
    else:
        yield path, start, end


def _skip(text: str, at: int) -> int:
    """The first character from here that is no white space."""
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _aggregates(prefix: str, logs: Sequence[float]) -> dict[str, float]:
    return {
        f"{prefix}log_probability_min": min(logs, default=0.0),
        f"{prefix}log_probability_mean": sum(logs) / len(logs) if logs else 0.0,
        f"{prefix}log_probability_sum": float(sum(logs)),
    }


def _values(spec: FieldSpec, values: Mapping[str, Any]) -> list[Any]:
    """The values of one field of the schema itself, or of its nested models."""
    top = values.get(spec.name)
    holders = top if spec.in_list and isinstance(top, list) else [top]
    found = [h.get(spec.child) if spec.child and isinstance(h, Mapping) else h for h in holders]
    flat = [v for one in found for v in (one if isinstance(one, list) else [one])]
    return [value for value in flat if value is not None]
