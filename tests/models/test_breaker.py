"""Opens after failures in a row, heals by one probe."""

from __future__ import annotations

import pytest

from journeyman.models.breaker import Breaker
from journeyman.models.errors import ModelUnavailable


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def opened(clock: Clock) -> Breaker:
    breaker = Breaker(threshold=2, cooldown_s=10, clock=clock)
    for _ in range(2):
        breaker.settle("unavailable", probe=breaker.admit("m"))
    return breaker


def test_it_opens_after_failures_in_a_row_and_names_the_next_try() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now = 3
    assert breaker.state == "open"
    with pytest.raises(ModelUnavailable, match=r"'m' failed 2 times.*UTC \(in 7 s\)"):
        breaker.admit("m")
    with pytest.raises(ModelUnavailable):
        breaker.check("m")


def test_a_success_in_between_starts_the_count_anew() -> None:
    breaker = Breaker(threshold=2, clock=Clock())
    for outcome in ("unavailable", "answered", "unavailable"):
        breaker.settle(outcome, probe=breaker.admit("m"))  # type: ignore[arg-type]
    assert breaker.state == "closed"


def test_half_open_lets_one_probe_through_and_its_success_closes() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now = 10
    assert breaker.state == "half_open"
    breaker.check("m")  # takes no probe
    assert breaker.admit("m") is True
    with pytest.raises(ModelUnavailable, match="when the probe is back"):
        breaker.admit("m")
    breaker.settle("answered", probe=True)
    assert breaker.state == "closed"
    assert breaker.admit("m") is False


def test_a_failed_probe_opens_it_again() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now = 10
    breaker.settle("unavailable", probe=breaker.admit("m"))
    assert breaker.state == "open"
    clock.now = 20
    assert breaker.state == "half_open"


def test_a_probe_that_decides_nothing_leaves_the_way_to_the_next() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now = 10
    breaker.settle("undecided", probe=breaker.admit("m"))
    assert breaker.admit("m") is True
