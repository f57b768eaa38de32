"""Which words and signs a text has, as a vector: what an embedding blurs, and all of the text.

An embedding says what a text is about and reads its beginning only; a code fence, a traceback or a
question mark near the end is seen here. Words are hashed: nothing is learned and no word is kept.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

_TOKEN = re.compile(r"\w+|[^\w\s]")


def word_vectors(texts: Sequence[str], size: int) -> Vectors:
    """Unit vectors (len(texts), size) of the different words and signs in each text.

    Case does not matter, nor how often or where a word stands. A text without any has zeros.

    Args:
        texts: Of any length.
        size: Coordinates; words that share one are not told apart.
    """
    vectors = np.zeros((len(texts), size), dtype=np.float32)
    for row, text in zip(vectors, texts, strict=True):
        found = {_place(token, size) for token in _TOKEN.findall(text.lower())}
        if found:
            row[sorted(found)] = 1.0 / np.sqrt(len(found))
    return vectors


def _place(token: str, size: int) -> int:
    return zlib.crc32(token.encode("utf-8", "surrogatepass")) % size
