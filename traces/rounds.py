"""Rounds on record: which there were, how far each has come, and how it ended.

One row for each round of a sub-agent, numbered from 1. A round that is `running` and whose process
has ended is taken up again by the next one. Knows nothing of what a round does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast

from sqlalchemy import Connection, RowMapping, Table, func, insert, select, update

from journeyman.models.errors import TraceError
from journeyman.traces import reads, schema
from journeyman.traces.engine import take_turns
from journeyman.traces.payload_rows import keep
from journeyman.traces.payloads import digest, encode
from journeyman.traces.records import new_id, now
from journeyman.traces.store import Store

RoundStatus = Literal["running", "done", "stopped"]

_ROUNDS = cast("Table", schema.Round.__table__)

_FIGURES = frozenset(
    {
        "incumbent_id",
        "candidate_id",
        "dataset_hash",
        "num_train",
        "num_calibration",
        "num_excluded",
        "baseline_quality",
        "incumbent_quality",
        "candidate_quality",
        "incumbent_coverage",
        "candidate_coverage",
        "metrics",
    }
)


@dataclass(frozen=True, slots=True)
class RoundEntry:
    """A round on record.

    Attributes:
        id: Its own id.
        agent: Name of the sub-agent.
        number: From 1, without gaps, in the order of their beginnings.
        status: `running` until it ends; `stopped` where it ended before its labels were taken for
            good, so that they belong to the next round as well.
        stage: The stage that it reached.
        decision: What it decided; None before that.
        reason: Why, in one sentence.
        started_at: When. Labels made later belong to the next round.
        ended_at: When; None while it runs.
        candidate_id: The release that it made.
        report: Everything it found, JSON-compatible; None while it runs.
    """

    id: str
    agent: str
    number: int
    status: RoundStatus
    stage: str
    decision: str | None
    reason: str | None
    started_at: datetime
    ended_at: datetime | None
    candidate_id: str | None
    report: Mapping[str, Any] | None = None


class RoundStore:
    """The rounds in a trace store.

    Args:
        store: An open store.
        clock: The present time, for tests.
    """

    def __init__(self, store: Store, *, clock: Callable[[], datetime] = now) -> None:
        self._store = store
        self._clock = clock

    def begin(self, agent: str) -> RoundEntry:
        """The round of this sub-agent that has not ended, or else a new one.

        Only who holds the sub-agent's lock may call it.

        Raises:
            TraceError: The store cannot be written.
        """

        def work(connection: Connection) -> str:
            take_turns(connection, f"rounds of {agent}")
            open_one: str | None = connection.scalar(
                select(_ROUNDS.c.id).where(_ROUNDS.c.agent == agent, _ROUNDS.c.status == "running")
            )
            if open_one is not None:
                return open_one
            last = connection.scalar(
                select(func.max(_ROUNDS.c.number)).where(_ROUNDS.c.agent == agent)
            )
            name = new_id()
            connection.execute(
                insert(_ROUNDS).values(
                    id=name,
                    agent=agent,
                    number=(last or 0) + 1,
                    status="running",
                    stage="collect",
                    started_at=self._clock(),
                    num_train=0,
                    num_calibration=0,
                    num_excluded=0,
                    metrics=encode({}),
                )
            )
            return name

        return self.get(self._store.transact(work))

    def give_up(self, agent: str) -> RoundEntry | None:
        """End the round of this sub-agent that has not ended; None where there is none.

        Its labels belong to the next round. Only who holds the sub-agent's lock may call it.

        Raises:
            TraceError: The store cannot be written.
        """
        is_open = (_ROUNDS.c.agent == agent) & (_ROUNDS.c.status == "running")
        for entry in self._find(is_open):
            ended = {"status": "stopped", "reason": "given up", "ended_at": self._clock()}
            self._update(entry.id, ended, {})
            return self.get(entry.id)
        return None

    def reach(self, round_id: str, stage: str, **figures: Any) -> None:
        """Note that a stage begins, and what is known by then.

        Args:
            round_id: The round.
            stage: Its name.
            **figures: Columns of the `rounds` table.

        Raises:
            TraceError: The store cannot be written.
        """
        self._update(round_id, {"stage": stage}, figures)

    def end(
        self,
        round_id: str,
        *,
        decision: str | None,
        reason: str,
        report: Mapping[str, Any],
        status: RoundStatus = "done",
        **figures: Any,
    ) -> None:
        """Close a round with its report; doing so again changes nothing but the time.

        Raises:
            TraceError: The store cannot be written.
        """
        content = encode(dict(report))
        moment = self._clock()
        ended = {
            "status": status,
            "decision": decision,
            "reason": reason,
            "report_hash": digest(content),
            "ended_at": moment,
        }
        self._update(
            round_id, ended, figures, first=lambda connection: keep(connection, content, moment)
        )

    def get(self, id_or_prefix: str) -> RoundEntry:
        """One round with its report.

        Raises:
            TraceError: None, or more than one, has an id that starts like this.
        """
        starts = _ROUNDS.c.id.startswith(id_or_prefix, autoescape=True)
        found = self._find(starts, reports=True)
        if len(found) != 1 or not id_or_prefix:
            what = "More than one round starts" if len(found) > 1 else "No round starts"
            raise TraceError(f"{what} with {id_or_prefix!r}: see `journeyman round list`.")
        return found[0]

    def history(self, agent: str | None = None, *, reports: bool = False) -> list[RoundEntry]:
        """Rounds, oldest first.

        Args:
            agent: Only this sub-agent's.
            reports: With their reports, which take longer to read.

        Raises:
            TraceError: The store cannot be read.
            CorruptRecord: A report is missing or does not match its hash.
        """
        clause = _ROUNDS.c.agent == agent if agent is not None else _ROUNDS.c.id.is_not(None)
        return self._find(clause, reports=reports)

    def last_done(self, agent: str) -> RoundEntry | None:
        """The last round of a sub-agent that came to a decision; None where none did.

        Raises:
            TraceError: The store cannot be read.
        """
        done = [entry for entry in self.history(agent) if entry.status == "done"]
        return done[-1] if done else None

    def _find(self, clause: Any, *, reports: bool = False) -> list[RoundEntry]:
        def work(connection: Connection) -> list[RoundEntry]:
            query = select(_ROUNDS).where(clause).order_by(_ROUNDS.c.started_at, _ROUNDS.c.id)
            rows = connection.execute(query).mappings().all()
            hashes = {row["report_hash"] for row in rows if reports and row["report_hash"]}
            content = reads.payloads(connection, hashes, self._store.name)
            return [_entry(row, content) for row in rows]

        return self._store.read(work)

    def _update(
        self,
        round_id: str,
        values: Mapping[str, Any],
        figures: Mapping[str, Any],
        first: Callable[[Connection], object] | None = None,
    ) -> None:
        unknown = figures.keys() - _FIGURES
        if unknown:
            raise TypeError(f"the rounds table has no {sorted(unknown)}")

        def work(connection: Connection) -> None:
            if first is not None:
                first(connection)
            columns = {**values, **figures}
            if "metrics" in columns:
                columns["metrics"] = encode(dict(columns["metrics"]))
            connection.execute(update(_ROUNDS).where(_ROUNDS.c.id == round_id).values(columns))

        self._store.transact(work)


def _entry(row: RowMapping, content: Mapping[str, Any]) -> RoundEntry:
    return RoundEntry(
        id=row["id"],
        agent=row["agent"],
        number=row["number"],
        status=row["status"],
        stage=row["stage"],
        decision=row["decision"],
        reason=row["reason"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        candidate_id=row["candidate_id"],
        report=content.get(row["report_hash"]) if row["report_hash"] else None,
    )
