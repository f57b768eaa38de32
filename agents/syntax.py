"""Python source with its syntax tree and exact places, so that an edit keeps all other text.

Knows where every expression and statement stands in the text, which names are in scope, and when
a replaced expression needs parentheses. Knows no edit and runs nothing.
"""

from __future__ import annotations

import ast
import re
import sys
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, TypeVar, overload

OneT = TypeVar("OneT", bound=ast.AST)
TwoT = TypeVar("TwoT", bound=ast.AST)
ThreeT = TypeVar("ThreeT", bound=ast.AST)

Function = ast.FunctionDef | ast.AsyncFunctionDef
Scope = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef | ast.Module
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
Block = list[ast.stmt]

# How tightly an expression holds together; higher holds tighter.
ATOM, UNARY, COMPARE, NOT, AND, OR, TEST = 16, 13, 6, 5, 4, 3, 2
_BINARY: dict[type[ast.operator], int] = {
    ast.BitOr: 7,
    ast.BitXor: 8,
    ast.BitAnd: 9,
    ast.LShift: 10,
    ast.RShift: 10,
    ast.Add: 11,
    ast.Sub: 11,
    ast.Pow: 14,
}
_PRODUCT = 12  # every other binary operator
_LINE_END = re.compile(r"\r\n|\r|\n")
_BETWEEN = " \t\r\n\f\\()"


