"""One HTTP server that students are served by: vLLM, or whatever speaks its routes.

Time limits, retries, the limit on calls at once and the circuit breaker are kept here. What the
server refuses is a reply with its status; what it fails at is an error. Knows the routes that tell
of models, and nothing of students or of what an answer means.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx2
import openai

from journeyman.models.breaker import Breaker, Outcome
from journeyman.models.errors import ConfigError, ModelUnavailable
from journeyman.models.loop_clients import LoopClients
from journeyman.models.slots import Slots

T = TypeVar("T")

_FIRST_BACKOFF_S = 0.25
_AGAIN = frozenset({408, 429})
_REFUSED_FROM = 400
_FAILED_FROM = 500
_LONGEST_SAID = 300


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server said.

    Attributes:
        status: HTTP status, below 500.
        data: The JSON of the body; its text where it is none.
    """

    status: int
    data: Any

    @property
    def is_refusal(self) -> bool:
        """Whether the request was refused."""
        return self.status >= _REFUSED_FROM

    @property
    def said(self) -> str:
        """The server's own words of a refusal, cut short."""
        data = self.data
        if isinstance(data, Mapping):
            error = data.get("error", data)
            data = error.get("message", error) if isinstance(error, Mapping) else error
        return " ".join(str(data).split())[:_LONGEST_SAID]


@dataclass(frozen=True, slots=True)
class Card:
    """What a server says of one model that it serves.

    Attributes:
        root: Where it was loaded from, on the server's side; empty where it does not say.
        parent: Name of the base that an adapter lies on; None for a base.
        window: Tokens of a prompt and its answer together; None where it does not say.
    """

    root: str = ""
    parent: str | None = None
    window: int | None = field(default=None, compare=False)


