"""Micro-batching: concurrent calls of one student share a forward pass.

One daemon thread per student takes whatever has queued up while the last batch ran, so a lone call
never waits and a crowd is answered together. Knows nothing of tasks or sub-agents.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

ItemT = TypeVar("ItemT")
PredictionT = TypeVar("PredictionT")


class Batcher(Generic[ItemT, PredictionT]):
    """Turns single awaited calls into batches of at most `max_batch` items.

    Safe to use from several event loops and threads at once.
    """

    def __init__(self, student: Any, *, max_batch: int = 32) -> None:
        self._student = student
        self._max_batch = max_batch
        self._queue: queue.SimpleQueue[tuple[ItemT, Future[PredictionT]]] = queue.SimpleQueue()
        self._start_lock = threading.Lock()
        self._thread: threading.Thread | None = None

    async def submit(self, item: ItemT) -> PredictionT:
        """The student's prediction for one item.

        Raises:
            Exception: Whatever the student raised for the batch, retried item by item first.
        """
        self._ensure_thread()
        future: Future[PredictionT] = Future()
        self._queue.put((item, future))
        return await asyncio.wrap_future(future)

    def _ensure_thread(self) -> None:
        if self._thread is None:
            with self._start_lock:
                if self._thread is None:
                    thread = threading.Thread(target=self._work, daemon=True, name="student")
                    thread.start()
                    self._thread = thread

    def _work(self) -> None:
        while True:
            waiting = [self._queue.get()]
            while len(waiting) < self._max_batch and not self._queue.empty():
                waiting.append(self._queue.get())
            live = [pair for pair in waiting if pair[1].set_running_or_notify_cancel()]
            if live:
                self._answer(live)

    def _answer(self, batch: Sequence[tuple[ItemT, Future[PredictionT]]]) -> None:
        try:
            predictions = self._student.predict([item for item, _ in batch])
        except Exception as error:  # noqa: BLE001  # the waiting caller gets it, whatever it is
            if len(batch) == 1:
                batch[0][1].set_exception(error)
            else:  # one bad item must not fail its neighbours
                for pair in batch:
                    self._answer([pair])
            return
        for (_, future), prediction in zip(batch, predictions, strict=True):
            future.set_result(prediction)
