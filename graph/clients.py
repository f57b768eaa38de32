"""What settings describe: the frontier client with its prices and budgets, and the forwarder."""

from __future__ import annotations

import os
from collections.abc import Mapping

from journeyman.graph.settings import BudgetSettings, FrontierSettings, OtlpSettings, Settings
from journeyman.models.budget import Budget
from journeyman.models.errors import ConfigError
from journeyman.models.frontier import Frontier
from journeyman.models.prices import Price, PriceBook
from journeyman.traces.ledger import StoreLedger
from journeyman.traces.recorder import Forwarder
from journeyman.traces.store import Store


def frontier_from(settings: Settings, store: Store | None) -> Frontier | None:
    """The configured frontier; None where no model is set.

    Args:
        settings: Where the model, its address and its caps stand.
        store: Keeps the day's budget, shared by every process that writes it; None keeps it in
            this process.

    Raises:
        ConfigError: The address or a number is wrong.
    """
    chosen = settings.frontier
    if chosen.model is None:
        return None
    return Frontier(
        chosen.model,
        base_url=chosen.base_url,
        api_key_env=chosen.api_key_env,
        prices=prices_from(chosen),
        budget=budget_from(settings.budget, store),
        provider=chosen.provider,
        max_concurrency=chosen.max_concurrency,
        max_tries=chosen.max_tries,
        timeout_s=chosen.timeout_seconds,
        trainable=chosen.trainable,
    )


def prices_from(settings: FrontierSettings) -> PriceBook:
    """Published prices, with the settings' own before them."""
    own = settings.price
    if own is None or settings.model is None:
        return PriceBook()
    return PriceBook({settings.model: Price(**own.model_dump())})


def budget_from(settings: BudgetSettings, store: Store | None) -> Budget:
    """The caps of the settings."""
    return Budget(
        per_run_usd=settings.per_run_usd,
        per_day_usd=settings.per_day_usd,
        allow_unpriced=settings.allow_unpriced,
        ledger=StoreLedger(store) if store is not None and settings.per_day_usd else None,
    )


def forwarder_from(settings: OtlpSettings) -> Forwarder | None:
    """What forwards runs to the configured collector; None where there is none.

    Raises:
        ConfigError: The `otlp` extra is not installed, or the variable of the headers is not set or
            holds no headers.
    """
    if settings.endpoint is None:
        return None
    try:
        from opentelemetry.util.re import parse_env_headers

        from journeyman.traces.otlp import OtlpForwarder
    except ImportError as error:
        raise ConfigError(
            "Setting 'otlp.endpoint' needs the `otlp` extra: pip install 'journeyman[otlp]'.",
            key="otlp.endpoint",
        ) from error
    headers: Mapping[str, str] = {}
    if settings.headers_env is not None:
        headers = parse_env_headers(os.environ.get(settings.headers_env, ""), liberal=True)
        if not headers:
            raise ConfigError(
                f"Setting 'otlp.headers_env' names {settings.headers_env!r}, which holds no "
                "headers: set it to `name=value,...`, or leave the setting out.",
                key="otlp.headers_env",
            )
    return OtlpForwarder(settings.endpoint, headers=headers, content=settings.content)
