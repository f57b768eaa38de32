"""Hostile candidates: each is contained, none counts as passing, and the run goes on."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from journeyman.agents.bubblewrap import probe
from journeyman.agents.sandbox import Limits, Sandbox, Verdict
from journeyman.models.errors import SandboxUnavailable

TESTS = "assert f(2) == 4\nassert f(3) == 9\n"
RIGHT = "def f(x):\n    return x * x\n"
TIGHT = Limits(
    cpu_seconds=1.0,
    wall_seconds=4.0,
    memory_bytes=192 * 1024**2,
    processes=8,
    output_bytes=64 * 1024,
    file_bytes=4 * 1024**2,
)
SHORT = replace(TIGHT, wall_seconds=1.5)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    try:
        probe()
    except SandboxUnavailable as error:
        pytest.skip(str(error))
    sandbox = Sandbox(workers=1, limits=TIGHT)
    yield sandbox
    sandbox.close()


@pytest.fixture(autouse=True)
def goes_on(sandbox: Sandbox) -> Iterator[None]:
    """After every escape the same worker still tells right from wrong."""
    yield
    assert sandbox.check_blocking(RIGHT, TESTS).passed
    assert not sandbox.check_blocking("def f(x):\n    return x + 2\n", TESTS).passed


def _try(
    sandbox: Sandbox,
    body: str,
    tests: str = "assert f() == 'escaped'\n",
    limits: Limits = TIGHT,
) -> Verdict:
    """Check a function of this body, which returns 'escaped' only if it got out."""
    indented = "".join(f"    {line}\n" for line in body.strip("\n").splitlines())
    return sandbox.check_blocking(f"def f(*args):\n{indented}", tests, limits=limits)


# Network.


def test_a_socket_reaches_nothing_outside(sandbox: Sandbox) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        verdict = _try(
            sandbox,
            f"""
import socket
socket.create_connection(("127.0.0.1", {port}), timeout=1)
return 'escaped'
""",
        )
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert verdict.status == "error"
    assert verdict.detail is not None
    assert verdict.detail.type == "ConnectionRefusedError"


def test_there_is_no_route_to_anywhere(sandbox: Sandbox) -> None:
    verdict = _try(
        sandbox,
        """
import socket
try:
    socket.create_connection(("192.0.2.1", 80), timeout=1)
except OSError as error:
    return error.errno
""",
        "import errno\nassert f() == errno.ENETUNREACH",
    )
    assert verdict.passed, verdict


@pytest.mark.parametrize("family", ["AF_VSOCK", "AF_PACKET", "AF_NETLINK"])
def test_sockets_past_the_network_namespace_are_refused(sandbox: Sandbox, family: str) -> None:
    verdict = _try(
        sandbox, f"import socket\nsocket.socket(socket.{family}, socket.SOCK_RAW)\nreturn 'escaped'"
    )
    assert verdict.status == "error"


# Processes, memory, disk, output, time.


def test_a_fork_bomb_is_ended_with_all_its_processes(sandbox: Sandbox) -> None:
    before = len(_descendants())
    verdict = _try(
        sandbox,
        """
import os
while True:
    try:
        os.fork()
    except OSError:
        pass
""",
        limits=SHORT,
    )
    assert verdict.status in {"timeout", "memory", "killed"}
    assert len(_descendants()) == before


def test_the_number_of_processes_is_limited(sandbox: Sandbox) -> None:
    verdict = _try(
        sandbox,
        """
import os, time
for count in range(100):
    try:
        pid = os.fork()
    except BlockingIOError:
        return count
    if pid == 0:
        time.sleep(60)
        os._exit(0)
return 'escaped'
""",
        "assert 0 < f() <= 8",
    )
    assert verdict.passed, verdict


def test_the_number_of_threads_is_limited(sandbox: Sandbox) -> None:
    verdict = _try(
        sandbox,
        """
import threading, time
threading.stack_size(65536)
for count in range(100):
    try:
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    except RuntimeError:
        return count
