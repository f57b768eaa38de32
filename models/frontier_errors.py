"""What a failed frontier call means: which error, whether to try again, whether it may be billed.

Every exception class of the `openai` package has a place in `KINDS`; a test fails when a new one
appears. Server text is cut short and cleared of the API key before it enters a message. Does not
wait, retry or count.
"""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import httpx2
import openai

from journeyman.models.errors import KeyRejected, MalformedOutput, ModelError, ModelUnavailable

Kind = Literal["status", "timeout", "connection", "garbled", "key", "cut", "refused", "misuse"]

KINDS: Mapping[type[BaseException], Kind] = {
    openai.APIStatusError: "status",
    openai.BadRequestError: "status",
    openai.AuthenticationError: "status",
    openai.PermissionDeniedError: "status",
    openai.NotFoundError: "status",
    openai.ConflictError: "status",
    openai.UnprocessableEntityError: "status",
    openai.RateLimitError: "status",
    openai.InternalServerError: "status",
    openai.OAuthError: "key",
    openai._exceptions.SubjectTokenProviderError: "key",  # noqa: SLF001  # exported nowhere else
    openai.APITimeoutError: "timeout",
    TimeoutError: "timeout",
    openai.APIConnectionError: "connection",
    httpx2.RequestError: "connection",
    openai.APIResponseValidationError: "garbled",
    openai.LengthFinishReasonError: "cut",
    openai.ContentFilterFinishReasonError: "refused",
    openai.WebSocketConnectionClosedError: "connection",
    openai.WebSocketQueueFullError: "connection",
    openai.InvalidWebhookSignatureError: "misuse",
    openai.APIError: "misuse",
    openai.OpenAIError: "misuse",
}

_RETRIED = frozenset({408, 409, 425, 429})
# Providers do not charge for a request they refused or failed to serve; a gateway that gave up
# waiting does not know whether the model behind it went on.
_UNBILLED_5XX = frozenset({500, 501, 503, 529})
_NO_CREDIT = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The server as messages name it.

    Attributes:
        model: Name of the model.
        host: Host and port, never credentials.
        key_advice: How this user gives the API key, as an imperative.
        secret: The key itself, to be cut out of what the server says.
    """

    model: str
    host: str
    key_advice: str
    secret: str = ""

    def __repr__(self) -> str:
        return f"Endpoint(model={self.model!r}, host={self.host!r})"

    def clean(self, text: str) -> str:
        """Server text in one short line without the key."""
        if self.secret:
            text = text.replace(self.secret, "***")
        text = " ".join(text.split()).rstrip(".")
        return text if len(text) <= 200 else text[:199] + "…"


@dataclass(frozen=True, slots=True)
class Trouble:
    """One failed call.

    Attributes:
        error: What to raise if nothing else helps.
        retry: The same call may succeed later.
        billed: The provider may charge for it.
        wait_s: How long the server asks to wait; None where it does not say.
        refusal: What a server said that rejected the request itself; empty for other troubles.
    """

    error: ModelError
    retry: bool = False
    billed: bool = False
    wait_s: float | None = None
    refusal: str = ""


def diagnose(error: BaseException, endpoint: Endpoint) -> Trouble:
    """What a failed call means."""
    kind = next((KINDS[cls] for cls in type(error).__mro__ if cls in KINDS), "misuse")
    who = f"Frontier model {endpoint.model!r} at {endpoint.host!r}"
    model = endpoint.model
    said = endpoint.clean(str(error))
    if isinstance(error, openai.APIStatusError) and kind == "status":
        return _of_status(error.status_code, error, endpoint)
    if kind == "timeout" or isinstance(error.__cause__, httpx2.TimeoutException):
        message = f"{who} did not answer in time: raise timeout_s, or check the server's load."
        return Trouble(ModelUnavailable(message, model=model), True, _was_sent(error))
    if kind == "connection":
        cause = endpoint.clean(str(error.__cause__ or "") or said)
        message = f"{who} could not be reached ({cause}): check base_url and the network."
        return Trouble(ModelUnavailable(message, model=model), True, _was_sent(error))
    if kind == "garbled":
        message = f"{who} answered with something unreadable ({said}): check base_url."
        return Trouble(ModelUnavailable(message, model=model), True, billed=True)
    if kind == "key":
        message = f"{who} gave no access token ({said}): {endpoint.key_advice}."
        return Trouble(KeyRejected(message, model=model))
    if kind == "cut":
        return Trouble(cut_short(endpoint, ""), billed=True)
    if kind == "refused":
        return Trouble(refused(endpoint, said), billed=True)
    message = f"{who} could not be asked ({type(error).__name__}: {said}): please report this."
    return Trouble(ModelError(message, model=model), billed=True)


def trouble_of_status(status: int, said: str, endpoint: Endpoint) -> Trouble:
    """What an HTTP status means, with the server's words (already cleaned)."""
    who = f"Frontier model {endpoint.model!r} at {endpoint.host!r}"
    model = endpoint.model
    if status in _RETRIED or status >= 500:
        billed = status == 408 or (status >= 500 and status not in _UNBILLED_5XX)
        then = "lower max_concurrency, or try later" if status == 429 else "try later"
        message = f"{who} is overloaded or failing (HTTP {status}: {said}): {then}."
        return Trouble(ModelUnavailable(message, model=model), True, billed)
    advice = {
        401: endpoint.key_advice,
        402: "add credit to the account, or use another model",
        403: "give the key's project access to the model, or use another model",
        404: "check the model's name and base_url",
        413: "shorten the task",
    }.get(status)
    if advice is None:
        advice = "set base_url to the new address" if status < 400 else "check the request"
    message = f"{who} refused the call (HTTP {status}: {said}): {advice}."
    refusal = said if status in {400, 422} else ""
    error = KeyRejected if status == 401 else ModelError
    return Trouble(error(message, model=model), refusal=refusal)


