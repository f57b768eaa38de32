"""Extraction with a scripted tagger: what a batch costs apart from its student."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel

from journeyman.agents.extraction import Extraction
from journeyman.models.students.tagger import Tagging
from journeyman.models.types import Span

_PARTS = {"shop": re.compile(r"(?<=at )\w+ \w+"), "total": re.compile(r"\d+\.\d\d \w{3}")}

SHOPS = ("Harbor Books", "Green Grocer", "North Bakery", "Old Mill", "Corner Hardware")


class Receipt(BaseModel):
    """What a receipt says."""

    shop: str | None = None
    total: str | None = None


class ScriptedTagger:
    """Marks what two patterns find."""

    def predict(self, texts: Sequence[str]) -> list[Tagging]:
        """One tagging per text."""
        return [Tagging(spans=tuple(_spans(text)), taught=True) for text in texts]

    def fingerprint(self) -> str:
        """Its release is that of its patterns."""
        return "scripted"


def _spans(text: str) -> list[Span]:
    found = ((label, pattern.search(text)) for label, pattern in _PARTS.items())
    return [Span(label, *match.span(), match[0]) for label, match in found if match]


def receipts() -> Extraction:
    """The sub-agent."""
    return Extraction(Receipt, ScriptedTagger())


def receipt(number: int) -> str:
    """A text of some twelve words."""
    shop = SHOPS[number % len(SHOPS)]
    return f"Paid at {shop} by card, {number % 900 + 1}.{number % 100:02d} EUR, ticket {number}."


def tagged() -> Extraction:
    """The sub-agent with a real tagger, of the folder that `BENCH_TAGGER` names."""
    from journeyman.models.students.tagger import Tagger

    return Extraction(Receipt, Tagger(weights=Path(os.environ["BENCH_TAGGER"])))
