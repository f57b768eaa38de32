"""A tiny causal base with chat template, made from nothing: it knows nothing and learns in seconds.

Its tokens are bytes, so that any text can be taught, and any grammar compiled.
"""

from __future__ import annotations

from pathlib import Path

from journeyman.models.training.generator import PromptedAnswer

_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' "
    "+ message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def make_tiny_base(folder: Path, *, num_heads: int = 4) -> str:
    """Write the base; its name is its path."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = ["<|im_end|>", "<|im_start|>", *letters]
    vocabulary = {word: i for i, word in enumerate(words)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>"],
        chat_template=_TEMPLATE,
    )
    fast.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=num_heads,
        num_key_value_heads=num_heads // 2,
        max_position_embeddings=512,
        bos_token_id=1,
        eos_token_id=0,
        pad_token_id=0,
        initializer_range=0.2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
    return str(folder)


def chat(text: str) -> list[dict[str, str]]:
    """One message of a user."""
    return [{"role": "user", "content": text}]


def tiny_lessons(num_examples: int = 24, *, pairs: bool = False) -> list[PromptedAnswer]:
    """What to answer follows from the prompt's first letter."""
    answers = {"a": "yes", "b": "no"}
    rows = []
    for i in range(num_examples):
        letter = "ab"[i // 2 % 2]
        wrong = answers["ba"[i // 2 % 2]] if pairs else None
        rows.append(PromptedAnswer(chat(f"{letter}{i}"), answers[letter], rejected=wrong))
    return rows
