"""Edits of operators, conditions and values: comparison, arithmetic, constants, parts taken away.

Each function proposes every edit of its kind; which of them is right is not known here.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from journeyman.agents.edit import Edit, put, swap_in
from journeyman.agents.edit_families import (
    ARITHMETIC,
    BLANKS,
    COMPARISONS,
    FAR_ARITHMETIC,
    FAR_COMPARISONS,
    FORMAT_CODES,
    NEAR_ARITHMETIC,
    NEAR_COMPARISONS,
    ORDERED,
    STRINGS,
)
from journeyman.agents.syntax import (
    AND,
    ATOM,
    COMPARE,
    NOT,
    OR,
    UNARY,
    Source,
    level_of,
)

_Signed = ast.Return | ast.BinOp | ast.Slice | ast.Tuple | ast.Lambda | ast.Assign
_SUM = 11
_STEPS = 2  # one more and one less come first
_MANY = 4  # other constants of the text that are tried in one place


def comparisons(source: Source) -> Iterator[Edit]:
    """Another comparison: `<` for `<=`, `is` for `==`, and so on."""
    for node in source.nodes(ast.Compare):
        sides = [node.left, *node.comparators]
        for left, op, right in zip(sides, node.ops, sides[1:], strict=False):
            span = source.operator_span(left, right)
            if span is None:
                continue
            written = COMPARISONS[type(op)]
            for other in NEAR_COMPARISONS.get(written, ()):
                yield put(source, "comparison", span, other)
            for other in FAR_COMPARISONS.get(written, ()):
                yield put(source, "comparison_far", span, other)


def booleans(source: Source) -> Iterator[Edit]:
    """`and` for `or` and the reverse, at one place or at all places of a chain."""
    for node in source.nodes(ast.BoolOp):
        other = "or" if isinstance(node.op, ast.And) else "and"
        places = [
            source.operator_span(left, right)
            for left, right in zip(node.values, node.values[1:], strict=False)
        ]
        spans = [span for span in places if span is not None]
        for span in spans:
            yield put(source, "boolean", span, other)
        if len(spans) == len(places) > 1:
            start, end = spans[0][0], spans[-1][1]
            text = source.text[start:end]
            for first, last in reversed(spans):
                text = text[: first - start] + other + text[last - start :]
            yield put(source, "boolean", (start, end), text)


def arithmetic(source: Source) -> Iterator[Edit]:
    """Another arithmetic operator, or the operands the other way round."""
    for node in source.nodes(ast.BinOp):
        written = ARITHMETIC[type(node.op)]
        span = source.operator_span(node.left, node.right)
        textual = any(_is_text(side) for side in (node.left, node.right))
        if span is not None and not textual:
            for other in NEAR_ARITHMETIC.get(written, ()):
                yield put(source, "arithmetic", span, other)
            for other in FAR_ARITHMETIC.get(written, ()):
                yield put(source, "arithmetic_far", span, other)
        if span is not None and not (written == "%" and textual):
            left, right = source.own_span(node.left), source.own_span(node.right)
            text = (
                source.text[right[0] : right[1]]
                + source.text[left[1] : right[0]]
                + source.text[left[0] : left[1]]
            )
            name = "operands" if written in ORDERED else "operands_far"
            yield put(source, name, (left[0], right[1]), text)


def augmented(source: Source) -> Iterator[Edit]:
    """Another augmented assignment: `-=` for `+=`, `=` for `+=`, `+=` for `=`."""
    for node in source.nodes(ast.AugAssign):
        span = source.operator_span(node.target, node.value)
        if span is None:
            continue
        written = ARITHMETIC[type(node.op)]
        for other in NEAR_ARITHMETIC.get(written, ()):
            yield put(source, "augmented", span, f"{other}=")
        yield put(source, "augmented", span, "=")
        for other in FAR_ARITHMETIC.get(written, ()):
            yield put(source, "arithmetic_far", span, f"{other}=")
    for assign in source.nodes(ast.Assign):
        target = assign.targets[0]
        if len(assign.targets) > 1 or isinstance(target, ast.Tuple | ast.List):
            continue
        span = source.operator_span(target, assign.value)
        if span is not None and source.function(assign) is not None:
            yield put(source, "assign", span, "+=")
            yield put(source, "assign_far", span, "-=")
            yield put(source, "assign_far", span, "*=")


def numbers(source: Source) -> Iterator[Edit]:
    """Another number: one more, one less, nought, one, two, negative, or another of the text."""
    known = list(dict.fromkeys(n.value for n in source.nodes(ast.Constant) if _is_number(n.value)))
    for node in source.nodes(ast.Constant):
        value = node.value
        if not _is_number(value):
            continue
        assert isinstance(value, int | float)
        negative = isinstance(source.parent(node), ast.UnaryOp)
        near: list[int | float] = [value + 1, value - 1]
        if isinstance(value, int):
            near += [n for n in (0, 1, 2, -1) if n not in near]
        else:
            near += [0.0, 1.0]
        for i, other in enumerate(near):
            if other != value:
                name = "number" if i < _STEPS else "number_small"
                yield _number(source, name, node, other, negative=negative)
        others = [n for n in known if n not in near and n != value and type(n) is type(value)]
        scaled = [value * 10, value / 10 if isinstance(value, float) else value // 10, value * 2]
        scaled += [value + 2, value - 2]
        for other in (*others[:_MANY], *(n for n in scaled if n not in near and n != value)):
            yield _number(source, "number_far", node, other, negative=negative)
        if value and not negative:
            yield _number(source, "number_far", node, -value, negative=False)


def _number(
    source: Source, operator: str, node: ast.Constant, value: float, *, negative: bool
) -> Edit:
    if negative and value < 0:
        operator = "number_far"
    return swap_in(source, operator, node, repr(value), UNARY if value < 0 else UNARY + 2)


def constants(source: Source) -> Iterator[Edit]:
    """`True` for `False`, and `None` for either; other strings; parts of strings."""
    texts = [n.value for n in source.nodes(ast.Constant) if isinstance(n.value, str)]
    known = [text for text in dict.fromkeys(texts) if len(text) <= 40]
    for node in source.nodes(ast.Constant):
        if isinstance(node.value, bool):
            yield swap_in(source, "truth", node, repr(not node.value))
            yield swap_in(source, "truth_far", node, "None")
        elif node.value is None:
            for other in ("False", "True", "0", "[]", "''"):
                yield swap_in(source, "truth_far", node, other)
        elif isinstance(node.value, str) and not _is_documentation(source, node):
            yield from _strings(source, node, node.value, known)


def _strings(source: Source, node: ast.Constant, value: str, known: list[str]) -> Iterator[Edit]:
    near = [*STRINGS.get(value, ()), *BLANKS.get(value, ()), value.lower(), value.upper()]
    near += [text for text in known if text != value][:_MANY]
    for code, others in FORMAT_CODES.items():
        if code in value:
            near += [value.replace(code, other) for other in others]
    far = [value.capitalize(), value.strip(), value[1:], value[:-1], ""]
    if value.isalpha():
        far += [value.lower() + value.upper(), value + value[:1]]
    for other in dict.fromkeys(near):
        if other != value:
            yield swap_in(source, "string", node, _quoted(source, node, other))
    for other in dict.fromkeys(far):
        if other != value and other not in near and len(value) > 1:
            yield swap_in(source, "string_far", node, _quoted(source, node, other))


def _quoted(source: Source, node: ast.Constant, value: str) -> str:
    """A string literal in the quotes that the text uses."""
    written = repr(value)
    double = source.of(node).startswith('"') and written.startswith("'") and '"' not in value
    return f'"{written[1:-1]}"' if double else written


def off_by_one(source: Source) -> Iterator[Edit]:
    """One more or one less, where a number is counted, compared, indexed, returned or summed."""
    for node in source.nodes(ast.Name, ast.Call, ast.Attribute, ast.Subscript, ast.BinOp):
        if not isinstance(getattr(node, "ctx", ast.Load()), ast.Load):
            continue
        place = _counting_place(source, node)
        if place is None or _is_text(node):
            continue
        text, level = source.of(node), level_of(node)
        if _adds_a_number(node):
            continue  # its number changes by one already
        text = text if level >= _SUM else f"({text})"
        for step in ("+ 1", "- 1"):
            yield swap_in(source, place, node, f"{text} {step}", _SUM)


def _adds_a_number(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Add | ast.Sub)
        and isinstance(node.right, ast.Constant)
    )


def _counting_place(source: Source, node: ast.expr) -> str | None:
    """The operator's name for a place where a count is likely; None elsewhere."""
    parent = source.parent(node)
    match parent:
        case ast.Slice():
            return "off_by_one"
        case ast.Subscript() if parent.slice is node:
            return "off_by_one"
        case ast.Call(func=ast.Name(id="range")) if parent.func is not node:
            return "off_by_one"
        case ast.Compare() if not isinstance(parent.ops[0], ast.In | ast.NotIn | ast.Is):
            return "off_by_one"
        case ast.BinOp():
            return "off_by_one" if isinstance(node, ast.Name | ast.Call) else None
        case ast.Return() | ast.AugAssign():
            return "off_by_one"
        case ast.Call() if parent.func is not node and isinstance(node, ast.Name | ast.BinOp):
            return "off_by_one_far"
        case ast.Assign() | ast.Tuple() | ast.IfExp() if not isinstance(node, ast.Attribute):
            return "off_by_one_far"
    return None


