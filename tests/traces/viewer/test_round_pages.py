"""Pages of rounds and releases."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from journeyman.graph.round_state import STAGES
from journeyman.traces.viewer.queries import releases, rounds
from tests.traces.viewer.conftest import Site
from tests.traces.viewer.test_agent_pages import connect, plain_text


def fetch(path: Path, sql: str) -> list[Any]:
    with sqlite3.connect(path) as connection:
        return connection.execute(sql).fetchall()


def test_stages_are_those_of_a_round() -> None:
    assert tuple(STAGES) == rounds.STAGES


async def test_the_learning_curve_has_a_point_for_every_round(learned: Path) -> None:
    text = (await Site(learned).get("/rounds?agent=desk")).text
    for number, quality, decision in fetch(
        learned, "SELECT number, candidate_quality, decision FROM rounds"
    ):
        assert f"round {number}: quality {quality:.1%}, {decision}" in text
    assert "certified share</text>" in text


async def test_a_round_shows_its_arms_and_how_it_was_decided(learned: Path) -> None:
    [[wanted, hashed]] = fetch(learned, "SELECT id, report_hash FROM rounds WHERE number = 2")
    [[content]] = fetch(learned, f"SELECT content FROM payloads WHERE hash = '{hashed}'")
    report = json.loads(content)
    text = plain_text((await Site(learned).get(f"/rounds/{wanted}")).text)
    assert report["decision"]["reason"] in text
    for arm in report["arms"].values():
        assert f"{arm['quality']:.1%}" in text
    for test in report["decision"]["tests"]:
        assert test["name"] in text
    quality = report["decision"]["quality"]
    assert f"{quality['wins']} : {quality['losses']}" in text
    risk = report["decision"]["augrc"]
    assert f"risk at all thresholds {risk['incumbent']:.1%} {risk['candidate']:.1%}" in text
    assert "Labels from the frontier" in text


async def test_a_round_that_has_not_ended_shows_how_far_it_is(copied: Path) -> None:
    path = copied
    connection = sqlite3.connect(path)
    connection.execute(
        """UPDATE rounds SET status = 'running', stage = 'train', decision = NULL, reason = NULL,
        report_hash = NULL, ended_at = NULL, candidate_quality = NULL WHERE number = 2"""
    )
    connection.commit()
    connection.close()
    [[wanted]] = fetch(path, "SELECT id FROM rounds WHERE number = 2")
    text = (await Site(path).get(f"/rounds/{wanted}")).text
    assert 'aria-current="step">train<' in text
    assert "It has not ended yet" in text
    assert (await Site(path).get("/rounds")).status_code == 200


async def test_neighbouring_rounds_lead_to_each_other(learned: Path) -> None:
    ids = [row[0] for row in fetch(learned, "SELECT id FROM rounds ORDER BY number")]
    assert f'rel="next" href="/-/journeyman/rounds/{ids[1]}"' in (
        await Site(learned).get(f"/rounds/{ids[0]}")
    ).text  # fmt: skip
    assert (await Site(learned).get("/rounds/none")).status_code == 404


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"arms": 3}', '{"arms": {"a": 1}, "decision": []}', "{", "null",
                '{"decision": {"quality": {"difference": "much"}, "tests": [1, {}]}}',
                '{"arms": {"trained": {"certificate": {"n": -1}, "facts": [], "quality": "x"}}}'],
)  # fmt: skip
async def test_a_report_of_any_shape_breaks_no_page(copied: Path, content: str) -> None:
    path = copied
    connection = sqlite3.connect(path)
    connection.execute(
        "UPDATE payloads SET content = ? WHERE hash IN (SELECT report_hash FROM rounds)", [content]
    )
    connection.commit()
    connection.close()
    for [wanted] in fetch(path, "SELECT id FROM rounds"):
        assert (await Site(path).get(f"/rounds/{wanted}")).status_code == 200


# Releases


async def test_the_lineage_shows_a_child_below_its_parent(learned: Path) -> None:
    parent, child = (
        row[0] for row in fetch(learned, "SELECT id FROM releases ORDER BY created_at")
    )
    connection = connect(learned)
    [entries] = releases.lineage(connection).values()
    connection.close()
    assert [(entry.row["id"], entry.depth) for entry in entries] == [(parent, 0), (child, 1)]
    text = (await Site(learned).get("/releases")).text
    assert text.index(f">{parent}</a>") < text.index(f">{child}</a>")
    assert "depth-1" in text


async def test_a_release_shows_its_certificate_parts_and_changes(learned: Path) -> None:
    [[wanted, hashed]] = fetch(
        learned, "SELECT id, parts_hash FROM releases WHERE status = 'active'"
    )
    [[content]] = fetch(learned, f"SELECT content FROM payloads WHERE hash = '{hashed}'")
    kept = json.loads(content)
    text = plain_text((await Site(learned).get(f"/releases/{quote(wanted)}")).text)
    assert kept["digest"] in text
    assert all(name in text for name in kept["parts"])
    assert "Certified: joint error within 0.05" in text
    assert "promote" in text
    assert "against the frontier" in text


async def test_releases_that_are_each_other_s_parents_are_all_shown(copied: Path) -> None:
    path = copied
    ids = [row[0] for row in fetch(path, "SELECT id FROM releases ORDER BY created_at")]
    connection = sqlite3.connect(path)
    connection.execute("UPDATE releases SET parent_id = ? WHERE id = ?", [ids[1], ids[0]])
    connection.commit()
    connection.close()
    text = (await Site(path).get("/releases")).text
    assert all(f">{name}</a>" in text for name in ids)
    assert (await Site(path).get(f"/releases/{quote(ids[0])}")).status_code == 200


async def test_a_release_that_was_never_taught_is_not_on_record(learned: Path) -> None:
    answer = await Site(learned).get("/releases/desk%4000000000")
    assert answer.status_code == 404
    assert "never taught" in answer.text
