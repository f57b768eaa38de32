"""Teaching a tagger: the same lesson twice is the same tagger, and nothing half-done is left."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from journeyman.models.catalog import resolve
from journeyman.models.errors import ConfigError, WeightsError
from journeyman.models.students.tagger import WINDOW, Tagger
from journeyman.models.training.tagger import TaggedText, TrainProgress, _Course, train_tagger
from journeyman.models.types import Span

from .conftest import TINY_LABELS, tiny_examples


def test_the_report_says_what_happened(tmp_path: Path) -> None:
    seen: list[TrainProgress] = []
    report = train_tagger(
        tiny_examples(24),
        TINY_LABELS,
        out=tmp_path / "t",
        epochs=2,
        batch_size=8,
        device="cpu",
        progress=seen.append,
    )
    assert (report.num_examples, report.num_held_out) == (22, 2)
    assert report.num_inexact_spans == 0
    assert len(report.losses) == len(report.held_out_losses) == report.num_epochs == 2
    assert report.losses[1] < report.losses[0]
    assert report.held_out_loss == min(report.held_out_losses)
    assert report.held_out_f1 is not None
    assert [p.step for p in seen] == list(range(1, 7))
    assert {p.num_steps for p in seen} == {6}
    assert Tagger(weights=tmp_path / "t").fingerprint() == report.fingerprint


def test_the_same_lesson_twice_is_the_same_tagger_and_another_seed_is_not(tmp_path: Path) -> None:
    def fingerprint(name: str, seed: int) -> str:
        return train_tagger(
            tiny_examples(6),
            TINY_LABELS,
            out=tmp_path / name,
            epochs=1,
            batch_size=3,
            seed=seed,
            device="cpu",
        ).fingerprint

    assert fingerprint("a", 0) == fingerprint("b", 0) != fingerprint("c", 1)


def test_training_leaves_the_random_numbers_of_the_process_alone(tmp_path: Path) -> None:
    import torch

    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    train_tagger(tiny_examples(2), TINY_LABELS, out=tmp_path / "t", epochs=1, device="cpu")
    assert torch.equal(torch.rand(2), expected)


def test_every_word_of_a_long_text_is_learned_from(tmp_path: Path) -> None:
    filler = "nothing to see here . " * 160
    text = filler + "Orion"
    example = TaggedText(text, (Span("company", len(filler), len(text), "Orion"),))
    course = _Course("all-MiniLM-L6-v2", TINY_LABELS, "cpu")
    rows = course.rows([example])
    assert len(rows) > 3
    assert max(len(row.ids) for row in rows) == WINDOW
    assert [1 in row.tags for row in rows] == [False] * (len(rows) - 1) + [True]
    assert sum(len(row.ids) for row in rows) > len(text.split())


def test_an_interrupted_lesson_leaves_no_folder(tmp_path: Path) -> None:
    def stop(progress: TrainProgress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_tagger(tiny_examples(4), TINY_LABELS, out=tmp_path / "t", device="cpu", progress=stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("examples", "labels", "message"),
    [
        ([], TINY_LABELS, "0 examples"),
        (tiny_examples(2), (), "0 labels"),
        (tiny_examples(2), ("company", "company"), "name one twice"),
        (tiny_examples(2), ("company",), "not one of"),
        ([TaggedText(" \n", ())], TINY_LABELS, "holds a word"),
    ],
)
def test_lessons_that_make_no_sense_are_refused(
    tmp_path: Path, examples: list[TaggedText], labels: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        train_tagger(examples, labels, out=tmp_path / "t", device="cpu")
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize(
    "settings", [{"epochs": 0}, {"batch_size": 0}, {"held_out_share": 1.0}, {"held_out_share": -1}]
)
def test_a_schedule_that_teaches_nothing_is_refused(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match="cannot be taught in"):
        train_tagger(tiny_examples(2), TINY_LABELS, out=tmp_path / "t", device="cpu", **settings)


def test_pickled_weights_of_a_base_are_never_read(tmp_path: Path) -> None:
    """Not even where a safetensors file of something else lies beside them."""
    base = tmp_path / "base"
    shutil.copytree(resolve("all-MiniLM-L6-v2").path, base)
    (base / "model.safetensors").rename(base / "adapter.safetensors")
    (base / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        train_tagger(
            tiny_examples(2),
            ("company", "amount", "date"),
            base=str(base),
            out=tmp_path / "t",
            device="cpu",
        )


def test_a_folder_in_use_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "something").write_text("here")

    def fail(progress: TrainProgress) -> None:
        pytest.fail("it began")

    with pytest.raises(WeightsError, match="not empty"):
        train_tagger(tiny_examples(2), TINY_LABELS, out=tmp_path, device="cpu", progress=fail)
