"""Kept replies: the same call costs once, each epoch asks anew, and errors are never kept."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest

from journeyman.models.errors import KeyRejected, ModelUnavailable
from journeyman.models.types import FrontierReply, FrontierRequest, Usage
from journeyman.scenarios.calls import Calls, ReplyCache, set_epoch


class Counting:
    """A frontier that counts, and fails as often as it is told to."""

    model = "counting"

    def __init__(self, *errors: Exception) -> None:
        self.num_calls = 0
        self._errors = list(errors)

    async def complete(self, request: FrontierRequest, *, run_id: str = "") -> FrontierReply:
        self.num_calls += 1
        await asyncio.sleep(0)
        if self._errors:
            raise self._errors.pop(0)
        data = {"n": self.num_calls, "of": [1, None, "é"]}
        return FrontierReply(data, "text", self.model, "test", Usage(3, 2), 7, 1.5)


def request(text: str = "hello") -> FrontierRequest:
    """A request."""
    return FrontierRequest(({"role": "user", "content": text},), {"type": "object"}, "answer")


async def test_a_kept_reply_is_the_same_and_costs_nothing(tmp_path: Path) -> None:
    frontier = Counting()
    first = await Calls(frontier, cache=ReplyCache(tmp_path / "c.db")).complete(request())
    again = await Calls(frontier, cache=ReplyCache(tmp_path / "c.db")).complete(request())
    assert frontier.num_calls == 1
    assert again.data == first.data
    assert (first.cost_microusd, again.cost_microusd, again.num_tries) == (7, 0, 0)


async def test_each_epoch_asks_anew_and_is_kept_by_itself(tmp_path: Path) -> None:
    frontier = Counting()
    calls = Calls(frontier, cache=ReplyCache(tmp_path / "c.db"))
    replies = []
    for epoch in (0, 1, 0, 1):
        set_epoch(epoch)
        replies.append((await calls.complete(request())).data["n"])
    assert replies == [1, 2, 1, 2]
    assert (calls.num_asked, calls.num_cached) == (2, 2)


async def test_whatever_shapes_a_reply_is_part_of_its_key(tmp_path: Path) -> None:
    frontier, cache = Counting(), ReplyCache(tmp_path / "c.db")
    await Calls(frontier, cache=cache).complete(request())
    await Calls(frontier, cache=cache).complete(request("other"))
    await Calls(frontier, cache=cache, address="http://elsewhere").complete(request())
    await Calls(frontier, cache=cache, settings={"temperature": 1}).complete(request())
    assert frontier.num_calls == 4


async def test_errors_are_never_kept(tmp_path: Path) -> None:
    frontier = Counting(ModelUnavailable("down", model="counting"))
    calls = Calls(frontier, cache=ReplyCache(tmp_path / "c.db"))
    with pytest.raises(ModelUnavailable):
        await calls.complete(request())
    assert (await calls.complete(request())).data["n"] == 2


async def test_equal_calls_at_the_same_time_ask_once(tmp_path: Path) -> None:
    frontier = Counting()
    calls = Calls(frontier, cache=ReplyCache(tmp_path / "c.db"))
    replies = await asyncio.gather(*(calls.complete(request()) for _ in range(8)))
    assert frontier.num_calls == 1
    assert len({str(reply.data) for reply in replies}) == 1


async def test_without_a_cache_every_call_is_made() -> None:
    frontier = Counting()
    calls = Calls(frontier)
    await calls.complete(request())
    await calls.complete(request())
    assert frontier.num_calls == 2


async def test_after_a_rejected_key_nobody_is_asked_again() -> None:
    frontier = Counting(KeyRejected("no such key", model="counting"))
    calls = Calls(frontier)
    for _ in range(3):
        with pytest.raises(KeyRejected):
            await calls.complete(request())
    assert frontier.num_calls == 1
    assert str(calls.key_error) == "no such key"


def test_nobody_else_may_read_what_was_kept(tmp_path: Path) -> None:
    ReplyCache(tmp_path / "folder" / "c.db")
    assert stat.S_IMODE((tmp_path / "folder" / "c.db").stat().st_mode) == 0o600
