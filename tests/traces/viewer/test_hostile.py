"""Whatever a model, a user or an attacker wrote stays text, on every page."""

from __future__ import annotations

import sqlite3
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from journeyman.traces.recorder import Recorder
from journeyman.traces.records import (
    AttemptRecord,
    EscalationRecord,
    RunRecord,
    ScoreRecord,
    SpanRecord,
    SuiteRunRecord,
)
from journeyman.traces.store import Store
from journeyman.traces.viewer.questions import QUESTIONS
from tests.traces.viewer.conftest import SITE, START, Site

HOSTILE = {
    "script": "<script>alert(1)</script><img src=x onerror=alert(2)>",
    "attribute": '" onmouseover="alert(3)" x=\'',
    "template": "{{ 7*7 }}{% raw %}${7*7}<%= 7*7 %>",
    "direction": "abc\u202egnp.exe\u2066x\u061c",
    "control": "a\x00b\x1b[31mred\x07\r\n\x7f\x85",
    "surrogate": "a\ud800b\udfff",
    "long": "x" * 1_000_000,
    "sql": "'; DROP TABLE runs; --",
    "path": "../../a/b?c=d#e%2f%00",
    "link": "javascript:alert(4)",
}

MAX_BYTES = 1024 * 1024


class Checked(HTMLParser):
    """Collects what could run or load in a page."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts: list[str | None] = []
        self.handlers: list[str] = []
        self.targets: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        named = dict(attrs)
        if tag == "script":
            self.scripts.append(named.get("src"))
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        self.targets += [str(named[name]) for name in ("href", "action", "src") if name in named]


def records(text: str) -> list[Any]:
    """A run in which every text is the same one."""
    inner: Any = {text: [text, {"value": text}]}
    return [
        RunRecord(id=text, graph=text, status="error", started_at=START, session_id=text,
                  suite_run_id=text, scenario_id=text, parent_run_id=text, input=inner,
                  output=inner, error_type=text, error_message=text, tags=(text,)),
        SpanRecord(id=text, run_id=text, name=text, kind="LLM", started_at=START, duration_ms=1,
                   agent=text, node=text, status="error", status_message=text, model=text,
                   provider=text, input=inner, output=inner, attributes={text: text}),
        AttemptRecord(id=text, run_id=text, span_id=text, task_id=text, task_key=text, agent=text,
                      release=text, input=inner, output=inner, raw=text, note=text,
                      evidence={text: 0.5},
                      checks=({"name": text, "passed": False, "hard": True, "detail": text},),
                      decision="escalate", reason=text, source="none", answer=text, error=text,
                      created_at=START),
        EscalationRecord(id=text, attempt_id=text, run_id=text, span_id=text, agent=text,
                         reason=text, status="answered", frontier_model=text,
                         student_output=inner, frontier_output={text: text}, error=text,
                         created_at=START),
        ScoreRecord(target_type="run", target_id=text, run_id=text, name=text, label=text,
                    explanation=text, identifier=text, created_at=START),
        SuiteRunRecord(id=text, suite=text, suite_hash=text, config_hash=text, status="failed",
                       started_at=START, label=text, stop_reason=text),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hostile") / "traces.db"
    with Store.open(path) as store, Recorder(store, redact=None) as recorder:
        for text in HOSTILE.values():
            recorder.record(*records(text))
    assert recorder.num_lost == 0
    return path


def addresses(path: Path) -> list[str]:
    """Every page about what is in the store."""
    with sqlite3.connect(path) as connection:
        runs = [row[0] for row in connection.execute("SELECT id FROM runs")]
        hashes = [row[0] for row in connection.execute("SELECT hash FROM payloads")]
    found = ["", "/runs", "/sessions"]
    for run in runs:
        if len(run) > 2_000:  # no server takes such an address
            continue
        part = quote(run, safe="")
        found += [f"/runs/{part}", f"/runs/{part}?span={part}", f"/sessions/{part}"]
        found += [f"/runs?agent={part}", f"/runs?q={part}", f"/runs?graph={part}&session={part}"]
    return found + [f"/payloads/{hashed}" for hashed in hashes]


async def test_hostile_text_stays_text_on_every_page(hostile: Path) -> None:
    site = Site(hostile, write=True)
    for address in addresses(hostile):
        answer = await site.get(address)
        assert answer.status_code in {200, 404}, (address, answer.text[-500:])
        assert len(answer.content) < MAX_BYTES, address
        text = answer.content.decode("utf-8")
        page = Checked()
        page.feed(text)
        assert page.handlers == []
        assert not page.tags & {"img", "iframe", "style", "object", "base"}
        assert all(str(src).startswith(f"{SITE}/static/") for src in page.scripts)
        allowed = ("/", "#", "data:,")
        assert all(t.startswith(allowed) and not t.startswith("//") for t in page.targets), address
        assert not set("\u202e\u2066\u061c\x00\x1b\x07") & set(text), address


async def test_every_page_about_a_run_with_hostile_names_opens(hostile: Path) -> None:
    site = Site(hostile)
    part = quote(HOSTILE["script"], safe="")
    answer = await site.get(f"/runs/{part}?span={part}")
    assert answer.status_code == 200
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in answer.text
    path = quote(HOSTILE["path"], safe="")
    assert (await site.get(f"/runs/{path}")).status_code == 200


async def test_direction_and_control_characters_are_shown_for_what_they_are(hostile: Path) -> None:
    text = (await Site(hostile).get("/runs")).text
    assert "abc\\u202egnp.exe" in text
    assert "␛[31mred" in text


async def test_datasette_s_pages_escape_as_well(hostile: Path) -> None:
    site = Site(hostile)
    for table in ("runs", "attempts", *QUESTIONS):
        text = (await site.datasette.client.get(f"/traces/{table}?_size=5")).text
        assert "<script>alert(1)" not in text
        assert "<img src=x" not in text


async def test_content_that_is_no_utf8_or_no_json_breaks_no_page(filled: Path) -> None:
    with sqlite3.connect(filled) as connection:
        connection.execute("UPDATE payloads SET content = CAST(x'7bfffe00' AS TEXT)")
        connection.execute("UPDATE attempts SET evidence = '[1', checks = 'null', agent = x'ff'")
        connection.execute("UPDATE runs SET tags = '3', started_at = 'yesterday'")
        connection.execute("UPDATE spans SET attributes = '7', started_at = 'never'")
    site = Site(filled)
    for address in addresses(filled)[:60]:
        answer = await site.get(address)
        assert answer.status_code < 500, (address, answer.text[-800:])


names = st.sampled_from(
    ["q", "agent", "status", "since", "until", "before", "after", "page", "span", "days", "offset",
     "escalated", "starred", "session", "graph", "reason", "source"]
)  # fmt: skip


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.sampled_from(["", "/runs", f"/runs/{1:032x}", "/sessions", "/sessions/thread-1"]),
    st.dictionaries(names, st.text(max_size=40) | st.integers().map(str), max_size=5),
)
async def test_no_query_string_breaks_a_page(site: Site, path: str, query: dict[str, str]) -> None:
    pairs = "&".join(f"{k}={quote(v, errors='replace')}" for k, v in query.items())
    answer = await site.get(f"{path}?{pairs}")
    assert answer.status_code < 500
