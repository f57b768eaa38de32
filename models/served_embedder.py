"""An embedder behind a server's pooling API, with the vectors of the one in process.

Before its vectors are believed, those of fixed texts are held against the embedder in process,
which is small. Whatever fails raises. Knows nothing of indexes; documents are embedded in process.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np

from journeyman.models.errors import ModelUnavailable, WeightsError
from journeyman.models.served import Serving
from journeyman.models.served_canary import check_accepted
from journeyman.models.served_http import Server, run_blocking
from journeyman.models.students.embedder import Embedder, Vector
from journeyman.models.types import content_hash

LIKENESS = {"float32": 0.9999, "bfloat16": 0.99, "float16": 0.999}
"""Cosine that the vectors of fixed texts must reach, by the type that the server computes in."""

_FIXED = ("How do I cancel an order?", "def largest(values): return max(values)")


class ServedEmbedder(Embedder):
    """Turns queries into unit vectors by a server. Safe between tasks, event loops and threads.

    Documents are embedded in process, as an index is built once.

    Args:
        local: The embedder in process; it embeds the fixed texts, and documents.
        server: Where queries are embedded: vLLM started with `--runner pooling`.
        name: Of the model there.
        serving: How it serves; its type and how long a proof is good count here.
        clock: Monotonic seconds, for tests.
    """

    def __init__(
        self,
        local: Embedder,
        server: Server,
        *,
        name: str,
        serving: Serving | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(local.base, query_weights=local.query_weights)
        self.local = local
        self.server = server
        self.name = name
        self.serving = serving or Serving()
        self._clock = clock
        self._proven: tuple[float, int] | None = None

    def fingerprint(self) -> str:
        """Hash of everything that shapes a vector; the embedder's own at the same precision."""
        if self.serving.dtype == "float32":
            return self.local.fingerprint()
        return content_hash(
            {
                "student": "served embedder",
                "local": self.local.fingerprint(),
                "engine": self.serving.engine,
                "dtype": self.serving.dtype,
            }
        )

    async def prove(self) -> None:
        """Hold the server against the embedder in process, unless that was done lately.

        Raises:
            ModelUnavailable: As `answer`.
            WeightsError: As `answer`.
        """
        await self._prove()

    async def answer(self, item: str) -> Vector:
        """One unit vector (dimension,).

        Raises:
            ModelUnavailable: The server is not there, fails, or answers with something else.
            WeightsError: It serves another embedder.
        """
        vector: Vector = (await self._believed([item]))[0]
        return vector

    def document_fingerprint(self) -> str:
        """That of the embedder in process, which embeds the documents."""
        return self.local.document_fingerprint()

    def embed_documents(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = 64,
        progress: Callable[[int], None] | None = None,
    ) -> Vector:
        """See `Embedder.embed_documents`."""
        return self.local.embed_documents(texts, batch_size=batch_size, progress=progress)

    def predict(self, queries: Sequence[str]) -> list[Vector]:
        """One unit vector (dimension,) per query, in order.

        Raises:
            ModelUnavailable: As `answer`.
            WeightsError: As `answer`.
        """

        async def all_of_them() -> list[Vector]:
            try:
                return list(await self._believed(queries)) if queries else []
            finally:
                await self.server.aclose()

        return run_blocking(all_of_them)

    async def _believed(self, queries: Sequence[str]) -> Vector:
        await self._prove()
        vectors = await self._embedded(queries)
        # Asks nothing, unless a connection broke: then another server may have answered.
        await self._prove()
        return vectors

    @cached_property
    def _wanted(self) -> Vector:
        wanted: Vector = np.stack(self.local.predict(_FIXED))
        return wanted

    async def _prove(self) -> None:
        now, known = self._clock(), self._proven
        if (
            known is not None
            and known[1] == self.server.num_breaks
            and now - known[0] < self.serving.canary_seconds
        ):
            return
        self._proven = None
        num_breaks = self.server.num_breaks
        wanted = await asyncio.to_thread(lambda: self._wanted)
        found = await self._embedded(_FIXED)
        likeness = float((found * wanted).sum(axis=1).min())
        least = LIKENESS.get(self.serving.dtype, 1.0)
        if not likeness >= least:
            raise WeightsError(
                f"The server at {self.server.url!r} gives fixed texts other vectors as "
                f"{self.name!r} (cosine {likeness:.4f}, and {least:g} is asked): serve the "
                f"embedder {self.local.base.name!r} with its own query weights.",
                model=self.name,
            )
        self._proven = now, num_breaks

    async def _embedded(self, queries: Sequence[str]) -> Vector:
        reply = await self.server.post(
            "/embeddings",
            {
                "model": self.name,
                "input": [self.local.query_prompt + query for query in queries],
                "encoding_format": "float",
                "truncate_prompt_tokens": self.local.max_tokens,
            },
        )
        check_accepted(self.server, self.name, reply)
        try:
            rows = sorted(reply.data["data"], key=lambda row: row["index"])
            vectors = np.array([row["embedding"] for row in rows], dtype=np.float32)
        except (KeyError, TypeError, ValueError) as error:
            raise self._malformed(type(error).__name__) from error
        if vectors.shape != (len(queries), self.local.dimension):
            raise self._malformed(f"vectors of shape {vectors.shape}")
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not np.isfinite(vectors).all() or not lengths.all():
            raise self._malformed("vectors that are none")
        unit: Vector = vectors / lengths
        return unit

    def _malformed(self, what: str) -> ModelUnavailable:
        return ModelUnavailable(
            f"The server at {self.server.url!r} gave no vectors for {self.name!r} ({what}): start "
            f"vLLM with --runner pooling.",
            model=self.name,
        )