return 'escaped'
""",
        "assert 0 < f() <= 8",
    )
    assert verdict.passed, verdict


def test_filling_memory_ends_in_a_memory_error(sandbox: Sandbox) -> None:
    verdict = _try(sandbox, "x = []\nwhile True:\n    x.append(bytearray(1 << 20))")
    assert verdict.status == "memory"


def test_memory_spread_over_processes_is_added_up(sandbox: Sandbox) -> None:
    verdict = _try(
        sandbox,
        """
import os, time
for _ in range(5):
    if os.fork() == 0:
        kept = bytearray(b'x' * (90 << 20))
        time.sleep(60)
time.sleep(60)
""",
    )
    assert verdict.status == "memory"


def test_filling_the_disk_ends_at_the_size_of_the_scratch_folder(sandbox: Sandbox) -> None:
    verdict = _try(
        sandbox,
        """
count = 0
try:
    while True:
        with open(f'/tmp/{count}', 'wb') as file:
            file.write(b'x' * (1 << 20))
        count += 1
except OSError:
    return count
""",
        "assert 0 < f() <= 4",
    )
    assert verdict.passed, verdict


def test_one_file_cannot_be_larger_than_allowed(sandbox: Sandbox) -> None:
    verdict = _try(
        sandbox,
        "with open('/tmp/x', 'wb') as file:\n    file.truncate(1 << 30)\nreturn 'escaped'",
    )
    assert not verdict.passed


def test_printing_without_end_is_cut_off(sandbox: Sandbox) -> None:
    verdict = _try(sandbox, "while True:\n    print('x' * 1000)")
    assert verdict.status == "output"
    assert len(verdict.output) <= 2000


def test_writing_to_standard_error_counts_as_output(sandbox: Sandbox) -> None:
    verdict = _try(sandbox, "import os\nwhile True:\n    os.write(2, b'x' * 1000)")
    assert verdict.status == "output"


def test_sleeping_for_ever_ends_at_the_wall_time(sandbox: Sandbox) -> None:
    started = time.monotonic()
    verdict = _try(sandbox, "import time\ntime.sleep(1000)", limits=SHORT)
    assert verdict.status == "timeout"
    assert time.monotonic() - started < SHORT.wall_seconds + 2


def test_an_endless_loop_ends_at_the_cpu_time(sandbox: Sandbox) -> None:
    assert _try(sandbox, "while True:\n    pass").status == "timeout"


def test_ignoring_signals_does_not_help(sandbox: Sandbox) -> None:
    verdict = _try(
        sandbox,
        """
import signal
for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
signal.setitimer(signal.ITIMER_PROF, 0)
while True:
    pass
""",
        limits=SHORT,
    )
    assert verdict.status == "timeout"


def test_a_limit_cannot_be_raised_again(sandbox: Sandbox) -> None:
    verdict = _try(
        sandbox,
        """
import resource
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
return 'escaped'
""",
    )
    assert verdict.status == "error"


def test_children_do_not_outlive_the_check(sandbox: Sandbox) -> None:
    """A daemon with its own session, its parents gone and its descriptors closed."""
    before = len(_descendants())
    verdict = _try(
        sandbox,
        """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.closerange(0, 64)
        time.sleep(1000)
    os._exit(0)
return 'done'
""",
        "assert f() == 'done'",
    )
    assert verdict.passed
    assert len(_descendants()) == before


def test_threads_left_running_do_not_hold_the_verdict_up(sandbox: Sandbox) -> None:
    verdict = _try(
        sandbox,
        """
import threading, time
threading.Thread(target=time.sleep, args=(1000,)).start()
return 1
""",
        "assert f() == 1",
    )
    assert verdict.passed
    assert verdict.duration_ms < 3000


# Files, environment, other processes.


@pytest.mark.parametrize(
    "path", [str(Path.home() / ".bashrc"), "/etc/passwd", "/etc/hostname", str(Path(__file__))]
)
def test_files_of_the_machine_cannot_be_read(sandbox: Sandbox, path: str) -> None:
    verdict = _try(sandbox, f"open({path!r}).read()\nreturn 'escaped'")
    assert verdict.status == "error"
    assert verdict.detail is not None
    assert verdict.detail.type in {"FileNotFoundError", "PermissionError"}


def test_the_home_folder_shows_the_interpreter_at_most(sandbox: Sandbox) -> None:
    """Where the interpreter lies under the home folder, its own files are there and no others."""
    verdict = _try(
        sandbox,
        f"""