def parts(source: Source) -> Iterator[Edit]:
    """A part of an expression for the whole: `a` for `a + b`, `x` for `f(x)`, no `if` in a loop."""
    for node in source.nodes(ast.BinOp):
        if isinstance(node.op, ast.Mod) and _is_text(node.left):
            continue
        for part in (node.left, node.right):
            yield swap_in(source, "part", node, source.of(part), level_of(part))
    for chain in source.nodes(ast.BoolOp):
        yield from _without_operand(source, chain)
    for choice in source.nodes(ast.IfExp):
        body, test, other = (source.of(n) for n in (choice.body, choice.test, choice.orelse))
        for part in (choice.body, choice.orelse):
            yield swap_in(source, "part", choice, source.of(part), level_of(part))
        yield put(source, "branches", source.span(choice), f"{other} if {test} else {body}")
    for compare in source.nodes(ast.Compare):
        if len(compare.ops) > 1:
            for left, right in ((0, -2), (1, -1)):
                sides = [compare.left, *compare.comparators]
                span = (source.own_span(sides[left])[0], source.own_span(sides[right])[1])
                text = source.text[slice(*span)]
                yield swap_in(source, "part", compare, text, COMPARE)
    yield from _without_element(source)


def _without_operand(source: Source, node: ast.BoolOp) -> Iterator[Edit]:
    level = level_of(node)
    for skipped in range(len(node.values)):
        kept = [value for i, value in enumerate(node.values) if i != skipped]
        if len(kept) == 1:
            yield swap_in(source, "part", node, source.of(kept[0]), level_of(kept[0]))
        elif skipped == 0:
            text = source.text[source.own_span(kept[0])[0] : source.span(node)[1]]
            yield swap_in(source, "part", node, text, level)
        else:
            before = source.own_span(node.values[skipped - 1])[1]
            yield put(source, "part", (before, source.own_span(node.values[skipped])[1]), "")


