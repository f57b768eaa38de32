"""Edits: every operator does what it says, and every candidate is a program one edit away."""

from __future__ import annotations

import ast
import json
import os
import textwrap
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from journeyman.agents.edits import OPERATORS, Candidate, candidates
from journeyman.agents.syntax import Source

DATA = Path(os.environ.get("JOURNEYMAN_DATA", Path(__file__).parents[3] / "shared" / "data"))

# operator, program, and one program that it must propose.
EXAMPLES = [
    ("comparison", "def f(a, b):\n    return a < b\n", "def f(a, b):\n    return a <= b\n"),
    ("comparison", "def f(a, b):\n    return a in b\n", "def f(a, b):\n    return a not in b\n"),
    ("comparison_far", "def f(a):\n    return a == 1\n", "def f(a):\n    return a < 1\n"),
    ("number", "def f(a):\n    return a[1]\n", "def f(a):\n    return a[0]\n"),
    ("number_small", "def f(a):\n    return a * 7\n", "def f(a):\n    return a * 2\n"),
    ("number_far", "def f(a):\n    return a % 10 + 60\n", "def f(a):\n    return a % 60 + 60\n"),
    ("name", "def f(a, b):\n    return a + a\n", "def f(a, b):\n    return a + b\n"),
    ("name", "def f(items):\n    return itmes\n", "def f(items):\n    return items\n"),
    (
        "target",
        "def f(a, b):\n    a += 1\n    return a\n",
        "def f(a, b):\n    b += 1\n    return a\n",
    ),
    ("arithmetic", "def f(a, b):\n    return a - b\n", "def f(a, b):\n    return a + b\n"),
    ("arithmetic_far", "def f(a, b):\n    return a * b\n", "def f(a, b):\n    return a % b\n"),
    ("part", "def f(a, b):\n    return (a + b) * 2\n", "def f(a, b):\n    return a + b\n"),
    ("part", "def f(a, b, c):\n    return a or b or c\n", "def f(a, b, c):\n    return a or c\n"),
    ("part", "x = [i for i in range(9) if i]\n", "x = [i for i in range(9)]\n"),
    ("off_by_one", "def f(n):\n    return range(n)\n", "def f(n):\n    return range(n + 1)\n"),
    (
        "off_by_one_far",
        "def f(n):\n    m = n\n    return m\n",
        "def f(n):\n    m = n - 1\n    return m\n",
    ),
    ("boolean", "def f(a, b):\n    return a and b\n", "def f(a, b):\n    return a or b\n"),
    ("truth", "def f():\n    return True\n", "def f():\n    return False\n"),
    ("truth_far", "def f():\n    return None\n", "def f():\n    return False\n"),
    (
        "negation",
        "def f(a):\n    if a:\n        return 1\n",
        "def f(a):\n    if not a:\n        return 1\n",
    ),
    ("negation", "def f(a):\n    return not a\n", "def f(a):\n    return a\n"),
    ("sign", "def f(a):\n    return a\n", "def f(a):\n    return -a\n"),
    ("operands", "def f(a, b):\n    return a - b\n", "def f(a, b):\n    return b - a\n"),
    ("operands", "def f(a, b):\n    return a in b\n", "def f(a, b):\n    return b in a\n"),
    ("operands_far", "def f(a, b):\n    return a + b\n", "def f(a, b):\n    return b + a\n"),
    ("augmented", "def f(a):\n    a += 2\n    return a\n", "def f(a):\n    a -= 2\n    return a\n"),
    (
        "assign",
        "def f(a, b):\n    a = b\n    return a\n",
        "def f(a, b):\n    a += b\n    return a\n",
    ),
    (
        "assign_far",
        "def f(a, b):\n    a = b\n    return a\n",
        "def f(a, b):\n    a *= b\n    return a\n",
    ),
    ("absolute", "def f(a, b):\n    return a - b\n", "def f(a, b):\n    return abs(a - b)\n"),
    ("function", "def f(a):\n    return min(a)\n", "def f(a):\n    return max(a)\n"),
    ("method", "def f(a, b):\n    a.append(b)\n", "def f(a, b):\n    a.extend(b)\n"),
    (
        "attribute",
        "class A:\n    def f(self, n):\n        self.n = n\n        self.m = self.n\n",
        "class A:\n    def f(self, n):\n        self.n = n\n        self.m = self.m\n",
    ),
    ("slice", "def f(a):\n    return a[1:3]\n", "def f(a):\n    return a[1:]\n"),
    ("slice", "def f(a):\n    return a[:2]\n", "def f(a):\n    return a[:-2]\n"),
    ("slice", "def f(a):\n    return a[1]\n", "def f(a):\n    return a[-1]\n"),
    ("sliced", "def f(a):\n    return a\n", "def f(a):\n    return a[::-1]\n"),
    ("access", "def f(a):\n    return a['k']\n", "def f(a):\n    return a.get('k', 0)\n"),
    (
        "argument_swap",
        "def f(a, b):\n    return pow(a, b)\n",
        "def f(a, b):\n    return pow(b, a)\n",
    ),
    ("argument_less", "def f(a):\n    return a.split(' ')\n", "def f(a):\n    return a.split()\n"),
    ("argument_less", "x = sorted('ab', reverse=True)\n", "x = sorted('ab')\n"),
    ("argument_more", "x = sorted('ab')\n", "x = sorted('ab', reverse=True)\n"),
    ("range", "x = range(9)\n", "x = range(1, 9)\n"),
    ("receiver", "def f(a, b):\n    return a.join(b)\n", "def f(a, b):\n    return b.join(a)\n"),
    ("string", "x = 'a b'.split(',')\n", "x = 'a b'.split(' ')\n"),
    ("string_far", "x = 'aeiou'\n", "x = 'aeiouAEIOU'\n"),
    ("unwrap", "def f(a):\n    return str(a)\n", "def f(a):\n    return a\n"),
    ("unwrap", "def f(a):\n    return a.strip()\n", "def f(a):\n    return a\n"),
    ("call", "def f(a):\n    return a.lower\n", "def f(a):\n    return a.lower()\n"),
    ("wrap", "def f(a):\n    return a\n", "def f(a):\n    return int(a)\n"),
    (
        "pair",
        "def f(a, b):\n    return a == b\n",
        "def f(a, b):\n    return a.lower() == b.lower()\n",
    ),
    ("scale", "def f(a, b):\n    return a + b\n", "def f(a, b):\n    return (a + b) / 2\n"),
    (
        "reuse",
        "def f(a, b):\n    m = sum(a) / len(a)\n    return b / m\n",
        "def f(a, b):\n    m = sum(a) / len(a)\n    return b / len(a)\n",
    ),
    (
        "everywhere",
        "def f(a):\n    if a:\n        return ' '\n    return a or ' '\n",
        "def f(a):\n    if a:\n        return ''\n    return a or ''\n",
    ),
    ("branches", "x = 1 if 2 > 1 else 3\n", "x = 3 if 2 > 1 else 1\n"),
    (
        "condition",
        "def f(a, b):\n    if a > 1:\n        return 1\n    return b > 2\n",
        "def f(a, b):\n    if a > 1 and b > 2:\n        return 1\n    return b > 2\n",
    ),
    (
        "condition_fixed",
        "def f(a):\n    while a:\n        a()\n",
        "def f(a):\n    while True:\n        a()\n",
    ),
    ("return", "def f(a):\n    return len(a)\n", "def f(a):\n    return a\n"),
    ("return_far", "def f(a):\n    return a\n", "def f(a):\n    return [a]\n"),
    ("element", "x = [1, 2, 3]\n", "x = [1, 3]\n"),
    ("delete", "def f(a):\n    a.sort()\n    return a\n", "def f(a):\n    return a\n"),
    ("delete", "def f(a):\n    if a:\n        a()\n", "def f(a):\n    if a:\n        pass\n"),
    (
        "unblock",
        "def f(a):\n    if a:\n        a()\n    return 1\n",
        "def f(a):\n    a()\n    return 1\n",
    ),
    (
        "clause",
        "def f(a):\n    if a:\n        return 1\n    else:\n        a()\n        return 2\n",
        "def f(a):\n    if a:\n        return 1\n",
    ),
    (
        "chain",
        "def f(a):\n    if a > 1:\n        a -= 1\n    elif a:\n        a += 9\n    return a\n",
        "def f(a):\n    if a > 1:\n        a -= 1\n    if a:\n        a += 9\n    return a\n",
    ),
    ("chain", "def f(a):\n    while a:\n        a()\n", "def f(a):\n    if a:\n        a()\n"),
    ("chain_far", "def f(a):\n    if a:\n        a()\n", "def f(a):\n    while a:\n        a()\n"),
    (
        "move",
        "def f(a):\n    a.sort()\n    b = a[0]\n    return b\n",
        "def f(a):\n    b = a[0]\n    a.sort()\n    return b\n",
    ),
    (
        "hoist",
        "def f(a):\n    for x in a:\n        n = 0\n        n += x\n    return n\n",
        "def f(a):\n    n = 0\n    for x in a:\n        n += x\n    return n\n",
    ),
    (
        "hoist",
        "def f(a):\n    n = 0\n    for x in a:\n        n += x\n    return n\n",
        "def f(a):\n    for x in a:\n        n = 0\n        n += x\n    return n\n",
    ),
    (
        "dedent",
        "def f(a):\n    for x in a:\n        a = x\n        return a\n",
        "def f(a):\n    for x in a:\n        a = x\n    return a\n",
    ),
    (
        "indent",
        "def f(a):\n    n = 0\n    for x in a:\n        n = x\n    n += 1\n    return n\n",
        "def f(a):\n    n = 0\n    for x in a:\n        n = x\n        n += 1\n    return n\n",
    ),
    (
        "jump",
        "def f(a):\n    for x in a:\n        if x:\n            break\n        x()\n",
        "def f(a):\n    for x in a:\n        if x:\n            continue\n        x()\n",
    ),
    ("keep", "def f(a):\n    len(a)\n", "def f(a):\n    return len(a)\n"),
    (
        "keep",
        "def f(a):\n    a.strip()\n    return a\n",
        "def f(a):\n    a = a.strip()\n    return a\n",
    ),
    (
        "drop_target",
        "def f(a):\n    a = a.sort()\n    return a\n",
        "def f(a):\n    a.sort()\n    return a\n",
    ),
    ("insert", "def f(a):\n    b = a + 1\n", "def f(a):\n    b = a + 1\n    return b\n"),
    (
        "insert",
        "n = 0\ndef f():\n    n += 1\n",
        "n = 0\ndef f():\n    global n\n    n += 1\n",
    ),
    (
        "duplicate",
        "def f(a):\n    a.pop()\n    return a\n",
        "def f(a):\n    a.pop()\n    a.pop()\n    return a\n",
    ),
    (
        "default",
        'def f(x, seen=[]):\n    """Add."""\n    seen.append(x)\n    return seen\n',
        (
            'def f(x, seen=None):\n    """Add."""\n    if seen is None:\n        seen = []\n'
            "    seen.append(x)\n    return seen\n"
        ),
    ),
    (
        "default",
        "x = [lambda: i for i in range(3)]\n",
        "x = [lambda i=i: i for i in range(3)]\n",
    ),
]