class Source:
    """A program's text and tree.

    Attributes:
        text: As it was given.
        tree: Its module.

    Raises:
        SyntaxError: The text is no Python of this interpreter's version.
        ValueError: It holds a null byte.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.tree = ast.parse(text)
        self._starts = [0, *(match.end() for match in _LINE_END.finditer(text))]
        self._plain = text.isascii()
        self._parents: dict[ast.AST, ast.AST] = {}
        self._scopes: dict[ast.AST, Scope] = {}
        self._order: list[ast.AST] = []
        self._visit(self.tree, self.tree)

    def _visit(self, node: ast.AST, scope: Scope) -> None:
        self._order.append(node)
        self._scopes[node] = scope
        inner: Scope = node if isinstance(node, Scope) else scope
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr_context | ast.operator | ast.boolop | ast.cmpop):
                continue  # shared between all their parents
            if isinstance(child, ast.unaryop):
                continue
            self._parents[child] = node
            if isinstance(child, ast.JoinedStr) and sys.version_info < (3, 12):
                # Before 3.12 places inside of an f-string are not to be relied upon.
                self._order.append(child)
                self._scopes[child] = inner
                continue
            self._visit(child, inner)

    # Places.

    @overload
    def nodes(self, one: type[OneT], /) -> Iterator[OneT]: ...
    @overload
    def nodes(self, one: type[OneT], two: type[TwoT], /) -> Iterator[OneT | TwoT]: ...
    @overload
    def nodes(
        self, one: type[OneT], two: type[TwoT], three: type[ThreeT], /
    ) -> Iterator[OneT | TwoT | ThreeT]: ...
    @overload
    def nodes(self, *kinds: type[ast.expr]) -> Iterator[ast.expr]: ...
    @overload
    def nodes(self, *kinds: type[ast.AST]) -> Iterator[Any]: ...
    def nodes(self, *kinds: type[ast.AST]) -> Iterator[Any]:
        """All nodes of these types, in the order of the text."""
        return (node for node in self._order if isinstance(node, kinds))

    def offset(self, line: int, column: int) -> int:
        """Character offset of a line (from 1) and a UTF-8 column as the tree has them."""
        start = self._starts[line - 1]
        if self._plain:
            return start + column
        end = self._starts[line] if line < len(self._starts) else len(self.text)
        return start + len(self.text[start:end].encode()[:column].decode())

    def span(self, node: ast.expr | ast.stmt | ast.arg | ast.keyword) -> tuple[int, int]:
        """First character, and the one past the last; decorators are not part of a function."""
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return (
            self.offset(node.lineno, node.col_offset),
            self.offset(node.end_lineno, node.end_col_offset),
        )

    def of(self, node: ast.expr | ast.stmt | ast.arg | ast.keyword) -> str:
        """The node's own text, without parentheses around it."""
        start, end = self.span(node)
        return self.text[start:end]

    def line_of(self, offset: int) -> int:
        """Line (from 1) of a character."""
        return bisect_right(self._starts, offset)

    def line_start(self, line: int) -> int:
        """Offset of a line's first character; past the last line, the text's end."""
        return self._starts[line - 1] if line <= len(self._starts) else len(self.text)

    @property
    def num_lines(self) -> int:
        """Lines of the text, the empty one after a last line break included."""
        return len(self._starts)

    def operator_span(self, left: ast.expr, right: ast.expr) -> tuple[int, int] | None:
        """Place of the operator between two operands; None where a comment is in the way."""
        start, end = self.span(left)[1], self.span(right)[0]
        gap = self.text[start:end]
        found = gap.strip(_BETWEEN)
        if not found or "#" in gap:
            return None
        at = start + gap.index(found)
        return at, at + len(found)

    def own_span(self, node: ast.expr) -> tuple[int, int]:
        """The span with the parentheses that stand around this expression alone."""
        start, end = self.span(node)
        parent = self._parents.get(node)
        borrowed = ast.Call | ast.ClassDef | ast.pattern
        if isinstance(parent, borrowed) and node is not getattr(parent, "func", None):
            return start, end  # parentheses there may be the call's
        while True:
            before = len(self.text[:start].rstrip(" \t"))
            after = len(self.text) - len(self.text[end:].lstrip(" \t"))
            if self.text[before - 1 : before] != "(" or self.text[after : after + 1] != ")":
                return start, end
            start, end = before - 1, after + 1

    # Structure.

    def parent(self, node: ast.AST) -> ast.AST | None:
        """The node that holds this one; None for the module."""
        return self._parents.get(node)

    def ancestors(self, node: ast.AST) -> Iterator[ast.AST]:
        """Parent, its parent, and so on up to the module."""
        found = self._parents.get(node)
        while found is not None:
            yield found
            found = self._parents.get(found)

    def statement(self, node: ast.AST) -> ast.stmt | None:
        """The innermost statement that the node is part of."""
        if isinstance(node, ast.stmt):
            return node
        return next((up for up in self.ancestors(node) if isinstance(up, ast.stmt)), None)

    def function(self, node: ast.AST) -> Function | None:
        """The innermost function (never a lambda) around a node."""
        scope = self._scopes[node]
        while not isinstance(scope, Function | ast.Module):
            scope = self._scopes[scope]
        return scope if isinstance(scope, Function) else None

    @cached_property
    def blocks(self) -> list[tuple[ast.AST, Block]]:
        """Every list of statements with the node that owns it, outer ones first."""
        found: list[tuple[ast.AST, Block]] = []
        for node in self._order:
            for name in ("body", "orelse", "finalbody"):
                block = getattr(node, name, None)
                if isinstance(block, list) and block:
                    found.append((node, block))
        return found

    @cached_property
    def block_of(self) -> dict[ast.stmt, tuple[ast.AST, Block]]:
        """The list that each statement stands in, and that list's owner."""
        return {stmt: (owner, block) for owner, block in self.blocks for stmt in block}

    def lines(self, first: ast.stmt, last: ast.stmt | None = None) -> tuple[int, int] | None:
        """Span of whole lines from one statement to another of its block, line break included.

        None where they share a line with other code, as after `:` or `;`.
        """
        last = last or first
        decorators = getattr(first, "decorator_list", None)
        begin = min([first.lineno, *(d.lineno for d in decorators or ())])
        assert last.end_lineno is not None
        start, end = self._starts[begin - 1], self.line_start(last.end_lineno + 1)
        head = self.text[start : self.span(first)[0]] if not decorators else ""
        tail = self.text[self.span(last)[1] : end].strip()
        if head.strip() or (tail and not tail.startswith("#")):
            return None
        return start, end

    def indent(self, stmt: ast.stmt) -> str:
        """White space before a statement that begins its line."""
        start = self._starts[stmt.lineno - 1]
        return self.text[start : self.span(stmt)[0]]

    @cached_property
    def indent_step(self) -> str:
        """One more level of indentation, as the text writes it."""
        for owner, block in self.blocks:
            if isinstance(owner, ast.stmt) and block[0].lineno > owner.lineno:
                outer, inner = self.indent(owner), self.indent(block[0])
                if inner.startswith(outer) and inner.strip() == "" and len(inner) > len(outer):
                    return inner[len(outer) :]
        return "    "

    def reindented(self, start: int, end: int, old: str, new: str) -> str | None:
        """Lines moved from one indentation to another; None where a string spans several lines."""
        first, last = self.line_of(start), self.line_of(max(start, end - 1))
        if any(low < last and high > first for low, high in self._long_strings):
            return None
        moved = []
        for line in self.text[start:end].splitlines(keepends=True):
            if line.strip() and not line.startswith(old):
                return None
            moved.append(new + line[len(old) :] if line.strip() else line)
        if moved and not moved[-1].endswith(("\n", "\r")):
            moved[-1] += "\n"
        return "".join(moved)

    @cached_property
    def _long_strings(self) -> list[tuple[int, int]]:
        return [
            (node.lineno, node.end_lineno or node.lineno)
            for node in self.nodes(ast.Constant, ast.JoinedStr)
            if (node.end_lineno or node.lineno) > node.lineno
        ]

    # Names.

    def names_at(self, node: ast.AST) -> list[str]:
        """Variables that a name at this place could mean, innermost first, each once."""
        found: dict[str, None] = {}
        for up in self.ancestors(node):
            if isinstance(up, Comprehension):
                for part in up.generators:
                    found.update(dict.fromkeys(_bound_names(part.target)))
            elif isinstance(up, ast.Lambda):
                found.update(dict.fromkeys(_parameters(up.args)))
            elif isinstance(up, Function | ast.Module):
                found.update(dict.fromkeys(self._bound[up]))
        return [name for name in found if name not in {"self", "cls", "_"}]

    @cached_property
    def _bound(self) -> dict[ast.AST, list[str]]:
        """Variables bound in each function and in the module, in the order of the text."""
        found: dict[ast.AST, dict[str, None]] = {self.tree: {}}
        for node in self._order:
            if isinstance(node, Function):
                found[node] = dict.fromkeys(_parameters(node.args))
        for node in self._order:
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                if any(isinstance(up, ast.comprehension) for up in self.ancestors(node)):
                    continue
                scope = self._scopes[node]
                if not isinstance(scope, ast.ClassDef | ast.Lambda):
                    found[scope][node.id] = None
            elif isinstance(node, ast.ExceptHandler) and node.name:
                found.get(self._scopes[node], {})[node.name] = None
        return {scope: list(names) for scope, names in found.items()}

    @cached_property
    def functions(self) -> dict[str, Function]:
        """Functions and methods of the text by name; a name used twice is its last."""
        return {node.name: node for node in self.nodes(ast.FunctionDef, ast.AsyncFunctionDef)}

    @cached_property
    def callables(self) -> list[str]:
        """Names of the module's own functions and classes."""
        kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
        return [stmt.name for stmt in self.tree.body if isinstance(stmt, kinds)]

    @cached_property
    def own_attributes(self) -> list[str]:
        """Attributes that the text reads or writes on `self`."""
        return list(
            dict.fromkeys(
                node.attr
                for node in self.nodes(ast.Attribute)
                if isinstance(node.value, ast.Name) and node.value.id == "self"
            )
        )

    # Parentheses.

    def fitted(self, node: ast.expr, text: str, level: int) -> str:
        """A text of some level as it may stand in the place of an expression."""
        if self._lone_generator(node):
            return f"({text})"
        if level >= self._needed(node) or self.own_span(node) != self.span(node):
            return text
        return f"({text})"

    def _lone_generator(self, node: ast.expr) -> bool:
        """Is it a generator that borrows its parentheses from the call around it?"""
        parent = self._parents.get(node)
        return (
            isinstance(node, ast.GeneratorExp)
            and isinstance(parent, ast.Call)
            and self.span(node)[1] == self.span(parent)[1]
        )

    def _needed(self, node: ast.expr) -> int:
        parent = self._parents.get(node)
        match parent:
            case ast.BinOp():
                own = level_of(parent)
                first = parent.left is node
                tight = first if isinstance(parent.op, ast.Pow) else not first
                return own + 1 if tight else own
            case ast.BoolOp() | ast.UnaryOp(op=ast.Not()):
                return level_of(parent) + (1 if isinstance(parent, ast.BoolOp) else 0)
            case ast.UnaryOp():
                return UNARY
            case ast.Compare() | ast.Starred():
                return COMPARE + 1
            case ast.Attribute() | ast.Await():
                return ATOM
            case ast.Subscript() if parent.value is node:
                return ATOM
            case ast.Call() if parent.func is node:
                return ATOM
            case ast.IfExp() if parent.orelse is not node:
                return OR
            case ast.comprehension():
                return OR
        return 0


