"""Rounds are numbered without gaps, are taken up where they stopped, and keep their reports."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from journeyman.models.errors import TraceError
from journeyman.traces.rounds import RoundStore
from journeyman.traces.store import Store

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


def ended(rounds: RoundStore, agent: str = "desk", **given: Any) -> str:
    """A whole round."""
    entry = rounds.begin(agent)
    values: dict[str, Any] = {"decision": "keep", "reason": "No gain.", "report": {"number": 1}}
    rounds.end(entry.id, **{**values, **given})
    return entry.id


def test_a_round_that_has_not_ended_is_taken_up(store: Store) -> None:
    rounds = RoundStore(store)
    first = rounds.begin("desk")
    assert (first.number, first.status, first.stage) == (1, "running", "collect")
    rounds.reach(first.id, "train")
    again = rounds.begin("desk")
    assert (again.id, again.stage, again.started_at) == (first.id, "train", first.started_at)


def test_numbers_have_no_gaps_and_are_each_agents_own(store: Store) -> None:
    rounds = RoundStore(store)
    for _ in range(3):
        ended(rounds)
    ended(rounds, "router")
    assert [entry.number for entry in rounds.history("desk")] == [1, 2, 3]
    assert [entry.number for entry in rounds.history("router")] == [1]
    assert len(rounds.history()) == 4


def test_a_report_comes_back_as_it_was(store: Store) -> None:
    rounds = RoundStore(store)
    report = {"decision": {"verdict": "promote"}, "text": "naïve — 1 µs", "none": None}
    name = ended(rounds, decision="promote", report=report, candidate_id="desk@00000000")
    entry = rounds.get(name[:8]) if len(rounds.history()) == 1 else rounds.get(name)
    assert entry.report == report
    assert (entry.status, entry.decision, entry.candidate_id) == (
        "done",
        "promote",
        "desk@00000000",
    )
    assert rounds.history()[0].report is None


def test_two_rounds_may_have_the_same_report(store: Store) -> None:
    rounds = RoundStore(store)
    first, second = ended(rounds), ended(rounds)
    assert rounds.get(first).report == rounds.get(second).report


def test_ending_again_changes_nothing_but_the_time(store: Store) -> None:
    rounds = RoundStore(store)
    name = ended(rounds)
    before = rounds.get(name)
    rounds.end(name, decision="keep", reason="No gain.", report={"number": 1})
    after = rounds.get(name)
    assert (after.reason, after.report, after.number) == (before.reason, before.report, 1)


def test_the_last_done_passes_over_what_runs_and_what_was_stopped(store: Store) -> None:
    rounds = RoundStore(store)
    assert rounds.last_done("desk") is None
    done = ended(rounds)
    ended(rounds, status="stopped")
    rounds.begin("desk")
    last = rounds.last_done("desk")
    assert last is not None
    assert last.id == done


def test_figures_are_kept_and_others_refused(store: Store) -> None:
    rounds = RoundStore(store)
    entry = rounds.begin("desk")
    rounds.reach(entry.id, "curate", num_train=7, metrics={"trained": {"auroc": 0.9}})
    with pytest.raises(TypeError, match="num_lessons"):
        rounds.reach(entry.id, "curate", num_lessons=7)


@pytest.mark.parametrize("name", ["", "nothing"])
def test_an_unknown_round_says_where_to_look(store: Store, name: str) -> None:
    ended(RoundStore(store))
    with pytest.raises(TraceError, match="journeyman round list"):
        RoundStore(store).get(name)


def test_the_clock_is_the_rounds_own(store: Store) -> None:
    times = iter(MOMENT + timedelta(hours=i) for i in range(9))
    rounds = RoundStore(store, clock=lambda: next(times))
    entry = rounds.get(ended(rounds))
    assert entry.started_at == MOMENT
    assert entry.ended_at is not None
    assert entry.ended_at > MOMENT
