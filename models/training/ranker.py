"""Teaching a ranker: listwise cross-entropy, with early stopping on held-out reciprocal rank.

First the kinds of candidates are counted; then the encoder learns what the counts do not say. A
step sees for each task its right candidates and a sample of its wrong ones, hard ones rather than
easy ones, weighted so that the sample stands for all of them. Runs in float32. The same groups,
settings, device and library versions give the same weights. The folder appears only when training
has finished. Knows nothing of where the groups come from.
"""

from __future__ import annotations

import math
import random
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from journeyman.models.catalog import resolve
from journeyman.models.errors import ConfigError
from journeyman.models.students.device import computing, pick_device
from journeyman.models.students.folders import refuse_used
from journeyman.models.students.ranker import TASK_TOKENS, Ranker
from journeyman.models.students.ranker_weights import (
    Facts,
    PairTokenizer,
    kind_of,
    max_positions,
    new_scorer,
    write_ranker,
)
from journeyman.models.training.steps import TrainProgress, parameter_groups, shuffled_batches

if TYPE_CHECKING:
    import torch

__all__ = ["RankerReport", "RankingGroup", "TrainProgress", "train_ranker"]

_FEWEST_TO_HOLD_OUT = 20  # below, every group is worth more as a lesson than as a test
_PATIENCE = 2  # epochs without a better held-out rank
_HELD_OUT_CANDIDATES = 48  # of a held-out group; all of a long one would take longer than an epoch
_HARDNESS = 0.5  # 0 samples all wrong candidates alike, 1 as often as the priors believe them
_SMOOTHING = 0.3, 30.0  # right candidates and candidates that every kind is believed to have had
_RIGHT_SHARE = 0.5  # of a step's candidates at most, where many are right


@dataclass(frozen=True, slots=True)
class RankingGroup:
    """A teaching example: one task with its candidates.

    Attributes:
        task: As the ranker will be asked.
        candidates: At least two.
        right: Indexes of those that answer the task; not empty, not all.
        offsets: What else speaks for each candidate, as log-odds that whoever asks the ranker adds
            to its scores; empty for nothing. The ranker does not learn again what they say.
        source: Groups of one source are held out together; empty stands alone.
    """

    task: str
    candidates: Sequence[str]
    right: frozenset[int]
    offsets: Sequence[float] = ()
    source: str = ""


@dataclass(frozen=True, slots=True)
class RankerReport:
    """What training did.

    Attributes:
        seconds: Wall time.
        loss: Mean training loss of the epoch whose weights were kept.
        held_out_mrr: Mean reciprocal rank of the first right candidate among a held-out group's
            right ones and a sample of its wrong ones (48 together at most), by the kept weights;
            None without held-out groups.
        prior_mrr: What kinds and offsets alone reach on them.
        num_groups: Groups that were learned from.
        num_held_out: Groups that were not.
        num_epochs: Epochs run.
        best_epoch: The epoch whose weights were kept.
        losses: Mean training loss by epoch.
        held_out_mrrs: By epoch; empty without held-out groups.
        fingerprint: Of the ranker that was written.
    """

    seconds: float
    loss: float
    held_out_mrr: float | None
    prior_mrr: float | None
    num_groups: int
    num_held_out: int
    num_epochs: int
    best_epoch: int
    losses: tuple[float, ...]
    held_out_mrrs: tuple[float, ...]
    fingerprint: str


@dataclass(frozen=True, slots=True)
class _Lesson:
    """A group as ids, the right candidates first, and what speaks for each beforehand."""

    task: list[int]
    candidates: list[list[int]]
    offsets: NDArray[np.float64]
    num_right: int

    def chances(self) -> NDArray[np.float64]:
        """How often each wrong candidate is sampled: those that are hard to tell, more often."""
        chances = np.exp(_HARDNESS * (self.offsets - self.offsets.max()))[self.num_right :]
        result: NDArray[np.float64] = chances / chances.sum()
        return result


@dataclass(frozen=True, slots=True)
class _Sample:
    """What one step sees of a lesson: some candidates, the right ones first."""

    task: list[int]
    candidates: list[list[int]]
    num_right: int
    offsets: NDArray[np.float64]
    log_weights: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Schedule:
    epochs: int
    batch_size: int
    learning_rate: float
    warmup_share: float
    weight_decay: float
    max_candidates: int
    seed: int
    progress: Callable[[TrainProgress], None] | None


