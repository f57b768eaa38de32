"""A generator's prompt and answers, and code in the midst of words. Text only."""

from __future__ import annotations

import re
from collections.abc import Sequence

GENERATOR_PROMPT = (
    "Fix the bug in this Python code. Answer with the whole corrected code in one block.\n"
    "{description}\n```python\n{code}\n```\nIt fails: {failure}"
)

_FENCE = re.compile(
    r"^[ \t]*(```+|~~~+)[ \t]*([^\n`]*)\n(.*?)^[ \t]*\1[ \t]*$", re.MULTILINE | re.DOTALL
)


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
