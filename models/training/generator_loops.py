"""TRL's trainers as this project runs them: supervised answers first, then preferences.

What differs from TRL as it comes: rows are tokenized already and never cut; logits are computed for
the answers' tokens only, which TRL leaves to GPUs; weights of rows count; batches are of like
length; a step holds the device, so that serving gets its turn; nothing is reported to anybody.
Imports torch and trl: only `generator` imports this, once something is really taught.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer
from typing_extensions import override

from journeyman.models.errors import TrainingError
from journeyman.models.students.device import computing
from journeyman.models.training.generator_rows import Row
from journeyman.models.training.steps import shuffled_batches

_IGNORED = -100  # what torch's cross entropy leaves out
_MOST_TOKENS = {"cpu": 1024, "cuda": 16384}  # in one forward pass; a 135M model keeps 1 MB for each
_MOST_LOGITS = 2**27  # in one forward pass: 512 MB in float32
_PATIENCE = 1  # epochs without a better held-out loss; at these rates a second is never better
_STATE = "trainer_state.json"  # what a checkpoint gets last

OnLoss = Callable[[int, float], None]
"""Called after every step of a loop with the steps done and the loss."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How is learned.

    Attributes:
        epochs: Most passes over the rows.
        batch_size: Rows per step.
        learning_rate: Highest, after warm-up; it then falls linearly to 0.
        warmup_share: Share of the steps over which it rises.
        seed: For the order.
        device: `cpu`, `cuda`, ...
        folder: Where checkpoints go.
        precision: `float32` or `bfloat16`; None takes bfloat16 on CUDA that has it.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    warmup_share: float
    seed: int
    device: str
    folder: Path
    precision: str | None = None

    @property
    def in_half(self) -> bool:
        """Are products computed in bfloat16?"""
        if self.precision is not None:
            return self.precision == "bfloat16"
        return self.device.startswith("cuda") and torch.cuda.is_bf16_supported()


class LikeLengths(torch.utils.data.Sampler[int]):
    """Indexes so that batches are of roughly like length, others in every epoch.

    Args:
        lengths: Of the rows.
        batch_size: Rows per step; the last batch may be smaller.
        seed: With the epoch it gives the order.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self._lengths = lengths
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the loop, also where it goes on after a crash."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        order = random.Random(f"{self._seed}:{self._epoch}")
        batches = shuffled_batches(self._lengths, self._batch_size, order)
        batches.sort(key=lambda batch: len(batch) < self._batch_size)  # batches are cut by count
        return (i for batch in batches for i in batch)


class AnswerTrainer(SFTTrainer):  # type: ignore[misc]  # trl exports without types
    """Learns answers; loss and logits are of their tokens alone."""

    @override
    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """In training the weighted mean over tokens of the step, in evaluation that over rows."""
        losses, mask = answer_losses(model, inputs)
        if not self.model.training:
            return (losses.sum(1) / mask.sum(1).clamp(min=1)).mean()
        count = mask.sum() if num_items_in_batch is None else num_items_in_batch
        loss = (losses.sum(1) * inputs["weight"]).sum() / count
        if num_items_in_batch is not None and self.args.average_tokens_across_devices:
            loss = loss * self.accelerator.num_processes  # gradients are averaged over processes
        return loss

    @override
    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """One step at a time on the device."""
        with computing(self.args.device.type):
            return super().training_step(*args, **kwargs)

    @override
    def prediction_step(self, *args: Any, **kwargs: Any) -> Any:
        """One step at a time on the device."""
        with computing(self.args.device.type):
            return super().prediction_step(*args, **kwargs)

    @override
    def _get_train_sampler(self, train_dataset: Any = None) -> LikeLengths:
        return _sampler(self)

    @override
    def _send_telemetry(self) -> None:
        """TRL would tell its makers that somebody trains."""


class PreferenceTrainer(DPOTrainer):  # type: ignore[misc]  # as above
    """Learns to prefer one answer to another."""

    @override
    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """One step at a time on the device."""
        with computing(self.args.device.type):
            return super().training_step(*args, **kwargs)

    @override
    def prediction_step(self, *args: Any, **kwargs: Any) -> Any:
        """One step at a time on the device."""
        with computing(self.args.device.type):
            return super().prediction_step(*args, **kwargs)

    @override
    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        return dataset  # tokenized already

    @override
    def _get_train_sampler(self, train_dataset: Any = None) -> LikeLengths:
        return _sampler(self)

    @override
    def _send_telemetry(self) -> None:
        """As above."""


class _Teller(transformers.TrainerCallback):  # type: ignore[misc]  # transformers has no types here
    """Passes each step's loss on, and ends a training that has gone astray."""

    def __init__(self, tell: OnLoss) -> None:
        self._tell = tell

    @override
    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any
    ) -> None:
        if logs is None or "loss" not in logs:
            return
        if not math.isfinite(logs["loss"]):
            raise TrainingError(
                f"The loss became {logs['loss']} at step {state.global_step}: lower the learning "
                f"rate."
            )
        self._tell(int(state.global_step), float(logs["loss"]))


