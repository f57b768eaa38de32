"""What a student did is measured as it would serve, and its failures count against it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from journeyman.graph.arms import same_evidence
from journeyman.graph.outcomes import Outcomes, attempt_all, rows_of
from journeyman.models.errors import CorruptRecord, TrainingError
from journeyman.traces.dataset_files import DatasetRow
from tests.graph.apprentice import Desk, WordStudent


class Says:
    """A student that says what it is asked, and breaks on one word."""

    def predict(self, items: Sequence[str]) -> list[dict[str, float]]:
        if any("broken" in item for item in items):
            raise RuntimeError("cannot read this")
        return [{item.split()[0]: 0.8, "": 0.2} for item in items]

    def fingerprint(self) -> str:
        return "says"


def row(text: str, desk: str, **provenance: Any) -> DatasetRow:
    return DatasetRow(
        task_key=f"key of {text}",
        task={"text": text},
        answer={"desk": desk},
        rejected=None,
        example=None,
        weight=1.0,
        label_source="frontier",
        origin="escalation",
        trainable=True,
        provenance={"group": f"group of {text}", **provenance},
    )


def attempted(*rows: DatasetRow) -> Outcomes:
    return attempt_all(Desk(Says()), [("calibration", each) for each in rows])


def test_right_wrong_and_refused() -> None:
    found = attempted(row("garden", "garden"), row("garden 2", "travel"), row("moon", "moon"))
    assert [(item.right, item.allowed) for item in found.items] == [
        (True, True),
        (False, True),
        (True, False),
    ]
    assert found.items[0].group == "group of garden"
    assert found.items[0].evidence == pytest.approx({"top": 0.8, "margin": 0.6})


def test_a_label_in_doubt_counts_against_the_student() -> None:
    found = attempted(row("garden", "garden", failed_check="known_desk"))
    assert (found.items[0].right, found.items[0].allowed) == (False, True)


def test_a_student_that_fails_on_some_tasks_is_wrong_there() -> None:
    rows = [row(f"garden {i}", "garden") for i in range(3)]
    found = attempted(*rows, row("broken", "garden"))
    assert [item.right for item in found.items] == [True, True, True, False]
    assert (found.items[3].evidence, found.items[3].allowed) == ({}, False)


def test_a_student_that_fails_on_most_tasks_stops_the_round() -> None:
    with pytest.raises(TrainingError, match=r"2 of 3 tasks.*cannot read this"):
        attempted(row("broken", "garden"), row("broken 2", "garden"), row("garden", "garden"))


def test_a_student_that_abstains_is_never_allowed() -> None:
    found = attempt_all(Desk(WordStudent()), [("head", row("garden", "garden"))])
    assert (found.items[0].right, found.items[0].allowed) == (False, False)


def test_latency_is_felt_one_at_a_time() -> None:
    found = attempted(*(row(f"garden {i}", "garden") for i in range(120)))
    assert found.p50_ms is not None
    assert found.p95_ms is not None
    assert 0 < found.p50_ms <= found.p95_ms
    assert attempted().p50_ms is None


def test_progress_is_told_for_every_task() -> None:
    told: list[tuple[int, int]] = []
    rows = [("head", row(f"garden {i}", "garden")) for i in range(60)]
    attempt_all(Desk(Says()), rows, on_done=lambda *step: told.append(step))  # type: ignore[arg-type]
    assert told == [(i, 60) for i in range(1, 61)]


def test_they_survive_a_file(tmp_path: Path) -> None:
    found = attempted(row("garden", "garden"), row("moon", "moon"))
    found.save(tmp_path / "arm" / "outcomes.json")
    assert Outcomes.load(tmp_path / "arm" / "outcomes.json") == found
    assert [path.name for path in (tmp_path / "arm").iterdir()] == ["outcomes.json"]


def test_evidence_that_is_no_finite_number_survives_a_file(tmp_path: Path) -> None:
    (item,) = attempted(row("garden", "garden")).items
    odd = {"margin": math.nan, "distance": math.inf}
    Outcomes((replace(item, evidence=odd),)).save(tmp_path / "outcomes.json")
    (read,) = Outcomes.load(tmp_path / "outcomes.json").items
    assert same_evidence(read.evidence, odd)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"items": [{}], "p50_ms": 1}', '{"items": [{"evidence": 1}]}']
)
def test_a_damaged_file_says_what_to_do(tmp_path: Path, content: str) -> None:
    path = tmp_path / "outcomes.json"
    path.write_text(content, "utf-8")
    with pytest.raises(CorruptRecord, match="run the round again"):
        Outcomes.load(path)


def test_rows_come_in_one_order() -> None:
    rows = [row(text, "garden") for text in ("b", "a", "c")]
    assert rows_of(rows, "head") == rows_of(reversed(rows), "head")