import os, sys
inside = os.path.realpath(sys.base_prefix)
home = {str(Path.home())!r}
for folder, _, files in os.walk(home):
    if files and not folder.startswith(inside):
        return 'escaped'
return 'nothing'
""",
        "assert f() == 'nothing'",
    )
    assert verdict.passed, verdict


def test_the_environment_holds_nothing_of_the_machine(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    own = Sandbox(workers=1, limits=TIGHT)
    try:
        verdict = own.check_blocking(
            "import os\ndef f():\n    return sorted(os.environ)",
            "assert f() == ['HOME', 'LC_ALL', 'PATH', 'PWD', 'PYTHONHASHSEED']",
        )
    finally:
        own.close()
    assert verdict.passed, verdict


def test_no_other_process_can_be_seen_or_signalled(sandbox: Sandbox) -> None:
    verdict = _try(
        sandbox,
        f"""
import os, signal
seen = os.listdir('/proc')
reached = []
for pid in [*range(3, 300), {os.getpid()}]:
    if pid == os.getpid():
        continue
    try:
        os.kill(pid, 0)
        reached.append(pid)
    except OSError:
        pass
return seen, reached
""",
        "assert f() == ([], [])",
    )
    assert verdict.passed, verdict


@pytest.mark.parametrize("place", ["/", "/usr", "/opt", "/dev", "/dev/shm", "/proc", "/root"])
def test_nothing_can_be_written_outside_the_scratch_folder(sandbox: Sandbox, place: str) -> None:
    verdict = _try(sandbox, f"open({place!r} + '/mark', 'w').close()\nreturn 'escaped'")
    assert verdict.status == "error"


def test_what_one_check_writes_the_next_does_not_find(sandbox: Sandbox) -> None:
    first = _try(sandbox, "open('/tmp/mark', 'w').close()\nreturn 1", "assert f() == 1")
    second = _try(sandbox, "import os\nreturn os.listdir('/tmp')", "assert f() == []")
    assert first.passed
    assert second.passed, second


def test_a_module_in_the_scratch_folder_does_not_replace_one_of_the_judge(
    sandbox: Sandbox,
) -> None:
    code = (
        "open('/tmp/colorsys.py', 'w').write('rgb_to_hsv = lambda *a: 4')\n"
        "def f(x):\n    return 4\n"
    )
    verdict = sandbox.check_blocking(
        code, "import colorsys\nassert colorsys.rgb_to_hsv(0, 0, 0) == f(2)"
    )
    assert verdict.status == "failed"


def test_the_user_is_not_root_and_has_no_capabilities(sandbox: Sandbox) -> None:
    verdict = _try(
        sandbox,
        """
