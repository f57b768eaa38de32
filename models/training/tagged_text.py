"""Teaching examples of a tagger, and the same sentences about other things.

A tagger that saw few names learns the names; exchanged among the examples of a label, they leave it
the sentences around them to go by (mention replacement: Dai and Adel 2020, "An Analysis of Simple
Data Augmentation for Named Entity Recognition", COLING). Knows nothing of tokens or of training.
"""

from __future__ import annotations

import itertools
import random
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

from journeyman.models.types import Span


@dataclass(frozen=True, slots=True)
class TaggedText:
    """A teaching example: a text and every span in it.

    Attributes:
        text: Of any length.
        spans: Not overlapping; their labels, starts and ends are used.
        weight: How much it counts, against a mean of 1.
    """

    text: str
    spans: tuple[Span, ...]
    weight: float = 1.0


class Mentions:
    """What spans of each label hold in a set of examples, as often as they hold it.

    Args:
        examples: Where the mentions are from.
    """

    def __init__(self, examples: Sequence[TaggedText]) -> None:
        self._of: dict[str, list[str]] = {}
        for example in examples:
            for span in example.spans:
                if _is_whole(example.text, span):
                    mention = example.text[span.start : span.end]
                    self._of.setdefault(span.label, []).append(mention)

    def exchanged(
        self, examples: Sequence[TaggedText], share: float, order: random.Random
    ) -> list[TaggedText]:
        """The examples, in some of which some spans hold what others of their label hold.

        Args:
            examples: To be learned from; they are not changed.
            share: Probability in [0, 1] of each example to be taken up, and then of each span in it
                to be drawn anew. Examples whose spans overlap or cut words, before or after, stay
                as they are; so do most in scripts that set no spaces between words.
            order: What is drawn from.
        """
        return [
            self._exchange(example, share, order) if order.random() < share else example
            for example in examples
        ]

    def _exchange(self, example: TaggedText, share: float, order: random.Random) -> TaggedText:
        spans = sorted(example.spans, key=lambda span: (span.start, span.end))
        if any(a.end > b.start for a, b in itertools.pairwise(spans)):
            return example
        if not all(_is_whole(example.text, span) for span in spans):
            return example
        text, done = "", 0
        placed = []
        for span in spans:
            text += example.text[done : span.start]
            mention = example.text[span.start : span.end]
            if order.random() < share:
                mention = order.choice(self._of.get(span.label, [mention]))
            placed.append(Span(span.label, len(text), len(text) + len(mention), mention))
            text += mention
            done = span.end
        text += example.text[done:]
        if not all(_is_whole(text, span) for span in placed):
            return example
        return replace(example, text=text, spans=tuple(placed))


def _is_whole(text: str, span: Span) -> bool:
    """Whether the span holds something, and neither begins nor ends inside a word."""
    joined = (
        _joins(text[at - 1 : at]) and _joins(text[at : at + 1]) for at in (span.start, span.end)
    )
    return span.end > span.start and not any(joined)


def _joins(sign: str) -> bool:
    """Whether the sign is part of a word; at an end of the text there is none."""
    return sign.isalnum() or (sign != "" and unicodedata.category(sign).startswith("M"))
