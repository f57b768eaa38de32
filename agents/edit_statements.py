"""Edits of whole statements: deleted, moved, duplicated, indented, returned, and of defaults.

Each function proposes every edit of its kind; which of them is right is not known here.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from journeyman.agents.edit import Edit, put, swap_in
from journeyman.agents.syntax import Function, Source

Simple = (
    ast.Assign | ast.AugAssign | ast.AnnAssign | ast.Expr | ast.Return | ast.Raise | ast.Break
) | (ast.Continue | ast.Delete | ast.Assert | ast.Global | ast.Nonlocal)
Compound = ast.If | ast.For | ast.While | ast.With | ast.Try | ast.AsyncFor | ast.AsyncWith
Loop = ast.For | ast.While | ast.AsyncFor

_MOST_LEVELS = 3


def deleted(source: Source) -> Iterator[Edit]:
    """A statement less; a block without its `if`, `for` or `with`; a clause less."""
    for stmt, (_, block) in source.block_of.items():
        span = source.lines(stmt)
        if not isinstance(stmt, Simple | Compound) or _is_docstring(stmt):
            continue
        if span is None:
            if isinstance(stmt, Simple):
                yield put(source, "delete", source.span(stmt), "pass")
            continue
        if _is_elif(source, stmt):
            continue  # its line begins with another word than its tree
        if len(block) == 1:
            yield put(source, "delete", source.span(stmt), "pass")
        else:
            yield put(source, "delete", span, "")
        if isinstance(stmt, Compound):
            yield from _without_header(source, stmt, span)
    yield from _without_clause(source)


def _without_header(source: Source, stmt: ast.stmt, span: tuple[int, int]) -> Iterator[Edit]:
    for name in ("body", "orelse"):
        block = getattr(stmt, name, [])
        inner = source.lines(block[0], block[-1]) if block else None
        if inner is None or _is_elif(source, block[0]):
            continue
        text = source.reindented(*inner, source.indent(block[0]), source.indent(stmt))
        if text is not None:
            yield put(source, "unblock", span, text)


def _without_clause(source: Source) -> Iterator[Edit]:
    for node in source.nodes(ast.If, ast.For, ast.While, ast.Try):
        if not node.orelse or not node.body:
            continue
        body, after = source.lines(node.body[-1]), source.lines(node.orelse[0], node.orelse[-1])
        if body is None or after is None:
            continue
        yield put(source, "clause", (body[1], after[1]), "")
        if not _is_elif(source, node.orelse[0]) and isinstance(node, ast.For | ast.While | ast.If):
            text = source.reindented(*after, source.indent(node.orelse[0]), source.indent(node))
            if text is not None:
                yield put(source, "clause", (body[1], after[1]), text)


def chains(source: Source) -> Iterator[Edit]:
    """`if` for `elif`, `elif` for `if`, `if` for `while` and the reverse."""
    for node in source.nodes(ast.If, ast.While):
        start = source.span(node)[0]
        if isinstance(node, ast.While):
            yield put(source, "chain", (start, start + len("while")), "if")
            continue
        if source.text.startswith("elif", start):
            yield put(source, "chain", (start, start + len("elif")), "if")
            continue
        yield put(source, "chain_far", (start, start + len("if")), "while")
        before = _neighbour(source, node, -1)
        if isinstance(before, ast.If) and source.lines(node) is not None:
            yield put(source, "chain", (start, start + len("if")), "elif")


def moved(source: Source) -> Iterator[Edit]:
    """Two neighbours swapped; a statement taken before its loop, or into the loop after it."""
    for stmt in source.block_of:
        after = _neighbour(source, stmt, 1)
        one = source.lines(stmt)
        if one is None or _is_docstring(stmt) or _is_elif(source, stmt):
            continue
        two = source.lines(after) if after is not None else None
        if two is not None and (isinstance(stmt, Simple) or isinstance(after, Simple)):
            text = source.text
            last = _ended(text[two[0] : two[1]])
            swapped = last + text[one[1] : two[0]] + text[one[0] : one[1]]
            yield put(source, "move", (one[0], two[1]), swapped)
        if isinstance(stmt, Simple):
            yield from _hoisted(source, stmt, one)
        if isinstance(after, Loop) and isinstance(stmt, Simple):
            yield from _sunk(source, stmt, after, one)


def _hoisted(source: Source, stmt: ast.stmt, span: tuple[int, int]) -> Iterator[Edit]:
    """Out of its block, to before the statement that owns it."""
    owner, block = source.block_of[stmt]
    if not isinstance(owner, Compound) or len(block) == 1 or _is_elif(source, owner):
        return
    outer = source.lines(owner)
    text = source.reindented(*span, source.indent(stmt), source.indent(owner)) if outer else None
    if outer is not None and text is not None:
        kept = source.text[outer[0] : span[0]]
        yield put(source, "hoist", (outer[0], span[1]), text + kept)


def _sunk(
    source: Source, stmt: ast.stmt, loop: ast.For | ast.While | ast.AsyncFor, span: tuple[int, int]
) -> Iterator[Edit]:
    first = source.lines(loop.body[0])
    if first is None:
        return
    text = source.reindented(*span, source.indent(stmt), source.indent(loop.body[0]))
    if text is not None:
        kept = source.text[span[1] : first[0]]
        yield put(source, "hoist", (span[0], first[0]), kept + text)


def indented(source: Source) -> Iterator[Edit]:
    """The last statements of a block put after it, or those after a block put into it."""
    for owner, block in source.blocks:
        if not isinstance(owner, Compound | Function):
            continue
        for count in (1, 2):
            if len(block) > count and isinstance(owner, Compound):
                yield from _dedented(source, owner, block[-count:])
        for count in (1, 2):
            after = [_neighbour(source, owner, step) for step in range(1, count + 1)]
            taken = [stmt for stmt in after if stmt is not None]
            if len(taken) == count and block is _blocks(owner)[-1]:
                yield from _taken_in(source, owner, block, taken)


def _blocks(owner: ast.AST) -> list[list[ast.stmt]]:
    found = [getattr(owner, name, []) for name in ("body", "orelse", "finalbody")]
    return [block for block in found if block]


def _dedented(source: Source, owner: ast.stmt, taken: list[ast.stmt]) -> Iterator[Edit]:
    span = source.lines(taken[0], taken[-1])
    if span is None or _is_elif(source, taken[0]):
        return
    target: ast.AST | None = owner
    for _ in range(_MOST_LEVELS):
        if not isinstance(target, Compound):
            return
        if not _is_elif(source, target):
            end = source.lines(target)
            text = source.reindented(*span, source.indent(taken[0]), source.indent(target))
            if end is None or text is None or end[1] < span[1]:
                return
            between = source.text[span[1] : end[1]]
            yield put(source, "dedent", (span[0], end[1]), _ended(between) + text)
        target = source.parent(target)


def _taken_in(
    source: Source, owner: ast.stmt, block: list[ast.stmt], taken: list[ast.stmt]
) -> Iterator[Edit]:
    span = source.lines(taken[0], taken[-1])
    if span is None:
        return
    last: ast.stmt = owner
    inner = block
    for _ in range(_MOST_LEVELS):
        end = source.lines(inner[-1])
        if end is None:
            return
        text = source.reindented(*span, source.indent(taken[0]), source.indent(inner[-1]))
        if text is not None:
            between = source.text[end[1] : span[0]]
            yield put(source, "indent", (end[1], span[1]), text + between)
        last = inner[-1]
        if not isinstance(last, Compound):
            return
        inner = _blocks(last)[-1]


def duplicated(source: Source) -> Iterator[Edit]:
    """A statement that the function has, once more: after another statement of it."""
    for function in source.nodes(ast.FunctionDef, ast.AsyncFunctionDef):
        inside = [
            stmt
            for stmt in source.block_of
            if source.function(stmt) is function and not _is_docstring(stmt)
        ]
        simple = [s for s in inside if isinstance(s, ast.Assign | ast.AugAssign | ast.Expr)]
        texts = dict.fromkeys(source.of(s) for s in simple if source.lines(s) is not None)
        if len(texts) * len(inside) > 150:
            continue
        for place in inside:
            span = source.lines(place)
            if span is None or isinstance(place, ast.Return | ast.Break | ast.Continue):
                continue
            if isinstance(place, Compound | Function):
                continue
            for text in texts:
                line = f"{source.indent(place)}{text}\n"
                if "\n" not in text:
                    head = "" if source.text[: span[1]].endswith(("\n", "\r")) else "\n"
                    yield put(source, "duplicate", (span[1], span[1]), head + line)


def inserted(source: Source) -> Iterator[Edit]:
    """A jump put at a block's end, a forgotten `return`, `nonlocal` or `global`."""
    for owner, block in source.blocks:
        last = block[-1]
        span = source.lines(last)
        jumps = isinstance(last, ast.Return | ast.Raise | ast.Break | ast.Continue)
        function = source.function(last)
        if span is None or jumps or function is None or isinstance(owner, ast.ClassDef):
            continue
        head = "" if source.text[: span[1]].endswith(("\n", "\r")) else "\n"
        lines = []
        if isinstance(owner, Function):
            lines = [f"return {name}" for name in source.names_at(last)[:6]]
        elif isinstance(owner, ast.If | ast.Try | ast.ExceptHandler):
            if any(isinstance(up, Loop) for up in source.ancestors(last)):
                lines = ["break", "continue"]
            lines.append("return")
        for line in lines:
            text = f"{head}{source.indent(last)}{line}\n"
            yield put(source, "insert", (span[1], span[1]), text)
    yield from _declared(source)


