"""Finds where a quoted value stands in a document, though the quote is not exact to the letter.

Exact first, then folded (case, white space, Unicode forms, typographic marks, unseen characters),
then a unique near match whose digits agree. Knows nothing of fields or of how a value is read.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rapidfuzz import fuzz

_FUZZY_CUTOFF = 95.0
_MIN_FUZZY_CHARS = 20
"""One letter in fewer than 20 already falls below the cut-off."""
_MAX_FUZZY_CHARS = 1_000
_MAX_FUZZY_TEXT = 200_000
_MAX_PLACES = 200
"""More places of one quote than this add nothing to the choice between them."""

_MARKS = str.maketrans(
    {
        "‘": "'", "’": "'", "‚": "'", "‛": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"',
        "‐": "-", "‑": "-", "‒": "-", "–": "-", "—": "-", "−": "-",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """Where a quote stands: `text[start:end]`.

    Attributes:
        start: First character, inclusive.
        end: Past the last character.
        whole: It neither starts nor ends inside a word or a number.
    """

    start: int
    end: int
    whole: bool


class Document:
    """A text, folded at most once and searched often. Not for several threads at once."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._folded: _Folded | None = None

    def find(self, quote: str) -> list[Place]:
        """Places where the quote stands, in text order; empty where it does not.

        Whole words come before parts of words, the exact before the folded. Digits cut out of a
        longer run of digits are no place. A near match counts only if there is no other.
        """
        exact = self._places(_occurrences(self.text, quote.strip()))
        if any(place.whole for place in exact):
            return exact
        if self._folded is None:
            self._folded = _Folded(self.text)
        folded_text, wanted = self._folded, fold(quote)
        folded = self._places(map(folded_text.original, _occurrences(folded_text.text, wanted)))
        if any(place.whole for place in folded):
            return folded
        return (
            exact or folded or self._places(map(folded_text.original, _near(folded_text, wanted)))
        )

    def _places(self, spans: Iterable[tuple[int, int]]) -> list[Place]:
        return [
            Place(start, end, whole=not (self._in_word(start) or self._in_word(end)))
            for start, end in spans
            if not (self._in_digits(start) or self._in_digits(end))
        ]

    def _in_digits(self, offset: int) -> bool:
        return self.text[max(offset - 1, 0) : offset + 1].isdecimal() and 0 < offset < len(
            self.text
        )

    def _in_word(self, offset: int) -> bool:
        if not 0 < offset < len(self.text):
            return False
        if self.text[offset - 1 : offset + 1].isalnum():
            return True
        return any(
            re.fullmatch(r"\d[.,']\d", self.text[max(start, 0) : start + 3])
            for start in (offset - 2, offset - 1)
        )


def fold(text: str) -> str:
    """The text as quotes are compared: case, spacing, Unicode form and typography folded."""
    return _Folded(text).text.strip()


class _Folded:
    """A text folded for comparison, that knows where each character came from."""

    def __init__(self, text: str) -> None:
        letters: list[str] = []
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in _clusters(text):
            for letter in _fold_cluster(text[start:end]):
                if letter == " " and letters and letters[-1] == " ":
                    self._ends[-1] = end
                    continue
                letters.append(letter)
                self._starts.append(start)
                self._ends.append(end)
        self.text = "".join(letters)

    def original(self, span: tuple[int, int]) -> tuple[int, int]:
        """Offsets in the text as it came, for a non-empty stretch of the folded one."""
        start, end = span
        return self._starts[start], self._ends[end - 1]


def _clusters(text: str) -> Iterator[tuple[int, int]]:
    """Each character with the combining and unseen marks that follow it."""
    if text.isascii():
        yield from ((position, position + 1) for position in range(len(text)))
        return
    start = 0
    for position in range(1, len(text) + 1):
        if position == len(text) or not (
            unicodedata.combining(text[position]) or _is_unseen(text[position])
        ):
            end = position
            while end - 1 > start and _is_unseen(text[end - 1]):
                end -= 1
            yield start, end
            start = position


def _fold_cluster(cluster: str) -> str:
    if not cluster.isascii():
        seen = "".join(c for c in cluster if not _is_unseen(c))
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", seen).casefold())
        cluster = folded.translate(_MARKS)
    return "".join(" " if c.isspace() else c for c in cluster.lower())


def _is_unseen(character: str) -> bool:
    """Soft hyphens, zero-width spaces, direction marks."""
    return not character.isascii() and unicodedata.category(character) == "Cf"


def _occurrences(text: str, quote: str) -> Iterator[tuple[int, int]]:
    start = text.find(quote) if quote else -1
    for _ in range(_MAX_PLACES):
        if start < 0:
            return
        yield start, start + len(quote)
        start = text.find(quote, start + 1)


def _near(folded: _Folded, wanted: str) -> list[tuple[int, int]]:
    """The one stretch that is nearly the quote; none where there are two."""
    text = folded.text
    if not _MIN_FUZZY_CHARS <= len(wanted) <= min(_MAX_FUZZY_CHARS, len(text)):
        return []
    if len(text) > _MAX_FUZZY_TEXT:
        return []
    found = fuzz.partial_ratio_alignment(wanted, text, score_cutoff=_FUZZY_CUTOFF)
    if found is None:
        return []
    start, end = _refine(text, wanted, found.dest_start, found.dest_end)
    others = (text[: start + 1], text[end - 1 :])
    if any(
        len(rest) >= len(wanted) and fuzz.partial_ratio(wanted, rest) >= _FUZZY_CUTOFF
        for rest in others
    ):
        return []
    # A wrong digit is a wrong number, however near the spelling.
    same_digits = re.findall(r"\d", text[start:end]) == re.findall(r"\d", wanted)
    return [(start, end)] if same_digits else []


def _refine(text: str, wanted: str, start: int, end: int) -> tuple[int, int]:
    """The nearby stretch most like the quote: the aligned one has the quote's own length."""
    around = [
        (s, e)
        for s in range(max(start - 3, 0), start + 4)
        for e in range(max(end - 3, s + 1), min(end + 3, len(text)) + 1)
        if text[s] != " " and text[e - 1] != " "
    ]
    return max(around, key=lambda span: fuzz.ratio(wanted, text[span[0] : span[1]]))
