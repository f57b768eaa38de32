"""Runs reach an OpenTelemetry collector whole and without content, and its trouble is its own."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.trace import ProxyTracerProvider

from journeyman.graph.clients import forwarder_from
from journeyman.graph.orchestrator import create_orchestrator
from journeyman.graph.settings import OtlpSettings
from journeyman.graph.state import Context, Task
from journeyman.models.errors import ConfigError
from journeyman.traces.otlp import OtlpForwarder, otlp_json
from journeyman.traces.payloads import HIDDEN
from journeyman.traces.reads import RunTrace, SpanNode
from journeyman.traces.recorder import Recorder
from journeyman.traces.records import RunRecord, SpanRecord, new_span_id, new_trace_id
from journeyman.traces.store import Store
from tests.graph.conftest import ScriptedFrontier
from tests.graph.triage import KeywordStudent, Triage

SECRET = "sk-abcdefghijklmnopqrstuvwx0123"
ASKED = "the tills are down in Utrecht"
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


class Collector:
    """Stands in for an OTLP collector: parses what it gets with the official definitions."""

    def __init__(self, status: int, pause: float) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.bodies = b""
        collector = self

        class Endpoint(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                time.sleep(pause)
                if status == 200:
                    collector.requests.append(ExportTraceServiceRequest.FromString(body))
                    collector.headers.append(dict(self.headers))
                    collector.paths.append(self.path)
                    collector.bodies += body
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


@contextmanager
def collecting(status: int = 200, pause: float = 0.0) -> Iterator[Collector]:
    collector = Collector(status, pause)
    thread = threading.Thread(target=collector.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        collector.server.shutdown()
        collector.server.server_close()
        thread.join()


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector that takes everything."""
    with collecting() as opened:
        yield opened


def ask(
    target: Path | str, forward: OtlpForwarder, *, frontier: ScriptedFrontier | None = None
) -> str:
    """One escalated task through the real graph; the run's id."""
    frontier = frontier or ScriptedFrontier({"severity": "high"})
    with Store.open(target) as store, Recorder(store, forward=forward) as recorder:
        graph = create_orchestrator([Triage(KeywordStudent())], frontier, store=recorder)
        given = {"tasks": [Task(agent="triage", input={"text": ASKED})]}
        config: Any = {"configurable": {"thread_id": "thread-7"}}
        context = Context(on_frontier_failure="return_uncertified")
        result = asyncio.run(graph.ainvoke(given, config, context=context))  # type: ignore[call-overload]
    return str(result["run_id"])


def told(span: Span) -> dict[str, Any]:
    """Attributes of a span as plain values."""
    return {
        item.key: getattr(item.value, item.value.WhichOneof("value") or "string_value")
        for item in span.attributes
    }


def finished(**changes: Any) -> tuple[RunRecord, SpanRecord]:
    """A run that ended, and its only span."""
    run_id, span_id = new_trace_id(), new_span_id()
    run = RunRecord(id=run_id, graph="g", status="ok", started_at=NOON, ended_at=NOON)
    given: dict[str, Any] = {
        "name": "g",
        "kind": "CHAIN",
        "started_at": NOON,
        "duration_ms": 1.5,
    } | changes
    return run, SpanRecord(id=span_id, run_id=run_id, **given)