def _declared(source: Source) -> Iterator[Edit]:
    """`global` or `nonlocal` for a name that a function changes and an outer scope has."""
    for function in source.nodes(ast.FunctionDef, ast.AsyncFunctionDef):
        first = function.body[0]
        span = source.lines(first)
        changed = {
            node.id
            for node in ast.walk(function)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
        outer = source.names_at(function)
        if span is None:
            continue
        word = "nonlocal" if source.function(function) is not None else "global"
        for name in [name for name in outer if name in changed]:
            line = f"{source.indent(first)}{word} {name}\n"
            yield put(source, "insert", (span[0], span[0]), line)


def returned(source: Source) -> Iterator[Edit]:
    """Another value returned; another jump; a value kept or thrown away."""
    for node in source.nodes(ast.Return):
        if node.value is None:
            span = source.span(node)
            for name in source.names_at(node)[:4]:
                yield put(source, "return", (span[1], span[1]), f" {name}")
            continue
        text = source.of(node.value)
        for other in ("True", "False", "None", "0", "[]", "''", "-1", "1"):
            if other != text:
                yield swap_in(source, "return", node.value, other)
        if not isinstance(node.value, ast.Name | ast.Constant):
            for name in source.names_at(node)[:6]:
                yield swap_in(source, "return", node.value, name)
        yield swap_in(source, "return_far", node.value, f"[{text}]")
    yield from _jumps(source)
    for assign in source.nodes(ast.Assign):
        if isinstance(assign.value, ast.Call):
            yield put(source, "drop_target", source.span(assign), source.of(assign.value))
    for expression in source.nodes(ast.Expr):
        yield from _kept(source, expression)


def _jumps(source: Source) -> Iterator[Edit]:
    for stmt in source.nodes(ast.Break, ast.Continue, ast.Pass):
        for word in ("break", "continue", "pass", "return"):
            if word != source.of(stmt):
                yield put(source, "jump", source.span(stmt), word)


def _kept(source: Source, node: ast.Expr) -> Iterator[Edit]:
    """A value that is thrown away: assigned, or returned."""
    if not isinstance(node.value, ast.Call | ast.BinOp | ast.Compare | ast.Name):
        return
    text, span = source.of(node.value), source.span(node)
    yield put(source, "keep", span, f"return {text}")
    call = node.value
    if isinstance(call, ast.Call):
        around = [call.func.value] if isinstance(call.func, ast.Attribute) else []
        for target in (*around, *call.args):
            if isinstance(target, ast.Name | ast.Attribute):
                yield put(source, "keep", span, f"{source.of(target)} = {text}")


def defaults(source: Source) -> Iterator[Edit]:
    """A default that all calls share made anew in each; a late-bound loop variable bound now."""
    for function in source.nodes(ast.FunctionDef, ast.AsyncFunctionDef):
        every = [*function.args.posonlyargs, *function.args.args]
        given = function.args.defaults
        pairs = list(zip(every[len(every) - len(given) :], given, strict=True))
        pairs += [
            (arg, value)
            for arg, value in zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
            if value is not None
        ]
        for arg, value in pairs:
            if isinstance(value, ast.List | ast.Dict | ast.Set | ast.Call):
                yield from _fresh(source, function, arg.arg, value)
    for node in source.nodes(ast.Lambda):
        free = [n.id for n in ast.walk(node.body) if isinstance(n, ast.Name)]
        outer = [name for name in dict.fromkeys(free) if name in source.names_at(node)]
        start = source.span(node)[0] + len("lambda")
        body = source.own_span(node.body)[0]
        head = source.text[start:body].rstrip().removesuffix(":").strip()
        for name in outer:
            bound = f"{head}, {name}={name}" if head else f"{name}={name}"
            yield put(source, "default", (start, body), f" {bound}: ")


def _fresh(
    source: Source, function: ast.FunctionDef | ast.AsyncFunctionDef, name: str, value: ast.expr
) -> Iterator[Edit]:
    body = function.body
    documented = _is_docstring(body[0]) and len(body) > 1
    first = body[1] if documented else body[0]
    span = source.lines(first)
    if span is None:
        return
    (start, end), made = source.span(value), source.of(value)
    margin, step = source.indent(first), source.indent_step
    guard = f"{margin}if {name} is None:\n{margin}{step}{name} = {made}\n"
    header = source.text[end : span[0]]
    yield put(source, "default", (start, span[0]), f"None{header}{guard}")


def _neighbour(source: Source, stmt: ast.stmt, step: int) -> ast.stmt | None:
    known = source.block_of.get(stmt)
    if known is None:
        return None
    block = known[1]
    index = next(i for i, other in enumerate(block) if other is stmt) + step
    return block[index] if 0 <= index < len(block) else None


def _is_elif(source: Source, stmt: ast.stmt) -> bool:
    return isinstance(stmt, ast.If) and source.text.startswith("elif", source.span(stmt)[0])


def _is_docstring(stmt: ast.stmt) -> bool:
    return (
        isinstance(stmt, ast.Expr)
        and isinstance(stmt.value, ast.Constant)
        and isinstance(stmt.value.value, str)
    )


def _ended(text: str) -> str:
    return text if not text or text.endswith(("\n", "\r")) else text + "\n"
