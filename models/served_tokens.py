"""A causal base's tokenizer, end tokens and grammars, without its weights.

A served student is asked in token ids and answers in them, so that it reads and writes exactly what
it would in this process. Knows no server.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from journeyman.models.catalog import Base
from journeyman.models.errors import ConfigError, WeightsError
from journeyman.models.quiet import quiet_loading
from journeyman.models.students.chat import Messages, answer_ids, answer_text, end_id, prompt_ids
from journeyman.models.types import canonical_json


class BaseTokens:
    """What turns texts into a base's token ids and back. Loads at the first use.

    Args:
        base: The base's files.
    """

    def __init__(self, base: Base) -> None:
        self._base = base
        self._grammars: dict[str, str] = {}
        self._lock = threading.Lock()

    @cached_property
    def tokenizer(self) -> Any:
        """The base's own.

        Raises:
            WeightsError: Its files are missing or damaged.
        """
        from transformers import AutoTokenizer

        try:
            with quiet_loading():
                return AutoTokenizer.from_pretrained(self._base.path, local_files_only=True)
        except (OSError, ValueError) as error:
            raise WeightsError(
                f"The tokenizer of base {self._base.name!r} cannot be loaded "
                f"({type(error).__name__}): install the base on this machine too.",
                model=self._base.name,
            ) from error

    @cached_property
    def _config(self) -> Any:
        from transformers import AutoConfig

        return AutoConfig.from_pretrained(self._base.path, local_files_only=True)

    @cached_property
    def stop_ids(self) -> list[int]:
        """Tokens that end an answer, as the loaded model would have them."""
        from transformers import GenerationConfig

        try:
            told = GenerationConfig.from_pretrained(self._base.path, local_files_only=True)
        except OSError:
            told = GenerationConfig.from_model_config(self._config)
        stated = told.eos_token_id
        if stated is None:
            stated = self.tokenizer.eos_token_id
        return [int(i) for i in stated] if isinstance(stated, list) else [int(stated)]

    def is_ready(self, schema: Mapping[str, Any] | None) -> bool:
        """Whether all is loaded that a prompt with this schema needs."""
        loaded = {"tokenizer", "_config", "stop_ids"} <= vars(self).keys()
        return loaded and (schema is None or canonical_json(schema) in self._grammars)

    def prepare(self, schema: Mapping[str, Any] | None) -> None:
        """Load all that a prompt with this schema needs: seconds, at the first call.

        Raises:
            WeightsError: The base's files are missing or damaged.
            ConfigError: The schema cannot be made a grammar.
        """
        _ = self.tokenizer, self._config, self.stop_ids
        if schema is not None:
            self.grammar(schema)

    @property
    def window(self) -> int:
        """Tokens of a prompt and its answer together."""
        return int(self._config.max_position_embeddings)

    @property
    def vocab_size(self) -> int:
        """Token ids are below it."""
        return int(self._config.vocab_size)

    def prompt(self, messages: Messages | str) -> list[int]:
        """Token ids of a prompt: chat by the base's own template, plain text as it is.

        Raises:
            ModelError: The base has no chat template.
        """
        return prompt_ids(self.tokenizer, [messages], name=self._base.name)[0]

    def answer(self, text: str) -> list[int]:
        """Token ids of an answer as the model would write it, the end token included."""
        return answer_ids(self.tokenizer, [text], end_id(self.tokenizer, self.stop_ids))[0]

    def text(self, ids: Sequence[int]) -> tuple[str, tuple[int, ...]]:
        """The text of an answer, and where each token begins in it."""
        text, starts = answer_text(self.tokenizer, ids)
        return text, tuple(starts)

    def grammar(self, schema: Mapping[str, Any]) -> str:
        """The grammar (EBNF) of objects that fit a schema, the very one of students in process.

        Servers make their own from a schema, with other white space.

        Raises:
            ConfigError: The schema cannot be made a grammar.
        """
        import xgrammar

        key = canonical_json(schema)
        with self._lock:
            if key not in self._grammars:
                try:
                    grammar = xgrammar.Grammar.from_json_schema(
                        json.dumps(schema), any_whitespace=False
                    )
                except RuntimeError as error:  # xgrammar's own errors derive from it
                    raise ConfigError(
                        f"The JSON Schema {key[:80]!r} cannot be made a grammar "
                        f"({str(error).splitlines()[0]}): simplify it."
                    ) from error
                self._grammars[key] = str(grammar)
            return self._grammars[key]
