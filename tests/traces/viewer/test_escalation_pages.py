"""The queue of escalations, and verdicts that are given in the browser."""

from __future__ import annotations

import html
import json
import re
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from journeyman.cli.reviewing import Answers
from journeyman.traces.reviews import find_case, queue, review
from journeyman.traces.store import Store
from journeyman.traces.viewer.app import make_datasette
from journeyman.traces.viewer.options import Options
from journeyman.traces.viewer.queries import escalations as queries
from journeyman.traces.viewer.source import Source
from tests.traces.viewer.conftest import SITE, START, Site, happened, record


@pytest.fixture
def desk(copied: Path) -> Site:
    """The viewer over a store that a test may change, with writing allowed."""
    return Site(copied, write=True)


def rows(path: Path, sql: str, *values: Any) -> list[Any]:
    with sqlite3.connect(path) as connection:
        return connection.execute(sql, values).fetchall()


def one(path: Path, where: str = "e.reason = 'low_confidence'") -> str:
    sql = f"SELECT e.id FROM escalations AS e WHERE {where} ORDER BY e.created_at, e.id"
    return str(rows(path, sql)[0][0])


def status(path: Path, escalation: str) -> tuple[str, str | None]:
    sql = "SELECT review_status, reviewer FROM escalations WHERE id = ?"
    [(said, by)] = rows(path, sql, escalation)
    return said, by


def listed(text: str) -> list[str]:
    return re.findall(r'class="open" href="/-/journeyman/escalations/([^"?]+)', text)


def fields(text: str) -> dict[str, str]:
    """Hidden fields and texts of the review form, as a browser would send them."""
    form = text[text.index('id="review">') : text.index("</form>", text.index('id="review">'))]
    found = dict(re.findall(r'<input[^>]*name="(\w+)" value="([^"]*)"', form))
    area = re.search(r"<textarea[^>]*>\n?(.*?)</textarea>", form, re.DOTALL)
    found["answer"] = area[1] if area else ""
    found.pop("csrftoken", None)
    found.pop("again", None)
    return {name: html.unescape(value) for name, value in found.items()}


async def verdict(site: Site, escalation: str, said: str, query: str = "", **given: str) -> Any:
    """Open the page, say something, and send the form."""
    page = (await site.get(f"/escalations/{escalation}{query}")).text
    data = {**fields(page), "by": "ada", "verdict": said, **given}
    return await site.post(f"/escalations/{escalation}/review{query}", data)


# The queue


async def test_the_queue_is_the_command_line_s_queue(copied: Path) -> None:
    seen: list[str] = []
    url: str | None = "/escalations?status=pending"
    while url is not None:
        text = (await Site(copied).get(url)).text
        seen += listed(text)
        found = re.search(r'rel="next" href="([^"]+)"', text)
        url = found[1].replace("&amp;", "&") if found else None
    with Store.open(copied) as store:
        assert seen == [entry.id for entry in queue(store)]


async def test_pages_of_the_queue_lead_back(copied: Path) -> None:
    first = (await Site(copied).get("/escalations")).text
    after = re.search(r'rel="next" href="([^"]+)"', first)
    assert after is not None
    second = (await Site(copied).get(after[1].replace("&amp;", "&"))).text
    before = re.search(r'rel="prev" href="([^"]+)"', second)
    assert before is not None
    assert listed((await Site(copied).get(before[1].replace("&amp;", "&"))).text) == listed(first)


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ("reason=audit", "reason = 'audit'"),
        ("agent=desk&agreement=yes", "agreement = 1"),
        ("agreement=no&reason=low_confidence", "agreement = 0 AND reason = 'low_confidence'"),
        ("agreement=unknown", "agreement IS NULL"),
        ("label=reference", "label_source = 'reference'"),
        ("status=approved", "review_status = 'approved'"),
        ("frontier=failed", "status = 'failed'"),
    ],
)
async def test_filters_count_what_they_name(copied: Path, query: str, where: str) -> None:
    number = rows(copied, f"SELECT count(*) FROM escalations WHERE {where}")[0][0]
    text = (await Site(copied).get(f"/escalations?{query}")).text
    assert re.search(rf'class="quiet">{number} tasks? that went', text), text[:2000]
    assert len(listed(text)) == min(number, queries.PAGE)


async def test_facets_add_up_to_the_whole(learned: Path) -> None:
    connection = sqlite3.connect(learned)
    connection.row_factory = sqlite3.Row
    found = queries.facets(connection, queries.Filter(agreement="yes"))
    connection.close()
    assert {sum(n for _, n in counts) for counts in found.counts.values()} == {found.total}
    assert dict(found.counts["reason"]) == dict(
        rows(learned, "SELECT reason, count(*) FROM escalations WHERE agreement GROUP BY 1")
    )


