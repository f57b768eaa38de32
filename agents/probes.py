"""Calls to watch a program by: those that its tests make, and others a little different.

Two programs that pass the same tests may still differ; what they give for arguments near those of
the tests tells them apart. Reads text only; the calls are run elsewhere, in the sandbox.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator
from itertools import islice, zip_longest
from typing import Any

MOST_CALLS = 32
_MIXED = "aB 1z-Y"  # a letter of each case at each end, a digit, a blank and a sign
_MOST_TEXT = 2000  # characters of one call
_BUILTINS = frozenset(dir(builtins))


def calls_in(tests: str, code: str, entry_point: str = "") -> list[str]:
    """Calls of the program's functions in tests, whose arguments need nothing of the tests.

    Args:
        tests: Python source. In `def check(candidate)` the parameter stands for what the test
            file calls it with.
        code: The program.
        entry_point: The function under test; the program's own functions and classes if empty.

    Returns:
        Expressions, each once, in the order of the tests; empty where the source does not parse.
    """
    try:
        tree, own = ast.parse(tests), _own_names(code)
    except (SyntaxError, ValueError):
        return []
    wanted = {entry_point} if entry_point else own
    aliases = _aliases(tree)
    found: dict[str, None] = {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        for name in _targets(node, wanted, aliases):
            arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
            if all(_stands_alone(argument, own) for argument in arguments):
                call = ast.Call(ast.Name(name, ast.Load()), node.args, node.keywords)
                text = ast.unparse(call)
                if len(text) <= _MOST_TEXT:
                    found[text] = None
    return list(found)


def probes(tests: str, code: str, entry_point: str = "", *, most: int = MOST_CALLS) -> list[str]:
    """Calls of the tests, at most half of `most`, and variants of them with other literals."""
    calls = calls_in(tests, code, entry_point)
    base = calls[: max(1, most // 2)]
    # Round about, so that a first call with many variants does not crowd out the others.
    rounds = zip_longest(*(_variants(call) for call in calls[:most]))
    varied = (text for each in rounds for text in each if text is not None)
    every = dict.fromkeys([*base, *islice(varied, 4 * most)])
    return list(every)[:most]


def _own_names(code: str) -> set[str]:
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return {stmt.name for stmt in ast.parse(code).body if isinstance(stmt, kinds)}


def _aliases(tree: ast.Module) -> dict[str, set[str]]:
    """Parameter of a function of the tests -> names that the top level gives for it."""
    functions = {stmt.name: stmt for stmt in tree.body if isinstance(stmt, ast.FunctionDef)}
    found: dict[str, set[str]] = {}
    for stmt in tree.body:
        match stmt:
            case ast.Expr(value=ast.Call(func=ast.Name(id=name), args=arguments)):
                function = functions.get(name)
                if function is None:
                    continue
                for parameter, argument in zip(function.args.args, arguments, strict=False):
                    if isinstance(argument, ast.Name):
                        found.setdefault(parameter.arg, set()).add(argument.id)
    return found


def _targets(call: ast.Call, wanted: set[str], aliases: dict[str, set[str]]) -> list[str]:
    if not isinstance(call.func, ast.Name):
        return []
    named = aliases.get(call.func.id, {call.func.id})
    return sorted(named & wanted)


def _stands_alone(node: ast.expr, own: set[str]) -> bool:
    names = (part.id for part in ast.walk(node) if isinstance(part, ast.Name))
    bound = {
        part.id
        for part in ast.walk(node)
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
    }
    bound |= {part.arg for part in ast.walk(node) if isinstance(part, ast.arg)}
    return all(name in own or name in _BUILTINS or name in bound for name in names)


def _variants(call: str) -> Iterator[str]:
    """The call with one literal argument changed a little at a time."""
    tree = ast.parse(call, mode="eval").body
    assert isinstance(tree, ast.Call)
    yield from _equal_arguments(tree)
    for index, argument in enumerate(tree.args):
        try:
            value = ast.literal_eval(argument)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            continue
        for other in _near(value):
            arguments = [ast.unparse(item) for item in tree.args]
            arguments[index] = repr(other)
            arguments += [ast.unparse(keyword) for keyword in tree.keywords]
            yield f"{ast.unparse(tree.func)}({', '.join(arguments)})"


def _equal_arguments(call: ast.Call) -> Iterator[str]:
    """The call with one argument given twice: where two are alike, `<` and `<=` part."""
    texts = [ast.unparse(item) for item in call.args]
    for index in range(1, len(texts)):
        if type(call.args[index]) is type(call.args[index - 1]):
            same = [*texts[:index], texts[index - 1], *texts[index + 1 :]]
            same += [ast.unparse(keyword) for keyword in call.keywords]
            yield f"{ast.unparse(call.func)}({', '.join(same)})"


def _near(value: Any) -> Iterator[Any]:
    """Values like this one: a little more, a little less, empty, turned, longer, shorter."""
    match value:
        case bool():
            yield not value
        case int():
            # Never far away: a call that was quick should stay quick.
            yield from (value + 1, value - 1, 0, -value, 1, value // 2)
        case float():
            yield from (value + 1.0, value / 2, -value, 0.0)
        case str():
            yield from (value[:-1], value[1:], value[::-1], value + value[:1], "", _MIXED)
            yield from (value.swapcase(), value + " " + value)
        case list():
            yield from (value[:-1], value[::-1], value + value[:1], [], value[1:])
            parts = [(i, other) for i in range(len(value[:3])) for other in _near(value[i])]
            yield from ([*value[:i], other, *value[i + 1 :]] for i, other in parts[:8])
        case tuple():
            yield from (tuple(item) for item in islice(_near(list(value)), 6))
        case dict():
            keys = list(value)
            yield from ({}, {key: value[key] for key in keys[:-1]})
            changed = ((key, other) for key in keys[:2] for other in islice(_near(value[key]), 2))
            yield from ({**value, key: other} for key, other in changed)
        case set():
            yield set()
            yield set(sorted(value, key=repr)[1:])