import ctypes, os
held = (ctypes.c_uint32 * 6)()
header = (ctypes.c_uint32 * 2)(0x20080522, 0)
ctypes.CDLL(None).capget(header, held)
return os.getuid() > 0, list(held)
""",
        "assert f() == (True, [0] * 6)",
    )
    assert verdict.passed, verdict


@pytest.mark.parametrize(
    "call",
    [
        "unshare(0x10000000)",  # a new user namespace
        "unshare(0x00020000)",
        "mount(b'tmpfs', b'/tmp', b'tmpfs', 0, None)",
        "umount2(b'/proc', 2)",
        "ptrace(16, 1, None, None)",
        "syscall(425, 8, None)",  # io_uring_setup on every architecture
        "shmget(1, 1 << 30, 0o1600)",
        "memfd_create(b'x', 0)",
        "chroot(b'/tmp')",
    ],
)
def test_the_kernels_back_doors_are_shut(sandbox: Sandbox, call: str) -> None:
    verdict = _try(
        sandbox,
        f"""
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
return libc.{call}, ctypes.get_errno()
""",
        "import errno\nassert f() == (-1, errno.EPERM)",
    )
    assert verdict.passed, verdict


# Crashes.


@pytest.mark.parametrize(
    "body",
    [
        "import ctypes\nctypes.string_at(0)",
        "import os\nos.abort()",
        "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)",
    ],
)
def test_a_crash_is_told_apart(sandbox: Sandbox, body: str) -> None:
    assert _try(sandbox, body).status == "crashed"


def test_a_candidate_that_kills_itself_is_killed(sandbox: Sandbox) -> None:
    assert _try(sandbox, "import os, signal\nos.kill(os.getpid(), 9)").status == "killed"


def test_the_judge_cannot_be_killed_stopped_or_traced(sandbox: Sandbox) -> None:
    """The judge is the first process of its namespace; it goes on and finds the right answer."""
    verdict = _try(
        sandbox,
        """
import os, signal
for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM, signal.SIGINT):
    try:
        os.kill(1, number)
    except OSError:
        pass
try:
    open('/proc/1/mem', 'wb')
    return 'escaped'
except OSError:
    return 'contained'
""",
        "assert f() == 'contained'\nassert f() == 'contained'",
    )
    assert verdict.passed, verdict


def test_lowering_the_judges_limits_does_not_make_a_pass(sandbox: Sandbox) -> None:
    verdict = _try(
        sandbox,
        """
import resource
for name in (resource.RLIMIT_NOFILE, resource.RLIMIT_AS, resource.RLIMIT_FSIZE):
    try:
        resource.prlimit(1, name, (0, 0))
    except (OSError, ValueError):
        pass
return 1
""",
        "assert f() == 2",
    )
    assert not verdict.passed


# Passing without being right.


WRONG = "def f(x):\n    return 0\n"
TWO = "assert f(2) == 4; assert f(3) == 9"
WRITE_EVERYWHERE = """
import os
for fd in range(3, 64):
    try:
        os.write(fd, b'\\0\\0\\0\\x13{"status":"passed"}')
    except OSError:
        pass
"""
PATCH_EVERYTHING = """
import gc
for x in gc.get_objects():
    if type(x).__name__ in ('Judge', 'Watch', 'Result', 'Subject'):
        try:
            x.__dict__.update(status='passed', passed=True)
        except Exception:
            pass
