"""Targets that make no sense, and stores that are not there, are refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.inside import journeyman


@pytest.mark.parametrize("command", [("round", "extraction"), ("curve", "snips")])
@pytest.mark.parametrize("option", ["--max-error", "--delta"])
def test_a_target_beyond_all_bounds_is_refused(
    tmp_path: Path, command: tuple[str, ...], option: str
) -> None:
    done = journeyman(tmp_path, *command, option, "2")
    assert done.returncode == 2
    assert f"{option} is 2.0: give a number between 0 and 1" in done.stderr


def test_a_round_makes_no_trace_store_where_there_is_none(tmp_path: Path) -> None:
    done = journeyman(tmp_path, "round", "extraction", "--store", "mistyped.db")
    assert done.returncode == 2
    assert "mistyped.db" in done.stderr
    assert not (tmp_path / "mistyped.db").exists()


def test_a_round_after_the_demo_is_told_where_the_demos_store_is(tmp_path: Path) -> None:
    (tmp_path / ".journeyman").mkdir()
    (tmp_path / ".journeyman" / "demo.db").touch()
    done = journeyman(tmp_path, "round", "extraction")
    assert done.returncode == 2
    assert "--store .journeyman/demo.db" in done.stderr
