"""Reviews: what people say about escalations, and the queue of those that wait for one.

A verdict makes the label of a task a person's: `approved` takes the frontier's answer, `edited`
another one, `rejected` none. It stands in the escalation's own row, where curation looks, and as a
score of its own, which no later verdict replaces: who said what, and when. Two reviewers cannot
overwrite each other without saying so. Answers and notes are redacted before they are written.
Knows no sub-agent: whether an answer fits its type is the caller's to check.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast

from sqlalchemy import Connection, Select, Table, case, insert, select, update

from journeyman.models.errors import AlreadyReviewed, TraceError
from journeyman.traces import reads
from journeyman.traces.collect import REVIEW, STUDENT_AGREES
from journeyman.traces.conceal import conceal
from journeyman.traces.likeness import content_key
from journeyman.traces.payload_rows import keep
from journeyman.traces.payloads import HIDDEN, digest, encode, snapshot
from journeyman.traces.records import (
    AttemptRecord,
    EscalationRecord,
    ReviewStatus,
    ScoreRecord,
    now,
)
from journeyman.traces.redact import Redactor, redact_secrets
from journeyman.traces.rows import to_batch
from journeyman.traces.schema import Attempt, Escalation, Run, Score, SuiteRun
from journeyman.traces.store import Store

Verdict = Literal["approved", "edited", "rejected"]

VERDICT = "review"
"""Name of the scores that keep verdicts."""

ANSWER = "review_answer"
"""Name of the scores that keep which answer a reviewer gave: their label is its payload's hash."""

LISTED_BY = "journeyman escalations list"

