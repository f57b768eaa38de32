"""A system-call filter: what neither a candidate nor its tests ever need is refused.

The namespaces already hide files, processes and the network; the filter keeps the kernel's rarely
used doors shut behind them: new namespaces and mounts, tracing, io_uring, bpf, keyrings, memory
that no limit counts, and socket families other than local and internet ones. Refused calls fail
with EPERM instead of killing, so that Python's own fall-backs go on working. Written by hand for
the two architectures below: the C library that writes such filters is seldom installed.
"""

from __future__ import annotations

import ctypes
import errno
import os
from dataclasses import dataclass

_RETURN, _LOAD, _EQUAL, _ANY_BIT = 0x06, 0x20, 0x15, 0x45
_ALLOW = 0x7FFF0000
_KILL = 0x80000000
_ERRNO = 0x00050000
_OFFSET_NUMBER, _OFFSET_ARCH, _OFFSET_ARGUMENT = 0, 4, 16
_NEW_NAMESPACES = 0x7E020080  # every CLONE_NEW* flag
_X32_BIT = 0x40000000
_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_FAMILIES = (1, 2, 10)  # AF_UNIX, AF_INET, AF_INET6


@dataclass(frozen=True)
class _Machine:
    """The numbers of one architecture."""

    audit: int
    clone: int
    socket: int
    denied: tuple[int, ...]
    has_x32: bool = False


# unshare setns mount umount2 pivot_root chroot open_tree move_mount fsopen fsconfig fsmount fspick
# mount_setattr | ptrace process_vm_readv process_vm_writev kcmp pidfd_getfd | bpf perf_event_open
# userfaultfd io_uring_* fanotify_init | keyctl add_key request_key | shmget msgget semget mq_open
# memfd_create memfd_secret | kexec_* *_module reboot swap* quotactl acct syslog personality
# open_by_handle_at name_to_handle_at move_pages migrate_pages mbind set_mempolicy
_SHARED = (428, 429, 430, 431, 432, 433, 442, 438, 425, 426, 427, 447)
_MACHINES = {
    "x86_64": _Machine(
        audit=0xC000003E,
        clone=56,
        socket=41,
        denied=(
            *(272, 308, 165, 166, 155, 161, 101, 310, 311, 312, 321, 298, 323, 300, 250, 248, 249),
            *(29, 68, 64, 240, 319, 246, 320, 175, 313, 176, 169, 167, 168, 179, 163, 103, 135),
            *(304, 303, 279, 256, 237, 238, 154, 172, 173),
            *_SHARED,
        ),
        has_x32=True,
    ),
    "aarch64": _Machine(
        audit=0xC00000B7,
        clone=220,
        socket=198,
        denied=(
            *(97, 268, 40, 39, 41, 51, 117, 270, 271, 272, 280, 241, 282, 262, 219, 217, 218),
            *(194, 186, 190, 180, 279, 104, 294, 105, 273, 106, 142, 224, 225, 60, 89, 116, 92),
            *(265, 264, 239, 238, 235, 237),
            *_SHARED,
        ),
    ),
}
_CLONE3 = 435


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("if_true", ctypes.c_uint8),
        ("if_false", ctypes.c_uint8),
        ("operand", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("filter", ctypes.POINTER(_Instruction)))


def is_supported() -> bool:
    """Whether a filter is written for this machine's architecture."""
    return os.uname().machine in _MACHINES


def install() -> bool:
    """Filter this process and all it will start; the caller has set no-new-privileges.

    Returns:
        False where no filter is written for this architecture.

    Raises:
        OSError: The kernel refused the filter.
    """
    machine = _MACHINES.get(os.uname().machine)
    if machine is None:
        return False
    code = _instructions(machine)
    program = _Program(len(code), (_Instruction * len(code))(*code))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "the kernel refused the system-call filter")
    return True


def _instructions(machine: _Machine) -> list[_Instruction]:
    """Each test jumps over the one return that follows it when it does not hold."""
    refuse = _ERRNO | errno.EPERM
    code = [
        _Instruction(_LOAD, 0, 0, _OFFSET_ARCH),
        _Instruction(_EQUAL, 1, 0, machine.audit),
        _Instruction(_RETURN, 0, 0, _KILL),
        _Instruction(_LOAD, 0, 0, _OFFSET_NUMBER),
    ]
    if machine.has_x32:
        code += _when(_ANY_BIT, _X32_BIT, _ERRNO | errno.ENOSYS)
    for number in machine.denied:
        code += _when(_EQUAL, number, refuse)
    # The flags of clone3 lie in memory where no filter can read them: libc falls back to clone.
    code += _when(_EQUAL, _CLONE3, _ERRNO | errno.ENOSYS)
    code += [
        _Instruction(_EQUAL, 0, 3, machine.clone),
        _Instruction(_LOAD, 0, 0, _OFFSET_ARGUMENT),
        *_when(_ANY_BIT, _NEW_NAMESPACES, refuse),
        _Instruction(_LOAD, 0, 0, _OFFSET_NUMBER),
        _Instruction(_EQUAL, 1, 0, machine.socket),
        _Instruction(_RETURN, 0, 0, _ALLOW),
        _Instruction(_LOAD, 0, 0, _OFFSET_ARGUMENT),
    ]
    for family in _FAMILIES:
        code += _when(_EQUAL, family, _ALLOW)
    return [*code, _Instruction(_RETURN, 0, 0, _ERRNO | errno.EAFNOSUPPORT)]


def _when(test: int, operand: int, verdict: int) -> list[_Instruction]:
    return [_Instruction(test, 0, 1, operand), _Instruction(_RETURN, 0, 0, verdict)]
