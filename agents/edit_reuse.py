"""Edits that reach beyond one place: expressions used again, constants changed wherever they stand.

Programs hold most of what their repairs need; each function proposes every edit of its kind.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Collection, Iterator, Sequence

from journeyman.agents.edit import Edit, put, swap_in
from journeyman.agents.edit_families import BLANKS, STRINGS
from journeyman.agents.syntax import ATOM, Function, Source, level_of

_PRODUCT = 12
_MOST_REUSED = 6  # expressions of a function that are tried in its other places
_LONGEST_REUSED = 40
_PAIRS = ("set", "sorted", "abs", "len", "str", ".lower()", ".strip()")
_SCALES = ("* 2", "/ 2", "// 2")


def reused(source: Source) -> Iterator[Edit]:
    """A call or subscript that the function has elsewhere, for a name or another of its like."""
    found: dict[Function | None, dict[str, None]] = {}
    for node in source.nodes(ast.Call, ast.Subscript):
        text = source.of(node)
        statement = isinstance(source.parent(node), ast.Expr)
        if len(text) <= _LONGEST_REUSED and "\n" not in text and not statement:
            found.setdefault(source.function(node), {})[text] = None
    for place in source.nodes(ast.Name, ast.Call, ast.Subscript):
        if not isinstance(getattr(place, "ctx", ast.Load()), ast.Load):
            continue
        parent, own = source.parent(place), source.of(place)
        operand = isinstance(parent, ast.BinOp | ast.Compare | ast.Return | ast.Assign)
        argument = isinstance(parent, ast.Call) and parent.func is not place
        if not operand and not argument:
            continue
        for text in list(found.get(source.function(place), {}))[:_MOST_REUSED]:
            if text != own and own not in text.partition("(")[0]:
                yield swap_in(source, "reuse", place, text)


def paired(source: Source) -> Iterator[Edit]:
    """The same call around both sides of a comparison; the sides of `in` swapped."""
    for node in source.nodes(ast.Compare):
        if len(node.ops) > 1:
            continue
        left, right = node.left, node.comparators[0]
        one, two = source.own_span(left), source.own_span(right)
        texts = source.text[slice(*one)], source.text[slice(*two)]
        between = source.text[one[1] : two[0]]
        if isinstance(node.ops[0], ast.In | ast.NotIn):
            yield put(source, "operands", (one[0], two[1]), texts[1] + between + texts[0])
            continue
        if any(isinstance(side, ast.Constant) for side in (left, right)):
            continue
        for word in _PAIRS:
            if not word.startswith("."):
                around = [f"{word}({source.of(side)})" for side in (left, right)]
            elif min(level_of(left), level_of(right)) >= ATOM:
                around = [f"{text}{word}" for text in texts]
            else:
                continue
            yield put(source, "pair", (one[0], two[1]), between.join(around))


def scaled(source: Source) -> Iterator[Edit]:
    """A value doubled or halved where it is returned or assigned."""
    for node in source.nodes(ast.BinOp, ast.Name, ast.Call):
        parent = source.parent(node)
        if not isinstance(parent, ast.Return | ast.Assign) or parent.value is not node:
            continue
        text = source.of(node)
        text = text if level_of(node) >= _PRODUCT else f"({text})"
        for scale in _SCALES:
            yield swap_in(source, "scale", node, f"{text} {scale}", _PRODUCT)


def cut(source: Source) -> Iterator[Edit]:
    """A returned value without its first or last; a loop over a part that a name bounds."""
    for node in source.nodes(ast.Return):
        if isinstance(node.value, ast.ListComp | ast.Call | ast.Subscript):
            text = source.of(node.value)
            for part in ("[1:]", "[:-1]", "[::-1]"):
                yield swap_in(source, "sliced", node.value, text + part)
    for loop in source.nodes(ast.For, ast.comprehension):
        if not isinstance(loop.iter, ast.Name):
            continue
        names = [name for name in source.names_at(loop.iter) if name != loop.iter.id]
        for name in names[:4]:
            for part in (f"[:{name}]", f"[{name}:]"):
                yield swap_in(source, "sliced", loop.iter, loop.iter.id + part)


def shortened(source: Source) -> Iterator[Edit]:
    """The first operands of a long sum or product, without the last ones."""
    for node in source.nodes(ast.BinOp):
        part = node.left
        while isinstance(part, ast.BinOp) and isinstance(part.op, type(node.op)):
            part = part.left
            yield swap_in(source, "part", node, source.of(part), level_of(part))


def everywhere(source: Source) -> Iterator[Edit]:
    """All answers of a function turned; a string or number changed wherever the function has it."""
    for function in source.nodes(ast.FunctionDef, ast.AsyncFunctionDef):
        inside = [n for n in ast.walk(function) if isinstance(n, ast.Constant)]
        turned = [n for n in inside if isinstance(n.value, bool)]
        turned = [n for n in turned if isinstance(source.parent(n), ast.Return)]
        if len(turned) > 1:
            texts = [repr(not n.value) for n in turned]
            yield _all_at_once(source, "truth", turned, texts)
        known: dict[str, list[ast.Constant]] = {}
        for node in inside:
            in_text = isinstance(source.parent(node), ast.JoinedStr | ast.Expr)
            if isinstance(node.value, str | int | float) and not in_text:
                known.setdefault(repr(node.value), []).append(node)
        for same in known.values():
            value = same[0].value
            if len(same) < 2 or isinstance(value, bool):
                continue
            for other in _others(value):
                texts = [repr(other)] * len(same)
                yield _all_at_once(source, "everywhere", same, texts)


def _others(value: object) -> Sequence[object]:
    if isinstance(value, str):
        return (*STRINGS.get(value, ()), *BLANKS.get(value, ()))
    assert isinstance(value, int | float)
    return (value + 1, value - 1)


def _all_at_once(
    source: Source, operator: str, nodes: Sequence[ast.Constant], texts: Sequence[str]
) -> Edit:
    """One edit that spans all the places."""
    spans = sorted(zip((source.span(n) for n in nodes), texts, strict=True))
    start, end = spans[0][0][0], spans[-1][0][1]
    text = source.text[start:end]
    for (first, last), replacement in reversed(spans):
        text = text[: first - start] + replacement + text[last - start :]
    return put(source, operator, (start, end), text)


def respelled(source: Source, words: Collection[str]) -> Iterator[Edit]:
    """A string of the text that is nearly one of `words`, such as the tests' own strings."""
    if not words:
        return
    by_case = {word.casefold(): word for word in words}
    for node in source.nodes(ast.Constant):
        value = node.value
        if not isinstance(value, str) or not value or value in words:
            continue
        if isinstance(source.parent(node), ast.Expr | ast.JoinedStr):
            continue
        same = by_case.get(value.casefold())
        near = difflib.get_close_matches(value, list(words), n=2, cutoff=0.75)
        for word in dict.fromkeys([*([same] if same else []), *near]):
            yield swap_in(source, "respell", node, repr(word))
