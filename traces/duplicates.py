"""Duplicates among labelled tasks: the same task, the same content, and near copies.

The key is always the whole task: two steps with the same user text and different tool results are
two tasks. Two tasks that look alike but have different answers are a contrast, the most useful kind
of pair there is, and both are kept. Results do not depend on the order of the rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from datasketch import MinHash, MinHashLSH  # type: ignore[import-untyped]  # ships no types

from journeyman.models.types import content_hash
from journeyman.traces.labels import Drop, LabelledTask, preference
from journeyman.traces.likeness import (
    alike,
    are_near,
    content_key,
    is_long,
    jaccard,
    leaves,
    shingles,
    words,
)

AnswerKey = Callable[[LabelledTask], str]
"""Equal for rows whose answers are the same for their skill."""

Agrees = Callable[[Any, Any], bool]
"""Whether two answers, as JSON-compatible data, are the same for their skill."""

NUM_PERMUTATIONS = 128
SHINGLE_WORDS = 5

# Missing a pair costs more than looking at one too many: every candidate is checked exactly.
_LSH_WEIGHTS = (0.1, 0.9)
_BATCH = 10_000  # shingles hashed at once: each takes half a kilobyte while it is
_CHUNK = 256


@dataclass(frozen=True, slots=True)
class Deduplicated:
    """What is left, in the order of `preference`, and what was dropped."""

    kept: tuple[LabelledTask, ...]
    dropped: tuple[Drop, ...]


def answer_key(row: LabelledTask) -> str:
    """Hash of the target, whatever its case, white space and Unicode form."""
    return content_key(row.target)


def merge_same_tasks(
    rows: Iterable[LabelledTask], *, agrees: Agrees | None = None
) -> tuple[Deduplicated, tuple[Drop, ...]]:
    """Keep one label of each task: a person's before tests before the frontier's, the latest first.

    The one that is kept certifies if any label of the task did, and counts how many there were.

    Args:
        rows: Labelled tasks of one sub-agent.
        agrees: Whether two answers are the same; by default, where their content is.

    Returns:
        The tasks, and those among them on which the frontier disagreed with itself and nobody
        better has said who is right (reason `teacher_disagrees`). These are also among the kept.
    """
    same = agrees or (lambda first, second: content_key(first) == content_key(second))
    by_task: defaultdict[str, list[LabelledTask]] = defaultdict(list)
    for row in rows:
        by_task[row.task_key].append(row)
    kept: list[LabelledTask] = []
    dropped: list[Drop] = []
    disputed: list[Drop] = []
    for group in by_task.values():
        first, *others = sorted(group, key=_preference)
        merged = _merged(first, others)
        kept.append(merged)
        dropped.extend(Drop(row, "same_task", f"as {_name(first)}") for row in others)
        rivals = [row for row in others if row.label_source == "frontier"]
        if first.label_source == "frontier" and not all(
            same(first.target, row.target) for row in rivals
        ):
            detail = f"{len(group)} frontier answers to the same task differ"
            disputed.append(Drop(merged, "teacher_disagrees", detail))
    return Deduplicated(_ordered(kept), _ordered_drops(dropped)), _ordered_drops(disputed)


def _merged(first: LabelledTask, others: Sequence[LabelledTask]) -> LabelledTask:
    """One row for all; a label that may not train withholds only itself."""
    if not others:
        return first
    return replace(
        first,
        certifies=first.certifies or any(row.certifies for row in others),
        occurrences=first.occurrences + sum(row.occurrences for row in others),
    )


def drop_same_content(rows: Iterable[LabelledTask], *, key: AnswerKey = answer_key) -> Deduplicated:
    """Drop tasks that differ from another in case, white space or Unicode form only.

    Args:
        rows: Labelled tasks, one for each task key.
        key: See `AnswerKey`; tasks with different answers are both kept.
    """
    kept: list[LabelledTask] = []
    dropped: list[Drop] = []
    seen: dict[tuple[str, str], LabelledTask] = {}
    for row in sorted(rows, key=preference):
        content = (content_key(row.task), key(row))
        if content in seen:
            dropped.append(Drop(row, "same_content", f"as {_name(seen[content])}"))
        else:
            seen[content] = row
            kept.append(row)
    return Deduplicated(tuple(kept), tuple(dropped))


def drop_near_copies(
    rows: Iterable[LabelledTask],
    *,
    anchors: Iterable[LabelledTask] = (),
    similarity: float = 0.8,
    ratio: float = 95.0,
    key: AnswerKey = answer_key,
) -> Deduplicated:
    """Drop near copies of a task that is kept; no chain of small steps drops anything else.

    Two tasks are near copies where they have the same fields, the same answer, and every field as
    well as the whole is near (`likeness.are_near`).

    Args:
        rows: Labelled tasks, one for each task key.
        anchors: Tasks that stay where they are, such as those held out: their copies are dropped
            from `rows` (reason `copies_held_out`) whichever is better.
        similarity: Smallest Jaccard similarity of 5-word shingles of long texts.
        ratio: Smallest similarity of short texts, in [0, 100].
        key: See `AnswerKey`; tasks with different answers are both kept.
    """
    blocks: defaultdict[tuple[str, ...], list[tuple[bool, LabelledTask]]] = defaultdict(list)
    for is_anchor, given in ((True, anchors), (False, rows)):
        for row in given:
            blocks[key(row), *leaves(row.task)].append((is_anchor, row))
    kept: list[LabelledTask] = []
    dropped: list[Drop] = []
    for block in blocks.values():
        # Different answers were separated above, so that a flood of alike tasks stays cheap here.
        block.sort(key=lambda item: (not item[0], preference(item[1])))
        num_anchors = sum(is_anchor for is_anchor, _ in block)
        if num_anchors == len(block):
            continue
        rule = _Rule([_Text.of(row) for _, row in block], num_anchors, similarity, ratio)
        copies = rule.copies()
        for i, (_, row) in enumerate(block[num_anchors:], num_anchors):
            original = copies.get(i)
            if original is None:
                kept.append(row)
                continue
            reason = "copies_held_out" if original < num_anchors else "near_copy"
            dropped.append(Drop(row, reason, f"near {_name(block[original][1])}"))
    return Deduplicated(_ordered(kept), _ordered_drops(dropped))


@dataclass(frozen=True, slots=True)
class _Text:
    """A task as it is compared: its fields, and the words of the whole."""

    fields: tuple[str, ...]
    parts: tuple[str, ...]
    plain: str

    @classmethod
    def of(cls, row: LabelledTask) -> _Text:
        fields = tuple(leaves(row.task).values())
        parts = words("\n".join(fields))
        return cls(fields, parts, " ".join(parts))


@dataclass(frozen=True, slots=True)
class _Rule:
    """Which text of one block copies which earlier one.

    Attributes:
        texts: In the order in which they are preferred.
        num_fixed: So many at the start are kept, whatever they copy.
        similarity, ratio: See `drop_near_copies`.
    """

    texts: Sequence[_Text]
    num_fixed: int
    similarity: float
    ratio: float

    def copies(self) -> dict[int, int]:
        """The earlier text that each text copies; texts that copy nothing are absent."""
        if len(self.texts) < 2:
            return {}
        found = self._long_copies([i for i, text in enumerate(self.texts) if is_long(text.parts)])
        short = [i for i, text in enumerate(self.texts) if text.parts and not is_long(text.parts)]
        found.update(self._short_copies(short))
        return found

    def _near(self, first: int, second: int) -> bool:
        """Whether every field is near; the shortest are compared first, since they are cheap."""
        pairs = zip(self.texts[first].fields, self.texts[second].fields, strict=True)
        return all(
            are_near(a, b, similarity=self.similarity, ratio=self.ratio, size=SHINGLE_WORDS)
            for a, b in sorted(pairs, key=lambda pair: len(pair[0]) + len(pair[1]))
        )

    def _long_copies(self, members: Sequence[int]) -> dict[int, int]:
        if len(members) < 2:
            return {}
        index = MinHashLSH(self.similarity, NUM_PERMUTATIONS, weights=_LSH_WEIGHTS)
        sets = (shingles(self.texts[i].parts, SHINGLE_WORDS) for i in members)
        found: dict[int, int] = {}
        for i, signature in zip(members, signatures(sets, NUM_PERMUTATIONS), strict=True):
            candidates = sorted(index.query(signature)) if i >= self.num_fixed else ()
            original = next((j for j in candidates if self._is_long_copy(i, j)), None)
            if original is None:
                index.insert(i, signature)
            else:
                found[i] = original
        return found

    def _is_long_copy(self, first: int, second: int) -> bool:
        if not self._near(first, second):
            return False
        wholes = (shingles(self.texts[i].parts, SHINGLE_WORDS) for i in (first, second))
        return jaccard(*wholes) >= self.similarity

    def _short_copies(self, members: Sequence[int]) -> dict[int, int]:
        found: dict[int, int] = {}
        kept: list[int] = []
        for start in range(0, len(members), _CHUNK):
            chunk = members[start : start + _CHUNK]
            columns = [*kept, *chunk]
            left = [self.texts[i].plain for i in chunk]
            right = [self.texts[i].plain for i in columns]
            for row, column, _ in alike(left, right, self.ratio):
                i, j = chunk[row], columns[column]
                is_open = j < i >= self.num_fixed and i not in found and j not in found
                if is_open and self._near(i, j):
                    found[i] = j
            kept.extend(i for i in chunk if i not in found)
        return found


def signatures(sets: Iterable[Iterable[str]], num_permutations: int) -> Iterator[MinHash]:
    """MinHash of each set of texts; the same for the same set, in any process."""
    empty = MinHash(num_perm=num_permutations)
    for members in sets:
        signature = empty.copy()
        encoded = [text.encode("utf-8", "surrogatepass") for text in members]
        for start in range(0, len(encoded), _BATCH):
            signature.update_batch(encoded[start : start + _BATCH])
        yield signature


def _name(row: LabelledTask) -> str:
    return row.escalation_id or row.task_key


def _preference(row: LabelledTask) -> tuple[Any, ...]:
    # Imports may have no id of their own: then the answer decides.
    return (*preference(row), content_hash(row.target))


def _ordered(rows: Iterable[LabelledTask]) -> tuple[LabelledTask, ...]:
    return tuple(sorted(rows, key=preference))


def _ordered_drops(drops: Iterable[Drop]) -> tuple[Drop, ...]:
    return tuple(sorted(drops, key=lambda drop: preference(drop.row)))