async def test_next_and_previous_stay_in_the_filter(copied: Path) -> None:
    query = "?reason=audit&agreement=no"
    ids = listed((await Site(copied).get(f"/escalations{query}")).text)
    text = (await Site(copied).get(f"/escalations/{ids[1]}{query}")).text
    assert f'rel="prev" href="{SITE}/escalations/{ids[0]}?' in text
    assert f'rel="next" href="{SITE}/escalations/{ids[2]}?' in text


# One


async def test_a_page_shows_task_answers_threshold_and_checks(copied: Path) -> None:
    wanted = one(copied, "e.reason = 'low_confidence' AND NOT e.agreement")
    text = (await Site(copied).get(f"/escalations/{wanted}")).text
    assert "known_desk (hard)" in text
    assert "below the threshold" in text
    assert '<tr class="differs">' in text
    assert "--write" in text
    assert "<form" not in text


async def test_the_start_of_an_id_leads_to_it(copied: Path) -> None:
    wanted = one(copied)
    answer = await Site(copied).get(f"/escalations/{wanted[:-2]}")
    assert answer.status_code in {302, 404}  # another may start so as well
    assert (await Site(copied).get("/escalations/nothing")).status_code == 404


async def test_without_write_no_verdict_is_taken(copied: Path) -> None:
    wanted = one(copied)
    answer = await Site(copied).post(f"/escalations/{wanted}/review", {"verdict": "approved"})
    assert answer.status_code == 403
    assert status(copied, wanted) == ("pending", None)


# Verdicts


@pytest.mark.parametrize(
    ("said", "kept"), [("approved", "approved"), ("rejected", "rejected"), ("student", "edited")]
)
async def test_a_verdict_is_kept_and_leads_to_the_next(
    desk: Site, copied: Path, said: str, kept: str
) -> None:
    query = "?reason=low_confidence"
    wanted, following = listed((await desk.get(f"/escalations{query}")).text)[:2]
    answer = await verdict(desk, wanted, said, query, note="looked it up")
    assert answer.status_code == 303
    assert answer.headers["location"].startswith(f"{SITE}/escalations/{following}?reason=")
    assert "journeyman_reviewer=ada" in answer.headers["set-cookie"]
    assert status(copied, wanted) == (kept, "ada")
    with Store.open(copied) as store:
        case = find_case(store, wanted)
    if said == "student":
        assert case.reviewed_output == case.student_output
    assert "looked it up" in {score.explanation for score in case.scores}
    assert wanted in (await desk.get(answer.headers["location"])).text


async def test_an_edited_answer_is_kept_as_the_label(desk: Site, copied: Path) -> None:
    wanted = one(copied)
    answer = await verdict(desk, wanted, "edited", answer='{"desk": "garden"}')
    assert answer.status_code == 303
    with Store.open(copied) as store:
        assert find_case(store, wanted).reviewed_output == {"desk": "garden"}
    text = (await desk.get(f"/escalations/{wanted}")).text
    assert "ada said" in text


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ('{"desk": "garden"', "is not JSON"),
        ('{"desk": NaN}', "NaN is no JSON number"),
        ("[1]", "no JSON object but list"),
        ('{"desk": 7}', "desk: 7 is not of type"),
        ("{}", "&#39;desk&#39; is a required property"),
        ("[" * 100_000, "is not JSON"),
        ("", "is not JSON"),
    ],
)
async def test_a_mistake_keeps_what_was_typed_and_says_what_is_wrong(
    desk: Site, copied: Path, typed: str, said: str
) -> None:
    wanted = one(copied)
    answer = await verdict(desk, wanted, "edited", answer=typed, note="my note")
    assert answer.status_code == 400
    assert said in answer.text or "nested too deeply" in answer.text
    assert fields(answer.text)["answer"] == typed
    assert fields(answer.text)["note"] == "my note"
    assert 'role="alert"' in answer.text
    assert status(copied, wanted) == ("pending", None)


@pytest.mark.parametrize(
    "given", [{"by": " "}, {"verdict": ""}, {"verdict": "perhaps"}, {"seen_status": "approved"}]
)
async def test_a_verdict_that_makes_no_sense_keeps_nothing(
    desk: Site, copied: Path, given: dict[str, str]
) -> None:
    wanted = one(copied)
    answer = await verdict(desk, wanted, **{"said": "approved", **given, **_said(given)})
    assert answer.status_code == 400
    assert status(copied, wanted) == ("pending", None)


def _said(given: dict[str, str]) -> dict[str, str]:
    return {"said": given.pop("verdict")} if "verdict" in given else {}


