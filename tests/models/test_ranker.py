"""The ranker as it is asked; `test_training_ranker` teaches it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeyman.models.errors import WeightsError
from journeyman.models.students.base import Student
from journeyman.models.students.ranker import NOT_TAUGHT, WEIGHTS, Ranker

TAUGHT = {"ripe": 2.0, "green": -1.5, "sour": -0.25}


def test_a_ranker_is_a_student() -> None:
    assert isinstance(Ranker(), Student)


def test_an_untaught_ranker_scores_nothing_and_says_so() -> None:
    untaught = Ranker()
    assert untaught.predict(["ripe apple", ""]) == [0.0, 0.0]
    assert (untaught.taught, untaught.note) == (False, NOT_TAUGHT)


def test_a_score_is_the_sum_of_the_words_weights() -> None:
    ranker = Ranker(TAUGHT)
    assert ranker.predict(["ripe sour apple", "green", "pear"]) == [1.75, -1.5, 0.0]
    assert (ranker.taught, ranker.note) == (True, None)


def test_a_word_counts_once() -> None:
    assert Ranker(TAUGHT).predict(["ripe ripe"]) == [2.0]


@given(st.lists(st.sampled_from([*TAUGHT, "apple"]), max_size=6).map(" ".join), st.integers(0, 3))
def test_a_score_does_not_depend_on_what_else_is_asked(item: str, others: int) -> None:
    ranker = Ranker(TAUGHT)
    assert ranker.predict([item, *["green"] * others])[0] == ranker.predict([item])[0]


def test_no_items_no_scores() -> None:
    assert Ranker(TAUGHT).predict([]) == []


@given(st.dictionaries(st.text(min_size=1), st.floats(-9, 9)) | st.none())
def test_a_saved_ranker_is_the_same(weights: dict[str, float] | None) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        Ranker(weights).save(Path(folder) / "r")
        again = Ranker.load(Path(folder) / "r")
    assert again.fingerprint() == Ranker(weights).fingerprint()
    assert again.taught == (weights is not None)
    assert again.weights == (weights or {})


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("something")
    with pytest.raises(WeightsError, match="not empty"):
        Ranker(TAUGHT).save(tmp_path)


@pytest.mark.parametrize(
    "kept", [None, "", "[]", "{}", '{"format": 2, "weights": {}}', '{"format": 1, "weights": 3}']
)
def test_a_missing_or_damaged_file_is_named(tmp_path: Path, kept: str | None) -> None:
    if kept is not None:
        (tmp_path / WEIGHTS).write_text(kept)
    with pytest.raises(WeightsError, match=str(tmp_path)):
        Ranker.load(tmp_path)


def test_the_file_is_plain_json(tmp_path: Path) -> None:
    Ranker(TAUGHT).save(tmp_path / "r")
    assert json.loads((tmp_path / "r" / WEIGHTS).read_text()) == {"format": 1, "weights": TAUGHT}


def test_the_fingerprint_follows_the_weights() -> None:
    prints = {
        Ranker().fingerprint(),
        Ranker({}).fingerprint(),
        Ranker(TAUGHT).fingerprint(),
        Ranker({**TAUGHT, "ripe": 2.1}).fingerprint(),
    }
    assert len(prints) == 4


def test_ranking_loads_no_torch() -> None:
    code = (
        "import sys; from journeyman.models.students.ranker import Ranker; "
        "Ranker({'a': 1.0}).predict(['a']); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
