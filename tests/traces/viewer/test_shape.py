"""Every page that a link leads to opens, and is built so that anybody can use it."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from journeyman.traces.viewer import routes
from tests.traces.viewer.conftest import SITE, Site
from tests.traces.viewer.test_hostile import HOSTILE, Checked

MAX_OF_A_KIND = 2
"""Pages of one pattern that are opened."""

VOID = {"meta", "link", "input", "br", "rect", "line", "circle", "polyline", "img", "hr"}


class Shape(HTMLParser):
    """What is in a page, as far as it matters to those who cannot see it."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.counts: Counter[str] = Counter()
        self.ids: Counter[str] = Counter()
        self.problems: list[str] = []
        self._open: list[tuple[str, set[str]]] = []
        self._label_depth = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.counts[tag] += 1
        if given.get("id"):
            self.ids[str(given["id"])] += 1
        if self._open:
            self._open[-1][1].add(tag)
        if tag == "a" and str(given.get("href")).startswith(SITE):
            self.links.append(unescape(str(given["href"])))
        if tag in {"input", "select", "textarea"} and given.get("type") != "hidden":
            inside = any(name == "label" for name, _ in self._open)
            if not inside and not given.get("id"):
                self.problems.append(f"{tag} {given.get('name')} has no label")
        if tag == "th" and "scope" not in given:
            self.problems.append("a header cell without a scope")
        if tag == "svg" and given.get("role") != "img":
            self.problems.append("a picture without a role")
        if "style" in given:
            self.problems.append(f"{tag} has a style of its own")
        if tag not in VOID:
            self._open.append((tag, set()))

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        name, inside = self._open.pop()
        if name != tag:
            self.problems.append(f"<{name}> is closed by </{tag}>")
        if tag == "svg" and "title" not in inside:
            self.problems.append("a picture without a title")
        if tag == "thead" and "tr" not in inside:
            self.problems.append("an empty head of a table")
        if tag == "table" and "thead" not in inside:
            self.problems.append("a table without header cells")
        if self._open:
            self._open[-1][1].update(inside - {"title"})


def pattern_of(url: str) -> str:
    """Which page an address belongs to, roughly: its path without ids, and names of its query."""
    path, _, query = url.removeprefix(SITE).partition("#")[0].partition("?")
    kind = "/".join(path.split("/")[:2]) + ("/*" if path.count("/") > 1 else "")
    return f"{kind}?{','.join(sorted(part.partition('=')[0] for part in query.split('&')))}"


async def crawl(site: Site) -> dict[str, Any]:
    """Answers of every page that can be reached, some of each kind."""
    waiting = [SITE + page.path for page in routes.PAGES if page.label]
    seen: dict[str, Any] = {}
    kinds: Counter[str] = Counter()
    while waiting:
        url = waiting.pop(0).partition("#")[0]
        kind = pattern_of(url)
        if url in seen or kinds[kind] >= MAX_OF_A_KIND or "/raw" in url:
            continue
        kinds[kind] += 1
        seen[url] = await site.get(url)
        shape = Shape()
        shape.feed(seen[url].text)
        waiting += shape.links
    return seen


async def test_every_link_leads_to_a_page_that_anybody_can_use(learned: Path) -> None:
    seen = await crawl(Site(learned, write=True))
    kinds = {pattern_of(url).partition("?")[0] for url in seen}
    assert kinds >= {"/escalations/*", "/agents/*", "/suites/*", "/rounds/*", "/releases/*"}
    for url, answer in seen.items():
        assert answer.status_code == 200, url
        shape = Shape()
        shape.feed(answer.text)
        assert shape.problems == [], url
        assert shape.counts["h1"] == 1, url
        assert [name for name, number in shape.ids.items() if number > 1] == [], url


# Whatever is in the columns

