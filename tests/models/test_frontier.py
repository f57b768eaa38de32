"""The frontier over real HTTP: every trouble is survived or named, every cent counted."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any, Self

import pytest

from journeyman.models.breaker import Breaker
from journeyman.models.budget import Budget
from journeyman.models.errors import (
    BudgetExceeded,
    ConfigError,
    KeyRejected,
    MalformedOutput,
    ModelError,
    ModelUnavailable,
    UnknownPrice,
)
from journeyman.models.frontier import Frontier, _is_loopback
from journeyman.models.loopback_http import HttpReply, HttpRequest, LoopbackServer
from journeyman.models.prices import Price, PriceBook
from journeyman.models.reference_frontier import Failures, Reference, ReferenceFrontier
from journeyman.models.types import FrontierRequest, Usage

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CITIES = [Reference({"city": f"City {n}"}, task_key=f"key{n}", prompt=f"<{n}>") for n in range(50)]
PRICES = PriceBook({"reference": Price(1, 1)})
SECRET = "sk-very-secret-key"


def request(number: int = 1, **changes: Any) -> FrontierRequest:
    fields: dict[str, Any] = {
        "messages": ({"role": "user", "content": f"<{number}>"},),
        "json_schema": SCHEMA,
        "schema_name": "place",
        "task_key": f"key{number}",
    }
    return FrontierRequest(**{**fields, **changes})


class FakeTime:
    """A clock that only moves when someone sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


class Script:
    """A purpose-made server: plays its replies in turn, the last one for ever, and keeps count."""

    def __init__(self, *replies: HttpReply | Callable[[HttpRequest], HttpReply]) -> None:
        self.replies = list(replies)
        self.seen: list[HttpRequest] = []
        self._server = LoopbackServer(self.play, name="script")

    def play(self, asked: HttpRequest) -> HttpReply:
        self.seen.append(asked)
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        return reply(asked) if callable(reply) else reply

    @property
    def base_url(self) -> str:
        return f"{self._server.url}/v1"

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(asked.body) for asked in self.seen]

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.__exit__(*exc_info)


def completion(
    content: str | None = '{"city": "Rome"}',
    *,
    finish: str = "stop",
    usage: tuple[int, int] | None = (10, 5),
    refusal: str | None = None,
    wait_s: float = 0.0,
) -> HttpReply:
    message = {"role": "assistant", "content": content, "refusal": refusal}
    body: dict[str, Any] = {
        "model": "served-model",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
    }
    if usage:
        body["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1]}
    return HttpReply(200, json.dumps(body).encode(), wait_s=wait_s)


def failure(
    status: int, message: str = "no", param: str | None = None, **headers: str
) -> HttpReply:
    body = {"error": {"message": message, "param": param, "code": None}}
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return HttpReply(status, json.dumps(body).encode(), named)


def frontier(server: Script | ReferenceFrontier, **settings: Any) -> Frontier:
    """A frontier that waits in no time."""
    fake = FakeTime()
    defaults: dict[str, Any] = {"prices": PRICES, "sleep": fake.sleep, "clock": fake, "seed": 1}
    return Frontier("reference", base_url=server.base_url, **{**defaults, **settings})


async def arrived(server: Script, num_calls: int) -> None:
    """Wait until the server, in its own thread, has seen the calls."""
    async with asyncio.timeout(5):
        while len(server.seen) < num_calls:  # noqa: ASYNC110  # another thread counts
            await asyncio.sleep(0.005)


# Answers.


async def test_an_answer_carries_data_usage_cost_and_tries() -> None:
    with Script(completion()) as server:
        async with frontier(server) as model:
            reply = await model.complete(request())
    assert reply.data == {"city": "Rome"}
    assert reply.text == '{"city": "Rome"}'
    assert reply.model == "served-model"
    assert reply.usage == Usage(10, 5)
    assert reply.cost_microusd == 15
    assert reply.num_tries == 1


async def test_a_price_or_a_usage_that_is_not_known_costs_none_not_zero() -> None:
    with Script(completion(), completion(usage=None)) as server:
        async with frontier(server, prices=PriceBook()) as model:
            assert (await model.complete(request())).cost_microusd is None
        async with frontier(server) as model:
            assert (await model.complete(request())).cost_microusd is None


async def test_latency_counts_the_waiting() -> None:
    fake = FakeTime()
    with Script(failure(429, retry_after="3"), completion()) as server:
        async with frontier(server, sleep=fake.sleep, clock=fake) as model:
            reply = await model.complete(request())
    assert reply.latency_ms >= 3000


async def test_the_task_key_goes_to_loopback_hosts_only() -> None:
    with Script(completion()) as server:
        async with frontier(server) as model:
            await model.complete(request())
            await model.complete(request(task_key="ä\nb"))  # no header value
            model._is_local = False
            model._api_key_env = "PATH"  # any value
            await model.complete(request())
    keys = [asked.headers.get("x-journeyman-task") for asked in server.seen]
    assert keys == ["key1", None, None]


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("localhost.evil.org", False),
        ("api.openai.com", False),
        ("10.0.0.1", False),
        ("", False),
    ],
)
def test_what_is_loopback(host: str, local: bool) -> None:
    assert _is_loopback(host) == local


