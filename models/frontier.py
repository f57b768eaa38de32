"""The frontier: a large model behind any OpenAI-compatible chat completions API.

One call asks for one JSON object that fits a schema. Retries, waiting, the circuit breaker, the
concurrency limit and the budget are kept here, so that every try is counted and none is made that
a cap forbids. The API key is held apart and never enters a message, a log or a record. Knows
nothing of sub-agents, gates or traces.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import random
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import TracebackType
from typing import Any, Self
from urllib.parse import SplitResult, urlsplit

import httpx2
import openai
from pydantic import SecretStr

from journeyman.models.breaker import Breaker, Outcome
from journeyman.models.budget import Account, Budget
from journeyman.models.completion import Completion, NoCompletionError, read_completion
from journeyman.models.errors import (
    BudgetExceeded,
    ConfigError,
    KeyRejected,
    MalformedOutput,
    ModelError,
    ModelUnavailable,
    UnknownPrice,
)
from journeyman.models.frontier_errors import (
    Endpoint,
    Trouble,
    cut_short,
    diagnose,
    refused,
    trouble_of_status,
)
from journeyman.models.loop_clients import LoopClients
from journeyman.models.prices import PriceBook
from journeyman.models.slots import Slots
from journeyman.models.structured import Dialect, SchemaChecks, Structure, parse_object
from journeyman.models.types import (
    FrontierReply,
    FrontierRequest,
    LabelSource,
    Usage,
    content_hash,
)

TASK_HEADER = "X-Journeyman-Task"
_DEFAULT_URL = "https://api.openai.com/v1"
_FIRST_BACKOFF_S = 0.5
_LAST_BACKOFF_S = 8.0
# These two refuse `max_tokens` for their newer models; everyone else knows it.
_NEW_LIMIT_FIELD = frozenset({"openai", "azure"})
# Set here and nowhere else: the upper bound of a call's cost and the reading of it rest on them.
_OWN_FIELDS = frozenset(
    {"model", "messages", "max_tokens", "max_completion_tokens", "n", "stream", "response_format"}
)


@dataclass(slots=True)
class _Call:
    """One request on its way through its tries."""

    request: FrontierRequest
    account: Account
    bound: int | None
    dialect: Dialect
    admitted: bool = False
    probe: bool = False
    deadline: float = 0.0
    num_tries: int = 0
    num_fallbacks: int = 0
    usage: Usage = field(default_factory=Usage)
    cost: int | None = 0


@dataclass(frozen=True, slots=True)
class _Parsed:
    """A completion that fits the schema."""

    data: Mapping[str, Any]
    completion: Completion


class Frontier:
    """A model that answers what the students may not.

    Safe to use from several tasks, event loops and threads at once.

    Args:
        model: Name of the model on the server.
        base_url: Address up to and including `/v1`; by default `OPENAI_BASE_URL`, else OpenAI's.
        api_key: The key itself; better left out in favour of `api_key_env`.
        api_key_env: Environment variable that holds the key, read at the first call. A server on
            this machine needs none.
        prices: What calls cost; by default the published prices.
        budget: Caps; by default none.
        provider: Whose prices apply; by default the one that the address belongs to.
        max_concurrency: HTTP calls at the same time, over all event loops.
        max_tries: HTTP calls for one request; asking anew in a weaker format is not counted.
        timeout_s: Seconds for one HTTP call.
        deadline_s: Seconds for one request with its retries, from its first call on.
        structured: How to ask for JSON at first; weaker ways follow where a server refuses.
        temperature: Sent where it is set; some models refuse any but their own.
        extra_body: Further fields of the request, e.g. `{"reasoning_effort": "low"}`.
        breaker: When to stop asking; by default after 5 failed requests in a row, for 30 s.
        label_source: What its answers are as labels; `reference` for a stand-in.
        trainable: The provider's terms allow training on its answers.
        sleep, clock, seed: Waiting, monotonic seconds and jitter, for tests.

    Raises:
        ConfigError: `base_url` is no HTTP address, or a number is out of range.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        api_key_env: str = "OPENAI_API_KEY",
        prices: PriceBook | None = None,
        budget: Budget | None = None,
        provider: str | None = None,
        max_concurrency: int = 8,
        max_tries: int = 4,
        timeout_s: float = 60.0,
        deadline_s: float = 300.0,
        structured: Structure = "json_schema",
        temperature: float | None = None,
        extra_body: Mapping[str, Any] | None = None,
        breaker: Breaker | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
        seed: int | None = None,
        label_source: LabelSource = "frontier",
        trainable: bool = True,
    ) -> None:
        _require_positive(
            max_concurrency=max_concurrency,
            max_tries=max_tries,
            timeout_s=timeout_s,
            deadline_s=deadline_s,
        )
        self.model = model
        self.label_source = label_source
        self.trainable = trainable
        self._url = base_url or os.environ.get("OPENAI_BASE_URL") or _DEFAULT_URL
        self._address = _address(self._url)
        self._is_local = _is_loopback(self._address.hostname or "")
        self._api_key = SecretStr(api_key) if api_key else None
        self._api_key_env = api_key_env
        self.prices = PriceBook() if prices is None else prices
        self.budget = Budget() if budget is None else budget
        self.provider = self.prices.provider_of(self._url) if provider is None else provider
        self._max_tries = max_tries
        self._timeout_s = timeout_s
        self._deadline_s = deadline_s
        self._options = {} if temperature is None else {"temperature": temperature}
        self._extra_body = _without_own_fields(extra_body or {})
        self._breaker = Breaker(clock=clock) if breaker is None else breaker
        self._sleep = sleep
        self._clock = clock
        self._random = random.Random(seed)
        self._slots = Slots(max_concurrency)
        self._clients = LoopClients()
        self._checks = SchemaChecks()
        new_field = self.provider in _NEW_LIMIT_FIELD
        self._dialect = Dialect(
            structure=structured,
            limit_field="max_completion_tokens" if new_field else "max_tokens",
        )
        self._not_strict: set[str] = set()
        self._paused_until = float("-inf")

    def __repr__(self) -> str:
        return f"Frontier(model={self.model!r}, host={self._address.netloc.rpartition('@')[2]!r})"

    async def complete(self, request: FrontierRequest, *, run_id: str = "") -> FrontierReply:
        """The model's JSON object for a request.

        Args:
            request: What to ask, and the schema that the answer must fit.
            run_id: The run whose budget pays.

        Returns:
            The object, with the usage and the cost of every try that reported its tokens.

        Raises:
            ModelUnavailable: The server could not be reached or is overloaded, after all tries, or
                the breaker is open.
            MalformedOutput: No completion fitted the schema, or the model refused.
            BudgetExceeded: A cap forbids the call; it was not made.
            UnknownPrice: A cap is set and nothing bounds the price; the call was not made.
            ModelError: The server refused the call for good, e.g. for its key. Any of these carries
                the tries, the usage and the cost of the failed request.
            ConfigError: The schema is no JSON Schema.
        """
        start = self._clock()
        self._checks.prepare(request.json_schema)
        self._require_key()
        self._breaker.check(self.model)
        call = _Call(
            request,
            self.budget.account(run_id),
            self.prices.upper_bound(request, self.model, provider=self.provider),
            self._dialect_for(request),
        )
        outcome: Outcome = "undecided"
        try:
            parsed = await self._run(call)
            outcome = "answered"
        except ModelError as error:
            outcome = _outcome(error)
            error.num_tries, error.usage, error.cost_microusd = (
                call.num_tries,
                call.usage,
                call.cost,
            )
            raise
        finally:
            if call.admitted:
                self._breaker.settle(outcome, probe=call.probe)
        return FrontierReply(
            data=parsed.data,
            text=parsed.completion.text,
            model=parsed.completion.model or self.model,
            provider=self.provider,
            usage=call.usage,
            cost_microusd=call.cost,
            latency_ms=(self._clock() - start) * 1000,
            num_tries=call.num_tries,
        )

    async def aclose(self) -> None:
        """Close the connections of the running event loop; a later call opens new ones."""
        await self._clients.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    # One request.

    async def _run(self, call: _Call) -> _Parsed:
        trouble: Trouble | None = None
        while True:
            pause = self._paused_until - self._clock()
            if pause > 0:
                await self._sleep(pause * (1 + 0.1 * self._random.random()))
            async with self._slots:
                if not call.admitted:  # a turn may come long after the question was asked
                    call.probe = self._breaker.admit(self.model)
                    call.admitted = True
                    call.deadline = self._clock() + self._deadline_s
                elif trouble is not None and self._clock() >= call.deadline:
                    raise trouble.error  # a try without time would only be billed
                outcome = await self._try(call)
            if isinstance(outcome, _Parsed):
                return outcome
            trouble = outcome
            weaker = trouble.refusal and call.dialect.without(trouble.refusal, call.request)
            if weaker:
                call.dialect = weaker
                call.num_fallbacks += 1
            else:
                await self._sleep(self._delay(call, trouble))

    async def _try(self, call: _Call) -> _Parsed | Trouble:
        endpoint = self._endpoint
        async with call.account.bill(call.bound, model=self.model) as bill:
            call.num_tries += 1
            try:
                body = await self._post(call)
            except (openai.OpenAIError, httpx2.RequestError, TimeoutError) as error:
                # Not chained: its traceback holds the request, and that the key.
                trouble = diagnose(error, endpoint)
                if not trouble.billed:
                    bill.spent_microusd = 0
                return trouble
            try:
                completion = read_completion(body)
            except NoCompletionError as error:
                return _no_completion(error, endpoint)
            bill.spent_microusd = self._book(call, completion)
        self._remember(call)
        return self._judge(call, completion, endpoint)

    async def _post(self, call: _Call) -> bytes:
        client = await self._clients.get(self._make_client)
        limit = min(self._timeout_s, max(call.deadline - self._clock(), 0.001))
        key = call.request.task_key
        named = self._is_local and key and key.isascii() and key.isprintable()
        create: Any = client.chat.completions.with_raw_response.create
        # The client's own limit is for each read; a server that drips must end as well.
        async with asyncio.timeout(limit):
            raw = await create(
                model=self.model,
                timeout=limit,
                extra_headers={TASK_HEADER: key} if named else None,
                extra_body=self._extra_body or None,
                **self._options,
                **call.dialect.payload(call.request),
            )
        body: bytes = raw.http_response.content
        return body

    def _book(self, call: _Call, completion: Completion) -> int | None:
        """Count a completion's tokens; its cost, or None where it is unknown."""
        usage = completion.usage
        if usage is None:
            call.cost = None
            return None
        call.usage += usage
        cost = self.prices.cost(usage, provider=self.provider, model=self.model)
        call.cost = None if cost is None or call.cost is None else call.cost + cost
        return cost

    def _judge(self, call: _Call, completion: Completion, endpoint: Endpoint) -> _Parsed | Trouble:
        if completion.refusal or completion.finish_reason == "content_filter":
            return Trouble(refused(endpoint, completion.refusal or "content filter"))
        try:
            data = parse_object(completion.text)
            problem = self._checks.violation(data, call.request.json_schema)
        except ValueError as error:
            problem = str(error)
        else:
            if problem is None:
                return _Parsed(data, completion)
        if completion.finish_reason == "length":  # asked again, it would be cut again
            return Trouble(cut_short(endpoint, completion.text))
        malformed = MalformedOutput(
            f"Frontier model {self.model!r} did not answer in the schema "
            f"{call.request.schema_name!r} ({endpoint.clean(problem)}): try a stronger model or a "
            "simpler schema.",
            model=self.model,
            completion=completion.text,
        )
        return Trouble(malformed, retry=True)

    def _delay(self, call: _Call, trouble: Trouble) -> float:
        """Seconds to wait before the next try, or the trouble's error where there is none."""
        num_tries = call.num_tries - call.num_fallbacks
        if not trouble.retry or num_tries >= self._max_tries:
            raise trouble.error
        if isinstance(trouble.error, MalformedOutput):
            return 0.0
        if trouble.wait_s:
            delay = trouble.wait_s * (1 + 0.1 * self._random.random())
        else:
            backoff = min(_FIRST_BACKOFF_S * 2 ** (num_tries - 1), _LAST_BACKOFF_S)
            delay = backoff * (0.5 + 0.5 * self._random.random())
        now = self._clock()
        if now + delay >= call.deadline:
            raise trouble.error
        if trouble.wait_s:  # it was asked of one call and concerns all
            self._paused_until = max(self._paused_until, now + trouble.wait_s)
        return delay

    # The server.

    @property
    def _endpoint(self) -> Endpoint:
        given = self._api_key is not None
        secret = self._api_key.get_secret_value() if self._api_key else ""
        secret = secret or os.environ.get(self._api_key_env, "")
        return Endpoint(
            model=self.model,
            host=self._address.netloc.rpartition("@")[2],
            key_advice="pass a valid api_key"
            if given
            else f"set the environment variable {self._api_key_env!r} to a valid API key",
            secret=secret,
        )

    def _require_key(self) -> None:
        endpoint = self._endpoint
        if not endpoint.secret and not self._is_local:
            raise KeyRejected(
                f"Frontier model {self.model!r} at {endpoint.host!r} needs an API key and none is "
                f"set: {endpoint.key_advice}.",
                model=self.model,
            )

    def _make_client(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(
            api_key=self._endpoint.secret or "none",
            base_url=self._url,
            max_retries=0,
            http_client=openai.DefaultAsyncHttpxClient(
                verify=self._ssl_context,
                follow_redirects=False,
                trust_env=not self._is_local,  # a proxy does not lead back to this machine
            ),
        )

    @cached_property
    def _ssl_context(self) -> ssl.SSLContext:
        """Shared by all clients: loading the certificates takes longer than all the rest."""
        if self._address.scheme == "http":
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        return httpx2.create_ssl_context()

    def _dialect_for(self, request: FrontierRequest) -> Dialect:
        if self._not_strict and content_hash(request.json_schema) in self._not_strict:
            return replace(self._dialect, strict=False)
        return self._dialect

    def _remember(self, call: _Call) -> None:
        """The server took this dialect: the next request starts with it."""
        if call.num_fallbacks:
            # Strictness is refused for a schema, everything else by a server.
            if call.dialect.structure == "json_schema" and not call.dialect.strict:
                self._not_strict.add(content_hash(call.request.json_schema))
            self._dialect = replace(call.dialect, strict=True)


def _outcome(error: ModelError) -> Outcome:
    """What an error says about the server."""
    if isinstance(error, (BudgetExceeded, UnknownPrice)):
        return "undecided"
    return "unavailable" if isinstance(error, ModelUnavailable) else "answered"


def _no_completion(error: NoCompletionError, endpoint: Endpoint) -> Trouble:
    if error.status is not None:
        return trouble_of_status(error.status, endpoint.clean(str(error)), endpoint)
    message = (
        f"Frontier model {endpoint.model!r} at {endpoint.host!r} did not answer with a chat "
        f"completion ({endpoint.clean(str(error))}): check base_url."
    )
    return Trouble(ModelUnavailable(message, model=endpoint.model), retry=True)


def _require_positive(**numbers: float) -> None:
    for name, value in numbers.items():
        if not value > 0:
            raise ConfigError(f"Frontier {name!r} is {value!r}: give more than 0.", key=name)


def _without_own_fields(extra_body: Mapping[str, Any]) -> dict[str, Any]:
    clash = sorted(extra_body.keys() & _OWN_FIELDS)
    if clash:
        raise ConfigError(
            f"Frontier extra_body sets {clash[0]!r}, which the request sets: leave it out.",
            key="extra_body",
        )
    return dict(extra_body)


def _address(url: str) -> SplitResult:
    try:
        address = urlsplit(url)
    except ValueError:  # brackets that hold no IPv6 address
        address = SplitResult("", "", "", "", "")
    if address.scheme not in {"http", "https"} or not address.hostname:
        shown = url.rpartition("@")[2]
        raise ConfigError(
            f"Frontier base_url {shown!r} is no address: write it like 'http://127.0.0.1:8000/v1'.",
            key="base_url",
        )
    return address


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
