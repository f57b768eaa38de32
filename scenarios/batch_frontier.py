"""The frontier as one batch sees it: a cap of the job's own, and an end to it when asking is vain.

A row that a cap, a rejected key or a store that cannot count the cost stands in the way of has not
been answered, so it is left for the next time instead of ending in an error; every other failure is
that row's own.
"""

from __future__ import annotations

from typing import Any

from langgraph.errors import GraphBubbleUp

from journeyman.graph.agent_graph import FrontierClient
from journeyman.models.budget import Budget
from journeyman.models.errors import (
    BudgetExceeded,
    KeyRejected,
    ModelError,
    TraceError,
    UnknownPrice,
)
from journeyman.models.types import FrontierReply, FrontierRequest, LabelSource
from journeyman.scenarios.limits import Stop


class JobStopped(GraphBubbleUp):
    """The job is stopped, so this row is left as if it had never begun."""


class JobFrontier:
    """A frontier that stops the job where no later call would fare better.

    Args:
        frontier: Who is asked.
        max_cost_usd: What the calls of this job may cost from here on; None for no cap. One call's
            retries may pass it.
    """

    def __init__(self, frontier: FrontierClient, max_cost_usd: float | None) -> None:
        self._frontier = frontier
        self._max_cost_usd = max_cost_usd
        self._account = Budget(per_run_usd=max_cost_usd).account("job")
        self.stop: Stop | None = None
        """Why nothing more is asked; None while there is no reason."""

    @property
    def model(self) -> str:
        """Its name, for the record."""
        return self._frontier.model

    @property
    def label_source(self) -> LabelSource:
        """What its answers are as labels."""
        source: LabelSource = getattr(self._frontier, "label_source", "frontier")
        return source

    @property
    def trainable(self) -> bool:
        """Its terms allow training on its answers."""
        return bool(getattr(self._frontier, "trainable", True))

    async def complete(self, request: FrontierRequest, *, run_id: str = "") -> FrontierReply:
        """As the frontier's own.

        Raises:
            JobStopped: A cap, the key or the store refuses this call and all later ones.
            ModelError: As the frontier's own.
        """
        if self.stop is not None:
            raise JobStopped
        try:
            reservation = self._account.reserve(self._bound(request), model=self.model)
        except (BudgetExceeded, UnknownPrice) as error:
            raise self._end("cost", self._told(error)) from error
        with reservation:
            try:
                reply = await self._frontier.complete(request, run_id=run_id)
            except KeyRejected as error:
                reservation.settle(error.cost_microusd)
                raise self._end("key", str(error)) from error
            except (BudgetExceeded, UnknownPrice) as error:
                reservation.settle(error.cost_microusd)
                if self._is_of_one_run(error):
                    raise
                raise self._end("cost", str(error)) from error
            except TraceError as error:  # the day's cap cannot be looked up: no row's own fault
                raise self._end("failure", str(error)) from error
            except ModelError as error:
                reservation.settle(error.cost_microusd)
                raise
            reservation.settle(reply.cost_microusd)
        return reply

    def _end(self, kind: str, reason: str) -> JobStopped:
        self.stop = self.stop or Stop(kind, reason)
        return JobStopped()

    def _bound(self, request: FrontierRequest) -> int | None:
        """The most that a call can cost, where the client knows prices."""
        prices: Any = getattr(self._frontier, "prices", None)
        if prices is None or self._max_cost_usd is None:
            return None
        provider = getattr(self._frontier, "provider", "")
        bound: int | None = prices.upper_bound(request, self.model, provider=provider)
        return bound

    def _told(self, error: ModelError) -> str:
        if isinstance(error, UnknownPrice):
            return (
                "The price of an answer is not known, so --max-cost cannot be kept; set "
                "[frontier.price] in the settings, or leave --max-cost out."
            )
        return "--max-cost is spent but for less than the next call may take."

    def _is_of_one_run(self, error: ModelError) -> bool:
        """The cap of each run refused it: the next row has a run of its own."""
        budget: Any = getattr(self._frontier, "budget", None)
        if budget is None or not isinstance(error, BudgetExceeded):
            return False
        per_run, per_day = budget.per_run_microusd, budget.per_day_microusd
        return bool(error.cap_microusd == per_run and per_run != per_day)