async def test_options_go_with_the_request() -> None:
    with Script(completion()) as server:
        settings = {"temperature": 0.0, "extra_body": {"reasoning_effort": "low"}}
        async with frontier(server, **settings) as model:
            await model.complete(request(max_output_tokens=9))
    body = server.bodies[0]
    assert body["model"] == "reference"
    assert (body["temperature"], body["reasoning_effort"], body["max_tokens"]) == (0.0, "low", 9)
    assert body["response_format"]["json_schema"]["strict"] is True


# Retries.


@pytest.mark.parametrize(
    "trouble",
    [
        failure(408),
        failure(409),
        failure(429),
        failure(500),
        failure(503),
        HttpReply(0, b"", silent=True),
        HttpReply(200, b'{"choices": []}' * 50, cut=True),
        HttpReply(200, b"<html>Bad gateway</html>", (("content-type", "text/html"),)),
        HttpReply(200, b'{"error": {"message": "busy", "code": 503}}'),
        completion('{"city": "Ro'),
        completion('{"town": "Rome"}'),
        completion(None),
    ],
    ids=[
        "408",
        "409",
        "429",
        "500",
        "503",
        "silent",
        "cut",
        "html",
        "hidden",
        "broken",
        "schema",
        "empty",
    ],
)
async def test_a_trouble_that_passes_is_survived(trouble: HttpReply) -> None:
    with Script(trouble, trouble, completion()) as server:
        async with frontier(server) as model:
            reply = await model.complete(request())
    assert reply.data == {"city": "Rome"}
    assert reply.num_tries == 3


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("rate_limit", ModelUnavailable),
        ("server_error", ModelUnavailable),
        ("hang", ModelUnavailable),
        ("malformed", MalformedOutput),
        ("cut", ModelUnavailable),
    ],
)
async def test_a_trouble_that_stays_gets_its_name(kind: str, error: type[ModelError]) -> None:
    failures = Failures(1.0, (kind,), hang_s=5)  # type: ignore[arg-type]
    with ReferenceFrontier(CITIES, failures=failures) as server:
        async with frontier(server, max_tries=3, timeout_s=0.6) as model:
            with pytest.raises(error) as caught:
                await model.complete(request())
        assert server.counts.failures[kind] == 3
    assert type(caught.value) is error
    assert caught.value.num_tries == 3
    assert caught.value.model == "reference"