"""


@pytest.mark.parametrize(
    "cheat",
    [
        "import sys\nsys.exit(0)",
        "import os\nos._exit(0)",
        "raise SystemExit(0)",
        "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)",
        "import atexit, os\natexit.register(os._exit, 0)",
        "import builtins\nbuiltins.AssertionError = type('AssertionError', (), {})",
        "AssertionError = None",
        "import builtins\nbuiltins.__build_class__ = builtins.__import__ = None",
        "__builtins__ = {'AssertionError': Exception}",
        "import sys\nsys.modules.clear()",
        "import sys\nsys.settrace(lambda *a: None)\nsys.setprofile(lambda *a: None)",
        "def check(candidate):\n    return None",
        "def test_f():\n    return None",
        "assert_equal = lambda *a: None",
        "def __journeyman_test__(n):\n    raise SystemExit(0)",
        WRITE_EVERYWHERE,
        "import os\nos.closerange(0, 64)",
        "import json\njson.dumps = lambda *a, **k: '[\"ok\", 4, [], null]'",
        PATCH_EVERYTHING,
        "import unittest\nunittest.TestCase.assertEqual = lambda *a: None",
    ],
)
@pytest.mark.parametrize(
    "tests",
    [
        TESTS,
        f"def check(f):\n    {TWO}\ncheck(f)\n",
        f"def test_f():\n    {TWO}\n",
        f"import unittest\nclass T(unittest.TestCase):\n    def test_f(self):\n        {TWO}\n",
    ],
    ids=["assertions", "check", "function", "unittest"],
)
def test_cheating_does_not_pass(sandbox: Sandbox, cheat: str, tests: str) -> None:
    """Before the tests run, or from within a call."""
    before = sandbox.check_blocking(f"{WRONG}\n{cheat}\n", tests)
    indented = "".join(f"    {line}\n" for line in cheat.splitlines())
    within = sandbox.check_blocking(f"def f(x):\n{indented}    return 0\n", tests)
    assert not before.passed, before
    assert not within.passed, within
    assert before.tests
    assert within.tests


@pytest.mark.parametrize("leave", ["sys.exit(0)", "os._exit(0)", "raise SystemExit(0)"])
def test_leaving_before_the_assertions_run_is_an_early_exit(sandbox: Sandbox, leave: str) -> None:
    verdict = sandbox.check_blocking(f"import os, sys\n{WRONG}\n{leave}\n", TESTS)
    assert verdict.status == "early_exit"


@pytest.mark.parametrize(
    "tests",
    [
        "try:\n    f(2)\nexcept Exception:\n    pass\n",
        "try:\n    f(2)\nexcept:\n    pass\n",
        "import contextlib\nwith contextlib.suppress(BaseException):\n    f(2)\n",
    ],
)
def test_an_exit_that_a_test_swallows_is_still_no_pass(sandbox: Sandbox, tests: str) -> None:
    verdict = sandbox.check_blocking("import os\ndef f(x):\n    os._exit(0)\n", tests)
    assert verdict.status == "early_exit"


ALWAYS = """
class Always:
    def __init__(self, *args): pass
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __lt__(self, other): return True
    __le__ = __gt__ = __ge__ = __lt__
    def __hash__(self): return 0
    def __bool__(self): return True
    def __len__(self): return 4
    def __sub__(self, other): return 0
    __rsub__ = __add__ = __abs__ = __sub__
    def __float__(self): return 4.0
"""


@pytest.mark.parametrize(
    "tests",
    [
        "assert f(2) == 4",
        "assert 4 == f(2)",
        "assert not f(2) != 4",
        "assert f(2) < 5 and f(2) > 3",
        "assert abs(f(2) - 4) < 1e-9",
        "assert [f(2)] == [4]",
        "assert {'a': f(2)} == {'a': 4}",
        "assert f(2) in (4, 5)",
        "import unittest\nunittest.TestCase().assertEqual(f(2), 4)",
    ],
)
def test_an_object_that_equals_everything_equals_nothing(sandbox: Sandbox, tests: str) -> None:
    verdict = sandbox.check_blocking(f"{ALWAYS}\ndef f(x):\n    return Always()\n", tests)
    assert not verdict.passed, verdict
    assert verdict.flags & {"own_equality", "own_operators"}


def test_a_class_under_test_that_equals_everything_is_found_out(sandbox: Sandbox) -> None:
    code = ALWAYS.replace("Always", "f")
    verdicts = [sandbox.check_blocking(code, "assert f(2) == 4") for _ in range(5)]
    assert not any(verdict.passed for verdict in verdicts)
    assert "forged_equality" in verdicts[0].flags


@pytest.mark.parametrize("base", ["int", "str", "list", "tuple", "dict", "float"])
def test_a_plain_value_in_disguise_is_compared_as_what_it_is(sandbox: Sandbox, base: str) -> None:
    code = (
        f"class Sly({base}):\n"
        "    def __eq__(self, other): return True\n"
        "    def __hash__(self): return 0\n"
        "def f(x):\n    return Sly()\n"
    )
    verdict = sandbox.check_blocking(code, "assert f(2) == 4")
    assert verdict.status == "failed"


def test_an_exit_in_an_equality_is_no_pass(sandbox: Sandbox) -> None:
    code = (
        "class f:\n    def __init__(self, x): pass\n    def __eq__(self, o): raise SystemExit(0)\n"
    )
    assert sandbox.check_blocking(code, "assert f(2) == 4").status == "early_exit"


@pytest.mark.parametrize(
    "shadow",
    [
        "def abs(x):\n    return 0\n",
        "def len(x):\n    return 1\n",
        "class math:\n    isclose = staticmethod(lambda *a: True)\n",
        "def sorted(x):\n    return [1]\n",
    ],
)
def test_a_builtin_of_the_candidate_does_not_come_between(sandbox: Sandbox, shadow: str) -> None:
    tests = (
        "import collections\n"
        "assert abs(f(2) - 4) < 1e-9\nassert len(f(3)) == 1\n"
        "assert math.isclose(f(2), 4)\nassert sorted(f(4)) == [1]\n"
    )
    verdict = sandbox.check_blocking(f"{shadow}\n{WRONG}", tests, keep_going=True)
    assert not any(test.status == "passed" for test in verdict.tests), verdict
    assert "shadowed_builtin" in verdict.flags


@pytest.mark.parametrize("name", ["exec", "eval", "open", "print", "__import__", "breakpoint"])
def test_a_name_of_the_candidate_does_not_run_in_the_judge(sandbox: Sandbox, name: str) -> None:
    """A function named as a builtin one must not become the judge's own."""
    code = (
        f"g = {name}\ndef text(x):\n    return \"import os; os.write(3, b'passed'); os._exit(0)\"\n"
    )
    verdict = sandbox.check_blocking(code, "assert g(text(1)) == 4")
    assert not verdict.passed


