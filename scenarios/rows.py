"""Reads JSON Lines, plain or gzip, one checked row at a time.

Memory is bounded by the longest row. Each format's row is a type here; what the rows mean for a
sub-agent is `datasets`.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Literal, Self, TypeVar

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from journeyman.models.errors import ConfigError

MAX_ROW_BYTES = 16 * 1024 * 1024

RowT = TypeVar("RowT", bound="Row")


class Row(BaseModel):
    """One line of a data file; keys that a format does not know are left alone.

    Attributes:
        id: Unique in its data set; the line number where the row has none.
        group: Rows with the same group stay on the same side of every split.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, coerce_numbers_to_str=True)

    id: str | None = Field(default=None, validation_alias=AliasChoices("id", "_id"))
    group: str | None = None


class BioRow(Row):
    """Tokens with one tag each: `O`, `B-label` or `I-label`."""

    tokens: list[str] = Field(min_length=1)
    tags: list[str]
    intent: str | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.tokens) != len(self.tags):
            raise PydanticCustomError(
                "bio",
                "{tokens} tokens but {tags} tags",
                {"tokens": len(self.tokens), "tags": len(self.tags)},
            )
        for tag in self.tags:
            if tag != "O" and not (tag.startswith(("B-", "I-")) and len(tag) > 2):
                raise PydanticCustomError(
                    "bio", "tag '{tag}' is none of O, B-label, I-label", {"tag": tag}
                )
        return self


class Slot(BaseModel):
    """A labelled stretch of text, end excluded."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    slot: str = Field(min_length=1)
    start: int = Field(ge=0)
    end: int
    value: JsonValue = None


class SpanRow(Row):
    """A text and its slots: a list of `{slot, start, end, value}`, or name -> `{text, span}`.

    In the list form `value` is the text of the slot; in the mapping form `text` is, and `value` may
    be a normal form.

    Attributes:
        requested_slots: What had been asked for when the text was written, if the data say so:
            without it nobody could tell whether "6" are people or an hour.
    """

    text: str = Field(min_length=1)
    slots: list[Slot]
    requested_slots: list[str] = []

    @model_validator(mode="before")
    @classmethod
    def _mapping(cls, data: Any) -> Any:
        slots = data.get("slots") if isinstance(data, dict) else None
        if not isinstance(slots, dict):
            return data
        return {**data, "slots": [_slot(name, item) for name, item in slots.items()]}

    @model_validator(mode="after")
    def _inside(self) -> Self:
        for slot in self.slots:
            found = self.text[slot.start : slot.end]
            if not slot.start < slot.end <= len(self.text):
                raise PydanticCustomError(
                    "span",
                    "slot '{slot}' at {start}:{end} lies outside the text of {length} characters",
                    {**slot.model_dump(include={"slot", "start", "end"}), "length": len(self.text)},
                )
            if slot.value is not None and slot.value != found:
                raise PydanticCustomError(
                    "span",
                    "slot '{slot}' is {value}, but the text has '{found}' at {start}:{end}",
                    {**slot.model_dump(), "value": repr(slot.value), "found": found},
                )
        return self


def _slot(name: str, item: Any) -> Any:
    span = item.get("span") if isinstance(item, dict) else None
    if not isinstance(span, list) or len(span) != 2:
        return item  # not a slot: validation says so at its place
    return {"slot": name, "start": span[0], "end": span[1], "value": item.get("text")}


class FieldsRow(Row):
    """A text, or its lines, and the values of its fields."""

    text: str | None = None
    lines: list[str] | None = None
    entities: dict[str, JsonValue]

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.text is None) == (self.lines is None):
            raise PydanticCustomError("fields", "needs either 'text' or 'lines'")
        if not self.content.strip():
            raise PydanticCustomError("fields", "the text is empty")
        return self

    @property
    def content(self) -> str:
        """The text; lines are joined by line breaks."""
        return self.text if self.text is not None else "\n".join(self.lines or ())


class LabelRow(Row):
    """A text and its label."""

    text: str = Field(min_length=1)
    intent: str = Field(min_length=1)


class RepairRow(Row):
    """A wrong program and the tests that it fails."""

    code: str = Field(min_length=1)
    entry_point: str = Field(min_length=1)
    description: str = ""
    tests: str
    hidden_tests: str = ""
    fixed: str | None = None

    @model_validator(mode="after")
    def _judged(self) -> Self:
        if not self.tests.strip() and not self.hidden_tests.strip():
            raise PydanticCustomError("repair", "has neither 'tests' nor 'hidden_tests'")
        return self


class RepairFacts(BaseModel):
    """How the repair that a request asks for is judged; the program itself stands in the text."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    entry_point: str = ""
    code: str = Field(min_length=1)
    tests: str = ""
    hidden_tests: str = ""
    fixed: str | None = None
    bug_type: str = ""