@dataclass(slots=True)
class _Run:
    losses: list[float]
    held_out_mrrs: list[float]
    best_epoch: int = 0


def train_ranker(
    groups: Sequence[RankingGroup],
    *,
    base: str = "all-MiniLM-L6-v2",
    out: Path,
    epochs: int = 3,
    batch_size: int = 4,
    learning_rate: float = 2e-4,
    warmup_share: float = 0.1,
    weight_decay: float = 0.01,
    seed: int = 0,
    max_candidates_per_group: int = 16,
    device: str | None = None,
    progress: Callable[[TrainProgress], None] | None = None,
    held_out_share: float = 0.1,
) -> RankerReport:
    """Teach a ranker and write it to a new folder, to be used as `Ranker(weights=out)`.

    Args:
        groups: At least one.
        base: A BERT encoder, as `catalog.resolve` takes it.
        out: Folder that does not exist yet, or is empty.
        epochs: Most passes over the groups; each samples other wrong candidates.
        batch_size: Groups per step.
        learning_rate: Highest, after warm-up; it then falls linearly to 0.
        warmup_share: Share of the steps over which it rises.
        weight_decay: AdamW's, for weight matrices alone.
        seed: For the split, the order, the samples, the new head and dropout.
        max_candidates_per_group: Candidates of a group in one step, at least 2.
        device: `cpu`, `cuda`, ...; CUDA where there is one, if None.
        progress: Called after every step; what it raises ends the training and leaves no folder.
        held_out_share: Share of the groups, in [0, 1), that early stopping watches. With fewer
            than 20 groups none are held out.

    Raises:
        ConfigError: No groups, or a group without a right or without a wrong candidate.
        ModelError: A candidate is longer than the ranker reads.
        WeightsError: The base is missing, or `out` is not empty.
    """
    start = time.perf_counter()
    _check(groups, max_candidates_per_group)
    refuse_used(out, "ranker")
    import torch

    place = pick_device(device)
    learned, held_out = _split(groups, held_out_share, seed)
    with torch.random.fork_rng(devices=[] if place == "cpu" else None):
        torch.manual_seed(seed)
        course = _Course(base, place, learned)
        lessons, exams = course.lessons(learned), course.exams(held_out, seed)
        schedule = _Schedule(
            epochs,
            batch_size,
            learning_rate,
            warmup_share,
            weight_decay,
            max_candidates_per_group,
            seed,
            progress,
        )
        run = _fit(course, lessons, exams, schedule)
    write_ranker(out, course.scorer, course.facts)
    report = RankerReport(
        seconds=0.0,
        loss=run.losses[run.best_epoch - 1],
        held_out_mrr=run.held_out_mrrs[run.best_epoch - 1] if exams else None,
        prior_mrr=float(np.mean([_reciprocal(exam, 0.0) for exam in exams])) if exams else None,
        num_groups=len(learned),
        num_held_out=len(held_out),
        num_epochs=len(run.losses),
        best_epoch=run.best_epoch,
        losses=tuple(run.losses),
        held_out_mrrs=tuple(run.held_out_mrrs),
        fingerprint=Ranker(weights=out, device=place).fingerprint(),
    )
    return replace(report, seconds=time.perf_counter() - start)


def _check(groups: Sequence[RankingGroup], max_candidates: int) -> None:
    if not groups or max_candidates < 2:
        raise ConfigError(
            f"A ranker cannot be taught with {len(groups)} groups of at most {max_candidates} "
            f"candidates: give at least one group, and let it show two."
        )
    for i, group in enumerate(groups):
        count = len(group.candidates)
        known = all(0 <= k < count for k in group.right)
        weighed = len(group.offsets) in (0, count) and all(map(math.isfinite, group.offsets))
        if not (known and weighed and 0 < len(group.right) < count):
            raise ConfigError(
                f"Ranking group {i} has {count} candidates, {len(group.right)} right ones and "
                f"{len(group.offsets)} offsets: it needs a right one, a wrong one, and a finite "
                f"offset for each candidate or none at all."
            )