def test_a_whole_run_arrives_with_its_ids_parents_kinds_and_times(
    collector: Collector, target: Path | str
) -> None:
    run_id = ask(target, OtlpForwarder(collector.url))
    with Store.open(target) as store:
        recorded = store.run(run_id)
    (root,) = recorded.spans
    (agent,) = root.children
    expected = {node.span.id: node.span for node in (root, agent, *agent.children)}
    assert len(expected) == 4
    assert {span.span_id.hex() for span in collector.spans} == set(expected)
    for span in collector.spans:
        kept = expected[span.span_id.hex()]
        assert span.trace_id.hex() == run_id
        assert span.parent_span_id.hex() == (kept.parent_id or "")
        assert span.name == kept.name
        nanoseconds = (kept.started_at - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(
            microseconds=1
        )
        assert span.start_time_unix_nano == round(nanoseconds) * 1_000
        length = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6
        assert length == pytest.approx(kept.duration_ms, abs=0.001)
        assert span.status.code == Status.STATUS_CODE_UNSET
    kinds = {span.name.split()[0]: span.kind for span in collector.spans}
    assert kinds["chat"] == Span.SPAN_KIND_CLIENT
    assert kinds["invoke_agent"] == kinds["attempt"] == Span.SPAN_KIND_INTERNAL
    assert set(collector.paths) == {"/v1/traces"}


def test_spans_bear_the_names_of_the_conventions(collector: Collector, target: Path | str) -> None:
    ask(target, OtlpForwarder(collector.url))
    facts = {told(span)["gen_ai.operation.name"]: told(span) for span in collector.spans}
    assert set(facts) == {"invoke_workflow", "invoke_agent", "attempt", "chat"}
    assert {fact["gen_ai.conversation.id"] for fact in facts.values()} == {"thread-7"}
    assert facts["invoke_workflow"]["gen_ai.workflow.name"] == "journeyman"
    assert facts["invoke_workflow"]["journeyman.num_escalations"] == 1
    agent = facts["invoke_agent"]
    assert agent["gen_ai.agent.name"] == "triage"
    assert agent["gen_ai.agent.id"] == agent["journeyman.release"]
    assert agent["journeyman.escalation.reason"] == "uncertified"
    assert agent["journeyman.decision"] == "escalate"
    chat = facts["chat"]
    assert chat["gen_ai.provider.name"] == "test"
    assert chat["gen_ai.request.model"] == chat["gen_ai.response.model"] == "scripted"
    assert (chat["gen_ai.usage.input_tokens"], chat["gen_ai.usage.output_tokens"]) == (10, 5)
    assert chat["journeyman.cost_microusd"] == 7
    assert chat["openinference.span.kind"] == "LLM"
    assert "gen_ai.usage.input_tokens" not in facts["attempt"]


def test_no_content_leaves_unless_asked_for(collector: Collector, target: Path | str) -> None:
    ask(target, OtlpForwarder(collector.url))
    assert len(collector.spans) == 4
    assert b"Utrecht" not in collector.bodies
    assert b"severity" not in collector.bodies


def test_content_leaves_where_it_is_asked_for(collector: Collector, target: Path | str) -> None:
    ask(target, OtlpForwarder(collector.url, content=True))
    (agent,) = [span for span in collector.spans if span.name == "invoke_agent triage"]
    (message,) = json.loads(told(agent)["gen_ai.input.messages"])
    assert message["role"] == "user"
    assert json.loads(message["parts"][0]["content"]) == {"text": ASKED}
    (answer,) = json.loads(told(agent)["gen_ai.output.messages"])
    assert json.loads(answer["parts"][0]["content"]) == {"severity": "high"}


@pytest.mark.parametrize("content", [False, True])
def test_a_failure_is_an_error_whose_sentence_is_content(
    content: bool, collector: Collector, target: Path | str
) -> None:
    ask(
        target,
        OtlpForwarder(collector.url, content=content),
        frontier=ScriptedFrontier(None),
    )
    (chat,) = [span for span in collector.spans if span.name.startswith("chat")]
    assert chat.status.code == Status.STATUS_CODE_ERROR
    assert told(chat)["error.type"] == "_OTHER"
    assert ("is down" in chat.status.message) is content


def test_the_error_that_ended_a_run_is_named(collector: Collector) -> None:
    run, span = finished(status="error", status_message=f"no {ASKED}")
    run = RunRecord(
        id=run.id, graph="g", status="error", started_at=NOON, error_type="LoopDetected"
    )
    forward = OtlpForwarder(collector.url)
    forward.take([run, span])
    forward.close()
    (sent,) = collector.spans
    assert told(sent)["error.type"] == "LoopDetected"
    assert b"Utrecht" not in collector.bodies


def test_secrets_are_hidden_even_from_records_that_kept_them(
    collector: Collector, target: Path | str
) -> None:
    forward = OtlpForwarder(collector.url, content=True)
    run, span = finished(kind="TOOL", input=f"log in with {SECRET}")
    with Store.open(target) as store:
        with Recorder(store, redact=None, forward=forward) as recorder:
            recorder.record(run, span)
        assert SECRET in str(store.run(run.id))
    assert len(collector.spans) == 1
    assert SECRET.encode() not in collector.bodies
    assert HIDDEN.encode() in collector.bodies


def test_words_of_attributes_are_content_and_numbers_are_not(collector: Collector) -> None:
    attributes = {"gen_ai.retrieval.query.text": ASKED, "tries": 2, "journeyman.release": "a@1"}
    forward = OtlpForwarder(collector.url)
    forward.take(finished(attributes=attributes))
    forward.close()
    (span,) = collector.spans
    facts = told(span)
    assert "gen_ai.retrieval.query.text" not in facts
    assert (facts["tries"], facts["journeyman.release"]) == (2, "a@1")


def test_the_application_keeps_its_own_tracing(collector: Collector, target: Path | str) -> None:
    ask(target, OtlpForwarder(collector.url))
    assert isinstance(trace.get_tracer_provider(), ProxyTracerProvider)
    assert len(collector.spans) == 4


def test_a_run_is_sent_when_it_ends_and_not_before(collector: Collector) -> None:
    run, span = finished()
    forward = OtlpForwarder(collector.url)
    forward.take([RunRecord(id=run.id, graph="g", status="running", started_at=NOON), span])
    assert forward.num_unsent == 0
    forward.take([run])
    assert forward.num_unsent == 1
    forward.close()
    assert (forward.num_sent, forward.num_unsent) == (1, 0)


def test_an_interrupted_run_is_sent_as_far_as_it_went(collector: Collector) -> None:
    run, span = finished()
    forward = OtlpForwarder(collector.url)
    forward.take([span, RunRecord(id=run.id, graph="g", status="interrupted", started_at=NOON)])
    assert forward.num_unsent == 1
    forward.close()


def test_a_collector_that_is_gone_costs_a_run_nothing(
    target: Path | str, caplog: pytest.LogCaptureFixture
) -> None:
    with collecting() as gone:
        pass
    started = time.monotonic()
    with caplog.at_level(logging.WARNING):
        forward = OtlpForwarder(gone.url, timeout_seconds=0.2)
        run_id = ask(target, forward)
    assert time.monotonic() - started < 20
    with Store.open(target) as store:
        assert store.run(run_id).run.status == "ok"
    said = [record.getMessage() for record in caplog.records]
    assert [text.startswith("4 spans did not reach") for text in said] == [False, True]
    assert "do not reach" in said[0]


def test_a_collector_that_is_slow_keeps_nobody(
    target: Path | str, caplog: pytest.LogCaptureFixture
) -> None:
    with collecting(pause=3.0) as slow:
        forward = OtlpForwarder(slow.url)
        with Store.open(target) as store:
            recorder = Recorder(store, forward=forward)
            run, span = finished()
            started = time.monotonic()
            recorder.record(run, span)
            assert recorder.wait(run.id)
            assert time.monotonic() - started < 2.5
            with caplog.at_level(logging.WARNING):
                forward.close(timeout=0.1)
            recorder.close()
        assert "1 spans did not reach" in caplog.text


def test_what_does_not_fit_the_queue_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    with collecting(status=400) as refusing:
        forward = OtlpForwarder(refusing.url, max_queue=10)
        with caplog.at_level(logging.WARNING):
            for _ in range(50):
                forward.take(finished())
            forward.close()
        said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert "50 spans did not reach" in said[1]


def test_spans_of_runs_that_never_end_do_not_pile_up(collector: Collector) -> None:
    forward = OtlpForwarder(collector.url, max_queue=10)
    spans = [finished()[1] for _ in range(25)]
    forward.take(spans[:12])
    assert forward.num_unsent + forward.num_sent == 2
    forward.close()


def test_a_forwarder_that_breaks_is_given_up_and_runs_go_on(
    target: Path | str, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def take(self, _: object) -> None:
            raise RuntimeError("no room")

        def close(self) -> None:
            raise RuntimeError("no door")

    run, span = finished()
    with (
        caplog.at_level(logging.WARNING),
        Store.open(target) as store,
        Recorder(store, forward=Broken()) as recorder,
    ):
        recorder.record(run, span)
        assert recorder.wait(run.id)
        assert recorder.trouble is None
    assert "no room" in caplog.text


def test_headers_come_from_the_variable_that_the_setting_names(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLLECTOR_HEADERS", "x-api-key=abc123,x-team=desk")
    forward = forwarder_from(OtlpSettings(endpoint=collector.url, headers_env="COLLECTOR_HEADERS"))
    assert forward is not None
    forward.take(finished())
    forward.close()
    (headers,) = collector.headers
    assert (headers["x-api-key"], headers["x-team"]) == ("abc123", "desk")


def test_a_variable_without_headers_is_said() -> None:
    settings = OtlpSettings(endpoint="http://127.0.0.1:9", headers_env="COLLECTOR_HEADERS")
    with pytest.raises(ConfigError, match="'COLLECTOR_HEADERS', which holds no headers"):
        forwarder_from(settings)


def test_nothing_is_forwarded_unless_set() -> None:
    assert forwarder_from(OtlpSettings()) is None


def test_a_run_as_json_says_ids_in_hex(collector: Collector, target: Path | str) -> None:
    run_id = ask(target, OtlpForwarder(collector.url))
    with Store.open(target) as store:
        request = otlp_json(store.run(run_id), content=False)
    (resource,) = json.loads(json.dumps(request))["resourceSpans"]
    spans = resource["scopeSpans"][0]["spans"]
    assert {span["traceId"] for span in spans} == {run_id}
    (root,) = [span for span in spans if "parentSpanId" not in span]
    assert len(root["spanId"]) == 16
    assert sum(span.get("parentSpanId") == root["spanId"] for span in spans) == 1
    assert sum(span["kind"] == 3 for span in spans) == 1
    assert "Utrecht" not in json.dumps(request)


def test_a_tree_of_thousands_of_levels_is_written_top_first() -> None:
    run, span = finished()
    spans = [replace(span, id=f"{depth + 1:016x}") for depth in range(3_000)]
    node = SpanNode(spans[-1])
    for above in reversed(spans[:-1]):
        node = SpanNode(above, (node,))
    request = otlp_json(RunTrace(run, (node,)), content=False)
    written = request["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert [one["spanId"] for one in written] == [one.id for one in spans]
