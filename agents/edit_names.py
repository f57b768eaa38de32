"""Edits of names, calls and subscripts: which name, which method, which arguments, which slice.

Each function proposes every edit of its kind; which of them is right is not known here.
"""

from __future__ import annotations

import ast
import builtins
import difflib
from collections.abc import Iterator
from itertools import pairwise

from journeyman.agents.edit import Edit, put, swap_in
from journeyman.agents.edit_families import (
    EXTRA_ARGUMENTS,
    FUNCTIONS,
    ITERATION_WRAPPERS,
    METHODS,
    UNWRAPPED,
    WRAPPERS,
)
from journeyman.agents.syntax import ATOM, COMPARE, Source, level_of

_Plain = ast.Name | ast.Attribute | ast.Constant | ast.Subscript
_SUM = 11
_MOST_NAMES = 12  # names tried in one place, the nearest scope first
_BUILTINS = frozenset(dir(builtins))


def names(source: Source) -> Iterator[Edit]:
    """Another variable in scope; for a name that nothing binds, those that are spelt like it."""
    for node in source.nodes(ast.Name):
        scope = source.names_at(node)
        called = _is_called(source, node)
        if node.id in {"self", "cls"}:
            continue
        known = node.id in scope or node.id in source.callables or node.id in _BUILTINS
        if not known and isinstance(node.ctx, ast.Load) and not _is_imported(source, node.id):
            pool = dict.fromkeys([*scope, *source.callables, *sorted(_BUILTINS)])
            for name in difflib.get_close_matches(node.id, pool, n=5, cutoff=0.5):
                yield swap_in(source, "name", node, name)
        if called:
            for name in source.callables:
                if name != node.id and node.id in source.callables:
                    yield swap_in(source, "function", node, name)
            continue
        if node.id not in scope:
            continue
        operator = "name" if isinstance(node.ctx, ast.Load) else "target"
        if operator == "target" and not _is_plain_target(source, node):
            continue
        for name in [name for name in scope if name != node.id][:_MOST_NAMES]:
            yield swap_in(source, operator, node, name)
        if operator == "name" and node.id in source.own_attributes:
            yield swap_in(source, "attribute", node, f"self.{node.id}")


def _is_called(source: Source, node: ast.expr) -> bool:
    parent = source.parent(node)
    return isinstance(parent, ast.Call) and parent.func is node


def _is_plain_target(source: Source, node: ast.Name) -> bool:
    parent = source.parent(node)
    return isinstance(parent, ast.AugAssign | ast.Assign)


def _is_imported(source: Source, name: str) -> bool:
    imports = source.nodes(ast.Import, ast.ImportFrom)
    return any(
        name in {alias.asname, alias.name, alias.name.partition(".")[0]}
        for node in imports
        for alias in node.names
    )


def words(source: Source) -> Iterator[Edit]:
    """Another function, method or attribute of the same family."""
    for node in source.nodes(ast.Attribute):
        end = source.span(node)[1]
        place = (end - len(node.attr), end)
        if source.text[slice(*place)] != node.attr:
            continue
        for other in METHODS.get(node.attr, ()):
            yield put(source, "method", place, other)
        if isinstance(node.value, ast.Name) and node.value.id == "self":
            near = [name for name in source.own_attributes if name != node.attr]
            for other in near[:_MOST_NAMES]:
                yield put(source, "attribute", place, other)
            if node.attr in source.names_at(node) and isinstance(node.ctx, ast.Load):
                yield swap_in(source, "attribute", node, node.attr)
        elif node.attr not in METHODS:
            for other in difflib.get_close_matches(node.attr, METHODS, n=2, cutoff=0.8):
                yield put(source, "method", place, other)
    for name in source.nodes(ast.Name):
        if isinstance(name.ctx, ast.Load):
            for other in FUNCTIONS.get(name.id, ()):
                yield swap_in(source, "function", name, other)


