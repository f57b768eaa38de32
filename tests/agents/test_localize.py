"""Fault localisation: from lines that tests run, and from tracebacks alone."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeyman.agents.localize import (
    frames_in,
    localize,
    localize_traceback,
    ochiai,
    read_traceback,
)

CODE = """\
LIMIT = 3


def pick(n, most=LIMIT):
    if n > most:
        return most
    return n


def other():
    return 1
"""

TRACEBACK = """\
Traceback (most recent call last):
  File "app/main.py", line 20, in <module>
    print(mean([]))
          ^^^^^^^^
  File "app/stats.py", line 12, in mean
    return total / len(xs)
           ~~~~~~^~~~~~~~~
ZeroDivisionError: division by zero
"""
STATS = "def mean(xs):\n    total = sum(xs)\n    return total / len(xs)\n"


@dataclass(frozen=True)
class Ran:
    status: str
    covered_lines: frozenset[int] = field(default_factory=frozenset)


def ran(status: str, *lines: int) -> Ran:
    return Ran(status, frozenset(lines))


def test_a_line_that_only_failing_tests_run_is_the_most_suspect() -> None:
    found = localize([ran("failed", 5, 6), ran("passed", 5, 7)], CODE)
    assert found is not None
    assert found.suspicion[6] == 1.0
    assert found.suspicion[6] > found.suspicion[5] > 0
    assert 7 not in found.suspicion, "no failing test runs it"
    assert 11 not in found.suspicion


def test_the_header_and_the_modules_own_lines_are_suspect_too() -> None:
    found = localize([ran("failed", 5, 6), ran("passed", 5, 7)], CODE)
    assert found is not None
    assert found.suspicion[4] == found.suspicion[6], "a default stands in the header"
    assert found.suspicion[1] == ochiai(1, 1, 1), "every test runs the module"
    assert 10 not in found.suspicion, "no failing test calls `other`"


def test_where_exceptions_came_from_is_more_suspect_than_lines_as_often_run() -> None:
    found = localize([ran("error", 5, 7)], CODE, raised={7})
    assert found is not None
    assert found.suspicion[7] > found.suspicion[5]


@pytest.mark.parametrize(
    "tests",
    [[], [ran("passed", 5)], [ran("timeout")], [ran("not_run", 5)]],
    ids=["no tests", "none fails", "the failing one left no lines", "not run"],
)
def test_without_information_nothing_is_told(tests: list[Ran]) -> None:
    assert localize(tests, CODE) is None


def test_a_failing_test_without_lines_leaves_every_line_a_little_suspect() -> None:
    found = localize([ran("failed", 5, 6), ran("timeout")], CODE)
    assert found is not None
    assert not found.complete
    assert 0 < found.suspicion[11] < found.suspicion[6]
    whole = localize([ran("failed", 5, 6)], CODE)
    assert whole is not None
    assert whole.complete


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 50))
def test_ochiai_lies_between_nought_and_one(here: int, passing: int, more: int) -> None:
    assert 0 <= ochiai(here, here + more, passing) <= 1
    assert ochiai(here, max(here, 1), 0) == (1 if here else 0)


def test_a_traceback_is_read_frame_by_frame() -> None:
    found = read_traceback(TRACEBACK)
    assert [(f.line, f.function, f.source) for f in found.frames] == [
        (20, "<module>", "print(mean([]))"),
        (12, "mean", "return total / len(xs)"),
    ]
    assert (found.error, found.message) == ("ZeroDivisionError", "division by zero")


def test_frames_are_found_by_their_text_whatever_their_number() -> None:
    found = localize_traceback(read_traceback(TRACEBACK), STATS)
    assert found is not None
    assert found.suspicion[3] == 1.0
    assert 0 < found.suspicion[2] < 1, "the same function is suspect a little"
    assert not found.complete
    assert [frame.line for frame in frames_in(read_traceback(TRACEBACK), STATS)] == [3]


def test_a_traceback_of_another_program_tells_nothing() -> None:
    assert localize_traceback(read_traceback(TRACEBACK), CODE) is None
    assert localize_traceback(read_traceback("no traceback"), STATS) is None


def test_of_chained_tracebacks_the_last_one_counts() -> None:
    first = TRACEBACK.replace("ZeroDivisionError: division by zero", "KeyError: 'x'")
    text = f"{first}\nDuring handling of the above exception:\n\n{TRACEBACK}"
    assert read_traceback(text).error == "ZeroDivisionError"


@given(st.text(), st.text())
def test_hostile_text_raises_nothing(text: str, code: str) -> None:
    localize_traceback(read_traceback("Traceback (most recent call last)\n" + text), code)
