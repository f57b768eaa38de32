"""A classifier's folder: what comes back is what was saved, and damage is refused in a sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from journeyman.models.errors import WeightsError
from journeyman.models.release import Release
from journeyman.models.students.classifier import Classifier, features
from journeyman.models.students.classifier_files import FACTS, TAUGHT
from journeyman.models.students.embedder import Embedder
from journeyman.models.students.linear import LinearHead
from journeyman.models.students.neighbors import Neighbors

LABELS = {"billing": "Invoices, payments and refunds", "weather": "Rain, wind and sunshine"}
TEXTS = ["pay the bill", "refund me", "rain again", "a storm", "hello", "rain delayed my refund"]
SETS = [("billing",), ("billing",), ("weather",), ("weather",), (), ("billing", "weather")]
WORDS = 64


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder(device="cpu")


@pytest.fixture(scope="module")
def taught(embedder: Embedder) -> dict[str, Classifier]:
    vectors = np.stack(embedder.predict(TEXTS))
    known = Neighbors.of(vectors, SETS)
    several = LinearHead.fit(features(TEXTS, vectors, WORDS), SETS, multi_label=True)
    one = LinearHead.fit(vectors[:4], [labels[0] for labels in SETS[:4]])
    return {
        "several": Classifier(embedder, LABELS, head=several, neighbors=known, words=WORDS),
        "one": Classifier(embedder, LABELS, head=one, names=False),
        "nearest": Classifier(embedder, LABELS, neighbors=known, multi_label=True),
        "untaught": Classifier(embedder, LABELS),
    }


@pytest.fixture
def folder(taught: dict[str, Classifier], tmp_path: Path) -> Path:
    taught["several"].save(tmp_path / "student")
    return tmp_path / "student"


@pytest.mark.parametrize("kind", ["several", "one", "nearest", "untaught"])
def test_what_is_loaded_answers_as_what_was_saved_to_the_last_bit(
    taught: dict[str, Classifier], tmp_path: Path, kind: str
) -> None:
    saved = taught[kind]
    saved.save(tmp_path / "student")
    loaded = Classifier.load(tmp_path / "student")
    assert loaded.fingerprint() == saved.fingerprint()
    items = ["Will it rain?", "Where is my refund?", "", "naïve café ☂"]
    assert loaded.predict(items) == saved.predict(items)
    assert loaded.taught == saved.taught


def test_a_folder_is_of_files_that_a_release_accepts(folder: Path, tmp_path: Path) -> None:
    release = Release.write(
        tmp_path / "data", "routing", parts={}, student=folder, student_kind="classifier"
    )
    assert Release.load(release.folder).manifest.student_kind == "classifier"


def test_an_embedder_that_is_there_already_is_shared(folder: Path, embedder: Embedder) -> None:
    assert Classifier.load(folder, embedder).embedder is embedder
    other = Embedder(device="cpu", dtype="bfloat16")
    assert Classifier.load(folder, other).embedder is not other


def test_a_folder_in_use_is_refused(folder: Path, taught: dict[str, Classifier]) -> None:
    with pytest.raises(WeightsError, match="not empty"):
        taught["one"].save(folder)


@pytest.mark.parametrize("name", [FACTS, TAUGHT, "head.json", "head.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut"])
def test_a_damaged_file_is_refused(folder: Path, name: str, damage: str) -> None:
    path = folder / name
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(b"" if damage == "empty" else content[: len(content) // 2])
    with pytest.raises(WeightsError, match="restore"):
        Classifier.load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "newer"),
        ({"words": 63}, "do not fit"),
        ({"words": "many"}, "restore"),
        ({"labels": []}, "do not fit"),
        ({"labels": 5}, "restore"),
        ({"multi_label": False}, "do not fit"),
        ({"sets": [["billing"]]}, "do not fit"),
        ({"embedder": "of another kind"}, "other weights"),
        ({"base": "no-such-base"}, "no-such-base"),
    ],
)
def test_facts_that_do_not_fit_are_refused(
    folder: Path, change: dict[str, Any], message: str
) -> None:
    facts = json.loads((folder / FACTS).read_text("utf-8"))
    (folder / FACTS).write_text(json.dumps(facts | change), "utf-8")
    with pytest.raises(WeightsError, match=message):
        Classifier.load(folder)


@pytest.mark.parametrize("damage", ["not finite", "other type", "owner without a set"])
def test_taught_vectors_that_make_no_sense_are_refused(folder: Path, damage: str) -> None:
    arrays = load_file(folder / TAUGHT)
    if damage == "not finite":
        arrays["vectors"][0, 0] = np.nan
    elif damage == "other type":
        arrays["vectors"] = arrays["vectors"].astype(np.float32)
    else:
        arrays["owners"][0] = 99
    save_file(arrays, folder / TAUGHT)
    with pytest.raises(WeightsError):
        Classifier.load(folder)


def test_a_head_of_another_base_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "mixed")
    LinearHead(["billing"], np.zeros((1, 3)), np.zeros(1), multi_label=True).save(
        tmp_path / "mixed"
    )
    with pytest.raises(WeightsError, match="do not fit"):
        Classifier.load(tmp_path / "mixed")
