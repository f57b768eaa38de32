"""A debugging task out of a free request: code, tests and a traceback, as people paste them.

Reads fenced blocks and tracebacks. Text that is neither is the description. Runs nothing, and
decides nothing of what is wrong.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

from journeyman.agents.localize import read_traceback
from journeyman.agents.repair_text import fences, outside_fences

_TRACEBACK = "Traceback (most recent call last)"
_PYTHON = frozenset({"python", "py", "python3", "py3"})
_TEST_WORDS = frozenset({"test", "tests", "pytest", "unittest"})
_MOST_DESCRIPTION = 2000


@dataclass(frozen=True, slots=True)
class Pasted:
    """What a request holds.

    Attributes:
        code: The program.
        tests: Its tests; may be empty.
        traceback: May be empty.
        description: The words around them.
        entry_point: The program's function that the tests call; may be empty.
    """

    code: str
    tests: str = ""
    traceback: str = ""
    description: str = ""
    entry_point: str = ""


def read_request(text: str) -> Pasted | None:
    """Code with tests or a traceback; None where a request has not both.

    Tests are a block named so (`python tests`) or one that holds nothing but imports, assertions,
    calls and functions `test...` or `check`.
    """
    codes: list[str] = []
    tests: list[str] = []
    traceback = ""
    for info, content in fences(text):
        words = set(info.lower().split())
        if _TRACEBACK in content and not words & _PYTHON:
            traceback = content
        elif words & _TEST_WORDS or _is_tests(content):
            tests.append(content)
        elif words & _PYTHON or (not words and _is_program(content)):
            codes.append(content)
    around = outside_fences(text)
    if not traceback and _TRACEBACK in around:
        traceback, around = _cut_traceback(around)
    if not codes or not (tests or traceback):
        return None
    code = "\n\n".join(codes)
    shown = "\n".join(tests)
    description = "\n".join(line for line in around.splitlines() if line.strip())
    return Pasted(
        code=code,
        tests=shown,
        traceback=traceback,
        description=description[:_MOST_DESCRIPTION].strip(),
        entry_point=entry_point_of(code, shown),
    )


def entry_point_of(code: str, tests: str) -> str:
    """The one function of the program that the tests name; empty where it is none or several."""
    try:
        own = {s.name for s in ast.parse(code).body if isinstance(s, ast.FunctionDef)}
        named = {n.id for n in ast.walk(ast.parse(tests)) if isinstance(n, ast.Name)}
    except (SyntaxError, ValueError):
        return ""
    found = own & named
    return next(iter(found)) if len(found) == 1 else ""


def _is_tests(content: str) -> bool:
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):
        return False
    asserted = any(isinstance(node, ast.Assert) for node in ast.walk(tree))
    return asserted and all(_is_test_statement(stmt) for stmt in tree.body)


def _is_test_statement(stmt: ast.stmt) -> bool:
    match stmt:
        case ast.Import() | ast.ImportFrom() | ast.Assert() | ast.Assign() | ast.Expr():
            return True
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            return name.startswith(("test", "check"))
        case ast.ClassDef(name=name):
            return name.startswith("Test") or name.endswith("Test")
    return False


def _is_program(content: str) -> bool:
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):
        return False
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Assign | ast.For
    return any(isinstance(stmt, kinds) for stmt in tree.body)


def _cut_traceback(text: str) -> tuple[str, str]:
    """A traceback out of running text, and the text without it."""
    start = text.rfind(_TRACEBACK)
    lines = text[start:].splitlines(keepends=True)
    count = 1
    for line in lines[1:]:
        count += 1
        if re.match(r"[A-Za-z_][\w.]*(:|\s*$)", line):  # the exception ends it
            break
    found = "".join(lines[:count])
    if not read_traceback(found).frames:
        return "", text
    return found, text[:start] + "".join(lines[count:])
