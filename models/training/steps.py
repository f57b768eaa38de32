"""What the trainers of encoders have in common: progress, weight decay, batches of like length.

Knows nothing of what is learned.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class TrainProgress:
    """Where training is.

    Attributes:
        step: Steps done.
        num_steps: Steps if it does not stop early.
        epoch: Epoch, from 1.
        loss: Mean loss of the epoch so far.
    """

    step: int
    num_steps: int
    epoch: int
    loss: float


def parameter_groups(module: torch.nn.Module, decay: float) -> list[dict[str, object]]:
    """The module's parameters for AdamW, frozen ones aside: matrices decay, biases do not."""
    learning = [p for p in module.parameters() if p.requires_grad]
    matrices = [p for p in learning if p.ndim >= 2]
    others = [p for p in learning if p.ndim < 2]
    return [
        {"params": matrices, "weight_decay": decay},
        {"params": others, "weight_decay": 0.0},
    ]


def shuffled_batches(
    lengths: Sequence[int], batch_size: int, order: random.Random
) -> list[list[int]]:
    """Indexes in batches of roughly like length, others in every epoch, in random order."""
    blurred = [length * order.uniform(0.9, 1.1) for length in lengths]
    by_length = sorted(range(len(lengths)), key=blurred.__getitem__)
    batches = [by_length[i : i + batch_size] for i in range(0, len(lengths), batch_size)]
    order.shuffle(batches)
    return batches