def _of_status(status: int, error: openai.APIStatusError, endpoint: Endpoint) -> Trouble:
    body = error.body
    words = body.get("message") if isinstance(body, Mapping) else body
    text: str = words if isinstance(words, str) and words else str(error)
    if status < 400:
        text = f"moved to {error.response.headers.get('location', 'an unnamed place')}"
    if error.param:
        text = f"{error.param}: {text}"
    said = endpoint.clean(text)
    if error.code in _NO_CREDIT or error.type in _NO_CREDIT:
        return trouble_of_status(402, said, endpoint)
    trouble = trouble_of_status(status, said, endpoint)
    if not trouble.retry:
        # The refusal decides on a fallback, so it is not cut short.
        return Trouble(trouble.error, refusal=text if trouble.refusal else "")
    wait_s = requested_wait(error.response.headers)
    return Trouble(trouble.error, True, trouble.billed, wait_s)


def cut_short(endpoint: Endpoint, completion: str) -> MalformedOutput:
    """The completion hit the token limit."""
    return MalformedOutput(
        f"Frontier model {endpoint.model!r} was cut short by its token limit: raise "
        "max_output_tokens of the request.",
        model=endpoint.model,
        completion=completion,
    )


def refused(endpoint: Endpoint, said: str) -> MalformedOutput:
    """The model would not answer."""
    return MalformedOutput(
        f"Frontier model {endpoint.model!r} refused to answer ({endpoint.clean(said)}): reword the "
        "task, or answer it by hand.",
        model=endpoint.model,
        completion=said,
    )


def _was_sent(error: BaseException) -> bool:
    """Did the request leave? Then it may be billed, whatever became of the answer."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)):
            return False
        seen = seen.__cause__
    return True


def requested_wait(headers: Mapping[str, str], *, now: float | None = None) -> float | None:
    """Seconds that a server asks to wait, 0 or more; None where it does not say.

    Reads `retry-after-ms`, `retry-after` (seconds or a date) and, of limits that are used up,
    `x-ratelimit-reset-*`.
    """
    now = time.time() if now is None else now
    waits = [
        _number(headers.get("retry-after-ms"), 0.001),
        _number(headers.get("retry-after"), 1.0),
        _until(headers.get("retry-after"), now),
        _reset(headers, now),
    ]
    found = next((wait for wait in waits if wait is not None), None)
    return None if found is None else max(0.0, found)


def _number(text: str | None, unit_s: float) -> float | None:
    try:
        value = float(text or "") * unit_s
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None


def _until(text: str | None, now: float) -> float | None:
    parsed = email.utils.parsedate_tz(text or "")
    if parsed is None:
        return None
    try:
        return email.utils.mktime_tz(parsed) - now
    except (ValueError, OverflowError):
        return None


def _reset(headers: Mapping[str, str], now: float) -> float | None:
    """The longest reset of a limit that is used up; a limit with something left is no reason."""
    waits = []
    for what in ("-requests", "-tokens", ""):
        remaining = headers.get(f"x-ratelimit-remaining{what}", "0").strip()
        wait = _duration(headers.get(f"x-ratelimit-reset{what}"), now)
        if wait is not None and remaining in {"0", ""}:
            waits.append(wait)
    return max(waits, default=None)


def _duration(text: str | None, now: float) -> float | None:
    """`6m0s`, `120ms`, seconds, or seconds or milliseconds since 1970."""
    number = _number(text, 1.0)
    if number is not None:
        if number > 1e11:
            number /= 1000
        return number - now if number > 1e9 else number
    match = _DURATION.fullmatch((text or "").strip())
    if match is None or not any(match.groups()):
        return None
    hours, minutes, seconds, millis = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds + millis / 1000
