"""A patch as an answer: its unified diff, its size, and which patches behave alike.

Diffs are made and applied here; what a program does is observed elsewhere. Behaviour that was
observed is kept as short hashes, so that patches can be compared long after the sandbox is gone.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Hashable, Sequence
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict

from journeyman.agents.syntax import num_tokens_changed

_HUNK = re.compile(r"^@@ -(\d+)(?:,(\d+))? \+\d+(?:,\d+)? @@")
_NO_NEWLINE = "\\ No newline at end of file"


class Patch(BaseModel):
    """A repaired program and what is known of it.

    Whether two patches are the same answer must be told from the patches alone, long after the
    task; so a patch carries the tests it was judged by and what it was seen to do.

    Attributes:
        diff: Unified diff from the task's code; empty where nothing changed.
        code: The whole repaired program.
        tests_passed: Visible tests that pass.
        tests_total: Visible tests; 0 where none were given.
        proposed_by: Who thought of it.
        operator: The edit's kind; empty for whole programs.
        description: What it changes, in a few words.
        line: First line (from 1) of the task's code that it changes.
        candidates_tried: Programs that were run to find it.
        rank: Its place among them, from 1.
        num_passing: How many of them pass the visible tests.
        agreement: Share of those, by weight, that behave as it does.
        tests: The visible tests.
        entry_point: The function under test; may be empty.
        behaviour: A short hash of what each probing call gave; empty where there were none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    diff: str
    code: str
    tests_passed: int = 0
    tests_total: int = 0
    proposed_by: Literal["edit", "generator", "frontier", "human"] = "human"
    operator: str = ""
    description: str = ""
    line: int = 0
    candidates_tried: int = 0
    rank: int = 0
    num_passing: int = 0
    agreement: float = 0.0
    tests: str = ""
    entry_point: str = ""
    behaviour: tuple[str, ...] = ()

    @property
    def passes(self) -> bool:
        """There are visible tests, and all of them pass."""
        return 0 < self.tests_total == self.tests_passed


class Seen(Protocol):
    """What one probing call gave, as the sandbox tells it."""

    @property
    def kind(self) -> str:
        """`value`, `raised`, or how it was stopped."""
        ...

    @property
    def text(self) -> str:
        """The value or the exception."""
        ...


def behaviour_of(observations: Sequence[Seen]) -> tuple[str, ...]:
    """A short hash of each observation.

    Exceptions are known by their class alone: two right programs need not word their errors alike.
    """
    return tuple(_mark(seen) for seen in observations)


def _mark(seen: Seen) -> str:
    text = seen.text if seen.kind == "value" else seen.text.partition(":")[0]
    data = f"{seen.kind}\0{text}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(data, digest_size=6).hexdigest()


def unified_diff(before: str, after: str, name: str = "code.py") -> str:
    """A unified diff with three lines of context that `patch -p1` and `git apply` take."""
    old, new = _lines(before), _lines(after)
    return "".join(
        line if line.endswith("\n") else f"{line}\n{_NO_NEWLINE}\n"
        for line in difflib.unified_diff(old, new, f"a/{name}", f"b/{name}")
    )


def apply_diff(text: str, diff: str) -> str:
    """The text with a unified diff applied, every context line checked.

    Raises:
        ValueError: The diff is malformed, or does not fit the text.
    """
    lines, result, at = _lines(text), list[str](), 0
    for kind, start, body in _hunks(diff):
        begin = start - 1 if kind else start
        if begin < at or begin > len(lines):
            raise ValueError(f"The hunk at line {start} does not fit the text.")
        result += lines[at:begin]
        at = begin
        for mark, content in body:
            if mark == "+":
                result.append(content)
                continue
            if at >= len(lines) or lines[at] != content:
                raise ValueError(f"Line {at + 1} is not what the diff says it is.")
            if mark == " ":
                result.append(content)
            at += 1
    return "".join([*result, *lines[at:]])


def _hunks(diff: str) -> list[tuple[int, int, list[tuple[str, str]]]]:
    """Hunks as (number of old lines, first old line, marked lines)."""
    found: list[tuple[int, int, list[tuple[str, str]]]] = []
    for line in _lines(diff):
        header = _HUNK.match(line)
        if header is not None:
            count = 1 if header[2] is None else int(header[2])
            found.append((count, int(header[1]), []))
        elif found and line.startswith("\\"):
            mark, content = found[-1][2][-1]
            found[-1][2][-1] = (mark, content.rstrip("\n"))
        elif found and line[:1] in {" ", "+", "-"}:
            found[-1][2].append((line[:1], line[1:]))
        elif found or not line.startswith(("---", "+++")):
            raise ValueError(f"{line.rstrip()!r} is no line of a unified diff.")
    return found


def _lines(text: str) -> list[str]:
    """Lines as diffs count them: ended by a line feed and by nothing else."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def edit_size(before: str, after: str) -> int:
    """Words and signs that differ, over all places that do."""
    old, new = before.splitlines(), after.splitlines()
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    return sum(
        num_tokens_changed("\n".join(old[a:b]), "\n".join(new[c:d]))
        for tag, a, b, c, d in matcher.get_opcodes()
        if tag != "equal"
    )


def first_changed_line(before: str, after: str) -> int:
    """Line (from 1) of the first difference; 0 where there is none."""
    old, new = before.splitlines(), after.splitlines()
    for number, (one, other) in enumerate(zip(old, new, strict=False), start=1):
        if one != other:
            return number
    return 0 if old == new else min(len(old), len(new)) + 1


def clusters(behaviours: Sequence[Hashable]) -> list[list[int]]:
    """Positions of equal behaviours together, in the order of the first of each."""
    found: dict[Hashable, list[int]] = {}
    for index, behaviour in enumerate(behaviours):
        found.setdefault(behaviour, []).append(index)
    return list(found.values())


def same_behaviour(first: Patch, second: Patch) -> bool | None:
    """Did two patches of one task do the same on the same calls? None where that is not known."""
    if first.code == second.code:
        return True
    known = first.behaviour and second.behaviour
    comparable = first.tests == second.tests and first.entry_point == second.entry_point
    if not known or not comparable or len(first.behaviour) != len(second.behaviour):
        return None
    return first.behaviour == second.behaviour
