"""Fault localisation: which lines of a program are suspect, from what tests ran or a traceback.

With tests, Ochiai: a line is the more suspect the more of the failing tests run it and the fewer of
the passing ones. With a traceback alone, the lines that it names. Runs nothing; a fault in a line
that is not suspect at all is possible where tests end before their lines are known.
"""

from __future__ import annotations

import ast
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Protocol

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef

_FRAME = re.compile(r'^\s*File "(?P<file>[^"\n]+)", line (?P<line>\d+)(?:, in (?P<where>.+))?\s*$')
_NOT_RAISED = 0.8  # of the suspicion of lines that an exception did not come from
_LEAST = 0.05  # suspicion of other lines where some failing test left no lines


class CoveredTest(Protocol):
    """One test's result, as the sandbox gives it."""

    @property
    def status(self) -> str:
        """`passed`, `not_run`, or how it failed."""
        ...

    @property
    def covered_lines(self) -> AbstractSet[int]:
        """Lines (from 1) of the program's functions that it ran."""
        ...


@dataclass(frozen=True, slots=True)
class Localisation:
    """Where the fault may be.

    Attributes:
        suspicion: Line (from 1) -> suspicion in (0, 1]; lines that are absent have none.
        complete: No other line can be at fault alone: every failing test told which lines it ran.
    """

    suspicion: Mapping[int, float]
    complete: bool = False


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a traceback.

    Attributes:
        file: As the traceback names it.
        line: From 1.
        function: Name of the function; `<module>` outside of any.
        source: The line's text, where the traceback shows it.
    """

    file: str
    line: int
    function: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Traceback:
    """A traceback as text tells it.

    Attributes:
        frames: Outermost first.
        error: Name of the exception; empty where there is none.
        message: Its message.
    """

    frames: tuple[Frame, ...] = field(default_factory=tuple)
    error: str = ""
    message: str = ""


def localize(
    tests: Iterable[CoveredTest], code: str, raised: Collection[int] = ()
) -> Localisation | None:
    """Suspicion from the lines that each test ran.

    Lines outside of functions are run by every test; the header of a function is as suspect as the
    most suspect line in it, since its defaults and names are its own.

    Args:
        tests: Results of single tests; those that were not run say nothing.
        code: The program.
        raised: Lines that exceptions of failing tests came from: more suspect than others.

    Returns:
        None where nothing can be told: no test fails, or none that fails told its lines.
    """
    failing, passing = Counter[int](), Counter[int]()
    num_failing = num_passing = num_silent = 0
    for test in tests:
        if test.status == "not_run":
            continue
        if test.status == "passed":
            num_passing += 1
            passing.update(test.covered_lines)
        elif test.covered_lines:
            num_failing += 1
            failing.update(test.covered_lines)
        else:
            num_silent += 1
    if not num_failing:
        return None
    suspicion = {line: ochiai(count, num_failing, passing[line]) for line, count in failing.items()}
    for line in suspicion if raised else ():
        suspicion[line] *= 1.0 if line in raised else _NOT_RAISED
    _add_unwatched_lines(code, suspicion, ochiai(num_failing, num_failing, num_passing))
    if num_silent:
        for line in range(1, code.count("\n") + 2):
            suspicion.setdefault(line, _LEAST)
    return Localisation(suspicion, complete=not num_silent)


def ochiai(num_failing_here: int, num_failing: int, num_passing_here: int) -> float:
    """Ochiai's suspicion of a line, in [0, 1]: 1 where all failing tests and no other run it."""
    run = num_failing * (num_failing_here + num_passing_here)
    return num_failing_here / math.sqrt(run) if run else 0.0


def _add_unwatched_lines(code: str, suspicion: dict[int, float], everywhere: float) -> None:
    """Give lines that no tracer watches theirs: headers of functions, and the module's own."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError):
        return
    for stmt in tree.body:
        if not isinstance(stmt, Function):
            for line in range(stmt.lineno, (stmt.end_lineno or stmt.lineno) + 1):
                suspicion.setdefault(line, everywhere)
    # Inner ones first, so that an outer header hears of all that is inside.
    for node in reversed(list(ast.walk(tree))):
        if not isinstance(node, Function):
            continue
        inside = range(node.body[0].lineno, (node.end_lineno or node.lineno) + 1)
        most = max((suspicion.get(line, 0.0) for line in inside), default=0.0)
        first = min([node.lineno, *(item.lineno for item in node.decorator_list)])
        if most:
            for line in range(first, max(first + 1, node.body[0].lineno)):
                suspicion.setdefault(line, most)


def read_traceback(text: str) -> Traceback:
    """The last traceback in a text; without frames where there is none."""
    start = text.rfind("Traceback (most recent call last)")
    lines = text[max(start, 0) :].splitlines()
    frames: list[Frame] = []
    error = message = ""
    for number, line in enumerate(lines):
        found = _FRAME.match(line)
        if found is not None:
            after = lines[number + 1] if number + 1 < len(lines) else ""
            shown = after.strip() if not _FRAME.match(after) and after.startswith(" ") else ""
            frames.append(
                Frame(found["file"], int(found["line"]), (found["where"] or "").strip(), shown)
            )
        elif frames and line[:1].strip() and not error:
            name, _, said = line.partition(":")
            if re.fullmatch(r"[A-Za-z_][\w.]*", name.strip()):
                error, message = name.strip(), said.strip()
    return Traceback(tuple(frames), error, message)


def localize_traceback(traceback: Traceback, code: str) -> Localisation | None:
    """Suspicion from the frames that are in this program, the innermost most suspect.

    A frame is known by its line's text; where the traceback shows none, by its number and function.
    A line of the same function as the innermost frame is suspect a little.

    Returns:
        None where no frame is in the program.
    """
    lines = code.splitlines()
    spans = _functions(code)
    suspicion: dict[int, float] = {}
    level = 1.0
    for frame in reversed(traceback.frames):
        line = _place(frame, lines, spans)
        if line is None:
            continue
        if not suspicion:
            first, last = _around(line, spans, len(lines))
            suspicion.update(dict.fromkeys(range(first, last + 1), 0.3))
        suspicion[line] = max(suspicion.get(line, 0.0), level)
        level *= 0.6
    return Localisation(suspicion) if suspicion else None


def frames_in(traceback: Traceback, code: str) -> tuple[Frame, ...]:
    """The frames that are in this program, with their lines as they are in it."""
    lines, spans = code.splitlines(), _functions(code)
    placed = ((frame, _place(frame, lines, spans)) for frame in traceback.frames)
    return tuple(
        Frame(frame.file, line, frame.function, frame.source)
        for frame, line in placed
        if line is not None
    )


def _place(frame: Frame, lines: list[str], spans: Mapping[str, tuple[int, int]]) -> int | None:
    if frame.source:
        same = [n for n, line in enumerate(lines, start=1) if line.strip() == frame.source]
        # The program may be an excerpt: its numbers need not be the file's.
        return min(same, key=lambda n: abs(n - frame.line), default=None)
    first, last = spans.get(frame.function, (0, -1))
    return frame.line if first <= frame.line <= last else None


def _functions(code: str) -> dict[str, tuple[int, int]]:
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError):
        return {}
    return {
        node.name: (node.lineno, node.end_lineno or node.lineno)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def _around(line: int, spans: Mapping[str, tuple[int, int]], num_lines: int) -> tuple[int, int]:
    """The smallest function around a line; the line itself outside of any."""
    holding = [span for span in spans.values() if span[0] <= line <= span[1]]
    return min(holding, key=lambda span: span[1] - span[0], default=(line, min(line, num_lines)))
