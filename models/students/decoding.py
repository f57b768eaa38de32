"""What happens between a model's logits and the next token: recording, and masking by grammar.

The recorder comes first, so that log-probabilities are the model's own, at temperature 1, whatever
grammar, temperature or penalty then decides which token is taken. Imports torch and transformers:
only `causal` imports this, once a model is really loaded.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import transformers
import xgrammar

from journeyman.models.errors import ConfigError
from journeyman.models.types import canonical_json


class Recorder(transformers.LogitsProcessor):  # type: ignore[misc]  # transformers has no types here
    """Keeps the log-probability of every token that is then chosen.

    A processor sees a step's logits before the choice and the choice at the next step, so each step
    is settled by the one after it, and the last by `finish`.
    """

    def __init__(self) -> None:
        self._last: torch.Tensor | None = None
        self._steps: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Note this step's distribution (rows, vocabulary) and settle the last one."""
        self._settle(input_ids[:, -1])
        self._last = torch.log_softmax(scores.float(), dim=-1)
        return scores

    def finish(self, sequences: torch.Tensor) -> torch.Tensor:
        """Log-probabilities (rows, new tokens) of what was chosen.

        Args:
            sequences: What `generate` returned, (rows, prompt and new tokens).
        """
        self._settle(sequences[:, -1])
        self._last = None
        return torch.stack(self._steps, dim=1)

    def _settle(self, chosen: torch.Tensor) -> None:
        if self._last is not None:
            self._steps.append(self._last.gather(1, chosen.unsqueeze(1)).squeeze(1))


class GrammarMask(transformers.LogitsProcessor):  # type: ignore[misc]  # as above
    """Leaves each row the tokens that its grammar allows next. For one `generate` call.

    Args:
        grammars: One for each row; None leaves the row free.
        vocab_size: Width of the logits.
    """

    def __init__(
        self, grammars: Sequence[xgrammar.CompiledGrammar | None], vocab_size: int
    ) -> None:
        self._matchers = [None if g is None else xgrammar.GrammarMatcher(g) for g in grammars]
        self._rows = [i for i, matcher in enumerate(self._matchers) if matcher is not None]
        self._bitmask = xgrammar.allocate_token_bitmask(len(grammars), vocab_size)
        self._started = False

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Take in the last token, forbid what may not follow."""
        for i in self._rows:
            matcher = self._matchers[i]
            assert matcher is not None
            if self._started and not matcher.is_terminated():
                matcher.accept_token(int(input_ids[i, -1]))
            if not matcher.is_terminated():
                matcher.fill_next_token_bitmask(self._bitmask, i)
        self._started = True
        xgrammar.apply_token_bitmask_inplace(
            scores, self._bitmask.to(scores.device), indices=self._rows
        )
        return scores


class Grammars:
    """JSON Schemas compiled for one tokenizer, each once.

    Args:
        tokenizer: The base's.
        vocab_size: Width of the model's logits.
        stop_ids: Tokens that end an answer.
    """

    def __init__(self, tokenizer: Any, vocab_size: int, stop_ids: Sequence[int]) -> None:
        self.vocab_size = vocab_size
        info = xgrammar.TokenizerInfo.from_huggingface(
            tokenizer, vocab_size=vocab_size, stop_token_ids=list(stop_ids)
        )
        self._compiler = xgrammar.GrammarCompiler(info, max_threads=1)
        self._compiled: dict[str, xgrammar.CompiledGrammar] = {}
        self._lock = threading.Lock()

    def of(self, schema: Mapping[str, Any]) -> xgrammar.CompiledGrammar:
        """The grammar of objects that fit the schema, written as `json.dumps` writes them.

        White space is fixed: left free, small models lose themselves in it.

        Raises:
            ConfigError: The schema cannot be compiled.
        """
        key = canonical_json(schema)
        with self._lock:
            if key not in self._compiled:
                try:
                    self._compiled[key] = self._compiler.compile_json_schema(
                        json.dumps(schema), any_whitespace=False
                    )
                except RuntimeError as error:  # xgrammar's own errors derive from it
                    raise ConfigError(
                        f"The JSON Schema {key[:80]!r} cannot be made a grammar "
                        f"({str(error).splitlines()[0]}): simplify it."
                    ) from error
            return self._compiled[key]
