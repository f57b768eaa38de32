"""Labelled tasks of one sub-agent, from the attempts and escalations of a trace store.

The label is the frontier's answer, or a person's where somebody reviewed it. Escalations that are
queued or failed have none until a person gives it. Knows nothing of what an answer means, and drops
nothing for its content except what was hidden or lost before it was stored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Connection, RowMapping, Table, and_, or_, select

from journeyman.models.types import LabelSource, Reason
from journeyman.traces import reads
from journeyman.traces.labels import LabelledTask, Origin
from journeyman.traces.payloads import DROPPED, HIDDEN, UNREADABLE, encode
from journeyman.traces.schema import Attempt, Escalation, Run, Score
from journeyman.traces.store import Store

CERTIFYING = frozenset({Reason.AUDIT.value, Reason.UNCERTIFIED.value})
"""Reasons that do not depend on the student: drawn by hash, or everything escalated. A student
error in the cold start is left out. For the student that erred this makes a certificate stricter,
never laxer, since an answer that is absent can never be accepted; for another student it leaves out
tasks that may be hard, which is fair only as long as errors are rare."""

STUDENT_AGREES = "student_agrees"
"""Name of the scores that say whether the student's answer is the one that a reviewer gave."""

REVIEW = "review"
"""Identifier of these scores."""

_ATTEMPTS = cast("Table", Attempt.__table__)
_ESCALATIONS = cast("Table", Escalation.__table__)
_RUNS = cast("Table", Run.__table__)
_SCORES = cast("Table", Score.__table__)

_HASHES = (
    "input_hash",
    "student_output_hash",
    "frontier_output_hash",
    "reviewed_output_hash",
)
_GONE = (HIDDEN, DROPPED, UNREADABLE)


@dataclass(frozen=True, slots=True)
class Collected:
    """Labelled tasks, oldest first, and what was passed over.

    Attributes:
        rows: Tasks with a label.
        rejected: Tasks whose only answer a person rejected; their `target` is None. A careful
            certificate counts an accepted answer to one of these as wrong.
        passed_over: Escalations without a usable label, by reason: `queued`, `failed`,
            `rejected`, `no_answer`, `content_missing`.
    """

    rows: tuple[LabelledTask, ...]
    rejected: tuple[LabelledTask, ...] = ()
    passed_over: Mapping[str, int] = field(default_factory=dict)


