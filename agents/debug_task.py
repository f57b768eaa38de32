"""What a debugging is given: the task, and the student that orders its candidates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field

from journeyman.agents.repair_search import Fault

MAX_CHARS = 100_000
"""Of code, tests or traceback."""


class DebuggingTask(BaseModel):
    """A program that misbehaves.

    Attributes:
        code: The program.
        tests: Python source that uses the program's names and raises while it is wrong.
        traceback: What it raised.
        description: What it should do.
        entry_point: The function under test; may be empty.
        hints: What other sub-agents found; shown to the frontier only.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    code: str = Field(min_length=1, max_length=MAX_CHARS)
    tests: str = Field(default="", max_length=MAX_CHARS)
    traceback: str = Field(default="", max_length=MAX_CHARS)
    description: str = ""
    entry_point: str = ""
    hints: tuple[str, ...] = ()

    @property
    def fault(self) -> Fault:
        """The task as the search takes it."""
        return Fault(self.code, self.tests, self.traceback, self.description, self.entry_point)


class CandidateRanker(Protocol):
    """A student that orders candidates, as `models.students.ranker.Ranker` does."""

    @property
    def taught(self) -> bool:
        """Do its scores mean anything?"""
        ...

    def predict(self, items: Sequence[str]) -> Sequence[float]:
        """A score for each candidate, given as words; higher is better."""
        ...

    def fingerprint(self) -> str:
        """Hash of everything that shapes a score."""
        ...


class Unranked:
    """The student of a debugging that tries its candidates in the generic order."""

    taught = False

    def predict(self, items: Sequence[str]) -> list[float]:
        """The same score for all."""
        return [0.0] * len(items)

    def fingerprint(self) -> str:
        """Always the same: there is nothing to teach."""
        return "generic-order"
