"""No request breaks a page, whatever stands in its address, its query, its form or its method.

The routes have no schema that a fuzzer of APIs could read, so that this draws requests from the
table of pages itself: every route, with ids that are on record and ids that are not.
"""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_from_bytes

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from journeyman.cli.reviewing import Answers
from journeyman.traces.viewer.app import make_datasette
from journeyman.traces.viewer.options import Options
from journeyman.traces.viewer.routes import PAGES
from journeyman.traces.viewer.source import Source
from tests.traces.viewer.conftest import SITE

IDS = {
    "run": "SELECT id FROM runs UNION SELECT id FROM suite_runs",
    "session": "SELECT DISTINCT session_id FROM runs WHERE session_id IS NOT NULL",
    "escalation": "SELECT id FROM escalations",
    "agent": "SELECT DISTINCT agent FROM attempts",
    "round": "SELECT id FROM rounds",
    "release": "SELECT id FROM releases",
    "hash": "SELECT hash FROM payloads",
}
NAMES = (
    "q", "agent", "status", "since", "until", "before", "after", "page", "span", "days", "offset",
    "escalated", "starred", "session", "graph", "reason", "source", "suite", "suite_run", "a", "b",
    "scenario", "outcome", "tag", "id", "release", "evidence", "max_error", "delta", "kind",
    "audit_rate", "review", "agreement", "done", "by", "note", "answer", "verdict", "seen_status",
    "seen_at", "again", "star", "back", "round", "_size", "_sort", "token",
)  # fmt: skip
ODD = (
    "", " ", "0", "-1", "1e309", "nan", "inf", "99999999999999999999", "0x10", "½", "٣", "true",
    "null", "[]", "{}", '{"desk": "garden"}', "[" * 2_000, "\x00", "\ud800", "\u202e", "%", "%00",
    "%%", "_", "*", '"', "'", "';--", "NEAR(", 'a" OR "b', "AND", "..", "../../etc/passwd", "/",
    "~", "2026-13-45", "2026-03-01", "0000-00-00", "9999-12-31T99:99:99Z~x", "yes", "no",
    "pending", "joint", "selective", "approved", "edited", "student", "rejected",
    "http://evil.example/",
)  # fmt: skip

text = st.sampled_from(ODD) | st.text(max_size=60)
METHODS = ("GET", "GET", "GET", "HEAD", "POST", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
GROUP = re.compile(r"\(\?P<(\w+)>.*?\)(?=/|$)")


@pytest.fixture(scope="module")
def target(learned: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[str, Any]]:
    """A viewer in which everything is allowed, and the ids that are on record there."""
    path = tmp_path_factory.mktemp("fuzzed") / "traces.db"
    path.write_bytes(learned.read_bytes())
    with sqlite3.connect(path) as connection:
        known = {
            name: [str(row[0]) for row in connection.execute(f"{query} LIMIT 20")]
            for name, query in IDS.items()
        }
    shown = Source(path, is_live=True)
    options = Options(write=True, time_limit_ms=5_000)
    return make_datasette(shown, options, allow_sql=True, forms=Answers()), known


def quoted(value: str) -> str:
    return quote(value.encode("utf-8", "surrogatepass"), safe="")


@st.composite
def queries(draw: st.DrawFn, known: dict[str, list[str]]) -> str:
    everything = [value for values in known.values() for value in values]
    values = text | st.sampled_from(everything)
    pairs = draw(st.lists(st.tuples(st.sampled_from(NAMES) | text, values), max_size=6))
    return "&".join(f"{quoted(name)}={quoted(value)}" for name, value in pairs)


FORM = {
    "verdict": ("approved", "student", "edited", "rejected"),
    "seen_status": ("pending",),
    "by": ("Ada",),
    "answer": ('{"desk": "garden"}', "{"),
    "again": ("yes",),
    "star": ("yes", "no"),
}
"""What a form of ours holds."""


@st.composite
def forms(draw: st.DrawFn) -> bytes:
    """A form as it ought to be, but for at most two fields."""
    fields = {name: draw(st.sampled_from(good)) for name, good in FORM.items()}
    for name in draw(st.lists(st.sampled_from(tuple(FORM)), max_size=2)):
        fields.pop(name, None)
        if draw(st.booleans()):
            fields[name] = draw(text)
    return "&".join(f"{name}={quoted(value)}" for name, value in fields.items()).encode()


def _address(data: st.DataObject, pattern: str, known: dict[str, list[str]]) -> str:
    def part(match: re.Match[str]) -> str:
        ids = known.get(match[1]) or ["viewer.css"]
        if data.draw(st.booleans(), label="on record"):
            return quoted(data.draw(st.sampled_from(ids)))
        if data.draw(st.booleans(), label="as bytes"):
            return quote_from_bytes(data.draw(st.binary(min_size=1, max_size=40)), safe="")
        return quoted(data.draw(text)) or "x"

    return GROUP.sub(part, pattern)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path or "/")
@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
async def test_no_request_breaks_a_page(
    page: Any, target: tuple[Any, dict[str, Any]], data: st.DataObject
) -> None:
    datasette, known = target
    method = data.draw(st.sampled_from(("POST",) if page.writes else METHODS))
    address = f"{SITE}{_address(data, page.path, known)}?{data.draw(queries(known))}"
    content = b""
    if method in {"POST", "PUT", "PATCH"}:
        anything = queries(known).map(str.encode) | st.binary(max_size=200)
        content = data.draw(forms() | forms() | anything)
    headers = {"content-type": "application/x-www-form-urlencoded"}
    if data.draw(st.booleans(), label="from a page of ours"):
        headers |= {"origin": "http://localhost", "sec-fetch-site": "same-origin"}
    answer = await datasette.client.request(method, address, content=content, headers=headers)
    assert answer.status_code < 500, answer.text[-2_000:]
    assert answer.headers["x-frame-options"] == "DENY"
    if not page.writes and method not in {"GET", "HEAD", "OPTIONS"}:
        assert answer.status_code in {400, 403, 404, 405, 411}
