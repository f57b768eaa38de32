"""Teaching a tagger: AdamW on token classification, other mentions in the same sentences.

Where examples are held out, their loss ends the training early.

Runs in float32. The same examples, settings, device and library versions give the same weights. The
folder appears only when training has finished. Knows nothing of where the examples come from.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from journeyman.models.catalog import resolve
from journeyman.models.errors import ConfigError, WeightsError
from journeyman.models.students import bio
from journeyman.models.students.device import computing, pick_device
from journeyman.models.students.familiarity import Familiarity
from journeyman.models.students.folders import refuse_used
from journeyman.models.students.tagger import OVERLAP, WINDOW, Tagger
from journeyman.models.students.tagger_weights import (
    Facts,
    load_module,
    new_module,
    read_facts,
    write_tagger,
)
from journeyman.models.students.tokens import (
    length_sorted,
    load_tokenizer,
    pad,
    special_ids,
    tokenize,
    windows,
)
from journeyman.models.training.steps import TrainProgress, parameter_groups, shuffled_batches
from journeyman.models.training.tagged_text import Mentions, TaggedText
from journeyman.models.types import content_hash

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

__all__ = [
    "TaggedText",
    "TrainProgress",
    "TrainReport",
    "can_go_on",
    "shared_sets",
    "train_tagger",
]

_IGNORED = -100  # what torch's cross entropy leaves out
_FEWEST_TO_HOLD_OUT = 20  # below, every example is worth more as a lesson than as a test
_PATIENCE = 2  # epochs without a better held-out loss
_FEWEST_SHARED = 3  # texts; fewer stretches with the same several labels may be mistakes


@dataclass(frozen=True, slots=True)
class TrainReport:
    """What training did.

    Attributes:
        seconds: Wall time.
        loss: Mean training loss of the epoch whose weights were kept, mentions exchanged.
        held_out_loss: Loss of the kept weights on held-out examples; None without any.
        held_out_f1: Micro F1 of exact spans on them; None without any.
        num_examples: Examples that were learned from.
        num_held_out: Examples that were not.
        num_inexact_spans: Spans that begin or end inside a word, or overlap another, but for those
            of a stretch whose several labels are learned.
        num_epochs: Epochs run.
        best_epoch: The epoch whose weights were kept.
        losses: Mean training loss by epoch.
        held_out_losses: Held-out loss by epoch; empty without held-out examples.
        fingerprint: Of the tagger that was written.
    """

    seconds: float
    loss: float
    held_out_loss: float | None
    held_out_f1: float | None
    num_examples: int
    num_held_out: int
    num_inexact_spans: int
    num_epochs: int
    best_epoch: int
    losses: tuple[float, ...]
    held_out_losses: tuple[float, ...]
    fingerprint: str


@dataclass(frozen=True, slots=True)
class _Row:
    """One window as the model sees it: token ids, the tag of each (or `_IGNORED`), its weight."""

    ids: list[int]
    tags: NDArray[np.int64]
    weight: float


def train_tagger(
    examples: Sequence[TaggedText],
    labels: Sequence[str],
    *,
    base: str = "all-MiniLM-L6-v2",
    out: Path,
    epochs: int = 8,
    batch_size: int = 16,
    learning_rate: float = 5e-4,
    warmup_share: float = 0.1,
    weight_decay: float = 0.01,
    seed: int = 0,
    start: Path | None = None,
    device: str | None = None,
    progress: Callable[[TrainProgress], None] | None = None,
    held_out_share: float = 0.1,
    exchanged_share: float = 0.5,
) -> TrainReport:
    """Teach a tagger and write it to a new folder, to be used as `Tagger(weights=out)`.

    The vectors of the base's words stay as they are. That spares the optimizer half of a small
    encoder's weights, and words that teaching never showed keep their place among those it did.

    Args:
        examples: At least one.
        labels: What spans may be marked as; each span's label is one of them. Several that three
            texts give to one stretch are learned as such.
        base: An encoder, as `catalog.resolve` takes it.
        out: Folder that does not exist yet, or is empty.
        epochs: Most passes over the examples, at least 1.
        batch_size: Windows per step, at least 1.
        learning_rate: Highest, after warm-up; it then falls linearly to 0.
        warmup_share: Share of the steps over which it rises.
        weight_decay: AdamW's, for weight matrices alone.
        seed: For the split, the order, the new head and dropout.
        start: Folder of a tagger to go on from; see `can_go_on`. It is not changed. It needs
            fewer epochs, not smaller steps.
        device: `cpu`, `cuda`, ...; CUDA where there is one, if None.
        progress: Called after every step; what it raises ends the training and leaves no folder.
        held_out_share: Share of the examples, in [0, 1), that early stopping watches. With fewer
            than 20 examples none are held out. Their text alone decides which, so that whoever goes
            on from a tagger watches examples that it was not taught either.
        exchanged_share: Share, in [0, 1], of the examples that each epoch shows with other mentions
            of the same labels, and of the spans in these that are drawn anew; see `Mentions`.

    Raises:
        ConfigError: No examples, none with a word, no labels, a label twice, a span with another
            label, or a number out of range.
        WeightsError: The base is missing, `out` is not empty, or `start` is no tagger with these
            labels and of this base.
    """
    began = time.perf_counter()
    _check(examples, labels, epochs, batch_size, held_out_share, exchanged_share)
    refuse_used(out, "tagger")
    import torch

    place = pick_device(device)
    learned, held_out = _split(examples, held_out_share)
    with torch.random.fork_rng(devices=[] if place == "cpu" else None):
        torch.manual_seed(seed)
        course = _Course(base, labels, place, start, shared_sets(learned))
        rows = course.rows(learned)
        if not rows:  # else the head would be written as it was drawn, and pass for taught
            raise ConfigError(
                f"None of the {len(learned)} examples to learn from holds a word: give examples "
                "with text, or hold fewer out."
            )
        held_out_rows = course.rows(held_out)
        num_inexact = course.num_inexact  # before any is counted again in every epoch
        schedule = _Schedule(
            epochs,
            batch_size,
            learning_rate,
            warmup_share,
            weight_decay,
            seed,
            progress,
            exchanged_share,
        )
        run = _fit(course, learned, rows, held_out_rows, schedule)
    write_tagger(out, course.module, course.base, course.facts, _familiarity(learned, start))
    tagger = Tagger(weights=out, device=place)
    report = TrainReport(
        seconds=0.0,
        loss=run.losses[run.best_epoch - 1],
        held_out_loss=run.held_out_losses[run.best_epoch - 1] if held_out else None,
        held_out_f1=_f1(tagger, held_out) if held_out else None,
        num_examples=len(learned),
        num_held_out=len(held_out),
        num_inexact_spans=num_inexact,
        num_epochs=len(run.losses),
        best_epoch=run.best_epoch,
        losses=tuple(run.losses),
        held_out_losses=tuple(run.held_out_losses),
        fingerprint=tagger.fingerprint(),
    )
    return replace(report, seconds=time.perf_counter() - began)


def _check(
    examples: Sequence[TaggedText],
    labels: Sequence[str],
    epochs: int,
    batch_size: int,
    held_out_share: float,
    exchanged_share: float,
) -> None:
    if not examples or not labels:
        raise ConfigError(
            f"A tagger cannot be taught with {len(examples)} examples and {len(labels)} labels: "
            f"give at least one of each."
        )
    if len(set(labels)) != len(labels):
        raise ConfigError(f"The tagger's labels {list(labels)} name one twice: name each once.")
    if epochs < 1 or batch_size < 1 or not 0 <= held_out_share < 1:
        raise ConfigError(
            f"A tagger cannot be taught in {epochs} epochs of batches of {batch_size} with a share "
            f"of {held_out_share} held out: give at least 1, at least 1, and a share in [0, 1)."
        )
    if not 0 <= exchanged_share <= 1:
        raise ConfigError(
            f"A share of {exchanged_share} of the examples cannot have mentions exchanged: give a "
            f"share in [0, 1]."
        )


def shared_sets(examples: Sequence[TaggedText]) -> tuple[tuple[str, ...], ...]:
    """Sets of several labels that one stretch has often enough in some examples to be learned."""
    return bio.shared_sets((example.spans for example in examples), _FEWEST_SHARED)


def can_go_on(
    start: Path, base: str, labels: Sequence[str], shared: Sequence[tuple[str, ...]] = ()
) -> bool:
    """Whether a folder holds a taught tagger with these labels, in any order, of this very base.

    Args:
        start: The folder.
        base: As `catalog.resolve` takes it.
        labels: What spans may be marked as.
        shared: Sets of several labels that one stretch may have; it must know them all, since
            whoever goes on learns no further ones.

    Raises:
        WeightsError: The base is missing.
    """
    try:
        facts = read_facts(start)
    except WeightsError:
        return False
    knows = set(facts.labels) == set(labels) and set(facts.shared) >= set(shared)
    return knows and facts.base_digest == resolve(base).digest


def _split(
    examples: Sequence[TaggedText], share: float
) -> tuple[list[TaggedText], list[TaggedText]]:
    """Learned and held-out examples."""
    if len(examples) < _FEWEST_TO_HOLD_OUT or share <= 0:
        return list(examples), []
    order = sorted(range(len(examples)), key=lambda i: (content_hash(examples[i].text), i))
    held_out = set(order[: max(1, round(share * len(examples)))])
    return (
        [example for i, example in enumerate(examples) if i not in held_out],
        [examples[i] for i in sorted(held_out)],
    )


class _Course:
    """The model that learns, and how texts become its rows."""

    def __init__(
        self,
        base: str,
        labels: Sequence[str],
        device: str,
        start: Path | None = None,
        shared: tuple[tuple[str, ...], ...] = (),
    ) -> None:
        self.base = resolve(base)
        self.facts = Facts(tuple(labels), base, self.base.digest, WINDOW, OVERLAP, shared)
        self.device = device
        self.num_inexact = 0
        self._tokenizer = load_tokenizer(self.base.path)
        self._prefix, self._suffix = special_ids(self._tokenizer)
        self.module: PreTrainedModel
        if start is None:
            self.module = new_module(self.base, self.facts.label_sets)
        elif can_go_on(start, base, labels):
            known = read_facts(start)  # in the order of its head's tags
            self.facts = replace(self.facts, labels=known.labels, shared=known.shared)
            self.module = load_module(start)
        else:
            raise WeightsError(
                f"The folder {str(start)!r} holds no tagger of {base!r} with these labels: start "
                f"from the base."
            )
        # Left as they are they cost no optimizer step.
        self.module.base_model.get_input_embeddings().requires_grad_(requires_grad=False)
        self._pad_id = int(self.module.config.pad_token_id or 0)
        self.module.to(device)

    def rows(self, examples: Sequence[TaggedText]) -> list[_Row]:
        """The examples' windows with a tag on the first token of each unit."""
        rows = []
        pieces = tokenize(self._tokenizer, [example.text for example in examples])
        room = WINDOW - len(self._prefix) - len(self._suffix)
        for example, text in zip(examples, pieces, strict=True):
            aligned = bio.align(example.spans, text.units, self.facts.label_sets)
            self.num_inexact += aligned.num_inexact
            tags = np.full(len(text.ids), _IGNORED, dtype=np.int64)
            tags[text.first] = aligned.tags
            for window in windows(len(text.ids), room, OVERLAP):
                inner = tags[window.start : window.end]
                ids = text.ids[window.start : window.end]
                rows.append(self._row(ids, inner, example.weight))
        return rows

    def _row(self, ids: list[int], tags: NDArray[np.int64], weight: float) -> _Row:
        before = np.full(len(self._prefix), _IGNORED, dtype=np.int64)
        after = np.full(len(self._suffix), _IGNORED, dtype=np.int64)
        ids = [*self._prefix, *ids, *self._suffix]
        return _Row(ids, np.concatenate([before, tags, after]), weight)

    def loss(self, batch: Sequence[_Row]) -> tuple[torch.Tensor, int]:
        """Mean weighted loss over a batch's tagged tokens, and their number."""
        import torch

        ids, mask = pad([row.ids for row in batch], self._pad_id)
        tags, _ = pad([row.tags.tolist() for row in batch], _IGNORED)
        logits = self.module(
            input_ids=torch.from_numpy(ids).to(self.device),
            attention_mask=torch.from_numpy(mask).to(self.device),
        ).logits
        target = torch.from_numpy(tags).to(self.device)
        losses = torch.nn.functional.cross_entropy(
            logits.float().transpose(1, 2), target, ignore_index=_IGNORED, reduction="none"
        )
        weights = torch.tensor([row.weight for row in batch], device=self.device)
        num_tags = int((tags != _IGNORED).sum())
        # By the number of tags, not by their weights: else a batch of light rows would count as
        # much as one of heavy rows.
        return (losses * weights[:, None]).sum() / max(num_tags, 1), num_tags


