"""Chat and answers as token ids, the same for a model that answers and for one that is taught.

Knows nothing of models but which tokens they stop at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from journeyman.models.errors import ModelError
from journeyman.models.students.tokens import encodable

Messages = Sequence[Mapping[str, Any]]


def prompt_ids(tokenizer: Any, prompts: Sequence[Messages | str], *, name: str) -> list[list[int]]:
    """Token ids of prompts: chat messages by the tokenizer's own template, plain text as it is.

    Raises:
        ModelError: The base, called `name`, has no chat template.
    """
    texts = []
    for prompt in prompts:
        if isinstance(prompt, str):
            texts.append(encodable(prompt))
            continue
        if not tokenizer.chat_template:
            raise ModelError(
                f"Base model {name!r} has no chat template: give it plain text, or an "
                f"instruction-tuned base.",
                model=name,
            )
        texts.append(
            encodable(
                tokenizer.apply_chat_template(
                    [dict(message) for message in prompt],
                    add_generation_prompt=True,
                    tokenize=False,
                )
            )
        )
    if not texts:
        return []
    ids: list[list[int]] = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return ids


def answer_ids(tokenizer: Any, answers: Sequence[str], end_id: int) -> list[list[int]]:
    """Token ids of answers as the model would write them: nothing before, the end token after."""
    if not answers:
        return []
    texts = [encodable(answer) for answer in answers]
    ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return [[*row, end_id] for row in ids]


def answer_text(tokenizer: Any, ids: Sequence[int]) -> tuple[str, list[int]]:
    """The text of an answer, and where each token begins in it.

    Special tokens are left out, and parts of a character begin with it.
    """
    from tokenizers.decoders import DecodeStream

    stream = DecodeStream(skip_special_tokens=True)
    backend = tokenizer.backend_tokenizer
    starts, done = [], 0
    for token in ids:
        starts.append(done)
        done += len(stream.step(backend, token) or "")
    text: str = backend.decode(list(ids), skip_special_tokens=True)
    return text, [min(start, len(text)) for start in starts]


def end_id(tokenizer: Any, stops: Sequence[int]) -> int:
    """The stop token that the chat template puts after an answer; without a template, the first."""
    if tokenizer.chat_template:
        chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        text = tokenizer.apply_chat_template(chat, tokenize=False)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        found = [token for token in ids if token in stops]
        if found:
            return int(found[-1])
    return stops[0]


def stop_ids(module: Any, tokenizer: Any) -> list[int]:
    """Tokens that end an answer."""
    stated = module.generation_config.eos_token_id
    if stated is None:
        stated = tokenizer.eos_token_id
    return [int(i) for i in stated] if isinstance(stated, list) else [int(stated)]