PROGRAM = '''\
"""A module — with a word beyond ASCII: naïve."""
from __future__ import annotations

import math
from typing import Optional

FLAG = True


class Shelf:
    """Keeps things."""

    def __init__(self, things: list[str], most: int = 3) -> None:
        self.things = things
        self.most = most  # never more

    @property
    def full(self) -> bool:
        return len(self.things) >= self.most

    async def add(self, thing: str, *, note: Optional[str] = None) -> str:
        if self.full and not note:
            raise ValueError(f"full: {thing!r:>{self.most}}")
        elif note == "é":
            thing = thing.strip().lower()
        else:
            self.things.append(thing); self.most += 1
        return thing


def median(values):
    ordered = sorted(values)
    middle = len(ordered) // 2
    if len(ordered) % 2 == 0:
        return (ordered[middle - 1] + ordered[middle]) / 2
    for i, value in enumerate(ordered):
        if i == middle:
            continue
        try:
            math.floor(value)
        except TypeError as error:
            print("no number", error)
        finally:
            pass
    text = """two
  lines"""
    with open(text) as stream:
        pairs = {a: [b for b in stream if b] for a in range(1, 9) if a > 2}
    while pairs and -1 < len(pairs) <= 5:
        pairs.popitem()
    return (lambda x, y=2: x if y else -x)(ordered[middle], y=FLAG)
'''