def answer_losses(model: Any, inputs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Negative log-probabilities (rows, positions) of the answers' tokens in nats, and their mask.

    Only positions that some row's answer stands at are there; where it is another's, 0.
    """
    targets = inputs["labels"][:, 1:]
    at = (targets != _IGNORED).any(0).nonzero()[:, 0]
    logits = model(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        logits_to_keep=at,
        use_cache=False,
    ).logits
    wanted = targets[:, at]
    losses = torch.nn.functional.cross_entropy(
        logits.float().flatten(0, 1), wanted.flatten(), ignore_index=_IGNORED, reduction="none"
    )
    return losses.view(wanted.shape), wanted != _IGNORED


def held_out_loss(model: Any, tokenizer: Any, rows: Sequence[Row], device: str) -> float | None:
    """Mean over rows of nats per token of the answer, as the loop measures it; None of no rows."""
    if not rows:
        return None
    total = 0.0
    collate = _Collator(_pad_id(tokenizer))
    for row in rows:
        batch = {key: value.to(device) for key, value in collate([_answer_row(row)]).items()}
        with computing(device), torch.inference_mode():
            losses, mask = answer_losses(model, batch)
            total += float(losses.sum() / mask.sum())
    return total / len(rows)


def preferred_share(model: Any, tokenizer: Any, rows: Sequence[Row], device: str) -> float | None:
    """Share of pairs whose right answer is likelier than the wrong one; None of no pairs."""
    if not rows:
        return None
    collate = _Collator(_pad_id(tokenizer))
    num_right = 0
    for row in rows:
        wrong = replace(row, answer=row.rejected)
        batch = collate([_answer_row(row), _answer_row(wrong)])
        with computing(device), torch.inference_mode():
            losses, _ = answer_losses(model, {k: v.to(device) for k, v in batch.items()})
        right_loss, wrong_loss = losses.sum(1).tolist()
        num_right += right_loss < wrong_loss
    return num_right / len(rows)


def sft_trainer(
    model: Any,
    tokenizer: Any,
    rows: Sequence[Row],
    held_out: Sequence[Row],
    schedule: Schedule,
    tell: OnLoss,
) -> AnswerTrainer:
    """A loop that teaches a model with an adapter the answers of rows."""
    settings = _settings(schedule, [row.num_tokens for row in rows], _widest(rows), model)
    if held_out:
        settings |= _watching()
    trainer = AnswerTrainer(
        model=model,
        args=_on_one_device(
            SFTConfig(**settings, max_length=None, packing=False, completion_only_loss=True)
        ),
        train_dataset=_answers(rows),
        eval_dataset=_answers(held_out) if held_out else None,
        processing_class=tokenizer,
        data_collator=_Collator(_pad_id(tokenizer)),
    )
    _quiet(trainer, tell, stop_early=bool(held_out))
    return trainer


def dpo_trainer(
    model: Any,
    tokenizer: Any,
    rows: Sequence[Row],
    schedule: Schedule,
    tell: OnLoss,
    *,
    beta: float,
) -> PreferenceTrainer:
    """A loop that teaches a model with an adapter, as it is, to prefer the rows' answers.

    A small share of the loss is the answers' own: two answers that differ in one token would else
    both become unlikely together.
    """
    lengths = [len(r.prompt) + max(len(r.answer), len(r.rejected)) for r in rows]
    # Every position is scored, and each row is two.
    settings = _settings(schedule, [2 * length for length in lengths], 2 * max(lengths), model)
    trainer = PreferenceTrainer(
        model=model,
        args=_on_one_device(
            DPOConfig(
                **settings,
                max_length=None,
                beta=beta,
                loss_type=["sigmoid", "sft"],
                loss_weights=[1.0, 0.2],
            )
        ),
        train_dataset=datasets.Dataset.from_list([_pair_row(row) for row in rows]),
        processing_class=tokenizer,
    )
    _quiet(trainer, tell, stop_early=False)
    return trainer


def run(trainer: Any, folder: Path) -> list[dict[str, float]]:
    """Train, going on from the last whole checkpoint; everything that was logged, in order."""
    last = last_checkpoint(folder)
    trainer.train(resume_from_checkpoint=None if last is None else str(last))
    history: list[dict[str, float]] = trainer.state.log_history
    return history


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end."""
    whole = [path.parent for path in folder.glob(f"checkpoint-*/{_STATE}")]
    return max(whole, key=lambda path: int(path.name.partition("-")[2]), default=None)


class _Collator:
    """Rows to tensors, padded on the right."""

    def __init__(self, pad_id: int) -> None:
        self._pad_id = pad_id

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        width = max(len(row["input_ids"]) for row in rows)

        def padded(name: str, filler: int) -> torch.Tensor:
            return torch.tensor([r[name] + [filler] * (width - len(r[name])) for r in rows])

        lengths = torch.tensor([len(row["input_ids"]) for row in rows])
        return {
            "input_ids": padded("input_ids", self._pad_id),
            "labels": padded("labels", _IGNORED),
            "attention_mask": (torch.arange(width) < lengths[:, None]).long(),
            "weight": torch.tensor([row["weight"] for row in rows]),
        }


def _settings(
    schedule: Schedule, lengths: Sequence[int], widest: int, model: Any
) -> dict[str, Any]:
    """What both loops are told. `widest`: positions of a row at most that get logits."""
    place = schedule.device.partition(":")[0]
    vocabulary = int(model.config.get_text_config().vocab_size)
    most = min(_MOST_TOKENS.get(place, 1024) // max(lengths), _MOST_LOGITS // vocabulary // widest)
    size = schedule.batch_size
    micro = max(d for d in range(1, size + 1) if size % d == 0 and d <= max(most, 1))
    on_cuda = place == "cuda"
    return {
        "output_dir": str(schedule.folder),
        "num_train_epochs": schedule.epochs,
        "per_device_train_batch_size": micro,
        "per_device_eval_batch_size": micro,
        "gradient_accumulation_steps": size // micro,
        "learning_rate": schedule.learning_rate,
        "lr_scheduler_type": "linear",
        "warmup_steps": schedule.warmup_share,
        "seed": schedule.seed,
        "use_cpu": place == "cpu",
        "bf16": schedule.in_half,
        "gradient_checkpointing": False,
        "dataloader_pin_memory": on_cuda,
        "remove_unused_columns": False,
        "prediction_loss_only": True,
        "save_strategy": "epoch",
        "save_total_limit": 2,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "report_to": "none",
        "disable_tqdm": True,
        "push_to_hub": False,
    }


def _on_one_device(args: Any) -> Any:
    """Without this a process that sees several GPUs would split batches, which TRL refuses."""
    args._n_gpu = min(args.n_gpu, 1)  # noqa: SLF001  # no argument sets it
    return args


def _watching() -> dict[str, Any]:
    return {
        "eval_strategy": "epoch",
        "load_best_model_at_end": True,
        "metric_for_best_model": "eval_loss",
        "greater_is_better": False,
    }


def _quiet(trainer: Any, tell: OnLoss, *, stop_early: bool) -> None:
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.add_callback(_Teller(tell))
    if stop_early:
        trainer.add_callback(transformers.EarlyStoppingCallback(_PATIENCE))


def _sampler(trainer: Any) -> LikeLengths:
    args = trainer.args
    size = args.per_device_train_batch_size * args.gradient_accumulation_steps
    return LikeLengths(list(trainer.train_dataset["length"]), size, args.seed)


def _answers(rows: Sequence[Row]) -> datasets.Dataset:
    return datasets.Dataset.from_list([_answer_row(row) for row in rows])


def _answer_row(row: Row) -> dict[str, Any]:
    return {
        "input_ids": [*row.prompt, *row.answer],
        "labels": [*([_IGNORED] * len(row.prompt)), *row.answer],
        "weight": row.weight,
        "length": row.num_tokens,
    }


def _pair_row(row: Row) -> dict[str, Any]:
    return {
        "prompt_ids": row.prompt,
        "chosen_ids": row.answer,
        "rejected_ids": row.rejected,
        "length": len(row.prompt) + max(len(row.answer), len(row.rejected)),
    }


def _widest(rows: Sequence[Row]) -> int:
    return max(len(row.answer) for row in rows)


def _pad_id(tokenizer: Any) -> int:
    found = tokenizer.pad_token_id
    return int(tokenizer.eos_token_id if found is None else found)
