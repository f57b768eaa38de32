"""Shares by weight or by size, sensible where a class is absent, and no cluster above its share."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeyman.models.errors import ConfigError
from journeyman.traces.labels import LabelledTask
from journeyman.traces.mix import SHARES, Mixed, mix, quotas

from .labelled import labelled, many


def rows_of(**numbers: int) -> list[LabelledTask]:
    rows = many(sum(numbers.values()))
    origins = [name for name, number in numbers.items() for _ in range(number)]
    return [
        replace(row, origin=origin)  # type: ignore[arg-type]  # names of the keywords
        for row, origin in zip(rows, origins, strict=True)
    ]


def drawn(mixed: Mixed) -> dict[str, float]:
    """Share of each class when rows are drawn by weight."""
    total: Counter[str] = Counter()
    for row, weight in zip(mixed.rows, mixed.weights, strict=True):
        total[row.origin] += weight  # type: ignore[assignment]  # a counter of shares
    return {name: value / sum(mixed.weights) for name, value in total.items()}


def test_weights_make_the_shares_without_dropping_anything() -> None:
    mixed = mix(rows_of(escalation=100, audit=100, replay=100))
    assert drawn(mixed) == pytest.approx({"escalation": 0.5, "audit": 0.3, "replay": 0.2})
    assert len(mixed.rows) == 300
    assert sum(mixed.weights) == pytest.approx(300)


def test_a_size_makes_the_shares_by_number() -> None:
    mixed = mix(rows_of(escalation=200, audit=200, replay=200), size=100)
    assert mixed.counts == {"escalation": 50, "audit": 30, "replay": 20}
    assert mixed.weights == pytest.approx([1.0] * 100)
    assert Counter(drop.reason for drop in mixed.dropped) == {"mix_share": 500}


def test_the_cold_start_is_all_escalations_of_equal_weight() -> None:
    mixed = mix(rows_of(escalation=60), size=50)
    assert mixed.counts == {"escalation": 50}
    assert set(mixed.weights) == {1.0}


def test_what_a_class_lacks_the_others_give() -> None:
    mixed = mix(rows_of(escalation=500, audit=4, replay=500), size=100)
    assert mixed.counts["audit"] == 4
    assert sum(mixed.counts.values()) == 100
    assert mixed.counts["escalation"] == pytest.approx(96 * 5 / 7, abs=1)


def test_a_few_audits_are_not_learned_by_heart() -> None:
    mixed = mix(rows_of(escalation=300, audit=3))
    assert max(mixed.weights) == pytest.approx(1.5)
    assert sum(mixed.weights) == pytest.approx(303)


def test_imports_count_as_replay() -> None:
    assert mix(rows_of(escalation=5, **{"import": 5})).counts == {"escalation": 5, "replay": 5}


NUMBERS = st.fixed_dictionaries({name: st.integers(0, 50) for name in SHARES})


@given(st.integers(0, 120), NUMBERS)
def test_quotas_add_up_and_no_class_gives_more_than_it_has(
    size: int, available: dict[Any, int]
) -> None:
    given_rows = quotas(size, SHARES, available)
    assert given_rows.total() == min(size, sum(available.values()))
    assert all(given_rows[name] <= number for name, number in available.items())


@given(NUMBERS.map(lambda numbers: {name: number // 8 for name, number in numbers.items()}))
def test_weights_are_positive_and_their_mean_is_one(numbers: dict[str, int]) -> None:
    mixed = mix(rows_of(**numbers))
    assert all(weight > 0 for weight in mixed.weights)
    assert sum(mixed.weights) == pytest.approx(len(mixed.rows))


def test_a_flood_of_one_template_is_cut_to_its_share() -> None:
    flood = [
        labelled(f"set an alarm for {i} o'clock tomorrow morning", str(i), at=i) for i in range(500)
    ]
    mixed = mix([*flood, *many(600)])
    flooding = sum(row.task["text"].startswith("set an alarm") for row in mixed.rows)
    assert 20 <= flooding <= 0.05 * len(mixed.rows)
    assert len(mixed.rows) - flooding == 600
    assert Counter(drop.reason for drop in mixed.dropped) == {"cluster_cap": 500 - flooding}


def test_a_cap_that_cannot_hold_drops_nothing_and_is_said() -> None:
    rows = [labelled(f"set an alarm for {i} o'clock tomorrow", at=i) for i in range(100)]
    mixed = mix(rows)
    assert (len(mixed.rows), mixed.num_clusters, mixed.is_capped) == (100, 1, False)


@pytest.mark.parametrize("size", [None, 25])
def test_order_does_not_matter_and_seeds_do(size: int | None) -> None:
    rows = rows_of(escalation=40, audit=20, replay=20)
    turned = list(rows)
    random.Random(3).shuffle(turned)
    assert mix(turned, size=size) == mix(rows, size=size)
    assert (mix(rows, size=size).rows == mix(rows, size=size, seed=1).rows) == (size is None)


def test_nothing_mixes_to_nothing() -> None:
    assert mix([]) == Mixed(rows=(), weights=())
    assert mix(rows_of(escalation=3), size=0).rows == ()


@pytest.mark.parametrize("wrong", [{"cluster_share": 0}, {"size": -1}, {"shares": {"audit": 1.0}}])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        mix(rows_of(escalation=3), **wrong)
