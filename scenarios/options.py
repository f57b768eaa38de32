"""What to run of a suite, how, and against which frontier. Plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from journeyman.models.reference_frontier import Failures
from journeyman.scenarios.calls import ReplyCache
from journeyman.scenarios.limits import Limits
from journeyman.scenarios.report import RunArm
from journeyman.scenarios.runner import RunOptions
from journeyman.scenarios.selection import Selection
from journeyman.scenarios.spec import Gate


@dataclass(frozen=True)
class ReferenceOptions:
    """How the reference frontier behaves.

    Attributes:
        error_rate: Share of tasks that it answers wrongly.
        latency_ms: Of every call.
        failures: How calls fail.
        seed: Of errors and failures.
    """

    error_rate: float = 0.0
    latency_ms: float = 0.0
    failures: Failures = field(default_factory=Failures)
    seed: int = 0


@dataclass(frozen=True)
class ExecutionOptions:
    """What to run of a suite, against which frontier.

    Attributes:
        parts: Data sets of the suite; None takes what a run takes by default.
        selection: Which of their scenarios.
        epochs: How often each runs; None leaves it to the suite.
        timeout_s: Seconds until a scenario is given up; None leaves it to the suite.
        arm: Who may answer.
        reference: The reference frontier; None asks the configured one.
        run: How the runner works.
        releases: Let releases in traffic answer what they are certified for; otherwise every
            student is untaught and everything escalates.
        limits: When to stop early.
        cache: Where the configured frontier's replies are kept; None keeps none.
        gate: Gates that take the place of the suite's, one by one.
        sets: `KEY=VALUE` that changed settings or the suite, for the record.
        plan: Every suite and arm that the command runs, for the record.
        label: A name for the run.
        group_id: Shared by the runs that one command starts.
        argv: The command line, for the record.
    """

    parts: Sequence[str] | None = None
    selection: Selection = field(default_factory=Selection)
    epochs: int | None = None
    timeout_s: float | None = None
    arm: RunArm = "system"
    reference: ReferenceOptions | None = field(default_factory=ReferenceOptions)
    run: RunOptions = field(default_factory=RunOptions)
    releases: bool = True
    limits: Limits = field(default_factory=Limits)
    cache: ReplyCache | None = None
    gate: Gate = field(default_factory=Gate)
    sets: tuple[str, ...] = ()
    plan: tuple[tuple[str, str], ...] = ()
    label: str | None = None
    group_id: str | None = None
    argv: tuple[str, ...] = ()
