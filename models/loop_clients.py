"""One HTTP client for each running event loop.

An HTTP client belongs to the loop it was first used on, while a frontier may be used from several
loops, one after the other (`asyncio.run` twice) or at once (threads). Each client lives in an
asynchronous generator that its loop finalises: `asyncio.run` closes it before the loop is gone.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from weakref import WeakKeyDictionary

from openai import AsyncOpenAI

_Lease = AsyncGenerator[AsyncOpenAI, None]


class LoopClients:
    """Makes a client on a loop's first call and closes it with the loop.

    Args:
        make: Builds a client; must not wait.
    """

    def __init__(self, make: Callable[[], AsyncOpenAI]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._held: WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[_Lease, AsyncOpenAI]] = (
            WeakKeyDictionary()
        )

    def __len__(self) -> int:
        """How many loops hold a client."""
        with self._lock:
            return len(self._held)

    async def get(self) -> AsyncOpenAI:
        """The running loop's client."""
        loop = asyncio.get_running_loop()
        with self._lock:
            held = self._held.get(loop)
        if held is not None:
            return held[1]
        lease = self._lease(loop)
        client = await anext(lease)  # runs to its yield without giving way to another task
        with self._lock:
            # A client keeps its loop alive, so a loop that ended without a word is dropped here.
            for ended in [known for known in self._held if known.is_closed()]:
                del self._held[ended]
            self._held[loop] = (lease, client)
        return client

    async def aclose(self) -> None:
        """Close the running loop's client; other loops close theirs when they end."""
        with self._lock:
            held = self._held.pop(asyncio.get_running_loop(), None)
        if held is not None:
            await held[0].aclose()

    async def _lease(self, loop: asyncio.AbstractEventLoop) -> _Lease:
        client = self._make()
        try:
            yield client
        finally:
            with self._lock:
                self._held.pop(loop, None)
            await client.close()
