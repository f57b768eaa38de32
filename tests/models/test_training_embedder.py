"""Teaching an embedder: queries move towards their answers, documents stay where they are."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("datasets", reason="teaching embedders needs journeyman[train]")

from journeyman.models.catalog import resolve
from journeyman.models.errors import ConfigError, WeightsError
from journeyman.models.students.embedder import Embedder, save_tower
from journeyman.models.training.contrast import (
    Contrast,
    batch_of,
    contrast,
    merged,
    reciprocal_ranks,
)
from journeyman.models.training.embedder import (
    EmbedderReport,
    QueryLesson,
    TrainProgress,
    train_embedder,
)

_NOISE = ["please", "quickly", "again", "today", "now", "exactly"]
DOCUMENTS = [f"Article {number} tells how to {what}." for number, what in enumerate(
    ["bake bread", "mend a tyre", "plant roses", "paint a wall", "train a dog", "brew coffee"]
)]  # fmt: skip


def in_house_words(num_lessons: int = 24) -> list[QueryLesson]:
    """Queries in words that only this house uses, so that the base cannot know the answers."""
    words = ["frobnicate", "quux the grault", "garply", "plugh", "xyzzy", "waldo"]
    return [
        QueryLesson(f"{words[i % 6]} {_NOISE[i // 6 % 6]} {i // 36}", (DOCUMENTS[i % 6],))
        for i in range(num_lessons)
    ]


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, EmbedderReport]:
    """A query side that learned the house's words."""
    out = tmp_path_factory.mktemp("embedder") / "taught"
    report = train_embedder(
        in_house_words(36),
        out=out,
        epochs=8,
        batch_size=12,
        learning_rate=3e-4,
        device="cpu",
    )
    return out, report


def test_teaching_ranks_unseen_queries_better(taught: tuple[Path, EmbedderReport]) -> None:
    _, report = taught
    assert report.held_out_mrr is not None
    assert report.base_mrr is not None
    assert report.held_out_mrr > report.base_mrr + 0.2
    assert report.blend > 0
    assert report.held_out_losses[report.best_epoch - 1] == min(report.held_out_losses)
    assert report.num_queries + report.num_held_out == 36
    assert report.num_documents == len(DOCUMENTS)


def test_teaching_leaves_documents_alone(taught: tuple[Path, EmbedderReport]) -> None:
    out, report = taught
    base, student = Embedder(device="cpu"), Embedder.load(out, device="cpu")
    assert np.array_equal(base.embed_documents(DOCUMENTS), student.embed_documents(DOCUMENTS))
    assert base.document_fingerprint() == student.document_fingerprint()
    assert report.fingerprint == student.fingerprint() != base.fingerprint()
    assert not np.allclose(base.predict(["plugh"])[0], student.predict(["plugh"])[0], atol=1e-3)


def test_the_student_that_serves_ranks_as_training_measured(
    taught: tuple[Path, EmbedderReport],
) -> None:
    out, report = taught
    student = Embedder.load(out, device="cpu")
    answers = {lesson.query: lesson.positives[0] for lesson in in_house_words(36)}
    vectors = student.embed_documents(sorted(DOCUMENTS))
    ranks = []
    for query, vector in zip(report.held_out, student.predict(report.held_out), strict=True):
        order = [sorted(DOCUMENTS)[i] for i in np.argsort(-(vectors @ vector))]
        ranks.append(1 / (1 + order.index(answers[query])))
    assert np.mean(ranks) == pytest.approx(report.held_out_mrr)


def test_order_does_not_matter_and_the_same_seed_gives_the_same_student(tmp_path: Path) -> None:
    lessons = in_house_words(12)
    first = train_embedder(lessons, out=tmp_path / "a", epochs=1, device="cpu")
    random.Random(1).shuffle(lessons)
    state = random.getstate()
    second = train_embedder(lessons, out=tmp_path / "b", epochs=1, device="cpu")
    other = train_embedder(lessons, out=tmp_path / "c", epochs=1, seed=1, device="cpu")
    assert random.getstate() == state  # the process keeps its own randomness
    assert first.fingerprint == second.fingerprint != other.fingerprint


