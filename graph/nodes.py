"""A node written once, async, that also serves `invoke` and `stream`.

LangGraph calls a node's sync or async side depending on how the graph was entered. Ours are written
async; the sync side hands the coroutine to one background event loop and waits. Knows nothing of
what the nodes do.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Self, TypeVar

from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.runtime import Runtime, get_runtime

from journeyman.graph.state import Context

ResultT = TypeVar("ResultT")


class SyncDoor:
    """One background event loop through which synchronous callers run coroutines."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def call(self, coroutine: Coroutine[Any, Any, ResultT]) -> ResultT:
        """Run a coroutine to its end; blocks the calling thread.

        Raises:
            RuntimeError: The caller runs on this door's own loop, which would wait for itself.
        """
        loop = self._ensure_loop()
        if asyncio._get_running_loop() is loop:  # noqa: SLF001  # get_running_loop raises where there is none
            coroutine.close()
            raise RuntimeError(
                "A graph was invoked synchronously from within one of its own nodes, which would "
                "wait for itself for ever; await `ainvoke` there."
            )
        future = asyncio.run_coroutine_threadsafe(coroutine, loop)
        try:
            return future.result()
        finally:
            future.cancel()  # of no effect once it is done: an interrupted caller ends its work too

    def _ensure_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(
                    target=self._loop.run_forever, daemon=True, name="journeyman-sync"
                ).start()
            return self._loop


class Step:
    """What a node is given besides the state: context, config and the event stream of its run."""

    def __init__(self, config: RunnableConfig | None) -> None:
        runtime: Runtime[Any] | None = get_runtime()
        given = runtime.context if runtime is not None else None
        # Without `context=` it is None; inside a host graph it is the host's own.
        if isinstance(given, Mapping):
            known = {k: v for k, v in given.items() if k in Context.__dataclass_fields__}
            given = Context(**known)
        self.context = given if isinstance(given, Context) else Context()
        self.configurable: Mapping[str, Any] = (config or {}).get("configurable", {})
        self._writer = runtime.stream_writer if runtime is not None else None

    @classmethod
    def outside(cls, context: Context) -> Self:
        """A step of nodes that run without a graph around them: nobody listens."""
        step = cls.__new__(cls)
        step.context, step.configurable = context, {}
        step._writer = None  # noqa: SLF001  # its own
        return step

    def emit(self, event: Mapping[str, Any]) -> None:
        """Stream one event to whoever listens on `stream_mode="custom"`."""
        if self._writer is not None:
            self._writer(event)


NodeFunction = Callable[[Any, Step], Awaitable[Any]]


class Node(Runnable[Any, Any]):
    """An async function `(state, step) -> update` as a graph node with both doors."""

    def __init__(self, name: str, function: NodeFunction, door: SyncDoor) -> None:
        self.name = name
        self._function = function
        self._door = door

    def invoke(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> Any:  # noqa: A002  # langchain's name
        """Run from a synchronous caller."""
        return self._door.call(self._run(input, Step(config)))

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> Any:  # noqa: A002  # langchain's name
        """Run on the caller's event loop."""
        return await self._function(input, Step(config))

    async def _run(self, state: Any, step: Step) -> Any:
        return await self._function(state, step)
