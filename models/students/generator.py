"""The generator: a small causal model that writes its answer, as free text or as JSON by grammar.

Answers carry the log-probability of each token, before the grammar's mask and at temperature 1.
Several generators may share one base, each with its own LoRA adapter. Knows nothing of what it is
asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from journeyman.models.errors import ModelError
from journeyman.models.students.causal import CausalBase, Decoded, Sampling, adapter_digest
from journeyman.models.students.chat import Messages
from journeyman.models.students.tokens import length_sorted
from journeyman.models.types import content_hash

DECODING = 1
"""Raise it when the same weights give other answers: it is in the fingerprint."""

_BATCH = 8  # prompts decoded together; the shorter answers of a batch wait for the longest


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a generator is asked.

    Attributes:
        messages: Chat messages in OpenAI's form, or plain text to be continued.
        schema: JSON Schema that the answer fits; None takes the generator's own, if it has one.
    """

    messages: Messages | str
    schema: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Generation:
    """One answer, by the likeliest tokens, and what the model thought of them.

    Attributes:
        text: Without special tokens; cut off where it is not `finished`.
        token_ids: The end token included where the model came to it.
        starts: First character in `text` of each token.
        log_probabilities: Of each token in nats, before the grammar's mask, at temperature 1.
        finished: Whether the model ended by itself; otherwise `max_new_tokens` cut it off.
        samples: Further answers to the same prompt, drawn at a temperature.
    """

    text: str
    token_ids: tuple[int, ...] = ()
    starts: tuple[int, ...] = ()
    log_probabilities: tuple[float, ...] = ()
    finished: bool = True
    samples: tuple[Generation, ...] = field(default=())

    def evidence(self) -> dict[str, float]:
        """Numbers about the answer by name; the same names for every answer."""
        logs = np.array(self.log_probabilities or (0.0,))
        numbers = {
            "num_tokens": float(len(self.log_probabilities)),
            "log_probability": float(logs.sum()),
            "mean_log_probability": float(logs.mean()),
            "min_log_probability": float(logs.min()),
            "num_doubtful": float((logs < np.log(0.5)).sum()),
            "finished": float(self.finished),
        }
        for percent in (10, 25, 50):
            numbers[f"log_probability_q{percent}"] = float(np.percentile(logs, percent))
        if self.samples:
            same = [sample.text == self.text for sample in self.samples]
            numbers["sample_agreement"] = float(np.mean(same))
        return numbers

    def log_probabilities_between(self, start: int, end: int) -> tuple[float, ...]:
        """Log-probabilities of the tokens that hold characters `start` to `end` of the text."""
        ends = [*self.starts[1:], len(self.text)]
        return tuple(
            log
            for first, last, log in zip(self.starts, ends, self.log_probabilities, strict=True)
            if first < end and last > start
        )


