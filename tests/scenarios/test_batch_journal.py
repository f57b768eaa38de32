"""What is finished is found again, wherever a job was cut off, with a window's worth of memory."""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeyman.models.errors import ConfigError
from journeyman.scenarios import batch_journal
from journeyman.scenarios.batch_journal import STEADY, BatchJournal

SMALL = 8


def line(number: int) -> dict[str, Any]:
    return {**dict.fromkeys(STEADY), "key": number, "source": "student", "cost_microusd": 0}


def write_some(journal: BatchJournal, num_rows: int, rng: random.Random, most: int) -> None:
    """Finish open rows at random, never a window ahead of the first open one."""
    left = [number for number in range(num_rows) if number not in journal.done]
    for _ in range(min(most, len(left))):
        ready = [number for number in left if number - left[0] < SMALL]
        number = rng.choice(ready)
        left.remove(number)
        journal.write([(number, line(number))])


@given(
    num_rows=st.integers(0, 60),
    seed=st.integers(),
    cuts=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 100)), max_size=4),
)
def test_cut_off_anywhere_all_rows_come_out_once_and_in_order(
    num_rows: int, seed: int, cuts: list[tuple[int, int]]
) -> None:
    rng = random.Random(seed)
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(batch_journal, "WINDOW", SMALL),
    ):
        target = Path(folder) / "out.jsonl"
        for most, torn in cuts:
            with BatchJournal(target, {}) as journal:
                write_some(journal, num_rows, rng, most)
                part = journal.part
            data = part.read_bytes()
            last = data.rfind(b"\n", 0, -1) + 1
            part.write_bytes(data[: max(last, len(data) - torn)])
            with BatchJournal(target, {}) as journal:
                whole = [json.loads(one)["row"] for one in part.read_bytes().splitlines()]
                found = {number for number in range(num_rows) if number in journal.done}
                assert found == set(whole)
        with BatchJournal(target, {}) as journal:
            write_some(journal, num_rows, rng, num_rows)
            journal.finish(ordered=True, details=False)
        keys = [json.loads(one)["key"] for one in target.read_text().splitlines()]
        assert keys == list(range(num_rows))
        assert [path.name for path in Path(folder).iterdir()] == ["out.jsonl"]


def test_damage_in_the_middle_is_told_and_not_mended(tmp_path: Path) -> None:
    with BatchJournal(tmp_path / "out.jsonl", {}) as journal:
        journal.write([(0, line(0)), (1, line(1))])
    journal.part.write_bytes(b"\0" * 9 + b"\n" + journal.part.read_bytes())
    with pytest.raises(ConfigError, match="damaged in line 1: drop it with --restart"):
        BatchJournal(tmp_path / "out.jsonl", {})


def test_two_processes_do_not_write_one_output(tmp_path: Path) -> None:
    with (
        BatchJournal(tmp_path / "out.jsonl", {}),
        pytest.raises(ConfigError, match="Another process is writing"),
    ):
        BatchJournal(tmp_path / "out.jsonl", {})
