"""The embedder: the vectors of sentence-transformers, and a query side that learns on its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from journeyman.models.catalog import resolve
from journeyman.models.errors import WeightsError
from journeyman.models.students.base import Student
from journeyman.models.students.embedder import Embedder, load_tower, save_tower

TEXTS = [
    "How do I reset my password?",
    "Steps to change a forgotten password",
    "The weather in Paris is mild in spring. " * 30,
    "",
    " \n\t",
    "x\x00y",
    "😀 naïve café 你好",
    "broken \ud800 surrogate",
]


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder(device="cpu")


@pytest.fixture(scope="module")
def changed_tower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A query tower that differs from the base."""
    import torch

    base = resolve("all-MiniLM-L6-v2")
    module = load_tower(base)
    with torch.no_grad():
        module.get_submodule("encoder.layer.5.output.dense").weight.mul_(1.5)
    path = tmp_path_factory.mktemp("tower") / "query.safetensors"
    save_tower(module, base, path)
    return path


def test_vectors_equal_those_of_sentence_transformers(embedder: Embedder) -> None:
    from sentence_transformers import SentenceTransformer

    texts = TEXTS[:-1]  # it cannot take a lone surrogate
    model = SentenceTransformer(str(embedder.base.path), device="cpu")
    expected = model.encode(texts, normalize_embeddings=True, show_progress_bar=False)
    np.testing.assert_allclose(embedder.embed_documents(texts), expected, atol=1e-5)
    np.testing.assert_allclose(np.array(embedder.predict(texts)), expected, atol=1e-5)


def test_vectors_are_unit_float32_whatever_the_text(embedder: Embedder) -> None:
    vectors = embedder.embed_documents(TEXTS)
    assert vectors.shape == (len(TEXTS), embedder.dimension) == (len(TEXTS), 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)


def test_order_and_batching_do_not_matter(embedder: Embedder) -> None:
    together = embedder.embed_documents(TEXTS)
    alone = np.concatenate([embedder.embed_documents([text]) for text in reversed(TEXTS)])[::-1]
    small = embedder.embed_documents(TEXTS, batch_size=2)
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(together, small, atol=1e-5)


def test_a_text_past_the_window_is_stood_for_by_its_beginning(embedder: Embedder) -> None:
    long = "word " * 300
    first, second = embedder.embed_documents([long, long + "and an end that nobody reads"])
    np.testing.assert_allclose(first, second, atol=1e-5)


def test_progress_adds_up(embedder: Embedder) -> None:
    seen: list[int] = []
    embedder.embed_documents(TEXTS, batch_size=3, progress=seen.append)
    assert sum(seen) == len(TEXTS)
    assert max(seen) <= 3


def test_no_texts_no_vectors(embedder: Embedder) -> None:
    assert embedder.predict([]) == []
    assert embedder.embed_documents([]).shape == (0, 384)


def test_teaching_the_query_side_leaves_documents_alone(
    embedder: Embedder, changed_tower: Path
) -> None:
    taught = Embedder(query_weights=changed_tower, device="cpu")
    assert taught.taught
    assert not embedder.taught
    assert np.array_equal(taught.embed_documents(TEXTS), embedder.embed_documents(TEXTS))
    assert not np.allclose(taught.predict(TEXTS[:1])[0], embedder.predict(TEXTS[:1])[0], atol=1e-3)
    assert taught.fingerprint() != embedder.fingerprint()
    assert taught.document_fingerprint() == embedder.document_fingerprint()


def test_a_saved_tower_gives_the_vectors_it_was_saved_with(
    embedder: Embedder, tmp_path: Path
) -> None:
    save_tower(load_tower(embedder.base), embedder.base, tmp_path / "q.safetensors")
    same = Embedder(query_weights=tmp_path / "q.safetensors", device="cpu")
    assert np.array_equal(same.predict(TEXTS)[0], embedder.predict(TEXTS)[0])


def test_half_precision_still_gives_float32(embedder: Embedder) -> None:
    half = Embedder(device="cpu", dtype="bfloat16")
    vectors = half.embed_documents(TEXTS[:2])
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, embedder.embed_documents(TEXTS[:2]), atol=0.05)
    assert half.fingerprint() != embedder.fingerprint()


def test_missing_query_weights_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="do not exist"):
        Embedder(query_weights=tmp_path / "none.safetensors")


def test_damaged_query_weights_are_told_on_use(tmp_path: Path) -> None:
    path = tmp_path / "q.safetensors"
    path.write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        Embedder(query_weights=path, device="cpu").predict(["x"])


def test_a_damaged_base_is_told_on_use(tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(resolve("all-MiniLM-L6-v2").path, base)
    (base / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        Embedder(str(base), device="cpu").predict(["x"])


def test_query_weights_of_another_base_are_refused(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    path = tmp_path / "q.safetensors"
    save_file({"w": torch.zeros(1)}, path, metadata={"base": "another"})
    with pytest.raises(WeightsError, match="another base"):
        Embedder(query_weights=path, device="cpu").predict(["x"])


def test_query_weights_that_lack_a_layer_are_refused(embedder: Embedder, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    state = dict(load_tower(embedder.base).state_dict())
    del state["encoder.layer.0.output.dense.weight"]
    path = tmp_path / "q.safetensors"
    save_file(state, path, metadata={"base": embedder.base.digest})
    with pytest.raises(WeightsError, match="cannot be loaded"):
        Embedder(query_weights=path, device="cpu").predict(["x"])


def test_it_is_a_student(embedder: Embedder) -> None:
    assert isinstance(embedder, Student)


def test_construction_and_fingerprint_load_no_model() -> None:
    code = (
        "import sys; from journeyman.models.students.embedder import Embedder;"
        "e = Embedder(); e.fingerprint(); e.dimension;"
        "print([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