async def test_a_fleet_of_tasks_survives_every_kind_of_failure_at_once() -> None:
    """A third of all calls fail in one of five ways; every task gets its right answer."""
    failures = Failures(0.33, hang_s=5, retry_after_s=0.01)
    with ReferenceFrontier(CITIES, failures=failures, seed=3) as server:
        settings = {"max_tries": 12, "timeout_s": 1.0, "breaker": Breaker(threshold=99)}
        async with frontier(server, **settings) as model:
            replies = await asyncio.gather(*[model.complete(request(n)) for n in range(50)])
        assert set(server.counts.failures) == set(failures.kinds)
    assert [reply.data["city"] for reply in replies] == [f"City {n}" for n in range(50)]


async def test_the_server_down_is_unavailable_and_free() -> None:
    with Script(completion()) as server:
        url = server.base_url
    budget = Budget(per_run_usd=1)
    model = Frontier(
        "reference", base_url=url, prices=PRICES, budget=budget, sleep=FakeTime().sleep
    )
    async with model:
        with pytest.raises(ModelUnavailable, match=r"could not be reached.*check base_url"):
            await model.complete(request(), run_id="r")
    assert budget.run_spent("r") == 0


async def test_a_server_that_drips_is_cut_off_by_the_clock() -> None:
    """Every read succeeds, the answer never ends."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n")
        try:
            for _ in range(200):
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.02)
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    url = f"http://127.0.0.1:{port}/v1"
    start = time.monotonic()
    async with server, Frontier("m", base_url=url, timeout_s=0.2, max_tries=1) as model:
        with pytest.raises(ModelUnavailable, match="in time"):
            await model.complete(request())
        assert time.monotonic() - start < 2


@pytest.mark.parametrize(
    ("headers", "at_least"),
    [
        ({"retry_after": "7"}, 7.0),
        ({"retry_after_ms": "1500"}, 1.5),
        ({"x_ratelimit_reset_requests": "1m2s"}, 62.0),
    ],
)
async def test_what_the_server_asks_to_wait_is_waited(
    headers: dict[str, str], at_least: float
) -> None:
    fake = FakeTime()
    with Script(failure(429, **headers), completion()) as server:
        async with frontier(server, sleep=fake.sleep, clock=fake) as model:
            await model.complete(request())
    assert at_least <= fake.slept[0] <= at_least * 1.1


async def test_without_a_hint_the_waits_grow_and_vary() -> None:
    waits = []
    for seed in (1, 2):
        fake = FakeTime()
        with Script(failure(500)) as server:
            settings = {"sleep": fake.sleep, "clock": fake, "seed": seed, "max_tries": 6}
            async with frontier(server, **settings) as model:
                with pytest.raises(ModelUnavailable):
                    await model.complete(request())
        assert len(fake.slept) == 5
        for number, wait in enumerate(fake.slept):
            assert 0.25 * 2**number <= wait <= min(0.5 * 2**number, 8)
        waits.append(fake.slept)
    assert waits[0] != waits[1]


async def test_a_wait_beyond_the_deadline_fails_now() -> None:
    fake = FakeTime()
    with Script(failure(429, retry_after="3600")) as server:
        async with frontier(server, sleep=fake.sleep, clock=fake) as model:
            with pytest.raises(ModelUnavailable, match="429"):
                await model.complete(request())
    assert fake.slept == []
    assert len(server.seen) == 1


async def test_the_deadline_ends_the_retries() -> None:
    with Script(failure(503, retry_after="20")) as server:
        async with frontier(server, max_tries=99, deadline_s=50) as model:
            with pytest.raises(ModelUnavailable):
                await model.complete(request())
    assert len(server.seen) == 3


async def test_a_pause_that_outlasts_the_deadline_ends_the_call() -> None:
    """It waits for a pause that another call was told of; a try without time is only billed."""
    fake = FakeTime()
    with Script(completion("not JSON", wait_s=0.2), completion()) as server:
        async with frontier(server, sleep=fake.sleep, clock=fake, deadline_s=50) as model:
            asking = asyncio.create_task(model.complete(request()))
            await arrived(server, 1)
            model._paused_until = 60.0
            with pytest.raises(MalformedOutput):
                await asking
    assert len(server.seen) == 1


async def test_a_rate_limit_for_one_call_holds_the_others_back() -> None:
    """In a storm each caller would otherwise find out for itself."""
    told = asyncio.Event()
    release = asyncio.Event()
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        told.set()
        await release.wait()

    with Script(failure(429, retry_after="30"), completion()) as server:
        async with frontier(server, sleep=sleep, clock=lambda: 0.0) as model:
            limited = asyncio.create_task(model.complete(request(1)))
            await told.wait()
            other = asyncio.create_task(model.complete(request(2)))
            await asyncio.sleep(0.05)
            assert len(server.seen) == 1  # the other has not even asked
            release.set()
            await asyncio.gather(limited, other)
    assert min(waits) >= 30


async def test_a_redirect_is_not_followed() -> None:
    """Neither the key nor the task goes to where a server points."""
    with Script(completion()) as elsewhere:
        there = f"{elsewhere.base_url}/chat/completions"
        with Script(failure(307, location=there)) as server:
            async with frontier(server, api_key=SECRET) as model:
                with pytest.raises(ModelError, match=r"moved to http://127.*set base_url"):
                    await model.complete(request())
    assert elsewhere.seen == []


async def test_a_storm_of_rate_limits_is_survived() -> None:
    """20 calls per window of 50 ms; 60 tasks at once all get through, politely."""
    window = {"start": 0.0, "calls": 0}

    def limited(asked: HttpRequest) -> HttpReply:
        now = time.monotonic()
        if now - window["start"] > 0.05:
            window.update(start=now, calls=0)
        window["calls"] += 1
        if window["calls"] > 20:
            return failure(429, retry_after_ms="50")
        return completion()

    with Script(limited) as server:
        settings = {"sleep": asyncio.sleep, "clock": time.monotonic, "max_concurrency": 16}
        async with frontier(server, **settings) as model:
            replies = await asyncio.gather(*[model.complete(request(n)) for n in range(60)])
    assert len(replies) == 60
    assert all(reply.data == {"city": "Rome"} for reply in replies)


# What is not tried again.


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "HTTP 400: no"),
        (401, "set the environment variable 'MY_KEY' to a valid API key"),
        (402, "add credit"),
        (403, "use another model"),
        (404, "check the model's name and base_url"),
        (413, "shorten the task"),
        (307, "set base_url to the new address"),
    ],
)
async def test_a_refused_call_is_not_repeated(status: int, message: str) -> None:
    with Script(failure(status)) as server:
        async with frontier(server, api_key_env="MY_KEY") as model:
            with pytest.raises(ModelError, match=message) as caught:
                await model.complete(request())
    assert type(caught.value) is (KeyRejected if status == 401 else ModelError)
    assert len(server.seen) == 1
    assert caught.value.num_tries == 1


async def test_a_missing_key_is_named_before_any_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    model = Frontier("m", base_url="https://frontier.example/v1", api_key_env="MY_KEY")
    with pytest.raises(ModelError, match="set the environment variable 'MY_KEY'"):
        await model.complete(request())


async def test_an_unknown_reference_says_so() -> None:
    with ReferenceFrontier(CITIES) as server:
        async with frontier(server) as model:
            with pytest.raises(ModelError, match="no reference for task 'key99'"):
                await model.complete(request(99))


async def test_a_truncated_completion_is_malformed_with_its_own_advice() -> None:
    with ReferenceFrontier(CITIES) as server:
        async with frontier(server) as model:
            with pytest.raises(MalformedOutput, match="raise max_output_tokens") as caught:
                await model.complete(request(max_output_tokens=2))
        assert server.counts.calls == 1
    assert caught.value.completion == '{"city":'


async def test_a_whole_answer_at_the_limit_is_an_answer() -> None:
    """Some servers fill the rest with white space."""
    with Script(completion('{"city": "Rome"}   \n\n', finish="length")) as server:
        async with frontier(server) as model:
            assert (await model.complete(request())).data == {"city": "Rome"}


@pytest.mark.parametrize(
    "reply",
    [completion(None, refusal="I cannot help."), completion("", finish="content_filter")],
)
async def test_a_refusal_is_malformed_and_counted(reply: HttpReply) -> None:
    with Script(reply) as server:
        async with frontier(server) as model:
            with pytest.raises(MalformedOutput, match="refused to answer") as caught:
                await model.complete(request())
    assert len(server.seen) == 1
    assert caught.value.usage == Usage(10, 5)
    assert caught.value.cost_microusd == 15


async def test_malformed_output_carries_the_last_completion() -> None:
    with Script(completion("no"), completion('{"city": 3}')) as server:
        async with frontier(server, max_tries=2) as model:
            with pytest.raises(
                MalformedOutput, match=r"'place' \(city: 3 is not of type"
            ) as caught:
                await model.complete(request())
    assert caught.value.completion == '{"city": 3}'


# Asking in a weaker format.


def takes(*kinds: str | None) -> Callable[[HttpRequest], HttpReply]:
    """A server that knows only some response formats; None is no format at all."""

    def play(asked: HttpRequest) -> HttpReply:
        given = json.loads(asked.body).get("response_format", {})
        kind = given.get("type")
        if given.get("json_schema", {}).get("strict"):
            kind = "strict"
        if kind in kinds:
            text = '{"city": "Rome"}'
            return completion(f"Sure:\n```json\n{text}\n```" if kind is None else text)
        return failure(400, "unsupported value", "response_format")

    return play


@pytest.mark.parametrize(
    ("kinds", "num_tries"),
    [
        (("strict", "json_schema"), 1),
        (("json_schema", "json_object", None), 2),
        (("json_object", None), 3),
        ((None,), 4),
    ],
)
async def test_a_refused_format_falls_back_and_is_remembered(
    kinds: tuple[str | None, ...], num_tries: int
) -> None:
    with Script(takes(*kinds)) as server:
        async with frontier(server, max_tries=1) as model:
            first = await model.complete(request(1))
            second = await model.complete(request(2))
    assert first.data == second.data == {"city": "Rome"}
    assert (first.num_tries, second.num_tries) == (num_tries, 1)


async def test_strictness_refused_for_one_schema_is_kept_for_others() -> None:
    other = {"type": "object", "properties": {"n": {"type": "string"}}, "required": ["n"]}

    def play(asked: HttpRequest) -> HttpReply:
        form = json.loads(asked.body)["response_format"]["json_schema"]
        if form["strict"] and "city" in form["schema"]["properties"]:
            return failure(400, "schema too deep for strict", "response_format")
        return completion('{"city": "Rome", "n": "1"}')

    with Script(play) as server:
        async with frontier(server) as model:
            for schema in (SCHEMA, other, SCHEMA):
                await model.complete(request(json_schema=schema))
    strict = [body["response_format"]["json_schema"]["strict"] for body in server.bodies]
    assert strict == [True, False, True, False]


async def test_a_refusal_that_no_format_mends_is_reported_and_not_remembered() -> None:
    with Script(failure(400, "bad json_schema")) as server:
        async with frontier(server) as model:
            for _ in range(2):
                with pytest.raises(ModelError, match="bad json_schema"):
                    await model.complete(request())
    kinds = [body.get("response_format", {}).get("type") for body in server.bodies]
    assert kinds == ["json_schema", "json_schema", "json_object", None] * 2


async def test_a_refused_limit_field_is_exchanged_and_remembered() -> None:
    def play(asked: HttpRequest) -> HttpReply:
        if "max_tokens" in json.loads(asked.body):
            return failure(400, "Unsupported parameter, use 'max_completion_tokens'.", "max_tokens")
        return completion()

    with Script(play) as server:
        async with frontier(server) as model:
            tries = [(await model.complete(request())).num_tries for _ in range(2)]
    assert tries == [2, 1]


# Money.


async def test_the_usage_of_every_try_is_counted() -> None:
    replies = [completion("no", usage=(100, 10)), failure(500), completion(usage=(100, 20))]
    budget = Budget(per_run_usd=1)
    with Script(*replies) as server:
        async with frontier(server, budget=budget) as model:
            reply = await model.complete(request(), run_id="r")
    assert reply.num_tries == 3
    assert reply.usage == Usage(200, 30)
    assert reply.cost_microusd == 230
    assert budget.run_spent("r") == 230


async def test_a_cap_refuses_before_the_call() -> None:
    bound = PRICES.upper_bound(request(), "reference")
    assert bound is not None
    with Script(completion()) as server:
        budget = Budget(per_run_usd=(bound - 1) / 1e6)
        async with frontier(server, budget=budget) as model:
            with pytest.raises(BudgetExceeded, match="per_run_usd"):
                await model.complete(request(), run_id="r")
    assert server.seen == []


async def test_a_retry_that_the_cap_forbids_is_not_made() -> None:
    bound = PRICES.upper_bound(request(), "reference")
    assert bound is not None
    with Script(completion("no", usage=(500, 500)), completion()) as server:
        budget = Budget(per_run_usd=(bound + 900) / 1e6)
        async with frontier(server, budget=budget) as model:
            with pytest.raises(BudgetExceeded) as caught:
                await model.complete(request(), run_id="r")
    assert len(server.seen) == 1
    assert caught.value.cost_microusd == 1000


async def test_an_unknown_price_under_a_cap_is_refused_unless_allowed() -> None:
    with Script(completion()) as server:
        async with frontier(server, prices=PriceBook(), budget=Budget(per_day_usd=1)) as model:
            with pytest.raises(UnknownPrice, match="allow unpriced"):
                await model.complete(request())
        assert server.seen == []
        budget = Budget(per_day_usd=1, allow_unpriced=True)
        async with frontier(server, prices=PriceBook(), budget=budget) as model:
            assert (await model.complete(request())).cost_microusd is None


@pytest.mark.parametrize(
    ("trouble", "kept"),
    [
        (failure(400), False),
        (failure(429), False),
        (failure(500), False),
        (failure(504), True),
        (HttpReply(0, b"", silent=True), True),
        (completion(wait_s=5), True),
        (completion(usage=None), True),
        (HttpReply(200, b"<html>"), True),
    ],
    ids=["400", "429", "500", "504", "silent", "timeout", "no usage", "html"],
)
async def test_what_may_have_been_billed_stays_spent(trouble: HttpReply, kept: bool) -> None:
    budget = Budget(per_run_usd=1)
    with Script(trouble) as server:
        async with frontier(server, budget=budget, max_tries=1, timeout_s=1) as model:
            try:
                await model.complete(request(), run_id="r")
            except ModelError as error:
                assert error.num_tries == 1  # noqa: PT017  # some of these succeed
    assert budget.run_spent("r") == (PRICES.upper_bound(request(), "reference") if kept else 0)


async def test_tasks_at_once_never_pass_a_cap_by_what_the_server_reports() -> None:
    """32 tasks in 4 runs ask for far more than both caps allow; the server counts what it bills."""
    bound = PRICES.upper_bound(request(), "reference")
    assert bound is not None
    billed = {"total": 0}

    def bill(asked: HttpRequest) -> HttpReply:
        billed["total"] += 400
        return completion(usage=(300, 100), wait_s=0.005)

    per_run, per_day = 2 * bound + 1000, 3 * bound + 3000
    budget = Budget(per_run_usd=per_run / 1e6, per_day_usd=per_day / 1e6)
    refused = 0
    with Script(bill) as server:
        async with frontier(server, budget=budget, max_concurrency=32) as model:

            async def work(number: int) -> None:
                nonlocal refused
                for _ in range(4):
                    try:
                        await model.complete(request(number), run_id=f"run{number % 4}")
                    except BudgetExceeded:
                        refused += 1

            await asyncio.gather(*[work(number) for number in range(32)])
    spent = [budget.run_spent(f"run{number}") for number in range(4)]
    assert refused > 0
    assert sum(spent) == billed["total"] == 400 * len(server.seen)
    assert max(spent) <= per_run
    assert 0 < billed["total"] <= per_day


# Availability.


async def test_the_breaker_opens_and_heals() -> None:
    fake = FakeTime()
    breaker = Breaker(threshold=2, cooldown_s=30, clock=fake)
    with Script(failure(500)) as server:
        settings = {"breaker": breaker, "sleep": fake.sleep, "clock": fake, "max_tries": 1}
        async with frontier(server, **settings) as model:
            for _ in range(2):
                with pytest.raises(ModelUnavailable, match="HTTP 500"):
                    await model.complete(request())
            with pytest.raises(ModelUnavailable, match=r"not asked for now.*in 30 s"):
                await model.complete(request())
            assert len(server.seen) == 2
            fake.now += 30
            server.replies = [completion(wait_s=0.02)]
            found = await asyncio.gather(
                *[model.complete(request(n)) for n in range(5)], return_exceptions=True
            )
            assert sum(isinstance(reply, ModelUnavailable) for reply in found) == 4  # one probe
            assert len(server.seen) == 3
            await model.complete(request())
            assert breaker.state == "closed"


async def test_a_server_that_answers_nonsense_is_not_a_server_down() -> None:
    breaker = Breaker(threshold=1)
    with Script(completion("no"), failure(404)) as server:
        async with frontier(server, breaker=breaker, max_tries=1) as model:
            with pytest.raises(MalformedOutput):
                await model.complete(request())
            with pytest.raises(ModelError):
                await model.complete(request())
    assert breaker.state == "closed"


async def test_no_more_calls_at_once_than_allowed() -> None:
    with ReferenceFrontier(CITIES, latency_ms=5) as server:
        async with frontier(server, max_concurrency=3) as model:
            await asyncio.gather(*[model.complete(request(n)) for n in range(30)])
        assert server.counts.at_once == 3


def test_the_limit_holds_over_event_loops_in_threads() -> None:
    with ReferenceFrontier(CITIES, latency_ms=5) as server:
        model = frontier(server, max_concurrency=2)

        async def crowd() -> None:
            await asyncio.gather(*[model.complete(request(n)) for n in range(10)])

        threads = [threading.Thread(target=asyncio.run, args=(crowd(),)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert server.counts.answered == 30
        assert server.counts.at_once == 2


def test_one_frontier_serves_one_event_loop_after_the_other() -> None:
    """Each loop takes its connections with it; an unclosed one would be a warning, so an error."""
    with ReferenceFrontier(CITIES) as server:
        model = frontier(server)
        for number in range(3):
            reply = asyncio.run(model.complete(request(number)))
            assert reply.data == {"city": f"City {number}"}
            assert len(model._clients) == 0
            gc.collect()


async def test_a_frontier_that_is_dropped_or_closed_leaks_nothing() -> None:
    with ReferenceFrontier(CITIES) as server:
        model = frontier(server)
        await model.complete(request())
        await model.aclose()
        await model.aclose()
        await model.complete(request())  # opens anew
        assert len(model._clients) == 1
        del model
        gc.collect()
        await asyncio.sleep(0.05)
        gc.collect()


async def test_a_cancelled_call_gives_its_slot_back_and_stays_spent() -> None:
    budget = Budget(per_run_usd=1)
    with Script(completion(wait_s=5), completion()) as server:
        async with frontier(server, max_concurrency=1, budget=budget) as model:
            first = asyncio.create_task(model.complete(request(), run_id="cancelled"))
            second = asyncio.create_task(model.complete(request(), run_id="waiting"))
            third = asyncio.create_task(model.complete(request(), run_id="next"))
            await arrived(server, 1)
            second.cancel()  # still waits for the slot: nothing was reserved
            first.cancel()
            reply = await asyncio.wait_for(third, 2)
    assert reply.data == {"city": "Rome"}
    assert first.cancelled()
    assert second.cancelled()
    bound = PRICES.upper_bound(request(), "reference")
    assert budget.run_spent("cancelled") == bound
    assert budget.run_spent("waiting") == 0
    assert budget.account("next").spent_microusd == 15


async def test_a_cancelled_probe_leaves_the_breaker_half_open() -> None:
    fake = FakeTime()
    breaker = Breaker(threshold=1, cooldown_s=1, clock=fake)
    with Script(failure(500), completion(wait_s=5), completion()) as server:
        settings = {"breaker": breaker, "sleep": fake.sleep, "clock": fake, "max_tries": 1}
        async with frontier(server, **settings) as model:
            with pytest.raises(ModelUnavailable):
                await model.complete(request())
            fake.now += 1
            probe = asyncio.create_task(model.complete(request()))
            await arrived(server, 2)
            probe.cancel()
            await asyncio.gather(probe, return_exceptions=True)
            assert breaker.state == "half_open"
            await model.complete(request())
            assert breaker.state == "closed"


# The key.


@pytest.mark.parametrize("given", ["argument", "environment"])
async def test_the_key_is_sent_and_appears_nowhere_else(
    given: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The server echoes it in every way it can; logs are at their most talkative."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("MY_KEY", SECRET)
    key: Mapping[str, str] = (
        {"api_key": SECRET} if given == "argument" else {"api_key_env": "MY_KEY"}
    )
    echoes = [
        failure(401, f"Incorrect API key provided: {SECRET}"),
        failure(400, f"Bearer {SECRET}"),
        failure(500, SECRET),
        HttpReply(200, SECRET.encode()),
        completion(None, refusal=SECRET),
    ]
    shown = []
    with Script(*echoes) as server:
        async with frontier(server, max_tries=1, **key) as model:
            shown.append(repr(model))
            for _ in echoes:
                with pytest.raises(ModelError) as caught:
                    await model.complete(request())
                shown += [repr(caught.value), "".join(traceback.format_exception(caught.value))]
    assert all(asked.headers["authorization"] == f"Bearer {SECRET}" for asked in server.seen)
    assert len(server.seen) == len(echoes)
    # A completion is what the model said, and is kept as it came.
    assert SECRET not in "".join(shown)
    assert SECRET not in caplog.text
    assert SECRET not in str(vars(model))


def test_credentials_in_an_address_are_not_shown() -> None:
    model = Frontier("m", base_url="https://user:hunter2@frontier.example/v1")
    assert repr(model) == "Frontier(model='m', host='frontier.example')"
    with pytest.raises(ConfigError) as caught:
        Frontier("m", base_url="ftp://user:hunter2@frontier.example")
    assert "hunter2" not in str(caught.value)


# Settings.


@pytest.mark.parametrize(
    "settings",
    [
        {"base_url": "localhost:8000"},
        {"base_url": "http://"},
        {"base_url": "http://[::1"},
        {"max_tries": 0},
        {"max_concurrency": 0},
        {"timeout_s": -1},
        {"deadline_s": float("nan")},
        {"extra_body": {"max_tokens": 10_000}},
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Frontier("m", **{"base_url": "http://127.0.0.1:1/v1", **settings})


async def test_a_schema_that_is_none_is_refused_before_the_call() -> None:
    with Script(completion()) as server:
        async with frontier(server) as model:
            with pytest.raises(ConfigError, match="JSON Schema"):
                await model.complete(request(json_schema={"type": "strange"}))
    assert server.seen == []


def test_the_provider_follows_from_the_address_and_decides_the_limit_field() -> None:
    openai = Frontier("gpt-4o-mini", base_url="https://api.openai.com/v1")
    assert openai.provider == "openai"
    assert "max_completion_tokens" in openai._dialect.payload(request())
    local = Frontier("gpt-4o-mini", base_url="http://127.0.0.1:8000/v1")
    assert local.provider == ""
    assert "max_tokens" in local._dialect.payload(request())
    assert Frontier("m", base_url="http://127.0.0.1:1/v1", provider="groq").provider == "groq"
