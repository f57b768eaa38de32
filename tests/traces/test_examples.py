"""Examples remember their side and the round that used them first, whatever curation says later."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from journeyman.models.errors import TraceError
from journeyman.models.types import Check
from journeyman.traces.collect import collect
from journeyman.traces.curate import Curation, Settings, curate
from journeyman.traces.examples import ExampleStore
from journeyman.traces.labels import LabelledTask
from journeyman.traces.split import Shares
from journeyman.traces.store import Store

from .labelled import labelled, many
from .test_collect import escalate


@pytest.fixture
def examples(store: Store) -> ExampleStore:
    return ExampleStore(store)


def keys(rows: Any) -> list[str]:
    return sorted(row.task_key for row in rows)


def failing(row: LabelledTask) -> list[Check]:
    return [Check("grounded", passed="wrong" not in str(row.target))]


def test_what_was_saved_comes_back(examples: ExampleStore) -> None:
    curation = curate(many(60))
    examples.save(curation, round_id="r1")
    for part in ("train", "head", "calibration"):
        found = examples.load("desk", part=part)
        assert [row.task for row in found] == [row.task for row in curation.rows(part)]
        assert [(r.target, r.group, r.part, r.created_at) for r in found] == [
            (r.target, r.group, r.part, r.created_at) for r in curation.rows(part)
        ]


def test_saving_again_changes_nothing(examples: ExampleStore) -> None:
    curation = curate(many(40))
    first = examples.save(curation, round_id="r1")
    before = examples.counts("desk"), keys(examples.load("desk", used=True))
    assert examples.save(curation, round_id="r1") == first
    assert (examples.counts("desk"), keys(examples.load("desk", used=True))) == before


def test_what_a_round_taught_is_replayed_by_the_next_one_and_not_by_itself(
    examples: ExampleStore,
) -> None:
    curation = curate(many(40))
    examples.save(curation, round_id="r1")
    replayed = examples.load("desk", part="train", used=True)
    assert keys(replayed) == keys(curation.train)
    assert {row.origin for row in replayed} == {"replay"}
    assert examples.load("desk", part="train", used=True, before_round="r1") == []


def test_the_first_round_that_used_an_example_is_remembered(examples: ExampleStore) -> None:
    curation = curate(many(40))
    examples.save(curation, round_id="r1")
    examples.save(curation, round_id="r2")
    assert keys(examples.load("desk", part="train", used=True, before_round="r2")) == keys(
        curation.train
    )


def test_rows_that_did_not_fit_the_mix_are_free_for_the_next_round(
    examples: ExampleStore,
) -> None:
    examples.save(curate(many(60), settings=Settings(size=10)), round_id="r1")
    assert len(examples.load("desk", part="train", used=True)) == 10
    assert len(examples.load("desk", part="train", used=False)) > 20


def test_a_group_never_changes_its_side(examples: ExampleStore) -> None:
    rows = many(100)
    examples.save(curate(rows), round_id="r1")
    moved = curate(rows, settings=Settings(salt="another"))
    with pytest.raises(TraceError, match="would change their side"):
        examples.save(moved, round_id="r2")
    fixed = curate(rows, settings=Settings(salt="another"), fixed=examples.splits("desk"))
    examples.save(fixed, round_id="r2")
    assert set(examples.splits("desk").values()) == {"train", "head", "calibration"}


def test_doubtful_labels_wait_and_do_not_teach(examples: ExampleStore) -> None:
    rows = [replace(row, target="wrong") for row in many(100)]
    curation = curate(rows, verify=failing)
    examples.save(curation, round_id="r1")
    assert examples.load("desk", part="train") == []
    held = examples.load("desk", part="calibration")
    assert keys(held) == keys(curation.calibration)
    assert {row.failed_check for row in held} == {"grounded"}


def test_a_corrected_label_replaces_the_doubtful_one(examples: ExampleStore) -> None:
    row = next(iter(curate(many(10)).train))
    wrong = replace(row, target="wrong")
    examples.save(curate([wrong], verify=failing), round_id="r1")
    gold = replace(row, target="gold", label_source="human")
    examples.save(curate([wrong, gold], verify=failing), round_id="r2")
    (found,) = examples.load("desk")
    assert (found.target, found.label_source) == ("gold", "human")


def test_refused_rows_are_kept_with_the_reason(examples: ExampleStore, store: Store) -> None:
    rows = [replace(row, trainable=False, withheld="terms") for row in many(50)]
    examples.save(curate(rows), round_id="r1")
    assert examples.load("desk", part="train") == []
    reasons = store.read(
        lambda c: c.exec_driver_sql(
            "SELECT DISTINCT excluded_reason FROM examples WHERE status = 'refused'"
        ).scalars()
        .all()
    )  # fmt: skip
    assert reasons == ["not_trainable: terms"]


def test_examples_from_traces_keep_their_provenance(examples: ExampleStore, store: Store) -> None:
    for i in range(30):
        escalate(store, f"question number {i} about {i * i}", task_key=str(i), evidence={"p": 0.5})
    curation = curate(collect(store, "extraction").rows, settings=Settings(shares=Shares(0.5, 0)))
    examples.save(curation, round_id="r1")
    found = {row.task_key: row for row in examples.load("extraction", part="calibration")}
    for row in curation.calibration:
        assert found[row.task_key] == row
    assert len(found) > 5


def test_sub_agents_do_not_see_each_other(examples: ExampleStore) -> None:
    examples.save(curate(many(10)), round_id="r1")
    assert examples.load("other") == []
    assert examples.splits("other") == {}


def test_nothing_is_saved_as_nothing(examples: ExampleStore) -> None:
    assert examples.save(Curation(), round_id="r1") == 0


@hypothesis_settings(
    max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(st.lists(st.text(), max_size=5), st.text())
def test_any_text_comes_back(examples: ExampleStore, texts: list[str], target: str) -> None:
    agent = f"desk {len(examples.splits('x'))}"
    rows = [labelled(text, target, at=i, agent=agent) for i, text in enumerate(texts)]
    curation = curate(rows, fixed=examples.splits(agent))
    examples.save(curation, round_id="r")
    found = {row.task_key: row.target for row in examples.load(agent)}
    assert all(found[row.task_key] == row.target for row in curation.train)
