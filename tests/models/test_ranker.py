"""The ranker as it is asked; `test_training_ranker` teaches it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from journeyman.models.errors import ModelError, WeightsError
from journeyman.models.students.base import Student
from journeyman.models.students.ranker import NOT_TAUGHT, TASK_TOKENS, Ranker
from journeyman.models.students.ranker_weights import FACTS, HEAD, cut_middle, kind_of
from tests.models.ranking import FRUITS, teach_tiny_ranker


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ranker") / "taught"
    teach_tiny_ranker(out)
    return out


@pytest.fixture(scope="module")
def ranker(folder: Path) -> Ranker:
    return Ranker(weights=folder, device="cpu")


def pairs(fruit: str) -> list[tuple[str, str]]:
    return [(f"Buy a {fruit}, please.", f"take: {name}") for name in FRUITS]


def test_a_ranker_is_a_student(ranker: Ranker) -> None:
    assert isinstance(ranker, Student)
    assert ranker.taught
    assert ranker.note is None


def test_an_untaught_ranker_scores_nothing_and_loads_nothing() -> None:
    before = set(sys.modules)
    untaught = Ranker("a base that does not exist")
    assert untaught.predict(pairs("apple")) == [0.0] * len(FRUITS)
    assert not untaught.taught
    assert untaught.note == NOT_TAUGHT
    assert "torch" not in set(sys.modules) - before


def test_the_candidate_that_was_asked_for_scores_highest(ranker: Ranker) -> None:
    for fruit in FRUITS:
        scores = ranker.predict(pairs(fruit))
        assert FRUITS[int(np.argmax(scores))] == fruit


def test_a_score_does_not_depend_on_what_else_is_asked(ranker: Ranker) -> None:
    items = [*pairs("apple"), *pairs("melon"), ("Buy a grape.", "take: " + "very ripe " * 30)]
    together = ranker.predict(items[::-1])[::-1]
    alone = [ranker.predict([item])[0] for item in items]
    assert together == pytest.approx(alone, abs=1e-4)


def test_more_candidates_than_a_batch_keep_their_order(ranker: Ranker) -> None:
    items = [("Buy a lemon, please.", f"take: {'nice ' * (i % 9)}{i}") for i in range(150)]
    scores = ranker.predict(items)
    picked = [3, 77, 149]
    assert [scores[i] for i in picked] == pytest.approx(
        ranker.predict([items[i] for i in picked]), abs=1e-4
    )


def test_no_items_no_scores(ranker: Ranker) -> None:
    assert ranker.predict([]) == []


def test_any_text_will_do(ranker: Ranker) -> None:
    odd = ["", "\0", "🍋" * 20, "\ud800", "a\nb", "x" * 5000]
    scores = ranker.predict([(task, "take: lemon") for task in odd] + [("", "")])
    assert np.isfinite(scores).all()


def test_a_long_candidate_is_refused_not_cut(ranker: Ranker) -> None:
    with pytest.raises(ModelError, match="more compactly"):
        ranker.predict([("task", "word " * 600)])


def test_a_long_task_keeps_its_beginning_and_its_end(ranker: Ranker) -> None:
    def task(middle: str) -> str:
        return f"Buy a cherry, please. {'and ' * TASK_TOKENS}{middle}{' or' * TASK_TOKENS} Thanks."

    same = ranker.predict([(task("apple"), "take: apple"), (task("melon"), "take: apple")])
    assert same[0] == pytest.approx(same[1], abs=1e-4)
    other = task("apple").replace("cherry", "apple")
    assert ranker.predict([(other, "take: apple")])[0] != pytest.approx(same[0], abs=1e-3)


def test_cutting_keeps_both_ends_and_marks_the_gap() -> None:
    assert cut_middle(range(10), 5, [99]) == [0, 1, 99, 8, 9]
    assert cut_middle(range(10), 6, [99]) == [0, 1, 2, 99, 8, 9]
    assert cut_middle(range(5), 5, [99]) == [0, 1, 2, 3, 4]


def test_a_kind_stands_before_the_first_colon() -> None:
    assert kind_of("name: a => b: c") == "name"
    assert kind_of("no kind") == ""


def test_a_saved_ranker_scores_alike(ranker: Ranker, tmp_path: Path) -> None:
    ranker.save(tmp_path / "copy")
    copy = Ranker.load(tmp_path / "copy", device="cpu")
    assert copy.predict(pairs("peach")) == ranker.predict(pairs("peach"))
    assert copy.fingerprint() == ranker.fingerprint()


def test_an_untaught_ranker_can_be_saved(tmp_path: Path) -> None:
    Ranker().save(tmp_path / "new")
    assert not Ranker.load(tmp_path / "new").taught


def test_nothing_is_written_over(ranker: Ranker, tmp_path: Path) -> None:
    (tmp_path / "something").write_text("here")
    with pytest.raises(WeightsError, match="never written over"):
        ranker.save(tmp_path)


@pytest.mark.parametrize("name", [FACTS, HEAD, "model.safetensors"])
def test_a_missing_file_is_named(folder: Path, tmp_path: Path, name: str) -> None:
    Ranker(weights=folder).save(tmp_path / "copy")
    (tmp_path / "copy" / name).unlink()
    with pytest.raises(WeightsError):
        Ranker.load(tmp_path / "copy")


def test_damaged_weights_are_named(folder: Path, tmp_path: Path) -> None:
    Ranker(weights=folder).save(tmp_path / "copy")
    (tmp_path / "copy" / HEAD).write_bytes(b"no weights")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        Ranker.load(tmp_path / "copy").predict(pairs("apple"))


def test_the_fingerprint_follows_weights_priors_and_type(folder: Path, tmp_path: Path) -> None:
    Ranker(weights=folder).save(tmp_path / "copy")
    facts = json.loads((tmp_path / "copy" / FACTS).read_text())
    facts["priors"]["take"] = 9.0
    (tmp_path / "copy" / FACTS).write_text(json.dumps(facts))
    prints = {
        Ranker().fingerprint(),
        Ranker(weights=folder).fingerprint(),
        Ranker(weights=folder, dtype="bfloat16").fingerprint(),
        Ranker(weights=tmp_path / "copy").fingerprint(),
    }
    assert len(prints) == 4


def test_the_prior_of_a_kind_is_added_to_the_score(folder: Path, tmp_path: Path) -> None:
    Ranker(weights=folder).save(tmp_path / "copy")
    facts = json.loads((tmp_path / "copy" / FACTS).read_text())
    facts["priors"] = {"take": facts["priors"]["take"] + 5.0}
    facts["other_prior"] = 7.0
    (tmp_path / "copy" / FACTS).write_text(json.dumps(facts))
    raised, before = Ranker(weights=tmp_path / "copy"), Ranker(weights=folder)
    item = [("Buy a lemon.", "take: lemon")]
    assert raised.predict(item)[0] == pytest.approx(before.predict(item)[0] + 5.0, abs=1e-4)
