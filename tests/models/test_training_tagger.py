"""Teaching a tagger: the same lesson twice is the same tagger, and nothing half-done is left."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from journeyman.models.catalog import resolve
from journeyman.models.errors import ConfigError, WeightsError
from journeyman.models.students.tagger import WINDOW, Tagger
from journeyman.models.training.tagger import (
    TaggedText,
    TrainProgress,
    _Course,
    _split,
    can_go_on,
    shared_sets,
    train_tagger,
)
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


def test_mentions_are_exchanged_unless_told_otherwise(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"epochs": 1, "held_out_share": 0.0, "device": "cpu"}
    made = [
        train_tagger(tiny_examples(6), TINY_LABELS, out=tmp_path / str(i), **settings, **more)
        for i, more in enumerate([{}, {"exchanged_share": 0.5}, {"exchanged_share": 0.0}])
    ]
    assert made[0].fingerprint == made[1].fingerprint != made[2].fingerprint


def test_mentions_of_other_lengths_leave_the_count_of_steps(tmp_path: Path) -> None:
    long = "very " * 3 * WINDOW + "old"
    texts = [
        TaggedText(f"{name} pays", (Span("company", 0, len(name), name),))
        for name in ("Ada", "Max", "Ida", long)
    ]
    seen: list[TrainProgress] = []
    train_tagger(
        texts,
        TINY_LABELS,
        out=tmp_path / "t",
        epochs=3,
        batch_size=1,
        exchanged_share=1.0,
        device="cpu",
        progress=seen.append,
    )
    steps = [progress.step for progress in seen]
    assert steps == sorted(steps)
    assert steps[-1] == seen[-1].num_steps
    assert len(set(steps)) < len(steps) or len(steps) < seen[-1].num_steps


def both_fields() -> list[TaggedText]:
    """`soon` is a company and a date wherever it stands; other words are one of them."""
    lone = [Span("company", 0, 4, "acme"), Span("date", 0, 4, "rome")]
    texts = [
        TaggedText(f"{span.text} {word}", (span,)) for span in lone for word in ("a", "b", "c")
    ]
    soon = tuple(Span(label, 0, 4, "soon") for label in ("date", "company"))
    return texts + [TaggedText(f"soon {word}", soon) for word in ("a", "b", "c")]


def test_a_stretch_that_is_two_things_is_learned_as_both(tmp_path: Path) -> None:
    report = train_tagger(
        both_fields(), TINY_LABELS, out=tmp_path / "t", epochs=30, batch_size=4, device="cpu"
    )
    assert report.num_inexact_spans == 0
    tagger = Tagger(weights=tmp_path / "t", labels=TINY_LABELS)
    soon, rome = tagger.predict(["soon a", "rome b"])
    assert {(span.label, span.text) for span in soon.spans} == {
        ("date", "soon"),
        ("company", "soon"),
    }
    assert [(span.label, span.text) for span in rome.spans] == [("date", "rome")]
    assert set(soon.missed) == set(TINY_LABELS)


def test_what_knows_no_stretch_of_two_labels_is_not_gone_on_from(
    tiny_tagger_folder: Path, tmp_path: Path
) -> None:
    shared = shared_sets(both_fields())
    assert shared == (("company", "date"),)
    assert not can_go_on(tiny_tagger_folder, "all-MiniLM-L6-v2", TINY_LABELS, shared)
    train_tagger(both_fields(), TINY_LABELS, out=tmp_path / "t", epochs=1, device="cpu")
    assert can_go_on(tmp_path / "t", "all-MiniLM-L6-v2", TINY_LABELS, shared)
    more = train_tagger(
        tiny_examples(6), TINY_LABELS, out=tmp_path / "u", start=tmp_path / "t", epochs=1
    )
    assert more.num_epochs == 1
    assert can_go_on(tmp_path / "u", "all-MiniLM-L6-v2", TINY_LABELS, shared)


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


def test_going_on_from_a_tagger_begins_where_it_ended(
    tmp_path: Path, tiny_tagger_folder: Path
) -> None:
    """In any order of the labels, and the tagger that it began from stays as it was."""
    before = Tagger(weights=tiny_tagger_folder).fingerprint()
    settings: dict[str, Any] = {"epochs": 1, "held_out_share": 0.0, "device": "cpu"}
    anew = train_tagger(tiny_examples(), TINY_LABELS, out=tmp_path / "a", **settings)
    labels = TINY_LABELS[::-1]
    further = train_tagger(
        tiny_examples(), labels, out=tmp_path / "f", start=tiny_tagger_folder, **settings
    )
    assert further.loss < anew.loss / 4
    assert Tagger(weights=tmp_path / "f").labels == TINY_LABELS
    assert Tagger(weights=tiny_tagger_folder).fingerprint() == before


def test_only_a_taught_tagger_of_the_same_labels_and_base_can_go_on(
    tmp_path: Path, tiny_tagger_folder: Path
) -> None:
    base = "all-MiniLM-L6-v2"
    Tagger(labels=TINY_LABELS).save(tmp_path / "untaught")
    other = tmp_path / "base"
    shutil.copytree(resolve(base).path, other)
    (other / "vocab.txt").write_text("other words\n", "utf-8")
    assert can_go_on(tiny_tagger_folder, base, TINY_LABELS[::-1])
    assert not can_go_on(tiny_tagger_folder, base, TINY_LABELS[:2])
    assert not can_go_on(tiny_tagger_folder, str(other), TINY_LABELS)
    assert not can_go_on(tmp_path / "untaught", base, TINY_LABELS)
    assert not can_go_on(tmp_path / "nowhere", base, TINY_LABELS)
    with pytest.raises(WeightsError, match="start from the base"):
        train_tagger(tiny_examples(2), TINY_LABELS, out=tmp_path / "t", start=tmp_path / "untaught")
    assert not (tmp_path / "t").exists()


def test_what_is_held_out_once_is_held_out_again_among_more_examples() -> None:
    """Else going on would watch examples that it was already taught."""
    texts = [TaggedText(f"text {n}", ()) for n in range(400)]
    _, first = _split(texts[:200], 0.1)
    learned, second = _split(texts[::-1], 0.1)
    assert (len(first), len(second)) == (20, 40)
    assert len({e.text for e in first} & {e.text for e in learned}) <= 5


def test_a_heavy_lesson_counts_for_more_than_a_light_one(tmp_path: Path) -> None:
    text = "Halley pays"
    as_company = TaggedText(text, (Span("company", 0, 6, "Halley"),), 1.9)
    as_date = TaggedText(text, (Span("date", 0, 6, "Halley"),), 0.1)
    train_tagger(
        [as_company, as_date] * 8,
        TINY_LABELS,
        out=tmp_path / "t",
        epochs=4,
        batch_size=4,
        held_out_share=0.0,
        device="cpu",
    )
    (tagging,) = Tagger(weights=tmp_path / "t").predict([text])
    assert [span.label for span in tagging.spans] == ["company"]


def test_the_vectors_of_words_stay_those_of_the_base(tiny_tagger_folder: Path) -> None:
    from safetensors.numpy import load_file

    taught = load_file(tiny_tagger_folder / "model.safetensors")
    base = load_file(resolve("all-MiniLM-L6-v2").path / "model.safetensors")
    name = "embeddings.word_embeddings.weight"
    assert (taught[f"bert.{name}"] == base[name]).all()
    layer = "encoder.layer.0.attention.self.query.weight"
    assert (taught[f"bert.{layer}"] != base[layer]).any()


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


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_of_exchanged_mentions_that_is_none_is_refused(
    tmp_path: Path, share: float
) -> None:
    with pytest.raises(ConfigError, match="exchanged"):
        train_tagger(tiny_examples(2), TINY_LABELS, out=tmp_path / "t", exchanged_share=share)


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
