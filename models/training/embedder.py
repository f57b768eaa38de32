"""Teaching an embedder: its query side learns by contrast, its document side stays as it is.

Documents are embedded once, before training, so that a step computes queries alone and the taught
student searches the index that is there. Runs in float32. The taught weights are mixed with the
base's in the share that ranks held-out lessons best, which may be none of them: a base that few
lessons cannot better is left alone. The folder appears only when training has finished. Knows
nothing of indexes, or of where the lessons come from.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from journeyman.models.catalog import resolve
from journeyman.models.errors import ConfigError
from journeyman.models.students.device import pick_device
from journeyman.models.students.embedder import Embedder, Vector, write_embedder
from journeyman.models.students.folders import refuse_used
from journeyman.models.training.contrast import Contrast, QueryLesson, contrast, merged
from journeyman.models.training.steps import TrainProgress
from journeyman.models.types import content_hash

if TYPE_CHECKING:
    from journeyman.models.training.query_tower import QueryTower, Run, State

__all__ = ["EmbedderReport", "QueryLesson", "TrainProgress", "train_embedder"]

BLENDS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Shares of the taught weights that are tried; 0 is the base."""

_BLIND_BLEND = 0.5  # where no lesson is held out to choose by
_FEWEST_TO_HOLD_OUT = 20  # below, every lesson is worth more as a lesson than as a test


@dataclass(frozen=True, slots=True)
class EmbedderReport:
    """What training did.

    Attributes:
        seconds: Wall time.
        loss: Mean training loss of the epoch whose weights were kept.
        blend: Share of the taught weights in the student; 0 is the base itself.
        base_mrr: Mean reciprocal rank of held-out lessons' best answer among all documents given,
            by the base; None without any, or where `blends` has no 0.
        held_out_mrr: The same by the student that was written.
        mrr_by_blend: The same by each share that was tried.
        from_parent: Whether training went on from the parent.
        num_queries: Queries that were learned from.
        num_held_out: Queries that were not.
        num_documents: Documents that they were ranked among.
        num_epochs: Epochs run.
        best_epoch: The epoch whose weights were kept.
        losses: Mean training loss by epoch.
        held_out_losses: By epoch; empty without held-out lessons.
        held_out: The queries held out.
        fingerprint: Of the embedder that was written.
    """

    seconds: float
    loss: float
    blend: float
    base_mrr: float | None
    held_out_mrr: float | None
    mrr_by_blend: Mapping[float, float]
    from_parent: bool
    num_queries: int
    num_held_out: int
    num_documents: int
    num_epochs: int
    best_epoch: int
    losses: tuple[float, ...]
    held_out_losses: tuple[float, ...]
    held_out: tuple[str, ...]
    fingerprint: str


