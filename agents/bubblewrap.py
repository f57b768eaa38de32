"""The command that starts a sandbox worker, and whether this machine can run it.

With bubblewrap a worker sees the interpreter, its standard library and the system's libraries, all
read-only, and nothing else of the machine: no home, no network, no other process. Knows nothing of
candidates or verdicts.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from journeyman.agents.confined.confine import NOBODY
from journeyman.models.errors import SandboxUnavailable

Level = Literal["bubblewrap", "process"]

_HERE = Path(__file__).resolve().parent / "confined"
_INSIDE = Path("/opt/journeyman")
_INSTALLERS = {
    "apt-get": "apt-get install bubblewrap",
    "dnf": "dnf install bubblewrap",
    "pacman": "pacman -S bubblewrap",
    "zypper": "zypper install bubblewrap",
    "apk": "apk add bubblewrap",
}
_FORBIDDEN = (
    "Unprivileged user namespaces seem to be forbidden here: allow them with "
    "`sysctl kernel.unprivileged_userns_clone=1`, on Ubuntu also "
    "`sysctl kernel.apparmor_restrict_unprivileged_userns=0`, in a container with "
    "`--security-opt seccomp=unconfined` or `--privileged`"
)
_MAKE_NAMESPACE = """
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
print(ctypes.get_errno() if libc.unshare(0x10000000) else 0, flush=True)
sys.stdin.read()
"""
_START = """
import sys
sys.path.insert(0, {root!r})
from journeyman.agents.confined.keeper import main
main()
"""
_PROBE_SECONDS = 20


@dataclass(frozen=True)
class Launch:
    """How to start one worker.

    Attributes:
        command: The program and its arguments.
        user_namespace: Descriptor that the program must inherit; None where there is none.
        root: Folder to remove when the worker has ended; None where there is none.
    """

    command: list[str]
    user_namespace: int | None = None
    root: Path | None = None

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What the program must inherit besides its standard streams."""
        return () if self.user_namespace is None else (self.user_namespace,)

    def release(self) -> None:
        """Give back what starting took; the worker has ended or was never started."""
        if self.user_namespace is not None:
            os.close(self.user_namespace)
        if self.root is not None:
            shutil.rmtree(self.root, ignore_errors=True)


def prepare(level: Level, packages: tuple[Path, ...], scratch: Path | None = None) -> Launch:
    """Make everything ready to start one worker.

    Args:
        level: 'bubblewrap', or 'process' for limits without isolation.
        packages: Folders of installed packages that candidates may import.
        scratch: An empty folder for the worker's own code, needed by 'process' alone.

    Raises:
        SandboxUnavailable: The level cannot be had on this machine.
    """
    if level == "process":
        assert scratch is not None
        return _prepare_process(packages, scratch)
    program = require_bubblewrap()
    namespace = _make_user_namespace() if os.geteuid() == 0 else None
    command = [
        program,
        *_namespace_options(namespace),
        *("--die-with-parent", "--new-session", "--clearenv"),
        *("--setenv", "PYTHONHASHSEED", "0", "--setenv", "HOME", "/tmp"),  # noqa: S108 - inside
        *("--setenv", "PATH", "/usr/bin:/bin", "--setenv", "LC_ALL", "C.UTF-8"),
        *_file_options(packages),
        *("--chdir", "/tmp", "--"),  # noqa: S108 - inside
        *_interpreter(
            str(_INSIDE),
            isolated=True,
            switches_user=namespace is not None,
            packages=_places(packages),
        ),
    ]
    return Launch(command, namespace)


def require_bubblewrap() -> str:
    """Path of the bubblewrap program.

    Raises:
        SandboxUnavailable: There is none, or this is not Linux; the message says what to do.
    """
    if sys.platform != "linux":
        raise SandboxUnavailable(
            f"The sandbox needs Linux and this is {platform.system()!r}: run in a Linux container, "
            "or choose level 'process', which limits candidates but does not isolate them."
        )
    found = shutil.which("bwrap")
    if found is None:
        raise SandboxUnavailable(
            f"The sandbox needs the program 'bwrap', which is not on PATH: {install_command()}."
        )
    return found


def install_command() -> str:
    """The command that installs bubblewrap with the package manager of this machine."""
    known = (command for name, command in _INSTALLERS.items() if shutil.which(name))
    return next(known, "install the package 'bubblewrap'")


def probe(level: Level = "bubblewrap") -> str:
    """Look whether sandboxes of a level can be had, by starting one that does nothing.

    Returns:
        What is there, in a few words.

    Raises:
        SandboxUnavailable: What is missing and the command that mends it.
    """
    if level == "process":
        return "limits only, no isolation"
    program = require_bubblewrap()
    command = [program, "--unshare-all", "--ro-bind", "/", "/", "--", "/bin/true"]
    done = subprocess.run(  # noqa: S603 - a fixed command
        command, capture_output=True, text=True, check=False, timeout=_PROBE_SECONDS
    )
    if done.returncode != 0:
        raise refused(done.stderr)
    version = subprocess.run(  # noqa: S603 - a fixed command
        [program, "--version"], capture_output=True, text=True, check=False
    )
    return version.stdout.strip() or program


def refused(said: str) -> SandboxUnavailable:
    """The error for a bubblewrap that is installed but did not start, by what was said."""
    text = " ".join(said.split())[-300:] or "nothing"
    hint = f". {_FORBIDDEN}" if re.search(r"namespace|uid map|permi", text, re.IGNORECASE) else ""
    return SandboxUnavailable(f"The sandbox did not start and said {text!r}{hint}.")


