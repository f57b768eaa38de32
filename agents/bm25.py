"""BM25 over a fixed list of texts: bm25s with our words.

Its statistics (document frequencies, mean length) belong to the whole list, so a changed list is
indexed anew; for 100,000 passages of 100 words that takes some forty seconds. Rows are positions
in the list: ids, ties and fusion are the index's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from journeyman.agents.lexical import LexicalSettings


class WordIndex:
    """BM25 scores of every row for a query. Read-only after it is made, so free of locks.

    Args:
        scorer: A filled `bm25s.BM25`; None where no row has any word.
        num_rows: Rows that were indexed.
    """

    def __init__(self, scorer: Any, num_rows: int) -> None:
        self._scorer = scorer
        self._num_rows = num_rows

    @classmethod
    def build(cls, rows: Iterable[Sequence[str]], settings: LexicalSettings) -> WordIndex:
        """Index rows of words; a row may be empty."""
        vocabulary: dict[str, int] = {}
        # Numbering words as they come keeps the files the same from run to run.
        numbered = [[vocabulary.setdefault(w, len(vocabulary)) for w in words] for words in rows]
        if not vocabulary:
            return cls(None, len(numbered))
        import bm25s  # of the [local] extra; sub-agents of a user's own go without it

        scorer = bm25s.BM25(k1=settings.k1, b=settings.b, method="lucene")
        scorer.index((numbered, vocabulary), create_empty_token=False, show_progress=False)
        return cls(scorer, len(numbered))

    @classmethod
    def load(cls, folder: Path, num_rows: int) -> WordIndex:
        """Open what `save` wrote, memory-mapped.

        Raises:
            OSError: Files are missing.
            ValueError: They cannot be read, or hold another number of rows.
        """
        if not folder.exists():
            return cls(None, num_rows)
        import bm25s

        scorer = bm25s.BM25.load(folder, mmap=True, show_progress=False)
        if scorer.scores["num_docs"] != num_rows:
            raise ValueError(f"{scorer.scores['num_docs']} rows of words for {num_rows} passages")
        return cls(scorer, num_rows)

    def save(self, folder: Path) -> None:
        """Write the index into a new folder; without any words nothing is written."""
        if self._scorer is not None:
            self._scorer.save(folder, show_progress=False)

    def scores(self, words: Sequence[str]) -> NDArray[np.float32]:
        """BM25 score of every row, shape (num_rows,); 0 where no word is shared."""
        known = [word for word in words if self.knows(word)]
        if not known:
            return np.zeros(self._num_rows, dtype=np.float32)
        scores: NDArray[np.float32] = self._scorer.get_scores(known)
        return scores

    def knows(self, word: str) -> bool:
        """Does any row hold the word?"""
        return self._scorer is not None and word in self._scorer.vocab_dict
