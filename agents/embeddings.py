"""Vectors of passages: embedded in chunks, kept by content, never computed twice.

The cache is one SQLite file per folder, keyed by the hash of the text and the fingerprint of the
document tower; chunks are committed as they finish, so an interrupted build goes on where it
stopped. It can be deleted at any time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from journeyman.agents.passages import Passage
from journeyman.models.errors import ConfigError, ModelError

Progress = Callable[[int, int], None]
"""Called with the texts done so far and the texts to do."""
Vectors = NDArray[np.float32]

CACHE_FILE = "embeddings.db"
_CHUNK = 256  # texts embedded, reported and committed together
_KEYS_PER_QUERY = 500


@runtime_checkable
class DocumentEmbedder(Protocol):
    """The half of an embedder that turns passages into vectors."""

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        ...

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, shape (len(texts), dimension)."""
        ...

    def document_fingerprint(self) -> str:
        """Hash of everything that shapes a passage's vector."""
        ...


def embed_passages(
    passages: Sequence[Passage],
    embedder: DocumentEmbedder,
    *,
    known: Mapping[str, NDArray[np.float32]] | None = None,
    cache: Path | str | None = None,
    progress: Progress | None = None,
) -> Vectors:
    """One vector per passage, shape (len(passages), dimension); equal texts are embedded once.

    Args:
        passages: What to embed.
        embedder: Embeds what neither `known` nor the cache holds.
        known: Vectors by `Passage.content_key`.
        cache: Folder of the cache; made if need be. None keeps nothing.
        progress: Told after each chunk.

    Raises:
        ConfigError: The cache cannot be used.
        ModelError: The embedder returned something else than finite vectors of its dimension.
    """
    texts = {passage.content_key: passage.content for passage in passages}
    vectors = {key: known[key] for key in texts if key in known} if known else {}
    if cache is not None:
        missing = [key for key in texts if key not in vectors]
        vectors |= _Cache(cache, embedder).read(missing)
    todo = {key: text for key, text in texts.items() if key not in vectors}
    vectors |= _embed(todo, embedder, cache, progress)
    table = np.empty((len(passages), embedder.dimension), dtype=np.float32)
    for row, passage in enumerate(passages):
        table[row] = vectors[passage.content_key]
    return table


def _embed(
    texts: Mapping[str, str],
    embedder: DocumentEmbedder,
    cache: Path | str | None,
    progress: Progress | None,
) -> dict[str, NDArray[np.float32]]:
    keys = sorted(texts, key=lambda key: len(texts[key]))  # chunks of like length pad less
    vectors: dict[str, NDArray[np.float32]] = {}
    for start in range(0, len(keys), _CHUNK):
        chunk = keys[start : start + _CHUNK]
        rows = embedder.embed_documents([texts[key] for key in chunk])
        fresh = dict(zip(chunk, _checked(rows, len(chunk), embedder), strict=True))
        if cache is not None:
            _Cache(cache, embedder).write(fresh)
        vectors |= fresh
        if progress is not None:
            progress(len(vectors), len(keys))
    return vectors


def _checked(rows: Any, num_rows: int, embedder: DocumentEmbedder) -> Vectors:
    table = np.ascontiguousarray(rows, dtype=np.float32)
    if table.shape != (num_rows, embedder.dimension) or not np.isfinite(table).all():
        raise ModelError(
            f"The embedder {embedder.document_fingerprint()[:8]!r} returned shape {table.shape} or "
            f"numbers that are not finite, instead of ({num_rows}, {embedder.dimension}) finite "
            "ones: check its weights.",
            model=embedder.document_fingerprint(),
        )
    return table


class _Cache:
    """Vectors of one document tower in a folder's cache file."""

    def __init__(self, folder: Path | str, embedder: DocumentEmbedder) -> None:
        self._path = Path(folder) / CACHE_FILE
        self._tower = embedder.document_fingerprint()
        self._num_bytes = 4 * embedder.dimension

    def read(self, keys: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """The vectors it has of those asked for."""
        found = {}
        for start in range(0, len(keys), _KEYS_PER_QUERY):
            for key, blob in self._run(self._select, keys[start : start + _KEYS_PER_QUERY]):
                if len(blob) == self._num_bytes:
                    found[key] = np.frombuffer(blob, dtype="<f4")
        return found

    def write(self, vectors: Mapping[str, NDArray[np.float32]]) -> None:
        """Keep vectors; those already there stay."""
        self._run(self._insert, vectors)

    def _run(self, action: Callable[[sqlite3.Connection, Any], Any], argument: Any) -> Any:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._path, timeout=60)) as connection, connection:
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS vectors (tower TEXT NOT NULL, key TEXT NOT NULL, "
                    "vector BLOB NOT NULL, PRIMARY KEY (tower, key))"
                )
                return action(connection, argument)
        except (sqlite3.Error, OSError) as error:
            raise ConfigError(
                f"The embedding cache {str(self._path)!r} cannot be used ({error}); "
                "delete it, it only saves time, or name another folder.",
                path=self._path,
            ) from error

    def _select(self, connection: sqlite3.Connection, keys: Sequence[str]) -> list[Any]:
        marks = ",".join("?" * len(keys))
        query = f"SELECT key, vector FROM vectors WHERE tower = ? AND key IN ({marks})"  # noqa: S608  # only marks
        return connection.execute(query, (self._tower, *keys)).fetchall()

    def _insert(
        self, connection: sqlite3.Connection, vectors: Mapping[str, NDArray[np.float32]]
    ) -> None:
        connection.executemany(
            "INSERT OR IGNORE INTO vectors VALUES (?, ?, ?)",
            [(self._tower, key, row.astype("<f4").tobytes()) for key, row in vectors.items()],
        )
