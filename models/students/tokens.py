"""Text to token ids and back to characters, for the encoders.

Uses the Rust tokenizer of a base's folder directly: the same ids and offsets as transformers,
without its import time. Knows nothing of models.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from journeyman.models.errors import WeightsError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_SURROGATE = re.compile("[\ud800-\udfff]")


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a base's folder, without the truncation and padding it was saved with.

    Raises:
        WeightsError: The folder has no readable tokenizer.json, or `tokenizers` is not installed.
    """
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise WeightsError(
            "Local students need the tokenizers package: run `pip install 'journeyman[local]'`."
        ) from error
    path = folder / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises plain Exception
        raise WeightsError(
            f"No tokenizer can be read from {str(path)!r}: give a base with a fast tokenizer."
        ) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def encodable(text: str) -> str:
    """The text with lone surrogates replaced, character by character, so that offsets still hold.

    They come from broken JSON escapes or file names, and UTF-8 has no form for them.
    """
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def length_sorted(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Indexes in batches of like length, longest first: little padding, and memory fails early."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    for first in range(0, len(order), batch_size):
        yield order[first : first + batch_size]


def pad(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of ids as one array, and its attention mask; both (rows, longest)."""
    width = max((len(row) for row in rows), default=0)
    ids = np.full((len(rows), width), pad_id, dtype=np.int64)
    mask = np.zeros((len(rows), width), dtype=np.int64)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
        mask[i, : len(row)] = 1
    return ids, mask


@dataclass(frozen=True, slots=True)
class Tokenized:
    """A text as tokens, and the words and punctuation marks ("units") that they belong to.

    Attributes:
        ids: Token ids, without special tokens.
        units: Character ranges (num_units, 2) in the text, in order, none empty.
        first: The first token of each unit (num_units,).
    """

    ids: list[int]
    units: NDArray[np.int64]
    first: NDArray[np.int64]


def tokenize(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Tokenized]:
    """Texts as tokens of any number: nothing is cut."""
    clean = [encodable(text) for text in texts]
    encodings = tokenizer.encode_batch(clean, add_special_tokens=False)
    return [
        _grouped(text, encoding.ids, encoding.offsets, encoding.word_ids)
        for text, encoding in zip(clean, encodings, strict=True)
    ]


def _grouped(
    text: str,
    ids: list[int],
    offsets: list[tuple[int, int]],
    word_ids: list[int | None],
) -> Tokenized:
    """Pieces of one word make one unit; the tokenizer splits words at punctuation."""
    firsts = [i for i, word in enumerate(word_ids) if i == 0 or word != word_ids[i - 1]]
    units, kept = [], []
    for first, following in pairwise([*firsts, len(ids)]):
        start, end = offsets[first][0], offsets[following - 1][1]
        while start < end and text[start].isspace():  # byte-level tokens carry the space before
            start += 1
        if start < end:
            units.append((start, end))
            kept.append(first)
    return Tokenized(
        ids, np.array(units, dtype=np.int64).reshape(-1, 2), np.array(kept, dtype=np.int64)
    )


def special_ids(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """The special tokens that the model expects before and after a text."""
    encoding = tokenizer.encode("a")
    mask = encoding.special_tokens_mask
    inner = [i for i, special in enumerate(mask) if not special]
    return encoding.ids[: inner[0]], encoding.ids[inner[-1] + 1 :]


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a text's tokens that goes through the model at once.

    Attributes:
        start: First token.
        end: Past the last token.
        keep_start: First token whose answer is taken from this window.
        keep_end: Past the last such token. The kept parts of all windows tile the text.
    """

    start: int
    end: int
    keep_start: int
    keep_end: int


def windows(num_tokens: int, size: int, overlap: int) -> list[Window]:
    """Cut a text's tokens into windows of at most `size`, neighbours sharing `overlap` tokens.

    Each token's answer is taken from the window that sees more of its surroundings: the shared part
    is divided in its middle. No token is left out; no tokens, no windows.

    Args:
        num_tokens: Tokens of the text.
        size: At least 1.
        overlap: Fewer than `size`.
    """
    if num_tokens <= size:
        return [Window(0, num_tokens, 0, num_tokens)] if num_tokens else []
    starts = [*range(0, num_tokens - size, size - overlap), num_tokens - size]
    cuts = [0]
    cuts += [(a + size + b) // 2 for a, b in pairwise(starts)]
    cuts.append(num_tokens)
    return [Window(start, start + size, cuts[i], cuts[i + 1]) for i, start in enumerate(starts)]
