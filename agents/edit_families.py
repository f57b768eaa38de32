"""Words of Python that are mistaken for each other: the tables behind several edit operators.

Data only. A family lists words that take like arguments and are confused in practice; every member
may stand for every other. Knows no tree and no text.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping

COMPARISONS: Mapping[type[ast.cmpop], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Is: "is",
    ast.IsNot: "is not",
    ast.In: "in",
    ast.NotIn: "not in",
}
NEAR_COMPARISONS: Mapping[str, tuple[str, ...]] = {
    "==": ("!=", ">=", "<="),
    "!=": ("==", "<", ">"),
    "<": ("<=", ">", ">="),
    "<=": ("<", ">=", ">"),
    ">": (">=", "<", "<="),
    ">=": (">", "<=", "<"),
    "is": ("is not", "=="),
    "is not": ("is", "!="),
    "in": ("not in",),
    "not in": ("in",),
}
FAR_COMPARISONS: Mapping[str, tuple[str, ...]] = {
    "==": ("<", ">", "in", "is"),
    "!=": ("<=", ">=", "not in", "is not"),
    "<": ("!=", "=="),
    "<=": ("==", "!="),
    ">": ("!=", "=="),
    ">=": ("==", "!="),
    "in": ("==",),
    "not in": ("!=",),
}

ARITHMETIC: Mapping[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.Pow: "**",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.BitXor: "^",
    ast.LShift: "<<",
    ast.RShift: ">>",
    ast.MatMult: "@",
}
NEAR_ARITHMETIC: Mapping[str, tuple[str, ...]] = {
    "+": ("-", "*"),
    "-": ("+", "*"),
    "*": ("+", "**", "/"),
    "/": ("//", "*", "%"),
    "//": ("/", "%"),
    "%": ("//", "/"),
    "**": ("*",),
    "&": ("|", "^"),
    "|": ("&", "^"),
    "^": ("**", "&", "|"),
    "<<": (">>",),
    ">>": ("<<",),
}
FAR_ARITHMETIC: Mapping[str, tuple[str, ...]] = {
    "+": ("//", "%", "/", "**"),
    "-": ("//", "%", "/", "**"),
    "*": ("-", "//", "%"),
    "/": ("-", "+"),
    "//": ("*", "-", "+"),
    "%": ("*", "-", "+"),
    "**": ("//", "+"),
    "&": ("-",),
    "|": ("+",),
}
ORDERED = frozenset({"-", "/", "//", "%", "**", "<<", ">>"})
"""Operators whose operands cannot change places."""


def _mates(families: Iterable[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, dict[str, None]] = {}
    for family in families:
        words = family.split()
        for word in words:
            mates = found.setdefault(word, {})
            mates.update(dict.fromkeys(other for other in words if other != word))
    return {word: tuple(mates) for word, mates in found.items()}


METHODS: Mapping[str, tuple[str, ...]] = _mates(
    (
        "append extend",
        "append add",
        "append appendleft",
        "append insert",
        "extend update",
        "add discard remove",
        "pop popleft",
        "pop remove",
        "lower upper",
        "lower casefold",
        "upper capitalize title",
        "swapcase lower",
        "swapcase upper",
        "startswith endswith",
        "strip lstrip rstrip",
        "removeprefix lstrip",
        "removesuffix rstrip",
        "removeprefix removesuffix",
        "ljust rjust center",
        "zfill rjust",
        "find rfind index rindex",
        "count find",
        "split rsplit",
        "split splitlines",
        "partition rpartition",
        "isdigit isnumeric isdecimal isalpha isalnum",
        "islower isupper istitle isalpha",
        "isspace isalpha",
        "items keys values",
        "get pop setdefault",
        "union intersection difference symmetric_difference",
        "issubset issuperset isdisjoint",
        "update intersection_update difference_update",
        "sort reverse",
        "copy deepcopy",
        "read readline readlines",
        "match search fullmatch",
        "findall finditer",
        "group groups",
        "floor ceil trunc",
        "sin cos tan",
        "log log2 log10",
        "gcd lcm",
        "bisect bisect_left bisect_right",
        "insort insort_left insort_right",
        "heappush heappop heapify",
        "heappushpop heapreplace",
        "nlargest nsmallest",
        "permutations combinations product combinations_with_replacement",
        "choice choices sample",
        "randint randrange",
        "seconds total_seconds",
        "days seconds",
        "weekday isoweekday",
        "now today utcnow",
        "strftime strptime",
        "dump dumps",
        "load loads",
        "acquire release",
        "set clear",
        "encode decode",
    )
)
"""Attributes that are taken for each other."""

FUNCTIONS: Mapping[str, tuple[str, ...]] = _mates(
    (
        "min max",
        "sum max",
        "sum len",
        "any all",
        "sorted reversed",
        "sorted list",
        "list tuple set",
        "set frozenset",
        "int float",
        "int round",
        "float round",
        "str repr",
        "str int",
        "ord chr",
        "bin hex oct",
        "zip enumerate",
        "map filter",
        "isinstance issubclass",
        "floor ceil trunc",
        "abs int",
        "defaultdict dict Counter",
        "deque list",
        "permutations combinations product",
        "range enumerate",
        "getattr hasattr",
        "ValueError TypeError KeyError IndexError",
        "KeyError AttributeError",
        "ZeroDivisionError ArithmeticError ValueError",
        "OSError FileNotFoundError PermissionError",
        "StopIteration IndexError",
        "gcd lcm",
        "sqrt isqrt",
        "deepcopy copy",
        "heappush heappop",
        "bisect bisect_left bisect_right",
    )
)
"""Builtin and well-known functions, and exceptions, that are taken for each other."""

STRINGS: Mapping[str, tuple[str, ...]] = _mates(
    (
        "( )",
        "[ ]",
        "{ }",
        "< >",
        "( [ {",
        ") ] }",
        "0 1",
        "+ -",
        "* /",
        ", ;",
        "- _",
        ". ,",
        "a A",
        "z Z",
        "/ \\",
        "r w a",
        "r rb",
        "w wb",
        "yes no",
        "Yes No",
        "YES NO",
        "true false",
        "True False",
        "even odd",
        "left right",
        "min max",
        "asc desc",
        "start end",
        "utf-8 ascii latin-1",
    )
)
"""Strings that are taken for each other; those of white space are in `BLANKS`."""

FORMAT_CODES: Mapping[str, tuple[str, ...]] = _mates(("%m %M", "%d %j", "%y %Y", "%H %I", "%d %s"))
"""Codes inside of format strings that are taken for each other."""

BLANKS: Mapping[str, tuple[str, ...]] = {
    "": (" ", ",", "\n"),
    " ": ("", ",", "\n", ", "),
    ",": (" ", ", ", ""),
    ", ": (",", " ", ""),
    "\n": (" ", "", "\n\n"),
    "\t": (" ", ""),
    "-": ("", " "),
}

EXTRA_ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "sorted": ("reverse=True", "key=len", "key=abs", "key=str.lower"),
    "sort": ("reverse=True", "key=len", "key=str.lower"),
    "max": ("default=0", "key=len", "key=abs"),
    "min": ("default=0", "key=len", "key=abs"),
    "sum": ("[]",),
    "round": ("1", "2"),
    "int": ("2",),
    "enumerate": ("1", "start=1"),
    "get": ("0", "[]", "''"),
    "pop": ("0", "None"),
    "split": ("','", "' '"),
    "next": ("None",),
    "getattr": ("None",),
    "zip": ("strict=True",),
    "isclose": ("abs_tol=1e-09",),
    "replace": ("1",),
    "open": ("encoding='utf-8'",),
    "deque": ("maxlen=10",),
    "splitlines": ("True",),
    "dumps": ("sort_keys=True",),
}
"""Arguments that are often forgotten, put last."""

WRAPPERS: tuple[str, ...] = ("abs", "int", "str", "len", "list", "sorted", "set", "float", "tuple")
ITERATION_WRAPPERS: tuple[str, ...] = ("list", "sorted", "reversed", "set", "enumerate")
UNWRAPPED = frozenset({"super", "range", "isinstance", "print", "open", "input", "zip", "getattr"})
"""Calls that mean nothing without the call."""
