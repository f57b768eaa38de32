"""When two texts, or two tasks, say the same: normal forms, words, shingles, and their likeness.

Pure functions of content. Works on hostile text in bounded time: no pattern here backtracks, words
without end are cut, and whatever is compared character by character is short.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import regex  # type: ignore[import-untyped]  # regex ships no types
from numpy.typing import NDArray
from rapidfuzz import fuzz, process
from scipy.spatial import distance  # type: ignore[import-untyped]  # scipy ships no types

from journeyman.models.types import canonical_json, content_hash

LONG_WORDS = 30
"""Texts of more words are long: compared by shingles, shorter ones by characters."""

_LONGEST_WORD = 40
_PIECE = 20
_ONE_WORD = 64  # characters that a comparison takes in one machine word, which nothing outruns
_CLASSES = 16

# Scripts that put no space between words give one word per character. Marks belong to their letter:
# without them different words of Hindi or Arabic would be the same.
_WORD = regex.compile(
    r"""[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]
    | [\p{L}\p{M}\p{N}--[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]]++""",
    regex.VERBOSE | regex.VERSION1,
)


def normalized(text: str) -> str:
    """One form for texts that differ in case, white space or Unicode form only."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def words(text: str) -> tuple[str, ...]:
    """Words without case and punctuation; empty for a text that has none, such as an emoji."""
    found = _WORD.findall(normalized(text))
    if all(len(word) <= _LONGEST_WORD for word in found):
        return tuple(found)
    # One endless word (encoded data, a hostile text) would be short by its number of words.
    return tuple(
        word[start : start + _PIECE] if len(word) > _LONGEST_WORD else word
        for word in found
        for start in range(0, len(word) if len(word) > _LONGEST_WORD else 1, _PIECE)
    )


def plain(text: str) -> str:
    """The words as one text; the normalised text itself where there are none."""
    return " ".join(words(text)) or normalized(text)


def is_long(parts: Sequence[str]) -> bool:
    """Whether a text of these words is compared by shingles."""
    return len(parts) > LONG_WORDS


def shingles(parts: Sequence[str], size: int) -> frozenset[str]:
    """Every run of `size` words; the whole text where it is shorter."""
    if len(parts) < size:
        return frozenset([" ".join(parts)])
    return frozenset(" ".join(parts[i : i + size]) for i in range(len(parts) - size + 1))


def jaccard(first: frozenset[str], second: frozenset[str]) -> float:
    """Shared over all members, in [0, 1]; 1 for two empty sets."""
    if not first and not second:
        return 1.0
    shared = len(first & second)
    return shared / (len(first) + len(second) - shared)


def leaves(value: Any) -> dict[str, str]:
    """Every text, number and flag of JSON-like data as text, by its path.

    A path is the JSON text of the keys and indexes that lead to the value. Empty containers count,
    so that data with and without them differ.
    """
    found: dict[str, str] = {}
    waiting: list[tuple[tuple[str | int, ...], Any]] = [((), value)]
    while waiting:
        path, item = waiting.pop()
        children: Iterable[tuple[str | int, Any]] | None = None
        if isinstance(item, Mapping) and item:
            children = ((str(key), child) for key, child in item.items())
        elif isinstance(item, (list, tuple)) and item:
            children = enumerate(item)
        if children is not None:
            waiting.extend(((*path, key), child) for key, child in children)
        else:
            found[canonical_json(list(path))] = item if isinstance(item, str) else _text(item)
    return dict(sorted(found.items()))


def _text(item: Any) -> str:
    try:
        return canonical_json(item)
    except (TypeError, ValueError):
        return repr(item)


def whole_text(value: Any) -> str:
    """All leaves of JSON-like data as one text, in the order of their paths."""
    return value if isinstance(value, str) else "\n".join(leaves(value).values())


def content_key(value: Any) -> str:
    """Hash of JSON-like data; equal where it differs in case, white space or Unicode form only."""
    return content_hash({path: normalized(text) for path, text in leaves(value).items()})


def group_key(value: Any) -> str:
    """Hash, 16 hex digits; also equal for data that differs in punctuation only.

    Coarser than `content_key` on purpose: what is nearly the same must not be split.
    """
    return content_hash({path: plain(text) for path, text in leaves(value).items()}, length=16)


def are_near(
    first: str, second: str, *, similarity: float = 0.8, ratio: float = 95.0, size: int = 5
) -> bool:
    """Whether two texts are near copies.

    Args:
        first: A text.
        second: Another.
        similarity: Smallest Jaccard similarity of shingles, where one of the texts is long.
        ratio: Smallest `rapidfuzz.fuzz.ratio` of the words, where both are short, in [0, 100].
        size: Words of a shingle.
    """
    if first == second:
        return True
    parts = words(first), words(second)
    if not parts[0] or not parts[1]:
        return normalized(first) == normalized(second)
    if is_long(parts[0]) or is_long(parts[1]):
        return jaccard(shingles(parts[0], size), shingles(parts[1], size)) >= similarity
    return fuzz.ratio(" ".join(parts[0]), " ".join(parts[1]), score_cutoff=ratio) >= ratio


def alike(
    left: Sequence[str], right: Sequence[str], ratio: float
) -> Iterator[tuple[int, int, float]]:
    """Pairs of short texts that are alike, in the order of the left and then the right one.

    Args:
        left: A few hundred texts; the work takes memory in proportion to left times right.
        right: Texts to compare each of them with.
        ratio: Smallest `rapidfuzz.fuzz.ratio`, in (0, 100].

    Yields:
        Index on the left, index on the right, ratio.
    """
    if not left or not right:
        return
    if max(map(len, left)) <= _ONE_WORD:
        scores = process.cdist(
            left, right, scorer=fuzz.ratio, score_cutoff=ratio, dtype=np.float32, workers=1
        )
        for i, j in zip(*np.nonzero(scores), strict=True):
            yield int(i), int(j), float(scores[i, j])
        return
    # What is inserted and deleted between two texts is at least what their counts of characters
    # differ by, which is a fraction of the work to find.
    lengths = np.array([len(text) for text in left])[:, None] + [len(text) for text in right]
    distances = distance.cdist(_counts(left), _counts(right), "cityblock")
    for i, j in zip(*np.nonzero(distances <= lengths * (1 - ratio / 100) + 1e-6), strict=True):
        score = fuzz.ratio(left[i], right[j], score_cutoff=ratio)
        if score:
            yield int(i), int(j), float(score)


def _counts(texts: Sequence[str]) -> NDArray[np.float64]:
    """How often each class of characters stands in each text (n, classes)."""
    return np.array(
        [
            np.bincount(
                np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32) % _CLASSES,
                minlength=_CLASSES,
            )
            for text in texts
        ],
        dtype=np.float64,
    )
