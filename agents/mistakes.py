"""Plausible mistakes of extraction, for a reference frontier that errs on purpose.

Each candidate is what a careless reader might answer: a field overlooked, another part of the text
taken for it, a value cut short. Whether a candidate is really wrong, and still a valid answer, is
for the caller to see.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

from journeyman.agents.fields import FieldSpec
from journeyman.agents.quotes import Quote

_NUM_CANDIDATES = 60


def mistaken_quotes(
    specs: Sequence[FieldSpec], quotes: Sequence[Quote], text: str, rng: random.Random
) -> Iterator[list[Quote]]:
    """Up to 60 variants of the quotes, each with one mistake.

    Args:
        specs: The schema's fields.
        quotes: The right answer.
        text: The document; swapped-in values come from here and from the other quotes.
        rng: Source of chance; the same seed makes the same mistakes.
    """
    lines = [line.split() for line in text.splitlines() if line.strip()]
    for _ in range(_NUM_CANDIDATES):
        kind = rng.choice(("drop", "swap", "truncate", "add"))
        if kind == "add":
            if lines:
                word = rng.choice(rng.choice(lines))
                yield [*quotes, Quote(rng.choice(specs), word, _any_item(quotes, rng))]
            continue
        if not quotes:
            continue
        index = rng.randrange(len(quotes))
        quote = quotes[index]
        others = [*quotes[:index], *quotes[index + 1 :]]
        if kind == "drop":
            yield others
            continue
        changed = _swapped(quote, others, lines, rng) if kind == "swap" else _cut(quote, rng)
        if changed is not None:
            yield [*quotes[:index], changed, *quotes[index + 1 :]]


def _any_item(quotes: Sequence[Quote], rng: random.Random) -> int | None:
    return rng.choice(quotes).item if quotes else None


def _swapped(
    quote: Quote, others: Sequence[Quote], lines: Sequence[Sequence[str]], rng: random.Random
) -> Quote | None:
    alike = [other.text for other in others if other.spec.kind == quote.spec.kind]
    if alike and rng.random() < 0.5:
        return replace(quote, text=rng.choice(alike))
    length = len(quote.text.split())
    long_enough = [line for line in lines if len(line) >= length]
    if not long_enough:
        return None
    words = rng.choice(long_enough)
    start = rng.randrange(len(words) - length + 1)
    return replace(quote, text=" ".join(words[start : start + length]))


def _cut(quote: Quote, rng: random.Random) -> Quote | None:
    words = quote.text.split()
    if len(words) < 2:
        return None
    return replace(quote, text=" ".join(words[1:] if rng.random() < 0.5 else words[:-1]))
