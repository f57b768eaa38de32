"""Words for BM25: folding, identifiers split and kept whole, stop words, stemming.

The same words come out of a query and a passage, prose or code: `getUserName`, `user_name` and
"user names" share terms, and an exact identifier still matches itself best. English is assumed for
stop words and stems; scripts written without spaces become one word per run, so there the dense
half of a fused search has to carry the question. Knows nothing of scores or indexes.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from dataclasses import asdict, dataclass
from typing import Any, Literal

_RUN = re.compile(r"\w+(?:\.\w+)*")
_SEPARATOR = re.compile(r"[._]+")
_GROUPED_DIGITS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_ACCENTS = re.compile(r"[\u0300-\u036f]")
_BOUNDARY = re.compile(
    r"(?<=[a-z])(?=[A-Z])"  # camel|Case
    r"|(?<=[A-Z])(?=[A-Z][a-z])"  # HTML|Parser
    r"|(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])"  # utf|8, 2|d
)

# Lucene's list, question words and the commonest auxiliaries: words that carry no topic in a
# question, and almost none in a passage. Left in: "all", "not", "over", which name things in code.
_STOP_WORDS = """
a about am an and are as at be been but by can could did do does for from had has have he her his
how i if in into is it its me my of on or our she should so such that the their them then there
these they this those to was we were what when where which who whom whose why will with would you
your
"""
ENGLISH_STOP_WORDS = frozenset(_STOP_WORDS.split())

_MEMO_LIMIT = 200_000  # distinct words remembered; about 40 MB at the most


@dataclass(frozen=True, slots=True)
class LexicalSettings:
    """How text becomes words, and how BM25 weighs them.

    Attributes:
        stop_words: `english` drops `ENGLISH_STOP_WORDS`; `none` keeps every word.
        stem: Reduce words to their English (Snowball) stem.
        split_identifiers: Add the parts of camelCase, snake_case and dotted names to the whole.
        k1: How soon repeated words stop counting; at least 0.
        b: How much long passages are held back, in [0, 1].
    """

    stop_words: Literal["english", "none"] = "english"
    stem: bool = True
    split_identifiers: bool = True
    k1: float = 1.2
    b: float = 0.75

    def parts(self) -> dict[str, Any]:
        """The settings as JSON-compatible data, for manifests and releases."""
        return asdict(self)


class Tokenizer:
    """Turns text into the words that BM25 counts. Safe to use from several threads.

    Args:
        settings: What to fold, drop and split.
    """

    def __init__(self, settings: LexicalSettings | None = None) -> None:
        self.settings = settings or LexicalSettings()
        import Stemmer  # of the [local] extra; sub-agents of a user's own go without it

        self._stemmer = Stemmer.Stemmer("english")
        self._memo: dict[str, tuple[str, ...]] = {}
        self._lock = threading.Lock()  # a stemmer must not be used by two threads at once

    def tokens(self, text: str) -> list[str]:
        """The words of a text in order, repeats kept; empty where only stop words remain."""
        memo = self._memo
        found: list[str] = []
        for run in _RUN.findall(fold(text)):
            terms = memo.get(run)
            found.extend(self._terms(run) if terms is None else terms)
        return found

    def _terms(self, run: str) -> tuple[str, ...]:
        words = split_identifier(run) if self.settings.split_identifiers else [run.lower()]
        if self.settings.stop_words == "english":
            words = [word for word in words if word not in ENGLISH_STOP_WORDS]
        with self._lock:
            stems = self._stemmer.stemWords(words) if self.settings.stem else words
            if len(self._memo) >= _MEMO_LIMIT:
                self._memo.clear()
            terms = tuple(dict.fromkeys(stems))
            self._memo[run] = terms
        return terms


def fold(text: str) -> str:
    """Compatibility forms unified, Latin accents dropped, digit groups joined; case is kept."""
    if not text.isascii():
        decomposed = unicodedata.normalize("NFKD", text)
        text = unicodedata.normalize("NFC", _ACCENTS.sub("", decomposed))
    return _GROUPED_DIGITS.sub("", text)


def split_identifier(run: str) -> list[str]:
    """The lower-case parts of an identifier, then the whole where it has several parts.

    `HTMLParser.feed_all` gives html, parser, feed, all, htmlparser.feed_all. A plain word gives
    itself; a run of underscores gives nothing.
    """
    pieces = [piece for piece in _SEPARATOR.split(run) if piece]
    parts = [part.lower() for piece in pieces for part in _BOUNDARY.split(piece) if part]
    if len(parts) < 2:
        return parts
    return [*parts, run.strip("_.").lower()]