def _split(
    groups: Sequence[RankingGroup], share: float, seed: int
) -> tuple[list[RankingGroup], list[RankingGroup]]:
    """Learned and held-out groups; those of one source stay together."""
    if len(groups) < _FEWEST_TO_HOLD_OUT or share <= 0:
        return list(groups), []
    keys = [group.source or f"#{i}" for i, group in enumerate(groups)]
    order = sorted(set(keys))
    random.Random(seed).shuffle(order)
    held_out = set(order[: max(1, round(share * len(order)))])
    if len(held_out) == len(order):  # all of one source
        return list(groups), []
    pairs = list(zip(keys, groups, strict=True))
    return (
        [group for key, group in pairs if key not in held_out],
        [group for key, group in pairs if key in held_out],
    )


class _Course:
    """The model that learns, and how groups become its rows."""

    def __init__(self, base: str, device: str, groups: Sequence[RankingGroup]) -> None:
        self.base = resolve(base)
        priors, other = _count_kinds(groups)
        self.facts = Facts(base, self.base.digest, TASK_TOKENS, priors, other)
        self.scorer = new_scorer(self.base, device)
        self._tokenizer = PairTokenizer(
            self.base.path, task_tokens=TASK_TOKENS, max_positions=max_positions(self.base.path)
        )

    def lessons(self, groups: Sequence[RankingGroup]) -> list[_Lesson]:
        """The groups as ids."""
        return [self._lesson(group) for group in groups]

    def _lesson(self, group: RankingGroup) -> _Lesson:
        order = sorted(range(len(group.candidates)), key=lambda i: i not in group.right)
        texts = [group.candidates[i] for i in order]
        known = np.array([group.offsets[i] if group.offsets else 0.0 for i in order])
        return _Lesson(
            task=self._tokenizer.tasks([group.task])[0],
            candidates=self._tokenizer.candidates(texts),
            offsets=known + np.array([self.facts.prior(text) for text in texts]),
            num_right=len(group.right),
        )

    def exams(self, groups: Sequence[RankingGroup], seed: int) -> list[_Sample]:
        """Held-out groups as fixed rows, a part of the candidates of long ones."""
        order = np.random.default_rng(seed)
        return [_sample(lesson, _HELD_OUT_CANDIDATES, order) for lesson in self.lessons(groups)]

    def loss(self, samples: Sequence[_Sample]) -> torch.Tensor:
        """Mean over tasks of -log(probability of any right one) among all of its candidates."""
        import torch

        states = self.scorer.read([sample.task for sample in samples])
        counts = [len(sample.candidates) for sample in samples]
        scores = self.scorer.scores(
            states,
            [candidate for sample in samples for candidate in sample.candidates],
            [number for number, count in enumerate(counts) for _ in range(count)],
        )
        parts = torch.split(scores, counts)
        losses = []
        for part, sample in zip(parts, samples, strict=True):
            known = torch.from_numpy(sample.offsets + sample.log_weights)
            weighted = part + known.to(part.device, part.dtype)
            right = torch.logsumexp(weighted[: sample.num_right], 0)
            losses.append(torch.logsumexp(weighted, 0) - right)
        return torch.stack(losses).mean()


def _sample(lesson: _Lesson, most: int, order: np.random.Generator) -> _Sample:
    """Some right and some wrong candidates, wrong ones by hardness.

    A wrong one weighs one over its expected number of draws, so that the sample's sum is an
    unbiased estimate of the sum over all wrong ones.
    """
    num_right = max(1, min(lesson.num_right, int(most * _RIGHT_SHARE)))
    all_wrong = len(lesson.candidates) - lesson.num_right
    num_wrong = min(most - num_right, all_wrong)
    right = order.permutation(lesson.num_right)[:num_right]
    weights = np.zeros(num_wrong)
    wrong = np.arange(num_wrong)
    if num_wrong < all_wrong:
        chances = lesson.chances()
        drawn = order.choice(all_wrong, num_wrong, replace=True, p=chances)
        wrong, counts = np.unique(drawn, return_counts=True)
        weights = np.log(counts / (num_wrong * chances[wrong]))
    picked = [*right, *(lesson.num_right + wrong)]
    return _Sample(
        task=lesson.task,
        candidates=[lesson.candidates[i] for i in picked],
        num_right=num_right,
        offsets=lesson.offsets[picked],
        log_weights=np.concatenate([np.zeros(num_right), weights]),
    )


