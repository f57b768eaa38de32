"""The frontier as a suite run sees it: replies that are kept for the next run, and rejected keys.

A reply is kept under everything that shapes it and under the epoch of the scenario that asked, so
that repeating a scenario asks anew while repeating a whole run does not. Errors are never kept.
What is kept is the model's own words, unredacted, in a file of its own that only its owner may
read; deleting the file loses nothing but money.
"""

from __future__ import annotations

import asyncio
import os
from contextvars import ContextVar
from dataclasses import asdict
from pathlib import Path
from typing import Any

from langgraph.cache.sqlite import SqliteCache

from journeyman.graph.agent_graph import FrontierClient
from journeyman.models.errors import KeyRejected
from journeyman.models.types import (
    FrontierReply,
    FrontierRequest,
    LabelSource,
    Usage,
    content_hash,
)

CACHE_FILE = "model_calls.db"

_NAMESPACE = ("replies",)

_epoch: ContextVar[int] = ContextVar("journeyman_epoch", default=0)


def set_epoch(epoch: int) -> None:
    """Calls that this task makes from now on, and those of tasks it starts, belong to an epoch."""
    _epoch.set(epoch)


class ReplyCache:
    """Replies of frontier models on disk; safe to use from several tasks and processes at once.

    Args:
        path: The file; made where there is none.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        os.chmod(path, 0o600)  # noqa: PTH101  # one that an umask of others made
        self._file: SqliteCache[dict[str, Any]] = SqliteCache(path=str(path))

    async def get(self, key: str) -> FrontierReply | None:
        """The reply under a key; None where there is none."""
        found = await self._file.aget([(_NAMESPACE, key)])
        data = found.get((_NAMESPACE, key))
        return None if data is None else FrontierReply(**{**data, "usage": Usage(**data["usage"])})

    async def put(self, key: str, reply: FrontierReply) -> None:
        """Keep a reply."""
        data = {**asdict(reply), "data": dict(reply.data)}
        await self._file.aset({(_NAMESPACE, key): (data, None)})


class Calls:
    """A frontier whose replies may be kept, and whose first rejected key is remembered.

    Args:
        frontier: Who is asked.
        address: Where it is, so that models of the same name elsewhere are others.
        cache: Where replies are kept; None keeps none.
        settings: Whatever else shapes its replies, JSON-compatible.
    """

    def __init__(
        self,
        frontier: FrontierClient,
        *,
        address: str = "",
        cache: ReplyCache | None = None,
        settings: Any = None,
    ) -> None:
        self._frontier = frontier
        self._cache = cache
        self.key_error: KeyRejected | None = None
        """The first refusal of the API key; every later call would be refused as well."""
        self._address = [address, frontier.model, settings]
        self._waiting: dict[str, asyncio.Lock] = {}
        self.num_cached = 0
        """Calls that a kept reply answered."""
        self.num_asked = 0
        """Calls that reached the frontier."""

    @property
    def model(self) -> str:
        """Its name, for the record."""
        return self._frontier.model

    @property
    def label_source(self) -> LabelSource:
        """What its answers are as labels."""
        source: LabelSource = getattr(self._frontier, "label_source", "frontier")
        return source

    @property
    def trainable(self) -> bool:
        """Its terms allow training on its answers."""
        return bool(getattr(self._frontier, "trainable", True))

    async def complete(self, request: FrontierRequest, *, run_id: str = "") -> FrontierReply:
        """As the frontier's own; a kept reply costs nothing and takes no time.

        Raises:
            ModelError: As the frontier's own.
        """
        if self._cache is None:
            return await self._ask(request, run_id)
        key = content_hash([self._address, _shape(request), _epoch.get()])
        # Of equal calls at the same time one asks, and the others find its reply.
        lock = self._waiting.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                kept = await self._cache.get(key)
                if kept is not None:
                    self.num_cached += 1
                    return FrontierReply(
                        data=kept.data,
                        text=kept.text,
                        model=kept.model,
                        provider=kept.provider,
                        cost_microusd=0,
                        num_tries=0,
                    )
                reply = await self._ask(request, run_id)
                await self._cache.put(key, reply)
                return reply
        finally:
            if not lock.locked():
                self._waiting.pop(key, None)

    async def _ask(self, request: FrontierRequest, run_id: str) -> FrontierReply:
        if self.key_error is not None:
            raise self.key_error
        self.num_asked += 1
        try:
            return await self._frontier.complete(request, run_id=run_id)
        except KeyRejected as error:
            if self.key_error is None:
                self.key_error = error
            raise


def _shape(request: FrontierRequest) -> list[Any]:
    """Everything of a request that shapes its reply."""
    return [
        [dict(message) for message in request.messages],
        dict(request.json_schema),
        request.schema_name,
        request.max_output_tokens,
    ]
