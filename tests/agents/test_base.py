"""What every sub-agent has: the same skill with another student, side by side with the first."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from journeyman.agents.debugging import Debugging
from journeyman.agents.index import Index
from journeyman.agents.passages import Passage
from journeyman.agents.retrieval import Retrieval
from journeyman.models.errors import ConfigError
from tests.graph.triage import KeywordStudent, Ticket, Triage


class Alarmed(KeywordStudent):
    """Finds every ticket urgent."""

    def predict(self, items: Sequence[str]) -> list[float]:
        return [1.0 for _ in items]

    def fingerprint(self) -> str:
        return "alarmed"


async def test_two_students_of_one_skill_answer_side_by_side() -> None:
    first = Triage(KeywordStudent())
    second = first.with_student(Alarmed())
    calm = Ticket(text="How do I print?")
    attempts = await asyncio.gather(
        *(agent.attempt(calm) for agent in (first, second) for _ in range(8))
    )
    assert [a.output.severity for a in attempts] == ["low"] * 8 + ["high"] * 8
    assert isinstance(second, Triage)
    assert first.release != second.release


def test_a_debugging_orders_candidates_by_its_new_ranker() -> None:
    class Ranker:
        taught = True

        def predict(self, items: Sequence[Any]) -> list[Any]:
            return [0.0 for _ in items]

        def fingerprint(self) -> str:
            return "ranker"

    first = Debugging()
    second = first.with_student(Ranker())
    assert second.ranker is second.student
    assert first.ranker is not second.ranker
    assert first.release != second.release


def test_a_retrieval_refuses_a_student_of_another_document_tower() -> None:
    class Tower:
        dimension = 2

        def __init__(self, name: str) -> None:
            self._name = name

        def predict(self, items: Sequence[str]) -> list[Any]:
            return [[1.0, 0.0] for _ in items]

        def embed_documents(self, texts: Sequence[str], **_: Any) -> Any:
            return np.tile(np.array([1.0, 0.0], dtype=np.float32), (len(texts), 1))

        def fingerprint(self) -> str:
            return self._name

        def document_fingerprint(self) -> str:
            return self._name

    index = Index.build([Passage(id="a", text="one"), Passage(id="b", text="two")], Tower("x"))
    retrieval = Retrieval(index, Tower("x"))
    assert retrieval.with_student(Tower("x")).student is not retrieval.student
    with pytest.raises(ConfigError, match="another document tower"):
        retrieval.with_student(Tower("y"))
