"""A limit on how many things run at once, across event loops and threads.

`asyncio.Semaphore` belongs to one loop; a frontier may be asked from several.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from types import TracebackType


class Slots:
    """At most `limit` holders at a time, first come, first served; `async with slots:`."""

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"Slots need a limit of at least 1, not {limit!r}.")
        self._lock = threading.Lock()
        self._num_free = limit
        self._waiting: deque[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = deque()

    async def __aenter__(self) -> None:
        """Wait for a free slot."""
        loop = asyncio.get_running_loop()
        with self._lock:
            if self._num_free:
                self._num_free -= 1
                return
            turn = (loop, loop.create_future())
            self._waiting.append(turn)
        try:
            await turn[1]
        except BaseException:
            with self._lock:
                granted = turn not in self._waiting
                if not granted:
                    self._waiting.remove(turn)
            if granted:  # cancelled just as the turn came: it is the next one's
                self._release()
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Hand the slot on."""
        self._release()

    def _release(self) -> None:
        with self._lock:
            while self._waiting:
                loop, turn = self._waiting.popleft()
                try:
                    loop.call_soon_threadsafe(_grant, turn)
                except RuntimeError:  # that loop is closed, and nobody waits on it any more
                    continue
                return
            self._num_free += 1


def _grant(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)