def codes(operator: str, code: str) -> list[str]:
    return [item.code for item in candidates(code) if item.operator == operator]


@pytest.mark.parametrize(("operator", "code", "wanted"), EXAMPLES)
def test_each_operator_proposes_its_example(operator: str, code: str, wanted: str) -> None:
    everything = candidates(code)
    assert wanted in [item.code for item in everything], [item.code for item in everything]
    found = next(item for item in everything if item.code == wanted)
    names = {found.operator, operator}
    assert found.operator == operator or OPERATORS[found.operator] >= OPERATORS[operator], names


def test_every_operator_is_used_by_an_example_and_knows_its_place() -> None:
    used = {operator for operator, _, _ in EXAMPLES} | {"respell"}
    assert set(OPERATORS) == used
    assert all(0 < prior <= 1 for prior in OPERATORS.values())


def check_candidate(code: str, item: Candidate) -> None:
    ast.parse(item.code)
    assert item.code != code
    edit = item.edit
    assert item.code == code[: edit.start] + edit.replacement + code[edit.end :]
    before, after = code.splitlines(), item.code.splitlines()
    first = code.count("\n", 0, edit.start)
    tail = len(before) - code.count("\n", 0, edit.end) - 1
    assert before[:first] == after[:first], "lines before the edit stay as they are"
    if tail > 0:
        assert before[-tail:] == after[-tail:], "lines after the edit stay as they are"
    assert item.line == first + 1
    assert item.size >= 1
    assert item.operator in OPERATORS


