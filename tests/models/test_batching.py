"""Micro-batching: shared batches, isolated failures, threads that do not outlive their owner."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Callable, Sequence

import pytest

from journeyman.models.errors import ModelError
from journeyman.models.students.batching import Batcher
from journeyman.models.students.device import computing


class Doubler:
    """Doubles numbers; waits for `go` first, so that tests decide when a batch ends."""

    def __init__(self, *, blocked: bool = False) -> None:
        self.batches: list[list[int]] = []
        self.started = threading.Event()
        self.go = threading.Event()
        if not blocked:
            self.go.set()

    def predict(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        self.started.set()
        assert self.go.wait(10)
        if any(item < 0 for item in items):
            raise ValueError("negative")
        return [item * 2 for item in items]


def student_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "student"}


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never came to be")


async def behind_a_running_batch(
    batcher: Batcher[int, int], student: Doubler, items: Sequence[int]
) -> tuple[asyncio.Task[int], list[asyncio.Task[int]]]:
    """Tasks for `items`, queued while a first batch (the item 0) is being computed."""
    first = asyncio.create_task(batcher.submit(0))
    await until(student.started.is_set)
    tasks = [asyncio.create_task(batcher.submit(item)) for item in items]
    await asyncio.sleep(0.01)
    return first, tasks


async def test_each_caller_gets_its_own_prediction() -> None:
    with Batcher[int, int](Doubler()) as batcher:
        answers = await asyncio.gather(*(batcher.submit(i) for i in range(100)))
    assert answers == [2 * i for i in range(100)]


async def test_calls_that_wait_share_batches_of_at_most_max_batch() -> None:
    student = Doubler(blocked=True)
    with Batcher(student, max_batch=4) as batcher:
        _, tasks = await behind_a_running_batch(batcher, student, range(1, 11))
        student.go.set()
        await asyncio.gather(*tasks)
    assert student.batches == [[0], [1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]


async def test_a_bad_item_fails_alone() -> None:
    student = Doubler(blocked=True)
    with Batcher(student) as batcher:
        _, tasks = await behind_a_running_batch(batcher, student, [1, 2, -3, 4, 5])
        student.go.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(answers.pop(2), ValueError)
    assert answers == [2, 4, 8, 10]


async def test_a_cancelled_caller_is_not_computed_and_disturbs_nobody() -> None:
    student = Doubler(blocked=True)
    with Batcher(student) as batcher:
        first, tasks = await behind_a_running_batch(batcher, student, [1, 2, 3])
        tasks[1].cancel()
        first.cancel()  # already being computed: its answer goes nowhere
        await asyncio.sleep(0.01)
        student.go.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(answers[1], asyncio.CancelledError)
    assert [answers[0], answers[2]] == [2, 6]
    assert student.batches == [[0], [1, 3]]


def test_one_batcher_serves_several_event_loops() -> None:
    results: dict[int, list[int]] = {}
    with Batcher(Doubler()) as batcher:

        async def ask(offset: int) -> list[int]:
            return await asyncio.gather(*(batcher.submit(offset + i) for i in range(20)))

        def run(offset: int) -> None:
            results[offset] = asyncio.run(ask(offset))

        threads = [threading.Thread(target=run, args=(offset,)) for offset in (0, 100, 200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    assert results == {o: [2 * (o + i) for i in range(20)] for o in (0, 100, 200)}


async def test_a_wrong_number_of_predictions_is_an_error_not_a_mix_up() -> None:
    class Short:
        def predict(self, items: Sequence[int]) -> list[int]:
            return []

    message = "0 predictions for 1 items"
    with Batcher(Short()) as batcher, pytest.raises(ModelError, match=message):
        await batcher.submit(1)


async def test_a_stop_iteration_reaches_the_caller() -> None:
    class Exhausted:
        def predict(self, items: Sequence[int]) -> list[int]:
            raise StopIteration

    with Batcher(Exhausted()) as batcher, pytest.raises(RuntimeError, match="StopIteration"):
        await asyncio.wait_for(batcher.submit(1), 5)


async def test_items_of_like_length_are_batched_together() -> None:
    student = Doubler(blocked=True)
    with Batcher(student, max_batch=2, length=lambda item: item) as batcher:
        _, tasks = await behind_a_running_batch(batcher, student, [9, 1, 8, 2])
        student.go.set()
        assert await asyncio.gather(*tasks) == [18, 2, 16, 4]
    assert student.batches == [[0], [1, 2], [8, 9]]


async def test_no_thread_runs_before_the_first_call() -> None:
    before = student_threads()
    with Batcher(Doubler()):
        assert student_threads() == before


async def test_the_thread_and_the_student_go_when_the_batcher_is_dropped() -> None:
    before = student_threads()
    student = Doubler()
    batcher = Batcher(student)
    await batcher.submit(1)
    assert len(student_threads() - before) == 1
    gone = weakref.ref(student)
    del batcher, student
    gc.collect()
    await until(lambda: student_threads() <= before)
    assert gone() is None


async def test_closing_answers_what_is_queued_and_ends_the_thread() -> None:
    before = student_threads()
    student = Doubler(blocked=True)
    batcher = Batcher(student, max_batch=1)
    first, tasks = await behind_a_running_batch(batcher, student, [1, 2])
    batcher.close()
    batcher.close()
    student.go.set()
    assert await asyncio.gather(first, *tasks) == [0, 2, 4]
    await until(lambda: student_threads() <= before)
    with pytest.raises(RuntimeError, match="closed"):
        await batcher.submit(3)


def overlap_on(device: str) -> int:
    """The most threads that were seen inside `computing(device)` at once."""
    inside = 0
    most = 0
    count = threading.Lock()

    def compute() -> None:
        nonlocal inside, most
        for _ in range(5):
            with computing(device):
                with count:
                    inside += 1
                    most = max(most, inside)
                time.sleep(0.004)
                with count:
                    inside -= 1

    threads = [threading.Thread(target=compute) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    return most


def test_students_take_turns_on_the_cpu() -> None:
    assert overlap_on("cpu") == 1


def test_students_do_not_wait_for_each_other_on_cuda() -> None:
    assert overlap_on("cuda:0") > 1


def test_a_student_may_call_another_while_it_holds_the_device() -> None:
    with computing("cpu"), computing("cpu"):
        pass
