"""Pages of sub-agents: trust, how well confidence holds, and what another target would mean."""

from __future__ import annotations

import itertools
import json
import math
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from journeyman.models.savings import Terms
from journeyman.models.scoring import reliability
from journeyman.models.types import Risk
from journeyman.traces.judged import read_recording
from journeyman.traces.replay import replay
from journeyman.traces.reviews import find_case, review
from journeyman.traces.store import Store
from journeyman.traces.viewer import charts
from journeyman.traces.viewer.intervals import wilson
from journeyman.traces.viewer.pages import agents as pages
from journeyman.traces.viewer.queries import agents as queries
from tests.traces.viewer.conftest import Site


@pytest.fixture
def active(learned: Path) -> str:
    with sqlite3.connect(learned) as connection:
        return str(
            connection.execute("SELECT id FROM releases WHERE status = 'active'").fetchone()[0]
        )


def connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    return connection


def plain_text(html: str) -> str:
    """What a reader sees, in one line."""
    return re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", html)).replace("&#39;", "'")


async def test_the_list_says_who_is_trusted_with_what(learned: Path, active: str) -> None:
    text = plain_text((await Site(learned).get("/agents")).text)
    assert f"desk certified {active} joint ≤ 5.0%" in text
    assert "the frontier" in text


async def test_the_page_says_the_certificate_in_words(learned: Path, active: str) -> None:
    connection = connect(learned)
    found = queries.standing(connection, active)
    connection.close()
    assert found is not None
    text = plain_text((await Site(learned).get("/agents/desk")).text)
    assert found["certificate"].describe() in text
    assert found["detector"].num_wrong == 1
    assert f"Level {found['detector'].level:.1f} of 2,000" in text
    assert "Audits 2, 1 wrong and accepted" in text


async def test_a_cold_sub_agent_says_that_everything_escalates(site: Site) -> None:
    text = (await site.get("/agents/extraction")).text
    assert "Cold: no release takes traffic" in text
    assert (await site.get("/agents/nobody")).status_code == 404


async def test_withdrawn_trust_says_why(copied: Path) -> None:
    path = copied
    with sqlite3.connect(path) as connection:
        connection.execute(
            "UPDATE certificates SET withdrawn_at = '2026-03-04', withdrawn_reason = 'drift alarm'"
        )
        connection.execute(
            """INSERT INTO release_changes VALUES ('desk', 99, 'suspend', 'r', 'r', 'drift alarm',
            '2026-03-04')"""
        )
    text = plain_text((await Site(path).get("/agents/desk")).text)
    assert "desk suspended" in text
    assert "Trust was withdrawn 2026-03-04 : drift alarm" in text
    assert "suspend r drift alarm" in text


# Confidence


def test_latest_attempts_carry_the_label_that_judges_them(learned: Path, active: str) -> None:
    connection = connect(learned)
    found = queries.latest(connection, "desk", active)
    labelled = connection.execute(
        """SELECT count(DISTINCT a.id) FROM attempts AS a JOIN escalations AS e
        ON e.attempt_id = a.id WHERE a.release = ? AND e.agreement IS NOT NULL""",
        [active],
    ).fetchone()[0]
    sql = "SELECT count(*) FROM escalations WHERE reason = 'audit'"
    num_audits = connection.execute(sql).fetchone()[0]
    connection.close()
    assert len(found) == 80
    assert sum(each.is_right is not None for each in found) == labelled
    assert sum(each.is_fair for each in found) == num_audits
    assert queries.sources_of(found) == ["frontier"]


def test_a_person_s_verdict_beats_the_frontier_s(copied: Path, active: str) -> None:
    """Whatever they say, the figures are those that a replay counts."""
    with Store.open(copied) as store:
        audits = [e for e in store.escalations() if e.reason == "audit"][:6]
        said: list[Any] = ["approved", "edited", "rejected"] * 2
        for escalation, verdict in zip(audits, said, strict=True):
            case = find_case(store, escalation.id)
            answer = case.student_output if verdict == "edited" else None
            review(store, case, verdict, by="ada", answer=answer)
        recording = read_recording(store, "desk", active)
    connection = connect(copied)
    found = [each for each in queries.latest(connection, "desk", active) if each.is_fair]
    connection.close()
    theirs = sorted((j.confidence, j.is_right, j.label_source) for j in recording.judged)
    assert sorted((a.confidence, a.is_right, a.label_source) for a in found) == theirs


