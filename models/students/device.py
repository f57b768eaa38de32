"""Where students compute, and one at a time where they would only get in each other's way.

Nothing here imports torch before it is asked for a device, so that importing a student stays cheap.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

# Two forward passes at once on a CPU do not share its cores: each starts as many threads as there
# are cores, the threads of one wait at every layer for those of the other, and both together take
# far longer than one after the other. One lock for all students of the process; re-entrant, so
# that a student may call another. On CUDA the driver queues kernels itself, and a lock would only
# keep one student's copies from overlapping another's arithmetic. MPS is not safe to share.
_locks: dict[str, threading.RLock] = {"cpu": threading.RLock(), "mps": threading.RLock()}


@contextmanager
def computing(device: str) -> Iterator[None]:
    """Hold the device while one batch is computed; take it anew for the next, so others get a turn.

    Args:
        device: `cpu`, `cuda`, `cuda:1`, `mps`.
    """
    lock = _locks.get(device.partition(":")[0])
    if lock is None:
        yield
    else:
        with lock:
            yield


def pick_device(device: str | None = None) -> str:
    """The device asked for, else CUDA where there is one, else the CPU."""
    if device is not None:
        return device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def set_threads(num_threads: int) -> None:
    """Compute with this many CPU threads, in the whole process.

    torch knows one number for all models, so that no student sets it unasked: it is for whoever
    owns the process (the command line, a server) to choose, once, at the start.
    """
    import torch

    torch.set_num_threads(num_threads)
