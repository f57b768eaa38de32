"""Recorded attempts of one release with the verdict of their label: right or wrong.

Only labels that are a fair sample of traffic count: audits, and those from a time when everything
escalated. Knows no sub-agent; whether two answers are the same is on record, or handed over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from journeyman.models.types import LabelSource
from journeyman.traces.attempts import AttemptFacts, attempt_facts, escalation_costs
from journeyman.traces.collect import Collected, collect
from journeyman.traces.duplicates import merge_same_tasks
from journeyman.traces.labels import LabelledTask
from journeyman.traces.likeness import content_key, group_key
from journeyman.traces.store import Store

Agrees = Callable[[Any, Any], bool]
"""Whether two answers, as JSON-compatible data, are the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One recorded attempt, and whether its label says that it is right.

    Attributes:
        evidence: Named numbers about it.
        confidence: As it was given then; None where no head spoke.
        is_valid: It has an answer and failed no hard check; no other can ever be accepted.
        is_right: The label source agrees with it.
        label_source: Who says so.
        group: Attempts of one group are alike: no head may be tried on one and fitted on another.
    """

    evidence: Mapping[str, float] = field(default_factory=dict)
    confidence: float | None = None
    is_valid: bool = True
    is_right: bool
    label_source: LabelSource = "frontier"
    group: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What is on record of one release of one sub-agent, and how it was judged.

    Attributes:
        agent, release: Whose attempts these are.
        judged: One attempt for each task with a label that may certify.
        unlabelled: Confidences of the other attempts that could have been accepted.
        num_attempts: All attempts of the release.
        num_labels: Labels of the release of any kind, those that may not certify included.
        frontier_microusd: Mean cost of one frontier answer; None where no price is known.
        num_unpriced: Answered escalations without a known price.
        until: When the latest attempt was made.
    """

    agent: str
    release: str
    judged: tuple[Judged, ...] = ()
    unlabelled: tuple[float, ...] = ()
    num_attempts: int = 0
    num_labels: int = 0
    frontier_microusd: float | None = None
    num_unpriced: int = 0
    until: datetime | None = None


def read_recording(
    store: Store, agent: str, release: str, *, agrees: Agrees | None = None
) -> Recording:
    """What is on record of one release.

    A task counts once, however often it was asked, by its best label. Tasks whose only answer a
    person rejected count as wrong: to leave them out would leave out the hard ones.

    Args:
        store: An open trace store.
        agent: Name of the sub-agent.
        release: Id of the release, whole.
        agrees: Whether two answers are the same, for labels whose agreement is not on record; by
            default, where their content is.

    Raises:
        TraceError: The store cannot be read.
        CorruptRecord: A payload is missing or does not match its hash.
    """
    collected = collect(store, agent)
    facts = attempt_facts(store, agent, release)  # after: whatever has a label is among them
    labelled, certifying = _certifying(collected, release)
    by_id = {each.id: each for each in facts}
    same = agrees or (lambda first, second: content_key(first) == content_key(second))
    judged = tuple(_judged(row, by_id[row.attempt_id or ""], same) for row in certifying)
    taken = {row.task_key for row in certifying}
    costs = escalation_costs(store, agent)
    return Recording(
        agent=agent,
        release=release,
        judged=judged,
        unlabelled=tuple(
            each.confidence
            for each in facts
            if each.is_valid and each.confidence is not None and each.task_key not in taken
        ),
        num_attempts=len(facts),
        num_labels=labelled,
        frontier_microusd=costs.mean_microusd,
        num_unpriced=costs.num_answered - costs.num_priced,
        until=facts[-1].created_at if facts else None,
    )


def _certifying(collected: Collected, release: str) -> tuple[int, list[LabelledTask]]:
    """How many labels the release has, and one row for each task of the fair sample."""
    rows = [row for row in collected.rows if row.release == release]
    rejected = [row for row in collected.rejected if row.release == release]
    merged, _ = merge_same_tasks(rows)
    kept = {row.task_key: row for row in merged.kept}
    for row in rejected:
        # A person's word that there is no right answer beats the frontier's that there is one.
        rival = kept.get(row.task_key)
        if rival is None or rival.label_source != "human":
            certifies = row.certifies or (rival is not None and rival.certifies)
            kept[row.task_key] = replace(row, certifies=certifies)
    return len(rows) + len(rejected), [row for row in kept.values() if row.certifies]


def _judged(row: LabelledTask, facts: AttemptFacts, same: Agrees) -> Judged:
    if row.target is None or row.student_output is None:
        is_right = False
    elif row.agreement is not None:
        is_right = row.agreement
    else:
        is_right = same(row.student_output, row.target)
    return Judged(
        evidence=facts.evidence,
        confidence=facts.confidence,
        is_valid=facts.is_valid,
        is_right=is_right,
        label_source=row.label_source,
        group=group_key(row.task),
    )
