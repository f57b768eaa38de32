"""A LangChain retriever in the index's place.

Whatever it ranks by, it ranks; there are no vectors of ours, so the student has no say and evidence
about two lists is neutral. A retriever cannot be asked for a passage by id, so those it has shown
are remembered for a while.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from itertools import pairwise
from typing import Any

import numpy as np
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from numpy.typing import NDArray

from journeyman.agents.lexical import Tokenizer
from journeyman.agents.passages import Passage
from journeyman.agents.search import Found, Fusion, Hit
from journeyman.models.types import content_hash

_REMEMBERED = 10_000
_SCORE_KEYS = ("relevance_score", "score", "_score")


class RetrieverIndex:
    """Searches through a retriever. Safe to use from several threads if the retriever is.

    Args:
        retriever: Any LangChain retriever; it decides how many documents it returns, so set it to
            at least the sub-agent's depth.
        name: Stands for the retriever and its settings in the release; change it when they change.
    """

    def __init__(self, retriever: BaseRetriever, *, name: str) -> None:
        self._retriever = retriever
        self._name = name
        self._tokenizer = Tokenizer()
        self._shown: OrderedDict[str, Passage] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def dimension(self) -> int | None:
        """None: it is not searched by vector."""
        return None

    @property
    def document_tower(self) -> str:
        """Empty: its vectors, if any, are its own."""
        return ""

    def search(
        self,
        query: str,
        vector: NDArray[np.float32] | None,  # unused: the retriever embeds for itself
        k: int,
        *,
        fusion: Fusion | None = None,
    ) -> Found:
        """The retriever's documents in its order, the first `k`.

        Scores are those in the documents' metadata where every document has one and they fall,
        else 1 / rank.

        Raises:
            Exception: Whatever the retriever raises.
        """
        depth = max(k, (fusion or Fusion()).depth)
        documents = self._retriever.invoke(query)[:depth]
        passages = list({p.id: p for p in map(passage_of, documents) if p.text.strip()}.values())
        self._remember(passages)
        scores = _scores(documents) if len(passages) == len(documents) else None
        hits = [
            Hit(passage.id, scores[place] if scores else 1.0 / (place + 1))
            for place, passage in enumerate(passages[:k])
        ]
        num_terms = len(set(self._tokenizer.tokens(query)))
        return Found(query, tuple(hits), num_terms=num_terms, num_known_terms=num_terms)

    def get(self, passage_id: str) -> Passage | None:
        """The passage, if it was among the last ten thousand shown."""
        with self._lock:
            return self._shown.get(passage_id)

    def vector(self, _passage_id: str) -> None:
        """Never one: the retriever's vectors are its own."""
        return

    def parts(self) -> dict[str, Any]:
        """The retriever's class and the name given to it."""
        kind = type(self._retriever)
        return {"retriever": f"{kind.__module__}.{kind.__qualname__}", "name": self._name}

    def _remember(self, passages: list[Passage]) -> None:
        with self._lock:
            for passage in passages:
                self._shown[passage.id] = passage
                self._shown.move_to_end(passage.id)
            while len(self._shown) > _REMEMBERED:
                self._shown.popitem(last=False)


def passage_of(document: Document) -> Passage:
    """A LangChain document as a passage; without an id of its own it is named by its content."""
    data = document.metadata
    name = next((value for value in (document.id, data.get("id"), data.get("_id")) if value), None)
    source, start, title = data.get("source"), data.get("start_index"), data.get("title")
    return Passage(
        id=str(name) if name else content_hash([str(source), document.page_content], length=16),
        text=document.page_content,
        title=title if isinstance(title, str) else "",
        source=source if isinstance(source, str) else "",
        start=start if isinstance(start, int) else None,
        end=start + len(document.page_content) if isinstance(start, int) else None,
    )


def _scores(documents: list[Document]) -> list[float] | None:
    for key in _SCORE_KEYS:
        values = [document.metadata.get(key) for document in documents]
        numbers = [float(value) for value in values if isinstance(value, int | float)]
        falling = all(a >= b for a, b in pairwise(numbers))
        if len(numbers) == len(documents) and falling and np.isfinite(numbers).all():
            return numbers
    return None
