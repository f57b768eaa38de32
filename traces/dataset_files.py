"""A data set as a folder: one JSON Lines file for each part, and a manifest that vouches for them.

The folder is named by the hash of what is in it, appears whole or not at all, and is never changed.
Training reads the `train` file alone; what certifies lies in files of its own. Here data sets are
read and checked; `dataset_writer` writes them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from journeyman.models.errors import CorruptRecord, TraceError
from journeyman.models.types import Example, content_hash
from journeyman.traces.labels import PARTS, Part

FORMAT_VERSION = 1

MANIFEST = "manifest.json"


class FileFacts(BaseModel):
    """What one file holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str
    num_rows: int
    num_bytes: int


class Manifest(BaseModel):
    """What a data set is and where it comes from.

    Attributes:
        format_version: Of the folder.
        agent: The sub-agent.
        dataset_hash: SHA-256 of all of this but the time; the folder is named by it.
        lessons_hash: SHA-256 of what teaches, whoever asked for it and when: equal for data sets
            that teach the same.
        parent: `dataset_hash` of the data set before; None for the first.
        created_at: When it was written.
        files: By part.
        counts: Figures of curation.
        drops: Rows left out, by reason.
        origins, label_sources, frontier_models, releases: Rows by where they and their labels come
            from, over all parts.
        labelled_from, labelled_until: First and last label.
        filters: Settings of curation.
        terms: What the writer says of licences and provider terms; `num_withheld` counts the rows
            left out for them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: int
    agent: str
    dataset_hash: str = ""
    lessons_hash: str
    parent: str | None = None
    created_at: datetime
    files: dict[Part, FileFacts]
    counts: dict[str, int] = Field(default_factory=dict)
    drops: dict[str, int] = Field(default_factory=dict)
    origins: dict[str, int] = Field(default_factory=dict)
    label_sources: dict[str, int] = Field(default_factory=dict)
    frontier_models: dict[str, int] = Field(default_factory=dict)
    releases: dict[str, int] = Field(default_factory=dict)
    labelled_from: datetime | None = None
    labelled_until: datetime | None = None
    filters: dict[str, Any] = Field(default_factory=dict)
    terms: dict[str, Any] = Field(default_factory=dict)

    def digest(self) -> str:
        """The `dataset_hash` that this manifest should have."""
        return content_hash(self.model_dump(mode="json", exclude={"dataset_hash", "created_at"}))


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """One row of a file.

    Attributes:
        task_key: Content hash of the task.
        task: The task in the sub-agent's input form.
        answer: The right answer in its output form.
        rejected: A wrong answer in its output form; None where none is known.
        example: The teaching example; None in files that do not teach.
        weight: How often it should be drawn; the mean over the file is 1.
        label_source: Who says that the answer is right.
        origin: Why there is a label.
        trainable: Whether it may train a model; in the `train` file always True.
        provenance: Run, attempt, escalation, release, model and time.
    """

    task_key: str
    task: Any
    answer: Any
    rejected: Any
    example: Example | None
    weight: float
    label_source: str
    origin: str
    trainable: bool
    provenance: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set on disk.

    Attributes:
        folder: Where it is.
        manifest: What it is.
    """

    folder: Path
    manifest: Manifest

    @property
    def hash(self) -> str:
        """Content hash of the data set."""
        return self.manifest.dataset_hash

    def path(self, part: Part) -> Path:
        """The file of one part."""
        return self.folder / f"{part}.jsonl"

    def rows(self, part: Part) -> Iterator[DatasetRow]:
        """Rows of one part, in the order of the file.

        Raises:
            CorruptRecord: A line is not a row.
        """
        with self.path(part).open(encoding="utf-8", newline="\n") as file:
            for number, line in enumerate(file, 1):
                try:
                    yield _from_json(self.manifest.agent, json.loads(line))
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    raise CorruptRecord(
                        f"Line {number} of {str(self.path(part))!r} is not a row "
                        f"({type(error).__name__}: {error}): write the data set again.",
                        path=self.path(part),
                    ) from error

    def lessons(self) -> list[tuple[Example, float]]:
        """The teaching examples with their weights.

        Raises:
            CorruptRecord: A line is not a row.
        """
        return [(row.example, row.weight) for row in self.rows("train") if row.example is not None]

    def verify(self) -> None:
        """Check every file against the manifest, and the manifest against its hash.

        Raises:
            CorruptRecord: Something was changed, is missing, or does not belong there.
        """
        manifest = self.manifest
        if manifest.digest() != manifest.dataset_hash:
            raise _damaged(self.folder / MANIFEST, "does not match its own hash")
        for part in PARTS:
            path = self.path(part)
            try:
                content = path.read_bytes()
            except OSError as error:
                raise _damaged(path, f"cannot be read ({error})") from error
            if part not in manifest.files or facts_of(content) != manifest.files[part]:
                raise _damaged(path, "does not match the manifest")
        expected = {MANIFEST, *(f"{part}.jsonl" for part in PARTS)}
        strangers = sorted({path.name for path in self.folder.iterdir()} - expected)
        if strangers:
            raise _damaged(self.folder / strangers[0], "does not belong to the data set")


def open_dataset(folder: Path, *, verify: bool = True) -> Dataset:
    """Open a data set.

    Args:
        folder: As `write_dataset` made it.
        verify: Check every file against the manifest first.

    Raises:
        TraceError: There is no data set, or it was written by a newer version.
        CorruptRecord: It is damaged.
    """
    path = folder / MANIFEST
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TraceError(
            f"There is no data set in {str(folder)!r} ({error}): check the path.", path=path
        ) from error
    except ValueError as error:
        raise _damaged(path, f"is not JSON ({error})") from error
    version = data.get("format_version") if isinstance(data, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise TraceError(
            f"Data set {str(folder)!r} has format {version}, newer than {FORMAT_VERSION}: upgrade "
            "Journeyman.",
            path=path,
        )
    try:
        dataset = Dataset(folder, Manifest.model_validate(data))
    except ValidationError as error:
        raise _damaged(path, f"is not a manifest ({error.errors()[0]['msg']})") from error
    if verify:
        dataset.verify()
    return dataset


def _damaged(path: Path, what: str) -> CorruptRecord:
    return CorruptRecord(
        f"Data set file {str(path)!r} {what}: delete the folder and write the data set again.",
        path=path,
    )


def _from_json(agent: str, data: Mapping[str, Any]) -> DatasetRow:
    lesson = data.get("example")
    return DatasetRow(
        task_key=data["task_key"],
        task=data["task"],
        answer=data["answer"],
        rejected=data["rejected"],
        example=None
        if lesson is None
        else Example(agent, lesson["task"], lesson["target"], lesson["group"]),
        weight=float(data.get("weight", 1.0)),
        label_source=data["label_source"],
        origin=data["origin"],
        trainable=data["trainable"] is True,
        provenance=data["provenance"],
    )


def facts_of(content: bytes) -> FileFacts:
    """Facts of a file with this content."""
    return FileFacts(
        sha256=hashlib.sha256(content).hexdigest(),
        num_rows=content.count(b"\n"),
        num_bytes=len(content),
    )
