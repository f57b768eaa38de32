"""Asking for JSON, and reading what comes back."""

from __future__ import annotations

import contextlib
import json
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from journeyman.models.completion import NoCompletionError, read_completion
from journeyman.models.errors import ConfigError
from journeyman.models.structured import Dialect, SchemaChecks, parse_object, strict_schema
from journeyman.models.types import FrontierRequest, Usage

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
OPEN = {"type": "object", "additionalProperties": {"type": "string"}}
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def request(schema: dict[str, object] = SCHEMA) -> FrontierRequest:
    messages = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "Go"})
    return FrontierRequest(messages, schema, "thing", max_output_tokens=77)


@given(st.dictionaries(st.text(), json_values), st.sampled_from(["{}", "```json\n{}\n```\nDone."]))
def test_an_object_is_read_from_whatever_wraps_it(value: dict[str, object], frame: str) -> None:
    assert parse_object(frame.replace("{}", json.dumps(value))) == value


def test_thoughts_before_the_answer_are_passed_over() -> None:
    assert parse_object('<think>maybe {"a": 1}</think> So: {"a": 2}') == {"a": 2}


@pytest.mark.parametrize("before", ["1. ", "2 results: ", '"Here": ', "null "])
def test_words_that_happen_to_be_json_are_passed_over(before: str) -> None:
    assert parse_object(before + '{"a": 1}') == {"a": 1}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no",
        "[1]",
        '[{"a": 1}]',
        '{"a": {"b": 1}, "c',
        '{"a": NaN}',
        '{"a": 1e999}',
        '<think>{"a": 1}',
        "[" * 100_000,
        '{"a": ' + "9" * 5000 + "}",
    ],
)
def test_what_holds_no_whole_object_is_refused(text: str) -> None:
    """Not even by an object inside a broken one."""
    with pytest.raises(ValueError, match="it "):
        parse_object(text)


@given(st.text())
def test_reading_raises_nothing_but_value_errors(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(parse_object(text), dict)


@given(st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
def test_a_body_is_a_completion_or_it_is_not(body: bytes) -> None:
    with pytest.raises(NoCompletionError):
        read_completion(body)


@given(json_values, json_values, json_values)
def test_a_completion_with_odd_parts_is_still_read(
    content: object, usage: object, model: object
) -> None:
    choice = {"message": {"content": content}, "finish_reason": None}
    body = json.dumps({"choices": [choice], "usage": usage, "model": model}).encode()
    completion = read_completion(body)
    assert completion.text == content or not isinstance(content, str)
    assert completion.usage is None or isinstance(completion.usage, Usage)


def test_cached_tokens_are_read_and_bounded_by_the_input() -> None:
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 2,
        "prompt_tokens_details": {"cached_tokens": 64},
    }
    body = {"choices": [{"message": {"content": "{}"}}], "usage": usage}
    assert read_completion(json.dumps(body).encode()).usage == Usage(10, 2, 10)


class Inner(BaseModel):
    kind: Literal["a", "b"]
    note: str | None = None


class Outer(BaseModel):
    name: str = Field(min_length=2, description="who")
    size: int = Field(ge=0)
    tags: list[str] = []
    inner: Inner | None = None
    rest: list[Inner]


def test_a_pydantic_schema_is_made_strict() -> None:
    strict = strict_schema(Outer.model_json_schema())
    assert strict is not None
    assert strict["additionalProperties"] is False
    assert strict["required"] == ["name", "size", "tags", "inner", "rest"]
    assert strict["$defs"]["Inner"]["required"] == ["kind", "note"]
    assert "minLength" not in strict["properties"]["name"]
    assert "default" not in json.dumps(strict)


def test_what_fits_the_strict_schema_fits_the_model() -> None:
    checks = SchemaChecks()
    data = {
        "name": "ab",
        "size": 1,
        "tags": [],
        "inner": None,
        "rest": [{"kind": "a", "note": None}],
    }
    strict = strict_schema(Outer.model_json_schema())
    assert strict is not None
    assert checks.violation(data, strict) is None
    assert checks.violation(data, Outer.model_json_schema()) is None
    Outer.model_validate(data)


class Free(BaseModel):
    model_config = ConfigDict(extra="allow")
    name: str


class Defaulted(BaseModel):
    size: int = 3


@pytest.mark.parametrize(
    "schema",
    [
        OPEN,
        Free.model_json_schema(),
        Defaulted.model_json_schema(),  # a model with nothing to say would have to make it up
        {"type": "array", "items": {"type": "string"}},
        {"type": "object", "properties": {"a": {}}, "required": ["a"]},
        {"type": "object", "properties": {"a": {"allOf": [SCHEMA]}}, "required": ["a"]},
    ],
)
def test_a_schema_that_strict_mode_would_change_is_left_alone(schema: dict[str, object]) -> None:
    assert strict_schema(schema) is None
    sent = Dialect().payload(request(schema))["response_format"]["json_schema"]
    assert sent == {"name": "thing", "schema": schema, "strict": False}


def test_the_ladder_goes_from_strict_to_words() -> None:
    dialect: Dialect | None = Dialect()
    seen = []
    while dialect is not None:
        seen.append((dialect.structure, dialect.strict))
        dialect = dialect.without("response_format is not supported", request())
    assert seen == [
        ("json_schema", True),
        ("json_schema", False),
        ("json_object", False),
        ("prompt", False),
    ]


def test_words_carry_the_schema_in_the_system_message() -> None:
    payload = Dialect(structure="prompt").payload(request())
    assert "response_format" not in payload
    first = payload["messages"][0]
    assert first["role"] == "system"
    assert first["content"].startswith("Be brief.")
    assert '"required":["a"]' in first["content"]
    assert len(payload["messages"]) == 2
    alone = FrontierRequest(({"role": "user", "content": "Go"},), SCHEMA, "thing")
    payload = Dialect(structure="json_object").payload(alone)
    assert [message["role"] for message in payload["messages"]] == ["system", "user"]
    assert payload["response_format"] == {"type": "json_object"}


def test_the_other_limit_field_is_tried_once() -> None:
    refusal = "max_tokens: Unsupported parameter: use 'max_completion_tokens' instead."
    other = Dialect().without(refusal, request())
    assert other is not None
    assert other.payload(request())["max_completion_tokens"] == 77
    assert "max_tokens" not in other.payload(request())
    assert other.without(refusal, request()) is None


def test_a_refusal_about_something_else_changes_nothing() -> None:
    assert Dialect().without("The prompt is too long.", request()) is None


def test_a_violation_says_where() -> None:
    checks = SchemaChecks()
    nested = {"type": "object", "properties": {"b": SCHEMA}}
    assert checks.violation({"b": {"a": 1}}, nested) is None
    assert "b.a" in (checks.violation({"b": {"a": "x"}}, nested) or "")


def test_data_nested_too_deeply_is_a_violation() -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "#"}}}
    data = parse_object('{"a":' * 400 + "{}" + "}" * 400)
    assert "too deeply" in str(SchemaChecks().violation(data, schema))


def test_a_schema_that_is_none_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="JSON Schema is wrong"):
        SchemaChecks().prepare({"type": "strange"})


def test_a_reference_to_elsewhere_is_never_fetched() -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:1/x.json"}}}
    with pytest.raises(ConfigError, match="does not hold"):
        SchemaChecks().violation({"a": 1}, schema)
