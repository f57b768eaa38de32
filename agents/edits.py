"""Single-edit candidates for a wrong program: every small change of the known kinds, once each.

Edits are found in the syntax tree and spliced into the text, so that all other text stays as it
is. Candidates that do not compile, or that compile to the same code as the program or as an
earlier candidate, are left out. Nothing is run, and which candidate is right is not known here.
"""

from __future__ import annotations
import __future__ as future

import ast
import contextlib
import threading
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from types import CodeType
from typing import Any

from journeyman.agents import edit_expressions, edit_names, edit_reuse, edit_statements
from journeyman.agents.edit import Edit
from journeyman.agents.syntax import Source, num_tokens_changed

__all__ = ["OPERATORS", "OPERATORS_VERSION", "Candidate", "Edit", "candidates"]

OPERATORS_VERSION = "1"
"""Raise it when the same program would get other candidates; it is part of the release id."""

OPERATORS: Mapping[str, float] = {
    # What small mistakes are most often made of.
    "comparison": 1.0,
    "number": 1.0,
    "name": 0.9,
    "arithmetic": 0.9,
    "part": 0.9,
    "number_small": 0.7,
    "off_by_one": 0.8,
    "boolean": 0.9,
    "truth": 0.9,
    "negation": 0.8,
    "operands": 0.7,
    "augmented": 0.8,
    "absolute": 0.7,
    # A word for its neighbour, a line in the wrong place.
    "function": 0.7,
    "method": 0.7,
    "attribute": 0.6,
    "slice": 0.6,
    "argument_swap": 0.5,
    "argument_less": 0.6,
    "range": 0.6,
    "string": 0.5,
    "respell": 0.8,
    "unwrap": 0.6,
    "delete": 0.5,
    "dedent": 0.5,
    "indent": 0.5,
    "jump": 0.5,
    "default": 0.6,
    "clause": 0.4,
    "chain": 0.5,
    "branches": 0.5,
    "call": 0.4,
    "argument_more": 0.4,
    "receiver": 0.4,
    "target": 0.5,
    # Seldom right, and many.
    "move": 0.3,
    "hoist": 0.3,
    "return": 0.3,
    "element": 0.3,
    "sign": 0.3,
    "access": 0.25,
    "assign": 0.25,
    "drop_target": 0.3,
    "keep": 0.3,
    "unblock": 0.25,
    "comparison_far": 0.25,
    "number_far": 0.2,
    "arithmetic_far": 0.2,
    "operands_far": 0.2,
    "off_by_one_far": 0.25,
    "truth_far": 0.15,
    "sliced": 0.15,
    "everywhere": 0.15,
    "reuse": 0.15,
    "pair": 0.15,
    "scale": 0.12,
    "wrap": 0.12,
    "condition": 0.1,
    "condition_fixed": 0.1,
    "insert": 0.12,
    "string_far": 0.12,
    "chain_far": 0.1,
    "assign_far": 0.1,
    "return_far": 0.1,
    "duplicate": 0.05,
}
"""Every operator with its place in the generic order: higher is tried earlier. Set by judgement, to
be overruled by a ranker; no data set was used to fit them."""

_FINDERS: tuple[Callable[[Source], Iterator[Edit]], ...] = (
    edit_expressions.comparisons,
    edit_expressions.numbers,
    edit_names.names,
    edit_expressions.arithmetic,
    edit_expressions.parts,
    edit_expressions.booleans,
    edit_expressions.constants,
    edit_expressions.negations,
    edit_expressions.off_by_one,
    edit_expressions.augmented,
    edit_names.words,
    edit_names.slices,
    edit_names.sliced,
    edit_names.arguments,
    edit_names.unwrapped,
    edit_reuse.paired,
    edit_reuse.shortened,
    edit_reuse.everywhere,
    edit_statements.deleted,
    edit_statements.indented,
    edit_statements.moved,
    edit_statements.chains,
    edit_statements.returned,
    edit_statements.defaults,
    edit_reuse.cut,
    edit_reuse.reused,
    edit_reuse.scaled,
    edit_names.wrapped,
    edit_expressions.extended_conditions,
    edit_statements.inserted,
    edit_statements.duplicated,
)