def _fit(
    course: _Course, lessons: Sequence[_Lesson], exams: Sequence[_Sample], schedule: _Schedule
) -> _Run:
    """Train the course's model and leave it with the weights of its best epoch."""
    import torch
    from transformers import get_linear_schedule_with_warmup

    order = random.Random(schedule.seed)
    module = course.scorer.module
    num_steps = schedule.epochs * -(-len(lessons) // schedule.batch_size)
    # Half of a small encoder's weights are its words'. Left as they are they cost no optimizer
    # step, and words that teaching never showed keep their place among those that it did.
    course.scorer.encoder.get_input_embeddings().requires_grad_(requires_grad=False)
    optimizer = torch.optim.AdamW(
        parameter_groups(module, schedule.weight_decay),
        lr=schedule.learning_rate,
        fused=True,  # on a CPU the plain one takes as long as forward and backward together
    )
    rate = get_linear_schedule_with_warmup(
        optimizer, int(schedule.warmup_share * num_steps), num_steps
    )
    run = _Run([], [])
    best: Mapping[str, torch.Tensor] = {}
    for epoch in range(1, schedule.epochs + 1):
        run.losses.append(_epoch(course, lessons, schedule, order, optimizer, rate, epoch))
        if not exams or _is_best(course, exams, run):
            run.best_epoch = epoch
            if exams:
                best = {k: v.detach().clone() for k, v in module.state_dict().items()}
        elif epoch - run.best_epoch >= _PATIENCE:
            break
    if best:
        module.load_state_dict(best)
    module.eval()
    return run


def _epoch(
    course: _Course,
    lessons: Sequence[_Lesson],
    schedule: _Schedule,
    order: random.Random,
    optimizer: torch.optim.Optimizer,
    rate: torch.optim.lr_scheduler.LRScheduler,
    epoch: int,
) -> float:
    """One pass over the lessons; the mean loss."""
    import torch

    module = course.scorer.module
    module.train()
    draws = np.random.default_rng([schedule.seed, epoch])
    lengths = [len(lesson.task) for lesson in lessons]
    batches = shuffled_batches(lengths, schedule.batch_size, order)
    total, count = 0.0, 0
    for number, batch in enumerate(batches, start=1):
        samples = [_sample(lessons[i], schedule.max_candidates, draws) for i in batch]
        with computing(course.scorer.device):  # one step at a time, so that serving gets its turn
            loss = course.loss(samples)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimizer.step()
            rate.step()
            optimizer.zero_grad(set_to_none=True)
            total += float(loss.detach()) * len(batch)
            count += len(batch)
        if schedule.progress is not None:
            step = (epoch - 1) * len(batches) + number
            num_steps = schedule.epochs * len(batches)
            schedule.progress(TrainProgress(step, num_steps, epoch, total / count))
    return total / count


def _is_best(course: _Course, exams: Sequence[_Sample], run: _Run) -> bool:
    """Measure the held-out reciprocal rank; later weights win among equals."""
    course.scorer.module.eval()
    found = [_reciprocal(exam, course.scorer.predict(exam.task, exam.candidates)) for exam in exams]
    run.held_out_mrrs.append(float(np.mean(found)))
    return run.held_out_mrrs[-1] >= max(run.held_out_mrrs)


def _reciprocal(exam: _Sample, scores: NDArray[np.float32] | float) -> float:
    """One over the rank of the first right candidate; among equals it comes last."""
    total = exam.offsets + scores
    best = total[: exam.num_right].max()
    return 1 / (1 + int((total[exam.num_right :] >= best).sum()))


def _count_kinds(groups: Sequence[RankingGroup]) -> tuple[dict[str, float], float]:
    """How the odds of being right differ between kinds, in logs; offsets are taken out of them."""
    right, all_weight = defaultdict[str, float](float), defaultdict[str, float](float)
    for group in groups:
        offsets = np.array(group.offsets or [0.0] * len(group.candidates))
        weights = np.exp(offsets - offsets.max())
        for i, (text, weight) in enumerate(zip(group.candidates, weights, strict=True)):
            kind = kind_of(text)
            all_weight[kind] += float(weight)
            right[kind] += (i in group.right) / len(group.right)
    few, many = _SMOOTHING
    priors = {k: math.log((right[k] + few) / (all_weight[k] + many)) for k in sorted(all_weight)}
    return priors, math.log(few / many)
