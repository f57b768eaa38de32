"""Looks at a sub-agent's labels are counted once each, and from the last alarm that stands."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from journeyman.graph.looks import Looks
from journeyman.graph.round import run_round
from journeyman.models.certificate import Certificate, certify_joint
from journeyman.models.spending import Spending, most_spent
from journeyman.models.types import Risk
from journeyman.traces.records import now
from journeyman.traces.registry import Registry
from journeyman.traces.rounds import RoundStore
from journeyman.traces.store import Store
from tests.graph.apprentice import Desk, notes, put_on_record

TARGET = Risk(max_error=0.05, delta=0.1)


@pytest.fixture
def registry(store: Store, tmp_path: Path) -> Registry:
    return Registry(store, tmp_path / "data")


def looks(store: Store, registry: Registry) -> Looks:
    """Those of a round that begins now."""
    rounds = RoundStore(store)
    return Looks(rounds.begin("desk"), rounds, registry)


def offered_after(num_proofs: int) -> float:
    """Delta of a proof after others that spent all they were offered."""
    spent = Spending()
    for _ in range(num_proofs):
        spent = spent.after(spent.offer)
    return TARGET.delta * spent.offer


def offered(which: Looks) -> float:
    return which.risk(TARGET).delta


def give_up_in(store: Store, stage: str) -> None:
    rounds = RoundStore(store)
    rounds.reach(rounds.begin("desk").id, stage)
    rounds.give_up("desk")


def test_the_first_proof_is_offered_half_of_delta(store: Store, registry: Registry) -> None:
    first = looks(store, registry)
    assert offered(first) == TARGET.delta / 2
    assert (first.judged(), first.shifted_at()) == (1, None)


def test_a_further_proof_is_offered_a_third_of_what_the_first_one_leaves(
    store: Store, registry: Registry
) -> None:
    first = looks(store, registry)
    spent = most_spent(265, first.risk(TARGET))
    assert 0.7 * TARGET.delta / 2 < spent < TARGET.delta / 2
    assert first.risk(TARGET, further_on=265).delta == pytest.approx((TARGET.delta - spent) / 3)


def test_too_few_labels_for_any_proof_spend_nothing(store: Store, registry: Registry) -> None:
    which = looks(store, registry)
    assert which.risk(TARGET, further_on=40) == which.risk(TARGET)


@pytest.mark.parametrize(
    ("stage", "spent"),
    [("collect", 0), ("train", 0), ("evaluate", 0), ("certify", 1), ("decide", 1), ("promote", 2)],
)
def test_a_round_that_was_given_up_may_have_looked(
    store: Store, registry: Registry, stage: str, spent: int
) -> None:
    give_up_in(store, stage)
    assert offered(looks(store, registry)) == pytest.approx(offered_after(spent))


def proof(num_labels: int) -> Certificate:
    """A first one, of a student that is always right."""
    risk = TARGET.model_copy(update={"delta": offered_after(0)})
    wrong = np.zeros(num_labels, dtype=bool)
    return certify_joint(np.linspace(0, 1, num_labels), wrong, risk).bind("desk@1", "frontier")


@pytest.mark.parametrize(("num_labels", "is_worth"), [(300, False), (375, False), (900, True)])
def test_a_further_proof_is_tried_where_it_would_allow_clearly_more_wrong_answers(
    num_labels: int, is_worth: bool, store: Store, registry: Registry
) -> None:
    """A quarter more labels do not make up for the delta that the second look has less."""
    which = looks(store, registry)
    assert which.is_worth_while(TARGET, num_labels, "desk@1", proof(300)) is is_worth


def test_what_proves_nothing_is_proved_again_as_soon_as_that_allows_an_error(
    store: Store, registry: Registry
) -> None:
    which = looks(store, registry)
    assert not which.is_worth_while(TARGET, 60, "desk@1", proof(40))
    assert which.is_worth_while(TARGET, 200, "desk@1", proof(40))


def test_rounds_of_other_sub_agents_do_not_count(store: Store, registry: Registry) -> None:
    rounds = RoundStore(store)
    rounds.reach(rounds.begin("other").id, "certify")
    rounds.give_up("other")
    assert offered(looks(store, registry)) == offered_after(0)


def test_counting_begins_anew_with_an_alarm_that_stands(store: Store, tmp_path: Path) -> None:
    class Clock:
        at = now()

        def __call__(self) -> Any:
            self.at += timedelta(seconds=1)
            return self.at

    put_on_record(store, Desk(), notes(400))
    report = run_round(Desk(), store, tmp_path / "data")
    assert report.in_traffic is not None
    clock = Clock()
    registry = Registry(store, tmp_path / "data", clock=clock)
    rounds = RoundStore(store, clock=clock)

    def next_offer() -> float:
        risk = Looks(rounds.begin("desk"), rounds, registry).risk(TARGET)
        rounds.give_up("desk")
        return risk.delta

    proved = report.arms[str(report.challenger)].certificate
    assert proved is not None
    share = most_spent(proved.n, proved.risk) / report.target["delta"]
    second = pytest.approx(TARGET.delta * (1 - share) / 3)
    assert next_offer() == second
    registry.suspend("desk", report.in_traffic, "drift")
    assert next_offer() == offered_after(0)
    registry.resume("desk", report.in_traffic)
    assert next_offer() == second
