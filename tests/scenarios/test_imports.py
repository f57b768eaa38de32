"""Classes that a suite names: their file is a module like any other."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from journeyman.models.errors import ConfigError
from journeyman.scenarios.imports import load_name

LATE = """
from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import ClassVar

from pydantic import BaseModel


class Invoice(BaseModel):
    due: date


@dataclass
class Check:
    kind: ClassVar[str] = "check"
"""


def test_annotations_may_be_read_late(tmp_path: Path) -> None:
    (tmp_path / "invoice.py").write_text(LATE)
    invoice = load_name("invoice.py:Invoice", tmp_path)
    assert invoice.model_validate({"due": "2026-01-31"}).due == date(2026, 1, 31)
    assert load_name("invoice.py:Check", tmp_path).kind == "check"


def test_files_of_the_same_name_in_two_folders_are_two_modules(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "own.py").write_text(f"NAME = {folder!r}\n")
    assert [load_name("own.py:NAME", tmp_path / folder) for folder in ("a", "b")] == ["a", "b"]


def test_a_file_that_fails_is_told_each_time(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("raise ValueError('broken')\n")
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"Cannot import 'own.py' \(broken\)"):
            load_name("own.py:NAME", tmp_path)
