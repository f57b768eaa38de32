"""What travels between a candidate's process and the judge's, and how tests are read."""

from __future__ import annotations

import os
import random
import string
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeyman.agents.confined.frames import Channel, FrameError
from journeyman.agents.confined.plan import plan_tests
from journeyman.agents.confined.seccomp import _MACHINES
from journeyman.agents.confined.wire import Codec, WireError, plain_base


class _Copies(Codec):
    """A codec whose other side is itself, with no objects but copies."""

    def __init__(self, *, is_hostile: bool) -> None:
        self.is_hostile = is_hostile

    def refer(self, value: Any) -> Any:
        return {"o": [0, {}]}

    def recall(self, value: Any) -> None:
        return None

    def adopt(self, number: Any, facts: dict[str, Any]) -> Any:
        return Ellipsis

    def own(self, number: Any) -> Any:
        return {}[number]


HOSTILE, JUDGE = _Copies(is_hostile=True), _Copies(is_hostile=False)

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(),
    st.complex_numbers(allow_nan=False),
    st.decimals(allow_nan=False),
    st.fractions(),
    st.dates(),
    st.datetimes(),
    st.timedeltas(),
    st.uuids(),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner),
        st.lists(inner).map(tuple),
        st.lists(inner).map(deque),
        st.frozensets(SCALARS),
        st.sets(SCALARS),
        st.dictionaries(SCALARS, inner),
        st.dictionaries(SCALARS, inner).map(OrderedDict),
        st.lists(SCALARS).map(Counter),
    ),
    max_leaves=20,
)


@pytest.fixture
def pipe() -> Iterator[Channel]:
    read_fd, write_fd = os.pipe()
    channel = Channel(read_fd, write_fd)
    yield channel
    channel.close()


@given(VALUES)
def test_plain_values_arrive_equal_and_of_the_same_type(value: Any) -> None:
    arrived = JUDGE.decode(HOSTILE.encode(value))
    assert arrived == value
    assert type(arrived) is type(value)


@given(VALUES)
def test_what_is_encoded_passes_through_a_frame(value: Any) -> None:
    read_fd, write_fd = os.pipe()
    channel = Channel(read_fd, write_fd)
    try:
        channel.send(HOSTILE.encode(value))
        assert JUDGE.decode(channel.receive(time.monotonic() + 1)) == value
    finally:
        channel.close()


@pytest.mark.parametrize("value", [1, "a", 1.5, (1, 2), [1], {"a": 1}, {1}, frozenset({1}), b"x"])
def test_the_plain_value_inside_an_object_is_read_past_its_own_methods(value: Any) -> None:
    lies = {name: lambda *_: None for name in ("__iter__", "__str__", "__int__", "__float__")}
    sly = type("Sly", (type(value),), lies)(value)
    assert plain_base(sly) == [value]
    assert type(plain_base(sly)[0]) is type(value)


def test_an_object_has_no_plain_value() -> None:
    assert plain_base(object()) == []


@pytest.mark.parametrize(
    "name",
    [
        ["builtins", "exec"],
        ["builtins", "eval"],
        ["builtins", "__import__"],
        ["os", "system"],
        ["os", ""],
        ["sys", "modules"],
        ["unittest.mock", "ANY"],
        ["operator", "methodcaller"],
        ["functools", "reduce"],
        ["collections", "_sys"],
        ["subprocess", "Popen"],
    ],
)
def test_a_hostile_process_may_name_nothing_that_acts(name: list[str]) -> None:
    with pytest.raises(WireError):
        JUDGE.decode({"g": name})


@pytest.mark.parametrize("value", [int, ValueError, Counter, Fraction, Decimal, random, string])
def test_classes_and_modules_without_effects_may_be_named(value: Any) -> None:
    assert JUDGE.decode(HOSTILE.encode(value)) is value


def test_the_judge_may_name_functions() -> None:
    assert HOSTILE.decode(JUDGE.encode(len)) is len


@pytest.mark.parametrize(
    "data",
    [
        {"i": ["zz"]},
        {"d": [1]},
        {"s": [[1]]},
        {"d": [[1], 2]},
        {"?": []},
        {"t": []} | {"s": []},
        {},
        {"m": 3},
        {"m": [3]},
        {"o": 3},
        {"dt": [1]},
        {"c": ["x"]},
        {"b": ["\u20ac"]},
        {"g": []},
        {"r": [0, 1, 0]},
    ],
)
def test_nonsense_is_no_value(data: Any) -> None:
    with pytest.raises(WireError):
        JUDGE.decode(data)


def test_a_value_without_end_is_referred_to() -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert HOSTILE.encode(loop) == {"o": [0, {}]}


# Frames.


def test_a_frame_that_never_ends_is_a_timeout(pipe: Channel) -> None:
    os.write(pipe.write_fd, b"\0\0\0\x10half")
    with pytest.raises(TimeoutError):
        pipe.receive(time.monotonic() + 0.05)


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff", b"\0\0\0\1{", b"\0\0\0\2\xff\xfe"])
def test_what_is_no_frame_is_refused(pipe: Channel, data: bytes) -> None:
    os.write(pipe.write_fd, data)
    with pytest.raises(FrameError):
        pipe.receive(time.monotonic() + 1)


def test_json_too_deep_for_a_parser_is_refused(pipe: Channel) -> None:
    body = b"[" * 20_000
    os.write(pipe.write_fd, len(body).to_bytes(4, "big") + body)
    with pytest.raises(FrameError):
        pipe.receive(time.monotonic() + 1)


def test_a_reader_that_does_not_read_ahead_leaves_the_next_frame() -> None:
    read_fd, write_fd = os.pipe()
    first, second = Channel(read_fd, write_fd, read_ahead=False), Channel(read_fd, write_fd)
    first.send(1)
    first.send(2)
    assert (first.receive(), second.receive()) == (1, 2)
    first.close()


# Plans.


def test_assertions_in_a_called_function_are_tests_and_in_others_not() -> None:
    plan = plan_tests(
        "assert f(1)\n"
        "def check(g):\n    for x in (1, 2):\n        assert g(x)\n"
        "def test_f():\n    assert f(2)\n"
        "def helper():\n    assert f(3)\n"
        "check(f)\n"
    )
    assert [(test.name, test.line) for test in plan.assertions] == [
        ("assert f(1)", 1),
        ("assert g(x)", 4),
    ]
    assert plan.functions == ("test_f",)


def test_names_that_tests_define_or_import_are_not_taken_from_a_candidate() -> None:
    plan = plan_tests(
        "import math\nfrom m import a as b\nLIMIT = 3\n"
        "def check(c):\n    assert c(math.pi) < LIMIT\n"
        "class T: pass\ncheck(f)\nT(), b()\nprint(__name__)\n"
    )
    assert "f" in plan.wanted
    assert not plan.wanted & {"math", "b", "check", "T", "__name__"}


def test_a_test_function_that_is_called_is_not_called_twice() -> None:
    assert plan_tests("def test_f():\n    assert f()\ntest_f()\n").functions == ()


@pytest.mark.parametrize("machine", sorted(_MACHINES))
def test_the_filter_never_refuses_what_it_goes_on_to_look_at(machine: str) -> None:
    numbers = _MACHINES[machine]
    assert not set(numbers.denied) & {numbers.clone, numbers.socket}
    assert len(set(numbers.denied)) == len(numbers.denied)
