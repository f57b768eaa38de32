"""Teaching a generator: LoRA on prompts and answers, then on preferences where there are any.

Learns with TRL and PEFT, in float32 on a CPU, in bfloat16 where CUDA has it. The same examples,
settings, device and library versions give the same adapter, whatever the examples' order. The
folder appears only when training has finished; until then checkpoints lie beside it, and the same
training, started again, goes on from the last. Knows nothing of where the examples come from.
"""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from journeyman.models.catalog import resolve
from journeyman.models.errors import TrainingError
from journeyman.models.students.causal import adapter_digest
from journeyman.models.students.device import pick_device
from journeyman.models.students.folders import refuse_used
from journeyman.models.students.generator_weights import write_generator
from journeyman.models.training.generator_course import LIBRARIES, Course, Plan, Precision
from journeyman.models.training.generator_rows import PromptedAnswer, in_order
from journeyman.models.training.steps import TrainProgress
from journeyman.models.types import canonical_json

__all__ = ["GeneratorReport", "PromptedAnswer", "TrainProgress", "train_generator"]

_PLAN = "plan.json"


@dataclass(frozen=True, slots=True)
class GeneratorReport:
    """What training did.

    Attributes:
        seconds: Wall time of this call; less than the whole where it went on from a checkpoint.
        loss: Mean training loss (nats per token) of the epoch whose weights were kept.
        untaught_loss: Loss of the weights that training started from, on held-out examples; None
            without any. Losses of held-out examples are means over examples of nats per token of
            the answer.
        held_out_loss: Of the weights that were written; None without held-out examples.
        num_examples: Examples that were learned from.
        num_held_out: Examples that were not.
        num_too_long: Examples left out since prompt and answer have more than `max_length` tokens.
        num_tokens: Tokens of the examples that were learned from, prompts included.
        num_epochs: Epochs run.
        best_epoch: The epoch whose weights were kept.
        losses: Mean training loss by epoch.
        held_out_losses: By epoch; empty without held-out examples.
        num_pairs: Preference pairs that were learned from.
        preferred_before: Share of held-out pairs whose right answer was likelier than the wrong one
            before preferences were learned; None where none were, or without held-out pairs.
        preferred: The same afterwards.
        resumed: Whether it went on where the same training had been broken off.
        fingerprint: Of the adapter that was written.
    """

    seconds: float
    loss: float
    untaught_loss: float | None
    held_out_loss: float | None
    num_examples: int
    num_held_out: int
    num_too_long: int
    num_tokens: int
    num_epochs: int
    best_epoch: int
    losses: tuple[float, ...]
    held_out_losses: tuple[float, ...]
    num_pairs: int
    preferred_before: float | None
    preferred: float | None
    resumed: bool
    fingerprint: str


