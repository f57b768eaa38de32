"""What a call costs: whole micro-USD, rounded up, unknown is None."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeyman.models.errors import ConfigError
from journeyman.models.prices import Price, PriceBook
from journeyman.models.types import FrontierRequest, Usage

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}


def request(text: str = "Where?", **kwargs: object) -> FrontierRequest:
    return FrontierRequest(
        messages=({"role": "user", "content": text},),
        json_schema=SCHEMA,
        schema_name="place",
        **kwargs,  # type: ignore[arg-type]
    )


def test_a_published_model_is_priced_by_provider_and_name() -> None:
    """gpt-4o-mini is listed at 0.15 and 0.60 USD per million, 0.075 for cached input."""
    usage = Usage(input_tokens=1000, output_tokens=100, cached_tokens=400)
    assert PriceBook().cost(usage, provider="openai", model="gpt-4o-mini") == 180


def test_every_call_is_rounded_up() -> None:
    book = PriceBook({"m": Price(0.1, 0.1)})
    assert book.cost(Usage(1, 0), provider="", model="m") == 1
    assert book.cost(Usage(10, 0), provider="", model="m") == 1
    assert book.cost(Usage(11, 0), provider="", model="m") == 2
    assert book.cost(Usage(), provider="", model="m") == 0


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "no-such-model"),
        ("no-such-provider", "gpt-4o-mini"),
        ("", "gpt-4o-mini"),
        ("openai", ""),
        ("openai", "text-embedding-3-small"),  # an input price alone does not price a completion
        ("cerebras", "qwen-3-coder-480b"),  # listed, without prices
    ],
)
def test_an_unknown_price_is_none_never_zero(provider: str, model: str) -> None:
    assert PriceBook().cost(Usage(10, 10), provider=provider, model=model) is None
    assert PriceBook().upper_bound(request(), model, provider=provider) is None


def test_own_prices_come_before_published_ones_and_a_provider_before_all() -> None:
    book = PriceBook({"gpt-4o-mini": Price(1, 1), "azure/gpt-4o-mini": Price(2, 2)})
    assert book.cost(Usage(10, 10), provider="openai", model="gpt-4o-mini") == 20
    assert book.cost(Usage(10, 10), provider="azure", model="gpt-4o-mini") == 40


def test_a_free_model_costs_zero_when_someone_says_so() -> None:
    book = PriceBook({"mine": Price(0, 0)})
    assert book.cost(Usage(10, 10), provider="", model="mine") == 0
    assert book.upper_bound(request(), "mine") == 0


def test_cached_tokens_take_their_own_price_and_never_exceed_the_input() -> None:
    book = PriceBook({"m": Price(10, 0, cached_input_per_million_usd=1)})
    assert book.cost(Usage(10, 0, cached_tokens=4), provider="", model="m") == 64
    assert book.cost(Usage(10, 0, cached_tokens=99), provider="", model="m") == 10
    assert PriceBook().cost(Usage(10, 0, 99), provider="openai", model="gpt-4o-mini") == 1


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_a_price_that_is_no_price_is_refused(bad: float) -> None:
    with pytest.raises(ConfigError, match="USD per million"):
        Price(1, bad)


@given(
    text=st.text(max_size=200),
    used=st.floats(0, 1),
    cached=st.floats(0, 1),
    price=st.tuples(*[st.floats(0, 100)] * 3),
    max_output=st.integers(1, 5000),
)
def test_no_usage_within_the_limits_costs_more_than_the_upper_bound(
    text: str, used: float, cached: float, price: tuple[float, float, float], max_output: int
) -> None:
    """A byte-level tokenizer makes at most one token of a byte."""
    book = PriceBook({"m": Price(*price)})
    asked = request(text, max_output_tokens=max_output)
    bound = book.upper_bound(asked, "m")
    num_input = len(text.encode("utf-8", "surrogatepass")) + len(str(SCHEMA)) + 40
    usage = Usage(num_input, int(used * max_output), int(cached * num_input))
    cost = book.cost(usage, provider="", model="m")
    assert bound is not None
    assert cost is not None
    assert cost <= bound


def test_the_upper_bound_grows_with_prompt_bytes_and_output_limit() -> None:
    book = PriceBook({"m": Price(1, 1)})
    small = book.upper_bound(request("a"), "m")
    assert small is not None
    assert book.upper_bound(request("ä" * 50), "m") == small + 99
    assert book.upper_bound(request("a", max_output_tokens=1124), "m") == small + 100


def test_nothing_bounds_a_prompt_with_an_image() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://example.org/x.png"}}
    asked = FrontierRequest(
        messages=({"role": "user", "content": [{"type": "text", "text": "What?"}, image]},),
        json_schema=SCHEMA,
        schema_name="place",
    )
    assert PriceBook({"m": Price(1, 1)}).upper_bound(asked, "m") is None


def test_the_provider_follows_from_the_address() -> None:
    book = PriceBook()
    assert book.provider_of("https://api.openai.com/v1") == "openai"
    assert book.provider_of("http://127.0.0.1:8000/v1") == ""


def test_pricing_never_touches_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert PriceBook().cost(Usage(1000, 0), provider="openai", model="gpt-4o-mini") == 150
    assert PriceBook().cost(Usage(1000, 0), provider="openai", model="nobody-lists-this") is None
