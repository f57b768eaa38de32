"""Tasks per second of each student at 1, 8 and 32 at once, through the micro-batcher."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from journeyman.models.students.batching import Batcher
from journeyman.models.students.classifier import Classifier
from journeyman.models.students.embedder import Embedder
from journeyman.models.students.tagger import Tagger
from journeyman.models.training.tagger import TaggedText, train_tagger
from journeyman.models.types import Span

SECONDS = 4.0
TEXT = (
    'Traceback (most recent call last): File "app/loader.py", line 88, in read_rows, '
    "KeyError: 'price'. Ticket {number}: it used to work with pandas 2.1.0."
)


def taught_tagger(folder: Path) -> Tagger:
    """A tagger taught for one epoch on a few lines: speed does not depend on what it knows."""
    text = "KeyError in loader.py"
    spans = (Span("exception", 0, 8, "KeyError"), Span("file", 12, 21, "loader.py"))
    examples = [TaggedText(text=text, spans=spans)] * 16
    train_tagger(examples, ("exception", "file"), out=folder, epochs=1)
    return Tagger(weights=folder)


async def _rate(student: Any, at_once: int) -> float:
    batcher: Batcher[str, Any] = Batcher(student)
    done = 0
    start = time.perf_counter()

    async def caller(number: int) -> None:
        nonlocal done
        while time.perf_counter() - start < SECONDS:
            await batcher.submit(TEXT.format(number=number))
            done += 1

    await asyncio.gather(*(caller(number) for number in range(at_once)))
    return done / (time.perf_counter() - start)


def measure() -> list[str]:
    """Lines of the report."""
    labels = {f"label_{n}": f"requests about topic number {n}" for n in range(20)}
    with tempfile.TemporaryDirectory() as folder:
        students: dict[str, Callable[[], Any]] = {
            "tagger": lambda: taught_tagger(Path(folder) / "tagger"),
            "embedder": Embedder,
            "classifier": lambda: Classifier(Embedder(), labels),
        }
        lines = []
        for name, make in students.items():
            student = make()
            student.predict([TEXT.format(number=0)])  # loading is not what is measured
            rates = [asyncio.run(_rate(student, at_once)) for at_once in (1, 8, 32)]
            lines.append(
                f"{name}: {rates[0]:.0f} texts a second alone, {rates[1]:.0f} at 8 at once "
                f"({rates[1] / rates[0]:.2f}x), {rates[2]:.0f} at 32 ({rates[2] / rates[0]:.2f}x)"
            )
    return lines