class Server:
    """A server by its address. Safe to use from several tasks, event loops and threads at once.

    Attributes:
        url: Address up to and including `/v1`.
        num_breaks: How often a connection broke or the server failed; whoever relies on the server
            being the same as before looks whether it has changed.

    Args:
        url: The address, with or without `/v1`.
        api_key_env: Environment variable that holds the key, read at the first call; unset: none.
        timeout_s: Seconds for one request, its retries included.
        max_tries: HTTP calls for one request; one that ran out of time is not tried again.
        max_concurrency: HTTP calls at the same time, over all event loops.
        breaker: When to stop asking; by default after 5 failed requests in a row, for 10 s.
        sleep, clock: Waiting and monotonic seconds, for tests.

    Raises:
        ConfigError: The address is none.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key_env: str = "JOURNEYMAN_SERVED_API_KEY",
        timeout_s: float = 60.0,
        max_tries: int = 3,
        max_concurrency: int = 256,
        breaker: Breaker | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = checked_url(url)
        self.timeout_s = timeout_s
        self.num_breaks = 0
        self._root = self.url.removesuffix("/v1")
        self._api_key_env = api_key_env
        self._max_tries = max_tries
        self._slots = Slots(max_concurrency)
        self._breaker = breaker or Breaker(cooldown_s=10.0, clock=clock, kind="Server")
        self._sleep = sleep
        self._clock = clock
        self._clients = LoopClients()

    def __repr__(self) -> str:
        return f"Server({self.url!r})"

    async def get(self, path: str, *, timeout_s: float | None = None) -> Reply:
        """What the server has at a path: `/models` below `/v1`, `//health` below its root.

        Raises:
            ModelUnavailable: It could not be reached, failed, or did not answer in time.
        """
        return await self._ask("GET", path, None, timeout_s)

    async def post(
        self, path: str, body: Mapping[str, Any], *, timeout_s: float | None = None
    ) -> Reply:
        """The server's reply to JSON; as `get`.

        Raises:
            ModelUnavailable: As `get`.
        """
        return await self._ask("POST", path, body, timeout_s)

    async def cards(self) -> dict[str, Card]:
        """What it serves, by name.

        Raises:
            ModelUnavailable: It does not say.
        """
        reply = await self.get("/models")
        try:
            return {str(entry["id"]): _card(entry) for entry in reply.data["data"]}
        except (KeyError, TypeError) as error:
            raise ModelUnavailable(
                f"The server at {self.url!r} does not list its models (status {reply.status}): "
                f"check that it speaks OpenAI's API, and the key in ${self._api_key_env}.",
                model=self.url,
            ) from error

    async def aclose(self) -> None:
        """Close the connections of the running event loop; a later call opens new ones."""
        await self._clients.aclose()

    async def _ask(
        self, method: str, path: str, body: Mapping[str, Any] | None, timeout_s: float | None
    ) -> Reply:
        self._breaker.check(self.url)
        async with self._slots:
            probe = self._breaker.admit(self.url)
            outcome: Outcome = "undecided"
            try:
                reply = await self._tries(method, path, body, timeout_s or self.timeout_s)
                if (
                    method == "POST"
                ):  # lists are answered at the door, even where all behind it hangs
                    outcome = "answered"
                return reply
            except ModelUnavailable:
                outcome = "unavailable"
                raise
            finally:
                self._breaker.settle(outcome, probe=probe)

    async def _tries(
        self, method: str, path: str, body: Mapping[str, Any] | None, timeout_s: float
    ) -> Reply:
        deadline = self._clock() + timeout_s
        num_tries = 0
        while True:
            num_tries += 1
            try:
                # The client's own limit is for each read; a server that drips must end as well.
                async with asyncio.timeout(max(deadline - self._clock(), 0.001)):
                    return await self._once(method, path, body)
            except (TimeoutError, openai.APITimeoutError) as error:
                self.num_breaks += 1
                raise self._failure(f"did not answer within {timeout_s:g} s") from error
            except openai.APIStatusError as error:
                self.num_breaks += 1
                failure = self._failure(f"failed with status {error.status_code}")
            except (openai.OpenAIError, httpx2.RequestError, ValueError) as error:
                self.num_breaks += 1
                cause = error.__cause__ or error
                failure = self._failure(f"could not be reached ({type(cause).__name__})")
            wait_s = _FIRST_BACKOFF_S * 2 ** (num_tries - 1)
            if num_tries >= self._max_tries or self._clock() + wait_s >= deadline:
                raise failure
            await self._sleep(wait_s)

    async def _once(self, method: str, path: str, body: Mapping[str, Any] | None) -> Reply:
        client = await self._clients.get(self._client)
        # Below the server's root there are routes that OpenAI's API does not have.
        where = self._root + path[1:] if path.startswith("//") else path
        try:
            if method == "GET":
                raw = await client.get(where, cast_to=httpx2.Response)
            else:
                raw = await client.post(where, body=dict(body or {}), cast_to=httpx2.Response)
        except openai.APIStatusError as error:
            if error.status_code >= _FAILED_FROM or error.status_code in _AGAIN:
                raise
            raw = error.response
        return Reply(raw.status_code, _data(raw.content))

    def _failure(self, what: str) -> ModelUnavailable:
        return ModelUnavailable(
            f"The server at {self.url!r} {what}: see that it runs, e.g. by `journeyman serve`.",
            model=self.url,
        )

    def _client(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(
            api_key=os.environ.get(self._api_key_env) or "none",
            base_url=self.url,
            max_retries=0,
            timeout=None,
            http_client=openai.DefaultAsyncHttpxClient(
                follow_redirects=False,
                trust_env=not _is_loopback(self.url),  # a proxy does not lead back to this machine
                limits=httpx2.Limits(max_connections=None, max_keepalive_connections=64),
            ),
        )


def checked_url(url: str) -> str:
    """The address up to and including `/v1`.

    Raises:
        ConfigError: It is no HTTP address.
    """
    try:
        parts = urlsplit(url)
        known = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:  # brackets that hold no IPv6 address
        known = False
    if not known:
        raise ConfigError(
            f"Server address {url.rpartition('@')[2]!r} is none: write it like "
            f"'http://127.0.0.1:8000/v1'.",
            key="served.url",
        )
    return url.rstrip("/").removesuffix("/v1") + "/v1"


def run_blocking(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine to its end from code that is not asynchronous, in an event loop or not."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work())
    with ThreadPoolExecutor(1) as thread:  # the running loop cannot run another
        return thread.submit(lambda: asyncio.run(work())).result()


def _card(entry: Mapping[str, Any]) -> Card:
    parent, window = entry.get("parent"), entry.get("max_model_len")
    return Card(
        root=str(entry.get("root") or ""),
        parent=None if parent is None else str(parent),
        window=window if isinstance(window, int) else None,
    )


def _data(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace")


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