class DeskRow(Row):
    """A request that needs some of the desk's sub-agents, or nothing that the desk can do."""

    text: str = Field(min_length=1)
    tasks: list[Literal["extraction", "retrieval", "debugging"]]
    fields: dict[str, JsonValue] = Field(default_factory=dict)
    relevant: list[str] = Field(default_factory=list)
    repair: RepairFacts | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if ("debugging" in self.tasks) != (self.repair is not None):
            raise PydanticCustomError("desk", "asks for debugging just where it has 'repair'")
        judged = self.repair and (self.repair.tests.strip() or self.repair.hidden_tests.strip())
        if self.repair is not None and not judged:
            raise PydanticCustomError("desk", "'repair' has neither 'tests' nor 'hidden_tests'")
        if "retrieval" in self.tasks and not self.relevant:
            raise PydanticCustomError("desk", "asks for retrieval but names no 'relevant' passages")
        if "extraction" in self.tasks and not any(v is not None for v in self.fields.values()):
            raise PydanticCustomError("desk", "asks for extraction but 'fields' is empty")
        return self


class PassageRow(Row):
    """A passage of a corpus."""

    id: str = Field(validation_alias=AliasChoices("_id", "id"))
    title: str | None = None
    text: str


class QueryRow(Row):
    """A query of a retrieval data set."""

    id: str = Field(validation_alias=AliasChoices("_id", "id"))
    text: str = Field(min_length=1)


class QrelRow(Row):
    """A judgement: how relevant a passage is to a query; 0 is not at all."""

    query: str = Field(validation_alias=AliasChoices("query-id", "query_id"))
    passage: str = Field(validation_alias=AliasChoices("corpus-id", "corpus_id"))
    score: int = Field(default=1, ge=0)


def read_rows(path: Path, kind: type[RowT]) -> Iterator[tuple[int, RowT]]:
    """The rows of a file with their line numbers (from 1); blank lines are left out.

    Raises:
        ConfigError: With file and line: the file cannot be read, or a row has not the form of
            `kind`.
    """
    number = 0
    try:
        with _open(path) as lines:
            while line := lines.readline(MAX_ROW_BYTES + 1):
                number += 1
                if len(line) > MAX_ROW_BYTES:
                    raise row_error(
                        path, number, f"the row is longer than {MAX_ROW_BYTES:,} bytes; split it"
                    )
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                if line.strip():
                    yield number, _parse(path, number, line, kind)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise row_error(
            path, number + 1, f"the gzip data is broken ({error}); fetch the file again"
        ) from error
    except OSError as error:
        raise ConfigError(
            f"{path}: Cannot read the data file ({error.strerror or error}); check the path.",
            path=path,
        ) from error


def row_error(path: Path, number: int, problem: str) -> ConfigError:
    """The ConfigError for a problem in one row, as `file:line: problem`."""
    return ConfigError(f"{path}:{number}: {problem[:1].upper()}{problem[1:]}.", path=path)


def _open(path: Path) -> IO[bytes]:
    with path.open("rb") as stream:
        magic = stream.read(2)
    # By content, since a name says little: `.jsonl` files are served compressed, and the reverse.
    if magic == b"\x1f\x8b":
        return gzip.open(path, "rb")  # type: ignore[return-value]  # a binary stream in all but type
    return path.open("rb")


def _parse(path: Path, number: int, line: bytes, kind: type[RowT]) -> RowT:
    try:
        return kind.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        at = f" at {where!r}" if where else ""
        message = first["msg"][:1].lower() + first["msg"][1:]
        if first["type"] == "json_invalid":
            message = f"not JSON ({message.removeprefix('invalid JSON: ')})"
        raise row_error(
            path, number, f"this is no {_NAMES[kind]} row{at}: {message}; mend the row or drop it"
        ) from error


_NAMES: dict[type[Row], str] = {
    BioRow: "'bio'",
    SpanRow: "'spans'",
    FieldsRow: "'fields'",
    LabelRow: "'labels'",
    RepairRow: "'repair'",
    DeskRow: "'desk'",
    PassageRow: "passage",
    QueryRow: "query",
    QrelRow: "qrels",
}
