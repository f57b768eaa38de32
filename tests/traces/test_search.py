"""Runs are found by what was said in them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from journeyman.traces.search import search
from journeyman.traces.store import Store

START = datetime(2026, 1, 1, tzinfo=UTC)


def said(store: Store, make: Any, what: str, at: int = 0, **given: Any) -> str:
    run = make.run(input={"text": what}, started_at=START + timedelta(hours=at), **given)
    store.write([run, make.attempt(run.id)])
    return str(run.id)


def test_every_word_counts_in_any_order_and_case(store: Store, make: Any) -> None:
    both = said(store, make, "The Connection was refused by host alpha")
    said(store, make, "connection established")
    assert [run.id for run in search(store, "REFUSED connection")] == [both]


def test_words_far_behind_the_preview_are_found(store: Store, make: Any) -> None:
    far = said(store, make, "lorem " * 200 + "mackerel")
    assert [run.id for run in search(store, "mackerel")] == [far]


def test_names_that_the_graph_puts_beside_the_texts_are_not_searched(
    store: Store, make: Any
) -> None:
    run = make.run(input=[{"agent": "tuna", "input": ["cod", {"agent": "sole"}]}])
    answered = make.run(output={"a-1": {"agent": "tuna", "value": {"agent": "salmon"}}})
    store.write([run, answered])
    assert [found.id for found in search(store, "salmon")] == [answered.id]
    assert [found.id for found in search(store, "cod")] == [run.id]


def test_parts_of_words_and_marks_are_found_in_previews(store: Store, make: Any) -> None:
    run = said(store, make, "raise KeyError(100%) in loader_v2.py")
    assert [found.id for found in search(store, "oader_v")] == [run]
    assert [found.id for found in search(store, "(100%)")] == [run]
    assert search(store, "1000") == []


def test_errors_are_found(store: Store, make: Any) -> None:
    run = said(store, make, "x", error_message="the endpoint hung up")
    assert [found.id for found in search(store, "hung up")] == [run]


def test_the_newest_come_first_within_the_limit(store: Store, make: Any) -> None:
    ids = [said(store, make, f"parcel {i}", at=i) for i in range(4)]
    assert [run.id for run in search(store, "parcel", 2)] == ids[:1:-1]
    since = START + timedelta(hours=3)
    assert [run.id for run in search(store, "parcel", since=since)] == ids[3:]
    assert search(store, "parcel", agent="debugging") == []


@pytest.mark.usefixtures("path")  # about SQLite alone
def test_without_an_index_previews_are_looked_through(store: Store, make: Any) -> None:
    run = said(store, make, "white wall paint")
    store.transact(lambda c: c.execute(text("DROP TABLE run_search")))
    assert [found.id for found in search(store, "wall")] == [run]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.text(max_size=12) | st.sampled_from(['"', "NEAR(", "a OR", "*", "-", "input:x", "^a", "%"])
)
def test_no_text_is_taken_for_an_operator(store: Store, words: str) -> None:
    search(store, words)


@pytest.mark.parametrize("words", ["", "  "])
def test_nothing_to_look_for_finds_all(store: Store, make: Any, words: str) -> None:
    said(store, make, "anything")
    assert len(search(store, words)) == 1
