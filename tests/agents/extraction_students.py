"""A scripted tagger for tests: it marks what it is told, in the tagger's own words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from journeyman.models.types import Span


@dataclass(frozen=True)
class ScriptedTagging:
    spans: tuple[Span, ...] = ()
    taught: bool = True
    num_windows: int = 1
    missed: Mapping[str, float] = field(default_factory=dict)
    numbers: Mapping[str, float] = field(default_factory=lambda: {"min_margin": 0.5})

    def evidence(self) -> Mapping[str, float]:
        return self.numbers


class ScriptedTagger:
    """Answers with `script(text)`."""

    def __init__(self, script: Callable[[str], ScriptedTagging]) -> None:
        self._script = script

    def predict(self, items: Sequence[str]) -> list[ScriptedTagging]:
        return [self._script(text) for text in items]

    def fingerprint(self) -> str:
        return "scripted"


def mark(text: str, label: str, part: str, probability: float = 0.9, *, nth: int = 0) -> Span:
    """The nth place of `part` in the text, marked."""
    start = -1
    for _ in range(nth + 1):
        start = text.index(part, start + 1)
    return Span(label, start, start + len(part), part, probability, probability)
