"""Two runs side by side: which tasks they share, and where their answers differ.

Tasks are matched by content first, then by order within a sub-agent. Knows JSON alone: answers that
differ here may be the same for their sub-agent.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from journeyman.traces.differences import Pair, side_by_side
from journeyman.traces.reads import RunTrace
from journeyman.traces.records import AttemptRecord


@dataclass(frozen=True, slots=True)
class TaskPair:
    """One task in both runs.

    Attributes:
        agent: The sub-agent.
        first, second: What became of it; None where the run has no such task.
        is_same_task: The two have the same input.
        answers: Both answers, path by path.
    """

    agent: str
    first: AttemptRecord | None
    second: AttemptRecord | None
    is_same_task: bool
    answers: tuple[Pair, ...]

    @property
    def differs(self) -> bool:
        """Another answer, another source, or a task that one run lacks."""
        if self.first is None or self.second is None:
            return True
        same_source = self.first.source == self.second.source
        return not same_source or any(pair.differs for pair in self.answers)


def pair_tasks(first: RunTrace, second: RunTrace) -> list[TaskPair]:
    """The tasks of two runs, in the order of the first, then those that only the second has."""
    left, right = list(first.attempts), list(second.attempts)
    pairs: dict[int, AttemptRecord] = {}
    _match(left, right, pairs, by_content=True)
    _match(left, right, pairs, by_content=False)
    found = [_pair(attempt, pairs.get(id(attempt))) for attempt in left]
    return found + [_pair(None, attempt) for attempt in right]


def _match(
    left: Iterable[AttemptRecord],
    right: list[AttemptRecord],
    pairs: dict[int, AttemptRecord],
    *,
    by_content: bool,
) -> None:
    """Pair what is still alone, taking it out of `right`."""

    def key(attempt: AttemptRecord) -> Hashable:
        return (attempt.agent, attempt.task_key) if by_content else attempt.agent

    waiting: defaultdict[Hashable, deque[AttemptRecord]] = defaultdict(deque)
    for attempt in right:
        waiting[key(attempt)].append(attempt)
    for attempt in left:
        if id(attempt) not in pairs and waiting[key(attempt)]:
            pairs[id(attempt)] = waiting[key(attempt)].popleft()
    taken = {id(attempt) for attempt in pairs.values()}
    right[:] = [attempt for attempt in right if id(attempt) not in taken]


def _pair(first: AttemptRecord | None, second: AttemptRecord | None) -> TaskPair:
    known = first or second
    assert known is not None, "a pair has at least one side"
    is_same = first is not None and second is not None and first.task_key == second.task_key
    answers = side_by_side(
        first.answer if first is not None else None, second.answer if second is not None else None
    )
    return TaskPair(known.agent, first, second, is_same, tuple(answers))
