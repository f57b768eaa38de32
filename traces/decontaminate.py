"""Decontamination: labelled tasks that stand in a suite, or nearly do, must not teach or certify.

Built once from the texts of every suite, then asked about any number of texts. Short texts are
compared by characters, since n-grams find nothing in a sentence of ten words; long ones by shared
runs of words. It compares texts, and knows neither suites nor sub-agents.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from journeyman.models.errors import ConfigError
from journeyman.traces.likeness import alike, is_long, leaves, plain, shingles, words

_CHUNK = 256
_WITHIN = 0.8  # of a short text's n-grams, to say that it stands in a long one
_PREVIEW_CHARS = 80
_BOILERPLATE = 50  # texts that share an n-gram; also what bounds the work for each n-gram


@dataclass(frozen=True, slots=True)
class Hit:
    """A text that stands in a suite.

    Attributes:
        rule: The two are the `same`, `alike` by characters, or share an `overlap` of words.
        score: Similarity, or share of n-grams, in [0, 1].
        text: Start of the suite's text.
    """

    rule: Literal["same", "alike", "overlap"]
    score: float
    text: str

    def __str__(self) -> str:
        """One line for a report."""
        return f"{self.rule} ({self.score:.2f}) as {self.text!r}"


class Decontaminator:
    """Finds texts of suites among other texts.

    Three rules, the first that holds is named:

    - same: equal words, whatever the case and punctuation;
    - alike: both have at most 30 words, and `rapidfuzz.fuzz.ratio` of the words is high;
    - overlap: one of them is long, and of the n-grams of the one that has fewer, a share of at
      least `min_share` stands in the other (80 % where that one is short). One shared n-gram alone
      says little: receipts of one shop share their header, programs their idioms. With `min_share`
      0 any shared n-gram between long texts counts. N-grams that stand in more than 50 texts of
      the suites are boilerplate and do not count at all.

    Args:
        suite_texts: Texts of every suite.
        ratio: Smallest similarity of short texts, in [0, 100].
        ngram: Words of an n-gram.
        min_share: Smallest share of n-grams between two long texts, in [0, 1].
    """

    def __init__(
        self,
        suite_texts: Iterable[str],
        *,
        ratio: float = 95.0,
        ngram: int = 8,
        min_share: float = 0.2,
    ) -> None:
        if not 0 < ratio <= 100 or ngram < 1 or not 0 <= min_share <= 1:
            raise ConfigError(
                f"Decontamination cannot use ratio {ratio!r}, ngram {ngram!r} and min_share "
                f"{min_share!r}: give a ratio in (0, 100], an n-gram of at least one word and a "
                "share from 0 to 1."
            )
        self._ratio = ratio
        self._ngram = ngram
        self._min_share = min_share
        self._previews: list[str] = []
        self._num_grams: list[int] = []
        self._is_long: list[bool] = []
        self._same: dict[str, int] = {}
        self._holders: defaultdict[int, array[int]] = defaultdict(lambda: array("l"))
        self._boilerplate: set[int] = set()
        short: dict[str, int] = {}
        for text in suite_texts:
            self._add(text, short)
        self._forget_boilerplate()
        ordered = sorted(short, key=lambda text: (len(text), text))
        self._short = ordered
        self._short_ids = [short[text] for text in ordered]
        self._short_lengths = np.array([len(text) for text in ordered], dtype=np.int64)

    def __len__(self) -> int:
        """Number of different texts."""
        return len(self._previews)

    def _add(self, text: str, short: dict[str, int]) -> None:
        key = plain(text)
        if not key or key in self._same:
            return
        number = len(self._previews)
        self._same[key] = number
        parts = words(text)
        grams = self._grams(parts)
        self._previews.append(" ".join(text[: 4 * _PREVIEW_CHARS].split())[:_PREVIEW_CHARS])
        self._num_grams.append(len(grams))
        self._is_long.append(is_long(parts))
        for gram in grams:
            self._holders[gram].append(number)
        if parts and not is_long(parts):
            short[key] = number

    def _forget_boilerplate(self) -> None:
        for gram, holders in self._holders.items():
            if len(holders) > _BOILERPLATE:
                self._boilerplate.add(gram)
                for number in holders:
                    self._num_grams[number] -= 1
        for gram in self._boilerplate:
            del self._holders[gram]

    def _grams(self, parts: Sequence[str]) -> set[int]:
        """Hashes of the n-grams; none for a text of fewer words. Equal within one process."""
        if len(parts) < self._ngram:
            return set()
        return {hash(gram) for gram in shingles(parts, self._ngram)}

    def find(self, texts: Sequence[str]) -> list[Hit | None]:
        """What each text matches in the suites; None for a text that is in none of them."""
        hits: list[Hit | None] = [self._same_or_overlap(text) for text in texts]
        open_short: dict[str, list[int]] = defaultdict(list)
        for i, text in enumerate(texts):
            if hits[i] is None and (parts := words(text)) and not is_long(parts):
                open_short[" ".join(parts)].append(i)
        for key, hit in self._alike(list(open_short)).items():
            for i in open_short[key]:
                hits[i] = hit
        return hits

    def find_in_tasks(self, tasks: Sequence[object]) -> list[Hit | None]:
        """As `find`, for JSON-like tasks: the longest text in them, and all of it together."""
        fields = [list(leaves(task).values()) for task in tasks]
        longest = self.find([max(given, key=len) for given in fields])
        wholes = self.find(["\n".join(given) if len(given) > 1 else "" for given in fields])
        return [first or second for first, second in zip(longest, wholes, strict=True)]

    def _same_or_overlap(self, text: str) -> Hit | None:
        number = self._same.get(plain(text))
        if number is not None:
            return Hit("same", 1.0, self._previews[number])
        parts = words(text)
        grams = self._grams(parts) - self._boilerplate
        shared = Counter(
            number for gram in grams if gram in self._holders for number in self._holders[gram]
        )
        best: tuple[float, int] | None = None
        for number, count in shared.items():
            is_both_long = is_long(parts) and self._is_long[number]
            if not is_long(parts) and not self._is_long[number]:
                continue  # phrases such as "i would like to know how to" are no leak
            share = count / min(len(grams), self._num_grams[number])
            if share >= (self._min_share if is_both_long else _WITHIN):
                best = max(best or (share, -number), (share, -number))
        return None if best is None else Hit("overlap", best[0], self._previews[-best[1]])

    def _alike(self, texts: Sequence[str]) -> dict[str, Hit]:
        """Hits of short texts, by text. Only suite texts of a fitting length are compared."""
        found: dict[str, Hit] = {}
        if not self._short:
            return found
        ordered = sorted(texts, key=lambda text: (len(text), text))
        # What two texts have in common is at most the whole of the shorter one.
        stretch = 2 * 100 / self._ratio - 1
        for start in range(0, len(ordered), _CHUNK):
            chunk = ordered[start : start + _CHUNK]
            low = np.searchsorted(self._short_lengths, len(chunk[0]) / stretch - 1)
            high = np.searchsorted(self._short_lengths, len(chunk[-1]) * stretch + 1, side="right")
            for row, column, score in alike(chunk, self._short[low:high], self._ratio):
                best = found.get(chunk[row])
                if best is None or score / 100 > best.score:
                    number = self._short_ids[low + column]
                    found[chunk[row]] = Hit("alike", score / 100, self._previews[number])
        return found