async def test_two_reviewers_cannot_overwrite_each_other_unknowingly(
    desk: Site, copied: Path
) -> None:
    wanted = one(copied)
    seen = fields((await desk.get(f"/escalations/{wanted}")).text)
    with Store.open(copied) as store:
        review(store, find_case(store, wanted), "rejected", by="grace")
    mine = {**seen, "by": "ada", "verdict": "edited", "answer": '{"desk": "travel"}'}
    late = await desk.post(f"/escalations/{wanted}/review", mine)
    assert late.status_code == 409
    assert "<b>rejected</b> by <b>grace</b>" in late.text
    assert json.loads(fields(late.text)["answer"]) == {"desk": "travel"}
    assert status(copied, wanted) == ("rejected", "grace")

    again = {**fields(late.text), "by": "ada", "verdict": "edited"}
    assert (await desk.post(f"/escalations/{wanted}/review", again)).status_code == 409
    assert status(copied, wanted) == ("rejected", "grace")
    kept = await desk.post(f"/escalations/{wanted}/review", {**again, "again": "yes"})
    assert kept.status_code == 303
    assert status(copied, wanted) == ("edited", "ada")


async def test_a_verdict_that_was_seen_and_then_changed_is_not_replaced(
    desk: Site, copied: Path
) -> None:
    wanted = one(copied)
    with Store.open(copied) as store:
        review(store, find_case(store, wanted), "rejected", by="grace")
        seen = fields((await desk.get(f"/escalations/{wanted}")).text)
        review(store, find_case(store, wanted), "approved", by="joan", again=True)
    mine = {**seen, "by": "ada", "verdict": "rejected", "again": "yes"}
    assert (await desk.post(f"/escalations/{wanted}/review", mine)).status_code == 409
    assert status(copied, wanted) == ("approved", "joan")


async def test_an_answer_without_a_schema_need_only_be_an_object(tmp_path: Path) -> None:
    path = tmp_path / "traces.db"
    record(path, *happened(1))
    site = Site(path, write=True)
    refused = await verdict(site, "escalation-1", "edited", answer="7")
    assert refused.status_code == 400
    kept = await verdict(site, "escalation-1", "edited", answer='{"carrier": "x"}')
    assert kept.status_code == 303


async def test_who_knows_the_sub_agent_holds_an_answer_to_its_type(tmp_path: Path) -> None:
    """As the command line does: places in the text that the answer had before are left out."""
    answer = {
        "values": {"carrier": "post"},
        "spans": [{"field": "carrier", "text": "post", "start": 0, "end": 4}],
    }
    path = tmp_path / "traces.db"
    run, *rest = happened(1)
    escalation = replace(rest[-1], student_output=None, frontier_output=answer)
    record(path, run, *rest[:-1], escalation)
    site = Site(path, write=True)
    site.datasette = make_datasette(
        Source(path, is_live=True), Options(write=True), forms=Answers()
    )
    wrong = await verdict(site, "escalation-1", "edited", answer='{"values": 7}')
    assert wrong.status_code == 400
    assert "values: Input should be" in wrong.text
    edited = json.dumps({**answer, "values": {"carrier": "ferry"}})
    assert (await verdict(site, "escalation-1", "edited", answer=edited)).status_code == 303
    with Store.open(path) as store:
        kept = find_case(store, "escalation-1").reviewed_output
    assert kept["values"] == {"carrier": "ferry"}
    assert kept["spans"] == []


async def test_a_reviewer_s_answer_that_is_the_frontier_s_agrees_as_that_did(
    desk: Site, copied: Path
) -> None:
    wanted = one(copied, "e.reason = 'audit' AND e.agreement = 0")
    with Store.open(copied) as store:
        case = find_case(store, wanted)
    await verdict(desk, wanted, "edited", answer=json.dumps(case.escalation.frontier_output))
    with Store.open(copied) as store:
        scores = {score.name: score.score for score in find_case(store, wanted).scores}
    assert scores["student_agrees"] == 0.0


async def test_who_reviewed_last_is_remembered(desk: Site, copied: Path) -> None:
    page = await desk.get(
        f"/escalations/{one(copied)}", cookies={"journeyman_reviewer": quote("Zoë <b>")}
    )
    assert fields(page.text)["by"] == "Zoë <b>"


async def test_enter_in_a_field_presses_no_verdict(desk: Site, copied: Path) -> None:
    """A form's first button is what Enter presses; here that one is disabled."""
    text = (await desk.get(f"/escalations/{one(copied)}")).text
    form = text[text.index('id="review">') :]
    first = re.search(r"<button[^>]*>", form)
    assert first is not None
    assert "disabled" in first[0]


async def test_a_verdict_on_an_unknown_escalation_is_not_found(desk: Site) -> None:
    assert (await desk.post("/escalations/nope/review", {"verdict": "approved"})).status_code == 404


async def test_an_answer_too_large_for_a_page_is_linked_to(tmp_path: Path) -> None:
    path = tmp_path / "traces.db"
    _, *rest = happened(1, text="x" * 200_000, at=START)
    record(path, *rest)
    with sqlite3.connect(path) as connection:
        connection.execute(
            """UPDATE escalations SET frontier_output_hash =
            (SELECT hash FROM payloads ORDER BY num_bytes DESC LIMIT 1)"""
        )
    text = (await Site(path, write=True).get("/escalations/escalation-1")).text
    assert len(text) < 100_000
    assert "too large to begin from" in text
