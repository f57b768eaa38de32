"""Answers that people wrote are held to the form of the sub-agent, and compared as it compares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from journeyman.models.errors import ConfigError
from journeyman.scenarios.answer_forms import AnswerForm, answer_form
from journeyman.scenarios.paths import find_suite
from journeyman.scenarios.suite import load_suite

SPAN = {"field": "package", "start": 0, "end": 6, "text": "pandas", "item": None, "unique": True}
GIVEN = {"values": {"package": "pandas"}, "spans": [SPAN], "problems": []}


@pytest.fixture(scope="module")
def records() -> AnswerForm:
    """Of the desk suite, whose schema has an optional package."""
    form = answer_form("extraction", load_suite(find_suite("desk")))
    assert form is not None
    return form


def test_a_record_may_be_given_by_its_values_alone(records: AnswerForm) -> None:
    read = records.read({"package": "pandas"})
    assert read == {"values": {"package": "pandas"}, "spans": [], "problems": []}


def test_places_of_values_that_were_changed_are_left_out(records: AnswerForm) -> None:
    changed = {**GIVEN, "values": {"package": "numpy"}}
    assert records.read(changed, beside=GIVEN)["spans"] == []
    assert records.read(GIVEN, beside=GIVEN) == GIVEN


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"packge": "pandas"}, "no 'packge'"),
        ({"values": {"line": "many"}}, "line"),
        ({"values": 3}, "values"),
        ([], "no Record"),
    ],
)
def test_what_does_not_fit_the_schema_is_refused_with_its_place(
    records: AnswerForm, answer: Any, told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        records.read(answer)


def test_records_agree_by_their_values_however_they_were_found(records: AnswerForm) -> None:
    other = {"values": {"package": "numpy"}}
    assert records.agrees(GIVEN, {"values": {"package": "pandas"}}) is True
    assert records.agrees(GIVEN, other) is False
    assert records.agrees(None, other) is None
    assert records.agrees({"severity": "high"}, other) is None


def test_plans_may_name_known_routes_only_and_agree_by_them(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(
        "version: 1\nsuite: shelves\nagent: routing\nmetric: accuracy\n"
        "agents: {routing: {routes: {paint: walls, garden: plants}}}\n"
        "scenarios: [{id: one, input: white wall paint, expected: [paint]}]\n",
        encoding="utf-8",
    )
    form = answer_form("routing", load_suite(path))
    assert form is not None
    plan = form.read({"steps": [{"agent": "paint", "input": {}}]})
    assert plan == {"steps": [{"agent": "paint", "input": {}, "wave": 0}]}
    with pytest.raises(ConfigError, match=r"'tools'.*known are garden, paint"):
        form.read({"steps": [{"agent": "tools", "input": {}}]})
    assert form.agrees(plan, {"steps": [{"agent": "paint", "input": {"text": "x"}}]}) is True
    assert form.agrees(plan, {"steps": []}) is False


def test_without_a_suite_answers_are_held_to_their_type() -> None:
    form = answer_form("extraction")
    assert form is not None
    assert form.read({"anything": 1})["values"] == {"anything": 1}
    assert form.agrees(GIVEN, GIVEN) is None
    assert not form.fits({"values": 3})


def test_a_sub_agent_of_the_users_own_has_no_form_here() -> None:
    assert answer_form("triage") is None
