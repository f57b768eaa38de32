"""The savings identity, and prices that nobody knows."""

from __future__ import annotations

import pytest

from journeyman.models.savings import Terms


def test_the_saving_is_the_identity() -> None:
    terms = Terms(audit_rate=0.03, frontier_microusd=100.0, student_microusd=2.0)
    assert terms.saving(0.8) == pytest.approx(0.756)
    assert terms.escalation_rate(0.8) == pytest.approx(0.224)
    assert terms.microusd_per_task(0.8) == pytest.approx(24.4)
    assert terms.saving(0.8) == pytest.approx(1 - 24.4 / 100)


def test_an_unknown_price_stays_unknown() -> None:
    assert Terms(audit_rate=0.0).saving(0.5) == 0.5
    assert Terms(audit_rate=0.0).microusd_per_task(0.5) is None
    assert Terms(student_microusd=1.0).saving(0.5) is None
    assert Terms(frontier_microusd=0.0).saving(0.5) is None
