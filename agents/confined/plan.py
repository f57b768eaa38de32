"""Reads tests: which single tests there are, and which names they take from the candidate.

Every assertion at the top level, and in a function that the top level calls (`check(f)`), becomes
a test of its own, so that one knows which fail. Functions named `test...` are one test each.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from types import CodeType

TESTS_FILE = "<tests>"
"""File name that tests are compiled under."""

WATCH = "__journeyman_test__"
"""Name under which the judge's watch over one test is known to the tests."""

_MAX_NAME = 200


@dataclass(frozen=True)
class Planned:
    """One assertion that counts as a test."""

    name: str
    line: int


@dataclass(frozen=True)
class Plan:
    """Tests, ready to run.

    Attributes:
        code: The tests' code, each single test under a watch.
        assertions: The single tests, by the number that their watch is opened with.
        functions: Names of test functions to call.
        wanted: Names that the tests use and do not define or import.
        identifiers: Every name and attribute that they mention.
    """

    code: CodeType
    assertions: tuple[Planned, ...]
    functions: tuple[str, ...]
    wanted: frozenset[str]
    identifiers: frozenset[str]


def plan_tests(source: str) -> Plan:
    """Read tests.

    Raises:
        SyntaxError: They are no Python.
    """
    tree = ast.parse(source, TESTS_FILE)
    called = {
        statement.value.func.id
        for statement in tree.body
        if isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Call)
        and isinstance(statement.value.func, ast.Name)
    }
    functions = tuple(
        statement.name
        for statement in tree.body
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef)
        and statement.name.startswith("test")
        and statement.name not in called
    )
    wanted, identifiers = _names(tree)
    splitter = _Splitter()
    for index, statement in enumerate(tree.body):
        if isinstance(statement, ast.FunctionDef) and statement.name in called:
            statement.body = [splitter.visit(inner) for inner in statement.body]
        else:
            tree.body[index] = splitter.visit(statement)
    ast.fix_missing_locations(tree)
    code = compile(tree, TESTS_FILE, "exec", dont_inherit=True)
    return Plan(code, tuple(splitter.planned), functions, wanted, identifiers)


class _Splitter(ast.NodeTransformer):
    """Puts each assertion under a watch; leaves functions and classes as they are."""

    def __init__(self) -> None:
        self.planned: list[Planned] = []

    def visit_Assert(self, node: ast.Assert) -> ast.With:
        text = " ".join(ast.unparse(node).split())
        self.planned.append(Planned(text[:_MAX_NAME], node.lineno))
        number = ast.Constant(len(self.planned) - 1)
        opened = ast.Call(ast.Name(WATCH, ast.Load()), [number], [])
        return ast.copy_location(ast.With([ast.withitem(opened)], [node]), node)

    def _leave(self, node: ast.AST) -> ast.AST:
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = visit_Lambda = _leave  # noqa: N815


def _names(tree: ast.Module) -> tuple[frozenset[str], frozenset[str]]:
    """Names to take from the candidate, and all identifiers."""
    loaded, attributes = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            loaded.add(node.id)
        elif isinstance(node, ast.Attribute):
            attributes.add(node.attr)
        elif isinstance(node, ast.ImportFrom):
            attributes.update(alias.name for alias in node.names)
    defined: set[str] = set()
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            defined.add(statement.name)
        elif isinstance(statement, ast.Import | ast.ImportFrom):
            defined.update((a.asname or a.name).split(".")[0] for a in statement.names)
    own = defined | {name for name in loaded if name.startswith("__")}
    return frozenset(loaded - own), frozenset(loaded | attributes)
