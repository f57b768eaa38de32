"""Data sets are named by their content, appear whole, and notice every change."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from journeyman.models.errors import ConfigError, CorruptRecord, TraceError
from journeyman.models.types import Example
from journeyman.traces import dataset_writer
from journeyman.traces.curate import Curation, Settings, curate
from journeyman.traces.dataset_files import Dataset, open_dataset
from journeyman.traces.dataset_writer import write_dataset
from journeyman.traces.labels import PARTS
from journeyman.traces.likeness import group_key
from journeyman.traces.split import Shares, part_of

from .labelled import labelled, many

NOON = datetime(2026, 2, 1, 12, tzinfo=UTC)


def write(root: Path, curation: Curation, **given: Any) -> Dataset:
    return write_dataset(root, "desk", curation, **{"clock": lambda: NOON, **given})


def test_every_row_comes_back_in_its_file(tmp_path: Path) -> None:
    curation = curate(many(80))
    dataset = write(tmp_path, curation)
    for part in PARTS:
        assert [(row.task, row.answer) for row in dataset.rows(part)] == [
            (row.task, row.target) for row in curation.rows(part)
        ]
    lessons = dataset.lessons()
    assert [example.task for example, _ in lessons] == [row.task for row in curation.train]
    assert [weight for _, weight in lessons] == list(curation.weights)


def test_the_same_content_is_the_same_folder_whoever_writes_it_and_when(tmp_path: Path) -> None:
    rows = many(50)
    turned = list(rows)
    random.Random(5).shuffle(turned)
    first = write(tmp_path / "a", curate(rows))
    second = write(tmp_path / "b", curate(turned), clock=lambda: datetime.now(UTC))
    assert first.hash == second.hash
    assert first.folder.name == second.folder.name == f"desk-{first.hash[:16]}"
    assert first.path("train").read_bytes() == second.path("train").read_bytes()


def test_writing_twice_leaves_the_first_folder_as_it_is(tmp_path: Path) -> None:
    curation = curate(many(20))
    first = write(tmp_path, curation)
    before = (first.folder / "manifest.json").stat().st_mtime_ns
    again = write(tmp_path, curation, clock=lambda: datetime.now(UTC))
    assert (again.folder / "manifest.json").stat().st_mtime_ns == before
    assert again.manifest.created_at == NOON
    assert len(list(tmp_path.iterdir())) == 1


def test_other_answers_make_another_data_set(tmp_path: Path) -> None:
    rows = many(20)
    other = [replace(row, target="other") for row in rows]
    assert write(tmp_path, curate(rows)).hash != write(tmp_path, curate(other)).hash


def test_lessons_are_the_same_whoever_asked_for_them(tmp_path: Path) -> None:
    rows = many(20)
    renamed = [replace(row, escalation_id=f"other-{row.escalation_id}") for row in rows]
    first, second = write(tmp_path, curate(rows)), write(tmp_path, curate(renamed))
    assert first.hash != second.hash
    assert first.manifest.lessons_hash == second.manifest.lessons_hash


def test_the_manifest_says_where_it_all_comes_from(tmp_path: Path) -> None:
    rows = [replace(row, frontier_model="big", release="desk@1") for row in many(60)]
    rows += [labelled("not allowed", trainable=False, withheld="terms", task_key=str(i), at=i)
             for i in range(3)]  # fmt: skip
    settings = Settings(seed=7)
    curation = curate(rows, settings=settings)
    manifest = write(
        tmp_path, curation, settings=settings, parent="abc", terms={"licence": "CC-BY-4.0"}
    ).manifest
    assert manifest.frontier_models == {"big": sum(len(curation.rows(part)) for part in PARTS)}
    assert manifest.filters["seed"] == 7
    assert manifest.parent == "abc"
    assert manifest.terms["licence"] == "CC-BY-4.0"
    assert manifest.drops == {
        reason.removeprefix("dropped_"): number
        for reason, number in curation.counts.items()
        if reason.startswith("dropped_")
    }
    assert manifest.files["train"].num_rows == len(curation.train)
    assert (manifest.labelled_from, manifest.created_at) == (rows[0].created_at, NOON)


def test_a_marker_in_rows_that_certify_is_in_no_byte_of_what_teaches(tmp_path: Path) -> None:
    rows = [
        replace(row, target="MARKER", rejected="MARKER", release="MARKER")
        if part_of(group_key(row.task), "journeyman", Shares()) != "train"
        else row
        for row in many(300)
    ]
    dataset = write(tmp_path, curate(rows))
    assert b"MARKER" in dataset.path("calibration").read_bytes()
    assert b"MARKER" not in dataset.path("train").read_bytes()


def test_rows_that_may_not_train_are_refused(tmp_path: Path) -> None:
    curation = curate(many(10))
    first, *others = curation.train
    smuggled = replace(curation, train=(replace(first, trainable=False, withheld="terms"), *others))
    with pytest.raises(TraceError, match=r"1 of \d+ rows of 'desk' may not train .*terms"):
        write(tmp_path, smuggled)
    assert list(tmp_path.iterdir()) == []


def test_a_row_on_the_wrong_side_is_refused(tmp_path: Path) -> None:
    curation = curate(many(100))
    smuggled = replace(
        curation,
        train=(*curation.train, curation.calibration[0]),
        weights=(*curation.weights, 1.0),
    )
    with pytest.raises(TraceError, match="does not belong in the 'train' file"):
        write(tmp_path, smuggled)
    relabelled = replace(curation.calibration[0], part="train")
    with pytest.raises(TraceError, match="does not belong"):
        write(tmp_path, replace(smuggled, train=(*curation.train, relabelled)))


def test_rows_that_make_no_lesson_are_left_out_and_counted(tmp_path: Path) -> None:
    curation = curate(many(30))
    skipped = curation.train[0].task_key

    def example_of(row: Any) -> Example | None:
        if row.task_key == skipped:
            return None
        return Example("desk", {"seen": row.task["text"]}, [row.target], row.group)

    dataset = write(tmp_path, curation, example_of=example_of)
    assert dataset.manifest.drops["no_lesson"] == 1
    assert len(dataset.lessons()) == len(curation.train) - 1
    assert all(set(example.task) == {"seen"} for example, _ in dataset.lessons())


def change_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("name", ["train.jsonl", "head.jsonl", "calibration.jsonl"])
def test_a_changed_byte_is_noticed(tmp_path: Path, name: str) -> None:
    dataset = write(tmp_path, curate(many(100)))
    change_a_byte(dataset.folder / name)
    with pytest.raises(CorruptRecord, match=name):
        open_dataset(dataset.folder)


def test_a_row_moved_to_another_file_is_noticed(tmp_path: Path) -> None:
    dataset = write(tmp_path, curate(many(100)))
    taken = dataset.path("calibration").read_bytes().splitlines(keepends=True)[0]
    with dataset.path("train").open("ab") as file:
        file.write(taken)
    with pytest.raises(CorruptRecord):
        dataset.verify()


def test_a_changed_manifest_is_noticed(tmp_path: Path) -> None:
    dataset = write(tmp_path, curate(many(10)))
    path = dataset.folder / "manifest.json"
    data = json.loads(path.read_text())
    data["terms"] = {"licence": "anything goes", "num_withheld": 0}
    path.write_text(json.dumps(data))
    with pytest.raises(CorruptRecord, match="does not match its own hash"):
        open_dataset(dataset.folder)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"format_version": 1}', '{"files": {"../../x": {}}}']
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: str) -> None:
    dataset = write(tmp_path, curate(many(10)))
    (dataset.folder / "manifest.json").write_text(text)
    with pytest.raises(CorruptRecord):
        open_dataset(dataset.folder)


def test_a_file_that_does_not_belong_is_noticed(tmp_path: Path) -> None:
    dataset = write(tmp_path, curate(many(10)))
    (dataset.folder / "train.jsonl.bak").write_text("")
    with pytest.raises(CorruptRecord, match="does not belong"):
        dataset.verify()


def test_a_missing_file_and_a_missing_folder_are_said(tmp_path: Path) -> None:
    dataset = write(tmp_path, curate(many(10)))
    dataset.path("head").unlink()
    with pytest.raises(CorruptRecord, match=r"head\.jsonl"):
        dataset.verify()
    with pytest.raises(TraceError, match="There is no data set"):
        open_dataset(tmp_path / "elsewhere")


def test_a_newer_format_is_refused_rather_than_misread(tmp_path: Path) -> None:
    dataset = write(tmp_path, curate(many(10)))
    (dataset.folder / "manifest.json").write_text('{"format_version": 2, "new": true}')
    with pytest.raises(TraceError, match="newer than 1"):
        open_dataset(dataset.folder)


def test_a_write_that_fails_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = dataset_writer._write_file

    def full(path: Path, content: bytes) -> None:
        if path.name == "manifest.json":
            raise OSError(28, "No space left on device")
        real(path, content)

    monkeypatch.setattr(dataset_writer, "_write_file", full)
    with pytest.raises(TraceError, match="No space left"):
        write(tmp_path, curate(many(10)))
    assert list(tmp_path.iterdir()) == []


def test_two_that_write_the_same_at_once_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    curation = curate(many(10))
    real = dataset_writer._write_folder

    def late(*arguments: Any) -> None:
        monkeypatch.setattr(dataset_writer, "_write_folder", real)
        write(tmp_path, curation)
        real(*arguments)

    monkeypatch.setattr(dataset_writer, "_write_folder", late)
    dataset = write(tmp_path, curation)
    assert [path.name for path in tmp_path.iterdir()] == [dataset.folder.name]


@pytest.mark.parametrize("agent", ["", "../up", "a/b", ".hidden", "a\x00b", "x" * 101])
def test_names_that_cannot_name_a_folder_are_refused(tmp_path: Path, agent: str) -> None:
    with pytest.raises(ConfigError, match="cannot name a folder"):
        write_dataset(tmp_path, agent, Curation())


def test_nothing_makes_an_empty_data_set(tmp_path: Path) -> None:
    dataset = write(tmp_path, Curation())
    assert dataset.lessons() == []
    assert dataset.manifest.files["train"].num_rows == 0


@hypothesis_settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    st.lists(
        st.text(st.characters(codec=None)) | st.sampled_from(["\u2028", "\r\n", "\x00", "\udc80"]),
        max_size=6,
        unique=True,
    )
)
def test_any_text_survives_the_file(tmp_path: Path, texts: list[str]) -> None:
    rows = [labelled(text, {"of": text}, at=i, task_key=str(i)) for i, text in enumerate(texts)]
    curation = curate(rows, settings=Settings(shares=Shares(0, 0)))
    dataset = write(tmp_path, curation)
    assert [row.answer for row in dataset.rows("train")] == [r.target for r in curation.train]
