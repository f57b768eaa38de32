"""What graph tests share: a scripted frontier, and a graph of a user's own sub-agent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from journeyman.models.errors import ModelUnavailable
from journeyman.models.types import FrontierReply, FrontierRequest, Usage
from journeyman.traces.recorder import Recorder
from journeyman.traces.store import Store


class ScriptedFrontier:
    """Answers every request with the same data, or fails."""

    model = "scripted"

    def __init__(self, data: dict[str, Any] | None) -> None:
        self.data = data
        self.requests: list[FrontierRequest] = []

    async def complete(self, request: FrontierRequest, *, run_id: str = "") -> FrontierReply:
        self.requests.append(request)
        if self.data is None:
            raise ModelUnavailable("The scripted frontier is down; start it.", model=self.model)
        return FrontierReply(self.data, str(self.data), self.model, "test", Usage(10, 5), 7, 1.0)


@pytest.fixture
def store(target: Path | str) -> Iterator[Store]:
    """A fresh trace store."""
    opened = Store.open(target)
    yield opened
    opened.close()


@pytest.fixture
def recorder(store: Store) -> Iterator[Recorder]:
    """A recorder that writes to it."""
    with Recorder(store) as opened:
        yield opened