def train_embedder(
    lessons: Sequence[QueryLesson],
    *,
    base: str = "all-MiniLM-L6-v2",
    out: Path,
    documents: Sequence[str] = (),
    vectors: Mapping[str, Vector] | None = None,
    parent: Path | None = None,
    epochs: int = 4,
    batch_size: int = 32,
    learning_rate: float = 5e-5,
    warmup_share: float = 0.1,
    weight_decay: float = 0.01,
    num_negatives: int = 7,
    margin: float = 0.05,
    blends: Sequence[float] = BLENDS,
    seed: int = 0,
    device: str | None = None,
    progress: Callable[[TrainProgress], None] | None = None,
    held_out_share: float = 0.2,
) -> EmbedderReport:
    """Teach an embedder and write it to a new folder, to be used as `Embedder.load(out)`.

    Args:
        lessons: At least one, each with an answer. Their order does not matter; those of one query
            become one.
        base: An encoder, as `catalog.resolve` takes it.
        out: Folder that does not exist yet, or is empty.
        documents: More documents, where hard negatives are looked for and among which held-out
            lessons are ranked; best, what a search finds for the lessons' queries.
        vectors: Vectors of documents, by text, that the base's document side made before.
        parent: Folder of an embedder of the same base, to go on from where its held-out loss is
            lower than the base's.
        epochs: Most passes over the lessons, at least 1.
        batch_size: Queries per step, at least 2: the answers of one are the negatives of others.
        learning_rate: Highest, after warm-up; it then falls linearly to 0.
        warmup_share: Share of the steps over which it rises, in [0, 1).
        weight_decay: AdamW's, for weight matrices alone.
        num_negatives: Hard negatives of a query, at most.
        margin: In [0, 1): an unjudged document that is more than `1 - margin` times as like the
            query as its answer is no hard negative.
        blends: Shares of the taught weights, in [0, 1], of which the one that ranks held-out
            lessons best is kept.
        seed: For order and dropout. Which lessons are held out depends on their queries alone, so
            that a later round does not learn from what an earlier one was tested on.
        device: `cpu`, `cuda`, ...; CUDA where there is one, if None.
        progress: Called after every step; what it raises ends the training and leaves no folder.
        held_out_share: Share of the queries, in [0, 1), that early stopping and the blend watch.
            With fewer than 20 queries none are held out, and the blend is the one nearest a half.

    Raises:
        ConfigError: No lessons, one without an answer, a number out of range, or the libraries of
            `journeyman[train]` are missing.
        WeightsError: The base is missing, the parent is of another base, or `out` is not empty.
    """
    start = time.perf_counter()
    _check(lessons, epochs, batch_size)
    _check_shares(margin, held_out_share, blends)
    refuse_used(out, "embedder")
    try:
        from journeyman.models.training.query_tower import QueryTower, Schedule
    except ImportError as error:
        raise ConfigError(
            f"Teaching an embedder needs a library that is not there ({error.name}): run "
            "`pip install 'journeyman[train]'`."
        ) from error
    place = pick_device(device)
    course = _Course.of(lessons, base, documents, vectors or {}, place, num_negatives, margin)
    learned, held_out = _split(course.contrasts, held_out_share)
    tower = QueryTower(resolve(base), place)
    untaught = tower.state()
    from_parent = _start(tower, untaught, parent, held_out, course.vectors)
    schedule = Schedule(
        epochs, batch_size, learning_rate, warmup_share, weight_decay, seed, progress
    )
    run = tower.learn(learned, held_out, course.vectors, schedule)
    blend, mrrs = _blend(tower, untaught, held_out, course.vectors, blends)
    write_embedder(out, resolve(base), tower.encoder if blend > 0 else None)
    report = _report(run, learned, held_out, blend, mrrs)
    return replace(
        report,
        seconds=time.perf_counter() - start,
        from_parent=from_parent,
        num_documents=len(course.vectors),
        fingerprint=Embedder.load(out, device=place).fingerprint(),
    )


def _check(lessons: Sequence[QueryLesson], epochs: int, batch_size: int) -> None:
    empty = next((lesson for lesson in lessons if not lesson.positives), None)
    if not lessons or empty is not None:
        raise ConfigError(
            f"An embedder cannot be taught with {len(lessons)} lessons"
            f"{f', of which {empty.query!r} has no answer' if empty else ''}: give at least one, "
            "each with a document that answers it."
        )
    if epochs < 1 or batch_size < 2:
        raise ConfigError(
            f"An embedder cannot be taught in {epochs} epochs of batches of {batch_size}: give at "
            "least 1 epoch, and batches of at least 2."
        )


def _check_shares(margin: float, held_out_share: float, blends: Sequence[float]) -> None:
    shares = bool(blends) and all(0 <= blend <= 1 for blend in blends)
    if not (0 <= margin < 1 and 0 <= held_out_share < 1 and shares):
        raise ConfigError(
            f"An embedder cannot be taught with a margin of {margin}, a share of {held_out_share} "
            f"held out and blends {tuple(blends)}: give numbers in [0, 1), and at least one blend "
            "in [0, 1]."
        )


