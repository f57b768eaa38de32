"""A taught generator on disk: a LoRA adapter, and a note of the base that it belongs to.

    generator.json              the base, and what the taught model thinks of a fixed text
    adapter_config.json         as PEFT and vLLM read it
    adapter_model.safetensors

Without the adapter's two files it is the base itself, untaught. The base's weights are not copied:
they are found by name, and refused where they are others. Knows nothing of how it was taught.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from journeyman.models.catalog import Base
from journeyman.models.errors import WeightsError
from journeyman.models.students.causal import ADAPTER_CONFIG, ADAPTER_WEIGHTS, CausalBase
from journeyman.models.students.folders import new_folder
from journeyman.models.students.generator import Generator
from journeyman.models.types import canonical_json

FACTS = "generator.json"

CANARY = (
    ("The order of 3 May", " was sent to Nina Weber in Hamburg for $40."),
    ("def largest(values):\n", "    return max(values)\n"),
)
"""Fixed prompts and answers. What a model thinks of them tells whether it is the one that was
taught, and says nothing of what it was taught with."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a generator's folder is.

    Attributes:
        base: Name of the base, as `catalog.resolve` takes it.
        base_digest: Its digest.
        canary: Log-probability (nats) of each of `CANARY`'s answers, by the taught model when it
            was taught; empty where it was not.
        base_canary: The same by the base.
    """

    base: str
    base_digest: str
    canary: tuple[float, ...] = ()
    base_canary: tuple[float, ...] = ()


def read_facts(folder: Path) -> Facts:
    """Read a generator's folder.

    Raises:
        WeightsError: It is not a generator's.
    """
    try:
        facts = json.loads((folder / FACTS).read_text("utf-8"))
        return Facts(
            base=str(facts["base"]),
            base_digest=str(facts["base_digest"]),
            canary=tuple(float(log) for log in facts["canary"]),
            base_canary=tuple(float(log) for log in facts["base_canary"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"No generator can be read from {str(folder)!r} ({type(error).__name__}): give a "
            f"folder that training wrote, or restore its files."
        ) from error


def write_generator(folder: Path, facts: Facts, adapter: Path | None = None) -> None:
    """Write a generator's folder, all of it or nothing.

    Args:
        folder: It does not exist yet, or is empty.
        facts: What it is.
        adapter: Folder that PEFT saved an adapter to; None writes the untaught base.

    Raises:
        WeightsError: There is something in the folder already.
    """
    with new_folder(folder, "generator") as work:
        (work / FACTS).write_text(canonical_json(asdict(facts)), "utf-8")
        if adapter is not None:
            (work / ADAPTER_WEIGHTS).write_bytes((adapter / ADAPTER_WEIGHTS).read_bytes())
            settings = json.loads((adapter / ADAPTER_CONFIG).read_text("utf-8"))
            text = json.dumps(_plain_settings(settings, facts.base), indent=1, sort_keys=True)
            (work / ADAPTER_CONFIG).write_text(text, "utf-8")


def write_untaught(folder: Path, base: Base, base_canary: tuple[float, ...] = ()) -> None:
    """Write the folder of a base that was taught nothing.

    Args:
        folder: It does not exist yet, or is empty.
        base: The base.
        base_canary: What it thinks of `CANARY`'s answers where it is served, to know it again.

    Raises:
        WeightsError: There is something in the folder already.
    """
    write_generator(folder, Facts(base.name, base.digest, base_canary=base_canary))


def open_generator(folder: Path, *, like: Generator | None = None) -> Generator:
    """The generator of a folder. Loads no weights yet.

    Args:
        folder: What `write_generator` wrote.
        like: One whose settings it takes, and whose base in memory where that is the right one;
            None takes `Generator`'s own settings.

    Raises:
        WeightsError: The folder is no generator's, or its base is missing or another.
    """
    facts = read_facts(folder)
    like = like or Generator(facts.base)
    base = like.base
    if base.files.digest != facts.base_digest:
        base = CausalBase(facts.base, device=base.device, dtype=base.dtype)
    if base.files.digest != facts.base_digest:
        raise WeightsError(
            f"The generator in {str(folder)!r} was taught on another {facts.base!r} than the one "
            f"that is installed: install that version of it, or teach anew.",
            model=facts.base,
        )
    taught = (folder / ADAPTER_WEIGHTS).is_file() or bool(facts.canary)
    return like.rebound(folder if taught else None, base=base)


def canary_of(generator: Generator) -> tuple[float, ...]:
    """What a generator thinks of `CANARY`'s answers: log-probabilities in nats."""
    prompts, answers = zip(*CANARY, strict=True)
    return tuple(float(np.sum(logs)) for logs in generator.score(prompts, answers))


def check_canary(
    generator: Generator, facts: Facts, *, tolerance: float = 0.05
) -> tuple[float, ...]:
    """Prove that a generator is the one that was taught: it must think as that one did.

    Args:
        generator: What is about to answer.
        facts: Of the folder that it should come from.
        tolerance: Nats by which a text's log-probability may differ, as it does between devices.

    Returns:
        What the generator thinks of `CANARY`'s answers.

    Raises:
        WeightsError: It thinks otherwise, or no otherwise than the base.
    """
    found = canary_of(generator)
    if not facts.canary:
        return found
    off = distance(found, facts.canary)
    if off > tolerance or off >= distance(found, facts.base_canary):
        raise WeightsError(
            f"The generator on base {facts.base!r} gives the fixed texts log-probabilities "
            f"{_rounded(found)}, and the one that was taught gave {_rounded(facts.canary)}: load "
            f"its adapter, on the base and at the precision that it was taught with.",
            model=facts.base,
        )
    return found


def distance(first: Sequence[float], second: Sequence[float]) -> float:
    """The largest difference between two canaries; infinite where their lengths differ."""
    if len(first) != len(second):
        return math.inf
    return max((abs(a - b) for a, b in zip(first, second, strict=True)), default=0.0)


def _rounded(logs: Sequence[float]) -> list[float]:
    return [round(log, 3) for log in logs]


def _plain_settings(settings: dict[str, Any], base: str) -> dict[str, Any]:
    """The same on every machine and in every process: the base's name, sets in order."""
    plain = {
        key: sorted(value) if isinstance(value, list) and _is_text(value) else value
        for key, value in settings.items()
    }
    return plain | {"base_model_name_or_path": base}


def _is_text(values: list[Any]) -> bool:
    return all(isinstance(value, str) for value in values)
