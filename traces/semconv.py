"""What is on record, in the names of OpenTelemetry: the one place that knows both.

Names and values follow the semantic conventions for generative AI (`gen_ai.*`), which are still in
development, and OpenInference for the kind of a span; what neither has words for is `journeyman.*`.
Imports nothing of OpenTelemetry and sends nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from journeyman.traces.payloads import DROPPED, HIDDEN
from journeyman.traces.records import RunRecord, SpanRecord

Attribute = str | bool | int | float | list[str]
"""What an attribute of a span may be."""

OtelKind = Literal["INTERNAL", "CLIENT"]

SCHEMA_URL = "https://opentelemetry.io/schemas/1.43.0"
"""The version of the conventions whose names stand here."""

OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
RESPONSE_MODEL = "gen_ai.response.model"
AGENT_NAME = "gen_ai.agent.name"
AGENT_ID = "gen_ai.agent.id"
WORKFLOW = "gen_ai.workflow.name"
CONVERSATION = "gen_ai.conversation.id"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
CACHED_TOKENS = "gen_ai.usage.cache_read.input_tokens"
INPUT = "gen_ai.input.messages"
OUTPUT = "gen_ai.output.messages"
ERROR_TYPE = "error.type"

_RELEASE = "journeyman.release"
_UNKNOWN_ERROR = "_OTHER"  # the conventions' word for an error without a class
_STUDENT_NODE = "attempt"
_OWN_PROVIDER = "journeyman"

_OPERATIONS = {
    "AGENT": "invoke_agent",
    "CHAIN": "invoke_workflow",
    "EMBEDDING": "embeddings",
    "LLM": "chat",
    "RETRIEVER": "retrieval",
    "TOOL": "execute_tool",
}


def otel_kind(span: SpanRecord) -> OtelKind:
    """`CLIENT` for a call of somebody else's model, `INTERNAL` for what happens here."""
    is_call = span.kind in ("LLM", "EMBEDDING") and span.provider != _OWN_PROVIDER
    return "CLIENT" if is_call else "INTERNAL"


def attributes_of(
    span: SpanRecord, run: RunRecord | None, *, content: bool
) -> dict[str, Attribute]:
    """The attributes of a span.

    Args:
        span: A finished span.
        run: The run that it belongs to, where that is known.
        content: Tell what was asked and answered. Otherwise numbers, flags, names and words of our
            own vocabulary only.
    """
    found: dict[str, Any] = {
        **_facts(span.attributes, content=content),
        "openinference.span.kind": span.kind,
        OPERATION: "attempt" if _is_attempt(span) else _OPERATIONS.get(span.kind),
        "journeyman.node": span.node,
        "journeyman.cost_microusd": span.cost_microusd,
    }
    found |= _agent(span) | _model(span)
    if run is not None:
        found |= _run(span, run)
    if span.status == "error":
        found.setdefault(ERROR_TYPE, _UNKNOWN_ERROR)
    if content:
        found |= _content(span, run)
    return {key: _attribute(value) for key, value in found.items() if value not in (None, "")}


def _is_attempt(span: SpanRecord) -> bool:
    """A student's: it need not chat, so that the conventions have no word for what it does."""
    return span.kind == "LLM" and span.node == _STUDENT_NODE


def _is_root(span: SpanRecord) -> bool:
    return span.parent_id is None and span.kind == "CHAIN"


def _agent(span: SpanRecord) -> dict[str, Any]:
    if span.agent is None:
        return {}
    # A release is a sub-agent as it answers, and the only id of one that never changes meaning.
    return {AGENT_NAME: span.agent, AGENT_ID: span.attributes.get(_RELEASE)}


def _model(span: SpanRecord) -> dict[str, Any]:
    if span.model is None:
        return {}
    found: dict[str, Any] = {
        PROVIDER: span.provider,
        REQUEST_MODEL: span.attributes.get(REQUEST_MODEL, span.model),
        RESPONSE_MODEL: span.model,
    }
    if span.provider != _OWN_PROVIDER:  # students count no tokens
        found |= {INPUT_TOKENS: span.input_tokens, OUTPUT_TOKENS: span.output_tokens}
        found[CACHED_TOKENS] = span.cached_tokens or None
    return found


def _run(span: SpanRecord, run: RunRecord) -> dict[str, Any]:
    found: dict[str, Any] = {CONVERSATION: run.session_id}
    if _is_root(span):
        found |= {
            WORKFLOW: run.graph,
            ERROR_TYPE: run.error_type,
            "journeyman.status": run.status,
            "journeyman.num_tasks": run.num_tasks,
            "journeyman.num_escalations": run.num_escalations,
            "journeyman.cost_microusd": run.cost_microusd,
            "journeyman.parent_run.id": run.parent_run_id,
            "journeyman.suite_run.id": run.suite_run_id,
            "journeyman.scenario.id": run.scenario_id,
            "journeyman.epoch": run.epoch if run.suite_run_id is not None else None,
        }
        if run.error_type is None:
            del found[ERROR_TYPE]
    return found


def _content(span: SpanRecord, run: RunRecord | None) -> dict[str, Any]:
    given, answered = span.input, span.output
    if run is not None and _is_root(span):
        given, answered = run.input, run.output
    return {INPUT: _message("user", given), OUTPUT: _message("assistant", answered)}


def _message(role: str, value: Any) -> str | None:
    """One message in the form of the conventions, as JSON."""
    if value is None or value == DROPPED:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    message: dict[str, Any] = {"role": role, "parts": [{"type": "text", "content": text}]}
    if role == "assistant":
        message["finish_reason"] = "stop"
    return json.dumps([message], ensure_ascii=False)


def _facts(attributes: Mapping[str, Any], *, content: bool) -> dict[str, Any]:
    return {
        key: value
        for key, value in attributes.items()
        if value != HIDDEN
        and (content or isinstance(value, (int, float)) or key.startswith("journeyman."))
    }


def _attribute(value: Any) -> Attribute:
    if isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
        return list(value)
    return json.dumps(value, ensure_ascii=False)
