"""Targets that make no sense are refused in one line, before anything is loaded."""

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
