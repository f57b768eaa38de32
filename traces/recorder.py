"""One writer thread between a running graph and the store.

Callers hand records over and go on; the thread hides secrets, batches what is waiting into one
transaction, and tells who waits when their run is on disk. Trouble with tracing never fails or
hangs a run: it is logged once, kept in `Recorder.trouble`, and answered with False. While a server
does not answer, records wait in the queue, and are written when it is back.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from types import TracebackType
from typing import Protocol, Self

from journeyman.models.errors import StoreUnreachable, TraceError
from journeyman.traces.conceal import conceal, copy_of, without_content
from journeyman.traces.engine import is_about_content
from journeyman.traces.records import Record, owner
from journeyman.traces.redact import Redactor, redact_secrets
from journeyman.traces.store import Store

logger = logging.getLogger("journeyman.traces")

_Ticket = tuple[str, "Future[bool]", bool]
"""Whose record, the answer, and whether it should not wait for company."""


class Forwarder(Protocol):
    """Takes what is on disk somewhere else as well; `otlp.OtlpForwarder` is one."""

    def take(self, records: Sequence[Record], /) -> None:
        """Take note of records, quickly: the next ones wait meanwhile."""

    def close(self) -> None:
        """Send what is left, within seconds; a second close does nothing."""


class Recorder:
    """Writes records to a store, many at a time, from any thread and any event loop.

    The store stays the caller's: closing the recorder does not close it. Leaving the interpreter
    flushes what is waiting.

    Args:
        store: An open store.
        redact: Takes a JSON-compatible value and returns what may be kept; None keeps everything.
            Content that it fails on is hidden altogether.
        capture_content: False keeps numbers, names and times only.
        max_queue: Records that may wait. When as many wait, `record` first blocks briefly, then
            gives up content, and loses records only when twice as many wait.
        max_batch: Records per transaction.
        linger_seconds: How long a record may wait for company; waiting for a run ends it.
        max_block_seconds: How long one call of `record` may block.
        forward: Sees every record, redacted, once it is on disk and whoever waited for it has been
            answered; closed with the recorder.
    """

    _MAX_LOST = 100_000  # runs remembered as incomplete
    _FIRST_PAUSE = 0.25  # seconds before a server that does not answer is asked again
    _LAST_PAUSE = 5.0

    def __init__(
        self,
        store: Store,
        *,
        redact: Redactor | None = redact_secrets,
        capture_content: bool = True,
        max_queue: int = 10_000,
        max_batch: int = 1_000,
        linger_seconds: float = 0.05,
        max_block_seconds: float = 1.0,
        forward: Forwarder | None = None,
    ) -> None:
        self.store = store
        self.trouble: Exception | None = None
        """The last thing that went wrong; None if nothing has."""
        self.num_written = 0
        """Records on disk."""
        self.num_lost = 0
        """Records that could not be kept."""
        self._redact = redact
        self._capture_content = capture_content
        self._max_queue = max_queue
        self._max_batch = max_batch
        # Callers that wait for room must not wait for company as well.
        self._enough = max(1, min(max_batch, max_queue // 2))
        self._linger = linger_seconds
        self._max_block = max_block_seconds
        self._forward = forward
        self._written: list[Record] = []  # on disk, and not forwarded yet
        self._pid = os.getpid()
        self._queue: deque[Record | _Ticket] = deque()
        self._changed = threading.Condition()
        self._oldest = 0.0  # when the first record in the queue came
        self._urgent = 0  # tickets in the queue
        self._congested = False
        self._pause = self._FIRST_PAUSE
        self._again = 0.0  # when a server that did not answer is asked again; 0 if it answers
        self._closing = False
        self._ended = False
        self._lost: OrderedDict[str, None] = OrderedDict()
        self._thread = threading.Thread(target=self._work, name="journeyman-traces", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def record(self, *records: Record) -> None:
        """Hand records over; never raises, and blocks only while the queue is full."""
        copies = [copy_of(record) for record in records]
        if self._is_forked():
            self._lose(copies)
            return
        with self._changed:
            if not self._closing and self._is_full(copies):
                self._wait_for_room(copies)
            if self._closing:
                self._lose(copies)
                self._complain(TraceError("The recorder is closed: make a new one to go on."))
                return
            if self._is_full(copies):
                copies = [without_content(record) for record in copies]
                self._mark_incomplete(copies)
                self._complain(TraceError("The trace writer cannot keep pace: content was lost."))
            if self._queue and len(self._queue) + len(copies) > 2 * self._max_queue:
                self._lose(copies)
                self._complain(TraceError("The trace writer cannot keep pace: records were lost."))
                return
            was_empty = not self._queue
            if was_empty:
                self._oldest = time.monotonic()
            self._queue.extend(copies)
            if was_empty or len(self._queue) >= self._enough:  # else it is counting down already
                self._changed.notify_all()

    async def committed(
        self,
        run_id: str,
        *,
        timeout: float = 30.0,  # noqa: ASYNC109  # a deadline of the writer, not of the caller
        at_once: bool = True,
    ) -> bool:
        """Whether everything recorded so far is on disk, for the run's part.

        Args:
            run_id: Id of the run or suite run.
            timeout: Seconds after which the answer is False.
            at_once: Write now. Otherwise others may come into the same transaction, for as long
                as a record may linger.
        """
        future = self._ticket(run_id, urgent=at_once)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), timeout)
        except TimeoutError:
            return False

    def wait(self, run_id: str, timeout: float = 30.0) -> bool:
        """As `committed`, for callers without an event loop."""
        try:
            return self._ticket(run_id).result(timeout)
        except (TimeoutError, FutureTimeout):
            return False

    def close(self, timeout: float = 60.0) -> None:
        """Write what is waiting and end the thread; a second close does nothing.

        Args:
            timeout: Seconds to wait for the writer; what it has not written then is lost.
        """
        atexit.unregister(self.close)
        if self._pid != os.getpid():
            return
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout)
        if self._forward is not None:
            try:
                self._forward.close()
            except Exception as error:  # noqa: BLE001  # its trouble is none of the traces'
                logger.warning("Runs are on record, but were not all forwarded: %s", error)

    def __enter__(self) -> Self:
        """The recorder itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the recorder."""
        self.close()

    # The callers' side

    def _is_forked(self) -> bool:
        if self._pid == os.getpid():
            return False
        # The thread stayed in the parent, and the condition may have been held at the fork.
        self._complain(
            TraceError(
                "A recorder made before this process was forked records nothing here: start "
                "workers with the 'spawn' method, or open store and recorder after forking."
            )
        )
        return True

    def _is_full(self, records: Sequence[Record]) -> bool:
        return bool(self._queue) and len(self._queue) + len(records) > self._max_queue

    def _wait_for_room(self, records: Sequence[Record]) -> None:
        # After one vain wait the writer is stuck: later callers do not wait for it as well.
        if not self._congested:
            self._congested = not self._changed.wait_for(
                lambda: not self._is_full(records), self._max_block
            )

    def _ticket(self, run_id: str, *, urgent: bool = True) -> Future[bool]:
        future: Future[bool] = Future()
        if self._is_forked():
            future.set_result(False)
            return future
        with self._changed:
            if self._again and not self._closing:
                future.set_result(False)  # nobody knows when; a run does not wait for it
            elif not self._ended:  # a closing recorder still writes, and answers
                if not self._queue:
                    self._oldest = time.monotonic()
                self._queue.append((run_id, future, urgent))
                self._urgent += urgent
                self._changed.notify_all()
            else:
                future.set_result(not self._queue and run_id not in self._lost)
        return future

    def _lose(self, records: Iterable[Record]) -> None:
        records = list(records)
        self.num_lost += len(records)
        self._mark_incomplete(records)

    def _mark_incomplete(self, records: Iterable[Record]) -> None:
        for record in records:
            self._lost[owner(record)] = None
        while len(self._lost) > self._MAX_LOST:
            self._lost.popitem(last=False)

    def _complain(self, error: Exception) -> None:
        first = self.trouble is None
        self.trouble = error
        if first:
            logger.warning("Runs go on, but their traces are incomplete: %s", error)

    # The writer's side

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._is_due():
                    self._changed.wait(self._patience())
                if not self._queue:
                    self._ended = True  # closing, and nothing is left
                    return
                batch = self._take()
                self._changed.notify_all()
            self._handle(batch)

    def _is_due(self) -> bool:
        if self._closing:
            return True
        if time.monotonic() < self._again:
            return False
        if self._urgent or len(self._queue) >= self._enough:
            return True
        return bool(self._queue) and time.monotonic() >= self._oldest + self._linger

    def _patience(self) -> float | None:
        if not self._queue:
            return None
        return max(max(self._oldest + self._linger, self._again) - time.monotonic(), 0.0)

    def _take(self) -> list[Record | _Ticket]:
        batch = [self._queue.popleft() for _ in range(min(len(self._queue), self._max_batch))]
        self._urgent -= sum(item[2] for item in batch if isinstance(item, tuple))
        self._oldest = time.monotonic()
        self._congested = self._congested and len(self._queue) > self._max_queue // 2
        return batch

    def _handle(self, batch: Sequence[Record | _Ticket]) -> None:
        """Write a batch, then answer those who wait; tickets cover all records before them."""
        waiting: Sequence[Record] = ()
        try:
            waiting = self._write([item for item in batch if not isinstance(item, tuple)])
            self._put_back(waiting)
        finally:
            for item in batch:
                if isinstance(item, tuple) and item[1].set_running_or_notify_cancel():
                    item[1].set_result(not waiting and item[0] not in self._lost)
        self._pass_on()

    def _pass_on(self) -> None:
        written, self._written = self._written, []
        if self._forward is None or not written:
            return
        try:
            self._forward.take(written)
        except Exception as error:  # noqa: BLE001  # its trouble is none of the traces'
            self._forward = None
            logger.warning("Runs go on and are on record, but are forwarded no more: %s", error)

    def _write(self, records: Sequence[Record]) -> Sequence[Record]:
        """Write records; those that must wait for a server that does not answer."""
        if not records:
            return ()
        try:
            ready = [conceal(r, self._redact, capture=self._capture_content) for r in records]
            self.store.write(ready)
        except StoreUnreachable as error:
            self._complain(error)
            return records
        except Exception as error:  # noqa: BLE001  # the thread must outlive any bad record
            if len(records) > 1 and is_about_content(error):
                for number, record in enumerate(records):  # the others must not go with it
                    if self._write([record]):
                        return records[number:]
                return ()
            with self._changed:
                self._lose(records)
            self._complain(error)
        else:
            self.num_written += len(records)
            if self._forward is not None:
                self._written.extend(ready)
            if self._again:
                self._again, self._pause = 0.0, self._FIRST_PAUSE
                logger.warning("The trace store answers again: what waited is being written.")
        return ()

    def _put_back(self, records: Sequence[Record]) -> None:
        if not records:
            return
        with self._changed:
            if self._closing:
                self._lose(records)
                return
            self._queue.extendleft(reversed(records))
            self._again = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, self._LAST_PAUSE)
