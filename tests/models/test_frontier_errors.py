"""What a failed call means; every openai exception has a place."""

from __future__ import annotations

import email.utils
import inspect

import httpx2
import openai
import openai._exceptions
import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeyman.models.errors import MalformedOutput, ModelError, ModelUnavailable
from journeyman.models.frontier_errors import KINDS, Endpoint, diagnose, requested_wait

REQUEST = httpx2.Request("POST", "http://127.0.0.1:1/v1/chat/completions")
ENDPOINT = Endpoint("m", "host:1", "set the environment variable 'MY_KEY'", secret="sk-secret")

EXCEPTIONS = sorted(
    {
        found
        for module in (openai, openai._exceptions)
        for name, found in inspect.getmembers(module, inspect.isclass)
        if issubclass(found, Exception)
        and found.__module__.startswith("openai")
        and not name.startswith("_")
    },
    key=lambda cls: cls.__name__,
)


def status_error(status: int, body: object = None, **headers: str) -> openai.APIStatusError:
    """What the client would raise."""
    response = httpx2.Response(status, headers=headers, request=REQUEST)
    client = openai.AsyncOpenAI(api_key="x", base_url="http://127.0.0.1:1")
    return client._make_status_error("words of sk-secret", body=body, response=response)


def instance(cls: type[Exception]) -> Exception:
    """One exception of the class, built as the library builds it."""
    if issubclass(cls, openai.OAuthError):
        return cls(response=httpx2.Response(401, request=REQUEST), body={})
    if issubclass(cls, openai.APIStatusError):
        status = getattr(cls, "status_code", 500)
        status = status if isinstance(status, int) else 500
        return cls("said", response=httpx2.Response(status, request=REQUEST), body=None)
    if issubclass(cls, openai.APIResponseValidationError):
        return cls(httpx2.Response(200, request=REQUEST), body=None)
    if issubclass(cls, openai.APIConnectionError):
        return cls(request=REQUEST)
    if cls is openai.APIError:
        return cls("said", REQUEST, body=None)  # type: ignore[call-arg]
    if cls is openai.LengthFinishReasonError:
        completion = openai.types.chat.ChatCompletion.model_construct(usage=None)
        return cls(completion=completion)  # type: ignore[call-arg]
    if cls is openai.ContentFilterFinishReasonError:
        return cls()
    if cls is openai.WebSocketConnectionClosedError:
        return cls("said", unsent_messages=[])  # type: ignore[call-arg]
    return cls("said")


@pytest.mark.parametrize("cls", EXCEPTIONS, ids=lambda cls: cls.__name__)
def test_every_openai_exception_is_mapped(cls: type[Exception]) -> None:
    """A new one fails here until someone decides what it means."""
    assert cls in KINDS
    trouble = diagnose(instance(cls), ENDPOINT)
    assert isinstance(trouble.error, ModelError)
    assert trouble.error.model == "m"
    assert str(trouble.error).endswith(".")
    assert trouble.retry == isinstance(trouble.error, ModelUnavailable)


@pytest.mark.parametrize(
    ("status", "retry", "billed", "advice"),
    [
        (307, False, False, "set base_url to the new address"),
        (400, False, False, "check the request"),
        (401, False, False, "set the environment variable 'MY_KEY'"),
        (402, False, False, "add credit"),
        (403, False, False, "access to the model"),
        (404, False, False, "check the model's name and base_url"),
        (408, True, True, "try later"),
        (409, True, False, "try later"),
        (413, False, False, "shorten the task"),
        (422, False, False, "check the request"),
        (429, True, False, "lower max_concurrency"),
        (500, True, False, "try later"),
        (502, True, True, "try later"),
        (503, True, False, "try later"),
        (504, True, True, "try later"),
        (529, True, False, "try later"),
    ],
)
def test_each_status_says_what_to_do(status: int, retry: bool, billed: bool, advice: str) -> None:
    trouble = diagnose(status_error(status), ENDPOINT)
    assert (trouble.retry, trouble.billed) == (retry, billed)
    assert isinstance(trouble.error, ModelUnavailable) == retry
    assert f"HTTP {status}" in str(trouble.error)
    assert advice in str(trouble.error)


def test_an_empty_account_is_not_asked_again() -> None:
    body = {"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}
    trouble = diagnose(status_error(429, body), ENDPOINT)
    assert not trouble.retry
    assert "add credit" in str(trouble.error)


def test_only_a_rejected_request_may_be_worded_anew() -> None:
    body = {"error": {"message": "not supported", "param": "response_format"}}
    assert diagnose(status_error(400, body), ENDPOINT).refusal == "response_format: not supported"
    assert diagnose(status_error(422, body), ENDPOINT).refusal
    assert not diagnose(status_error(404, body), ENDPOINT).refusal


@pytest.mark.parametrize("status", [400, 401, 429, 500])
def test_the_key_is_cut_out_of_what_a_server_says(status: int) -> None:
    body = {"error": {"message": "Bearer sk-secret is bad " + "x" * 500}}
    message = str(diagnose(status_error(status, body), ENDPOINT).error)
    assert "sk-secret" not in message
    assert "Bearer ***" in message
    assert len(message) < 450
    assert "sk-secret" not in repr(ENDPOINT)


@pytest.mark.parametrize(
    ("cause", "billed"),
    [
        (httpx2.ConnectError("refused"), False),
        (httpx2.ConnectTimeout("slow"), False),
        (httpx2.PoolTimeout("full"), False),
        (httpx2.ReadTimeout("slow"), True),
        (httpx2.RemoteProtocolError("cut"), True),
    ],
)
def test_a_call_that_left_may_be_billed(cause: Exception, billed: bool) -> None:
    error = openai.APIConnectionError(request=REQUEST)
    error.__cause__ = cause
    trouble = diagnose(error, ENDPOINT)
    assert trouble.retry
    assert trouble.billed == billed


def test_a_refusal_and_a_cut_are_malformed_output() -> None:
    refused = diagnose(openai.ContentFilterFinishReasonError(), ENDPOINT)
    assert isinstance(refused.error, MalformedOutput)


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": email.utils.formatdate(1012, usegmt=True)}, 12),
        ({"retry-after": email.utils.formatdate(900, usegmt=True)}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"x-ratelimit-reset-requests": "6m1.5s"}, 361.5),
        ({"x-ratelimit-reset-tokens": "120ms"}, 0.12),
        ({"x-ratelimit-reset": "1030"}, 1030),
        ({"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "1h2m"}, 3720),
        ({"x-ratelimit-reset-tokens": "9s", "x-ratelimit-remaining-tokens": "5"}, None),
        ({"x-ratelimit-reset-requests": "2s", "x-ratelimit-remaining-requests": "0"}, 2),
    ],
)
def test_a_server_may_ask_to_wait_in_many_ways(headers: dict[str, str], wait: float | None) -> None:
    found = requested_wait(httpx2.Headers(headers), now=1000)
    assert found == (None if wait is None else pytest.approx(wait))


def test_a_reset_may_be_a_point_in_time() -> None:
    now = 1_800_000_000.0
    assert requested_wait({"x-ratelimit-reset": "1800000030"}, now=now) == 30
    assert requested_wait({"x-ratelimit-reset": "1800000030000"}, now=now) == 30


@given(st.text(), st.sampled_from(["retry-after", "retry-after-ms", "x-ratelimit-reset"]))
def test_no_header_is_too_odd(text: str, name: str) -> None:
    wait = requested_wait({name: text})
    assert wait is None or wait >= 0
