"""Pages of suites: history, a run as a matrix, and two runs against each other."""

from __future__ import annotations

import json
import random
import re
import sqlite3
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest

from journeyman.scenarios import comparing
from journeyman.traces.records import ScenarioResultRecord, SuiteRunRecord
from journeyman.traces.store import Store
from journeyman.traces.viewer.queries import suites as queries
from tests.traces.viewer.conftest import START, Site, record
from tests.traces.viewer.learned import BASE, LATER
from tests.traces.viewer.test_agent_pages import connect, plain_text


async def test_history_tells_each_run_s_share_with_its_interval(learned: Path) -> None:
    text = plain_text((await Site(learned).get("/suites?suite=desk")).text)
    assert "8 of 12" in text
    assert "66.7%" in text
    assert "39.1% to 86.2%" in text
    assert "baseline" in text
    drawn = (await Site(learned).get("/suites?suite=desk")).text
    assert "Share of desk that passed, run by run" in drawn
    assert 'class="sparkline"' in drawn


async def test_the_matrix_has_what_did_not_pass_first(learned: Path) -> None:
    text = (await Site(learned).get(f"/suites/{LATER}")).text
    order = re.findall(r'scenario=(\w+)[^"]*#scenario">', text)
    assert order == ["worse", "known", "better", "novel", "same", "shaky"]
    assert "xfailed" in plain_text(text)
    assert "1/1 hold" in plain_text(text)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("outcome=failed", ["worse"]),
        ("outcome=unstable", ["shaky"]),
        ("tag=easy", ["same"]),
        ("q=Wor", ["worse"]),
        ("q=nothing", []),
        ("tag=hard&outcome=passed", ["better", "novel", "shaky"]),
    ],
)
async def test_scenarios_are_filtered(learned: Path, query: str, found: list[str]) -> None:
    text = (await Site(learned).get(f"/suites/{LATER}?{query}")).text
    assert re.findall(r'scenario=(\w+)[^"]*#scenario">', text) == found


async def test_a_scenario_opens_with_its_assertions(learned: Path) -> None:
    text = plain_text((await Site(learned).get(f"/suites/{LATER}?scenario=worse")).text)
    assert "Contains worse ✗ failed 0.500 looked for it" in text
    assert "worse did not hold" in text
    assert "desk student certified" in text


async def test_the_start_of_a_run_s_id_leads_to_it(learned: Path) -> None:
    answer = await Site(learned).get(f"/suites/{LATER[:6]}")
    assert answer.headers["location"].endswith(f"/suites/{LATER}")
    assert (await Site(learned).get("/suites/x")).status_code == 404


# Two runs


def compared(path: Path, base: str, other: str) -> queries.Comparison:
    connection = connect(path)
    runs = [queries.find(connection, name) for name in (base, other)]
    assert runs[0] is not None
    assert runs[1] is not None
    found = queries.compare(connection, runs[0], runs[1])
    connection.close()
    return found


def judged(path: Path, base: str, other: str) -> comparing.Comparison:
    """What `journeyman compare` says of the same two."""
    with Store.open(path, read_only=True) as store:
        records = {run.id: run for run in store.suite_runs()}
        sides = [comparing.side_of_run(store, records[name]) for name in (base, other)]
    return comparing.compare(*sides)


def assert_same(ours: queries.Comparison, theirs: comparing.Comparison) -> None:
    assert [astuple(one) for one in ours.changed] == [astuple(one) for one in theirs.changed]
    assert ours.num_regressions == len(theirs.regressions)
    assert (ours.overall is None) == (theirs.overall is None)
    if ours.overall is not None and theirs.overall is not None:
        for name in ("n", "base", "other", "low", "high", "wins", "losses", "p_value"):
            mine, other = getattr(ours.overall, name), getattr(theirs.overall, name)
            assert mine == pytest.approx(other), name


@pytest.mark.parametrize("pair", [(BASE, LATER), (LATER, BASE), (BASE, BASE)])
def test_a_comparison_says_what_the_command_line_says(learned: Path, pair: tuple[str, str]) -> None:
    assert_same(compared(learned, *pair), judged(learned, *pair))


def test_outcomes_over_epochs_are_the_command_line_s(tmp_path: Path) -> None:
    """Every mix of statuses, pass rules and expected failures."""
    statuses: list[Any] = ["passed", "failed", "error", "skipped"]
    rules: list[Any] = [None, {"rule": "any", "n": None}, {"rule": "at_least", "n": 2}]
    records: list[Any] = []
    rng = random.Random(0)
    for run in ("a", "b"):
        records.append(
            SuiteRunRecord(id=run, suite="s", suite_hash="h", config_hash="c", status="failed",
                           started_at=START)
        )  # fmt: skip
        for number in range(600):
            for epoch in range(3):
                which = rng.randrange(4) if run == "a" or number % 7 else 3
                records.append(
                    ScenarioResultRecord(
                        suite_run_id=run, scenario_id=f"s{number:03}", epoch=epoch,
                        scenario_hash="h", status=statuses[which],
                        figures={"is_test": number % 5 > 0, "group": f"g{number // 3}",
                                 "pass": rules[number % 3]},
                        xfail="gap" if number % 2 else None, reason=f"r{which}",
                    )
                )  # fmt: skip
    path = tmp_path / "traces.db"
    record(path, *records)
    ours = compared(path, "a", "b")
    assert {one.change for one in ours.changed} == {"missing", "regression", "improvement"}
    assert_same(ours, judged(path, "a", "b"))


@pytest.mark.parametrize(
    ("selection", "missing"),
    [
        ({"ids": ["worse"]}, 0),
        ({"ids": ["gone"]}, 1),
        ({"tags": ["easy"]}, 0),
        ({"tags": ["hard"]}, 1),
        ({"limit": 3}, 0),
        ({"keyword": "worse"}, 0),
        ({}, 1),
    ],
)
def test_what_was_not_asked_for_is_not_missing(
    copied: Path, selection: dict[str, Any], missing: int
) -> None:
    path = copied
    whole: dict[str, Any] = {
        "keyword": None,
        "tags": [],
        "ids": [],
        "limit": None,
        "shard": None,
        "seed": 0,
    }
    connection = sqlite3.connect(path)
    connection.execute(
        "UPDATE suite_runs SET options = json_object('selection', json(?)) WHERE id = ?",
        [json.dumps({**whole, **selection}), LATER],
    )
    connection.commit()
    connection.close()
    ours = compared(path, BASE, LATER)
    assert sum(one.change == "missing" for one in ours.changed) == missing
    assert_same(ours, judged(path, BASE, LATER))


async def test_the_page_shows_regressions_first_and_missing_ones_among_them(
    learned: Path,
) -> None:
    text = (await Site(learned).get(f"/suites/compare?a={BASE}&b={LATER}")).text
    assert "2 regressions" in plain_text(text)
    rows = re.findall(r'<tr data-row class="(\w+)">\s*<th scope="row">(\w+)', text)
    assert rows == [
        ("regression", "gone"), ("regression", "worse"), ("improvement", "better"),
        ("new", "novel"),
    ]  # fmt: skip
    assert "regression: missing" in text
    only = (await Site(learned).get(f"/suites/compare?a={BASE}&b={LATER}&change=new")).text
    assert re.findall(r'<tr data-row class="(\w+)"', only) == ["new"]


@pytest.mark.parametrize("query", ["", "?a=1", "?a=9&b=2", f"?a={BASE}&b=nothing"])
async def test_runs_that_are_not_on_record_are_not_compared(learned: Path, query: str) -> None:
    answer = await Site(learned).get(f"/suites/compare{query}")
    assert answer.status_code == 404
