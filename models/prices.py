"""What a frontier call costs, in whole micro-USD rounded up.

Prices come from the caller's own table first and from the list that ships inside `genai-prices`
second; that list is read from the installed package and never fetched. A price that neither knows
is None, never 0. Knows nothing of budgets, of discounts agreed with a provider, or of anything but
text tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Any

import genai_prices
from genai_prices.data_snapshot import get_snapshot

from journeyman.models.errors import ConfigError
from journeyman.models.types import FrontierRequest, Usage, canonical_json

MICROUSD = 1_000_000
# Chat templates, and the sentence that carries the schema where structured output is missing.
_FRAMING_TOKENS = 512


@dataclass(frozen=True, slots=True)
class Price:
    """USD for a million tokens, which is micro-USD for one.

    Attributes:
        input_per_million_usd: At least 0; 0 says that the model is free.
        output_per_million_usd: At least 0.
        cached_input_per_million_usd: For prompt tokens read from the provider's cache; None charges
            them like any other.

    Raises:
        ConfigError: A price is negative or not a number.
    """

    input_per_million_usd: float
    output_per_million_usd: float
    cached_input_per_million_usd: float | None = None

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ConfigError(
                    f"Price {name} is {value!r}: give USD per million tokens, 0 or more.", key=name
                )

    def cost(self, usage: Usage) -> Decimal:
        """Exact micro-USD of a usage; `cached_tokens` are part of `input_tokens`."""
        cached = min(usage.cached_tokens, usage.input_tokens)
        cached_price = self.cached_input_per_million_usd
        if cached_price is None:
            cached_price = self.input_per_million_usd
        return (
            _decimal(self.input_per_million_usd) * (usage.input_tokens - cached)
            + _decimal(cached_price) * cached
            + _decimal(self.output_per_million_usd) * usage.output_tokens
        )

    def dearest(self) -> Price:
        """The same price with cached tokens at whichever input price is higher."""
        dearest_input = max(self.input_per_million_usd, self.cached_input_per_million_usd or 0)
        return Price(dearest_input, self.output_per_million_usd)


class PriceBook:
    """Prices by provider and model.

    Args:
        overrides: Own prices, by `provider/model` or by `model` alone; the longer key wins.
    """

    def __init__(self, overrides: Mapping[str, Price] | None = None) -> None:
        self._overrides = dict(overrides or {})

    def cost(self, usage: Usage, *, provider: str, model: str) -> int | None:
        """Micro-USD of one call's usage, rounded up; None where the price is unknown.

        An empty `provider` is a server nobody publishes prices for: only overrides count then,
        since a model's name alone does not say what its host charges.
        """
        price = self._override(provider, model)
        exact = price.cost(usage) if price else _published_cost(usage, provider, model)
        return None if exact is None else int(exact.to_integral_value(ROUND_CEILING))

    def upper_bound(
        self, request: FrontierRequest, model: str, *, provider: str = ""
    ) -> int | None:
        """Micro-USD that one call of the request cannot exceed; None where nothing bounds it.

        A token is at least one byte, so the UTF-8 bytes of messages and schema bound the input
        (the schema twice, since a server may render it its own way), and `max_output_tokens`
        bounds the output. Images and sounds have no such bound.
        """
        if not all(_is_text(message.get("content")) for message in request.messages):
            return None
        schema_bytes = _num_bytes(request.json_schema)
        num_input = _num_bytes(list(request.messages)) + 2 * schema_bytes + _FRAMING_TOKENS
        usage = Usage(input_tokens=num_input, output_tokens=request.max_output_tokens)
        price = self._override(provider, model)
        if price is None:
            return self.cost(usage, provider=provider, model=model)
        return int(price.dearest().cost(usage).to_integral_value(ROUND_CEILING))

    def provider_of(self, base_url: str) -> str:
        """The provider that publishes prices for this address; empty where none does."""
        try:
            return get_snapshot().find_provider(None, None, base_url).id
        except LookupError:
            return ""

    def _override(self, provider: str, model: str) -> Price | None:
        return self._overrides.get(f"{provider}/{model}") or self._overrides.get(model)


def _published_cost(usage: Usage, provider: str, model: str) -> Decimal | None:
    if not provider or not model:
        return None
    counts = genai_prices.Usage(
        input_tokens=usage.input_tokens,
        cache_read_tokens=min(usage.cached_tokens, usage.input_tokens),
        output_tokens=usage.output_tokens,
    )
    try:
        found = genai_prices.calc_price(counts, model, provider_id=provider)
    except LookupError:
        return None
    price = found.model_price
    # A listed model without prices would come out as 0.
    if price.input_mtok is None or price.output_mtok is None:
        return None
    return found.total_price * MICROUSD


def _decimal(value: float) -> Decimal:
    return Decimal(str(value))


def _num_bytes(value: Any) -> int:
    return len(canonical_json(value).encode("utf-8", "surrogatepass"))


def _is_text(content: Any) -> bool:
    if content is None or isinstance(content, str):
        return True
    return all(isinstance(part, Mapping) and part.get("type") == "text" for part in content)
