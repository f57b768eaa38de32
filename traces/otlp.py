"""Sends finished runs to an OTLP collector, or writes them as OTLP/JSON.

Spans keep the ids, parents and times that are on record. A provider of our own makes them, and
OpenTelemetry's own batch processor and exporter carry them; whatever provider the application has
set globally is neither used nor changed. Trouble on the way costs spans and never a run: the queue
is bounded, the first failure is a warning, and closing says once how many did not arrive. Needs the
`otlp` extra; what attributes are called is `semconv`.
"""

from __future__ import annotations

import base64
import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Any, TypeVar

from google.protobuf.json_format import MessageToDict
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from journeyman.traces.conceal import conceal
from journeyman.traces.reads import RunTrace, SpanNode
from journeyman.traces.records import Record, RunRecord, SpanRecord
from journeyman.traces.redact import Redactor, redact_secrets
from journeyman.traces.semconv import SCHEMA_URL, attributes_of, otel_kind
from journeyman.traces.store import Store

logger = logging.getLogger("journeyman.traces")

_PATH = "/v1/traces"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KINDS = {"INTERNAL": SpanKind.INTERNAL, "CLIENT": SpanKind.CLIENT}
_MAX_BATCH = 512  # spans of one request
_LINGER_MS = 1_000  # how long a span waits for company
_TALKATIVE = (
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.sdk._shared_internal",
)
_ID_FIELDS = ("traceId", "spanId", "parentSpanId")

_RecordT = TypeVar("_RecordT", SpanRecord, RunRecord)


class OtlpForwarder:
    """Forwards runs, as they end, by OTLP/HTTP with protobuf.

    A run that is interrupted is sent as far as it went, and the rest of it when it is resumed.

    Args:
        endpoint: Address of the collector, such as `http://127.0.0.1:4318`; spans go to its
            `/v1/traces`.
        headers: Sent with each request.
        content: Send what was asked and answered, and what errors say, as well.
        redact: Sees every span before it is sent; None sends them as they are.
        max_queue: Spans that may wait, for their run to end and for the collector each.
        timeout_seconds: Limit of one request with its retries.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bool = False,
        redact: Redactor | None = redact_secrets,
        max_queue: int = 10_000,
        timeout_seconds: float = 10.0,
    ) -> None:
        address = endpoint.rstrip("/")
        address = address if address.endswith(_PATH) else address + _PATH
        self._delivery = _Delivery(address, dict(headers or {}), timeout_seconds)
        queue = BatchSpanProcessor(
            self._delivery,
            max_queue_size=max_queue,
            schedule_delay_millis=_LINGER_MS,
            max_export_batch_size=min(_MAX_BATCH, max_queue),
        )
        self._emitter = _Emitter(queue, content=content, redact=redact)
        self._max_waiting = max_queue
        self._waiting: OrderedDict[str, list[SpanRecord]] = OrderedDict()
        self._num_waiting = 0
        self._runs: OrderedDict[str, RunRecord] = OrderedDict()
        self._lock = threading.Lock()
        self._closed = False

    @property
    def num_sent(self) -> int:
        """Spans that the collector took."""
        return self._delivery.num_sent

    @property
    def num_unsent(self) -> int:
        """Spans that are on their way, or were lost."""
        return self._emitter.num_emitted - self._delivery.num_sent

    def take(self, records: Iterable[Record]) -> None:
        """Take note of what is on disk now, and hand over the spans of runs that ended."""
        with self._lock, self._delivery.quiet():
            ended: dict[str, None] = {}
            for record in records:
                if isinstance(record, SpanRecord):
                    self._waiting.setdefault(record.run_id, []).append(record)
                    self._num_waiting += 1
                elif isinstance(record, RunRecord):
                    self._runs[record.id] = record
                    if record.status != "running":
                        ended[record.id] = None
            for run_id in ended:  # its spans come in the same batch as its end, or before
                self._send(run_id)
            while self._num_waiting > self._max_waiting:
                self._send(next(iter(self._waiting)))
            while len(self._runs) > self._max_waiting:
                self._runs.popitem(last=False)

    def close(self, timeout: float = 5.0) -> None:
        """Send what is left, for so many seconds at most, and say what could not be sent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for run_id in list(self._waiting):
                self._send(run_id)
        # The batch processor waits for 30 seconds, and nobody can tell it to wait for fewer.
        ending = threading.Thread(target=self._emitter.close, name="journeyman-otlp", daemon=True)
        ending.start()
        ending.join(min(timeout, 1.0) if self._delivery.is_failing else timeout)
        if ending.is_alive():
            self._delivery.shutdown()  # ends the waiting between retries
            ending.join(1.0)
        self._delivery.speak_again()
        if self.num_unsent > 0:
            logger.warning(
                "%d spans did not reach %s; the runs and their traces here are whole.",
                self.num_unsent,
                self._delivery.address,
            )

    def _send(self, run_id: str) -> None:
        spans = self._waiting.pop(run_id, [])
        self._num_waiting -= len(spans)
        run = self._runs.get(run_id)
        for span in spans:
            self._emitter.emit(span, run)
        if run is not None and run.status != "running":
            del self._runs[run_id]


def otlp_runs(
    store: Store, *, agent: str | None, since: datetime | None, content: bool
) -> Iterator[dict[str, Any]]:
    """Every run as `otlp_json` says it, oldest first, one at a time."""
    for summary in reversed(store.runs(None, agent=agent, since=since)):
        yield otlp_json(store.run(summary.id), content=content)