KEYS = {"id", "run_id", "attempt_id", "agent", "suite_run_id", "scenario_id", "release",
        "release_id", "certificate_id", "hash", "key", "value", "content", "version_num",
        "started_at", "created_at", "name"}  # fmt: skip
"""Columns that say where a row belongs; poisoned as well, they would only hide it."""


def poison(path: Path, text: str) -> None:
    """The same hostile text in every other column that takes any."""
    connection = sqlite3.connect(path)
    connection.create_function("hostile", 0, lambda: text)
    tables = [row[0] for row in connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '%search%' "
        "AND name NOT IN ('schema_version', 'schema_info', 'payloads')")]  # fmt: skip
    for table in tables:
        for column in connection.execute(f"PRAGMA table_info({table})").fetchall():
            name, kind = column[1], column[2].upper()
            if kind == "TEXT" and name not in KEYS and not name.endswith(("_hash", "_key")):
                connection.execute(f"UPDATE OR IGNORE {table} SET {name} = ?", [text])
    connection.execute("UPDATE payloads SET content = ?", [json.dumps({text: [text, {text: 1}]})])
    connection.commit()
    connection.close()


@pytest.mark.parametrize("name", ["script", "attribute", "template", "direction", "sql", "path"])
async def test_hostile_text_in_every_column_stays_text(copied: Path, name: str) -> None:
    connection = sqlite3.connect(copied)
    wanted = [f"/{page}/{row[0].replace('@', '%40')}" for page, sql in {
        "escalations": "SELECT id FROM escalations ORDER BY reason LIMIT 2",
        "suites": "SELECT id FROM suite_runs",
        "rounds": "SELECT id FROM rounds",
        "releases": "SELECT id FROM releases",
    }.items() for row in connection.execute(sql)]  # fmt: skip
    connection.close()
    poison(copied, HOSTILE[name])
    site = Site(copied, write=True)
    pages = ["", "/escalations", "/agents", "/agents/desk", "/agents/desk?max_error=0.1",
             "/suites", "/rounds", "/releases", "/suites/compare?a=1&b=2",
             f"{wanted[2]}?scenario=worse", *wanted]  # fmt: skip
    shown = ""
    for page in pages:
        answer = await site.get(page)
        assert answer.status_code < 500, (page, answer.text[-600:])
        text = answer.content.decode("utf-8")
        checked = Checked()
        checked.feed(text)
        assert checked.handlers == [], page
        assert not checked.tags & {"img", "iframe", "style", "object", "base"}, page
        assert all(str(src).startswith(f"{SITE}/static/") for src in checked.scripts), page
        allowed = ("/", "#", "data:,")
        assert all(t.startswith(allowed) and not t.startswith("//") for t in checked.targets), page
        assert not set("\u202e\u2066\u061c") & set(text), page
        shown += text
    assert name != "script" or shown.count("&lt;script&gt;alert(1)") > 50


QUERIES = ("before=&after=3~x~y", "after=9~~", "before=~", "page=99999999999999999999", "page=-1",
           "agent=%00", "reason=%ff", "scenario=%F0%9F", "outcome=x&tag=y&q=%25", "release=%27",
           "evidence=nothing", "max_error=1e400", "max_error=0.1&kind=%00", "a=%27&b=%22",
           "change=x", "done=%3Cscript%3E", "status=x&agreement=y&label=%27")  # fmt: skip


@pytest.mark.parametrize("query", QUERIES)
async def test_no_query_string_breaks_a_page(learned: Path, query: str) -> None:
    site = Site(learned)
    with sqlite3.connect(learned) as connection:
        case = connection.execute("SELECT id FROM escalations").fetchone()[0]
    for page in ("/escalations", f"/escalations/{case}", "/agents", "/agents/desk", "/suites",
                 "/suites/11111111-suite", "/suites/compare", "/rounds", "/releases"):  # fmt: skip
        answer = await site.get(f"{page}?{query}")
        assert answer.status_code < 500, (page, query)
        assert "<script>" not in answer.text
