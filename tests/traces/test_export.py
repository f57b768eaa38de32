"""Exports read as their consumers expect, hold only what teaches, and refuse what may not train."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from journeyman.models.errors import ConfigError, CorruptRecord, TraceError
from journeyman.models.types import content_hash
from journeyman.traces import dataset_files
from journeyman.traces.curate import curate
from journeyman.traces.dataset_files import Dataset, DatasetRow, Manifest
from journeyman.traces.dataset_writer import write_dataset
from journeyman.traces.export import FORMS, Chat, export_chat

from .labelled import many


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    rows = many(40)
    rows = [replace(row, rejected="worse") if i % 2 else row for i, row in enumerate(rows)]
    return write_dataset(tmp_path / "data", "desk", curate(rows))


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


def test_openai_lines_are_conversations_that_end_with_the_answer(
    dataset: Dataset, tmp_path: Path
) -> None:
    done = export_chat(dataset, tmp_path / "out.jsonl", form="openai")
    found = lines(done.path)
    assert done.num_rows == len(found) == len(dataset.lessons())
    for line, row in zip(found, dataset.rows("train"), strict=True):
        assert line == {
            "messages": [
                {"role": "user", "content": row.task["text"]},
                {"role": "assistant", "content": json.dumps(row.answer)},
            ]
        }


def test_hugging_face_lines_are_prompts_and_completions(dataset: Dataset, tmp_path: Path) -> None:
    done = export_chat(dataset, tmp_path / "out.jsonl")
    assert {tuple(line) for line in lines(done.path)} == {("completion", "prompt")}


@pytest.mark.parametrize(
    ("form", "names"),
    [
        ("huggingface_preference", ("chosen", "prompt", "rejected")),
        ("openai_preference", ("input", "non_preferred_output", "preferred_output")),
    ],
)
def test_preferences_are_those_lessons_that_have_a_wrong_answer(
    dataset: Dataset, tmp_path: Path, form: Any, names: tuple[str, ...]
) -> None:
    done = export_chat(dataset, tmp_path / "out.jsonl", form=form)
    found = lines(done.path)
    with_pair = sum(row.rejected is not None for row in dataset.rows("train"))
    assert len(found) == done.num_rows == with_pair > 0
    assert done.num_left_out == len(dataset.lessons()) - with_pair
    assert {tuple(line) for line in found} == {names}


def test_the_caller_says_how_a_task_reads(dataset: Dataset, tmp_path: Path) -> None:
    def chat_of(row: DatasetRow) -> Chat:
        return Chat(
            ({"role": "system", "content": "Answer."}, {"role": "user", "content": "?"}),
            str(row.answer),
        )

    done = export_chat(dataset, tmp_path / "out.jsonl", form="openai", chat_of=chat_of)
    assert lines(done.path)[0]["messages"][0] == {"role": "system", "content": "Answer."}


@pytest.mark.parametrize("form", FORMS)
def test_an_export_is_the_same_every_time_and_holds_nothing_that_certifies(
    dataset: Dataset, tmp_path: Path, form: Any
) -> None:
    first = export_chat(dataset, tmp_path / "a.jsonl", form=form)
    second = export_chat(dataset, tmp_path / "b.jsonl", form=form)
    assert first.sha256 == second.sha256 == hashlib.sha256(first.path.read_bytes()).hexdigest()
    text = first.path.read_text(encoding="utf-8")
    assert not any(row.task["text"] in text for row in dataset.rows("calibration"))


def test_a_data_set_that_was_changed_is_not_exported(dataset: Dataset, tmp_path: Path) -> None:
    dataset.path("train").write_bytes(b"")
    with pytest.raises(CorruptRecord):
        export_chat(dataset, tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


def test_rows_that_may_not_train_are_refused_though_the_manifest_vouches_for_them(
    dataset: Dataset, tmp_path: Path
) -> None:
    first, *others = lines(dataset.path("train"))
    content = "".join(
        json.dumps(row) + "\n" for row in [{**first, "trainable": False}, *others]
    ).encode()
    dataset.path("train").write_bytes(content)
    manifest = dataset.manifest.model_copy(
        update={"files": {**dataset.manifest.files, "train": dataset_files.facts_of(content)}}
    )
    forged = Dataset(
        dataset.folder, Manifest.model_validate({**dict(manifest), "dataset_hash": "x"})
    )
    forged = replace(
        forged, manifest=forged.manifest.model_copy(update={"dataset_hash": manifest.digest()})
    )
    with pytest.raises(TraceError, match=r"1 rows of .* may not train"):
        export_chat(forged, tmp_path / "out.jsonl")


def test_a_failed_export_leaves_the_old_file(dataset: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("old")

    def broken(row: DatasetRow) -> Chat:
        raise RuntimeError(content_hash(row.task))

    with pytest.raises(RuntimeError):
        export_chat(dataset, path, chat_of=broken)
    assert path.read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "out.jsonl"]


def test_an_unknown_form_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="use one of"):
        export_chat(dataset, tmp_path / "out.jsonl", form="parquet")  # type: ignore[arg-type]  # on purpose


def test_a_path_that_cannot_be_written_is_said(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TraceError, match="give another path"):
        export_chat(dataset, tmp_path / "file" / "out.jsonl")
