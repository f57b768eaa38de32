"""The part of a long passage that has most to do with a question."""

from __future__ import annotations

import re

from journeyman.agents.lexical import ENGLISH_STOP_WORDS

_ELLIPSIS = "…"
_LEAD = 40  # characters kept before the first match
_MOST_MATCHES = 100


def excerpt(text: str, question: str, limit: int) -> str:
    """At most `limit` characters of a text and up to two ellipses.

    The window is the one with the most different words of the question, the first of several; a
    text that fits is returned as it is.
    """
    if len(text) <= limit:
        return text
    start = _best_start(text, question, limit)
    if start > 0:  # do not begin within a word
        space = text.find(" ", start, start + _LEAD)
        start = space + 1 if space >= 0 else start
    end = min(start + limit, len(text))
    if end < len(text):
        space = text.rfind(" ", end - _LEAD, end)
        end = space if space > start else end
    before = _ELLIPSIS if start > 0 else ""
    after = _ELLIPSIS if end < len(text) else ""
    return f"{before}{text[start:end].strip()}{after}"


def _best_start(text: str, question: str, limit: int) -> int:
    words = {word.lower() for word in re.findall(r"\w+", question)} - ENGLISH_STOP_WORDS
    if not words:
        return 0
    pattern = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    matches = []
    for match in re.finditer(pattern, text, re.IGNORECASE):
        matches.append((match.start(), match.group().lower()))
        if len(matches) == _MOST_MATCHES:
            break
    best, best_count = 0, 0
    for first, (position, _) in enumerate(matches):
        start = max(position - _LEAD, 0)
        inside = {word for place, word in matches[first:] if place < start + limit}
        if len(inside) > best_count:
            best, best_count = start, len(inside)
    return min(best, len(text) - limit)
