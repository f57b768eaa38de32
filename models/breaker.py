"""A circuit breaker: after several failures in a row, stop asking for a while.

Closed, it lets every call through. After `threshold` failures in a row it opens: calls fail at once
until `cooldown_s` has passed. Then one probe goes through; its success closes the breaker, its
failure opens it again. Safe to share between threads and event loops. What a failure is, the
caller decides.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Literal

from journeyman.models.errors import ModelUnavailable

Outcome = Literal["answered", "unavailable", "undecided"]


class Breaker:
    """Guards one server.

    Args:
        threshold: Failures in a row that open it, at least 1.
        cooldown_s: Seconds it stays open.
        clock: Monotonic seconds, for tests.
        kind: What messages call a model behind it.
    """

    def __init__(
        self,
        *,
        threshold: int = 5,
        cooldown_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        kind: str = "Frontier model",
    ) -> None:
        self._kind = kind
        self._threshold = max(1, threshold)
        self._cooldown_s = cooldown_s
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._open_until: float | None = None
        self._probing = False

    @property
    def state(self) -> Literal["closed", "open", "half_open"]:
        """Whether calls go through, fail at once, or one of them may try."""
        with self._lock:
            if self._open_until is None:
                return "closed"
            return "open" if self._clock() < self._open_until else "half_open"

    def check(self, model: str) -> None:
        """Fail now if a call would be refused; takes no probe.

        Raises:
            ModelUnavailable: The breaker is open.
        """
        with self._lock:
            self._refuse_if_open(model)

    def admit(self, model: str) -> bool:
        """Let a call through; True where it is the probe. Report its outcome with `settle`.

        Raises:
            ModelUnavailable: The breaker is open, or another probe is under way.
        """
        with self._lock:
            self._refuse_if_open(model)
            probe = self._open_until is not None
            self._probing = self._probing or probe
            return probe

    def settle(self, outcome: Outcome, *, probe: bool) -> None:
        """Say how an admitted call ended; `undecided` says nothing about the server."""
        with self._lock:
            if probe:
                self._probing = False
            if outcome == "answered":
                self._failures = 0
                self._open_until = None
            elif outcome == "unavailable":
                self._failures += 1
                if probe or self._failures >= self._threshold:
                    self._open_until = self._clock() + self._cooldown_s

    def _refuse_if_open(self, model: str) -> None:
        if self._open_until is None:
            return
        left = self._open_until - self._clock()
        if left <= 0 and not self._probing:
            return
        when = datetime.now(UTC) + timedelta(seconds=max(left, 0))
        until = (
            f"at {when:%H:%M:%S} UTC (in {left:.0f} s)" if left > 0 else "when the probe is back"
        )
        raise ModelUnavailable(
            f"{self._kind} {model!r} failed {self._failures} times in a row and is not asked for "
            f"now: the next try is {until}; check the server.",
            model=model,
        )
