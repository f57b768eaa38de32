"""What is telling about an edit, in single words: what goes, what comes, where, and what it means.

A ranker learns from a few hundred bugs which words right edits have. The words say nothing about
names that only one program has. Runs nothing; knows no model.
"""

from __future__ import annotations

import ast
import builtins
import keyword
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet

WORDS_VERSION = "1"
"""Raise it when the same edit would get other words; it is part of the release id."""

_TOKEN = re.compile(
    r"[A-Za-z_]\w*|\d+\.?\d*|\"[^\"\n]*\"|'[^'\n]*'|\*\*=?|//=?|[<>=!]=|<<|>>|[-+*/%|&^]=|\S"
)
_STATEMENT = re.compile(r"\s*(return|if|elif|while|for|else|def|import|from|raise|assert|with)\b")
_CALLED = re.compile(r"([A-Za-z_]\w*)\s*\Z")
_KNOWN = frozenset(dir(builtins)) | frozenset(keyword.kwlist)
_COMMON = frozenset({"append", "split", "join", "sort", "replace", "get", "items", "strip"})
_TWINS = frozenset({"==", "!=", "<", "<=", ">", ">=", "-", "/", "//", "%", "and", "or"})
_MAX_TOKENS = 4  # of an edit's old and new text that become words
_MAX_WHOLE = 3  # tokens on each side of an edit that becomes one word as a whole
_SMALL = frozenset("0123")  # numbers that are their own word


class EditWords:
    """The words for edits of one program.

    Args:
        code: The program.
        description: What it should do.
    """

    def __init__(self, code: str, description: str = "") -> None:
        self._code = code
        self._said = frozenset(re.findall(r"[a-z]+|\d+", description.lower()))
        self._read = Counter[str]()
        self._bound: set[str] = set()
        try:
            tree = ast.parse(code)
        except (SyntaxError, ValueError, RecursionError):
            return
        for node in ast.walk(tree):
            if isinstance(node, ast.arg):
                self._bound.add(node.arg)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                self._read[node.id] += 1
            elif isinstance(node, ast.Name):
                self._bound.add(node.id)

    def of(self, operator: str, start: int, end: int, replacement: str) -> list[str]:
        """The words for one edit, the operator first, each once; without blanks and colons.

        Args:
            operator: The edit's kind.
            start: First character replaced.
            end: Past the last.
            replacement: What stands there afterwards.
        """
        old, new = _trimmed(_TOKEN.findall(self._code[start:end]), _TOKEN.findall(replacement))
        words = [operator]
        normal_old, normal_new = _normal(old), _normal(new)
        if len(old) <= _MAX_WHOLE and len(new) <= _MAX_WHOLE:
            words.append(f"{'_'.join(normal_old)}~{'_'.join(normal_new)}")
        words += [f"+{token}" for token in normal_new[:_MAX_TOKENS]]
        words += [f"-{token}" for token in normal_old[:_MAX_TOKENS]]
        words += self._place(operator, start)
        words += self._meaning(set(old) - set(new), set(new) - set(old))
        if _has_twins(self._line(start, end, replacement)):
            words.append("twins")
        return list(dict.fromkeys(word.replace(":", "colon") for word in words))

    def _line(self, start: int, end: int, replacement: str) -> list[str]:
        first = self._code.rfind("\n", 0, start) + 1
        last = self._code.find("\n", end)
        last = len(self._code) if last < 0 else last
        return _TOKEN.findall(self._code[first:start] + replacement + self._code[end:last])

    def _place(self, operator: str, start: int) -> Iterator[str]:
        first = self._code.rfind("\n", 0, start) + 1
        last = self._code.find("\n", start)
        line = self._code[first : len(self._code) if last < 0 else last]
        stated = _STATEMENT.match(line)
        if stated is not None:
            place = stated[1]
        elif re.search(r"[-+*/%|&]=", line):
            place = "augmented"
        else:
            place = "assign" if re.match(r"[^=(]*[^=!<>(]=[^=]", line) else "expression"
        yield f"in_{place}"
        yield f"{operator}@{place}"
        call = _innermost_call(line[: start - first])
        if call:
            yield f"within_{call}"
            yield f"{operator}@{call}"

    def _meaning(self, gone: AbstractSet[str], come: AbstractSet[str]) -> Iterator[str]:
        """What an edit means for names and for what the description says."""
        unused = {name for name in self._bound if not self._read[name]}
        if come & unused:
            yield "uses_unused"
        if any(self._read[name] == 1 for name in gone & self._bound):
            yield "drops_last_use"
        if come & self._bound:
            yield "new_local"
        if any(token.strip("'\"").lower() in self._said for token in come):
            yield "said_new"
        if any(token.strip("'\"").lower() in self._said for token in gone):
            yield "said_old"


def _trimmed(old: list[str], new: list[str]) -> tuple[list[str], list[str]]:
    """Without what both begin and end with."""
    shorter = min(len(old), len(new))
    head = next((i for i in range(shorter) if old[i] != new[i]), shorter)
    rest = shorter - head
    tail = next((i for i in range(rest) if old[-1 - i] != new[-1 - i]), rest)
    return old[head : len(old) - tail], new[head : len(new) - tail]


def _normal(tokens: Sequence[str]) -> list[str]:
    return [_word(token, tokens[i - 1] if i else "") for i, token in enumerate(tokens)]


def _word(token: str, before: str) -> str:
    """A token as it may stand in any program: names, large numbers and texts lose themselves."""
    if token[0] in "\"'":
        return "text" if len(token) > 2 else "empty"
    if token[0].isdigit():
        if not token.isdigit():
            return "float"
        return token if token in _SMALL else "digits"
    if token[0].isalpha() or token[0] == "_":
        return token if token in _KNOWN or before == "." else "name"
    return token


def _innermost_call(before: str) -> str:
    """What the place after this text is within: `range`, `name`, `[`, `(`; empty outside of all."""
    depth = 0
    for at in range(len(before) - 1, -1, -1):
        if before[at] in ")]}":
            depth += 1
        elif before[at] in "([{":
            if depth:
                depth -= 1
                continue
            called = _CALLED.search(before[:at])
            if before[at] != "(" or called is None:
                return before[at]
            return called[1] if called[1] in _KNOWN | _COMMON else "name"
    return ""


def _has_twins(tokens: Sequence[str]) -> bool:
    """Does a line compare or subtract a thing and itself?"""
    return any(
        tokens[i - 1] == tokens[i + 1] for i in range(1, len(tokens) - 1) if tokens[i] in _TWINS
    )