def test_few_lessons_are_all_learned_from_and_mixed_half_and_half(tmp_path: Path) -> None:
    report = train_embedder(in_house_words(6), out=tmp_path / "e", epochs=1, device="cpu")
    assert (report.num_queries, report.num_held_out) == (6, 0)
    assert report.blend == 0.5
    assert report.held_out_mrr is None


def test_a_base_that_cannot_be_bettered_is_left_alone(tmp_path: Path) -> None:
    """Held-out queries are the documents themselves; what is learned is wrong."""
    lessons = [QueryLesson(text, (text,)) for text in (f"fact number {i}" for i in range(40))]
    held_out = train_embedder(lessons, out=tmp_path / "a", epochs=1, device="cpu").held_out
    wrong = [
        lesson
        if lesson.query in held_out
        else QueryLesson(lesson.query, (lessons[(i + 7) % 40].query,), (lesson.query,))
        for i, lesson in enumerate(lessons)
    ]
    report = train_embedder(
        wrong, out=tmp_path / "b", epochs=2, learning_rate=1e-3, device="cpu", batch_size=16
    )
    assert report.blend == 0
    assert report.fingerprint == Embedder(device="cpu").fingerprint()


def test_training_goes_on_from_a_better_parent(
    taught: tuple[Path, EmbedderReport], tmp_path: Path
) -> None:
    parent, _ = taught
    report = train_embedder(
        in_house_words(36), out=tmp_path / "e", parent=parent, epochs=1, device="cpu"
    )
    assert report.from_parent
    assert report.held_out_mrr is not None
    assert report.held_out_mrr >= (taught[1].held_out_mrr or 0) - 0.1


def test_known_vectors_are_not_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = Embedder(device="cpu")
    known = dict(zip(DOCUMENTS, base.embed_documents(DOCUMENTS), strict=True))
    plain = train_embedder(in_house_words(6), out=tmp_path / "a", epochs=1, device="cpu")
    asked: list[str] = []
    embed = Embedder.embed_documents

    def watched(self: Embedder, texts: list[str]) -> np.ndarray:
        asked.extend(texts)
        return embed(self, texts)

    monkeypatch.setattr(Embedder, "embed_documents", watched)
    report = train_embedder(
        in_house_words(6), out=tmp_path / "b", vectors=known, epochs=1, device="cpu"
    )
    assert asked == []
    assert report.losses == pytest.approx(plain.losses, abs=1e-4)


