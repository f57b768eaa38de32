"""Extraction with a tagger that was really taught, from the agent's own examples."""

from __future__ import annotations

import asyncio
import itertools
import random
from datetime import date
from pathlib import Path

import pytest
from pydantic import BaseModel

from journeyman.agents.extraction import Extraction, ExtractionTask, Record
from journeyman.models.students.tagger import Tagger
from journeyman.models.training.tagger import TaggedText, train_tagger
from journeyman.models.types import Attempt, Span


class Booking(BaseModel):
    name: str
    guests: int
    day: date | None = None


NAMES = (
    "Jo Doe",
    "Ann Lee",
    "Max Stone",
    "Eva Hill",
    "Tom Ford",
    "Mia Wolf",
    "Ben Cole",
    "Ida Hart",
)
DAYS = ("3 May 2024", "14 June 2024", "1 July 2025", "22 March 2025")
GUESTS = ("two", "4", "six", "7", "9", "three")
PATTERNS = (
    "A table for {guests} on {day}, the name is {name}.",
    "{name} here, we are {guests} and come on {day}.",
    "Please book {guests} seats for {name}.",
    "On {day} we need room for {guests}, under {name} please.",
)


def bookings() -> list[tuple[str, dict[str, str]]]:
    """Texts with the quotes that stand in them, shuffled with a fixed seed."""
    made = []
    for pattern, name, day, guests in itertools.product(PATTERNS, NAMES, DAYS, GUESTS):
        quotes = {"name": name, "day": day, "guests": guests}
        stated = {field: quote for field, quote in quotes.items() if f"{{{field}}}" in pattern}
        made.append((pattern.format(**quotes), stated))
    random.Random(0).shuffle(made)
    return made


def answered(agent: Extraction, text: str, quotes: dict[str, str]) -> Record:
    return agent.parse_frontier(ExtractionTask(text=text), Attempt(None), quotes)


@pytest.mark.slow
def test_a_tagger_taught_by_the_frontiers_answers_agrees_with_them(tmp_path: Path) -> None:
    blank = Extraction(Booking, Tagger())
    rows = bookings()
    lessons = []
    for text, quotes in rows[:160]:
        example = blank.example(ExtractionTask(text=text), answered(blank, text, quotes))
        spans = tuple(Span(**span) for span in example.target["spans"])
        lessons.append(TaggedText(example.task["text"], spans))
    train_tagger(lessons, blank.labels, out=tmp_path / "weights", epochs=4, held_out_share=0)
    taught = Extraction(Booking, Tagger(weights=tmp_path / "weights"))
    assert taught.release != blank.release

    async def attempts() -> list[Attempt]:
        tasks = [ExtractionTask(text=text) for text, _ in rows[160:200]]
        untaught = await blank.attempt(tasks[0])
        return [untaught, *await asyncio.gather(*(taught.attempt(task) for task in tasks))]

    untaught, *made = asyncio.run(attempts())
    assert untaught.output is None
    assert untaught.note is not None
    assert {tuple(sorted(attempt.evidence)) for attempt in made} == {
        tuple(sorted(untaught.evidence))
    }
    agreed = 0
    for (text, quotes), attempt in zip(rows[160:200], made, strict=True):
        assert all(text[s.start : s.end] == s.text for s in attempt.output.spans)
        agreed += taught.agrees(attempt.output, answered(taught, text, quotes))
    assert agreed >= 36
