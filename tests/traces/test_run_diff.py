"""Two runs side by side."""

from __future__ import annotations

from typing import Any

from journeyman.traces.run_diff import pair_tasks
from journeyman.traces.store import Store


def trace(store: Store, make: Any, *attempts: dict[str, Any]) -> Any:
    run = make.run()
    store.write([run, *(make.attempt(run.id, **each) for each in attempts)])
    return store.run(run.id)


def test_the_same_tasks_meet_whatever_their_order(store: Store, make: Any) -> None:
    first = trace(
        store, make, {"task_key": "a", "answer": {"x": 1}}, {"task_key": "b", "answer": 2}
    )
    second = trace(
        store, make, {"task_key": "b", "answer": 2}, {"task_key": "a", "answer": {"x": 3}}
    )
    pairs = pair_tasks(first, second)
    assert [pair.is_same_task for pair in pairs] == [True, True]
    by_key = {pair.first.task_key: pair for pair in pairs if pair.first is not None}
    assert by_key["a"].differs
    assert not by_key["b"].differs


def test_other_tasks_of_a_sub_agent_meet_by_order_and_the_rest_stands_alone(
    store: Store, make: Any
) -> None:
    first = trace(store, make, {"task_key": "a", "agent": "routing"})
    second = trace(
        store, make, {"task_key": "b", "agent": "routing"}, {"task_key": "c", "agent": "debugging"}
    )
    pairs = pair_tasks(first, second)
    assert [(pair.agent, pair.is_same_task) for pair in pairs] == [
        ("routing", False), ("debugging", False),
    ]  # fmt: skip
    assert pairs[1].first is None
    assert pairs[1].differs


def test_another_source_is_a_difference(store: Store, make: Any) -> None:
    first = trace(store, make, {"source": "student", "answer": 1})
    second = trace(store, make, {"source": "frontier", "answer": 1})
    assert pair_tasks(first, second)[0].differs