def test_every_candidate_of_a_program_is_one_edit_away() -> None:
    found = candidates(PROGRAM)
    assert len(found) > 400
    for item in found:
        check_candidate(PROGRAM, item)
    assert len({item.code for item in found}) == len(found)
    assert {item.operator for item in found} >= set(OPERATORS) - {
        "respell", "call", "assign_far", "keep", "drop_target", "insert", "number_far", "range",
        "receiver", "branches", "hoist", "everywhere", "default", "truth_far", "element", "dedent",
    }  # fmt: skip


def test_candidates_are_the_same_every_time_and_best_first() -> None:
    first, second = candidates(PROGRAM), candidates(PROGRAM)
    assert first == second
    assert [item.prior for item in first] == sorted((i.prior for i in first), reverse=True)
    assert candidates(PROGRAM, limit=10) == first[:10]


def test_candidates_differ_in_more_than_spaces_and_parentheses() -> None:
    found = candidates("def f(a, b):\n    return (a) + (b)\n")
    trees = [ast.dump(ast.parse(item.code)) for item in found]
    assert len(set(trees)) == len(trees)
    assert ast.dump(ast.parse("def f(a, b):\n    return a + b\n")) not in trees


def test_comments_layout_and_line_ends_survive() -> None:
    code = "def f(a):  # keep\r\n\treturn (a\r\n\t\t+ 1)  # this\r\n"
    found = candidates(code)
    assert found
    for item in found:
        assert "# keep" in item.code
        check_candidate(code, item)


def test_suspect_lines_come_first_and_lines_that_nothing_ran_come_last() -> None:
    code = "def f(a):\n    b = a + 1\n    c = a - 1\n    return b < c\n"
    found = candidates(code, focus={3: 1.0, 4: 0.3})
    assert found[0].line == 3
    assert min(i.prior for i in found if i.line == 4) < max(i.prior for i in found if i.line == 3)
    assert all(item.suspicion == 0 for item in found if item.line == 2 and item.edit.end < 28)


def test_a_statement_over_several_lines_is_as_suspect_as_its_worst_line() -> None:
    code = "def f(a):\n    return (\n        a\n        + 1\n    )\n"
    found = candidates(code, focus={2: 0.5})
    assert all(item.suspicion == 1.0 for item in found if item.line in (2, 3, 4))


def test_nothing_stands_in_annotations_or_docstrings() -> None:
    code = 'def f(a: "int | None" = None) -> list[int]:\n    """Not 1 but 2."""\n    return a\n'
    for item in candidates(code):
        assert '"""Not 1 but 2."""' in item.code
        assert 'a: "int | None"' in item.code
        assert "-> list[int]" in item.code


def test_places_inside_of_f_strings_are_never_mistaken() -> None:
    code = "def f(a, b):\n    return f'{a + b} of {a!r:>{b}}'\n"
    for item in candidates(code):
        ast.parse(item.code)


@pytest.mark.parametrize("code", ["", "def f(:\n", "x = '\\0'\n\0", "# nothing\n"])
def test_what_is_no_program_has_no_candidates(code: str) -> None:
    assert candidates(code) == []


