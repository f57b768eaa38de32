"""What a sandbox says of candidates that mean no harm, and how it is run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from journeyman.agents import bubblewrap
from journeyman.agents.bubblewrap import install_command, probe, require_bubblewrap
from journeyman.agents.sandbox import Limits, Sandbox
from journeyman.models.errors import AgentError, SandboxUnavailable

SQUARE = "def f(x):\n    return x * x\n"


def _need_bubblewrap() -> None:
    try:
        probe()
    except SandboxUnavailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    _need_bubblewrap()
    sandbox = Sandbox(workers=2)
    yield sandbox
    sandbox.close()


# Verdicts.


@pytest.mark.parametrize(
    "tests",
    [
        "assert f(2) == 4\nassert f(3) == 9",
        "def check(candidate):\n    assert candidate(2) == 4\ncheck(f)",
        "def test_two():\n    assert f(2) == 4\ndef test_three():\n    assert f(3) == 9",
        "from candidate import f as g\nassert g(2) == 4",
        "import candidate\nassert candidate.f(2) == 4",
        "from candidate import *\nassert f(2) == 4",
        (
            "import unittest\nclass T(unittest.TestCase):\n"
            "    def setUp(self):\n        self.two = 2\n"
            "    def test_f(self):\n        self.assertEqual(f(self.two), 4)"
        ),
        "for x in range(5):\n    assert f(x) == x ** 2",
        "async def test_later():\n    assert f(2) == 4",
    ],
)
async def test_right_code_passes_and_wrong_code_fails(sandbox: Sandbox, tests: str) -> None:
    right = await sandbox.check(SQUARE, tests)
    wrong = await sandbox.check(SQUARE.replace("*", "+ 1 +"), tests)
    assert right.passed, right
    assert right.status == "passed"
    assert right.detail is None
    assert not wrong.passed
    assert wrong.status == "failed"


async def test_each_assertion_is_a_test_of_its_own(sandbox: Sandbox) -> None:
    tests = (
        "def check(g):\n    assert g(1) == 1\n    assert g(2) == 5\n    assert g(3) == 9\ncheck(f)"
    )
    verdict = await sandbox.check(SQUARE, tests, keep_going=True)
    assert [(test.line, test.status) for test in verdict.tests] == [
        (2, "passed"),
        (3, "failed"),
        (4, "passed"),
    ]
    assert verdict.tests[1].name == "assert g(2) == 5"


async def test_a_first_failure_ends_the_check_unless_told_otherwise(sandbox: Sandbox) -> None:
    verdict = await sandbox.check(SQUARE, "assert f(1) == 2\nassert f(2) == 4")
    assert [test.status for test in verdict.tests] == ["failed", "not_run"]


async def test_a_failed_assertion_says_what_was_returned(sandbox: Sandbox) -> None:
    verdict = await sandbox.check(SQUARE, "assert f(2) == 5")
    assert verdict.detail is not None
    assert verdict.detail.type == "AssertionError"
    assert verdict.detail.message == "assert f(2) == 5 (the last call returned 4)"


async def test_an_exception_carries_the_candidates_line(sandbox: Sandbox) -> None:
    code = "def g(x):\n    return 1 / x\n\ndef f(x):\n    return g(x)\n"
    verdict = await sandbox.check(code, "assert f(0) == 1")
    assert verdict.status == "error"
    assert verdict.detail is not None
    assert (verdict.detail.type, verdict.detail.message) == (
        "ZeroDivisionError",
        "division by zero",
    )
    assert (verdict.detail.line, verdict.detail.source) == (2, "return 1 / x")


async def test_code_that_does_not_compile_is_an_error_with_its_line(sandbox: Sandbox) -> None:
    verdict = await sandbox.check("x = 1\ndef f(:\n", "assert f(1)")
    assert verdict.status == "error"
    assert verdict.detail is not None
    assert verdict.detail.type == "SyntaxError"
    assert verdict.detail.line == 2


async def test_tests_that_do_not_compile_are_an_error(sandbox: Sandbox) -> None:
    verdict = await sandbox.check(SQUARE, "assert f(")
    assert verdict.status == "error"
    assert verdict.tests[0].name == "tests"


async def test_a_missing_name_is_an_error(sandbox: Sandbox) -> None:
    verdict = await sandbox.check("def g(x):\n    return x\n", "assert f(1) == 1")
    assert verdict.detail is not None
    assert verdict.detail.type == "NameError"


async def test_without_tests_a_pass_is_flagged(sandbox: Sandbox) -> None:
    verdict = await sandbox.check(SQUARE, "")
    assert verdict.passed
    assert verdict.flags == {"no_tests"}


async def test_an_assertion_that_is_never_reached_is_flagged(sandbox: Sandbox) -> None:
    code = "def f():\n    return []\ndef g():\n    return 1\n"
    verdict = await sandbox.check(code, "assert g() == 1\nfor x in f():\n    assert x == 1")
    assert verdict.passed
    assert verdict.flags == {"unreached_tests"}


async def test_a_test_function_that_wants_fixtures_is_an_error(sandbox: Sandbox) -> None:
    verdict = await sandbox.check(SQUARE, "def test_f(tmp_path):\n    assert f(1) == 1")
    assert verdict.status == "error"
    assert verdict.detail is not None
    assert "fixtures" in verdict.detail.message


async def test_a_skipped_test_does_not_end_the_check(sandbox: Sandbox) -> None:
    tests = (
        "import unittest\nclass T(unittest.TestCase):\n"
        "    def test_a(self):\n        raise unittest.SkipTest('no')\n"
        "    def test_b(self):\n        self.assertEqual(f(2), 5)\n"
    )
    verdict = await sandbox.check(SQUARE, tests)
    assert [test.status for test in verdict.tests] == ["not_run", "failed"]


async def test_what_a_candidate_prints_is_kept(sandbox: Sandbox) -> None:
    verdict = await sandbox.check("def f():\n    print('hello')\n", "assert f() is None")
    assert verdict.output == "hello\n"


async def test_random_numbers_are_the_same_in_every_check(sandbox: Sandbox) -> None:
    code = "import random\ndef f():\n    return random.random()\n"
    first, second = [await sandbox.observe(code, ["f()"]) for _ in range(2)]
    assert first == second


# What tests see of a candidate.


@pytest.mark.parametrize(
    ("code", "tests"),
    [
        ("def f(x):\n    x.append(1)\n", "a = []\nf(a)\nassert a == [1]"),
        (
            "def f(x):\n    x.clear()\n    x['b'] = {2}\n",
            "a = {'a': 1}\nf(a)\nassert a == {'b': {2}}",
        ),
        ("def f(x):\n    return x\n", "a = [1]\nassert f(a) is a"),
        ("def f(x):\n    return list(x)\n", "a = [1]\nassert f(a) == a and f(a) is not a"),
        ("def f(g, x):\n    return [g(y) for y in x]\n", "assert f(lambda y: y + 1, [1]) == [2]"),
        ("def f(x, key):\n    return sorted(x, key=key)\n", "assert f([1, -2], abs) == [1, -2]"),
        ("def f():\n    yield 1\n    yield 2\n", "assert list(f()) == [1, 2]"),
        ("import itertools\ndef f():\n    return itertools.count(3)\n", "assert next(f()) == 3"),
        ("def f(x):\n    return map(str, x)\n", "assert list(f([1])) == ['1']"),
        ("async def f():\n    return 3\n", "import asyncio\nassert asyncio.run(f()) == 3"),
        (
            "f = (1, [2, {3: (4,)}], {5}, None, 1.5, 'x', b'y', 2j)\n",
            "assert f[1] == [2, {3: (4,)}]",
        ),
        ("def f():\n    return 10 ** 5000\n", "assert f() == 10 ** 5000"),
        ("def f():\n    return float('nan'), float('-inf')\n", "assert f()[0] != f()[0]"),
        (
            (
                "from collections import Counter, deque, OrderedDict, defaultdict\n"
                "def f(x):\n"
                "    return Counter(x), deque(x), OrderedDict(a=1), defaultdict(list, b=2)\n"
            ),
            (
                "from collections import Counter, deque\n"
                "assert f('aa') == (Counter('aa'), deque('aa'), {'a': 1}, {'b': 2})"
            ),
        ),
        (
            (
                "import datetime, decimal, fractions\n"
                "def f():\n    return datetime.date(2024, 2, 29), decimal.Decimal('1.10'), "
                "fractions.Fraction(1, 3)\n"
            ),
            (
                "from datetime import date\nfrom decimal import Decimal\n"
                "from fractions import Fraction\n"
                "assert f() == (date(2024, 2, 29), Decimal('1.1'), Fraction(1, 3))"
            ),
        ),
        (
            (
                "class Stack:\n    def __init__(self):\n        self.items = []\n"
                "    def push(self, x):\n        self.items.append(x)\n"
                "    def __len__(self):\n        return len(self.items)\n"
            ),
            (
                "s = Stack()\ns.push(3)\nassert len(s) == 1 and s.items == [3]\n"
                "assert isinstance(s, Stack) and not isinstance(3, Stack)"
            ),
        ),
        (
            (
                "from dataclasses import dataclass\n"
                "@dataclass\nclass P:\n    x: int\n    y: int = 0\n"
                "    def __add__(self, o):\n        return P(self.x + o.x, self.y + o.y)\n"
            ),
            (
                "assert P(1) + P(2, 3) == P(3, 3)\nassert P(1) != P(2)\n"
                "assert repr(P(1)) == 'P(x=1, y=0)'"
            ),
        ),
        (
            (
                "from collections import namedtuple\n"
                "P = namedtuple('P', 'x y')\ndef f():\n    return P(1, 2)\n"
            ),
            "assert f() == (1, 2)\nassert f().y == 2\nx, y = f()\nassert isinstance(f(), tuple)",
        ),
        (
            "import enum\nclass C(enum.Enum):\n    A = 1\ndef f():\n    return C.A\n",
            "assert f() is C.A and f() == C.A and f().name == 'A'",
        ),
        (
            (
                "class Bad(ValueError):\n    def __init__(self, code):\n        self.code = code\n"
                "def f(x):\n    raise Bad(x)\n"
            ),
            (
                "try:\n    f(3)\nexcept Bad as error:\n    found = error.code\nassert found == 3\n"
                "try:\n    f(3)\nexcept ValueError:\n    found = 4\nassert found == 4"
            ),
        ),
        (
            "def f(x):\n    if x < 0:\n        raise ValueError('negative')\n    return x\n",
            (
                "import unittest\nclass T(unittest.TestCase):\n    def test_f(self):\n"
                "        with self.assertRaisesRegex(ValueError, 'neg'):\n            f(-1)"
            ),
        ),
        (
            "def depth(node):\n    return 0 if node is None else 1 + depth(node.next)\n",
            (
                "class N:\n    def __init__(self, next=None):\n        self.next = next\n"
                "assert depth(N(N())) == 2"
            ),
        ),
        (
            "def f(client):\n    client.send('x')\n    return client.ask()\n",
            (
                "from unittest.mock import Mock\nm = Mock()\nm.ask.return_value = 3\n"
                "assert f(m) == 3\nm.send.assert_called_once_with('x')"
            ),
        ),
        (
            "import time\ndef now():\n    return time.time()\ndef f():\n    return now() + 1\n",
            (
                "import candidate\nfrom unittest.mock import patch\n"
                "with patch('candidate.now', lambda: 5):\n    assert candidate.f() == 6\n"
                "assert candidate.f() > 6"
            ),
        ),
        ("def sum(a, b):\n    return a + b\n", "assert sum(1, 2) == 3"),
        (
            "import math\ndef f():\n    return math.pi\n",
            "assert math.isclose(f(), 3.14, abs_tol=.01)",
        ),
        ("def f(d):\n    return d.keys()\n", "assert f({1: 2}) == {1}"),
        (
            "def f(x: int) -> int:\n    'Doc.'\n    return x\n",
            "assert f.__name__ == 'f' and f.__doc__ == 'Doc.'",
        ),
        (
            (
                "class A:\n    def __enter__(self):\n        return 3\n"
                "    def __exit__(self, *a):\n        return True\n"
            ),
            "with A() as a:\n    assert a == 3\n    raise ValueError",
        ),
    ],
)
async def test_tests_see_a_candidate_as_if_it_were_here(
    sandbox: Sandbox, code: str, tests: str
) -> None:
    verdict = await sandbox.check(code, tests)
    assert verdict.passed, verdict.detail


async def test_an_entry_point_named_as_a_builtin_is_the_candidates(sandbox: Sandbox) -> None:
    code = "def max(x):\n    return 7\ndef f():\n    return 1\n"
    tests = "assert max([1]) == 7 and f() == 1"
    assert (await sandbox.check(code, tests, entry_point="max")).passed
    assert not (await sandbox.check(code, tests)).passed


# Lines, and going on after failures.


async def test_traced_lines_tell_failing_tests_from_passing_ones(sandbox: Sandbox) -> None:
    code = "def f(x):\n    if x > 10:\n        y = x - 1\n    else:\n        y = x\n    return y\n"
    verdict = await sandbox.check(code, "assert f(1) == 1\nassert f(20) == 20", trace_lines=True)
    passed, failed = verdict.tests
    assert (passed.status, passed.covered_lines) == ("passed", {2, 5, 6})
    assert (failed.status, failed.covered_lines) == ("failed", {2, 3, 6})
    assert verdict.covered_lines == {2, 3, 5, 6}


async def test_lines_of_a_test_that_never_ended_are_known(sandbox: Sandbox) -> None:
    code = "def f(x):\n    while x:\n        x += 1\n    return x\n"
    limits = Limits(test_seconds=0.3)
    verdict = await sandbox.check(
        code, "assert f(1) == 0\nassert f(0) == 0", trace_lines=True, limits=limits
    )
    assert [test.status for test in verdict.tests] == ["timeout", "passed"]
    assert verdict.tests[0].covered_lines == {2, 3}
    assert verdict.tests[1].covered_lines == {2, 4}


async def test_tests_go_on_in_a_fresh_process_after_a_crash(sandbox: Sandbox) -> None:
    code = "import os\ndef f(x):\n    if x == 1:\n        os.abort()\n    return x\n"
    tests = (
        "def check(g):\n    assert g(0) == 0\n    assert g(1) == 1\n    assert g(2) == 2\ncheck(f)"
    )
    verdict = await sandbox.check(code, tests, keep_going=True)
    assert [test.status for test in verdict.tests] == ["passed", "crashed", "passed"]
    assert verdict.status == "crashed"


async def test_a_fraction_of_a_second_of_cpu_time_is_kept(sandbox: Sandbox) -> None:
    started = time.monotonic()
    limits = Limits(cpu_seconds=0.2, wall_seconds=20)
    verdict = await sandbox.check("def f():\n    while True: pass\n", "assert f()", limits=limits)
    assert verdict.status == "timeout"
    assert time.monotonic() - started < 10


# Observations.


async def test_observations_compare_the_behaviour_of_two_candidates(sandbox: Sandbox) -> None:
    other = "def f(x):\n    return x ** 2 if x >= 0 else 0\n"
    calls = ["f(3)", "f(-2)", "f('a')", "g(1)", "f("]
    first, second = [await sandbox.observe(code, calls) for code in (SQUARE, other)]
    assert [a == b for a, b in zip(first, second, strict=True)] == [True, False, False, True, True]
    assert (first[0].kind, first[0].text) == ("value", "9")
    assert first[3].kind == "raised"
    assert first[3].text.startswith("NameError")


async def test_observations_do_not_depend_on_order_or_addresses(sandbox: Sandbox) -> None:
    one = "class A: pass\ndef f():\n    return {'b', 'a'}, {'x': 1, 'y': 2}, A(), iter([1, 2])\n"
    two = "class A: pass\ndef f():\n    return {'a', 'b'}, {'y': 2, 'x': 1}, A(), iter((1, 2))\n"
    calls = ["f()[0]", "f()[1]", "f()[2]", "list(f()[3])"]
    assert await sandbox.observe(one, calls) == await sandbox.observe(two, calls)


async def test_an_observation_that_never_ends_does_not_hide_the_next(sandbox: Sandbox) -> None:
    code = "def f(x):\n    while x: pass\n    return x\n"
    found = await sandbox.observe(code, ["f(1)", "f(0)"], limits=Limits(test_seconds=0.3))
    assert [(one.kind, one.text) for one in found] == [("timeout", ""), ("value", "0")]


async def test_a_candidate_that_does_not_load_has_no_behaviour(sandbox: Sandbox) -> None:
    found = await sandbox.observe("def f(:", ["f(1)", "f(2)"])
    assert [one.kind for one in found] == ["error", "error"]


# Many at once, and how it is run.


async def test_many_are_judged_in_order_until_enough_have_passed(sandbox: Sandbox) -> None:
    candidates = [f"def f(x):\n    return x * x + {n % 5}\n" for n in range(4, 40)]
    verdicts = await sandbox.check_many(candidates, "assert f(3) == 9", stop_after=1)
    judged = [verdict is not None for verdict in verdicts]
    assert [v.passed for v in verdicts[:2] if v] == [False, True]
    assert sum(judged) < len(candidates)
    assert judged == sorted(judged, reverse=True)


async def test_many_stop_when_the_time_is_up(sandbox: Sandbox) -> None:
    slow = "import time\ndef f(x):\n    time.sleep(0.2)\n"
    verdicts = await sandbox.check_many([slow] * 50, "assert f(1)", seconds=0.3)
    assert 1 <= sum(verdict is not None for verdict in verdicts) < 10


async def test_checks_of_different_tasks_run_side_by_side(sandbox: Sandbox) -> None:
    jobs = [sandbox.check(f"def f():\n    return {n}\n", f"assert f() == {n}") for n in range(30)]
    assert all(verdict.passed for verdict in await asyncio.gather(*jobs))


def test_one_sandbox_serves_several_event_loops(sandbox: Sandbox) -> None:
    for _ in range(2):
        assert asyncio.run(sandbox.check(SQUARE, "assert f(2) == 4")).passed
    assert sandbox.check_blocking(SQUARE, "assert f(2) == 4").passed


async def test_a_large_candidate_and_large_tests_get_through(sandbox: Sandbox) -> None:
    code = f"TABLE = {list(range(60000))!r}\ndef f(x):\n    return TABLE[x]\n"
    tests = (
        f"EXPECTED = {list(range(60000))!r}\nassert [f(9)] == EXPECTED[9:10] and TABLE == EXPECTED"
    )
    assert (await sandbox.check(code, tests)).passed


async def test_a_worker_that_was_killed_is_replaced() -> None:
    _need_bubblewrap()
    async with Sandbox(workers=1) as own:
        assert (await own.check(SQUARE, "assert f(2) == 4")).passed
        process = own._pool.all[0]._process
        assert process is not None
        process.kill()
        assert (await own.check(SQUARE, "assert f(2) == 4")).status == "killed"
        assert (await own.check(SQUARE, "assert f(2) == 4")).passed


async def test_closing_ends_every_process() -> None:
    _need_bubblewrap()
    async with Sandbox(workers=2) as own:
        await asyncio.to_thread(own.warm_up)
        workers = [worker._process for worker in own._pool.all]
    assert len(workers) == 2
    assert all(worker is not None and worker.returncode is not None for worker in workers)


async def test_closing_ends_a_check_under_way() -> None:
    _need_bubblewrap()
    own = Sandbox(workers=1)
    own.warm_up()
    job = asyncio.create_task(own.check("import time\ntime.sleep(8)\n", "assert True"))
    await asyncio.sleep(0.3)
    started = time.monotonic()
    await asyncio.to_thread(own.close)
    assert (await job).status == "killed"
    assert time.monotonic() - started < 5


async def test_packages_are_importable_only_when_named(tmp_path: Path) -> None:
    _need_bubblewrap()
    (tmp_path / "helpful.py").write_text("VALUE = 3\n")
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(0o755)
    code, tests = "import helpful\ndef f():\n    return helpful.VALUE\n", "assert f() == 3"
    async with Sandbox(workers=1) as own:
        assert (await own.check(code, tests)).status == "error"
    async with Sandbox(workers=1, packages=[tmp_path]) as own:
        assert (await own.check(code, tests)).passed


async def test_a_user_namespace_for_each_check_serves_where_nobody_is_root(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """How it runs for ordinary users; root has another way unless it is forbidden."""
    _need_bubblewrap()
    monkeypatch.setattr(bubblewrap, "_make_user_namespace", lambda: None)
    code = "import os\ndef f():\n    return os.getuid(), os.listdir('/proc'), os.listdir('/tmp')\n"
    async with Sandbox(workers=1) as own:
        verdict = await own.check(code, "assert f() == (65534, [], [])")
        assert verdict.passed, verdict
        assert not (await own.check(code, "assert f() == (0, [], [])")).passed


async def test_the_weaker_level_judges_without_a_wall() -> None:
    async with Sandbox(level="process", workers=1) as own:
        assert (await own.check(SQUARE, "assert f(2) == 4")).passed
        assert (await own.check(SQUARE, "assert f(2) == 5")).status == "failed"
        leave = await own.check("import os\nos._exit(0)\n", "assert True")
        assert leave.status == "early_exit"
        limits = Limits(cpu_seconds=0.2)
        endless = await own.check("while True: pass\n", "assert True", limits=limits)
        assert endless.status == "timeout"


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="no level 'docker'"):
        Sandbox(level="docker")  # type: ignore[arg-type]


def test_without_bubblewrap_the_error_names_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "apt-get").write_text("#!/bin/sh\n")
    (tmp_path / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxUnavailable, match="apt-get install bubblewrap"):
        Sandbox()
    assert issubclass(SandboxUnavailable, AgentError)
    assert install_command() == "apt-get install bubblewrap"


def test_where_user_namespaces_are_forbidden_the_error_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "bwrap"
    program.write_text(
        "#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2\nexit 1\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert require_bubblewrap() == str(program)
    with pytest.raises(SandboxUnavailable, match="unprivileged_userns_clone=1"):
        probe()
    own = Sandbox(workers=1)
    try:
        with pytest.raises(SandboxUnavailable, match="setting up uid map"):
            own.check_blocking(SQUARE, "assert f(2) == 4")
    finally:
        own.close()
