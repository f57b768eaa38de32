"""A keeper in a thread of its own, and what it told."""

from __future__ import annotations

import asyncio
import threading
import time
from types import TracebackType
from typing import Self

from journeyman.models.serve import Event, EventKind, Keeper


class Kept:
    """Runs a keeper while the context is open; what it raised is raised at the end."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.keeper: Keeper | None = None
        self._thread = threading.Thread(target=self._run, name="keeper")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._error: BaseException | None = None

    def told(self, kind: EventKind, name: str | None = None) -> list[Event]:
        """What was told of a kind, and of a name."""
        return [e for e in self.events if e.kind == kind and name in (None, e.name)]

    def wait_for(
        self, kind: EventKind, name: str | None = None, *, times: int = 1, seconds: float = 30
    ) -> Event:
        """The event, once it was told that often."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = self.told(kind, name)
            if len(found) >= times:
                return found[-1]
            if self._error is not None:
                raise self._error
            time.sleep(0.05)
        raise AssertionError(f"no {kind} of {name} within {seconds:g} s, but {self.events}")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        if self._error is not None and error is None:
            raise self._error

    def _run(self) -> None:
        try:
            asyncio.run(self._keep())
        except BaseException as error:  # noqa: BLE001  # raised again where it is waited for
            self._error = error

    async def _keep(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        assert self.keeper is not None
        await self.keeper.run(self._stop)