class Generator:
    """Writes answers. Loads its model on first use; safe to use from several threads.

    Args:
        base: Name of a causal base, as `catalog.resolve` takes it, or a base that other generators
            use too, which then share its weights.
        adapter: Folder of a LoRA adapter, safetensors; None is the untaught base.
        device: `cpu`, `cuda`, ...; CUDA where there is one, if None. A given base keeps its own.
        dtype: Name of the torch type to compute in; a given base keeps its own.
        max_new_tokens: Tokens of an answer at most.
        schema: JSON Schema that every answer fits, unless its prompt names another.
        samples: Further answers drawn for every prompt.
        temperature: Of the draw, above 0.
        seed: Of the draw; the same batch gives the same samples.
    """

    def __init__(
        self,
        base: str | CausalBase = "SmolLM2-135M-Instruct",
        *,
        adapter: Path | None = None,
        device: str | None = None,
        dtype: str = "float32",
        max_new_tokens: int = 256,
        schema: Mapping[str, Any] | None = None,
        samples: int = 0,
        temperature: float = 0.7,
        seed: int = 0,
    ) -> None:
        if isinstance(base, str):
            base = CausalBase(base, device=device, dtype=dtype)
        self.base = base
        self.adapter = adapter
        self._adapter_digest = None if adapter is None else adapter_digest(adapter)
        self.max_new_tokens = max_new_tokens
        self.schema = schema
        self.sampling = Sampling(samples, temperature, seed)

    def rebound(self, adapter: Path | None, *, base: CausalBase | None = None) -> Generator:
        """One that writes by the same settings, with another adapter.

        Args:
            adapter: Folder of a LoRA adapter, safetensors; None is the untaught base.
            base: Another base; None shares this one's weights.

        Raises:
            WeightsError: The folder is no LoRA adapter in safetensors.
        """
        return Generator(
            base or self.base,
            adapter=adapter,
            max_new_tokens=self.max_new_tokens,
            schema=self.schema,
            samples=self.sampling.num_samples,
            temperature=self.sampling.temperature,
            seed=self.sampling.seed,
        )

    @property
    def taught(self) -> bool:
        """Whether there is an adapter; the base alone answers too, but was taught nothing."""
        return self.adapter is not None

    def fingerprint(self) -> str:
        """Hash of everything that shapes an answer. Loads no model."""
        return content_hash(
            {
                "student": "generator",
                "decoding": DECODING,
                "base": self.base.files.digest,
                "adapter": self._adapter_digest,
                "dtype": self.base.dtype,
                "max_new_tokens": self.max_new_tokens,
                "schema": None if self.schema is None else dict(self.schema),
                "samples": [
                    self.sampling.num_samples,
                    self.sampling.temperature,
                    self.sampling.seed,
                ],
            }
        )

    def predict(self, items: Sequence[Prompt | Messages | str]) -> list[Generation]:
        """One answer per prompt, in order.

        Raises:
            ModelError: A prompt is empty, or leaves no room for an answer: it is never cut.
            ConfigError: A schema cannot be compiled.
            WeightsError: Base or adapter are missing, or do not fit each other.
        """
        prompts = [item if isinstance(item, Prompt) else Prompt(item) for item in items]
        rows = self.base.prompt_ids([prompt.messages for prompt in prompts])
        self._check(rows)
        result: list[Generation | None] = [None] * len(prompts)
        for batch in length_sorted([len(row) for row in rows], _BATCH):
            schemas = [prompts[i].schema or self.schema for i in batch]
            answers = self._answers([rows[i] for i in batch], schemas)
            for i, answer in zip(batch, answers, strict=True):
                result[i] = answer
        return [answer for answer in result if answer is not None]

    def score(
        self, prompts: Sequence[Prompt | Messages | str], answers: Sequence[str]
    ) -> list[tuple[float, ...]]:
        """Log-probability (nats) of each token of given answers, the end token included.

        What a grammar would forbid is not left out: the numbers are the model's own.

        Raises:
            ModelError: The base has no chat template.
            WeightsError: Base or adapter are missing, or do not fit each other.
        """
        messages = [item.messages if isinstance(item, Prompt) else item for item in prompts]
        return self.base.score(self.base.prompt_ids(messages), answers, adapter=self.adapter)

    def _answers(
        self, rows: Sequence[Sequence[int]], schemas: Sequence[Mapping[str, Any] | None]
    ) -> list[Generation]:
        def decode(sampling: Sampling) -> list[list[Decoded]]:
            return self.base.decode(
                rows,
                max_new_tokens=self.max_new_tokens,
                schemas=schemas,
                adapter=self.adapter,
                sampling=sampling,
            )

        greedy = [_generation(answers[0]) for answers in decode(Sampling())]
        if not self.sampling.num_samples:
            return greedy
        return [
            replace(answer, samples=tuple(_generation(one) for one in drawn))
            for answer, drawn in zip(greedy, decode(self.sampling), strict=True)
        ]

    def _check(self, rows: Sequence[Sequence[int]]) -> None:
        if not rows:
            return
        room = self.base.window - self.max_new_tokens
        for row in rows:
            if not row or len(row) > room:
                raise ModelError(
                    f"A prompt has {len(row)} tokens and {self.base.name!r} reads 1 to {room} "
                    f"beside an answer of {self.max_new_tokens}: shorten the task, or lower "
                    f"max_new_tokens.",
                    model=self.base.name,
                )


def _generation(decoded: Decoded) -> Generation:
    return Generation(
        text=decoded.text,
        token_ids=decoded.token_ids,
        starts=decoded.starts,
        log_probabilities=decoded.log_probabilities,
        finished=decoded.finished,
    )