def _namespace_options(namespace: int | None) -> list[str]:
    unshared = [f"--unshare-{kind}" for kind in ("pid", "net", "ipc", "uts", "cgroup-try")]
    kept = ["--cap-drop", "ALL", "--cap-add", "CAP_SYS_ADMIN"]
    if namespace is None:
        # As another user than 0, bubblewrap would put a second user namespace around the keeper,
        # which could then make no process namespaces. Mapping user 0 once more wants SETFCAP.
        mapped = ["--unshare-user", "--uid", "0", "--gid", "0"]
        return [*mapped, *unshared, *kept, "--cap-add", "CAP_SETFCAP"]
    # The kernel does not limit the number of root's processes, and root inside bubblewrap's own
    # user namespace is root outside. So checks get a second user, for which the keeper needs these.
    extra = [part for name in ("SETUID", "SETGID", "KILL") for part in ("--cap-add", f"CAP_{name}")]
    return ["--userns", str(namespace), *unshared, *kept, *extra]


def _file_options(packages: tuple[Path, ...]) -> list[str]:
    """What can be seen inside: read-only, and nothing that was not named."""
    options = ["--ro-bind", "/usr", "/usr"]
    for name in ("/bin", "/lib", "/lib64", "/lib32", "/sbin"):
        link = Path(name)
        if link.is_symlink():
            options += ["--symlink", str(link.readlink()), name]
        elif link.is_dir():
            options += ["--ro-bind", name, name]
    for name in ("/etc/ld.so.cache", "/nix/store"):
        options += ["--ro-bind-try", name, name]
    seen: set[Path] = {Path("/usr")}
    for path in _interpreter_paths():
        if not any(path.is_relative_to(other) for other in seen):
            options += [*_parents(path), "--ro-bind", str(path), str(path)]
            seen.add(path)
    for path, place in zip(packages, _places(packages), strict=True):
        options += [*_parents(place), "--ro-bind", str(path), str(place)]
    package = _INSIDE / "journeyman/agents/confined"
    options += [*_parents(package), "--ro-bind", str(_HERE), str(package)]
    options += ["--proc", "/proc", "--dev", "/dev", "--dir", "/tmp"]  # noqa: S108 - inside
    return [*options, "--remount-ro", "/dev", "--remount-ro", "/"]


def _interpreter_paths() -> list[Path]:
    """The interpreter and its libraries, not the folder they lie in: that may be a home."""
    program = Path(sys.executable).resolve()
    standard = Path(sysconfig.get_path("stdlib")).resolve()
    extensions = Path(sysconfig.get_path("platstdlib")).resolve()
    libraries = Path(sys.base_prefix).resolve() / "lib"
    return [path for path in (program, libraries, standard, extensions) if path.exists()]


def _places(packages: tuple[Path, ...]) -> list[Path]:
    """Where package folders are inside: not where they were, which may be hidden there."""
    return [_INSIDE / f"packages/{index}" for index in range(len(packages))]


def _parents(path: Path) -> list[str]:
    """Options that make a path's parents, readable by all."""
    parents = [str(parent) for parent in reversed(path.parents) if parent != Path("/")]
    return [part for parent in parents for part in ("--perms", "0755", "--dir", parent)]


def _interpreter(
    root: str, *, isolated: bool, switches_user: bool, packages: Sequence[Path]
) -> list[str]:
    surroundings = {
        "isolated": isolated,
        "switches_user": switches_user,
        "others": _count_others(isolated=isolated, switches_user=switches_user),
        "packages": [str(package) for package in packages],
    }
    program = str(Path(sys.executable).resolve())
    start = _START.format(root=root)
    return [program, "-S", "-s", "-P", "-B", "-c", start, json.dumps(surroundings)]


def _prepare_process(packages: tuple[Path, ...], scratch: Path) -> Launch:
    """The weaker level: the same worker without a wall around it."""
    package = scratch / "journeyman/agents/confined"
    shutil.copytree(_HERE, package, ignore=shutil.ignore_patterns("__pycache__"))
    start = _interpreter(str(scratch), isolated=False, switches_user=False, packages=packages)
    clean = ["env", "-i", "PYTHONHASHSEED=0", "PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8"]
    return Launch([*clean, f"HOME={scratch}", f"TMPDIR={scratch}", *start], root=scratch)


def _count_others(*, isolated: bool, switches_user: bool) -> int:
    """How many processes outside a check the kernel counts against its limit.

    None where the check has a user of its own, and since Linux 5.14 none where it has a user
    namespace of its own. Otherwise all of the user's processes and threads, wherever they run.
    """
    found = re.match(r"(\d+)\.(\d+)", platform.release())
    counts_apart = found is not None and (int(found[1]), int(found[2])) >= (5, 14)
    if switches_user or (isolated and counts_apart):
        return 0
    count, user = 0, os.geteuid()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.stat().st_uid == user:
                count += len(list((process / "task").iterdir()))
        except OSError:
            continue
    return count + 64


def _make_user_namespace() -> int | None:
    """Descriptor of a user namespace with root and one other user; None where that is forbidden.

    Only root may map two users, and only root needs to.
    """
    with subprocess.Popen(  # noqa: S603 - a fixed command
        [sys.executable, "-I", "-S", "-c", _MAKE_NAMESPACE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as helper:
        assert helper.stdout is not None
        place = Path(f"/proc/{helper.pid}")
        try:
            if helper.stdout.readline().strip() != b"0":
                return None
            for name in ("uid_map", "gid_map"):
                (place / name).write_text(f"0 0 1\n{NOBODY} {NOBODY} 1\n")
            return os.open(place / "ns/user", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