_ATTEMPTS = cast("Table", Attempt.__table__)
_ESCALATIONS = cast("Table", Escalation.__table__)
_RUNS = cast("Table", Run.__table__)
_SCORES = cast("Table", Score.__table__)
_SUITES = cast("Table", SuiteRun.__table__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of a list of escalations; see `EscalationRecord` and `AttemptRecord`."""

    id: str
    created_at: datetime
    agent: str
    reason: str
    status: str
    agreement: bool | None
    confidence: float | None
    frontier_model: str | None
    cost_microusd: int | None
    review_status: ReviewStatus
    reviewer: str | None
    reviewed_at: datetime | None
    run_id: str
    attempt_id: str
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Everything that a reviewer needs to know about one escalation.

    Attributes:
        escalation: The two answers.
        attempt: The task and the student's attempt; None where it is not on record.
        reviewer, reviewed_at: Who gave the verdict that stands, and when; None while it is pending.
        reviewed_output: The answer that they gave.
        scores: What was said about it: verdicts of people, and why curation doubts the label.
        suite: The suite whose run made it.
        scenario_id: The scenario.
    """

    escalation: EscalationRecord
    attempt: AttemptRecord | None = None
    reviewer: str | None = None
    reviewed_at: datetime | None = None
    reviewed_output: Any = None
    scores: tuple[ScoreRecord, ...] = ()
    suite: str | None = None
    scenario_id: str | None = None

    @property
    def id(self) -> str:
        """Of the escalation."""
        return self.escalation.id

    @property
    def status(self) -> ReviewStatus:
        """The verdict that stands."""
        return self.escalation.review_status

    @property
    def task(self) -> Any:
        """What was asked; None where it is not on record."""
        return None if self.attempt is None else self.attempt.input

    @property
    def student_output(self) -> Any:
        """What the student answered; None where it abstained or failed."""
        return self.escalation.student_output


@dataclass(frozen=True, slots=True)
class Reviewed:
    """A verdict as it was kept.

    Attributes:
        case: The escalation as it stands now.
        is_masked: Something in the answer was hidden as a secret, so that it will not teach.
    """

    case: Case
    is_masked: bool = False


def entries(
    store: Store,
    *,
    agent: str | None = None,
    reason: str | None = None,
    status: str | None = None,
    review_status: str | None = None,
    limit: int | None = None,
) -> list[Entry]:
    """Escalations, newest first.

    Args:
        store: An open store.
        agent: Only this sub-agent's.
        reason: Only those for this reason.
        status: Only those that were `answered`, `failed` or `queued`.
        review_status: Only those with this verdict, or `pending`.
        limit: At most so many; None for all.

    Raises:
        TraceError: The store cannot be read.
    """
    wanted = {"agent": agent, "reason": reason, "status": status, "review_status": review_status}
    columns = _ESCALATIONS.c
    query = _entries(wanted).order_by(columns.created_at.desc(), columns.id.desc()).limit(limit)
    return store.read(lambda connection: _listed(connection, query))


def queue(store: Store, *, agent: str | None = None, reason: str | None = None) -> list[Entry]:
    """What waits for a verdict: disagreements, then what nobody compared, then agreements.

    Raises:
        TraceError: The store cannot be read.
    """
    e = _ESCALATIONS.c
    priority = case((e.agreement.is_(False), 0), (e.agreement.is_(None), 1), else_=2)
    wanted = {"agent": agent, "reason": reason, "review_status": "pending"}
    query = _entries(wanted).order_by(priority, e.created_at, e.id)
    return store.read(lambda connection: _listed(connection, query))


def find_case(store: Store, id_or_prefix: str) -> Case:
    """One escalation with its task, both answers, and what was said about it.

    Raises:
        TraceError: No escalation, or more than one, has an id that starts like this.
        CorruptRecord: A payload is missing or does not match its hash.
    """
    return store.read(lambda connection: _find(connection, id_or_prefix, store.name))


def review(
    store: Store,
    seen: Case,
    verdict: Verdict,
    *,
    by: str,
    answer: Any = None,
    agrees: bool | None = None,
    note: str | None = None,
    again: bool = False,
    redact: Redactor | None = redact_secrets,
    at: datetime | None = None,
) -> Reviewed:
    """Keep a person's verdict on an escalation, in one transaction.

    Args:
        store: An open store.
        seen: The escalation as the reviewer saw it.
        verdict: What they say.
        by: Who they are.
        answer: The right answer in the sub-agent's output form; needed for `edited`, and for it
            alone.
        agrees: Whether the student's answer is the same as `answer`; None where nobody can say, and
            then only equal content counts as the same.
        note: Why, for whoever reads the record.
        again: Replace a verdict that was seen; the record keeps both.
        redact: Applied to the answer and the note.
        at: When; now, where it is None.

    Raises:
        AlreadyReviewed: There is a verdict: one that was seen and is not to be replaced, or one
            that came in the meantime.
        TraceError: The verdict makes no sense here, or the store cannot be written.
    """
    _check(seen, verdict, by=by, answer=answer, again=again)
    given = None if answer is None else snapshot(answer)
    kept = given if redact is None or given is None else snapshot(redact(given))
    same = _agreement(seen, kept, agrees)
    at = at or now()
    scores = [
        conceal(score, redact, capture=True)
        for score in _scores(seen, verdict, by=by, note=note, at=at, answer=kept, agrees=same)
    ]

    def work(connection: Connection) -> Case:
        _write(connection, seen, verdict, by=by, at=at, answer=kept)
        _replace_scores(connection, seen.id, cast("Sequence[ScoreRecord]", scores))
        return _find(connection, seen.id, store.name)

    masked = given is not None and HIDDEN in encode(kept) and HIDDEN not in encode(given)
    return Reviewed(store.transact(work), masked)


def _entries(wanted: Mapping[str, str | None]) -> Select[Any]:
    e, a = _ESCALATIONS.c, _ATTEMPTS.c
    own = [e[name] for name in Entry.__dataclass_fields__ if name != "confidence"]
    clauses = [e[name] == value for name, value in wanted.items() if value is not None]
    return (
        select(*own, a.confidence)
        .select_from(_ESCALATIONS.outerjoin(_ATTEMPTS, a.id == e.attempt_id))
        .where(*clauses)
    )


def _listed(connection: Connection, query: Select[Any]) -> list[Entry]:
    return [Entry(**row) for row in connection.execute(query).mappings()]


def _find(connection: Connection, prefix: str, store: str) -> Case:
    found = reads.resolve(
        connection, _ESCALATIONS, prefix, "escalation", store, listed_by=LISTED_BY
    )
    e, r, s = _ESCALATIONS.c, _RUNS.c, _SUITES.c
    query = (
        select(e.reviewer, e.reviewed_at, e.reviewed_output_hash, r.scenario_id, s.suite)
        .select_from(
            _ESCALATIONS.outerjoin(_RUNS, r.id == e.run_id).outerjoin(
                _SUITES, s.id == r.suite_run_id
            )
        )
        .where(e.id == found)
    )
    row = connection.execute(query).mappings().one()
    answer = row["reviewed_output_hash"]
    (escalation,) = reads.records(connection, EscalationRecord, {"id": found}, store=store)
    attempts = reads.records(connection, AttemptRecord, {"id": escalation.attempt_id}, store=store)
    of_it = {"target_type": "escalation", "target_id": found}
    return Case(
        escalation=escalation,
        attempt=attempts[0] if attempts else None,
        reviewer=row["reviewer"],
        reviewed_at=row["reviewed_at"],
        reviewed_output=reads.payloads(connection, {answer}, store)[answer] if answer else None,
        scores=tuple(reads.records(connection, ScoreRecord, of_it, store=store)),
        suite=row["suite"],
        scenario_id=row["scenario_id"],
    )


def _check(seen: Case, verdict: Verdict, *, by: str, answer: Any, again: bool) -> None:
    if not by.strip():
        raise TraceError("A verdict needs a name: say who gives it.")
    if seen.status != "pending" and not again:
        raise _reviewed(seen.id, seen.status, seen.reviewer, seen.reviewed_at)
    if verdict == "approved" and seen.escalation.frontier_output is None:
        raise TraceError(
            f"Escalation {seen.id!r} has no frontier answer to approve (it {_fate(seen)}): give "
            "the right answer, or reject it."
        )
    if (verdict == "edited") != (answer is not None):
        raise TraceError(
            f"Escalation {seen.id!r} cannot be marked {verdict!r} "
            f"{'without' if answer is None else 'with'} an answer: an edited one has an answer, "
            "others have none."
        )


def _fate(seen: Case) -> str:
    return {"failed": "failed", "queued": "is still open"}.get(seen.escalation.status, "has none")


def _agreement(seen: Case, answer: Any, agrees: bool | None) -> bool | None:
    """Whether the student gave the reviewer's answer; None where there is none, or no telling."""
    if answer is None:
        return None
    if seen.student_output is None:
        return False
    if agrees is None and content_key(seen.student_output) == content_key(answer):
        return True
    return agrees


def _scores(
    seen: Case,
    verdict: Verdict,
    *,
    by: str,
    note: str | None,
    at: datetime,
    answer: Any,
    agrees: bool | None,
) -> list[ScoreRecord]:
    def score(name: str, identifier: str, **given: Any) -> ScoreRecord:
        return ScoreRecord(
            target_type="escalation",
            target_id=seen.id,
            run_id=seen.escalation.run_id,
            name=name,
            annotator_kind="HUMAN",
            identifier=identifier,
            created_at=at,
            **given,
        )

    # The time makes it one of its own: what was said before stays on record.
    who = f"{by} {at.isoformat(timespec='microseconds')}"
    scores = [score(VERDICT, who, label=verdict, explanation=note)]
    if answer is not None:
        scores.append(score(ANSWER, who, label=digest(encode(answer))))
    if agrees is not None:
        scores.append(score(STUDENT_AGREES, REVIEW, score=float(agrees)))
    return scores


def _write(
    connection: Connection,
    seen: Case,
    verdict: Verdict,
    *,
    by: str,
    at: datetime,
    answer: Any,
) -> None:
    hashed = None
    if answer is not None:
        hashed = keep(connection, encode(answer), at)
    e = _ESCALATIONS.c
    # Only what the reviewer saw is replaced.
    unchanged = (
        e.reviewed_at.is_(None) if seen.reviewed_at is None else e.reviewed_at == seen.reviewed_at
    )
    done = connection.execute(
        update(_ESCALATIONS)
        .where(e.id == seen.id, e.review_status == seen.status, unchanged)
        .values(review_status=verdict, reviewer=by, reviewed_at=at, reviewed_output_hash=hashed)
    )
    if done.rowcount == 0:
        query = select(e.review_status, e.reviewer, e.reviewed_at).where(e.id == seen.id)
        row = connection.execute(query).one_or_none()
        if row is None:
            raise TraceError(f"Escalation {seen.id!r} is no longer on record: list what there is.")
        raise _reviewed(seen.id, *row)


def _replace_scores(
    connection: Connection, escalation_id: str, scores: Sequence[ScoreRecord]
) -> None:
    s = _SCORES.c
    connection.execute(
        _SCORES.delete().where(
            s.target_type == "escalation",
            s.target_id == escalation_id,
            s.name == STUDENT_AGREES,
            s.identifier == REVIEW,
        )
    )
    connection.execute(insert(_SCORES), to_batch(scores).rows[ScoreRecord])


def _reviewed(
    escalation_id: str, status: str, reviewer: str | None, at: datetime | None
) -> AlreadyReviewed:
    when = "" if at is None else f" at {at:%Y-%m-%d %H:%M:%S} UTC"
    return AlreadyReviewed(
        f"Escalation {escalation_id!r} was {status} by {reviewer or 'somebody'}{when}: look at it "
        "again, and replace that verdict on purpose (--again) or leave it."
    )
