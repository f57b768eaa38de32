"""The mix a student is taught with: escalations, audits and replay, no cluster above its share.

Seeded by hash, so that neither the order of the rows nor the process matters. A class that is
absent leaves its share to the others: in the cold start everything is an escalation.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from datasketch import MinHashLSH  # type: ignore[import-untyped]  # ships no types

from journeyman.models.errors import ConfigError
from journeyman.models.types import canonical_json
from journeyman.traces.duplicates import signatures
from journeyman.traces.labels import Drop, LabelledTask, Origin
from journeyman.traces.likeness import jaccard, shingles, whole_text, words

SHARES: Mapping[Origin, float] = {"escalation": 0.5, "audit": 0.3, "replay": 0.2}

_CLASS: Mapping[Origin, Origin] = {"import": "replay"}  # golden rows are replayed, not escalated
_MAX_WEIGHT = 1.5  # more makes a tagger worse at everything else; see docs/lab.md
_FEWEST_PER_CLUSTER = 20
_ALIKE = 0.5  # of the pairs of words: the same sentence with another value in it
_PERMUTATIONS = 64
_BANDS = (21, 3)  # finds 94 % of the pairs at that likeness, and 2 % of those at a fifth of it


@dataclass(frozen=True, slots=True)
class Mixed:
    """What a student is taught with.

    Attributes:
        rows: Sorted by task key.
        weights: How often each row should be drawn compared with a row of weight 1; the mean is 1.
        dropped: Rows above the cap of their cluster (`cluster_cap`), or of a class that is larger
            than its share of `size` (`mix_share`).
        counts: Rows by class.
        num_clusters: Clusters of alike rows, counting single rows.
        is_capped: Whether the cap could be held; fewer clusters than the cap needs cannot.
    """

    rows: tuple[LabelledTask, ...]
    weights: tuple[float, ...]
    dropped: tuple[Drop, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    num_clusters: int = 0
    is_capped: bool = True


def mix(
    rows: Iterable[LabelledTask],
    *,
    size: int | None = None,
    shares: Mapping[Origin, float] = SHARES,
    cluster_share: float = 0.05,
    seed: int = 0,
) -> Mixed:
    """Choose and weigh the rows that teach.

    Without `size` every row below the cap is kept, and the shares come about by the weights: to
    throw taught material away for the sake of a share would cost more than the share is worth. No
    class is weighted up by more than half: new tasks are the hard ones, and most of traffic is not.

    Args:
        rows: Labelled tasks, one for each task key.
        size: At most so many rows; None for all.
        shares: Share of each class, above 0; imports count as replay.
        cluster_share: Largest share of one cluster of alike tasks, in (0, 1]; clusters of up to 20
            rows are left alone.
        seed: Another seed chooses other rows.

    Raises:
        ConfigError: A share or the size makes no sense.
    """
    if not 0 < cluster_share <= 1 or (size is not None and size < 0):
        raise ConfigError(
            f"A cluster share of {cluster_share!r} with size {size!r} makes no sense: give a share "
            "in (0, 1] and a size of 0 or more."
        )
    ordered = sorted(rows, key=lambda row: (_draw(row.task_key, seed), row.task_key))
    unknown = {_class(row) for row in ordered} - {name for name, s in shares.items() if s > 0}
    if unknown:
        raise ConfigError(f"The mix has no share for {min(unknown)!r}: give one above 0.")
    clusters = _clusters(ordered)
    cap = _cap(Counter(clusters), cluster_share)
    below, dropped = _capped(ordered, clusters, cap)
    chosen, left = _chosen(below, size, shares)
    chosen.sort(key=lambda row: row.task_key)
    counts = Counter(_class(row) for row in chosen)
    weights = _weights(counts, shares)
    return Mixed(
        rows=tuple(chosen),
        weights=tuple(weights[_class(row)] for row in chosen),
        dropped=tuple(dropped + left),
        counts=dict(sorted(counts.items())),
        num_clusters=len(set(clusters)),
        is_capped=cap is not None or not ordered,
    )


def quotas(
    size: int, shares: Mapping[Origin, float], available: Mapping[Origin, int]
) -> Counter[Origin]:
    """How many rows each class gives: its share, or all it has where that is less.

    What a class cannot give the others give, in proportion to their shares.

    Args:
        size: Rows wanted in total.
        shares: Share of each class, above 0.
        available: Rows of each class.
    """
    given: Counter[Origin] = Counter()
    while (missing := min(size, sum(available.values())) - given.total()) > 0:
        open_classes = sorted(name for name in available if given[name] < available[name])
        total = sum(shares[name] for name in open_classes)
        wanted = {name: missing * shares[name] / total for name in open_classes}
        whole = {name: min(int(wanted[name]), available[name] - given[name]) for name in wanted}
        if not any(whole.values()):  # fewer rows than classes are left: the largest rests first
            first = max(open_classes, key=lambda name: (wanted[name], name))
            whole = {first: 1}
        given.update(whole)
    return given


def _class(row: LabelledTask) -> Origin:
    return _CLASS.get(row.origin, row.origin)


def _draw(task_key: str, seed: int) -> bytes:
    key = canonical_json(["mix", seed, task_key])
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _clusters(rows: Sequence[LabelledTask]) -> list[int]:
    """A cluster for each row: that of the first earlier row, itself a first one, that is alike."""
    sets = [shingles(words(whole_text(row.task)), 2) for row in rows]
    index = MinHashLSH(num_perm=_PERMUTATIONS, params=_BANDS)
    found: list[int] = []
    for i, signature in enumerate(signatures(sets, _PERMUTATIONS)):
        near = sorted(index.query(signature))
        first = next((j for j in near if jaccard(sets[i], sets[j]) >= _ALIKE), None)
        if first is None:
            index.insert(i, signature)
        found.append(i if first is None else first)
    return found


def _cap(sizes: Counter[int], share: float) -> int | None:
    """Most rows of one cluster, such that none has more than its share of all that is then kept.

    Clusters of 20 rows are never cut. None where there are too few clusters to hold the share.
    """
    low, high = 0, max(sizes.values(), default=0)
    while low < high:  # the caps that hold are those up to the largest one
        middle = (low + high + 1) // 2
        kept = sum(min(size, middle) for size in sizes.values())
        if middle <= share * kept + 1e-9:
            low = middle
        else:
            high = middle - 1
    return max(low, _FEWEST_PER_CLUSTER) if low else None


def _capped(
    rows: Sequence[LabelledTask], clusters: Sequence[int], cap: int | None
) -> tuple[list[LabelledTask], list[Drop]]:
    if cap is None:
        return list(rows), []
    taken: Counter[int] = Counter()
    kept: list[LabelledTask] = []
    dropped: list[Drop] = []
    for row, cluster in zip(rows, clusters, strict=True):
        taken[cluster] += 1
        if taken[cluster] <= cap:
            kept.append(row)
        else:
            dropped.append(Drop(row, "cluster_cap", f"one of more than {cap} tasks alike"))
    return kept, dropped


def _chosen(
    rows: Sequence[LabelledTask], size: int | None, shares: Mapping[Origin, float]
) -> tuple[list[LabelledTask], list[Drop]]:
    if size is None or len(rows) <= size:
        return list(rows), []
    by_class: defaultdict[Origin, list[LabelledTask]] = defaultdict(list)
    for row in rows:
        by_class[_class(row)].append(row)
    quota = quotas(size, shares, {name: len(members) for name, members in by_class.items()})
    chosen: list[LabelledTask] = []
    left: list[Drop] = []
    for name, members in sorted(by_class.items()):
        chosen.extend(members[: quota[name]])
        detail = f"{quota[name]} of {len(members)} rows of class {name} fit"
        left.extend(Drop(row, "mix_share", detail) for row in members[quota[name] :])
    return chosen, left


def _weights(counts: Counter[Origin], shares: Mapping[Origin, float]) -> dict[Origin, float]:
    """Weight of a row of each class; the mean over all rows is 1, and none is above 1.5."""
    weights: dict[Origin, float] = {}
    rest = Counter(counts)
    mass = float(counts.total())
    while rest:
        total = sum(shares[name] for name in rest)
        wanted = {name: mass * shares[name] / total / rest[name] for name in rest}
        over = [name for name, weight in wanted.items() if weight > _MAX_WEIGHT]
        if not over:
            return weights | wanted
        for name in over:
            weights[name] = _MAX_WEIGHT
            mass -= _MAX_WEIGHT * rest.pop(name)
    return weights
