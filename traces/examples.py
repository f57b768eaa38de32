"""The `examples` table: labelled tasks, the side that each is on, and the round that used it first.

The side of a group never changes here, whatever curation is told later. Payloads come from the same
store and are redacted already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, Table, exists, func, select
from sqlalchemy.dialects import postgresql, sqlite

from journeyman.models.errors import TraceError
from journeyman.traces import reads
from journeyman.traces.collect import CERTIFYING
from journeyman.traces.curate import Curation
from journeyman.traces.engine import take_turns
from journeyman.traces.labels import Drop, LabelledTask, Origin, Part
from journeyman.traces.payloads import HIDDEN, digest, encode
from journeyman.traces.records import new_id, now
from journeyman.traces.schema import Attempt, Escalation, Example, Payload, Run
from journeyman.traces.store import Store

_EXAMPLES = cast("Table", Example.__table__)
_PAYLOADS = cast("Table", Payload.__table__)
_ATTEMPTS = cast("Table", Attempt.__table__)
_ESCALATIONS = cast("Table", Escalation.__table__)
_RUNS = cast("Table", Run.__table__)

_UNUSED = frozenset({"cluster_cap", "mix_share"})
"""Left out of one round and free for the next: accepted all the same."""

_FOR_EVER = ("id", "agent", "task_key", "group_hash", "split")


class ExampleStore:
    """Examples of every sub-agent in one trace store.

    Args:
        store: An open store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        postgres = store.engine.dialect.name == "postgresql"
        self._insert: Callable[[Table], Any] = postgresql.insert if postgres else sqlite.insert

    def save(self, curation: Curation, *, round_id: str) -> int:
        """Keep what curation decided, in one transaction; doing so again changes nothing.

        Rows that teach are marked as used by the round, unless an earlier one used them.

        Args:
            curation: Of one sub-agent.
            round_id: The round.

        Returns:
            Number of rows written.

        Raises:
            TraceError: A group would change its side, or the store cannot be written.
        """
        given = list(_decisions(curation))
        agents = {row.agent for row, _, _ in given}
        payloads: dict[str, dict[str, Any]] = {}
        taught = {row.task_key for row in curation.train}
        rows = [
            _to_row(row, status, why, round_id if row.task_key in taught else None, payloads)
            for row, status, why in given
        ]

        def work(connection: Connection) -> int:
            for agent in sorted(agents):
                take_turns(connection, f"examples of {agent}")
                _refuse_to_move(_splits(connection, agent), rows, agent, self._store.name)
            if payloads:
                statement = self._insert(_PAYLOADS).on_conflict_do_nothing()
                connection.execute(statement, [row for _, row in sorted(payloads.items())])
            if rows:
                connection.execute(self._upsert(), rows)
            return len(rows)

        return self._store.transact(work)

    def splits(self, agent: str) -> dict[str, Part]:
        """The side of every group that was ever placed; `curate` takes it as `fixed`.

        Raises:
            TraceError: The store cannot be read.
        """
        return self._store.read(lambda connection: _splits(connection, agent))

    def load(
        self,
        agent: str,
        *,
        part: Part | None = None,
        used: bool | None = None,
        before_round: str | None = None,
    ) -> list[LabelledTask]:
        """Accepted examples, by task key; those that a round used have the origin `replay`.

        Held-out examples whose label is in doubt are among them, as in `Curation`.

        Args:
            agent: Name of the sub-agent.
            part: Only those of this part.
            used: True for those that a round has used, False for those that none has.
            before_round: Leave out what this round was the first to use, so that a round that is
                resumed sees what it saw at first.

        Raises:
            TraceError: The store cannot be read.
            CorruptRecord: A payload is missing or does not match its hash.
        """
        return self._store.read(
            lambda c: _load(c, agent, part, used, before_round, self._store.name)
        )

    def counts(self, agent: str) -> dict[str, int]:
        """Number of examples by `<part> <status>`.

        Raises:
            TraceError: The store cannot be read.
        """
        part, status = _EXAMPLES.c.split, _EXAMPLES.c.status
        query = (
            select(part, status, func.count())
            .where(_EXAMPLES.c.agent == agent)
            .group_by(part, status)
            .order_by(part, status)
        )
        rows = self._store.read(lambda connection: connection.execute(query).all())
        return {f"{part} {status}": number for part, status, number in rows}

    def _upsert(self) -> Any:
        statement = self._insert(_EXAMPLES)
        given = statement.excluded
        changes = {c.name: given[c.name] for c in _EXAMPLES.columns if c.name not in _FOR_EVER}
        changes["round_id"] = func.coalesce(_EXAMPLES.c.round_id, given.round_id)
        return statement.on_conflict_do_update(index_elements=["agent", "task_key"], set_=changes)