def collect(
    store: Store,
    agent: str,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Collected:
    """Collect the labelled tasks of one sub-agent.

    Args:
        store: An open trace store.
        agent: Name of the sub-agent.
        since: Only what was escalated, or reviewed, at this time or later.
        until: Only what was escalated before this time. A round that sets it collects the same
            again when it is resumed, unless a review came in between.

    Raises:
        TraceError: The store cannot be read.
        CorruptRecord: A payload is missing or does not match its hash.
    """
    return store.read(lambda c: _collect(c, agent, since, until, store.name))


def _collect(
    connection: Connection,
    agent: str,
    since: datetime | None,
    until: datetime | None,
    name: str,
) -> Collected:
    found = [dict(row) for row in connection.execute(_query(agent, since, until)).mappings()]
    passed_over: Counter[str] = Counter()
    wanted = []
    for row in found:
        has_answer = row["status"] == "answered" or row["reviewed_output_hash"] is not None
        if has_answer and row["input_hash"] is not None:
            wanted.append(row)
        else:
            passed_over["no_answer" if row["status"] == "answered" else row["status"]] += 1
    hashes = {row[column] for row in wanted for column in _HASHES if row[column] is not None}
    content = reads.payloads(connection, hashes, name)
    rows: list[LabelledTask] = []
    rejected: list[LabelledTask] = []
    for row in wanted:
        task, why = _labelled(row, content)
        if task is not None and not why:
            rows.append(task)
            continue
        passed_over[why] += 1
        if task is not None:
            rejected.append(task)
    return Collected(tuple(rows), tuple(rejected), dict(sorted(passed_over.items())))


def _query(agent: str, since: datetime | None, until: datetime | None) -> Any:
    e, a, r, s = _ESCALATIONS.c, _ATTEMPTS.c, _RUNS.c, _SCORES.c
    verdict = and_(
        s.target_type == "escalation",
        s.target_id == e.id,
        s.name == STUDENT_AGREES,
        s.identifier == REVIEW,
    )
    query = (
        select(
            e.id.label("escalation_id"),
            *(
                e[column]
                for column in (
                    "attempt_id",
                    "run_id",
                    "reason",
                    "status",
                    "frontier_model",
                    "student_output_hash",
                    "frontier_output_hash",
                    "agreement",
                    "label_source",
                    "trainable",
                    "created_at",
                    "review_status",
                    "reviewed_at",
                    "reviewed_output_hash",
                )
            ),
            a.agent,
            a.task_key,
            a.input_hash,
            a.release,
            a.evidence,
            a.confidence,
            a.audit_probability,
            r.suite_run_id,
            r.scenario_id,
            s.score.label("student_agrees"),
        )
        .select_from(
            _ESCALATIONS.join(_ATTEMPTS, a.id == e.attempt_id)
            .outerjoin(_RUNS, r.id == e.run_id)
            .outerjoin(_SCORES, verdict)
        )
        .where(e.agent == agent)
        .order_by(e.created_at, e.id)
    )
    if since is not None:
        query = query.where(or_(e.created_at >= since, e.reviewed_at >= since))
    if until is not None:
        query = query.where(e.created_at < until)
    return query


def _labelled(
    row: Mapping[str, Any] | RowMapping, content: Mapping[str, Any]
) -> tuple[LabelledTask | None, str]:
    """The task, and why it has no usable label; empty where it has one."""
    task, student, frontier, reviewed = (
        None if row[column] is None else content[row[column]] for column in _HASHES
    )
    label = _label(row["review_status"], row["label_source"], frontier, reviewed)
    target, source = label or (None, "human")
    if task in _GONE or target in _GONE:
        return None, "content_missing"
    if label is not None and target is None:
        return None, "no_answer"
    is_edited = label is not None and row["review_status"] == "edited"
    agreement = None if label is None else row["agreement"]
    if is_edited:  # the verdict on record is about the frontier's answer
        agreement = None if row["student_agrees"] is None else row["student_agrees"] == 1
    # Whatever was masked, the student would be taught that the mask is the text.
    is_masked = any(HIDDEN in encode(value) for value in (task, target))
    given = LabelledTask(
        agent=row["agent"],
        task_key=row["task_key"],
        task=task,
        target=target,
        rejected=_rejected(row, student, frontier, target, agreement),
        label_source=source,
        origin=_origin(row["reason"]),
        reason=row["reason"],
        # Which of the tasks that the frontier failed on a person answers is no fair sample.
        certifies=row["reason"] in CERTIFYING and row["status"] == "answered",
        trainable=bool(row["trainable"]) and not is_masked,
        withheld="terms" if not row["trainable"] else "redacted" if is_masked else "",
        audit_probability=row["audit_probability"],
        student_output=student,
        agreement=agreement,
        evidence={key: float(value) for key, value in (row["evidence"] or {}).items()},
        confidence=row["confidence"],
        release=row["release"],
        frontier_model=None if is_edited else row["frontier_model"],
        run_id=row["run_id"],
        suite_run_id=row["suite_run_id"],
        scenario_id=row["scenario_id"],
        attempt_id=row["attempt_id"],
        escalation_id=row["escalation_id"],
        created_at=row["reviewed_at"] or row["created_at"],
        asked_at=row["created_at"],
    )
    return given, "" if label is not None else "rejected"


def _label(
    review: str, source: LabelSource, frontier: Any, reviewed: Any
) -> tuple[Any, LabelSource] | None:
    """The right answer and who says so; None where a person rejected the only one."""
    match review:
        case "rejected":
            return None if reviewed is None else (reviewed, "human")
        case "edited":
            return reviewed, "human"
        case "approved":
            return (frontier if reviewed is None else reviewed), "human"
        case _:
            return frontier, source


def _origin(reason: str) -> Origin:
    return "audit" if reason == Reason.AUDIT.value else "escalation"


def _rejected(
    row: Mapping[str, Any] | RowMapping,
    student: Any,
    frontier: Any,
    target: Any,
    agreement: bool | None,
) -> Any:
    """A wrong answer that is known to be wrong, for a preference pair."""
    wrong = None
    if agreement is False:
        wrong = student
    elif row["review_status"] in {"edited", "rejected"}:
        wrong = frontier
    return None if wrong in _GONE or wrong == target else wrong