_UNSEEN = 0.02  # weight of a line that no failing test runs, beside 1 for the most suspected
_COMPILING = threading.Lock()
_UNCOMPILABLE = (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A program that differs from the given one by one edit.

    Attributes:
        code: The whole program.
        edit: The edit.
        operator: Its kind.
        line: The line (from 1) of the given program where it begins.
        size: Words and signs changed.
        prior: How early it comes in the generic order, in (0, 1]; suspicion included.
        suspicion: Of its line, in [0, 1]; 1 everywhere where nothing is known.
    """

    code: str
    edit: Edit
    operator: str
    line: int
    size: int
    prior: float = 1.0
    suspicion: float = 1.0


def candidates(
    code: str,
    *,
    focus: Mapping[int, float] | None = None,
    tests: str = "",
    limit: int | None = None,
) -> list[Candidate]:
    """Every program that is one known edit away, best first in the generic order.

    Args:
        code: The program.
        focus: Suspicion by line (from 1), in [0, 1]; lines that are absent have none and come last.
            None suspects every line alike.
        tests: Python source; its strings are tried where the program has nearly the same ones.
        limit: At most so many.

    Returns:
        Programs that compile, each once by what it compiles to. Empty where the code itself cannot
        be parsed: nothing is known of its structure then.
    """
    with _COMPILING, warnings.catch_warnings():
        # As the code module does: what a candidate is warned of is nobody's business here.
        warnings.simplefilter("ignore")
        try:
            source = Source(code)
        except _UNCOMPILABLE:
            return []
        return _distinct(
            source, _Segments(source), _ordered(source, focus, _strings_in(tests)), limit
        )


def _distinct(
    source: Source, segments: _Segments, edits: list[tuple[float, float, Edit]], limit: int | None
) -> list[Candidate]:
    found: list[Candidate] = []
    texts: set[str] = set()
    for prior, suspicion, edit in edits:
        text = edit.apply(source.text)
        if text in texts or not segments.is_new(edit):
            continue
        texts.add(text)
        old = source.text[edit.start : edit.end]
        size = max(1, num_tokens_changed(old, edit.replacement))
        found.append(Candidate(text, edit, edit.operator, edit.line, size, prior, suspicion))
        if len(found) == limit:
            break
    return found


def _strings_in(tests: str) -> set[str]:
    try:
        nodes = ast.walk(ast.parse(tests))
    except _UNCOMPILABLE:
        return set()
    return {n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)}


def _ordered(
    source: Source, focus: Mapping[int, float] | None, words: Collection[str]
) -> list[tuple[float, float, Edit]]:
    """All edits with prior and suspicion, best first; equal ones in the order of the text."""
    suspicion = _Suspicion(source, focus)
    without = edit_names.annotated(source)
    dead = [source.span(node) for node in without if isinstance(node, ast.expr)]
    weighed = []
    found = [edit_reuse.respelled(source, words), *(finder(source) for finder in _FINDERS)]
    for edits in found:
        for edit in edits:
            if any(start <= edit.start and edit.end <= end for start, end in dead):
                continue
            doubt = suspicion.of(edit)
            prior = OPERATORS[edit.operator] * max(doubt, _UNSEEN)
            weighed.append((prior, doubt, edit))
    weighed.sort(key=lambda item: -item[0])
    return weighed


class _Suspicion:
    """Suspicion of an edit: the largest of the statement, or the header, that it changes."""

    def __init__(self, source: Source, focus: Mapping[int, float] | None) -> None:
        self._source = source
        self._known = None if focus is None else dict(focus)
        if self._known is None or not self._known:
            self._known = None
            return
        top = max(self._known.values())
        self._known = {line: value / top for line, value in self._known.items()} if top > 0 else {}
        for stmt in source.nodes(ast.stmt):
            block = getattr(stmt, "body", None)
            last = block[0].lineno - 1 if isinstance(block, list) and block else stmt.end_lineno
            lines = range(stmt.lineno, max(stmt.lineno, last or 0) + 1)
            if len(lines) > 1:
                most = max(self._known.get(line, 0.0) for line in lines)
                self._known.update(dict.fromkeys(lines, most))

    def of(self, edit: Edit) -> float:
        if self._known is None:
            return 1.0
        first, last = edit.line, self._source.line_of(max(edit.start, edit.end - 1))
        # What is put in at a line's start belongs to the line before as well.
        first -= edit.start == edit.end and edit.start == self._source.line_start(edit.line)
        return max(self._known.get(line, 0.0) for line in range(first, last + 1))


class _Segments:
    """Tells whether an edit makes new code, by compiling just the top-level statements it touches.

    Compiled code is the normal form: it forgets spaces, comments, parentheses and folded constants.
    """

    def __init__(self, source: Source) -> None:
        self._text = source.text
        self._flags = _future_flags(source.tree)
        self._starts = [0]
        for stmt in source.tree.body[1:]:
            span = source.lines(stmt)
            if span is not None and not source.text[self._starts[-1] : span[0]].isspace():
                self._starts.append(span[0])
        self._starts.append(len(source.text) + 1)
        self._seen: dict[tuple[int, int], set[Any]] = {}

    def is_new(self, edit: Edit) -> bool:
        """Does it compile, and not to what the program or an earlier edit compiles to?"""
        first = next(i for i, start in enumerate(self._starts) if start > edit.start) - 1
        # What is put in between two statements may belong to the one before.
        first -= edit.start == self._starts[first] and first > 0
        end = next(start for start in self._starts if start > edit.start and start >= edit.end)
        start, end = self._starts[first], min(end, len(self._text))
        seen = self._seen.get((start, end))
        if seen is None:
            seen = self._seen[start, end] = set()
            with contextlib.suppress(*_UNCOMPILABLE):  # as where `return` stands too far left
                seen.add(self._compiled(self._text[start:end]))
        head, tail = self._text[start : edit.start], self._text[edit.end : end]
        try:
            key = self._compiled(head + edit.replacement + tail)
        except _UNCOMPILABLE:
            return False
        if key in seen:
            return False
        seen.add(key)
        return True

    def _compiled(self, text: str) -> Any:
        code = compile(text, "<candidate>", "exec", flags=self._flags, dont_inherit=True)
        return _key(code)


def _key(code: CodeType) -> Any:
    constants = tuple(
        _key(item) if isinstance(item, CodeType) else (type(item), repr(item))
        for item in code.co_consts
    )
    return (
        code.co_name,
        code.co_code,
        constants,
        code.co_names,
        code.co_varnames,
        code.co_freevars,
        code.co_cellvars,
        code.co_flags,
        (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount),
        getattr(code, "co_exceptiontable", b""),
    )


def _flag(feature: str) -> int:
    return int(getattr(future, feature).compiler_flag)


def _future_flags(tree: ast.Module) -> int:
    """Flags of the `from __future__` lines, which hold for the whole text."""
    flags = 0
    for stmt in tree.body:
        if isinstance(stmt, ast.ImportFrom) and stmt.module == "__future__":
            for alias in stmt.names:
                flags |= _flag(alias.name)
    return flags