@dataclass(frozen=True, slots=True)
class _Course:
    """Lessons as rows of a table of document vectors."""

    contrasts: list[Contrast]
    vectors: Vector

    @classmethod
    def of(
        cls,
        lessons: Sequence[QueryLesson],
        base: str,
        documents: Sequence[str],
        known: Mapping[str, Vector],
        device: str,
        num_negatives: int,
        margin: float,
    ) -> _Course:
        """Embed what has no vector yet, once, and look for hard negatives."""
        embedder = Embedder(base, device=device)
        joined = merged(lessons)
        named = (text for each in joined for text in (*each.positives, *each.negatives))
        texts = sorted({*named, *documents})
        missing = [text for text in texts if text not in known]
        made = dict(zip(missing, embedder.embed_documents(missing), strict=True))
        table = np.stack([made[t] if t in made else known[t] for t in texts]).astype(np.float32)
        rows = {text: row for row, text in enumerate(texts)}
        queries = embedder.predict([lesson.query for lesson in joined])
        contrasts = [
            contrast(lesson, query, rows, table, num_negatives=num_negatives, margin=margin)
            for lesson, query in zip(joined, queries, strict=True)
        ]
        return cls(contrasts, table)


def _split(contrasts: Sequence[Contrast], share: float) -> tuple[list[Contrast], list[Contrast]]:
    """Learned and held-out lessons: those with the smallest hashes are held out."""
    if len(contrasts) < _FEWEST_TO_HOLD_OUT or share <= 0:
        return list(contrasts), []
    limit = int(share * 16**8)
    places = [int(content_hash(["held out", c.query], length=8), 16) for c in contrasts]
    held_out = [c for c, place in zip(contrasts, places, strict=True) if place < limit]
    learned = [c for c, place in zip(contrasts, places, strict=True) if place >= limit]
    return (learned, held_out) if learned else (held_out, [])


def _start(
    tower: QueryTower,
    untaught: State,
    parent: Path | None,
    held_out: Sequence[Contrast],
    vectors: Vector,
) -> bool:
    """Give the tower the parent's weights if they are the better start."""
    weights = Embedder.load(parent, base=tower.base.name).query_weights if parent else None
    if weights is None or not held_out:
        return False
    before, _ = tower.judge(held_out, vectors)
    tower.load_file(weights)
    if tower.judge(held_out, vectors)[0] < before:
        return True
    tower.load(untaught)
    return False


def _blend(
    tower: QueryTower,
    untaught: State,
    held_out: Sequence[Contrast],
    vectors: Vector,
    blends: Sequence[float],
) -> tuple[float, dict[float, float]]:
    """Leave the tower with the mixture that ranks held-out lessons best; its share, and all MRRs.

    Among equals the lower loss decides.
    """
    from journeyman.models.training.query_tower import blended

    taught = tower.state()
    if not held_out:
        blind = min(blends, key=lambda share: abs(share - _BLIND_BLEND))
        tower.load(blended(untaught, taught, blind))
        return blind, {}
    found = {}
    for share in blends:
        tower.load(blended(untaught, taught, share))
        loss, mrr = tower.judge(held_out, vectors)
        found[share] = (mrr, -loss)
    best = max(found, key=found.__getitem__)
    tower.load(blended(untaught, taught, best))
    return best, {share: mrr for share, (mrr, _) in found.items()}


def _report(
    run: Run,
    learned: Sequence[Contrast],
    held_out: Sequence[Contrast],
    blend: float,
    mrrs: Mapping[float, float],
) -> EmbedderReport:
    return EmbedderReport(
        seconds=0.0,
        loss=run.losses[run.best_epoch - 1],
        blend=blend,
        base_mrr=mrrs.get(0.0),
        held_out_mrr=mrrs.get(blend),
        mrr_by_blend=dict(mrrs),
        from_parent=False,
        num_queries=len(learned),
        num_held_out=len(held_out),
        num_documents=0,
        num_epochs=len(run.losses),
        best_epoch=run.best_epoch,
        losses=tuple(run.losses),
        held_out_losses=tuple(run.held_out_losses),
        held_out=tuple(each.query for each in held_out),
        fingerprint="",
    )
