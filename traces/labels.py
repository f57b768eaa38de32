"""A labelled task: what was asked, what the right answer is, who says so, and what it may do.

Plain values for the learning loop. Nothing here reads a store, and nothing knows what a task or an
answer means: both are JSON-compatible data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from journeyman.models.types import LabelSource

Origin = Literal["escalation", "audit", "replay", "import"]
"""Why there is a label: the gate escalated, an audit was drawn, an earlier round used it, or it was
brought in from elsewhere."""

Part = Literal["train", "head", "calibration"]
"""What a task's group may do, for ever: teach the student, fit the confidence head, or certify."""

PARTS: tuple[Part, ...] = ("train", "head", "calibration")

TRUST: tuple[LabelSource, ...] = ("human", "tests", "reference", "frontier")
"""Label sources, the one that wins first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledTask:
    """One task of one sub-agent with its label.

    Attributes:
        agent: The sub-agent.
        task_key: Content hash of the whole task.
        task: The task, JSON-compatible.
        target: The right answer in the sub-agent's output form; None where a person rejected the
            only answer there was.
        rejected: A wrong answer to the same task, which forms a preference pair with the target.
        label_source: Who says that the target is right.
        origin: Why there is a label.
        reason: Why the task was escalated, in the words of `Reason`; empty for imports.
        certifies: The label is part of an unbiased sample of traffic: drawn by an audit, or made
            while everything escalated. No other label may certify.
        trainable: Provider terms and redaction allow training on it.
        withheld: Why it may not train: `terms` or `redacted`; empty where it may.
        failed_check: The hard check that the target fails; empty where it fails none.
        occurrences: How many labels of the same task this one stands for.
        audit_probability: Logged probability of the audit draw; None where none was logged.
        student_output: What the student answered; None where it abstained.
        agreement: Whether the student's answer and the target are the same; None where unknown.
        evidence: Named numbers about the attempt.
        confidence: Probability that the attempt was right, as it was given then.
        release: The release that made the attempt.
        frontier_model: The model that gave the answer; None where a person did.
        run_id, suite_run_id, scenario_id, attempt_id, escalation_id: Where it comes from.
        created_at: When the label was made; a review makes it anew.
        asked_at: When the task was escalated, whenever it was reviewed; None for imports.
        group: Hash of the content that must not be split; set by curation.
        part: What the group may do; set by curation.
    """

    agent: str
    task_key: str
    task: Any
    target: Any
    rejected: Any = None
    label_source: LabelSource = "frontier"
    origin: Origin = "escalation"
    reason: str = ""
    certifies: bool = False
    trainable: bool = True
    withheld: str = ""
    failed_check: str = ""
    occurrences: int = 1
    audit_probability: float | None = None
    student_output: Any = None
    agreement: bool | None = None
    evidence: Mapping[str, float] = field(default_factory=dict)
    confidence: float | None = None
    release: str = ""
    frontier_model: str | None = None
    run_id: str | None = None
    suite_run_id: str | None = None
    scenario_id: str | None = None
    attempt_id: str | None = None
    escalation_id: str | None = None
    created_at: datetime
    asked_at: datetime | None = None
    group: str = ""
    part: Part | None = None


@dataclass(frozen=True, slots=True)
class Drop:
    """A labelled task that curation left out, and why.

    Attributes:
        row: The task.
        reason: One word for the counts, e.g. `same_task`, `near_copy`, `in_suite`.
        detail: One line for a reader: what it copies, which check failed.
    """

    row: LabelledTask
    reason: str
    detail: str = ""


def preference(row: LabelledTask) -> tuple[Any, ...]:
    """Sort key: of two labels of the same task the one that sorts first is kept.

    Better sources win, then later labels; the rest only makes the order total, whatever order rows
    come in.
    """
    return (
        TRUST.index(row.label_source),
        -row.created_at.timestamp(),
        row.task_key,
        row.escalation_id or "",
        row.attempt_id or "",
        row.origin,
    )
