"""What one check may not do, asked of the kernel: namespaces, mounts, privileges and limits.

The keeper calls `new_process_namespace` before each fork and the forked process shuts itself in
with `shut_in` before it touches anything hostile. Linux only. Under the weaker level 'process'
nothing but the limits is asked for.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from pathlib import Path

from journeyman.agents.confined import seccomp
from journeyman.agents.confined.request import Limits

NOBODY = 65534
"""User and group that a check runs as."""

_CLONE_NEWNS, _CLONE_NEWIPC = 0x00020000, 0x08000000
_CLONE_NEWUSER, _CLONE_NEWPID = 0x10000000, 0x20000000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV = 1, 2, 4
_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _AMBIENT_CLEAR = 4, 38, 47, 4
_CAPABILITY_VERSION = 0x20080522
_SCRATCH = Path("/tmp")  # noqa: S108 - a fresh tmpfs of this check alone
_MAX_FILES = 512


class ProcessNamespaces:
    """Makes the next child the first process of a process namespace of its own.

    Killing that child kills every process that a check has left anywhere, by whatever means it
    tried to outlive it.
    """

    def __init__(self) -> None:
        self._own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)

    def renew(self) -> None:
        """Call before each fork: the kernel wants one's own namespace back before a new one."""
        _call("setns", self._own, _CLONE_NEWPID)
        _call("unshare", _CLONE_NEWPID)


def shut_in(limits: Limits, *, by_switching: bool) -> None:
    """Take this process, the first of its namespace, out of everything it does not need.

    It becomes nobody: as a user of its own where there is one, else in a user namespace of its own.
    Either way the kernel counts its processes apart from all others.

    Args:
        limits: Size of the scratch space; the rest is for `set_limits`.
        by_switching: This process may become another user.

    Raises:
        OSError: The kernel refused; nothing hostile may run then.
    """
    _call("unshare", _CLONE_NEWNS | _CLONE_NEWIPC | (0 if by_switching else _CLONE_NEWUSER))
    if not by_switching:
        Path("/proc/self/setgroups").write_text("deny")
        for kind in ("uid", "gid"):
            Path(f"/proc/self/{kind}_map").write_text(f"{NOBODY} 0 1\n")
    room = f"size={limits.file_bytes},nr_inodes={_MAX_FILES},mode=1777"
    _mount(_SCRATCH, _MS_NOSUID | _MS_NODEV, room)
    _mount(Path("/proc"), _MS_RDONLY | _MS_NOSUID | _MS_NODEV, "size=4k,mode=555")
    os.chdir(_SCRATCH)
    if by_switching:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    _drop_privileges()
    seccomp.install()


def hide_memory() -> None:
    """No other process of the same user may read or write this one's memory or descriptors."""
    _call("prctl", _PR_SET_DUMPABLE, 0, 0, 0, 0)


def set_limits(limits: Limits, others: int) -> None:
    """Limit this process and what it starts.

    Args:
        limits: What it may use.
        others: Processes and threads of the same user that stand outside the check.
    """
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_AS: limits.memory_bytes,
        resource.RLIMIT_NPROC: limits.processes + others,
    }
    _set(wanted)


def limit_files(limits: Limits) -> None:
    """Limit the files of a candidate's process; the judge's report is not one of them."""
    _set({resource.RLIMIT_FSIZE: limits.file_bytes, resource.RLIMIT_NOFILE: limits.open_files})


def limit_cpu(seconds: float) -> None:
    """End this process after so much CPU time.

    The timer keeps fractions of a second and may be taken off by who wants to; the limit behind it
    counts whole seconds and may not.
    """
    signal.setitimer(signal.ITIMER_PROF, seconds)
    whole = max(1, int(seconds + 0.999))
    resource.setrlimit(resource.RLIMIT_CPU, (whole, whole + 1))


def resident_bytes(pids: list[int]) -> int:
    """Memory held by processes, those that ended meanwhile left out."""
    page = resource.getpagesize()
    total = 0
    for pid in pids:
        try:
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page
        except (OSError, IndexError):
            continue
    return total


def _set(wanted: dict[int, int]) -> None:
    for name, value in wanted.items():
        hard = resource.getrlimit(name)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(name, (value, value))


def _mount(place: Path, flags: int, options: str) -> None:
    _call("mount", b"tmpfs", bytes(place), b"tmpfs", flags, options.encode())


def _drop_privileges() -> None:
    """No capability is left, and none can come back by starting a program."""
    _call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _call("prctl", _PR_CAP_AMBIENT, _AMBIENT_CLEAR, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    nothing = (ctypes.c_uint32 * 6)()
    _call("capset", header, nothing)


def _call(name: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    longs = [ctypes.c_ulong(a) if isinstance(a, int) else a for a in arguments]
    if getattr(libc, name)(*longs) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name} failed: {os.strerror(number)}")