@dataclass(frozen=True, slots=True)
class _Schedule:
    epochs: int
    batch_size: int
    learning_rate: float
    warmup_share: float
    weight_decay: float
    seed: int
    progress: Callable[[TrainProgress], None] | None
    exchanged_share: float


@dataclass(slots=True)
class _Run:
    losses: list[float]
    held_out_losses: list[float]
    best_epoch: int = 0


class _Teaching:
    """One course's steps: the optimizer, its rate, and where it is.

    Exchanged mentions make an epoch a little longer or shorter than the examples themselves: place
    is counted in steps of the latter.
    """

    def __init__(self, course: _Course, num_rows: int, schedule: _Schedule) -> None:
        import torch

        self._course = course
        self._schedule = schedule
        self._epoch_steps = -(-num_rows // schedule.batch_size)
        self._num_steps = schedule.epochs * self._epoch_steps
        self._learning = [p for p in course.module.parameters() if p.requires_grad]
        self._optimizer = torch.optim.AdamW(
            parameter_groups(course.module, schedule.weight_decay),
            lr=schedule.learning_rate,
            fused=True,  # on a CPU the plain one takes as long as forward and backward together
        )

    def epoch(self, number: int, rows: Sequence[_Row], order: random.Random) -> float:
        """Teach all rows once; the mean loss."""
        import torch

        self._course.module.train()
        total, count = 0.0, 0
        lengths = [len(row.ids) for row in rows]
        batches = shuffled_batches(lengths, self._schedule.batch_size, order)
        for i, batch in enumerate(batches):
            begun = (number - 1) * self._epoch_steps
            self._set_rate(begun + i * self._epoch_steps / len(batches))
            # One step at a time, so that serving gets its turn.
            with computing(self._course.device):
                loss, num_tags = self._course.loss([rows[k] for k in batch])
                if num_tags:
                    loss.backward()  # type: ignore[no-untyped-call]
                    torch.nn.utils.clip_grad_norm_(self._learning, 1.0)
                    self._optimizer.step()
                    total += float(loss.detach()) * num_tags
                    count += num_tags
                self._optimizer.zero_grad(set_to_none=True)
            done = (i + 1) * self._epoch_steps // len(batches)
            self._tell(begun + done, number, total / max(count, 1))
        return total / max(count, 1)

    def _set_rate(self, step: float) -> None:
        """Rises linearly from 0, then falls linearly to 0."""
        warmup = int(self._schedule.warmup_share * self._num_steps)
        if step < warmup:
            factor = step / warmup
        else:
            factor = (self._num_steps - step) / max(1, self._num_steps - warmup)
        for group in self._optimizer.param_groups:
            group["lr"] = self._schedule.learning_rate * factor

    def _tell(self, step: int, epoch: int, loss: float) -> None:
        if self._schedule.progress is not None:
            self._schedule.progress(TrainProgress(step, self._num_steps, epoch, loss))


def _fit(
    course: _Course,
    learned: Sequence[TaggedText],
    rows: Sequence[_Row],
    held_out: Sequence[_Row],
    schedule: _Schedule,
) -> _Run:
    """Train the course's module and leave it with the weights of its best epoch.

    Args:
        course: What is taught.
        learned: The examples.
        rows: Theirs, as they are.
        held_out: Of the examples that early stopping watches.
        schedule: How.
    """
    order = random.Random(schedule.seed)
    mentions = Mentions(learned)
    teaching = _Teaching(course, len(rows), schedule)
    run = _Run([], [])
    best: dict[str, torch.Tensor] = {}
    for epoch in range(1, schedule.epochs + 1):
        if schedule.exchanged_share > 0:
            rows = course.rows(mentions.exchanged(learned, schedule.exchanged_share, order))
        run.losses.append(teaching.epoch(epoch, rows, order))
        if _is_best(course, held_out, run):
            run.best_epoch = epoch
            if held_out:
                best = {k: v.detach().clone() for k, v in course.module.state_dict().items()}
        elif epoch - run.best_epoch >= _PATIENCE:
            break
    if best:
        course.module.load_state_dict(best)
    return run


def _is_best(course: _Course, held_out: Sequence[_Row], run: _Run) -> bool:
    """Measure the held-out loss; without held-out examples the last epoch is the best."""
    if not held_out:
        return True
    run.held_out_losses.append(_held_out_loss(course, held_out))
    return run.held_out_losses[-1] <= min(run.held_out_losses)


def _held_out_loss(course: _Course, rows: Sequence[_Row]) -> float:
    import torch

    course.module.eval()
    total, count = 0.0, 0
    for batch in length_sorted([len(row.ids) for row in rows], 32):
        with computing(course.device), torch.inference_mode():
            loss, num_tags = course.loss([rows[i] for i in batch])
            if num_tags:
                total += float(loss) * num_tags
                count += num_tags
    return total / max(count, 1)


def _familiarity(learned: Sequence[TaggedText], start: Path | None) -> Familiarity:
    """What the examples teach, and what they taught who began it."""
    own = Familiarity.of((example.text, example.spans) for example in learned)
    return own if start is None else own.joined(Familiarity.load(start))


def _f1(tagger: Tagger, examples: Sequence[TaggedText]) -> float:
    taggings = tagger.predict([example.text for example in examples])
    return bio.span_f1([e.spans for e in examples], [t.spans for t in taggings])
