"""What one check may use, and what it is asked: the part that both sides of the wall read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What one check may use.

    Attributes:
        cpu_seconds: CPU time of the candidate's process: what ends an endless loop.
        wall_seconds: Time for the whole check; ample, for the machine may be busy.
        test_seconds: Time for one test, where a check goes on after a test that failed.
        memory_bytes: Address space of each process, and what all of them hold together.
        processes: Processes and threads, the judge's own among them.
        open_files: Descriptors of each process.
        output_bytes: What it may print before it is stopped.
        file_bytes: What it may write into its scratch folder.
    """

    cpu_seconds: float = 4.0
    wall_seconds: float = 10.0
    test_seconds: float = 1.0
    memory_bytes: int = 512 * 1024**2
    processes: int = 16
    open_files: int = 64
    output_bytes: int = 256 * 1024
    file_bytes: int = 16 * 1024**2


@dataclass(frozen=True, slots=True)
class Request:
    """One check; see `sandbox.Sandbox.check` and `observe` for what the fields mean.

    Attributes:
        calls: Expressions to observe instead of tests to run; None for a check.
    """

    code: str
    limits: Limits
    tests: str = ""
    calls: tuple[str, ...] | None = None
    module: str = "candidate"
    entry_point: str = ""
    trace_lines: bool = False
    keep_going: bool = False