def _decisions(curation: Curation) -> Iterator[tuple[LabelledTask, str, str | None]]:
    """Each task once, with its status and why it is not used."""
    doubtful = {drop.row.task_key: drop for drop in curation.review}
    seen: set[str] = set()
    for row in (*curation.train, *curation.head, *curation.calibration, *curation.spare):
        drop = doubtful.pop(row.task_key, None)
        seen.add(row.task_key)
        yield row, "accepted" if drop is None else "review", None if drop is None else _why(drop)
    for drop in (*doubtful.values(), *curation.dropped):
        # What stands in a suite was never placed, and other labels of a task are not kept.
        if drop.row.part is None or drop.row.task_key in seen:
            continue
        seen.add(drop.row.task_key)
        if drop.row.task_key in doubtful:
            yield drop.row, "review", _why(drop)
        else:
            yield drop.row, "accepted" if drop.reason in _UNUSED else "refused", _why(drop)


def _why(drop: Drop) -> str:
    return f"{drop.reason}: {drop.detail}".removesuffix(": ")


def _to_row(
    row: LabelledTask,
    status: str,
    why: str | None,
    round_id: str | None,
    payloads: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    def kept(value: Any) -> str | None:
        if value is None:
            return None
        text = encode(value)
        key = digest(text)
        payloads.setdefault(
            key,
            {"hash": key, "content": text, "num_bytes": len(text.encode()), "created_at": now()},
        )
        return key

    return {
        "id": new_id(),
        "agent": row.agent,
        "task_key": row.task_key,
        "group_hash": row.group,
        "split": row.part,
        "status": status,
        "excluded_reason": why,
        "task_hash": kept(row.task),
        "target_hash": kept(row.target),
        "rejected_hash": kept(row.rejected),
        "origin": row.origin,
        "label_source": row.label_source,
        "trainable": row.trainable,
        "attempt_id": row.attempt_id,
        "escalation_id": row.escalation_id,
        "round_id": round_id,
        "created_at": row.created_at,
    }


def _splits(connection: Connection, agent: str) -> dict[str, Part]:
    query = (
        select(_EXAMPLES.c.group_hash, _EXAMPLES.c.split)
        .where(_EXAMPLES.c.agent == agent)
        .distinct()
    )
    return {str(row.group_hash): row.split for row in connection.execute(query)}


def _refuse_to_move(
    known: Mapping[str, Part], rows: Sequence[Mapping[str, Any]], agent: str, store: str
) -> None:
    moved = [row for row in rows if known.get(row["group_hash"], row["split"]) != row["split"]]
    if moved:
        first = moved[0]
        raise TraceError(
            f"{len(moved)} examples of {agent!r} would change their side in trace store {store}, "
            f"the first from {known[first['group_hash']]!r} to {first['split']!r}, and what was "
            "taught must never certify: curate with `fixed=ExampleStore.splits(agent)`."
        )


def _load(
    connection: Connection,
    agent: str,
    part: Part | None,
    used: bool | None,
    before_round: str | None,
    store: str,
) -> list[LabelledTask]:
    x, e, a, r = _EXAMPLES.c, _ESCALATIONS.c, _ATTEMPTS.c, _RUNS.c
    query = (
        select(
            _EXAMPLES,
            _has_certifying_label().label("certifies"),
            e.reason,
            e.frontier_model,
            e.student_output_hash,
            e.agreement,
            e.review_status,
            e.created_at.label("asked_at"),
            a.run_id,
            a.release,
            a.evidence,
            a.confidence,
            a.audit_probability,
            r.suite_run_id,
            r.scenario_id,
        )
        .select_from(
            _EXAMPLES.outerjoin(_ESCALATIONS, e.id == x.escalation_id)
            .outerjoin(_ATTEMPTS, a.id == x.attempt_id)
            .outerjoin(_RUNS, r.id == a.run_id)
        )
        .where(x.agent == agent)
        .where((x.status == "accepted") | ((x.status == "review") & (x.split != "train")))
        .order_by(x.task_key)
    )
    if part is not None:
        query = query.where(x.split == part)
    if used is not None:
        query = query.where(x.round_id.is_not(None) if used else x.round_id.is_(None))
    if before_round is not None:
        query = query.where((x.round_id != before_round) | x.round_id.is_(None))
    found = [dict(row) for row in connection.execute(query).mappings()]
    columns = ("task_hash", "target_hash", "rejected_hash", "student_output_hash")
    content = reads.payloads(connection, _present(found, columns), store)
    return [_from_row(row, content) for row in found]


def _has_certifying_label() -> ColumnElement[bool]:
    """Any label of the task certifies, as `merge_same_tasks` has it; not only the one kept.

    A task of the fair sample that students came to doubt later must not leave it for that.
    """
    e, a = _ESCALATIONS.alias(), _ATTEMPTS.alias()
    return exists().where(
        a.c.agent == _EXAMPLES.c.agent,
        a.c.task_key == _EXAMPLES.c.task_key,
        e.c.attempt_id == a.c.id,
        e.c.reason.in_(CERTIFYING),
        e.c.status == "answered",
    )


def _present(rows: Iterable[Mapping[str, Any]], columns: Iterable[str]) -> set[str]:
    return {row[column] for row in rows for column in columns if row[column] is not None}


def _from_row(row: Mapping[str, Any], content: Mapping[str, Any]) -> LabelledTask:
    def at(column: str) -> Any:
        return None if row[column] is None else content[row[column]]

    task, target = at("task_hash"), at("target_hash")
    origin: Origin = row["origin"] if row["round_id"] is None else "replay"
    withheld = ""
    if not row["trainable"]:
        is_masked = any(HIDDEN in encode(value) for value in (task, target))
        withheld = "redacted" if is_masked else "terms"
    reason, _, detail = (row["excluded_reason"] or "").partition(": ")
    return LabelledTask(
        agent=row["agent"],
        task_key=row["task_key"],
        task=task,
        target=target,
        rejected=at("rejected_hash"),
        label_source=row["label_source"],
        origin=origin,
        reason=row["reason"] or "",
        certifies=bool(row["certifies"]),
        trainable=row["trainable"],
        withheld=withheld,
        failed_check=detail.partition(":")[0] if reason == "failed_check" else "",
        audit_probability=row["audit_probability"],
        student_output=at("student_output_hash"),
        agreement=None if row["review_status"] == "edited" else row["agreement"],
        evidence={key: float(value) for key, value in (row["evidence"] or {}).items()},
        confidence=row["confidence"],
        release=row["release"] or "",
        frontier_model=None if row["review_status"] == "edited" else row["frontier_model"],
        run_id=row["run_id"],
        suite_run_id=row["suite_run_id"],
        scenario_id=row["scenario_id"],
        attempt_id=row["attempt_id"],
        escalation_id=row["escalation_id"],
        created_at=row["created_at"],
        asked_at=row["asked_at"],
        group=row["group_hash"],
        part=row["split"],
    )