def otlp_json(trace: RunTrace, *, content: bool, redact: Redactor | None = None) -> dict[str, Any]:
    """A run as an OTLP/JSON request: what the file exporter of OpenTelemetry writes in one line.

    Args:
        trace: The run.
        content: Tell what was asked and answered, and what errors say, as well.
        redact: Sees every span first; what is on record has been redacted before.
    """
    memory = InMemorySpanExporter()
    emitter = _Emitter(SimpleSpanProcessor(memory), content=content, redact=redact)
    for span in _flat(trace.spans):
        emitter.emit(span, trace.run)
    spans = encode_spans(memory.get_finished_spans())
    request: dict[str, Any] = MessageToDict(spans, use_integers_for_enums=True)
    for resource in request.get("resourceSpans", ()):
        for scope in resource["scopeSpans"]:
            scope["spans"] = [_with_hex_ids(span) for span in scope["spans"]]
    emitter.close()
    return request


class _RecordedIds(IdGenerator):
    """Gives out the ids that are on record, where a tracer would make new ones."""

    def __init__(self) -> None:
        self.trace_id = 0
        self.span_id = 0

    def generate_trace_id(self) -> int:
        return self.trace_id

    def generate_span_id(self) -> int:
        return self.span_id


class _Emitter:
    """Turns records into finished spans of a tracer. Not for several threads at once."""

    def __init__(self, processor: SpanProcessor, *, content: bool, redact: Redactor | None) -> None:
        self.num_emitted = 0
        self._content = content
        self._redact = redact
        self._ids = _RecordedIds()
        name = os.environ.get("OTEL_SERVICE_NAME", "journeyman")
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=Resource.create({"service.name": name}),
            shutdown_on_exit=False,
            id_generator=self._ids,
        )
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer(
            "journeyman", version("journeyman"), schema_url=SCHEMA_URL
        )
        self.close = self._provider.shutdown

    def emit(self, span: SpanRecord, run: RunRecord | None) -> None:
        """Make one span, and hand it to the processor."""
        span = _redacted(span, self._redact)
        run = _redacted(run, self._redact) if run is not None and self._content else run
        self._ids.trace_id, self._ids.span_id = int(span.run_id, 16), int(span.id, 16)
        started = _nanoseconds(span.started_at)
        made = self._tracer.start_span(
            span.name,
            context=self._parent(span),
            kind=_KINDS[otel_kind(span)],
            attributes=attributes_of(span, run, content=self._content),
            start_time=started,
            record_exception=False,
            set_status_on_exception=False,
        )
        if span.status == "error":
            said = span.status_message if self._content else None
            made.set_status(Status(StatusCode.ERROR, said or None))
        self.num_emitted += made.is_recording()  # not so where OTEL_SDK_DISABLED is set
        made.end(started + round(span.duration_ms * 1_000_000))

    @staticmethod
    def _parent(span: SpanRecord) -> Context:
        if span.parent_id is None:
            return Context()  # and not the one of whoever calls: that belongs to the application
        above = SpanContext(
            int(span.run_id, 16),
            int(span.parent_id, 16),
            is_remote=False,
            trace_flags=TraceFlags(TraceFlags.SAMPLED),
        )
        return set_span_in_context(NonRecordingSpan(above), Context())


class _Delivery(SpanExporter):
    """The official exporter, counted, and with its talk about every failure said once."""

    def __init__(self, address: str, headers: dict[str, str], timeout_seconds: float) -> None:
        self.address = address
        self.num_sent = 0
        self.is_failing = False
        self._has_failed = False
        self._exporter = OTLPSpanExporter(address, headers=headers, timeout=timeout_seconds)
        self._is_shut = False
        self._ours = threading.local()
        self._said = ""
        for name in _TALKATIVE:
            logging.getLogger(name).addFilter(self._listen)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._said = ""
        with self.quiet():
            result = self._exporter.export(spans)
        self.is_failing = result is not SpanExportResult.SUCCESS
        if not self.is_failing:
            self.num_sent += len(spans)
        elif not self._has_failed:
            self._has_failed = True
            logger.warning(
                "Runs go on and are on record, but spans do not reach %s: %s",
                self.address,
                self._said,
            )
        return result

    def shutdown(self) -> None:
        if not self._is_shut:
            self._is_shut = True
            self._exporter.shutdown()  # type: ignore[no-untyped-call]  # the library leaves it out

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        del timeout_millis  # nothing is kept here
        return True

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Keep what OpenTelemetry logs in this thread meanwhile to ourselves."""
        self._ours.quiet = True
        try:
            yield
        finally:
            self._ours.quiet = False

    def speak_again(self) -> None:
        """Leave the loggers as they were."""
        for name in _TALKATIVE:
            logging.getLogger(name).removeFilter(self._listen)

    def _listen(self, record: logging.LogRecord) -> bool:
        if not getattr(self._ours, "quiet", False):
            return True  # of another exporter in this process
        self._said = self._said or record.getMessage()  # what comes later is about retrying
        return False


def _redacted(record: _RecordT, redact: Redactor | None) -> _RecordT:
    kept = conceal(record, redact, capture=True)
    assert isinstance(kept, type(record))
    return kept


def _nanoseconds(moment: datetime) -> int:
    """Nanoseconds since 1970, without a float in between."""
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1_000


def _flat(nodes: Iterable[SpanNode]) -> Iterator[SpanRecord]:
    """Spans, each before those inside it; deep trees are no reason to recurse."""
    waiting = list(nodes)[::-1]
    while waiting:
        node = waiting.pop()
        yield node.span
        waiting.extend(reversed(node.children))


def _with_hex_ids(span: dict[str, Any]) -> dict[str, Any]:
    """OTLP says ids in hex, unlike the rest of protobuf's JSON."""
    return {
        key: base64.b64decode(value).hex() if key in _ID_FIELDS else value
        for key, value in span.items()
    }
