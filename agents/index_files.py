"""An index on disk: a manifest that names one generation of files, replaced in one step.

A save writes a new folder beside the old one and then replaces the manifest, so that whoever is
killed, and whenever, the manifest names a complete index. Vectors and BM25 are numpy arrays and
JSON, never pickle.

    folder/manifest.json
    folder/gen-<hash>/passages.jsonl  vectors.npy  bm25/
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from journeyman.agents.bm25 import WordIndex
from journeyman.agents.embeddings import Vectors
from journeyman.agents.lexical import LexicalSettings
from journeyman.agents.passages import Passage, read_jsonl
from journeyman.models.errors import ConfigError, JourneymanError

FORMAT_VERSION = 1
_MANIFEST = "manifest.json"
_LEFTOVER_SECONDS = 3600.0  # an unnamed generation this old belongs to a save that died


@dataclass(frozen=True, slots=True)
class SavedIndex:
    """Everything that a saved index holds; passages in order of their ids."""

    passages: tuple[Passage, ...]
    vectors: Vectors | None
    words: WordIndex
    lexical: LexicalSettings
    document_tower: str

    @staticmethod
    def exists(folder: Path) -> bool:
        """Does the folder hold a saved index?"""
        return (folder / _MANIFEST).is_file()


def content_hash_of(passages: Iterable[Passage]) -> str:
    """Hash of passages in their order: that of the file that holds them."""
    digest = hashlib.sha256()
    for line in _lines(passages):
        digest.update(line)
    return digest.hexdigest()


def write_index(folder: Path, saved: SavedIndex) -> None:
    """Save an index; what was there before stays valid until the last step.

    Raises:
        ConfigError: The folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        generation = folder / f"gen-{uuid.uuid4().hex[:12]}"
        generation.mkdir()
        digest = _write_passages(generation / "passages.jsonl", saved.passages)
        if saved.vectors is not None:
            np.save(generation / "vectors.npy", saved.vectors, allow_pickle=False)
        saved.words.save(generation / "bm25")
        previous = _named_generation(folder)
        _replace_manifest(folder, _manifest(saved, generation.name, digest))
        _sweep(folder, keep=generation.name, previous=previous)
    except OSError as error:
        raise ConfigError(
            f"The index cannot be saved in {str(folder)!r} ({error}): "
            "make room there, or name another folder.",
            path=folder,
        ) from error


def read_index(folder: Path) -> SavedIndex:
    """Open a saved index; arrays are memory-mapped.

    Raises:
        ConfigError: There is none, or it is damaged, or of another format.
    """
    absent = None
    while True:
        manifest = _read_manifest(folder)
        try:
            return _read_generation(folder, manifest)
        except FileNotFoundError as error:
            # Another process may have saved after our look at the manifest: look once more.
            if manifest["generation"] == absent:
                raise _damaged(folder, error) from error
            absent = manifest["generation"]
        except (OSError, ValueError, KeyError, TypeError, EOFError, JourneymanError) as error:
            raise _damaged(folder, error) from error


def _read_generation(folder: Path, manifest: dict[str, Any]) -> SavedIndex:
    generation = folder / manifest["generation"]
    num_passages = manifest["num_passages"]
    path = generation / "passages.jsonl"
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != manifest["content_hash"]:
            raise ValueError("passages.jsonl does not match its hash")
    passages = tuple(read_jsonl(path)) if num_passages else ()
    vectors = None
    if manifest["dimension"] is not None:
        vectors = np.load(generation / "vectors.npy", mmap_mode=_mmap(num_passages))
        if vectors.shape != (num_passages, manifest["dimension"]):
            raise ValueError(f"vectors of shape {vectors.shape}")
    return SavedIndex(
        passages=passages,
        vectors=vectors,
        words=WordIndex.load(generation / "bm25", num_passages),
        lexical=LexicalSettings(**manifest["lexical"]),
        document_tower=manifest["document_tower"],
    )


def _mmap(num_rows: int) -> Any:
    return "r" if num_rows else None  # an empty file cannot be mapped


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / _MANIFEST
    try:
        manifest = json.loads(path.read_text("utf-8"))
        version = manifest["format_version"]
    except FileNotFoundError as error:
        raise ConfigError(
            f"There is no index in {str(folder)!r}: build one and save it there.", path=folder
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, error) from error
    if version != FORMAT_VERSION:
        raise ConfigError(
            f"The index in {str(folder)!r} has format {version!r}, and this version reads "
            f"{FORMAT_VERSION}: build it again.",
            path=path,
        )
    return dict(manifest)


def _damaged(folder: Path, error: Exception) -> ConfigError:
    return ConfigError(
        f"The index in {str(folder)!r} is damaged ({type(error).__name__}: {error}): "
        "delete the folder and build it again.",
        path=folder,
    )


def _manifest(saved: SavedIndex, generation: str, digest: str) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "generation": generation,
        "content_hash": digest,
        "num_passages": len(saved.passages),
        "dimension": None if saved.vectors is None else int(saved.vectors.shape[1]),
        "document_tower": saved.document_tower,
        "lexical": saved.lexical.parts(),
    }


def _replace_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    fresh = folder / f"{manifest['generation']}.json"
    with fresh.open("w", encoding="utf-8") as file:
        json.dump(manifest, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(folder / _MANIFEST)


def _named_generation(folder: Path) -> str | None:
    try:
        name = json.loads((folder / _MANIFEST).read_text("utf-8"))["generation"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(name)


def _sweep(folder: Path, *, keep: str, previous: str | None) -> None:
    """Delete the generation just replaced, and what saves that died have left behind."""
    for path in folder.glob("gen-*"):
        if path.stem == keep:
            continue
        try:
            forgotten = time.time() - path.stat().st_mtime > _LEFTOVER_SECONDS
        except FileNotFoundError:  # another process sweeps too
            continue
        if path.name == previous or forgotten:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _write_passages(path: Path, passages: Iterable[Passage]) -> str:
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for line in _lines(passages):
            digest.update(line)
            file.write(line)
    return digest.hexdigest()


def _lines(passages: Iterable[Passage]) -> Iterator[bytes]:
    for passage in passages:
        # ASCII escapes hold whatever a passage's metadata may contain, lone surrogates included.
        yield json.dumps(passage.row(), sort_keys=True).encode("ascii") + b"\n"