def test_what_a_test_hands_over_does_not_lead_into_the_judge(sandbox: Sandbox) -> None:
    code = """
def f(callback):
    found = []
    for name in ('__globals__', '__code__', '__closure__', '__self__', 'gi_frame', 'f_back'):
        try:
            found.append(getattr(callback, name))
        except (TypeError, AttributeError, KeyError):
            pass
    return found
"""
    tests = "assert f(lambda: 1) == []\nassert f(x for x in [1]) == []\n"
    verdict = sandbox.check_blocking(code, tests)
    assert verdict.passed, verdict


def test_answers_that_are_no_answers_are_a_crash(sandbox: Sandbox) -> None:
    for answer in ("[]", "{}", "3", '["ok"]', '["ok",{"o":3},[],null]', '["raise",{}]', "[[[["):
        code = (
            "import os, struct\n"
            "def f(x):\n"
            f"    data = {answer!r}.encode()\n"
            "    for fd in range(3, 12):\n"
            "        try:\n            os.write(fd, struct.pack('>I', len(data)) + data)\n"
            "        except OSError:\n            pass\n"
        )
        verdict = sandbox.check_blocking(code, "assert f(2) == 4")
        assert verdict.status in {"crashed", "failed", "error"}, (answer, verdict)


def test_expected_values_are_nowhere_in_the_candidates_memory(sandbox: Sandbox) -> None:
    """Neither of these tests nor of the same tests one check earlier."""
    code = """
import gc, linecache, sys
def seen(word):
    texts = []
    for item in gc.get_objects():
        texts += [x for x in gc.get_referents(item) if isinstance(x, (str, bytes, bytearray))]
    texts += [''.join(entry[2]) for entry in linecache.cache.values() if len(entry) > 2]
    word = word + 'a-7351'
    held = [t if isinstance(t, str) else bytes(t).decode('latin-1') for t in texts]
    return sum(word in text and len(text) < 10 ** 6 for text in held)
def f(x):
    return seen('zebr')
def control(word):
    kept = [word + 'a-7351']
    return seen(word)
"""
    tests = "assert f(1) != 'zebra-7351'\nassert f(2) == 0\nassert control('hors') > 0\n"
    for _ in range(2):
        verdict = sandbox.check_blocking(code, tests, trace_lines=True)
        assert [test.status for test in verdict.tests] == ["passed"] * 3, verdict


def _descendants() -> set[int]:
    """Processes below this one, in whatever namespace they are."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parents[int(entry.name)] = int(stat.rsplit(")", 1)[1].split()[1])
    found, size = {os.getpid()}, 0
    while len(found) > size:
        size = len(found)
        found |= {pid for pid, parent in parents.items() if parent in found}
    return found
