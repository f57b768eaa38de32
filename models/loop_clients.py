"""One HTTP client for each running event loop.

An HTTP client belongs to the loop it was first used on, while a frontier may be used from several
loops, one after the other (`asyncio.run` twice) or at once (threads). Each client lives in an
asynchronous generator that its loop finalises: `asyncio.run` closes it before the loop is gone.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import AsyncGenerator, Callable
from weakref import WeakKeyDictionary

from openai import AsyncOpenAI

_Lease = AsyncGenerator[AsyncOpenAI, None]


class LoopClients:
    """Holds each loop's client from its first call until the loop ends.

    Dropping this object closes the running loop's client as well: nothing here refers back to it,
    so its leases are finalised at once, and by their loop.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[_Lease, AsyncOpenAI]] = (
            WeakKeyDictionary()
        )

    def __len__(self) -> int:
        """How many loops hold a client."""
        with self._lock:
            return len(self._held)

    async def get(self, make: Callable[[], AsyncOpenAI]) -> AsyncOpenAI:
        """The running loop's client, made on its first call; `make` must not wait."""
        loop = asyncio.get_running_loop()
        with self._lock:
            held = self._held.get(loop)
        if held is not None:
            return held[1]
        client = make()
        lease = _lease(client, weakref.ref(self), loop)
        await anext(lease)  # runs to its yield without giving way to another task
        with self._lock:
            # A client keeps its loop alive, so a loop that ended without a word is dropped here.
            for ended in [known for known in self._held if known.is_closed()]:
                del self._held[ended]
            self._held[loop] = (lease, client)
        return client

    async def aclose(self) -> None:
        """Close the running loop's client; other loops close theirs when they end."""
        lease = self._drop(asyncio.get_running_loop())
        if lease is not None:
            await lease.aclose()

    def _drop(self, loop: asyncio.AbstractEventLoop) -> _Lease | None:
        with self._lock:
            held = self._held.pop(loop, None)
        return None if held is None else held[0]


async def _lease(
    client: AsyncOpenAI, owner: weakref.ref[LoopClients], loop: asyncio.AbstractEventLoop
) -> _Lease:
    try:
        yield client
    finally:
        clients = owner()
        if clients is not None:
            clients._drop(loop)  # noqa: SLF001  # one unit
        await client.close()
