"""Audits fall where their labels certify, and stay a fair sample."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from journeyman.agents.base import Agent
from journeyman.graph.audits import EARLY_LABELS, draw_for, early_rate_of, group_of, rate_at
from journeyman.models.audit import AuditDraw, audit_chances, horvitz_thompson
from journeyman.traces.likeness import group_key
from journeyman.traces.split import SALT, Shares, part_of
from tests.graph.triage import KeywordStudent, Ticket, Triage

STUDENT = KeywordStudent()
TEXTS = [f"Ticket {i}: the printer of floor {i % 40} says {i * i}." for i in range(4000)]


def draw(agent: Agent[Any, Any], text: str, rate: float, share: float = 0.2) -> AuditDraw:
    return draw_for(agent, {"text": text}, key=text, occurrence="run", rate=rate, share=share)


def part(text: str) -> str:
    return part_of(group_key({"text": text}), SALT, Shares())


def test_most_audits_fall_on_the_part_that_a_round_certifies_with() -> None:
    drawn = Counter(part(text) for text in TEXTS if draw(Triage(STUDENT), text, 0.05).is_audited)
    assert drawn["calibration"] / drawn.total() == pytest.approx(0.8, abs=0.1)
    assert drawn.total() == pytest.approx(0.05 * len(TEXTS), rel=0.25)


def test_every_kind_of_task_may_be_audited_and_its_own_probability_is_logged() -> None:
    logged = {(part(text), draw(Triage(STUDENT), text, 0.05).probability) for text in TEXTS}
    assert {(name, round(chance, 6)) for name, chance in logged} == {
        ("calibration", 0.2),
        ("head", 0.0125),
        ("train", 0.0125),
    }


def test_the_logged_probabilities_undo_the_focus() -> None:
    """Estimated from audits, the share of tasks on even floors is theirs among all tasks."""
    draws = [draw(Triage(STUDENT), text, 0.2) for text in TEXTS]
    estimate = horvitz_thompson(
        np.array([i % 2 == 0 for i in range(len(TEXTS))]),
        np.array([one.is_audited for one in draws]),
        np.array([one.probability for one in draws]),
    )
    assert abs(estimate.value - 0.5) < 4 * estimate.standard_error < 0.2


def test_what_belongs_together_is_audited_alike() -> None:
    """Texts of one group certify together, so they have the same probability."""

    class ByFloor(Triage):
        def group(self, task: Ticket) -> str:
            return task.text.split("floor ")[1].split()[0]

    by_floor: dict[str, set[float]] = {}
    for text in TEXTS[:400]:
        floor = group_of(ByFloor(STUDENT), {"text": text})
        by_floor.setdefault(floor, set()).add(draw(ByFloor(STUDENT), text, 0.05).probability)
    assert len(by_floor) == 40
    assert all(len(chances) == 1 for chances in by_floor.values())


def test_a_task_that_no_longer_fits_is_a_group_of_its_own() -> None:
    assert group_of(Triage(STUDENT), {"words": "a"}) == group_key({"words": "a"})
    assert group_of(Triage(STUDENT), {"text": "a"}) == group_key({"text": "a"})


def test_a_certificate_of_few_labels_gets_more_of_them() -> None:
    assert rate_at(EARLY_LABELS - 1, 0.05, 0.1) == 0.1
    assert rate_at(EARLY_LABELS, 0.05, 0.1) == 0.05
    assert rate_at(10, 0.2, 0.1) == 0.2  # never fewer than are asked for
    assert rate_at(10, 0.0, 0.0) == 0.0


def test_the_early_rate_is_five_times_the_rate_unless_it_is_set() -> None:
    assert early_rate_of(0.04, None) == 0.2
    assert early_rate_of(0.0, None) == 0.0  # who wants no audits gets none
    assert early_rate_of(0.1, None) == 0.25  # and more than a quarter only where the rate itself is
    assert early_rate_of(0.3, None) == 0.3
    assert early_rate_of(0.05, 0.3) == 0.3


def test_at_the_usual_early_rate_every_task_that_certifies_is_audited() -> None:
    chances = audit_chances(early_rate_of(0.05, None), Shares().calibration)
    assert (chances.certifying, round(chances.other, 6)) == (1.0, 0.0625)


def test_a_group_that_cannot_be_told_costs_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Triage):
        def group(self, task: Ticket) -> str:
            raise RuntimeError("a bug")

    assert round(draw(Broken(STUDENT), "a", 0.05).probability, 6) in (0.2, 0.0125)
    assert "cannot be told" in caplog.text
