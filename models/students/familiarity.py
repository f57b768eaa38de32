"""How much of an answer was seen in teaching: the values, and what stands beside them.

A tagger's probabilities say little of whether it met such a text before: it is as sure of a value
that it never saw as of one that it saw a hundred times. So what was taught is counted: each value
with its labels, and each pair of neighbours in the texts, where a marked stretch counts as one word
by the name of its label (`to <city> $`). The counts hold words of the taught texts. Knows nothing
of models.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from journeyman.models.errors import WeightsError
from journeyman.models.types import Span, canonical_json

FILE = "taught.json"

Counts = Mapping[str, Mapping[str, int]]

_WORD = re.compile(r"\w+|[^\w\s]")
_START, _END = "^start", "$end"  # no word has two kinds of signs, so these and <label> are free


@dataclass(frozen=True, slots=True)
class Familiarity:
    """What was taught, counted.

    Attributes:
        values: By value (folded), how often it was marked with each label.
        contexts: By word or `<label>`, how often each word or `<label>` followed it.
    """

    values: Counts
    contexts: Counts

    @classmethod
    def of(cls, texts: Iterable[tuple[str, Sequence[Span]]]) -> Familiarity:
        """Count texts and the spans in them."""
        values: dict[str, dict[str, int]] = {}
        contexts: dict[str, dict[str, int]] = {}
        for text, spans in texts:
            for span in spans:
                _count(values, _fold(text[span.start : span.end]), span.label)
            for left, right in pairwise(_outline(text, spans)):
                _count(contexts, left, right)
        return cls(values, contexts)

    def joined(self, other: Familiarity) -> Familiarity:
        """Both together; what both counted is taken to be the same texts."""
        return Familiarity(_most(self.values, other.values), _most(self.contexts, other.contexts))

    def numbers(self, text: str, spans: Sequence[Span]) -> dict[str, float]:
        """Named numbers of an answer; the same names for every text.

        Args:
            text: The text.
            spans: What was marked in it.

        Returns:
            `unknown_values` and `conflicting_values`, counted: values never seen marked, and those
            seen with other labels too; `known_values_share`, of those seen with this label, 1
            without values; `unseen_contexts` and `unseen_contexts_share` of the pairs of
            neighbours; `rarest_context_log`, log(1 + count) of the least seen pair.
        """
        seen = [(self.values.get(_fold(s.text), {}), s.label) for s in spans]
        pairs = list(pairwise(_outline(text, spans)))
        counts = [self.contexts.get(left, {}).get(right, 0) for left, right in pairs]
        known = sum(label in labels for labels, label in seen)
        unseen = counts.count(0)
        return {
            "unknown_values": float(sum(not labels for labels, _ in seen)),
            "conflicting_values": float(
                sum(label in labels and len(labels) > 1 for labels, label in seen)
            ),
            "known_values_share": known / len(seen) if seen else 1.0,
            "unseen_contexts": float(unseen),
            "unseen_contexts_share": unseen / len(counts),
            "rarest_context_log": math.log1p(min(counts)),
        }

    def save(self, folder: Path) -> None:
        """Write `taught.json`; equal counts give equal files."""
        facts = {"values": self.values, "contexts": self.contexts}
        (folder / FILE).write_text(canonical_json(facts), "utf-8", "surrogatepass")

    @classmethod
    def load(cls, folder: Path) -> Familiarity:
        """Read what `save` wrote.

        Raises:
            WeightsError: The file is missing or damaged.
        """
        try:
            facts = json.loads((folder / FILE).read_text("utf-8", "surrogatepass"))
            return cls(facts["values"], facts["contexts"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WeightsError(
                f"What was taught cannot be read from {str(folder / FILE)!r} "
                f"({type(error).__name__}): restore the file, or teach again."
            ) from error


def _fold(text: str) -> str:
    return " ".join(_WORD.findall(text.casefold()))


def _outline(text: str, spans: Sequence[Span]) -> list[str]:
    """The text's words, with the name of its label for each span; of two that overlap, one."""
    outline, at = [_START], 0
    for span in sorted(spans, key=lambda span: span.start):
        if span.start >= at:
            outline += _WORD.findall(text[at : span.start].casefold())
            outline.append(f"<{span.label}>")
            at = span.end
    return [*outline, *_WORD.findall(text[at:].casefold()), _END]


def _count(counts: dict[str, dict[str, int]], outer: str, inner: str) -> None:
    row = counts.setdefault(outer, {})
    row[inner] = row.get(inner, 0) + 1


def _most(first: Counts, second: Counts) -> Counts:
    merged = {outer: dict(row) for outer, row in first.items()}
    for outer, row in second.items():
        own = merged.setdefault(outer, {})
        for inner, count in row.items():
            own[inner] = max(own.get(inner, 0), count)
    return merged


UNTAUGHT = Familiarity({}, {}).numbers("", ())
"""The numbers where nothing was taught."""
