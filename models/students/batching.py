"""Micro-batching: concurrent calls of one student share a forward pass.

One daemon thread per student takes whatever has queued up while the last batch ran, so a lone call
never waits and a crowd is answered together. The thread ends when its `Batcher` is closed or
garbage-collected. Knows nothing of tasks or sub-agents, nor of devices: several students of a
process take turns by `device.computing`, inside their own `predict`, so that a student which only
waits for a server never holds up the ones that compute. A `WaitingStudent` is handed each item at
once: its server makes the batches.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Generic, TypeVar, cast

from journeyman.models.errors import ModelError
from journeyman.models.students.base import WaitingStudent

ItemT = TypeVar("ItemT")
PredictionT = TypeVar("PredictionT")

_Call = tuple[Any, "Future[Any]"]

_ROUND = 8  # batches' worth of calls taken at once, so that grouping by length has a choice
_EXIT_SECONDS = 5.0  # how long the end of the process waits for a batch that is being computed


class Batcher(Generic[ItemT, PredictionT]):
    """Turns single awaited calls into batches.

    Safe to use from several event loops and threads at once. A caller that is cancelled before its
    batch starts is not computed.

    Args:
        student: Whatever has `predict(items) -> predictions`, one for each item, in order.
        max_batch: Most items in one call of `predict`.
        length: An item's length; when more items wait than fit one batch, those of like length are
            batched together. None keeps the order of arrival, which is right for students that
            sort by length themselves.
    """

    def __init__(
        self,
        student: Any,
        *,
        max_batch: int = 32,
        length: Callable[[ItemT], int] | None = None,
    ) -> None:
        self._student = student
        self._waits = isinstance(student, WaitingStudent)
        self._max_batch = max_batch
        self._length = length
        self._lock = threading.Lock()
        self._worker: _Worker | None = None
        self._closed = False

    async def submit(self, item: ItemT) -> PredictionT:
        """The student's prediction for one item.

        Raises:
            RuntimeError: The batcher has been closed.
            Exception: Whatever the student raised for this item; an item that fails does not fail
                the others of its batch.
        """
        if self._waits and not self._closed:
            return cast("PredictionT", await self._student.answer(item))
        future: Future[Any] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("This batcher has been closed: make a new one.")
            if self._worker is None:
                self._worker = _Worker(weakref.ref(self))
                # Runs at the end of the process too: a daemon thread that is torn out of a forward
                # pass can take the interpreter down with it.
                weakref.finalize(self, self._worker.stop)
            self._worker.calls.put((item, future))
        return cast("PredictionT", await asyncio.wrap_future(future))

    def close(self) -> None:
        """Answer what is queued, then end the thread. May be called twice."""
        with self._lock:
            self._closed = True
            worker, self._worker = self._worker, None
        if worker is not None:
            worker.calls.put(None)

    def __enter__(self) -> Batcher[ItemT, PredictionT]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _answer_round(self, calls: Sequence[_Call]) -> None:
        if self._length is not None and len(calls) > self._max_batch:
            calls = _sorted_by_length(calls, self._length)
        for first in range(0, len(calls), self._max_batch):
            batch = calls[first : first + self._max_batch]
            live = [call for call in batch if call[1].set_running_or_notify_cancel()]
            if live:
                self._answer(live)

    def _answer(self, batch: Sequence[_Call]) -> None:
        try:
            predictions = list(self._student.predict([item for item, _ in batch]))
            _check_count(self._student, len(predictions), len(batch))
        except BaseException as error:  # noqa: BLE001  # the waiting caller gets it, whatever it is
            if len(batch) == 1:
                batch[0][1].set_exception(_raisable(error))
                return
        else:
            for (_, future), prediction in zip(batch, predictions, strict=True):
                future.set_result(prediction)
            return
        # Halve, so that one bad item costs its neighbours a few more calls at most.
        middle = len(batch) // 2
        self._answer(batch[:middle])
        self._answer(batch[middle:])


class _Worker:
    """The thread and its queue. Holds its batcher weakly, and firmly only while it computes."""

    def __init__(self, batcher: weakref.ref[Batcher[Any, Any]]) -> None:
        self.calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._thread = threading.Thread(
            target=_work, args=(self.calls, batcher), daemon=True, name="student"
        )
        self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it; it is idle unless the process is ending."""
        self.calls.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join(_EXIT_SECONDS)


def _work(
    calls: queue.SimpleQueue[_Call | None], reference: weakref.ref[Batcher[Any, Any]]
) -> None:
    going = True
    while going:
        waiting: list[_Call | None] = [calls.get()]
        batcher = reference()
        most = 1 if batcher is None else batcher._max_batch * _ROUND  # noqa: SLF001  # its own half
        while len(waiting) < most and not calls.empty():
            waiting.append(calls.get())
        going = None not in waiting
        taken = [call for call in waiting if call is not None]
        if batcher is not None:
            batcher._answer_round(taken)  # noqa: SLF001  # its own half
        else:  # nobody can be waiting: a waiting caller holds the batcher
            for _, future in taken:
                future.cancel()
        # Items, answers and the batcher must not live on while the thread sits idle.
        del batcher, waiting, taken


def _sorted_by_length(calls: Sequence[_Call], length: Callable[[Any], int]) -> list[_Call]:
    try:
        return sorted(calls, key=lambda call: length(call[0]))
    except Exception:  # noqa: BLE001  # an item without a length is the student's to refuse
        return list(calls)


def _check_count(student: Any, num_predictions: int, num_items: int) -> None:
    if num_predictions != num_items:
        raise ModelError(
            f"Student {type(student).__name__!r} gave {num_predictions} predictions for "
            f"{num_items} items: its predict must return one for each item, in order."
        )


def _raisable(error: BaseException) -> BaseException:
    """The error as a future can carry it: a StopIteration would leave the caller waiting."""
    if not isinstance(error, StopIteration):
        return error
    wrapped = RuntimeError("The student raised StopIteration.")
    wrapped.__cause__ = error
    return wrapped
