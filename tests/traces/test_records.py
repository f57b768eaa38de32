"""Ids are well-formed, unique, and ordered where they promise it."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

import pytest

from journeyman.traces.payloads import digest, encode, preview
from journeyman.traces.records import new_id, new_span_id, new_trace_id


def test_run_and_span_ids_are_those_of_opentelemetry() -> None:
    assert re.fullmatch(r"[0-9a-f]{32}", new_trace_id())
    assert re.fullmatch(r"[0-9a-f]{16}", new_span_id())


def test_other_ids_are_uuids_in_order_of_time() -> None:
    ids = [new_id() for _ in range(2000)]
    assert len(set(ids)) == 2000
    assert {uuid.UUID(text).version for text in ids} == {7}
    assert {uuid.UUID(text).variant for text in ids} == {uuid.RFC_4122}
    times = [uuid.UUID(text).int >> 64 for text in ids]
    assert times == sorted(times)


def test_equal_values_have_equal_hashes() -> None:
    assert digest(encode({"b": (1, 2), "a": None})) == digest(encode({"a": None, "b": [1, 2]}))
    assert digest(encode(1)) != digest(encode("1"))


@pytest.mark.parametrize("depth", [100, 700, 100_000])
@pytest.mark.parametrize("leaf", [1.0, float("nan")])
def test_any_depth_is_encoded_as_json(depth: int, leaf: float) -> None:
    value: Any = leaf
    for _ in range(depth):
        value = [value]
    json.loads(encode(value))


def test_a_preview_is_one_short_line() -> None:
    assert preview(None) is None
    assert preview({"text": " two\nlines "}) == "two lines"
    assert preview({"a": 1, "b": [2]}) == '{"a":1,"b":[2]}'
    line = preview("x" * 1000)
    assert line is not None
    assert len(line) == 200
    assert line.endswith("…")