def arguments(source: Source) -> Iterator[Edit]:
    """Two arguments swapped, one taken away, one added; receiver and argument swapped."""
    for call in source.nodes(ast.Call):
        yield from _swapped(source, call.args)
        given: list[ast.expr | ast.keyword] = [*call.args, *call.keywords]
        for i, item in enumerate(given):
            if len(given) > 1 or isinstance(item, ast.keyword) or _is_method(call):
                yield put(source, "argument_less", _with_comma(source, call, given, i), "")
        yield from _more_arguments(source, call)
        if isinstance(call.func, ast.Attribute) and len(given) == 1 and call.args:
            owner, argument = call.func.value, call.args[0]
            if isinstance(owner, _Plain) and isinstance(argument, _Plain):
                text = f"{source.of(argument)}.{call.func.attr}({source.of(owner)})"
                yield swap_in(source, "receiver", call, text)
    for display in source.nodes(ast.Tuple, ast.List):
        yield from _swapped(source, display.elts)


def _is_method(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute)


def _swapped(source: Source, items: list[ast.expr]) -> Iterator[Edit]:
    for first, second in pairwise(items):
        if isinstance(first, ast.Starred) or isinstance(second, ast.Starred):
            continue
        one, two = source.own_span(first), source.own_span(second)
        text = source.text
        swapped = text[two[0] : two[1]] + text[one[1] : two[0]] + text[one[0] : one[1]]
        yield put(source, "argument_swap", (one[0], two[1]), swapped)


def _with_comma(
    source: Source, call: ast.Call, given: list[ast.expr | ast.keyword], index: int
) -> tuple[int, int]:
    """An argument's span with the comma that goes with it."""
    ends = [source.own_span(a) if isinstance(a, ast.expr) else source.span(a) for a in given]
    if index:
        return ends[index - 1][1], ends[index][1]
    if len(given) > 1:
        return ends[0][0], ends[1][0]
    inside = source.span(call)[1] - 1
    return ends[0][0], inside


def _more_arguments(source: Source, call: ast.Call) -> Iterator[Edit]:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else source.of(call.func)
    end = source.span(call)[1] - 1
    given = [*call.args, *call.keywords]
    if any(isinstance(argument, ast.GeneratorExp) for argument in call.args):
        return
    comma = ", " if given else ""
    if name == "range" and isinstance(call.func, ast.Name):
        start = source.own_span(call.args[0])[0] if call.args else end
        for first in ("1", "0", "2") if len(call.args) == 1 else ():
            yield put(source, "range", (start, start), f"{first}, ")
        for step in ("-1", "2") if len(call.args) == 2 else ():
            yield put(source, "range", (end, end), f", {step}")
        return
    for extra in EXTRA_ARGUMENTS.get(name, ()):
        if extra.partition("=")[0] not in {keyword.arg for keyword in call.keywords}:
            yield put(source, "argument_more", (end, end), f"{comma}{extra}")
    own = source.functions.get(name)
    if own is None:
        return
    wanted = [arg.arg for arg in own.args.args if arg.arg not in {"self", "cls"}]
    if len(given) < len(wanted):
        scope = [*source.names_at(call), *(f"self.{a}" for a in source.own_attributes)]
        for extra in dict.fromkeys([*(n for n in wanted if n in scope), *scope[:6]]):
            yield put(source, "argument_more", (end, end), f"{comma}{extra}")
            if call.args:
                start = source.own_span(call.args[0])[0]
                yield put(source, "argument_more", (start, start), f"{extra}, ")


