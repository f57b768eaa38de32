"""A generator's base while it learns: the adapter on it, and the stages that it goes through.

A stage that was finished before a crash is not run again, and one that was not goes on from its
last checkpoint. Knows nothing of folders but the one that it works in.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from journeyman.models.catalog import Base
from journeyman.models.errors import TrainingError, WeightsError
from journeyman.models.quiet import quiet_loading
from journeyman.models.students.causal import (
    adapter_digest,
    load_causal,
    score_answers,
)
from journeyman.models.students.chat import end_id, prompt_ids, stop_ids
from journeyman.models.students.generator_weights import CANARY, Facts
from journeyman.models.training.generator_rows import (
    PromptedAnswer,
    Row,
    content_key,
    fitting,
    split,
    to_rows,
)
from journeyman.models.training.steps import TrainProgress
from journeyman.models.types import canonical_json, content_hash

if TYPE_CHECKING:
    from journeyman.models.training.generator_loops import OnLoss, Schedule

LIBRARIES = ("torch", "transformers", "peft", "trl", "accelerate", "datasets")
"""What teaching needs, and what shapes an adapter."""

Precision = Literal["float32", "bfloat16"]

_NOTE = "run.json"
_LEARNED = "learned"  # the adapter that learned the answers and may go on to the preferences
_RATES = ((0.2e9, 1e-3), (0.7e9, 5e-4), (float("inf"), 2e-4))  # parameters below which, and rate
_PREFERENCE_SHARE = 0.05  # of the rate of the answers, where none is given


@dataclass(frozen=True, slots=True)
class Plan:
    """The settings of a training; see `train_generator`."""

    epochs: int
    batch_size: int
    learning_rate: float | None
    warmup_share: float
    rank: int
    max_length: int
    preference_epochs: int
    preference_learning_rate: float | None
    beta: float
    seed: int
    held_out_share: float
    precision: Precision | None


@dataclass(frozen=True, slots=True)
class Lessons:
    """What is taught, as rows.

    Attributes:
        learned: To learn from.
        held_out: To watch the loss of.
        pairs: Those of `learned` that hold a wrong answer too.
        num_too_long: Examples that are in none of them.
    """

    learned: list[Row]
    held_out: list[Row]
    pairs: list[Row]
    num_too_long: int


@dataclass(frozen=True, slots=True)
class Run:
    """What the stages did. Losses are nats per token of the answer.

    Attributes:
        losses: Mean training loss by epoch.
        held_out_losses: By epoch, means over examples; empty without held-out examples.
        untaught_loss: Held-out loss before; None without held-out examples.
        held_out_loss: Held-out loss in the end.
        preferred_before: Share of held-out pairs whose right answer was likelier than the wrong one
            before preferences were learned; None where none were, or without held-out pairs.
        preferred: The same afterwards.
    """

    losses: tuple[float, ...]
    held_out_losses: tuple[float, ...]
    untaught_loss: float | None
    held_out_loss: float | None
    preferred_before: float | None = None
    preferred: float | None = None

    @property
    def best_epoch(self) -> int:
        """The epoch, from 1, whose weights were kept."""
        watched = self.held_out_losses
        return 1 + int(np.argmin(watched)) if watched else len(self.losses)


class Course:
    """The model that learns, and what happens to it.

    Args:
        base: What is taught.
        start: Folder of an adapter to go on from; None for a new one.
        device: `cpu`, `cuda`, ...
        plan: The settings.
        work: An existing folder for checkpoints.
        progress: Called after every step.
    """

    def __init__(
        self,
        base: Base,
        start: Path | None,
        device: str,
        plan: Plan,
        work: Path,
        progress: Callable[[TrainProgress], None] | None,
    ) -> None:
        self.base = base
        self._start = start
        self._device = device
        self._plan = plan
        self._work = work
        self._progress = progress
        self._base_canary: tuple[float, ...] = ()
        self._tokenizer: Any = None
        self._module: Any = None  # the base, in which PEFT puts the adapter
        self._model: Any = None

    def key(self, examples: Sequence[PromptedAnswer]) -> str:
        """Hash of everything that shapes what is learned: a checkpoint of another is useless."""
        return content_hash(
            {
                "base": self.base.digest,
                "start": None if self._start is None else adapter_digest(self._start),
                "device": self._device.partition(":")[0],
                "plan": repr(self._plan),
                "libraries": [version(name) for name in LIBRARIES],
                "examples": [content_key(example) for example in examples],
            }
        )

    def load(self) -> None:
        """Load the base, and put on it the adapter that learns."""
        self._module, self._tokenizer = load_causal(self.base, "float32")
        self._module.to(self._device).eval()
        self._base_canary = self._canary(self._module)
        self._model = self._adapted(self._start)

    def lessons(self, examples: Sequence[PromptedAnswer]) -> Lessons:
        """The examples as rows, without those that are too long.

        Raises:
            TrainingError: All are too long.
        """
        end = end_id(self._tokenizer, stop_ids(self._module, self._tokenizer))
        window = int(self._module.config.get_text_config().max_position_embeddings)
        most = min(self._plan.max_length, window)

        def rows(part: Sequence[PromptedAnswer]) -> list[Row]:
            return to_rows(self._tokenizer, part, name=self.base.name, end=end)

        learned, held_out = split(examples, self._plan.held_out_share, self._plan.seed)
        taught, watched = fitting(rows(learned), most), fitting(rows(held_out), most)
        if not taught:
            raise TrainingError(
                f"None of {len(learned)} examples has a prompt and at most {most} tokens: shorten "
                f"them, or raise max_length.",
                model=self.base.name,
            )
        pairs = [row for row in taught if row.rejected]
        return Lessons(
            learned=taught,
            held_out=watched,
            pairs=pairs if self._plan.preference_epochs else [],
            num_too_long=len(examples) - len(taught) - len(watched),
        )

    def run(self, lessons: Lessons) -> Run:
        """Learn the answers, then the preferences, from where the training was broken off."""
        done = self._read_note()
        if done is None:
            done = self._learn_answers(lessons)
            self._write_note(done)
        self._use(self._work / _LEARNED)
        return self._learn_preferences(lessons, done) if lessons.pairs else done

    def facts(self) -> Facts:
        """What is to be known of the adapter as it is now."""
        canary = self._canary(self._model)
        return Facts(self.base.name, self.base.digest, canary, self._base_canary)

    def saved(self) -> Path:
        """A folder with the adapter as it is now."""
        folder = self._work / "final"
        shutil.rmtree(folder, ignore_errors=True)
        self._model.save_pretrained(folder, selected_adapters=["default"])
        return folder

    def _learn_answers(self, lessons: Lessons) -> Run:
        from journeyman.models.training.generator_loops import held_out_loss, run, sft_trainer

        schedule = self._schedule("answers", self._plan.epochs, self._rate())
        told = self._teller(lessons, preferences=False)
        untaught = held_out_loss(self._model, self._tokenizer, lessons.held_out, self._device)
        with _quietly():
            trainer = sft_trainer(
                self._model, self._tokenizer, lessons.learned, lessons.held_out, schedule, told
            )
            history = run(trainer, schedule.folder)
        self._model = _bare(trainer)
        watched = tuple(entry["eval_loss"] for entry in history if "eval_loss" in entry)
        return Run(
            losses=_by_epoch(history),
            held_out_losses=watched,
            untaught_loss=untaught,
            held_out_loss=min(watched, default=None),
        )

    def _learn_preferences(self, lessons: Lessons, done: Run) -> Run:
        from journeyman.models.training.generator_loops import (
            dpo_trainer,
            held_out_loss,
            preferred_share,
            run,
        )

        rate = self._plan.preference_learning_rate or _PREFERENCE_SHARE * self._rate()
        schedule = self._schedule("preferences", self._plan.preference_epochs, rate)
        told = self._teller(lessons, preferences=True)
        pairs = [row for row in lessons.held_out if row.rejected]
        before = preferred_share(self._model, self._tokenizer, pairs, self._device)
        with _quietly():
            trainer = dpo_trainer(
                self._model, self._tokenizer, lessons.pairs, schedule, told, beta=self._plan.beta
            )
            run(trainer, schedule.folder)
        self._model = _bare(trainer)
        what = self._model, self._tokenizer
        return replace(
            done,
            held_out_loss=held_out_loss(*what, lessons.held_out, self._device),
            preferred_before=before,
            preferred=preferred_share(*what, pairs, self._device),
        )

    def _teller(self, lessons: Lessons, *, preferences: bool) -> OnLoss:
        """Tells of a stage's steps as steps of the whole training."""
        size, plan = self._plan.batch_size, self._plan
        per_epoch = -(-len(lessons.learned) // size)
        per_pass = -(-len(lessons.pairs) // size)
        num_answers = plan.epochs * per_epoch
        num_steps = num_answers + plan.preference_epochs * per_pass
        steps_before = num_answers if preferences else 0
        epochs_before = plan.epochs if preferences else 0
        per_round = per_pass if preferences else per_epoch
        losses: list[float] = []

        def tell(step: int, loss: float) -> None:
            if (step - 1) % per_round == 0:
                losses.clear()
            losses.append(loss)
            if self._progress is not None:
                epoch = epochs_before + 1 + (step - 1) // per_round
                mean = sum(losses) / len(losses)
                self._progress(TrainProgress(steps_before + step, num_steps, epoch, mean))

        return tell

    def _read_note(self) -> Run | None:
        """What the stage of the answers did, if it was finished before."""
        if not (self._work / _LEARNED).exists():
            return None
        found: dict[str, Any] = json.loads((self._work / _LEARNED / _NOTE).read_text("utf-8"))
        plain: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in found.items()
        }
        return Run(**plain)

    def _write_note(self, done: Run) -> None:
        """Keep the adapter and what was done; both appear at once."""
        saving = self._work / "saving"
        shutil.rmtree(saving, ignore_errors=True)
        self._model.save_pretrained(saving, selected_adapters=["default"])
        (saving / _NOTE).write_text(canonical_json(asdict(done)), "utf-8")
        saving.rename(self._work / _LEARNED)

    def _schedule(self, stage: str, epochs: int, rate: float) -> Schedule:
        from journeyman.models.training.generator_loops import Schedule

        return Schedule(
            epochs=epochs,
            batch_size=self._plan.batch_size,
            learning_rate=rate,
            warmup_share=self._plan.warmup_share,
            seed=self._plan.seed,
            device=self._device,
            folder=self._work / stage,
            precision=self._plan.precision,
        )

    def _rate(self) -> float:
        size = sum(parameter.numel() for parameter in self._module.parameters())
        usual = next(rate for most, rate in _RATES if size < most)
        return self._plan.learning_rate or usual

    def _adapted(self, adapter: Path | None) -> Any:
        """The base with a new adapter, or with one that goes on learning."""
        import peft
        import torch

        if adapter is None:
            torch.manual_seed(self._plan.seed)
            config = peft.LoraConfig(
                r=self._plan.rank,
                lora_alpha=2 * self._plan.rank,
                lora_dropout=0.0,
                target_modules="all-linear",
                task_type="CAUSAL_LM",
            )
            return peft.get_peft_model(self._module, config)
        adapter_digest(adapter)  # before peft looks, which would fall back to a pickle
        try:
            with quiet_loading():
                return peft.PeftModel.from_pretrained(self._module, str(adapter), is_trainable=True)
        except (ValueError, RuntimeError, KeyError, OSError) as error:
            raise WeightsError(
                f"The adapter {str(adapter)!r} cannot go on learning on {self.base.name!r} "
                f"({type(error).__name__}): start from the base.",
                model=self.base.name,
            ) from error

    def _use(self, adapter: Path) -> None:
        """Take the base anew, with this adapter: a loop leaves its marks on a model."""
        self._module, self._tokenizer = load_causal(self.base, "float32")
        self._module.to(self._device).eval()
        self._model = self._adapted(adapter)

    def _canary(self, model: Any) -> tuple[float, ...]:
        prompts, answers = zip(*CANARY, strict=True)
        ids = prompt_ids(self._tokenizer, prompts, name=self.base.name)
        end = end_id(self._tokenizer, stop_ids(self._module, self._tokenizer))
        scores = score_answers(model, self._tokenizer, ids, answers, end=end, device=self._device)
        return tuple(float(np.sum(logs)) for logs in scores)


def _bare(trainer: Any) -> Any:
    """The trained model without the wrappers that computed in half precision."""
    return trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False).eval()


@contextmanager
def _quietly() -> Iterator[None]:
    """Silence the libraries' bars and advice."""
    import datasets

    had_bars = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        with quiet_loading():
            yield
    finally:
        if had_bars:
            datasets.enable_progress_bars()


def _by_epoch(history: Sequence[dict[str, float]]) -> tuple[float, ...]:
    """Mean loss of each epoch's steps."""
    epochs: dict[int, list[float]] = {}
    for entry in history:
        if "loss" in entry:
            epochs.setdefault(int(np.ceil(entry["epoch"] - 1e-6)), []).append(entry["loss"])
    return tuple(float(np.mean(epochs[epoch])) for epoch in sorted(epochs))
