"""The query side of an embedder under sentence-transformers' trainer; documents never move.

Importing this needs `journeyman[train]` and takes seconds, so only training does. Nothing is
fetched and nothing is reported anywhere. Knows nothing of files.
"""

from __future__ import annotations

import math
import random
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.base.sampler import DefaultBatchSampler
from transformers import PrinterCallback, TrainerCallback
from typing_extensions import override

from journeyman.models.catalog import Base
from journeyman.models.quiet import quiet_loading
from journeyman.models.students.device import computing
from journeyman.models.students.embedder import Pooling, load_tower
from journeyman.models.training.contrast import Batch, Contrast, Floats, batch_of, reciprocal_ranks
from journeyman.models.training.steps import TrainProgress, shuffled_batches

State = dict[str, torch.Tensor]

_SCALE = 20.0  # of cosines before the softmax, the usual of contrastive training
_PATIENCE = 2  # epochs without a better held-out loss


@dataclass(frozen=True, slots=True)
class Schedule:
    """How to train; see `train_embedder`."""

    epochs: int
    batch_size: int
    learning_rate: float
    warmup_share: float
    weight_decay: float
    seed: int
    progress: Callable[[TrainProgress], None] | None


@dataclass(slots=True)
class Run:
    """What training did: losses by epoch, and the weights of the best one."""

    losses: list[float] = field(default_factory=list)
    held_out_losses: list[float] = field(default_factory=list)
    best_epoch: int = 0
    best: State = field(default_factory=dict)


class QueryTower:
    """The encoder of queries, as it learns.

    Args:
        base: What it starts from, and what documents stay embedded by.
        device: `cpu`, `cuda`, ...
    """

    def __init__(self, base: Base, device: str) -> None:
        pooling = Pooling.of(base.path)
        with quiet_loading():
            self.model = SentenceTransformer(
                str(base.path),
                device=device,
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"dtype": torch.float32, "use_safetensors": True},
            )
        self.base = base
        self.model.max_seq_length = pooling.max_tokens
        self.device = device
        self._prompt = pooling.query_prompt

    @property
    def encoder(self) -> torch.nn.Module:
        """The encoder alone, without pooling."""
        return cast("torch.nn.Module", self.model[0].auto_model)

    def state(self) -> State:
        """A copy of the weights."""
        return {name: value.detach().clone() for name, value in self.encoder.state_dict().items()}

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take these weights."""
        self.encoder.load_state_dict(state)

    def load_file(self, weights: Path) -> None:
        """Take the weights of a query tower that was taught before.

        Raises:
            WeightsError: They cannot be read, or belong to another base.
        """
        self.load(load_tower(self.base, weights).state_dict())

    def prompted(self, queries: Iterable[str]) -> list[str]:
        """The queries as the encoder reads them."""
        return [self._prompt + query for query in queries]

    def embed(self, queries: Sequence[str]) -> torch.Tensor:
        """Unit vectors (len(queries), dimension)."""
        with computing(self.device):
            return cast(
                "torch.Tensor",
                self.model.encode(
                    self.prompted(queries),
                    normalize_embeddings=True,
                    convert_to_tensor=True,
                    show_progress_bar=False,
                ),
            )

    def learn(
        self,
        lessons: Sequence[Contrast],
        held_out: Sequence[Contrast],
        vectors: Floats,
        schedule: Schedule,
    ) -> Run:
        """Train, and end with the weights of the best epoch.

        Args:
            lessons: What to learn from; not empty.
            held_out: What early stopping watches; where it is empty the last epoch is the best.
            vectors: Of all documents.
            schedule: How.
        """
        # Half of a small encoder's weights are its words'. Left as they are they cost no optimizer
        # step, and words that no lesson had keep their place among those that some had.
        words = cast("Any", self.encoder).get_input_embeddings()
        words.requires_grad_(requires_grad=False)
        run = Run()
        loss = _FrozenDocumentsLoss(self.model, lessons, vectors)
        watch = _Watch(self, held_out, vectors, loss, run, schedule)
        texts = self.prompted(each.query for each in lessons)
        dataset = Dataset.from_dict({"query": texts, "label": list(range(len(texts)))})
        with _own_randomness(self.device), tempfile.TemporaryDirectory() as folder:
            trainer = _Trainer(
                model=self.model,
                args=_arguments(folder, schedule, len(lessons), self.device),
                train_dataset=dataset,
                loss=loss,
                callbacks=[watch],
            )
            trainer.remove_callback(PrinterCallback)
            trainer.train()
        if run.best:
            self.load(run.best)
        return run

    def judge(self, contrasts: Sequence[Contrast], vectors: Floats) -> tuple[float, float]:
        """Mean loss among all documents, and mean reciprocal rank."""
        queries = self.embed([each.query for each in contrasts])
        losses = []
        for first in range(0, len(contrasts), 64):  # bounds the table of all documents
            part = contrasts[first : first + 64]
            batch = batch_of(part, vectors, everything=True)
            losses.extend(_losses(queries[first : first + 64], batch).tolist())
        ranks = reciprocal_ranks(queries.cpu().numpy(), contrasts, vectors)
        weights = [each.weight for each in contrasts]
        return float(np.average(losses, weights=weights)), float(ranks.mean())


def blended(base: Mapping[str, torch.Tensor], taught: State, share: float) -> State:
    """`share` of the taught weights and the rest of the base's."""
    return {
        name: torch.lerp(value, taught[name], share) if value.is_floating_point() else value
        for name, value in base.items()
    }


