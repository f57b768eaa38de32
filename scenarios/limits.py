"""When a suite run stops before its end: money, time, errors, the first failure.

What is in flight when a limit is met still finishes and counts, so that what was paid for is kept;
a cost may therefore pass its limit by what those scenarios cost.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from journeyman.graph.clients import frontier_from
from journeyman.graph.settings import Settings
from journeyman.models.errors import ConfigError
from journeyman.models.types import Usage
from journeyman.scenarios.finished import Finished
from journeyman.scenarios.spec import PassRule


@dataclass(frozen=True)
class Limits:
    """What a run may take; None is no limit.

    Attributes:
        max_cost_usd: Of all answers, those of the run that it resumes included.
        max_time_s: Wall time of this process.
        max_errors: Scenarios that may end in an error before the run stops: more than that stop it.
        max_error_share: The same as a share of all that are planned.
        fail_fast: Stop at the first scenario that fails the run: so many of its epochs were lost
            that its pass rule cannot be met.
        allow_unpriced: Under a cost, answers whose price is unknown count as free.
    """

    max_cost_usd: float | None = None
    max_time_s: float | None = None
    max_errors: int | None = None
    max_error_share: float | None = None
    fail_fast: bool = False
    allow_unpriced: bool = False


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a run stopped early.

    Attributes:
        kind: `cost`, `time`, `errors`, `failure` or `key`.
        reason: In one sentence.
    """

    kind: str
    reason: str


class Watch:
    """Looks after the limits of one run.

    Args:
        limits: What it may take.
        epochs: How often each scenario runs.
    """

    def __init__(self, limits: Limits, epochs: Mapping[str, int]) -> None:
        self._limits = limits
        self._epochs = epochs
        self._lost: Counter[str] = Counter()
        self._started = time.monotonic()
        self._num_errors = 0
        self._num_unpriced = 0
        self._cost = 0
        self._first_failure: str | None = None

    def count(self, finished: Finished) -> None:
        """One more result."""
        cost = finished.cost_microusd
        self._num_errors += finished.status == "error"
        self._num_unpriced += cost is None
        self._cost += cost or 0
        if finished.outcome == "error" or (finished.outcome == "failed" and finished.is_test):
            name = finished.scenario_id
            self._lost[name] += 1
            epochs = self._epochs.get(name, 1)
            needed = (finished.passes or PassRule()).needed(epochs)
            if self._lost[name] > epochs - needed:
                self._first_failure = self._first_failure or name

    def stop(self) -> Stop | None:
        """Why the run should stop now; None to go on."""
        limits = self._limits
        if limits.max_time_s is not None and self.seconds >= limits.max_time_s:
            return Stop("time", f"--max-time of {limits.max_time_s:g} s is over.")
        if limits.max_cost_usd is not None:
            if self._num_unpriced and not limits.allow_unpriced:
                return Stop("cost", f"The price of an answer is not known, so {_UNPRICED}")
            if self._cost >= limits.max_cost_usd * 1e6:
                return Stop("cost", f"--max-cost of ${limits.max_cost_usd:g} is spent.")
        allowed = self._allowed_errors()
        if allowed is not None and self._num_errors > allowed:
            return Stop("errors", f"{self._num_errors} scenarios ended in an error (--max-errors).")
        if limits.fail_fast and self._first_failure is not None:
            return Stop("failure", f"{self._first_failure!r} did not pass (--fail-fast).")
        return None

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return time.monotonic() - self._started

    def _allowed_errors(self) -> float | None:
        if self._limits.max_errors is not None:
            return self._limits.max_errors
        if self._limits.max_error_share is not None:
            return self._limits.max_error_share * sum(self._epochs.values())
        return None


_UNPRICED = (
    "--max-cost cannot be kept; set [frontier.price] in the settings, leave --max-cost out, or set "
    "budget.allow_unpriced."
)


def require_price(settings: Settings) -> None:
    """See, before anything is spent under a cost, that the frontier's price is known.

    Raises:
        ConfigError: It is not, and the settings do not allow that.
    """
    frontier = frontier_from(settings, None)
    if frontier is None or settings.budget.allow_unpriced:
        return
    one = Usage(input_tokens=1, output_tokens=1)
    if frontier.prices.cost(one, provider=frontier.provider, model=frontier.model) is None:
        raise ConfigError(
            f"The price of {frontier.model!r} is not known, so {_UNPRICED}", key="frontier.price"
        )


def parse_max_errors(written: str | None) -> tuple[int | None, float | None]:
    """`--max-errors` as a number and as a share: `5` or `10%`.

    Raises:
        ConfigError: It is neither.
    """
    if written is None:
        return None, None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(%?)", written.strip())
    if found is None or (found[2] and float(found[1]) > 100) or (not found[2] and "." in found[1]):
        raise ConfigError(f"--max-errors {written!r} is no number; write it as 5 or as 10%.")
    return (None, float(found[1]) / 100) if found[2] else (int(found[1]), None)