def unwrapped(source: Source) -> Iterator[Edit]:
    """A call, subscript or attribute taken away: `x` for `f(x)`, `x.f()` or `x[i]`."""
    for call in source.nodes(ast.Call):
        name = source.of(call.func)
        for argument in call.args:
            if name in UNWRAPPED or isinstance(argument, ast.Starred):
                continue
            yield swap_in(source, "unwrap", call, source.of(argument), level_of(argument))
        if isinstance(call.func, ast.Attribute):
            owner = call.func.value
            yield swap_in(source, "unwrap", call, source.of(owner), level_of(owner))
            if not call.args and not call.keywords:
                yield swap_in(source, "call", call, name)
    for subscript in source.nodes(ast.Subscript):
        owner = subscript.value
        yield swap_in(source, "unwrap", subscript, source.of(owner), level_of(owner))
    yield from _uncalled(source)
    for awaited in source.nodes(ast.Await):
        inner = awaited.value
        yield swap_in(source, "unwrap", awaited, source.of(inner), level_of(inner))


def _uncalled(source: Source) -> Iterator[Edit]:
    """An attribute or function that is named but not called, or an attribute taken away."""
    for attribute in source.nodes(ast.Attribute):
        if not _is_called(source, attribute) and isinstance(attribute.ctx, ast.Load):
            yield swap_in(source, "call", attribute, f"{source.of(attribute)}()")
            owner = attribute.value
            if source.of(owner) != "self":
                yield swap_in(source, "unwrap", attribute, source.of(owner), level_of(owner))
    for node in source.nodes(ast.Name):
        if node.id in source.callables and not _is_called(source, node):
            yield swap_in(source, "call", node, f"{node.id}()")


def wrapped(source: Source) -> Iterator[Edit]:
    """A call put around a value: `abs(x)`, `int(x)`, `len(x)`, `list(x)`, `x.lower()`, `x()`."""
    for node in source.nodes(
        ast.Name, ast.BinOp, ast.Call, ast.Subscript, ast.Attribute, ast.ListComp, ast.GeneratorExp
    ):
        if not isinstance(getattr(node, "ctx", ast.Load()), ast.Load):
            continue
        text = source.of(node)
        if isinstance(node, ast.GeneratorExp):
            text = text[1:-1].strip()
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub):
            yield swap_in(source, "absolute", node, f"abs({text})")
        for word in _wrappers(source, node):
            head = text.partition("(")[0]
            if word.startswith("."):
                base = text if level_of(node) >= ATOM else f"({text})"
                yield swap_in(source, "wrap", node, base + word)
            elif word != head:
                yield swap_in(source, "wrap", node, f"{word}({text})")
    for call in source.nodes(ast.Call):
        function = source.function(call)
        awaited = isinstance(source.parent(call), ast.Await)
        if isinstance(function, ast.AsyncFunctionDef) and not awaited:
            yield swap_in(source, "wrap", call, f"await {source.of(call)}", ATOM - 1)


def _wrappers(source: Source, node: ast.expr) -> tuple[str, ...]:
    """Calls that make sense where an expression stands."""
    parent = source.parent(node)
    simple = isinstance(node, ast.Name | ast.Subscript | ast.Attribute)
    match parent:
        case ast.For() | ast.comprehension() if parent.iter is node:
            return (*ITERATION_WRAPPERS, "range", ".items()", ".copy()")
        case ast.Return():
            return WRAPPERS
        case ast.Compare():
            return ("abs", "len", "int", "str", "sorted", "set", ".lower()", ".strip()")
        case ast.Call() if parent.func is not node:
            return (*WRAPPERS, ".lower()", ".copy()") if simple else ("abs", "int", "len", "list")
        case ast.BinOp():
            return ("abs", "int", "str", "len", "list") if simple else ("int", "abs")
        case ast.Assign() | ast.AugAssign() | ast.AnnAssign():
            return ("int", "list", "sorted", "abs", "len", "str", ".copy()", "set")
        case ast.Slice() | ast.Subscript():
            return ("int", "len", "str")
        case ast.FormattedValue() | ast.Tuple() | ast.List() | ast.Dict():
            return ("str", "int", "list", ".copy()")
        case ast.ListComp() | ast.GeneratorExp() | ast.SetComp():
            return ("str", "int", "abs", "len", ".lower()", ".strip()")
    return ()