def _losses(queries: torch.Tensor, batch: Batch) -> torch.Tensor:
    """-log(probability of any answer) of each query (num_queries,) among what counts."""
    documents = torch.from_numpy(batch.documents).to(queries.device)
    scores = _SCALE * queries @ documents.T
    counted = torch.from_numpy(batch.counted).to(queries.device)
    positive = torch.from_numpy(batch.positive).to(queries.device)
    among = torch.logsumexp(scores.masked_fill(~counted, -torch.inf), dim=1)
    return among - torch.logsumexp(scores.masked_fill(~positive, -torch.inf), dim=1)


class _FrozenDocumentsLoss(torch.nn.Module):
    """Multiple negatives ranking loss over documents whose vectors are given.

    The trainer hands over queries and, as their labels, the numbers of their lessons. Documents of
    a step are each there once, and a query's other answers are never its negatives.
    """

    def __init__(
        self, model: SentenceTransformer, lessons: Sequence[Contrast], vectors: Floats
    ) -> None:
        super().__init__()
        self.model = model
        self.total, self.count = 0.0, 0
        self._lessons, self._vectors = lessons, vectors

    def forward(
        self, features: Iterable[dict[str, torch.Tensor]], labels: torch.Tensor
    ) -> torch.Tensor:
        """Mean loss of the queries, by their weights."""
        (queries,) = (self.model(each)["sentence_embedding"] for each in features)
        unit = torch.nn.functional.normalize(queries, dim=-1)
        batch = batch_of([self._lessons[i] for i in labels.tolist()], self._vectors)
        losses = _losses(unit, batch)
        self.total += float(losses.detach().sum())
        self.count += len(losses)
        return (losses * torch.from_numpy(batch.weights).to(losses.device)).mean()


class _ByLength(DefaultBatchSampler):  # type: ignore[misc]  # the library ships no types
    """Queries of like length together, so that a step computes little padding."""

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        super().__init__(lengths, batch_size=batch_size, drop_last=False)
        self._lengths = lengths
        self._order = random.Random(seed)

    def __iter__(self) -> Iterator[list[int]]:
        yield from shuffled_batches(self._lengths, self.batch_size, self._order)

    def __len__(self) -> int:
        num_batches: int = math.ceil(len(self._lengths) / self.batch_size)
        return num_batches


class _Trainer(SentenceTransformerTrainer):  # type: ignore[misc]  # the library ships no types
    """The library's trainer, which takes turns with students that serve."""

    @override
    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        with computing(self.args.device.type):
            return cast("torch.Tensor", super().training_step(*args, **kwargs))

    @override
    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """No model card: the report of a training says what was done."""

    @override
    def get_batch_sampler(self, dataset: Dataset, batch_size: int, **_kwargs: Any) -> _ByLength:
        return _ByLength([len(text) for text in dataset["query"]], batch_size, self.args.seed)


class _Watch(TrainerCallback):  # type: ignore[misc]  # the library ships no types
    """Tells of progress, keeps the best epoch's weights and stops when nothing gets better."""

    def __init__(
        self,
        tower: QueryTower,
        held_out: Sequence[Contrast],
        vectors: Floats,
        loss: _FrozenDocumentsLoss,
        run: Run,
        schedule: Schedule,
    ) -> None:
        self._tower, self._held_out, self._vectors = tower, held_out, vectors
        self._loss, self._run, self._schedule = loss, run, schedule

    def on_step_end(self, _args: Any, state: Any, _control: Any, **_kwargs: Any) -> None:
        """Tell of the step."""
        if self._schedule.progress is not None:
            epoch = len(self._run.losses) + 1
            mean = self._loss.total / max(self._loss.count, 1)
            progress = TrainProgress(state.global_step, state.max_steps, epoch, mean)
            self._schedule.progress(progress)

    def on_epoch_end(self, _args: Any, _state: Any, control: Any, **_kwargs: Any) -> None:
        """Look at the held-out lessons."""
        run = self._run
        run.losses.append(self._loss.total / max(self._loss.count, 1))
        self._loss.total, self._loss.count = 0.0, 0
        epoch = len(run.losses)
        if not self._held_out:
            run.best_epoch = epoch
            return
        run.held_out_losses.append(self._tower.judge(self._held_out, self._vectors)[0])
        if run.held_out_losses[-1] <= min(run.held_out_losses):
            run.best_epoch, run.best = epoch, self._tower.state()
        elif epoch - run.best_epoch >= _PATIENCE:
            control.should_training_stop = True


def _arguments(folder: str, schedule: Schedule, num_lessons: int, device: str) -> Any:
    """Full precision, no checkpoints, no reports, no bars."""
    num_steps = schedule.epochs * math.ceil(num_lessons / schedule.batch_size)
    arguments = SentenceTransformerTrainingArguments(
        output_dir=folder,
        num_train_epochs=schedule.epochs,
        per_device_train_batch_size=schedule.batch_size,
        learning_rate=schedule.learning_rate,
        # Rounded down: the first step of a warm-up learns nothing, and few lessons are few steps.
        warmup_steps=int(schedule.warmup_share * num_steps),
        weight_decay=schedule.weight_decay,
        optim="adamw_torch_fused",  # on a CPU the plain one takes as long as the backward pass
        seed=schedule.seed,
        use_cpu=device == "cpu",
        bf16=False,
        fp16=False,
        gradient_checkpointing=False,
        dataloader_pin_memory=False,
        save_strategy="no",
        eval_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # noqa: SLF001  # no argument sets it: one device
    return arguments


@contextmanager
def _own_randomness(device: str) -> Iterator[None]:
    """The trainer seeds the whole process; give the process its own randomness back."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  # what is seeded
    try:
        with torch.random.fork_rng(devices=[] if device == "cpu" else None):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002  # what is seeded
