"""A limit that holds over tasks, loops and threads, and leaks nothing when cancelled."""

from __future__ import annotations

import asyncio
import random
import threading

import pytest

from journeyman.models.slots import Slots


class Gauge:
    """Counts who is inside at once, from any thread."""

    def __init__(self) -> None:
        self.inside = self.most = self.total = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.inside += 1
            self.total += 1
            self.most = max(self.most, self.inside)

    def __exit__(self, *exc_info: object) -> None:
        with self._lock:
            self.inside -= 1


async def work(slots: Slots, gauge: Gauge, seconds: float = 0.001) -> None:
    async with slots:
        with gauge:
            await asyncio.sleep(seconds)


async def test_no_more_than_the_limit_at_once_and_all_get_a_turn() -> None:
    slots, gauge = Slots(3), Gauge()
    await asyncio.gather(*[work(slots, gauge) for _ in range(50)])
    assert (gauge.most, gauge.total) == (3, 50)


def test_the_limit_holds_over_several_event_loops() -> None:
    slots, gauge = Slots(2), Gauge()

    async def crowd() -> None:
        await asyncio.gather(*[work(slots, gauge) for _ in range(25)])

    threads = [threading.Thread(target=asyncio.run, args=(crowd(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (gauge.most, gauge.total) == (2, 100)


async def test_cancelled_waiters_and_holders_lose_no_slot() -> None:
    """Whatever the moment of cancellation; seeded."""
    slots, gauge, rng = Slots(2), Gauge(), random.Random(1)
    for _ in range(100):
        tasks = [asyncio.create_task(work(slots, gauge, 0.0005)) for _ in range(6)]
        await asyncio.sleep(rng.random() * 0.001)
        for task in rng.sample(tasks, 3):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert gauge.most == 2
    assert slots._num_free == 2
    assert not slots._waiting


async def test_a_turn_granted_to_a_cancelled_waiter_is_handed_on() -> None:
    slots = Slots(1)
    await slots.__aenter__()
    first = asyncio.create_task(slots.__aenter__())
    second = asyncio.create_task(slots.__aenter__())
    await asyncio.sleep(0)
    await slots.__aexit__(None, None, None)  # grants the turn to `first` ...
    first.cancel()  # ... which is cancelled before it wakes up
    await asyncio.wait_for(second, 1)
    assert first.cancelled()


def test_a_waiter_on_a_closed_loop_is_passed_over() -> None:
    slots = Slots(1)
    asyncio.run(slots.__aenter__())
    dead = asyncio.new_event_loop()
    slots._waiting.append((dead, dead.create_future()))
    dead.close()
    asyncio.run(slots.__aexit__(None, None, None))
    assert slots._num_free == 1


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Slots(0)