def test_an_answer_that_failed_a_hard_check_is_accepted_at_no_threshold(
    copied: Path, active: str
) -> None:
    """However sure the head is of it: the curve is the replay's, and the diagram leaves it out."""
    failed = json.dumps([{"name": "schema", "passed": False, "hard": True, "detail": ""}])
    with sqlite3.connect(copied) as connection:
        connection.execute(
            """UPDATE attempts SET checks = ? WHERE id IN (SELECT attempt_id FROM escalations
                WHERE reason = 'audit' ORDER BY id LIMIT 9)""",
            [failed],
        )
    with Store.open(copied, read_only=True) as store:
        done = replay(read_recording(store, "desk", active), Risk(max_error=0.05))
    connection = connect(copied)
    found = queries.latest(connection, "desk", active)
    connection.close()
    fair = [each for each in found if each.is_fair and each.confidence is not None]
    assert sum(not each.is_valid for each in fair) == 9
    theirs = [(p.coverage, p.selective_error, p.joint_error, p.threshold) for p in done.curve]
    ours = pages.fair_curve(fair)
    assert ours[-1][0] < 1
    assert [list(point) for point in ours] == [pytest.approx(list(point)) for point in theirs]


async def test_the_reliability_diagram_is_the_library_s(learned: Path, active: str) -> None:
    connection = connect(learned)
    judged = [
        (each.confidence, each.is_right)
        for each in queries.latest(connection, "desk", active)
        if each.confidence is not None and each.is_right is not None
    ]
    connection.close()
    bins = reliability([c for c, _ in judged], [right for _, right in judged], len(judged) // 20)
    text = (await Site(learned).get("/agents/desk")).text
    for each in bins:
        assert f"confidence {each.confidence:.3f}: {each.accuracy:.1%} agree of" in text
    assert "Agreement with the frontier" in plain_text(text)


async def test_the_certified_threshold_is_marked_on_the_curve(learned: Path, active: str) -> None:
    with sqlite3.connect(learned) as connection:
        [[threshold]] = connection.execute(
            "SELECT threshold FROM certificates WHERE release_id = ? ORDER BY id DESC LIMIT 1",
            [active],
        ).fetchall()
    text = (await Site(learned).get("/agents/desk")).text
    assert f"certified threshold {threshold:.3f}</text>" in text


@pytest.mark.parametrize("name", ["top", "margin"])
async def test_any_evidence_can_be_looked_at(learned: Path, name: str) -> None:
    text = (await Site(learned).get(f"/agents/desk?evidence={name}")).text
    assert f"<option selected>{name}</option>" in text
    assert f"Histogram of {name}" in text


@pytest.mark.parametrize("values", [[0.5], [1e308, -1e308], [0.0, 0.0], [1, 2, 3]])
def test_every_finite_number_falls_into_a_bin(values: list[float]) -> None:
    odd = [math.inf, "text", True, None]
    attempts = [
        queries.Attempted(None, None, False, "", json.dumps({"x": value})) for value in values + odd
    ]
    found = queries.evidence(attempts, "x")
    assert found is not None
    assert sum(found.unlabelled) == len(values)
    assert len(found.edges) == len(found.unlabelled) + 1


# What if


@pytest.mark.parametrize(
    ("max_error", "delta", "kind", "audit_rate"),
    [(0.05, 0.05, "joint", 0.05), (0.2, 0.1, "selective", 0.3), (0.001, 0.05, "joint", 0)],
)
@pytest.mark.parametrize("release", ["active", "untaught"])
async def test_what_if_is_the_replay(
    learned: Path, active: str, release: str, max_error: float, delta: float, kind: Any,
    audit_rate: float,
) -> None:  # fmt: skip
    which = active
    if release != "active":
        with sqlite3.connect(learned) as connection:
            sql = "SELECT DISTINCT release FROM attempts WHERE release <> ?"
            which = connection.execute(sql, [active]).fetchone()[0]
    with Store.open(learned, read_only=True) as store:
        recording = read_recording(store, "desk", which)
    terms = Terms(audit_rate=audit_rate, frontier_microusd=recording.frontier_microusd)
    done = replay(recording, Risk(max_error=max_error, delta=delta, kind=kind), terms=terms)
    asked = f"max_error={max_error}&delta={delta}&kind={kind}&audit_rate={audit_rate}"
    answer = await Site(learned).get(f"/agents/desk?release={which.replace('@', '%40')}&{asked}")
    text = plain_text(answer.text)
    assert done.asked.certificate.describe() in text
    assert f"Certified share {done.asked.coverage:.1%}" in text
    assert f"Escalated {done.asked.escalation_rate:.1%}" in text
    needed = done.asked.certificate.labels_needed
    if done.asked.certificate.is_feasible:
        assert "More labels needed none" in text
    else:
        assert f"More labels needed {f'{needed:,}' if needed else 'no number would do'}" in text
    for outlook in done.outlooks:
        target = f"{kind} ≤ {outlook.certificate.max_error:.1%}"
        threshold = outlook.certificate.threshold
        shown = f"{threshold:.3f}" if math.isfinite(threshold) else "—"
        assert f"{target} {shown} {outlook.coverage:.1%}" in text


@pytest.mark.parametrize(
    "asked",
    ["max_error=7", "max_error=x", "max_error=0.1&kind=both", "max_error=0.1&delta=0",
     "max_error=0.1&audit_rate=2", "max_error=nan", "max_error=0.1&audit_rate=nan"],
)  # fmt: skip
async def test_a_target_that_is_none_is_said_to_be_none(learned: Path, asked: str) -> None:
    answer = await Site(learned).get(f"/agents/desk?{asked}")
    assert answer.status_code == 200
    assert "Give an acceptable error" in answer.text


async def test_a_what_if_that_reads_too_long_is_given_up(learned: Path) -> None:
    answer = await Site(learned, replay_limit_ms=0).get("/agents/desk?max_error=0.1")
    assert answer.status_code == 503
    assert "journeyman replay" in answer.text


async def test_a_release_without_fair_labels_says_so(site: Site) -> None:
    text = (await site.get("/agents/extraction?max_error=0.1")).text
    assert "has a label that may certify" in text


# Money


def test_spending_adds_up_and_tells_unknown_prices(filled: Path) -> None:
    connection = connect(filled)
    connection.execute("UPDATE escalations SET cost_microusd = NULL WHERE id = 'escalation-1'")
    found = queries.spending(connection, "extraction", days=30)
    connection.rollback()
    connection.close()
    assert found is not None
    assert found.num_unpriced == 1
    assert found.total_microusd == 59 * 2_000
    assert found.num_escalations == 60


# Pictures


def test_wilson_is_what_the_reports_of_suites_say() -> None:
    from journeyman.scenarios.estimates import share

    for successes, n in [(0, 5), (5, 5), (3, 7), (97, 115), (1, 1000)]:
        found = share(successes, n)
        assert wilson(successes, n) == pytest.approx((found.low, found.high), abs=1e-9)


def test_a_name_of_a_megabyte_makes_no_picture_of_one() -> None:
    assert len(charts.meter([(0.5, "student")], "<" * 1_000_000)) < 5_000


@pytest.mark.parametrize("high", [1, 3, 7, 10, 49, 1234, 0.0004])
def test_ticks_reach_the_highest_value_in_few_round_steps(high: float) -> None:
    found = charts.ticks(high)
    assert found[0] == 0
    assert found[-1] >= high * 0.999
    assert 2 <= len(found) <= 7


def test_labels_of_lines_that_end_together_do_not_lie_on_each_other() -> None:
    lines = [charts.Line(f"l{i}", "student", [(0, 0.5), (1, 0.5)], label=f"l{i}") for i in range(4)]
    drawn = charts.plot(lines, charts.Axis("x"), charts.Axis("y"), "t")
    places = re.findall(r'<text x="[\d.]+" y="([\d.]+)"[^>]*class="label"', drawn)
    heights = sorted(map(float, places))
    assert len(heights) == 4
    assert min(b - a for a, b in itertools.pairwise(heights)) >= 12


@pytest.mark.parametrize("height", [0.0, 0.04, 0.05, 0.06, 0.25])
@pytest.mark.parametrize("place", [0.02, 0.5, 0.98])
def test_no_label_lies_on_another_however_long_it_is(height: float, place: float) -> None:
    """The risk-coverage chart at its worst: both curves run along the target, two marks meet."""
    lines = [
        charts.Line(
            name, "student", [(x / 20, height) for x in range(21)], label=name, label_at=where
        )
        for name, where in (
            ("wrong among the accepted", 0.35),
            ("accepted and wrong, of all", 0.65),
            ("target 0.05", 1.0),
        )
    ]
    marks = [(place, "certified threshold 0.912"), (place + 0.01, "what if 0.905")]
    drawn = charts.plot(lines, charts.Axis("x"), charts.Axis("y", high=0.25), "t", marks=marks)
    found = re.findall(
        r'<text x="([\d.]+)" y="([\d.]+)" text-anchor="(\w+)" class="label">([^<]+)', drawn
    )
    assert len(found) == 5
    boxes = []
    for x, y, anchor, text in found:
        length = 6 * len(text)
        left = float(x) - (length if anchor == "end" else 0)
        assert left >= 0
        assert left + length <= 420
        boxes.append((left, left + length, float(y)))
    for (start, end, y), (left, right, other) in itertools.combinations(boxes, 2):
        assert end <= left or right <= start or abs(y - other) >= 12
