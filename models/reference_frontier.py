"""A stand-in for a frontier model: an OpenAI-compatible server on loopback that knows the answers.

It answers from references, with a stated share of wrong answers, a stated latency and stated
failures, all seeded. It is not a model: it understands nothing, and what is measured against it
says how the machinery behaves, not how good an answer is. Every reply carries the header
`X-Journeyman-Reference: 1`. For demonstrations, suites and tests; nothing else imports it.

    references = [Reference({"city": "Rome"}, prompt="Where does the flight go?")]
    with ReferenceFrontier(references) as server:
        frontier = Frontier("reference", base_url=server.base_url)

The reference is found by the header `X-Journeyman-Task`, otherwise by its prompt: equal to the last
user message or, the longest first, contained in it. A real model would answer anything; this one
answers a question it has no reference for with HTTP 404 and the code `reference_not_found`, so that
a gap in a suite shows as an error and not as a wrong answer.

Usage is reported by a simple rule: four UTF-8 bytes are a token, rounded up, in prompt and answer.
A completion longer than the request's limit is cut there and says `length`.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal, Self, get_args

from journeyman.models.errors import ConfigError
from journeyman.models.loopback_http import HttpReply, HttpRequest, LoopbackServer
from journeyman.models.types import canonical_json, content_hash

FailureKind = Literal["rate_limit", "server_error", "hang", "malformed", "cut"]
TASK_HEADER = "x-journeyman-task"
BYTES_PER_TOKEN = 4
_IDENTITY = (("x-journeyman-reference", "1"),)


@dataclass(frozen=True, slots=True)
class Reference:
    """What is right for one task.

    Attributes:
        answer: The JSON object that is right.
        wrong: A wrong one, for the stated share of errors; None takes another reference's answer
            with the same keys.
        task_key: The task's content hash, `FrontierRequest.task_key`.
        prompt: Text by which the task is known where the header is missing.
    """

    answer: Mapping[str, Any]
    wrong: Mapping[str, Any] | None = None
    task_key: str = ""
    prompt: str = ""


@dataclass(frozen=True, slots=True)
class Failures:
    """How often a call fails, and how.

    Attributes:
        rate: Share of HTTP calls that fail, in [0, 1].
        kinds: Drawn from evenly: `rate_limit` (429 with Retry-After), `server_error` (500), `hang`
            (no answer for `hang_s`, then the connection closes), `malformed` (a completion whose
            JSON breaks off), `cut` (the connection closes in the middle of the body).
        hang_s: Seconds.
        retry_after_s: What `rate_limit` asks the caller to wait.
    """

    rate: float = 0.0
    kinds: tuple[FailureKind, ...] = get_args(FailureKind)
    hang_s: float = 30.0
    retry_after_s: float = 1.0

    def __post_init__(self) -> None:
        _require_share("failures.rate", self.rate)
        unknown = set(self.kinds) - set(get_args(FailureKind))
        if unknown or not self.kinds:
            raise ConfigError(
                f"Failures of kind {sorted(unknown)!r} are not known: choose from "
                f"{', '.join(get_args(FailureKind))}.",
                key="failures.kinds",
            )


@dataclass(slots=True)
class Counts:
    """What the server has seen so far.

    Attributes:
        calls: Chat completions asked for.
        answered: Right or wrong, whole and readable.
        wrong: Of these, wrong on purpose.
        not_found: Without a reference.
        failures: By kind.
        at_once: The most calls in flight at the same time.
    """

    calls: int = 0
    answered: int = 0
    wrong: int = 0
    not_found: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    at_once: int = 0


@dataclass(frozen=True, slots=True)
class _Answer:
    content: str
    wrong: bool


class AnswerKey:
    """The references, and which tasks are answered wrongly.

    The verdict on a task is a hash of seed and task, so the same task always gets the same one.

    Raises:
        ConfigError: A share is not in [0, 1], a reference cannot be found by anything, or it is
            to be answered wrongly and there is no wrong answer to give.
    """

    def __init__(self, references: Sequence[Reference], error_rate: float, seed: int) -> None:
        _require_share("error_rate", error_rate)
        self._by_key: dict[str, _Answer] = {}
        self._by_prompt: dict[str, _Answer] = {}
        alike: dict[frozenset[str], list[Reference]] = {}
        for reference in references:
            alike.setdefault(frozenset(reference.answer), []).append(reference)
        for reference in references:
            name = reference.task_key or reference.prompt
            if not name:
                raise ConfigError(
                    "A reference has neither task_key nor prompt: give it one to be found by."
                )
            draw = int(content_hash([seed, name], length=13), 16) / 16**13
            wrong = draw < error_rate
            answer = reference.answer
            if wrong:
                answer = _wrong_answer(reference, name, alike[frozenset(answer)], seed)
            given = _Answer(json.dumps(answer, ensure_ascii=False), wrong)
            if reference.task_key:
                self._by_key[reference.task_key] = given
            if reference.prompt:
                self._by_prompt[reference.prompt] = given
        self._prompts = sorted(self._by_prompt, key=len, reverse=True)

    def find(self, task_key: str, prompt: str) -> _Answer | None:
        """By key, by the whole prompt, or by the longest known prompt in it."""
        found = self._by_key.get(task_key) or self._by_prompt.get(prompt)
        if found is None:
            known = next((text for text in self._prompts if text in prompt), None)
            found = None if known is None else self._by_prompt[known]
        return found


def _wrong_answer(
    reference: Reference, name: str, alike: Sequence[Reference], seed: int
) -> Mapping[str, Any]:
    if reference.wrong is not None:
        return reference.wrong
    right = canonical_json(reference.answer)
    start = int(content_hash([seed, name, "wrong"], length=13), 16) % len(alike)
    for other in [*alike[start:], *alike[:start]]:
        if canonical_json(other.answer) != right:
            return other.answer
    raise ConfigError(
        f"Reference {name!r} is to be answered wrongly and no other reference has a different "
        "answer with the same keys: give it a wrong answer."
    )


class ReferenceFrontier:
    """The server; a context manager that listens on a free loopback port while it is open.

    Args:
        references: What it knows.
        model: The name that it gives itself.
        error_rate: Share of tasks answered wrongly, in [0, 1].
        latency_ms: Wait before every answer; other calls go on meanwhile.
        failures: Calls that fail.
        seed: Of the wrong answers and the failures.

    Raises:
        ConfigError: See `AnswerKey`.
    """

    def __init__(
        self,
        references: Sequence[Reference],
        *,
        model: str = "reference",
        error_rate: float = 0.0,
        latency_ms: float = 0.0,
        failures: Failures | None = None,
        seed: int = 0,
    ) -> None:
        self.model = model
        self.counts = Counts()
        self._answers = AnswerKey(references, error_rate, seed)
        self._latency_s = latency_ms / 1000
        self._failures = Failures() if failures is None else failures
        self._random = random.Random(seed)
        self._server = LoopbackServer(self._reply, name="reference frontier")

    @property
    def base_url(self) -> str:
        """What to give a client as its base URL.

        Raises:
            ModelUnavailable: The server is not open.
        """
        return f"{self._server.url}/v1"

    def __enter__(self) -> Self:
        """Start listening.

        Raises:
            ModelUnavailable: No port could be opened.
        """
        self._server.__enter__()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Drop every connection and stop."""
        self._server.__exit__(*exc_info)

    def _reply(self, request: HttpRequest) -> HttpReply:
        called = (request.method, request.path)
        if called == ("GET", "/v1/models"):
            entry = {"id": self.model, "object": "model", "created": 0, "owned_by": "journeyman"}
            return _json(HTTPStatus.OK, {"object": "list", "data": [entry]})
        if called == ("POST", "/v1/chat/completions"):
            self.counts.calls += 1
            self.counts.at_once = max(self.counts.at_once, self._server.num_in_flight)
            return self._complete(request.headers.get(TASK_HEADER, ""), request.body)
        said = f"There is no {request.method} {request.path} here."
        return _error(HTTPStatus.NOT_FOUND, said, "not_found")

    def _complete(self, task_key: str, body: bytes) -> HttpReply:
        failure = self._draw_failure()
        if failure in {"rate_limit", "server_error", "hang"}:
            return self._fail(failure)
        try:
            request = _Request.read(body)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            said = f"The request is no chat completion request: {error}"
            return _error(HTTPStatus.BAD_REQUEST, said, "invalid_request")
        answer = self._answers.find(task_key, request.prompt)
        if answer is None:
            self.counts.not_found += 1
            said = f"There is no reference for task {task_key!r} nor in its last user message."
            return _error(HTTPStatus.NOT_FOUND, said, "reference_not_found")
        content = answer.content
        if failure == "malformed":
            self.counts.failures[failure] += 1
            content = content[: max(1, len(content) // 2)]
        elif failure == "cut":
            self.counts.failures[failure] += 1
        else:
            self.counts.answered += 1
            self.counts.wrong += answer.wrong
        completion = request.completion(content, self.model)
        return _json(HTTPStatus.OK, completion, wait_s=self._latency_s, cut=failure == "cut")

    def _draw_failure(self) -> FailureKind | None:
        # Both are always drawn, so that a call's fate does not hang on the rate of others.
        hit, kind = self._random.random(), self._random.choice(self._failures.kinds)
        return kind if hit < self._failures.rate else None

    def _fail(self, failure: FailureKind) -> HttpReply:
        self.counts.failures[failure] += 1
        if failure == "hang":
            return HttpReply(0, b"", wait_s=self._failures.hang_s, silent=True)
        if failure == "rate_limit":
            wait = (("retry-after", f"{self._failures.retry_after_s:g}"),)
            return _error(HTTPStatus.TOO_MANY_REQUESTS, "Too many calls.", "rate_limit", wait)
        return _error(HTTPStatus.INTERNAL_SERVER_ERROR, "Failed on purpose.", "server_error")


@dataclass(frozen=True, slots=True)
class _Request:
    prompt: str
    num_prompt_tokens: int
    max_tokens: int | None

    @classmethod
    def read(cls, body: bytes) -> _Request:
        data = json.loads(body)
        messages = data["messages"]
        if data.get("stream"):
            raise ValueError("streaming is not offered")
        texts = [_message_text(message) for message in messages]
        asked = [text for text, m in zip(texts, messages, strict=True) if m.get("role") == "user"]
        limit = data.get("max_completion_tokens") or data.get("max_tokens")
        return cls(
            prompt=asked[-1] if asked else "",
            num_prompt_tokens=sum(num_tokens(text) for text in texts),
            max_tokens=None if limit is None else int(limit),
        )

    def completion(self, content: str, model: str) -> dict[str, Any]:
        finish = "stop"
        if self.max_tokens is not None and num_tokens(content) > self.max_tokens:
            kept = content.encode()[: self.max_tokens * BYTES_PER_TOKEN]
            content, finish = kept.decode("utf-8", "ignore"), "length"
        num_output = num_tokens(content)
        return {
            "id": "chatcmpl-reference",
            "object": "chat.completion",
            "created": 0,
            "model": model,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": content, "refusal": None},
                    "finish_reason": finish,
                }
            ],
            "usage": {
                "prompt_tokens": self.num_prompt_tokens,
                "completion_tokens": num_output,
                "total_tokens": self.num_prompt_tokens + num_output,
            },
        }


def num_tokens(text: str) -> int:
    """The stated rule: four UTF-8 bytes are a token, rounded up."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN)


def _message_text(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)


def _json(status: HTTPStatus, data: Any, *, wait_s: float = 0.0, cut: bool = False) -> HttpReply:
    return HttpReply(status, json.dumps(data).encode(), _IDENTITY, wait_s, cut)


def _error(
    status: HTTPStatus, message: str, code: str, headers: tuple[tuple[str, str], ...] = ()
) -> HttpReply:
    kind = "invalid_request_error" if status < 429 else code
    error = {"message": message, "type": kind, "param": None, "code": code}
    return HttpReply(status, json.dumps({"error": error}).encode(), (*_IDENTITY, *headers))


def _require_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ConfigError(f"{name} is {value!r}: give a share from 0 to 1.", key=name)
