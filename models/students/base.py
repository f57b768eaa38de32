"""What every student is: something that predicts a batch.

A user's own student needs `predict` alone. The shipped kinds (tagger, embedder, ...) add
`fingerprint`, which goes into the release id, and `taught`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar, runtime_checkable

ItemT_contra = TypeVar("ItemT_contra", contravariant=True)
PredictionT_co = TypeVar("PredictionT_co", covariant=True)


@runtime_checkable
class Student(Protocol[ItemT_contra, PredictionT_co]):
    """A small model that answers in batches, in this process."""

    def predict(self, items: Sequence[ItemT_contra]) -> Sequence[PredictionT_co]:
        """Answer each item, in order. Blocking; called from one thread at a time."""
        ...

    def fingerprint(self) -> str:
        """Hash of everything in the student that shapes an answer: weights, labels, decoding."""
        ...


@runtime_checkable
class WaitingStudent(Protocol[ItemT_contra, PredictionT_co]):
    """A student that waits for a server, which makes batches of its own."""

    async def answer(self, item: ItemT_contra) -> PredictionT_co:
        """Answer one item; any number may be under way at once, on any event loop."""
        ...
