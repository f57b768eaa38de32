"""Prompts and answers as the rows that a generator is taught with.

The token ids are those that the generator sees and writes when it serves: the prompt by the base's
own template, the answer tokenized by itself, and the end token. Rows that are too long are left out
and counted, for a cut one would teach to stop early. Knows nothing of how is learned.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from journeyman.models.students.chat import Messages, answer_ids, prompt_ids
from journeyman.models.types import content_hash

_FEWEST_TO_HOLD_OUT = 20  # below, every example is worth more as a lesson than as a test


@dataclass(frozen=True, slots=True)
class PromptedAnswer:
    """A teaching example.

    Attributes:
        prompt: What the generator is asked: chat messages in OpenAI's form, or plain text.
        answer: What it should write; not empty.
        rejected: What it should not write; with it the example is a preference pair too. None where
            nothing wrong is known.
        weight: How often it should count; the mean over a data set is 1.
        source: Examples of one source are held out together; empty stands alone.
    """

    prompt: Messages | str
    answer: str
    rejected: str | None = None
    weight: float = 1.0
    source: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One example as token ids.

    Attributes:
        prompt: Of the prompt; not empty.
        answer: Of the answer, the end token included.
        rejected: Of the wrong answer, the end token included; empty without one.
        weight: See `PromptedAnswer`.
    """

    prompt: list[int]
    answer: list[int]
    rejected: list[int]
    weight: float

    @property
    def num_tokens(self) -> int:
        """Tokens of the prompt and the answer."""
        return len(self.prompt) + len(self.answer)


def in_order(examples: Sequence[PromptedAnswer]) -> list[PromptedAnswer]:
    """The examples in an order that only their content decides."""
    return sorted(examples, key=content_key)


def content_key(example: PromptedAnswer) -> str:
    """Content hash of an example."""
    prompt = example.prompt
    plain = prompt if isinstance(prompt, str) else [dict(message) for message in prompt]
    return content_hash(asdict(example) | {"prompt": plain})


def to_rows(
    tokenizer: Any, examples: Sequence[PromptedAnswer], *, name: str, end: int
) -> list[Row]:
    """The examples as token ids, in order.

    Args:
        tokenizer: The base's.
        examples: What is taught.
        name: The base's, for messages.
        end: The token that ends an answer.

    Raises:
        ModelError: The base has no chat template.
    """
    prompts = prompt_ids(tokenizer, [example.prompt for example in examples], name=name)
    answers = answer_ids(tokenizer, [example.answer for example in examples], end)
    wrong = answer_ids(tokenizer, [example.rejected or "" for example in examples], end)
    return [
        Row(
            prompt=prompt,
            answer=answer,
            rejected=rejected if _is_pair(example) else [],
            weight=example.weight,
        )
        for example, prompt, answer, rejected in zip(examples, prompts, answers, wrong, strict=True)
    ]


def fitting(rows: Sequence[Row], most: int) -> list[Row]:
    """The rows with a prompt and at most so many tokens, less wrong answers that are longer."""
    return [
        row if len(row.prompt) + len(row.rejected) <= most else replace(row, rejected=[])
        for row in rows
        if row.prompt and row.num_tokens <= most
    ]


def split(
    examples: Sequence[PromptedAnswer], share: float, seed: int
) -> tuple[list[PromptedAnswer], list[PromptedAnswer]]:
    """Learned and held-out examples; those of one source, or of one prompt, stay together."""
    if len(examples) < _FEWEST_TO_HOLD_OUT or share <= 0:
        return list(examples), []
    keys = [example.source or repr(example.prompt) for example in examples]
    order = sorted(set(keys))
    random.Random(seed).shuffle(order)
    held_out = set(order[: max(1, round(share * len(order)))])
    if len(held_out) == len(order):  # all of one source
        return list(examples), []
    pairs = list(zip(keys, examples, strict=True))
    return (
        [example for key, example in pairs if key not in held_out],
        [example for key, example in pairs if key in held_out],
    )


def _is_pair(example: PromptedAnswer) -> bool:
    return example.rejected is not None and example.rejected != example.answer