def level_of(node: ast.expr) -> int:
    """How tightly an expression holds together."""
    match node:
        case ast.BinOp():
            return _BINARY.get(type(node.op), _PRODUCT)
        case ast.BoolOp():
            return AND if isinstance(node.op, ast.And) else OR
        case ast.UnaryOp():
            return NOT if isinstance(node.op, ast.Not) else UNARY
        case ast.Compare():
            return COMPARE
        case ast.IfExp():
            return TEST
        case ast.Lambda():
            return 1
        case ast.NamedExpr() | ast.Yield() | ast.YieldFrom() | ast.Starred():
            return 0
        case ast.Await():
            return 15
        case ast.Tuple():
            return ATOM  # its text has parentheses wherever it needs them
        case ast.Constant() if isinstance(node.value, int | float):
            return UNARY + 2  # `1.real` is no attribute
    return ATOM


def num_tokens_changed(old: str, new: str) -> int:
    """How many words and signs differ between two pieces of code, what they share at both ends off.

    The larger of what went and what came; 0 where only white space differs.
    """
    before, after = _TOKEN.findall(old), _TOKEN.findall(new)
    head = _shared(before, after)
    tail = _shared(before[head:][::-1], after[head:][::-1])
    return max(len(before), len(after)) - head - tail


_TOKEN = re.compile(r"\w+|[^\w\s]")


def _shared(first: Sequence[str], second: Sequence[str]) -> int:
    count = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        count += 1
    return count


def _bound_names(target: ast.expr) -> list[str]:
    return [node.id for node in ast.walk(target) if isinstance(node, ast.Name)]


def _parameters(arguments: ast.arguments) -> list[str]:
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    starred = [arg for arg in (arguments.vararg, arguments.kwarg) if arg is not None]
    return [arg.arg for arg in (*every, *starred)]