def test_strings_nearly_those_of_the_tests_are_respelt() -> None:
    code = "def f():\n    return ('Jupyter', 'mars')\n"
    found = candidates(code, tests="assert f() == ('Jupiter', 'Mars')")
    assert {i.code for i in found if i.operator == "respell"} == {
        "def f():\n    return ('Jupiter', 'mars')\n",
        "def f():\n    return ('Jupyter', 'Mars')\n",
    }


def test_awkward_layouts_are_handled() -> None:
    for code in (
        "if 1: x = 2; y = 3\nelse: x = 4\n",
        "def f(a): return a + 1",
        "class A: pass\n",
        "@staticmethod\ndef f(a):\n    return a + 1\n",
        "x = (yield_ := 3) + 1\n",
        "def f(a):\n\tif a:\n\t\treturn 1\n\treturn 2",
        "match 3:\n    case 3:\n        x = 1\n    case _:\n        x = 2\n",
        "def f(*a, k=1, **b):\n    return a[0] if b else k\n",
        "x = 'é' + 'ü' if len('ö') > 1 else 'ß'\n",
        "try:\n    x = 1\nexcept (ValueError, KeyError):\n    x = 2\nelse:\n    x = 3\n",
    ):
        source = Source(code)
        for item in candidates(source.text):
            check_candidate(code, item)


names = st.sampled_from(["a", "b", "n", "xs"])
atoms = st.one_of(names, st.integers(-3, 9).map(str), st.sampled_from(["'é'", "True", "xs[0]"]))
expressions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "//", "**"]), inner).map(" ".join),
        st.tuples(inner, st.sampled_from(["<", "==", "not in", "is"]), inner).map(
            lambda t: f"({' '.join(t)})"
        ),
        st.tuples(inner, inner).map(lambda t: f"({t[0]} and not {t[1]})"),
        inner.map(lambda e: f"({e})"),
        inner.map(lambda e: f"max({e}, key=lambda v: v)"),
        inner.map(lambda e: f"[{e} for a in xs if {e}]"),
        st.tuples(inner, inner, inner).map(lambda t: f"({t[0]} if {t[1]} else {t[2]})"),
    ),
    max_leaves=6,
)
simple = st.one_of(
    st.tuples(names, expressions).map(lambda t: f"{t[0]} = {t[1]}"),
    st.tuples(names, expressions).map(lambda t: f"{t[0]} += {t[1]}"),
    expressions.map(lambda e: f"return {e}"),
    expressions.map(lambda e: f"print({e})  # said"),
)


def block(statements: list[str]) -> str:
    return textwrap.indent("\n".join(statements), "    ")


bodies = st.recursive(
    st.lists(simple, min_size=1, max_size=3),
    lambda inner: st.one_of(
        st.tuples(expressions, inner, inner).map(
            lambda t: [f"if {t[0]}:", block(t[1]), "else:", block(t[2])]
        ),
        st.tuples(expressions, inner).map(lambda t: [f"while {t[0]}:", block(t[1])]),
        st.tuples(inner, inner).map(lambda t: ["for a in xs:", block(t[0]), *t[1]]),
    ),
    max_leaves=4,
)


@settings(max_examples=30, deadline=None)
@given(bodies)
def test_programs_of_every_shape_give_sound_candidates(body: list[str]) -> None:
    code = f"def f(a, b, n, xs):\n{block(body)}\n"
    found = candidates(code)
    assert found
    for item in found:
        check_candidate(code, item)


def test_thousands_of_candidates_are_made_in_a_second() -> None:
    start = time.process_time()
    count = sum(len(candidates(PROGRAM)) for _ in range(3))
    assert count / (time.process_time() - start) > 1000


def test_many_known_bugs_are_one_edit_away() -> None:
    path = DATA / "repair" / "humanevalfix.jsonl"
    if not path.is_file():
        pytest.skip(f"no data at {path}")
    rows = [json.loads(line) for line in path.read_text().splitlines()[::8]]
    reached = 0
    for row in rows:
        wanted = ast.dump(ast.parse(row["fixed"]))
        found = candidates(row["code"], tests=row["tests"])
        reached += any(ast.dump(ast.parse(item.code)) == wanted for item in found)
    assert reached >= 0.55 * len(rows)


def test_a_statement_that_stands_too_far_left_is_put_back() -> None:
    code = "def f(a):\n    b = a + 1\nreturn b\n"
    assert codes("indent", code) == ["def f(a):\n    b = a + 1\n    return b\n"]
