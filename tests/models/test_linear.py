"""The linear head: right probabilities without scikit-learn, files without pickle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from journeyman.models.errors import ConfigError, WeightsError
from journeyman.models.students.linear import LinearHead


def clusters(num_classes: int, *, seed: int = 0) -> tuple[NDArray[np.float32], list[str]]:
    """Forty unit vectors around each of some random directions, and their names."""
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(num_classes, 16))
    vectors = np.concatenate([center + rng.normal(size=(40, 16)) for center in centers])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), [f"c{i}" for i in range(num_classes) for _ in range(40)]


@pytest.mark.parametrize("num_classes", [2, 3, 7])
def test_probabilities_are_those_of_scikit_learn(num_classes: int) -> None:
    vectors, labels = clusters(num_classes)
    head = LinearHead.fit(vectors, labels, strength=3.0)
    model = LogisticRegression(C=3.0, max_iter=1000).fit(vectors.astype(np.float64), labels)
    assert head.classes == tuple(model.classes_)
    np.testing.assert_allclose(
        head.probabilities(vectors), model.predict_proba(vectors.astype(np.float64)), atol=1e-5
    )


def test_it_learns_what_it_is_taught() -> None:
    vectors, labels = clusters(5)
    head = LinearHead.fit(vectors[::2], labels[::2])
    best = head.probabilities(vectors[1::2]).argmax(axis=1)
    right = np.mean([head.classes[i] == label for i, label in zip(best, labels[1::2], strict=True)])
    assert right > 0.8


def test_a_multi_label_head_finds_several_labels_or_none() -> None:
    axes = np.eye(4, dtype=np.float32)
    both = (axes[0] + axes[1]) / np.sqrt(2)
    vectors = np.concatenate([np.tile(axes[:3], (20, 1)), np.tile(both, (20, 1))])
    labels = [{"a"}, {"b"}, set()] * 20 + [{"a", "b"}] * 20
    head = LinearHead.fit(vectors, labels, multi_label=True, strength=100)
    assert head.classes == ("a", "b")
    found = head.probabilities([axes[0], axes[1], axes[2], both]) > 0.5
    assert found.tolist() == [[True, False], [False, True], [False, False], [True, True]]


def test_a_label_that_is_always_present_is_probable_but_not_certain() -> None:
    head = LinearHead.fit(np.eye(4), [{"a"}] * 4, multi_label=True)
    assert 0.5 < head.probabilities(np.eye(4))[0, 0] < 1


def test_one_class_alone_has_probability_one() -> None:
    head = LinearHead.fit(np.eye(3), ["only"] * 3)
    assert head.probabilities(np.eye(3)).tolist() == [[1.0]] * 3


def test_a_single_vector_and_none_keep_their_shapes() -> None:
    head = LinearHead.fit(*clusters(3))
    assert head.probabilities(np.ones(16)).shape == (1, 3)
    assert head.probabilities(np.zeros((0, 16))).shape == (0, 3)


@pytest.mark.parametrize("multi_label", [False, True])
def test_saving_and_loading_changes_nothing(tmp_path: Path, multi_label: bool) -> None:
    vectors, labels = clusters(3)
    names = [{label} for label in labels] if multi_label else labels
    head = LinearHead.fit(vectors, names, multi_label=multi_label)
    head.save(tmp_path / "head")
    again = LinearHead.load(tmp_path / "head")
    assert again.fingerprint() == head.fingerprint()
    assert np.array_equal(again.probabilities(vectors), head.probabilities(vectors))
    assert sorted(p.name for p in (tmp_path / "head").iterdir()) == [
        "head.json",
        "head.safetensors",
    ]


def test_the_fingerprint_tells_weights_names_and_mode_apart() -> None:
    coef, intercept = np.ones((2, 3)), np.zeros(2)
    heads = [
        LinearHead("ab", coef, intercept),
        LinearHead("ba", coef, intercept),
        LinearHead("ab", coef, intercept, multi_label=True),
        LinearHead("ab", coef, intercept + 1),
        LinearHead("ab", coef * 2, intercept),
    ]
    assert len({head.fingerprint() for head in heads}) == 5


def test_large_scores_do_not_overflow() -> None:
    head = LinearHead("ab", [[1e4], [-1e4]], [0, 0], multi_label=True)
    assert head.probabilities([[1.0], [-1.0]]).tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_nothing_to_learn_from_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot be fitted"):
        LinearHead.fit(np.zeros((0, 4)), [])
    with pytest.raises(ConfigError, match="cannot be fitted"):
        LinearHead.fit(np.zeros((2, 4)), ["a"])


def test_damaged_files_are_weights_errors(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="No linear head"):
        LinearHead.load(tmp_path)
    LinearHead.fit(*clusters(3)).save(tmp_path)
    (tmp_path / "head.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(WeightsError, match="No linear head"):
        LinearHead.load(tmp_path)
