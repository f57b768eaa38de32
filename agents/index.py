"""The index: passages that can be searched by words, by vector, or by both fused.

Rows are kept in order of their ids, whatever order they came in, so that an index after any number
of changes equals one built anew, and equal scores always come out in the same order. A change makes
a new state and swaps it in whole: searches in other threads see the old one or the new one. Knows
how to ask an embedder for vectors, and nothing of questions, frontiers or files of passages.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from journeyman.agents.bm25 import WordIndex
from journeyman.agents.embeddings import DocumentEmbedder, Progress, Vectors, embed_passages
from journeyman.agents.index_files import SavedIndex, content_hash_of, read_index, write_index
from journeyman.agents.lexical import LexicalSettings, Tokenizer
from journeyman.agents.passages import Passage
from journeyman.agents.search import Found, Fusion, Hit, top_rows
from journeyman.models.errors import ConfigError, ModelError, WeightsError

_BLOCK = 16_384  # rows multiplied at a time, so that memory-mapped vectors are read in turn


@dataclass(frozen=True, slots=True)
class Change:
    """What an update did, in passages."""

    num_added: int = 0
    num_changed: int = 0
    num_removed: int = 0
    num_unchanged: int = 0


@dataclass(frozen=True)
class _State:
    """One corpus, searchable; never altered."""

    passages: tuple[Passage, ...]
    vectors: Vectors | None
    words: WordIndex

    @cached_property
    def rows(self) -> dict[str, int]:
        """Row of each id."""
        return {passage.id: row for row, passage in enumerate(self.passages)}

    @cached_property
    def content_hash(self) -> str:
        """Hash of the passages."""
        return content_hash_of(self.passages)


class Index:
    """Passages searchable by BM25, by vector and by both. Made by `build`, `load` or `sync`."""

    def __init__(
        self,
        state: _State,
        tokenizer: Tokenizer,
        embedder: DocumentEmbedder | None,
        document_tower: str,
        cache: Path | str | None = None,
    ) -> None:
        self._state = state
        self._tokenizer = tokenizer
        self._embedder = embedder
        self._document_tower = document_tower
        self._cache = cache

    # Making one.

    @classmethod
    def build(
        cls,
        passages: Iterable[Passage],
        embedder: DocumentEmbedder | None = None,
        *,
        settings: LexicalSettings | None = None,
        cache: Path | str | None = None,
        progress: Progress | None = None,
    ) -> Index:
        """Index passages.

        Args:
            passages: In any order; may be empty.
            embedder: Makes the vectors; None leaves an index of words alone.
            settings: How text becomes words.
            cache: Folder that keeps vectors by content, for this and later builds and updates.
            progress: Told of the passages embedded and to embed.

        Raises:
            ConfigError: An id occurs twice, or the cache cannot be used.
            ModelError: The embedder failed.
        """
        corpus = _by_id(passages)
        ordered = tuple(corpus[key] for key in sorted(corpus))
        tokenizer = Tokenizer(settings)
        vectors = None
        if embedder is not None:
            vectors = embed_passages(ordered, embedder, cache=cache, progress=progress)
        state = _State(ordered, vectors, _index_words(ordered, tokenizer))
        tower = embedder.document_fingerprint() if embedder is not None else ""
        return cls(state, tokenizer, embedder, tower, cache)

    @classmethod
    def load(
        cls,
        folder: Path | str,
        embedder: DocumentEmbedder | None = None,
        *,
        cache: Path | str | None = None,
    ) -> Index:
        """Open what `save` wrote; vectors and BM25 are memory-mapped.

        Args:
            folder: The folder that was saved to.
            embedder: Needed to change the corpus later; it must have the index's document tower.
            cache: As for `build`, for later changes.

        Raises:
            ConfigError: There is no index, or its files are damaged or of another format.
            WeightsError: The index was made with another document tower.
        """
        saved = read_index(Path(folder))
        tower = embedder.document_fingerprint() if embedder is not None else saved.document_tower
        if tower != saved.document_tower:
            raise WeightsError(
                f"The index in {str(folder)!r} holds vectors of document tower "
                f"{saved.document_tower[:8] or 'none'!r}, not of {tower[:8]!r}: build it again "
                "with this embedder, or load it with the one that it was built with."
            )
        state = _State(saved.passages, saved.vectors, saved.words)
        return cls(state, Tokenizer(saved.lexical), embedder, tower, cache)

    @classmethod
    def sync(
        cls,
        folder: Path | str,
        passages: Sequence[Passage],
        embedder: DocumentEmbedder | None = None,
        *,
        settings: LexicalSettings | None = None,
        cache: Path | str | None = None,
        progress: Progress | None = None,
    ) -> Index:
        """The index in `folder`, brought to exactly these passages, and saved if anything changed.

        Only texts that the folder has no vector for are embedded. An index of another document
        tower or with other settings is built anew. Arguments as for `build`.

        Raises:
            ConfigError: An id occurs twice, or the folder's files are damaged.
            ModelError: The embedder failed.
        """
        wanted = settings or LexicalSettings()
        try:
            index = None
            if SavedIndex.exists(Path(folder)):
                index = cls.load(folder, embedder, cache=cache)
        except WeightsError:  # of another document tower
            index = None
        blind = embedder is None
        if index is None or index.settings != wanted or blind != (index.dimension is None):
            index = cls.build(passages, embedder, settings=wanted, cache=cache, progress=progress)
            index.save(folder)
            return index
        change = index.update(passages, prune=True, progress=progress)
        if change != Change(num_unchanged=len(index)):
            index.save(folder)
        return index

    def save(self, folder: Path | str) -> None:
        """Write the index so that the folder holds the old one or the new one, never a part.

        Raises:
            ConfigError: The folder cannot be written.
        """
        state = self._state
        saved = SavedIndex(
            state.passages, state.vectors, state.words, self.settings, self._document_tower
        )
        write_index(Path(folder), saved)

    # Changing it.

    def add(self, passages: Iterable[Passage], *, progress: Progress | None = None) -> Change:
        """Add passages with new ids.

        Raises:
            ConfigError: An id is there already; `update` replaces.
        """
        passages = list(passages)
        for passage in passages:
            if passage.id in self._state.rows:
                raise ConfigError(
                    f"The index already holds a passage {passage.id!r}: use update to replace it."
                )
        return self.update(passages, progress=progress)

    def remove(self, ids: Iterable[str]) -> Change:
        """Remove passages.

        Raises:
            ConfigError: An id is not there.
        """
        gone = set(ids)
        unknown = sorted(gone - self._state.rows.keys())
        if unknown:
            raise ConfigError(
                f"The index holds no passage {unknown[0]!r}: remove only ids that it lists."
            )
        kept = {p.id: p for p in self._state.passages if p.id not in gone}
        return self._become(kept, None)

    def update(
        self,
        passages: Iterable[Passage],
        *,
        prune: bool = False,
        progress: Progress | None = None,
    ) -> Change:
        """Add passages, or replace those of the same id; only new texts are embedded.

        Args:
            passages: New or changed ones; unchanged ones cost nothing.
            prune: Remove every passage that is not among them.
            progress: Told of the passages embedded and to embed.

        Raises:
            ConfigError: An id occurs twice, or new texts need an embedder that the index has not.
            ModelError: The embedder failed.
        """
        kept = {} if prune else {passage.id: passage for passage in self._state.passages}
        return self._become(kept | _by_id(passages), progress)

    def _become(self, corpus: Mapping[str, Passage], progress: Progress | None) -> Change:
        old = self._state
        before = {passage.id: passage for passage in old.passages}
        changed = sum(1 for key, p in corpus.items() if key in before and before[key] != p)
        change = Change(
            num_added=len(corpus.keys() - before.keys()),
            num_changed=changed,
            num_removed=len(before.keys() - corpus.keys()),
            num_unchanged=len(corpus.keys() & before.keys()) - changed,
        )
        if change == Change(num_unchanged=len(before)):
            return change
        ordered = tuple(corpus[key] for key in sorted(corpus))
        vectors = self._vectors(ordered, progress) if old.vectors is not None else None
        self._state = _State(ordered, vectors, _index_words(ordered, self._tokenizer))
        return change

    def _vectors(self, passages: Sequence[Passage], progress: Progress | None) -> Vectors:
        old = self._state
        assert old.vectors is not None
        known = {passage.content_key: row for row, passage in enumerate(old.passages)}
        if self._embedder is None:
            if any(passage.content_key not in known for passage in passages):
                raise ConfigError(
                    "The index was loaded without an embedder, so that new passages cannot be "
                    "added: pass the embedder to Index.load."
                )
            return np.asarray(old.vectors[[known[passage.content_key] for passage in passages]])
        vectors = old.vectors
        return embed_passages(
            passages,
            self._embedder,
            known={key: vectors[row] for key, row in known.items()},
            cache=self._cache,
            progress=progress,
        )

    # What is in it.

    def __len__(self) -> int:
        return len(self._state.passages)

    def __contains__(self, passage_id: object) -> bool:
        return passage_id in self._state.rows

    @property
    def ids(self) -> list[str]:
        """All ids, in order."""
        return [passage.id for passage in self._state.passages]

    @property
    def settings(self) -> LexicalSettings:
        """How text becomes words."""
        return self._tokenizer.settings

    @property
    def dimension(self) -> int | None:
        """Length of its vectors; None for an index of words alone."""
        vectors = self._state.vectors
        return None if vectors is None else int(vectors.shape[1])

    @property
    def document_tower(self) -> str:
        """Fingerprint of the document tower; empty for an index of words alone."""
        return self._document_tower

    @property
    def content_hash(self) -> str:
        """Hash of the passages: of the corpus, not of how it is searched."""
        return self._state.content_hash

    def get(self, passage_id: str) -> Passage | None:
        """The passage of that id; None where there is none."""
        state = self._state
        row = state.rows.get(passage_id)
        return None if row is None else state.passages[row]

    def vector(self, passage_id: str) -> NDArray[np.float32] | None:
        """The passage's vector by the document tower; None where there is none."""
        state = self._state
        row = state.rows.get(passage_id)
        return None if row is None or state.vectors is None else np.asarray(state.vectors[row])

    def parts(self) -> dict[str, Any]:
        """What shapes an answer beside the corpus: words and document tower."""
        return {"lexical": self.settings.parts(), "document_tower": self._document_tower}

    # Searching it.

    def search_bm25(self, query: str, k: int) -> list[Hit]:
        """The best `k` passages that share a word with the query, by BM25 score."""
        return self._by_words(self._state, self._tokenizer.tokens(query), k)

    def search_dense(self, vector: NDArray[np.float32], k: int) -> list[Hit]:
        """The best `k` passages by dot product with a unit vector.

        Raises:
            ConfigError: The index has no vectors, or of another length.
            ModelError: The vector is not finite.
        """
        return self._by_vector(self._state, vector, k)

    def search(
        self,
        query: str,
        vector: NDArray[np.float32] | None,
        k: int,
        *,
        fusion: Fusion | None = None,
    ) -> Found:
        """The best `k` passages of both lists fused.

        Args:
            query: What BM25 looks for.
            vector: What the vectors are compared with; None searches by words alone.
            k: Passages wanted.
            fusion: How the lists become one; the default where None.

        Raises:
            ConfigError: The vector does not fit the index.
            ModelError: The vector is not finite.
        """
        state = self._state
        fusion = fusion or Fusion()
        depth = max(fusion.depth, k)
        words = self._tokenizer.tokens(query)
        bm25 = self._by_words(state, words, depth)
        dense = self._by_vector(state, vector, depth) if vector is not None else []
        terms = set(words)
        return Found(
            query=query,
            fused=tuple(fusion.fuse(dense, bm25, k)),
            dense=tuple(dense),
            bm25=tuple(bm25),
            num_terms=len(terms),
            num_known_terms=sum(1 for term in terms if state.words.knows(term)),
        )

    @staticmethod
    def _by_words(state: _State, words: Sequence[str], k: int) -> list[Hit]:
        scores = state.words.scores(words)
        rows = top_rows(scores, k)
        return [Hit(state.passages[r].id, float(scores[r])) for r in rows if scores[r] > 0]

    @staticmethod
    def _by_vector(state: _State, vector: NDArray[np.float32], k: int) -> list[Hit]:
        vectors = state.vectors
        if vectors is None or vector.shape != vectors.shape[1:]:
            shape = None if vectors is None else vectors.shape[1:]
            raise ConfigError(
                f"A vector of shape {vector.shape} cannot search an index with vectors of shape "
                f"{shape}: use the embedder that the index was built with."
            )
        query = np.ascontiguousarray(vector, dtype=np.float32)
        if not np.isfinite(query).all():
            raise ModelError("The student's vector holds numbers that are not finite: check it.")
        blocks = [vectors[i : i + _BLOCK] @ query for i in range(0, len(vectors), _BLOCK)]
        exact = np.concatenate(blocks) if blocks else np.empty(0, dtype=np.float32)
        # The last digit of a product depends on where a row lies in its block; equal passages
        # must tie, and ties go by id.
        scores = np.round(exact, 6)
        return [Hit(state.passages[r].id, float(scores[r])) for r in top_rows(scores, k)]


def _by_id(passages: Iterable[Passage]) -> dict[str, Passage]:
    corpus: dict[str, Passage] = {}
    for passage in passages:
        if passage.id in corpus:
            raise ConfigError(
                f"Two passages have the id {passage.id!r}: give every passage its own id."
            )
        if not passage.id or not passage.text.strip():
            raise ConfigError(
                f"Passage {passage.id!r} has no id or no text: give it both, or leave it out."
            )
        corpus[passage.id] = passage
    return corpus


def _index_words(passages: Sequence[Passage], tokenizer: Tokenizer) -> WordIndex:
    return WordIndex.build((tokenizer.tokens(p.content) for p in passages), tokenizer.settings)
