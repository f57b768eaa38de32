"""One replacement in a program's text: the value that all edit operators make."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from journeyman.agents.syntax import ATOM, Source


@dataclass(frozen=True, slots=True)
class Edit:
    """One contiguous replacement; all other text stays as it is.

    Attributes:
        operator: What kind of change it is: a key of `edits.OPERATORS`.
        start: First character replaced.
        end: Past the last character replaced; equal to `start` where text is put in.
        replacement: The new text.
        line: Line (from 1) where it begins.
        description: What it does, in a few words.
    """

    operator: str
    start: int
    end: int
    replacement: str
    line: int
    description: str = ""

    def apply(self, text: str) -> str:
        """The text with this edit."""
        return text[: self.start] + self.replacement + text[self.end :]


def put(source: Source, operator: str, span: tuple[int, int], text: str) -> Edit:
    """Replace a span of the text."""
    start, end = span
    old = source.text[start:end]
    said = f"{_short(old)} -> {_short(text)}" if old.strip() else f"add {_short(text)}"
    return Edit(operator, start, end, text, source.line_of(start), said)


def swap_in(source: Source, operator: str, node: ast.expr, text: str, level: int = ATOM) -> Edit:
    """Replace an expression, with parentheses where its place asks for them."""
    atomic = level >= ATOM
    span = source.own_span(node) if atomic else source.span(node)
    return put(source, operator, span, source.fitted(node, text, level))


def _short(text: str) -> str:
    folded = " ".join(text.split())
    return folded if len(folded) <= 60 else f"{folded[:57]}..."