def _without_element(source: Source) -> Iterator[Edit]:
    for part in source.nodes(ast.comprehension):
        ahead: ast.expr = part.iter
        for test in part.ifs:
            span = (source.own_span(ahead)[1], source.own_span(test)[1])
            yield put(source, "part", span, "")
            ahead = test
    for comprehension in source.nodes(ast.ListComp, ast.SetComp, ast.GeneratorExp):
        element, target = comprehension.elt, comprehension.generators[0].target
        if isinstance(target, ast.Name) and source.of(element) != target.id:
            yield swap_in(source, "part", element, target.id)
    for display in source.nodes(ast.List, ast.Tuple, ast.Set):
        if not 2 <= len(display.elts) <= 8 or not isinstance(
            getattr(display, "ctx", ast.Load()), ast.Load
        ):
            continue
        for i, element in enumerate(display.elts):
            if i:
                span = (source.own_span(display.elts[i - 1])[1], source.own_span(element)[1])
            else:
                span = (source.own_span(element)[0], source.own_span(display.elts[1])[0])
            yield put(source, "element", span, "")


def negations(source: Source) -> Iterator[Edit]:
    """`not` put in or taken out; a sign turned."""
    for node in source.nodes(ast.UnaryOp):
        inner = source.of(node.operand)
        yield swap_in(source, "negation", node, inner, level_of(node.operand))
    for condition in conditions(source):
        if isinstance(condition, ast.UnaryOp):
            continue
        text, level = source.of(condition), level_of(condition)
        text = text if level >= NOT else f"({text})"
        yield swap_in(source, "negation", condition, f"not {text}", NOT)
    for value in source.nodes(ast.Name, ast.Call, ast.Subscript, ast.BinOp):
        place = source.parent(value)
        if not isinstance(getattr(value, "ctx", ast.Load()), ast.Load):
            continue
        if isinstance(place, _Signed) and not _is_text(value):
            text = source.of(value)
            text = text if level_of(value) >= UNARY else f"({text})"
            yield swap_in(source, "sign", value, f"-{text}", UNARY)


def conditions(source: Source) -> Iterator[ast.expr]:
    """Every expression that is read as true or false, operands of `and` and `or` included."""
    for node in source.nodes(
        ast.If, ast.While, ast.IfExp, ast.comprehension, ast.BoolOp, ast.Assert, ast.Return
    ):
        match node:
            case ast.comprehension():
                yield from node.ifs
            case ast.BoolOp():
                yield from node.values
            case ast.Return():
                if isinstance(node.value, ast.Compare | ast.BoolOp | ast.Name | ast.Call):
                    yield node.value
            case ast.If() | ast.While() | ast.IfExp() | ast.Assert():
                yield node.test


def extended_conditions(source: Source) -> Iterator[Edit]:
    """A condition with one more operand: one that the function has elsewhere, or a plain guard."""
    atoms: dict[ast.AST | None, dict[str, int]] = {}
    for node in source.nodes(ast.Compare):
        atoms.setdefault(source.function(node), {})[source.of(node)] = COMPARE
    for test in source.nodes(ast.If, ast.While):
        condition = test.test
        known = dict(atoms.get(source.function(test), {}))
        for name in source.names_at(test)[:4]:
            known.setdefault(name, ATOM)
            known.setdefault(f"not {name}", NOT)
        whole, level = source.of(condition), level_of(condition)
        for atom in list(known)[:10]:
            if atom in whole:
                continue
            for word, needed in (("and", AND), ("or", OR)):
                left = whole if level >= needed else f"({whole})"
                yield put(source, "condition", source.own_span(condition), f"{left} {word} {atom}")
    for loop in source.nodes(ast.If, ast.While):
        for other in ("True", "False"):
            yield put(source, "condition_fixed", source.own_span(loop.test), other)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def _is_documentation(source: Source, node: ast.Constant) -> bool:
    return isinstance(source.parent(node), ast.Expr | ast.JoinedStr)