def slices(source: Source) -> Iterator[Edit]:
    """Another slice or index: a bound less, bounds swapped, reversed, from the other end."""
    for node in source.nodes(ast.Subscript):
        part = node.slice
        owner = source.of(node.value)
        if isinstance(part, ast.Slice):
            bounds = [source.of(b) if b is not None else "" for b in (part.lower, part.upper)]
            step = source.of(part.step) if part.step is not None else ""
            for text in _slices(bounds[0], bounds[1], step):
                yield swap_in(source, "slice", node, f"{owner}[{text}]")
        elif isinstance(node.ctx, ast.Load):
            yield from _indexes(source, node, owner)


def _indexes(source: Source, node: ast.Subscript, owner: str) -> Iterator[Edit]:
    part, index = node.slice, source.of(node.slice)
    if isinstance(part, ast.Constant) and isinstance(part.value, str):
        yield swap_in(source, "access", node, f"{owner}.get({index})")
    elif isinstance(part, ast.Tuple):
        return
    else:
        yield swap_in(source, "slice", node, f"{owner}[{index}:]")
        yield swap_in(source, "slice", node, f"{owner}[:{index}]")
        if level_of(part) > COMPARE and not index.startswith("-"):
            inner = index if level_of(part) >= ATOM - 1 else f"({index})"
            yield swap_in(source, "slice", node, f"{owner}[-{inner}]")
            yield swap_in(source, "slice", node, f"{owner}[-{inner} - 1]")
    yield swap_in(source, "access", node, f"{owner}.get({index}, 0)")


def sliced(source: Source) -> Iterator[Edit]:
    """A name with a slice or an end of it: turned, without its first or last, its copy."""
    for value in source.nodes(ast.Name):
        parent = source.parent(value)
        if not isinstance(value.ctx, ast.Load):
            continue
        if isinstance(parent, ast.Compare | ast.Return | ast.For | ast.comprehension):
            for text in ("[::-1]", "[1:]", "[:-1]", "[0]", "[-1]"):
                yield swap_in(source, "sliced", value, value.id + text)
        elif isinstance(parent, ast.Call) and parent.func is not value:
            for text in ("[:]", "[1:]", "[0]", "[::-1]"):
                yield swap_in(source, "sliced", value, value.id + text)
        elif isinstance(parent, ast.Assign | ast.BinOp):
            yield swap_in(source, "sliced", value, f"{value.id}[:]")


def _slices(lower: str, upper: str, step: str) -> list[str]:
    tail = f":{step}" if step else ""
    found = []
    if lower:
        found.append(f":{upper}{tail}")
    if upper:
        found.append(f"{lower}:{tail}")
    if lower != upper:
        found.append(f"{upper}:{lower}{tail}")
    if upper and not upper.startswith("-"):
        found.append(f"{lower}:-{upper}{tail}" if upper.isalnum() else f"{lower}:-({upper}){tail}")
    if upper.startswith("-"):
        found.append(f"{lower}:{upper[1:]}{tail}")
    if lower and not lower.startswith("-") and lower.isalnum():
        found.append(f"-{lower}:{upper}{tail}")
    if not lower:
        found.append(f"1:{upper}{tail}")
    if not upper:
        found.append(f"{lower}:-1{tail}")
    if step:
        found += [f"{lower}:{upper}", f"{lower}:{upper}:{step[1:] or step}"]
        found.append(f"{lower}:{upper}:{'-' if not step.startswith('-') else ''}{step.lstrip('-')}")
    else:
        found += [f"{lower}:{upper}:-1", f"{lower}:{upper}:2"]
    return found


def annotated(source: Source) -> set[ast.AST]:
    """Every node inside of an annotation: what stands there changes nothing when it runs."""
    roots: list[ast.expr | None] = [
        node.returns for node in source.nodes(ast.FunctionDef, ast.AsyncFunctionDef)
    ]
    roots += [node.annotation for node in source.nodes(ast.arg, ast.AnnAssign)]
    return {node for root in roots if root is not None for node in ast.walk(root)}
