"""Candidates ranked per second, and tokens per second of a generator against plain transformers."""

from __future__ import annotations

import time
from collections.abc import Callable

from journeyman.agents.repair_search import Fault, Scene, propose, ranked
from journeyman.models.catalog import resolve
from journeyman.models.students.generator import Generator
from journeyman.models.students.ranker import Ranker

SECONDS = 3.0
TOKENS = 32
CODE = '''def widest(rows, least):
    """The longest row's length, or `least`."""
    best = least
    for number in range(1, len(rows)):
        row = rows[number]
        if len(row) >= best and row != []:
            best = len(row) - 1
    return best
'''


def _per_second(action: Callable[[], int]) -> float:
    """How many of what an action does are done a second; the first time is not counted."""
    action()
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        done += action()
    return done / (time.perf_counter() - start)


def _ranking() -> list[str]:
    scene = Scene(Fault(CODE, "assert widest([[1, 2]], 0) == 2"))
    proposals = propose(scene)
    words = sorted({word for proposal in proposals for word in proposal.words.split()})
    ranker = Ranker({word: 0.1 * (i % 7) for i, word in enumerate(words)})
    proposing = _per_second(lambda: len(propose(scene)))
    ordering = _per_second(lambda: len(ranked(proposals, ranker.predict)))
    thought = f"{proposing:,.0f} a second are thought of and put into words"
    return [
        f"ranker: {ordering:,.0f} candidates ordered a second; {thought} ({len(proposals)} of them)"
    ]


def _plain(num_prompts: int) -> Callable[[], int]:
    """The library's own generation of as many tokens, for as many prompts at once."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = resolve("SmolLM2-135M-Instruct").path
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    given = tokenizer([CODE] * num_prompts, return_tensors="pt", padding=True)

    def generate() -> int:
        with torch.inference_mode():
            model.generate(
                **given,
                do_sample=False,
                min_new_tokens=TOKENS,
                max_new_tokens=TOKENS,
                pad_token_id=tokenizer.pad_token_id,
            )
        return TOKENS * num_prompts

    return generate


def _generating() -> list[str]:
    generator = Generator(max_new_tokens=TOKENS)
    lines = []
    for num_prompts in (1, 8):

        def ours(count: int = num_prompts) -> int:
            answers = generator.predict([CODE] * count)
            return sum(len(answer.token_ids) for answer in answers)

        mine, theirs = _per_second(ours), _per_second(_plain(num_prompts))
        lines.append(
            f"generator, {num_prompts} at once: {mine:.0f} tokens a second with log-probabilities, "
            f"plain transformers {theirs:.0f} ({mine / theirs:.2f}x)"
        )
    return lines


def measure() -> list[str]:
    """Lines of the report."""
    return [*_ranking(), *_generating()]