def test_progress_ends_at_the_last_step_and_what_it_raises_leaves_no_folder(tmp_path: Path) -> None:
    seen: list[TrainProgress] = []
    train_embedder(
        in_house_words(12),
        out=tmp_path / "a",
        epochs=2,
        batch_size=6,
        device="cpu",
        progress=seen.append,
    )
    assert [p.step for p in seen] == [1, 2, 3, 4]
    assert {p.num_steps for p in seen} == {4}
    assert [p.epoch for p in seen] == [1, 1, 2, 2]

    def stop(_: TrainProgress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_embedder(in_house_words(6), out=tmp_path / "b", epochs=1, device="cpu", progress=stop)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


def test_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    train_embedder(in_house_words(6), out=tmp_path / "e", epochs=1, device="cpu")
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def test_a_used_folder_and_empty_lessons_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("mine")
    with pytest.raises(WeightsError, match="not empty"):
        train_embedder(in_house_words(6), out=tmp_path)
    with pytest.raises(ConfigError, match="0 lessons"):
        train_embedder([], out=tmp_path / "e")
    with pytest.raises(ConfigError, match="'lonely' has no answer"):
        train_embedder([QueryLesson("lonely", ())], out=tmp_path / "e")
    with pytest.raises(ConfigError, match="batches of 1"):
        train_embedder(in_house_words(6), out=tmp_path / "e", batch_size=1)


# What stands against a query.


def _contrast(positives: list[int], negatives: list[int]) -> Contrast:
    return Contrast("q", np.array(positives, dtype=np.intp), np.array(negatives, dtype=np.intp))


def test_a_twin_of_an_answer_that_nobody_judged_is_no_negative() -> None:
    vectors = np.array([[1.0, 0.0], [0.99, 0.1], [0.5, 0.5], [0.0, 1.0]], dtype=np.float32)
    batch = batch_of([_contrast([0], [2]), _contrast([1], [3])], vectors)
    assert batch.positive.tolist() == [[True, False, False, False], [False, True, False, False]]
    assert batch.counted.tolist() == [[True, False, True, True], [False, True, True, True]]


def test_a_judged_negative_counts_however_like_the_answer_it_is() -> None:
    vectors = np.array([[1.0, 0.0], [0.99, 0.1]], dtype=np.float32)
    assert batch_of([_contrast([0], [1])], vectors).counted.tolist() == [[True, True]]


def test_hard_negatives_are_the_judged_and_those_below_the_margin() -> None:
    vectors = np.array([[0.8, 0.6], [0.79, 0.6], [0.6, 0.8], [0.9, 0.4], [0, 1]], dtype=np.float32)
    rows = {name: row for row, name in enumerate("abcde")}
    found = contrast(
        QueryLesson("q", ("a",), ("d",)),
        np.array([1, 0], dtype=np.float32),
        rows,
        vectors,
        num_negatives=2,
        margin=0.05,
    )
    assert found.negatives.tolist() == [rows["d"], rows["c"]]  # b may be an answer, e is too easy


def test_lessons_of_one_query_become_one() -> None:
    both = merged(
        [QueryLesson("q", ("a",), ("b", "c")), QueryLesson("q", ("b",), ("d",), weight=2.0)]
    )
    assert both == [QueryLesson("q", ("a", "b"), ("c", "d"), 3.0)]


def test_equal_documents_rank_before_the_answer() -> None:
    vectors = np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32)
    queries = np.array([[1, 0]], dtype=np.float32)
    assert reciprocal_ranks(queries, [_contrast([0], [])], vectors).tolist() == [0.5]


# Folders.


def test_an_untaught_embedder_survives_a_round_trip(tmp_path: Path) -> None:
    base = Embedder(device="cpu")
    base.save(tmp_path / "e")
    again = Embedder.load(tmp_path / "e", device="cpu")
    assert again.fingerprint() == base.fingerprint()
    assert not again.taught
    assert sum(path.stat().st_size for path in (tmp_path / "e").iterdir()) < 1000


def test_a_taught_embedder_survives_a_round_trip(
    taught: tuple[Path, EmbedderReport], tmp_path: Path
) -> None:
    student = Embedder.load(taught[0], device="cpu")
    student.save(tmp_path / "e")
    again = Embedder.load(tmp_path / "e", device="cpu")
    assert np.array_equal(again.predict(["plugh"])[0], student.predict(["plugh"])[0])
    with pytest.raises(WeightsError, match="not empty"):
        student.save(tmp_path / "e")


def test_equal_weights_have_one_fingerprint(tmp_path: Path) -> None:
    """The order of a safetensors file's metadata is random: with two entries this fails."""
    base = resolve("all-MiniLM-L6-v2")
    tiny = torch.nn.Linear(2, 2)
    for i in range(8):
        save_tower(tiny, base, tmp_path / f"{i}.safetensors")
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_a_folder_that_is_no_embedder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="is no embedder"):
        Embedder.load(tmp_path)
    (tmp_path / "embedder.json").write_text("{]")
    with pytest.raises(WeightsError, match="is no embedder"):
        Embedder.load(tmp_path)


def test_an_embedder_of_another_base_is_refused(tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "base"
    shutil.copytree(resolve("all-MiniLM-L6-v2").path, copy)
    config = (copy / "config.json").read_text()
    (copy / "config.json").write_text(
        config.replace('"layer_norm_eps": 1e-12', '"layer_norm_eps": 1e-6')
    )
    Embedder(device="cpu").save(tmp_path / "e")
    with pytest.raises(WeightsError, match="another base"):
        Embedder.load(tmp_path / "e", base=str(copy))
