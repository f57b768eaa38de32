"""What a round learns from: labels gathered from the record, curated, and doubted where it is due.

A label that a person rejected teaches nothing and is no lucky gap either: where it certifies it
counts against every student, like one that fails a check. Knows no student and trains nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from journeyman.agents.base import Agent
from journeyman.graph.audits import group_of
from journeyman.models.bounds import upper_bound
from journeyman.models.types import Check, Example, content_hash
from journeyman.traces.collect import collect
from journeyman.traces.curate import Curation, curate
from journeyman.traces.curate import Settings as CurationSettings
from journeyman.traces.decontaminate import Decontaminator
from journeyman.traces.examples import ExampleStore
from journeyman.traces.labels import PARTS, LabelledTask
from journeyman.traces.rounds import RoundEntry
from journeyman.traces.store import Store

_SURE = 0.05  # chance that a teacher within the limit is doubted all the same


@dataclass(frozen=True, slots=True)
class Gathered:
    """Labels that there are when a round begins.

    Attributes:
        new: Made or reviewed since the last round.
        known: Of earlier rounds, as far as nobody has said anything new of them.
        passed_over: Escalations without a usable label, by reason.
    """

    new: tuple[LabelledTask, ...]
    known: tuple[LabelledTask, ...]
    passed_over: dict[str, int]

    @property
    def rows(self) -> tuple[LabelledTask, ...]:
        """All of them."""
        return (*self.new, *self.known)


class RoundLabels:
    """The labels of one round.

    Args:
        agent: As it is given to the orchestrator.
        store: The trace store.
        entry: The round on record.
        since: When the last round began; None for the first.
    """

    def __init__(
        self, agent: Agent[Any, Any], store: Store, entry: RoundEntry, since: datetime | None
    ) -> None:
        self._agent = agent
        self._store = store
        self._entry = entry
        self._since = since
        self._examples = ExampleStore(store)

    def gather(self) -> Gathered:
        """The labels; the same again after a crash, unless a review came in between."""
        name = self._agent.name
        found = collect(self._store, name, since=self._since, until=self._entry.started_at)
        # Without a target, and no longer what a person said: the check below finds them wanting.
        rejected = [replace(row, label_source="frontier") for row in found.rejected]
        new = (*found.rows, *rejected)
        again = {row.escalation_id for row in new}
        known = self._examples.load(name, before_round=self._entry.id)
        return Gathered(
            new,
            tuple(row for row in known if row.escalation_id not in again),
            {f"passed_over_{reason}": number for reason, number in found.passed_over.items()},
        )

    def curate(
        self,
        gathered: Gathered,
        settings: CurationSettings,
        suites: Decontaminator | Collection[str],
    ) -> Curation:
        """Curate them, and keep which side each stands on."""
        curation = curate(
            gathered.rows,
            settings=settings,
            suites=suites,
            verify=self._verify,
            agrees=self._agrees,
            group_of=lambda row: group_of(self._agent, row.task),
            fixed=self._examples.splits(self._agent.name),
        )
        self._examples.save(curation, round_id=self._entry.id)
        return curation

    def _verify(self, row: LabelledTask) -> Sequence[Check]:
        if row.target is None:
            return [Check("rejected_by_reviewer", passed=False)]
        task = self._agent.validate(row.task)
        return self._agent.checks(task, self._agent.output_type.model_validate(row.target))

    def _agrees(self, first: Any, second: Any) -> bool:
        if first is None or second is None:
            return False
        read = self._agent.output_type.model_validate
        return bool(self._agent.agrees(read(first), read(second)))

    def example(self, row: LabelledTask) -> Example:
        """The teaching example of a label."""
        task = self._agent.validate(row.task)
        return self._agent.example(task, self._agent.output_type.model_validate(row.target))


def doubts(gathered: Gathered, curation: Curation) -> dict[str, int]:
    """How many new labels of a model nobody has looked at yet, and how many of them are in doubt.

    Known labels stay out of it: a teacher that goes wrong must not hide behind its better days.
    """
    in_suite = {drop.row.task_key for drop in curation.dropped if drop.reason == "in_suite"}
    fresh = {
        row.task_key
        for row in gathered.new
        if row.label_source != "human" and row.target is not None
    } - in_suite
    doubted = {drop.row.task_key for drop in curation.review} & fresh
    return {"checked": len(fresh), "doubted": len(doubted)}


def are_doubtful(num_doubted: int, num_checked: int, limit: float) -> bool:
    """Whether more than a share of the labels is in doubt, and not by luck."""
    if not num_checked:
        return False
    # The lower bound of a share is what the upper bound of its complement leaves.
    sound = num_checked - num_doubted
    return 1 - upper_bound(sound, num_checked, _SURE) > limit


def content_of(curation: Curation) -> str:
    """Hash of tasks, labels and what each may be used for, whichever round used them first."""
    return content_hash(
        [
            [part, row.task_key, row.target, row.label_source, row.failed_check]
            for part in PARTS
            for row in curation.rows(part)
        ]
    )
