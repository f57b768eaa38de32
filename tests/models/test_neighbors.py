"""The nearest taught texts, held against a plain count over all of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeyman.models.errors import WeightsError
from journeyman.models.students.neighbors import NUM_NEIGHBORS, TEMPERATURE, Neighbors
from journeyman.models.students.words import word_vectors


def unit(
    seed: int, n: int, dimension: int = 8
) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    drawn = np.random.default_rng(seed).normal(size=(n, dimension)).astype(np.float32)
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), dtype=np.float32)


@given(
    sets=st.lists(st.sets(st.sampled_from("abc")), min_size=1, max_size=40),
    seed=st.integers(0, 2**16),
)
def test_votes_and_nearest_are_those_of_a_plain_count(sets: list[set[str]], seed: int) -> None:
    vectors = unit(seed, len(sets))
    known = Neighbors.of(vectors, sets)
    query = unit(seed + 1, 3)
    for look, row in zip(known.look(query), query, strict=True):
        cosines = known.vectors.astype(np.float32) @ row
        closest = np.argsort(-cosines)[:NUM_NEIGHBORS]
        weights = np.exp((cosines[closest] - cosines.max()) / TEMPERATURE)
        for labels in known.sets:
            has = [tuple(sorted(sets[i])) == labels for i in range(len(sets))]
            share = weights[np.array(has)[closest]].sum() / weights.sum()
            assert look.votes.get(labels, 0.0) == pytest.approx(share, abs=1e-4)
            assert look.nearest[labels] == pytest.approx(cosines[has].max(), abs=1e-5)
        shares = look.label_shares("abc")
        for name in "abc":
            of_label = sum(v for labels, v in look.votes.items() if name in labels)
            assert shares[name] == pytest.approx(of_label)
    assert sum(known.counts.values()) == len(sets)


def test_a_half_float_moves_a_cosine_by_less_than_its_evidence_means() -> None:
    vectors = unit(0, 200, 384)
    known = Neighbors.of(vectors, [("a",)] * 200)
    moved = known.vectors.astype(np.float32) @ vectors.T - vectors @ vectors.T
    assert np.abs(moved).max() < 2e-4


def test_arrays_that_do_not_fit_are_refused() -> None:
    with pytest.raises(WeightsError, match="do not fit"):
        Neighbors(np.zeros((2, 3), np.float16), (("a",),), np.zeros(1, np.int32))
    with pytest.raises(WeightsError, match="do not fit"):
        Neighbors.of(np.zeros((0, 3)), [])


@given(texts=st.lists(st.text(), max_size=5))
def test_word_vectors_are_unit_or_empty_and_know_neither_case_nor_order(texts: list[str]) -> None:
    vectors = word_vectors(texts, 32)
    assert vectors.shape == (len(texts), 32)
    lengths = np.linalg.norm(vectors, axis=1)
    assert ((np.abs(lengths - 1) < 1e-5) | (lengths == 0)).all()


def test_words_and_signs_are_told_apart_wherever_they_stand() -> None:
    same = word_vectors(["Why? It fails!", "it fails, why"], 4096)
    assert 0.5 < same[0] @ same[1] < 0.9  # the words are the same, the signs are not
    far = "word " * 3000
    assert not np.array_equal(*word_vectors([far, far + "```"], 4096))
