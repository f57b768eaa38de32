"""A tiny taught tagger, trained once per session."""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path

import pytest

from journeyman.models.students.tagger import Tagger
from journeyman.models.training.tagger import TaggedText, TrainReport, train_tagger
from journeyman.models.types import Span

# One thread computes the tiny models as fast as two, and does not suffer when the cores are shared.
os.environ.setdefault("OMP_NUM_THREADS", "1")

TINY_LABELS = ("company", "amount", "date")

_COMPANIES = ["Acme", "Blue Fox Ltd", "Orion", "Delta Foods", "Kestrel", "Nordwind", "Halley Inc"]
_AMOUNTS = ["$40", "120 euros", "$7.50", "900 dollars", "€15", "$1,200"]
_DATES = ["3 May", "July 14", "2024-01-31", "next Monday", "1 June"]
_SHAPES = [
    "Pay {company} {amount} by {date}.",
    "{company} sent a bill over {amount}, due {date}",
    "On {date} we owe {amount} to {company}.",
    "Please transfer {amount} to {company}",
    "Nothing to do today.",
    "{company} will call on {date}",
]


def marked(shape: str, **values: str) -> TaggedText:
    """A text from a shape like `Pay {amount}`, with a span where each value went."""
    text, spans = "", []
    for literal, label in re.findall(r"([^{]*)(?:\{(\w+)\})?", shape):
        text += literal
        if label:
            value = values[label]
            spans.append(Span(label, len(text), len(text) + len(value), value))
            text += value
    return TaggedText(text, tuple(spans))


def tiny_examples(num_examples: int = 40) -> list[TaggedText]:
    """Short texts about bills, all different in their values."""
    cycles = zip(
        itertools.cycle(_SHAPES),
        itertools.cycle(_COMPANIES),
        itertools.cycle(_AMOUNTS[1:] + _AMOUNTS[:1]),
        itertools.cycle(_DATES),
        strict=False,
    )
    return [
        marked(shape, company=company, amount=amount, date=date)
        for shape, company, amount, date in itertools.islice(cycles, num_examples)
    ]


def teach_tiny_tagger(folder: Path) -> TrainReport:
    """Teach a tagger the tiny examples: a few seconds on a CPU, then `Tagger(weights=folder)`."""
    return train_tagger(
        tiny_examples(),
        TINY_LABELS,
        out=folder,
        epochs=6,
        batch_size=8,
        learning_rate=1e-3,
        held_out_share=0.0,
        exchanged_share=0.0,  # these few lessons are to be learned by heart
        device="cpu",
    )


@pytest.fixture(scope="session")
def tiny_tagger_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the tiny tagger."""
    folder = tmp_path_factory.mktemp("tiny") / "tagger"
    teach_tiny_tagger(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_tagger(tiny_tagger_folder: Path) -> Tagger:
    """The tiny tagger, loaded once."""
    return Tagger(weights=tiny_tagger_folder, device="cpu")