def train_generator(
    examples: Sequence[PromptedAnswer],
    *,
    base: str = "SmolLM2-135M-Instruct",
    out: Path,
    start: Path | None = None,
    epochs: int = 4,
    batch_size: int = 8,
    learning_rate: float | None = None,
    warmup_share: float = 0.05,
    rank: int = 16,
    max_length: int = 1024,
    preference_epochs: int = 1,
    preference_learning_rate: float | None = None,
    beta: float = 0.1,
    seed: int = 0,
    device: str | None = None,
    precision: Precision | None = None,
    progress: Callable[[TrainProgress], None] | None = None,
    held_out_share: float = 0.1,
) -> GeneratorReport:
    """Teach a generator and write it to a new folder, to be used as `open_generator(out)`.

    Args:
        examples: At least one that is not too long.
        base: A causal base, as `catalog.resolve` takes it.
        out: Folder that does not exist yet, or is empty. `.<its name>-training` beside it holds the
            checkpoints of a training that was broken off.
        start: Folder of an adapter on the same base to go on from, of its rank; None starts from
            the base.
        epochs: Most passes over the examples, at least 1.
        batch_size: Examples per step, at least 1.
        learning_rate: Highest, after warm-up; it then falls linearly to 0. None chooses by the
            base's size: 1e-3 for 135M, 5e-4 for 0.5B, 2e-4 above.
        warmup_share: Share of the steps over which it rises.
        rank: Of the adapter's matrices; 16 is the most that vLLM serves unasked.
        max_length: Most tokens of prompt and answer together; the base's window bounds it.
        preference_epochs: Passes over the preference pairs after the answers; 0 leaves them out.
        preference_learning_rate: As `learning_rate`; None is a twentieth of it.
        beta: How closely preferences keep to what was learned before; higher is closer.
        seed: For the split, the order and the new adapter.
        device: `cpu`, `cuda`, ...; CUDA where there is one, if None.
        precision: What products are computed in; weights are float32 always. None is bfloat16 on
            CUDA that has it, else float32. A CPU with AMX is 1.4 times as fast in bfloat16.
        progress: Called after every step, epochs of preferences counted on from `epochs`; what it
            raises ends the training and leaves no folder.
        held_out_share: Share of the examples, in [0, 1), that early stopping watches. With fewer
            than 20 examples none are held out.

    Raises:
        TrainingError: Nothing can be learned: no examples, an empty answer, all too long, a number
            out of range, a loss that is not finite, or the libraries are missing.
        ModelError: Chat messages for a base without a chat template.
        WeightsError: The base or `start` is missing or unfit, or `out` is not empty.
    """
    began = time.perf_counter()
    plan = Plan(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        warmup_share=warmup_share,
        rank=rank,
        max_length=max_length,
        preference_epochs=preference_epochs,
        preference_learning_rate=preference_learning_rate,
        beta=beta,
        seed=seed,
        held_out_share=held_out_share,
        precision=precision,
    )
    _check(examples, plan)
    refuse_used(out, "generator")
    place = pick_device(device)
    examples = in_order(examples)
    work = out.parent / f".{out.name}-training"
    course = Course(resolve(base), start, place, plan, work, progress)
    resumed = _is_begun(work, course.key(examples))
    with _own_randomness(seed, place):
        course.load()
        lessons = course.lessons(examples)
        run = course.run(lessons)
        write_generator(out, course.facts(), course.saved())
    shutil.rmtree(work, ignore_errors=True)
    report = GeneratorReport(
        seconds=0.0,
        loss=run.losses[run.best_epoch - 1],
        untaught_loss=run.untaught_loss,
        held_out_loss=run.held_out_loss,
        num_examples=len(lessons.learned),
        num_held_out=len(lessons.held_out),
        num_too_long=lessons.num_too_long,
        num_tokens=sum(row.num_tokens for row in lessons.learned),
        num_epochs=len(run.losses),
        best_epoch=run.best_epoch,
        losses=run.losses,
        held_out_losses=run.held_out_losses,
        num_pairs=len(lessons.pairs),
        preferred_before=run.preferred_before,
        preferred=run.preferred,
        resumed=resumed,
        fingerprint=adapter_digest(out),
    )
    return replace(report, seconds=time.perf_counter() - began)


def _check(examples: Sequence[PromptedAnswer], plan: Plan) -> None:
    missing = [name for name in LIBRARIES if find_spec(name) is None]
    if missing:
        raise TrainingError(
            f"Teaching a generator needs {', '.join(missing)}: run "
            f"`pip install 'journeyman[local,train]'`."
        )
    if not examples:
        raise TrainingError("A generator cannot be taught without examples: give at least one.")
    empty = sum(not example.answer for example in examples)
    if empty:
        raise TrainingError(
            f"{empty} of {len(examples)} examples have an empty answer: leave them out."
        )
    small = min(
        plan.epochs, plan.batch_size, plan.rank, plan.max_length, plan.preference_epochs + 1
    )
    if small < 1 or not 0 <= plan.held_out_share < 1:
        raise TrainingError(
            f"A generator cannot be taught with {plan}: give counts of at least 1 and a held-out "
            f"share in [0, 1)."
        )


def _is_begun(work: Path, key: str) -> bool:
    """Is this training broken off in this folder? Anything else in it is thrown away."""
    try:
        known = json.loads((work / _PLAN).read_text("utf-8"))["key"]
    except (OSError, ValueError, KeyError, TypeError):
        known = ""
    if known == key:
        return True
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    (work / _PLAN).write_text(canonical_json({"key": key}), "utf-8")
    return False


@contextmanager
def _own_randomness(seed: int, device: str) -> Iterator[None]:
    """Chance of its own: the libraries seed the whole process, which others draw from as well."""
    import torch

    state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002  # theirs to seed
    try:
        with torch.random.fork_rng(devices=[] if device == "cpu" else None):
            torch.manual_seed(seed)
            yield
    finally:
        random.setstate(state)
        np.random.set_state(numpy_state)  # noqa: NPY002  # as above
