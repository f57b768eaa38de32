"""What the pages show, and that their state is in the address."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from datasette.app import Datasette

from journeyman.models.errors import QueryTooSlow
from journeyman.traces.recorder import Recorder
from journeyman.traces.store import Store
from journeyman.traces.viewer import rendering, routes
from journeyman.traces.viewer.options import Options
from journeyman.traces.viewer.queries import runs as queries
from journeyman.traces.viewer.queries.overview import Cost
from journeyman.traces.viewer.questions import QUESTIONS
from journeyman.traces.viewer.visible import MAX_CHARS
from journeyman.traces.viewer.visit import Visit
from tests.traces.viewer.conftest import SITE, Site, happened, run_id, span_id

NUM_RUNS = 120


def runs_in(text: str) -> list[str]:
    """Ids of the runs that a list links to, in its order."""
    return re.findall(r'href="/-/journeyman/runs/([0-9a-f]{32})[^"]*" class="open"', text)


def link(text: str, rel: str) -> str | None:
    found = re.search(rf'rel="{rel}" href="([^"]+)"', text)
    return found[1].replace("&amp;", "&") if found else None


@pytest.mark.parametrize("page", [page for page in routes.PAGES if page.label])
async def test_every_page_of_the_navigation_opens(site: Site, page: Any) -> None:
    answer = await site.get(page.path)
    assert answer.status_code == 200
    assert f'aria-current="page">{page.label}<' in answer.text


async def test_the_overview_says_who_answered_and_what_it_saved(site: Site) -> None:
    text = (await site.get("")).text
    assert "<dd>50.0%</dd>" in text
    assert "<dd>$0.1200</dd>" in text
    assert "50.0% less than the frontier alone" in text
    assert "low confidence" in text


async def test_the_overview_of_an_empty_store_says_what_to_do(tmp_path: Path) -> None:
    Store.open(tmp_path / "empty.db").close()
    answer = await Site(tmp_path / "empty.db").get("")
    assert answer.status_code == 200
    assert "journeyman demo" in answer.text


async def test_pages_of_the_list_hold_every_run_once_and_lead_back(site: Site) -> None:
    seen, url, pages = [], "/-/journeyman/runs", []
    while url is not None:
        text = (await site.get(url)).text
        pages.append(text)
        seen += runs_in(text)
        url = link(text, "next")
    assert seen == [run_id(number) for number in reversed(range(NUM_RUNS))]
    back = (await site.get(link(pages[-1], "prev"))).text
    assert runs_in(back) == runs_in(pages[-2])


@pytest.mark.parametrize(
    ("query", "number"),
    [
        ("source=student", 60),
        ("source=frontier&agent=extraction", 60),
        ("agent=nobody", 0),
        ("reason=low_confidence", 60),
        ("escalated=no", 60),
        ("session=thread-0", 40),
        ("since=2026-03-02&until=2026-03-03", 48),
        ("q=question+7+parcels", 1),
        ("q=ferry", 0),
        ("starred=yes", 0),
    ],
)
async def test_a_filter_counts_what_it_shows(site: Site, query: str, number: int) -> None:
    text = (await site.get(f"/runs?{query}")).text
    assert f"{number:,} run" in text
    assert len(runs_in(text)) == min(number, 50)


def test_counts_of_a_large_store_are_of_its_newest_runs(template: Path) -> None:
    with sqlite3.connect(template) as connection:
        found = queries.facets(connection, queries.Filter(), limit=10)
    assert (found.num_runs, found.is_more) == (10, True)
    assert dict(found.counts["status"]) == {"ok": 10}


async def test_search_takes_the_syntax_of_its_index_as_words(site: Site) -> None:
    odd = ("\0", '"', "NOT", "a AND", "input:x", "(", "*", "^a", "-parcels", "'; DROP TABLE runs")
    for words in odd:
        assert (await site.get("/runs", params={"q": words})).status_code == 200


async def test_neighbours_stay_in_the_filter(site: Site) -> None:
    text = (await site.get(f"/runs/{run_id(51)}?source=frontier")).text
    assert run_id(53) in (link(text, "prev") or "")
    assert run_id(49) in (link(text, "next") or "")
    assert "source=frontier" in (link(text, "next") or "")


async def test_the_answers_stand_side_by_side_and_their_difference_is_marked(site: Site) -> None:
    text = (await site.get(f"/runs/{run_id(7)}")).text
    row = re.search(r'<tr class="differs">.*?</tr>', text, re.DOTALL)
    assert row is not None
    assert "carrier" in row[0]
    assert "ferry" in row[0]
    assert "post" in row[0]
    assert "1 field is the same" in text


async def test_spans_stand_under_the_one_that_they_are_in(site: Site) -> None:
    text = (await site.get(f"/runs/{run_id(7)}")).text
    names = re.findall(r'<th scope="row" class="depth-(\d+)"><a[^>]*>([^<]+)', text)
    assert names == [("0", "journeyman"), ("1", "attempt tagger")]


async def test_a_span_opens_by_its_link_and_shows_no_content_before(site: Site) -> None:
    closed = (await site.get(f"/runs/{run_id(8)}")).text
    opened = (await site.get(f"/runs/{run_id(8)}?span={span_id(8, 1)}")).text
    assert 'id="span"' not in closed
    assert 'id="span"' in opened
    assert "&#34;seed&#34;: 1" in opened


async def test_the_start_of_an_id_leads_to_its_run(filled: Path) -> None:
    with sqlite3.connect(filled) as connection:
        connection.execute("UPDATE runs SET id = 'fedcba' || substr(id, 7) WHERE id = ?",
                           [run_id(3)])  # fmt: skip
    answer = await Site(filled).get("/runs/fedc?agent=x")
    assert answer.status_code == 302
    assert answer.headers["location"].startswith(f"{SITE}/runs/fedcba")
    assert answer.headers["location"].endswith("?agent=x")


@pytest.mark.parametrize(
    "path", ["/runs/ffff", "/sessions/none", "/payloads/sha256:0", "/static/none.css", "/nothing"]
)
async def test_what_is_not_there_is_not_found(site: Site, path: str) -> None:
    assert (await site.get(path)).status_code == 404


async def test_a_payload_is_read_in_parts_and_saved_whole(filled: Path) -> None:
    with Store.open(filled) as store, Recorder(store) as recorder:
        recorder.record(*happened(900, text="x" * 250_000 + "END"))
    with sqlite3.connect(filled) as connection:
        query = "SELECT hash FROM payloads ORDER BY num_bytes DESC LIMIT 1"
        (hashed,) = connection.execute(query).fetchone()
    site = Site(filled)
    first = (await site.get(f"/payloads/{hashed}")).text
    assert "END" not in first
    second = (await site.get(link(first, "next") or "")).text
    last = (await site.get(link(second, "next") or "")).text
    assert "END" in last
    saved = await site.get(f"/payloads/{hashed}/raw")
    assert saved.headers["content-disposition"].startswith("attachment")
    assert "END" in saved.text


@pytest.mark.parametrize("path", ["/sessions?page=", f"/runs/{run_id(7)}?page="])
async def test_a_page_with_thousands_of_digits_is_the_last_one(site: Site, path: str) -> None:
    assert (await site.get(path + "9" * 5_000)).status_code == 200


async def test_a_session_shows_its_turns_in_order(site: Site) -> None:
    text = (await site.get("/sessions/thread-1")).text
    first, second = text.index("question 1 about"), text.index("question 4 about")
    assert first < second


async def test_a_star_is_kept_and_taken_away(filled: Path) -> None:
    site = Site(filled, write=True)
    path = f"/runs/{run_id(5)}/star"
    answer = await site.post(path, {"star": "yes", "back": f"{SITE}/runs?agent=extraction"})
    assert (answer.status_code, answer.headers["location"]) == (
        303,
        f"{SITE}/runs?agent=extraction",
    )
    assert runs_in((await site.get("/runs?starred=yes")).text) == [run_id(5)]
    await site.post(path, {"star": "no"})
    assert runs_in((await site.get("/runs?starred=yes")).text) == []


@pytest.mark.parametrize("back", ["https://evil.example", "//evil.example", "/\\evil", SITE + "x"])
async def test_a_form_leads_to_the_viewer_alone(filled: Path, back: str) -> None:
    site = Site(filled, write=True)
    answer = await site.post(f"/runs/{run_id(5)}/star", {"star": "yes", "back": back})
    assert answer.headers["location"] == f"{SITE}/runs"


async def test_nothing_is_written_unless_it_was_allowed(filled: Path) -> None:
    site = Site(filled)
    answer = await site.post(f"/runs/{run_id(5)}/star", {"star": "yes"})
    assert answer.status_code == 403
    assert "--write" in answer.text
    assert "<button" not in (await site.get(f"/runs/{run_id(5)}")).text


async def test_rows_that_are_still_in_the_log_show(filled: Path) -> None:
    site = Site(filled)
    before = (await site.get("/runs")).text
    with Store.open(filled) as store, Recorder(store) as recorder:
        recorder.record(*happened(700))
        assert recorder.wait(run_id(700))
        assert filled.with_name("traces.db-wal").stat().st_size > 0
        after = (await site.get("/runs")).text
    assert run_id(700) not in before
    assert runs_in(after)[0] == run_id(700)


async def test_a_run_of_thousands_of_spans_is_shown_in_pages(filled: Path) -> None:
    run, top, inner, *_ = happened(600)
    many = [replace(inner, id=span_id(600, 10 + i)) for i in range(1_200)]
    with Store.open(filled) as store, Recorder(store) as recorder:
        recorder.record(run, top, *many)
    site = Site(filled)
    first = (await site.get(f"/runs/{run_id(600)}")).text
    assert first.count("<tr data-row") == 500
    assert "page 1 of 3" in first
    asked = (await site.get(f"/runs/{run_id(600)}?span={span_id(600, 1_100)}")).text
    assert "page 3 of 3" in asked
    assert 'aria-current="true"' in asked


async def test_another_schema_is_refused_with_what_to_do(filled: Path) -> None:
    with sqlite3.connect(filled) as connection:
        connection.execute("UPDATE schema_version SET version_num = '9999_later'")
    answer = await Site(filled).get("")
    assert answer.status_code == 409
    assert "journeyman db migrate" in answer.text


async def test_databases_of_others_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE schema_info (key TEXT, value TEXT)")
        connection.execute("CREATE TABLE t (run_id TEXT)")
        connection.execute("INSERT INTO t VALUES ('abc')")
    site = Site(path)
    assert (await site.get("")).status_code == 404
    answer = await site.datasette.client.get("/other/t", headers={"host": "anything.example"})
    assert answer.status_code == 200
    assert "journeyman/runs" not in answer.text
    assert "x-frame-options" not in answer.headers


async def test_tables_below_link_to_the_viewer(site: Site) -> None:
    text = (await site.datasette.client.get("/traces/attempts")).text
    assert f'href="{SITE}/runs/{run_id(3)}"' in text
    assert "surely_wrong" in (await site.datasette.client.get("/traces")).text


async def test_every_named_question_answers(site: Site) -> None:
    for name in QUESTIONS:
        answer = await site.datasette.client.get(f"/traces/{name}.json?_shape=array")
        assert answer.status_code == 200, answer.text


async def test_a_query_that_takes_too_long_is_given_up(template: Path) -> None:
    site = Site(template, time_limit_ms=50)
    numbers = "SELECT 1 UNION ALL SELECT x + 1 FROM n"
    endless = f"WITH RECURSIVE n (x) AS ({numbers}) SELECT sum(x) FROM n"
    visit = Visit(
        datasette=site.datasette,
        request=None,
        database=site.datasette.get_database("traces"),
        options=Options(time_limit_ms=50),
    )
    with pytest.raises(QueryTooSlow, match="narrow the filter"):
        await visit.read(lambda connection: connection.execute(endless).fetchall())
    assert await visit.read(lambda connection: connection.execute("SELECT 1").fetchone()[0]) == 1


async def test_datasette_s_own_permissions_hold_for_the_pages(template: Path) -> None:
    closed = {"databases": {"traces": {"allow": {"id": "somebody"}}}}
    datasette = Datasette(files=[str(template)], metadata=closed)
    assert (await datasette.client.get(f"{SITE}/runs")).status_code == 403


def test_what_a_form_hands_back_is_never_cut() -> None:
    for template in (rendering.HERE / "templates").glob("*.html"):
        areas = re.findall(
            r"<textarea.*?</textarea>", template.read_text(encoding="utf-8"), re.DOTALL
        )
        assert all("|whole" in area for area in areas if "{{" in area), template.name


def test_a_long_text_is_as_long_as_its_template_says() -> None:
    """What is not said to be `whole` is cut, at less than the template wanted of it."""
    for template in (rendering.HERE / "templates").glob("*.html"):
        found = re.findall(r"truncate\((\d+)\)([^}]*)", template.read_text(encoding="utf-8"))
        short = [size for size, rest in found if "|whole" not in rest]
        assert all(int(size) <= MAX_CHARS for size in short), template.name


def test_answers_without_a_price_are_not_told_as_savings() -> None:
    assert Cost(spent_microusd=25, frontier_only_microusd=100.0, num_unpriced=0).saving == 0.75
    assert Cost(spent_microusd=25, frontier_only_microusd=100.0, num_unpriced=9).saving is None
