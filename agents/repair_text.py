"""What the students and the frontier are shown of a repair: task, candidate, prompt.

Text only. A ranker sees one line of task and one line of candidate at a time; teaching must build
the same text, so it is built nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

TEXT_VERSION = "1"
"""Raise it when the same task or candidate would read otherwise; it is part of the release id."""

GENERATOR_PROMPT = (
    "Fix the bug in this Python code. Answer with the whole corrected code in one block.\n"
    "{description}\n```python\n{code}\n```\nIt fails: {failure}"
)

_DESCRIPTION, _FAILURE, _CODE, _LINE = 240, 120, 480, 100  # characters shown
_FENCE = re.compile(
    r"^[ \t]*(```+|~~~+)[ \t]*([^\n`]*)\n(.*?)^[ \t]*\1[ \t]*$", re.MULTILINE | re.DOTALL
)


def task_text(
    code: str,
    *,
    description: str = "",
    failures: Sequence[str] = (),
    suspicion: Mapping[int, float] | None = None,
) -> str:
    """A task for the ranker: what the code should do, what fails, and the suspect lines.

    Args:
        code: The program.
        description: What it should do.
        failures: What failing tests say, the first two of which are shown.
        suspicion: By line; the code shown is around the most suspect one.
    """
    said = [_clip(description, _DESCRIPTION), *(_clip(text, _FAILURE) for text in failures[:2])]
    return "\n".join([*filter(None, said), _excerpt(code, suspicion or {})])


def candidate_text(code: str, operator: str, start: int, end: int, replacement: str) -> str:
    """A candidate for the ranker: its kind, the lines it takes away, and those it puts in.

    Args:
        code: The program before.
        operator: The edit's kind.
        start: First character replaced.
        end: Past the last.
        replacement: What stands there afterwards.
    """
    first = code.rfind("\n", 0, start) + 1
    last = code.find("\n", max(start, end - 1))
    last = len(code) if last < 0 else last
    old = code[first:last]
    new = code[first:start] + replacement + code[end:last]
    return f"{operator}: {_line(old)} => {_line(new)}"


def diff_text(operator: str, diff: str) -> str:
    """A candidate that is a whole program, for the ranker: the lines that its diff changes."""
    lines = diff.splitlines()[2:]
    old = " ".join(line[1:].strip() for line in lines if line.startswith("-"))
    new = " ".join(line[1:].strip() for line in lines if line.startswith("+"))
    return f"{operator}: {_line(old)} => {_line(new)}"


def _line(text: str) -> str:
    """Lines as one; of a long stretch, its head and its tail."""
    folded = " ".join(text.split())
    if len(folded) <= _LINE:
        return folded
    return f"{folded[: _LINE // 2]} ... {folded[-_LINE // 2 :]}"


def _clip(text: str, most: int) -> str:
    folded = " ".join(text.split())
    return folded if len(folded) <= most else f"{folded[: most - 3]}..."


def _excerpt(code: str, suspicion: Mapping[int, float]) -> str:
    """Whole lines around the most suspect one, as many as fit."""
    if len(code) <= _CODE:
        return code.strip("\n")
    lines = code.splitlines()
    center = max(suspicion, key=lambda line: suspicion[line], default=1) - 1
    first = last = min(max(center, 0), len(lines) - 1)
    size = len(lines[first])
    while True:
        grown = False
        for number in (first - 1, last + 1):
            if 0 <= number < len(lines) and size + len(lines[number]) < _CODE:
                first, last = min(first, number), max(last, number)
                size += len(lines[number]) + 1
                grown = True
        if not grown:
            return "\n".join(lines[first : last + 1])


def fences(text: str) -> list[tuple[str, str]]:
    """Fenced blocks of a text as (info string, content), in order."""
    return [(match[2].strip(), match[3]) for match in _FENCE.finditer(text)]


def outside_fences(text: str) -> str:
    """The text without its fenced blocks."""
    return _FENCE.sub("", text)


def generator_prompt(
    code: str, *, description: str = "", failures: Sequence[str] = ()
) -> tuple[dict[str, str], ...]:
    """A task for the generator, as chat messages: what the code should do, and how it first fails.

    Args:
        code: The program.
        description: What it should do.
        failures: What failing tests say, the first of which is shown.
    """
    text = GENERATOR_PROMPT.format(
        description=description.strip(), code=code, failure=failures[0] if failures else ""
    )
    return ({"role": "user", "content": text},)


def written_code(code: str) -> str:
    """A program as the generator should write it, so that `code_of` reads it again.

    The fence is longer than any in the program.
    """
    longest = max((len(ticks) for ticks in re.findall("`{3,}", code)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}python\n{code.rstrip()}\n{fence}"


def code_of(answer: str) -> str:
    """The code in a generator's answer: its first fenced block, or all of it."""
    found = fences(answer)
    if found:
        return found[0][1]
    # A block that was cut off has no closing fence.
    opened = re.search(r"^[ \t]*```[^\n]*\n", answer, re.MULTILINE)
    return answer[opened.end() :] if opened else answer
