"""The frontier client that settings describe, with its prices and budgets."""

from __future__ import annotations

from journeyman.graph.settings import BudgetSettings, FrontierSettings, Settings
from journeyman.models.budget import Budget
from journeyman.models.frontier import Frontier
from journeyman.models.prices import Price, PriceBook
from journeyman.traces.ledger import StoreLedger
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
