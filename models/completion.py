"""Reads the body of a chat completion, trusting none of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from journeyman.models.types import Usage


@dataclass(frozen=True, slots=True)
class Completion:
    """What a server answered.

    Attributes:
        text: What the model said.
        finish_reason: `stop`, `length`, `content_filter`, or whatever the server calls it.
        refusal: What the model said instead of answering; empty where it answered.
        model: The model that the server names; empty where it names none.
        usage: Tokens; None where the server does not report them.
    """

    text: str
    finish_reason: str = ""
    refusal: str = ""
    model: str = ""
    usage: Usage | None = None


class NoCompletionError(Exception):
    """The body is no chat completion.

    Attributes:
        status: The HTTP status that a gateway hid in the body; None where it names none.
    """

    def __init__(self, said: str, status: int | None = None) -> None:
        super().__init__(said)
        self.status = status


def read_completion(body: bytes) -> Completion:
    """The first choice of a chat completion.

    Raises:
        NoCompletionError: The body is not one.
    """
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        start = body[:80].decode("utf-8", "replace")
        raise NoCompletionError(f"the body is not JSON: {start!r}") from None
    if not isinstance(data, Mapping):
        raise NoCompletionError("the body is not a JSON object")
    choices = data.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], Mapping):
        raise _without_choices(data)
    choice = choices[0]
    message = choice.get("message")
    if not isinstance(message, Mapping):
        raise NoCompletionError("the choice has no message")
    return Completion(
        text=_text(message.get("content")),
        finish_reason=str(choice.get("finish_reason") or ""),
        refusal=_text(message.get("refusal")),
        model=_text(data.get("model")),
        usage=_usage(data.get("usage")),
    )


def _without_choices(data: Mapping[str, Any]) -> NoCompletionError:
    error = data.get("error")
    if not error:
        return NoCompletionError("the body has no choices")
    if not isinstance(error, Mapping):
        return NoCompletionError(str(error))
    code = error.get("code")
    status = code if isinstance(code, int) and 400 <= code < 600 else None
    return NoCompletionError(str(error.get("message") or error), status)


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):  # some servers send parts
        return "".join(_text(part.get("text")) for part in content if isinstance(part, Mapping))
    return ""


def _usage(usage: Any) -> Usage | None:
    if not isinstance(usage, Mapping):
        return None
    num_input = _count(usage.get("prompt_tokens"))
    num_output = _count(usage.get("completion_tokens"))
    if num_input is None or num_output is None:
        return None
    details = usage.get("prompt_tokens_details")
    cached = _count(details.get("cached_tokens")) if isinstance(details, Mapping) else 0
    return Usage(num_input, num_output, min(cached or 0, num_input))


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
