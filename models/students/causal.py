"""A causal base in memory, shared by every generator that answers with it.

Holds the model once, any number of LoRA adapters beside it, and compiled grammars. One batch is
decoded at a time. Knows nothing of what the texts mean.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from journeyman.models.catalog import Base, check_complete, file_digest, resolve
from journeyman.models.errors import WeightsError
from journeyman.models.quiet import quiet_loading
from journeyman.models.students.chat import (
    Messages,
    answer_ids,
    answer_text,
    end_id,
    prompt_ids,
    stop_ids,
)
from journeyman.models.students.device import computing, pick_device
from journeyman.models.types import content_hash

if TYPE_CHECKING:
    import torch

    from journeyman.models.students.decoding import Grammars

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a token is chosen: the likeliest, or drawn.

    Attributes:
        num_samples: Answers for each prompt; 0 is one answer, of the likeliest tokens.
        temperature: Of the draw; above 0.
        seed: Of the draw.
    """

    num_samples: int = 0
    temperature: float = 0.7
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Decoded:
    """The tokens of one answer.

    Attributes:
        text: Without special tokens.
        token_ids: The end token included where the model came to it.
        starts: First character in `text` of each token.
        log_probabilities: Of each token, before grammar and temperature.
        finished: Whether the model ended by itself; otherwise the limit cut it off.
    """

    text: str
    token_ids: tuple[int, ...]
    starts: tuple[int, ...]
    log_probabilities: tuple[float, ...]
    finished: bool


class CausalBase:
    """A causal model that several generators share. Loads on first use; safe between threads.

    Args:
        name: As `catalog.resolve` takes it.
        device: `cpu`, `cuda`, ...; CUDA where there is one, if None.
        dtype: Name of the torch type to compute in.
    """

    def __init__(
        self,
        name: str = "SmolLM2-135M-Instruct",
        *,
        device: str | None = None,
        dtype: str = "float32",
    ) -> None:
        self.name = name
        self.dtype = dtype
        self._device = device
        self._lock = threading.RLock()  # one batch at a time: an adapter is a switch on the model
        self._loaded: _Loaded | None = None

    @property
    def device(self) -> str | None:
        """The device that was asked for; None where it is for the machine to say."""
        return self._device

    @cached_property
    def files(self) -> Base:
        """The base's files, converted or fetched at the first call.

        Raises:
            WeightsError: They are missing or damaged.
        """
        return resolve(self.name)

    def prompt_ids(self, prompts: Sequence[Messages | str]) -> list[list[int]]:
        """Token ids of prompts: chat messages by the base's own template, or plain text as it is.

        Raises:
            ModelError: The base has no chat template.
        """
        return prompt_ids(self._load().tokenizer, prompts, name=self.name)

    @property
    def window(self) -> int:
        """Tokens of a prompt and its answer together."""
        return int(self._load().module.config.max_position_embeddings)

    def decode(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        schemas: Sequence[Mapping[str, Any] | None] = (),
        adapter: Path | None = None,
        sampling: Sampling = Sampling(),
    ) -> list[list[Decoded]]:
        """Answers for each prompt of one batch: one, or `sampling.num_samples`.

        Args:
            prompts: Token ids, none empty; each with `max_new_tokens` within the window.
            max_new_tokens: Tokens of an answer at most.
            schemas: For each prompt the JSON Schema that its answers fit, or None; empty for none.
            adapter: Folder of a LoRA adapter; None is the base alone.
            sampling: How tokens are chosen.

        Raises:
            ConfigError: A schema cannot be compiled.
            WeightsError: The adapter is missing or does not fit the base.
        """
        with self._lock:
            loaded = self._load()
            with loaded.adapted(adapter):
                return loaded.decode(prompts, max_new_tokens, list(schemas), sampling)

    def score(
        self,
        prompts: Sequence[Sequence[int]],
        answers: Sequence[str],
        *,
        adapter: Path | None = None,
    ) -> list[tuple[float, ...]]:
        """Log-probability (nats) of each token of given answers, the end token included.

        Args:
            prompts: Token ids, none empty.
            answers: One for each prompt; what the model should write after it.
            adapter: Folder of a LoRA adapter; None is the base alone.

        Raises:
            WeightsError: The adapter is missing or does not fit the base.
        """
        if not prompts:
            return []
        with self._lock:
            loaded = self._load()
            with loaded.adapted(adapter):
                return loaded.score(prompts, answers)

    def _load(self) -> _Loaded:
        with self._lock:
            if self._loaded is None:
                self._loaded = _Loaded(self.files, pick_device(self._device), self.dtype)
            return self._loaded


class _Loaded:
    """Model, tokenizer and grammars."""

    def __init__(self, base: Base, device: str, dtype: str) -> None:
        self._base = base
        self.device = device
        module, self.tokenizer = load_causal(base, dtype)
        self.module: Any = module.to(device).eval()
        self._plain = self.module
        self._stop_ids = stop_ids(self.module, self.tokenizer)
        self._pad_id = int(self.tokenizer.pad_token_id or self._stop_ids[0])
        self._adapters: set[str] = set()
        self._grammars: Grammars | None = None

    @contextmanager
    def adapted(self, adapter: Path | None) -> Iterator[None]:
        """Compute with this adapter, or with the base alone."""
        if adapter is None and not self._adapters:
            yield
        elif adapter is None:
            with self.module.disable_adapter():
                yield
        else:
            name = self._add(adapter)
            self.module.set_adapter(name)
            yield

    def _add(self, adapter: Path) -> str:
        """Load an adapter under a name made of its contents, so that it is never reloaded."""
        name = adapter_digest(adapter)
        if name in self._adapters:
            return name
        import peft

        try:
            with quiet_loading():
                if self._adapters:
                    self.module.load_adapter(str(adapter), adapter_name=name)
                else:
                    self.module = peft.PeftModel.from_pretrained(
                        self._plain, str(adapter), adapter_name=name
                    )
        except (ValueError, RuntimeError, KeyError, OSError) as error:
            raise WeightsError(
                f"The adapter {str(adapter)!r} cannot be put on {self._base.name!r} "
                f"({type(error).__name__}): name the base that it was taught on.",
                model=self._base.name,
            ) from error
        self.module.eval()
        self._adapters.add(name)
        return name

    def decode(
        self,
        prompts: Sequence[Sequence[int]],
        max_new_tokens: int,
        schemas: Sequence[Mapping[str, Any] | None],
        sampling: Sampling,
    ) -> list[list[Decoded]]:
        import torch
        from transformers import GenerationConfig, LogitsProcessorList

        from journeyman.models.students.decoding import Recorder

        ids, mask = self._left_padded(prompts)
        copies = max(sampling.num_samples, 1)
        recorder = Recorder()
        processors = [recorder, *self._masks(schemas, copies)]
        drawn: dict[str, Any] = {"do_sample": False}
        if sampling.num_samples:
            drawn = {
                "do_sample": True,
                "temperature": sampling.temperature,
                "top_k": 0,
                "top_p": 1.0,
                "num_return_sequences": copies,
            }
        config = GenerationConfig(
            max_new_tokens=max_new_tokens,
            pad_token_id=self._pad_id,
            eos_token_id=self._stop_ids,
            num_beams=1,
            **drawn,
        )
        on_cpu = self.device == "cpu"
        with (
            computing(self.device),
            torch.random.fork_rng(devices=[] if on_cpu else None),
            torch.inference_mode(),
        ):
            torch.manual_seed(sampling.seed)
            sequences = self.module.generate(
                input_ids=ids,
                attention_mask=mask,
                generation_config=config,
                logits_processor=LogitsProcessorList(processors),
            )
            log_probs = recorder.finish(sequences).tolist()
        answers = sequences[:, ids.shape[1] :].tolist()
        decoded = [self._decoded(a, p) for a, p in zip(answers, log_probs, strict=True)]
        return [decoded[i : i + copies] for i in range(0, len(decoded), copies)]

    def score(
        self, prompts: Sequence[Sequence[int]], answers: Sequence[str]
    ) -> list[tuple[float, ...]]:
        end = end_id(self.tokenizer, self._stop_ids)
        return score_answers(
            self.module, self.tokenizer, prompts, answers, end=end, device=self.device
        )

    def _left_padded(self, prompts: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        width = max(len(prompt) for prompt in prompts)
        ids = torch.full((len(prompts), width), self._pad_id)
        mask = torch.zeros((len(prompts), width), dtype=torch.long)
        for i, prompt in enumerate(prompts):
            ids[i, width - len(prompt) :] = torch.tensor(prompt)
            mask[i, width - len(prompt) :] = 1
        return ids.to(self.device), mask.to(self.device)

    def _masks(self, schemas: Sequence[Mapping[str, Any] | None], copies: int) -> list[Any]:
        if not any(schema is not None for schema in schemas):
            return []
        from journeyman.models.students.decoding import GrammarMask, Grammars

        vocab_size = int(self.module.config.vocab_size)
        if self._grammars is None:
            self._grammars = Grammars(self.tokenizer, vocab_size, self._stop_ids)
        grammars = self._grammars
        rows = [
            None if schema is None else grammars.of(schema)
            for schema in schemas
            for _ in range(copies)
        ]
        return [GrammarMask(rows, vocab_size)]

    def _decoded(self, ids: Sequence[int], log_probs: Sequence[float]) -> Decoded:
        stop = next((i for i, token in enumerate(ids) if token in self._stop_ids), None)
        kept = list(ids) if stop is None else list(ids[: stop + 1])
        text, starts = answer_text(self.tokenizer, kept)
        return Decoded(
            text=text,
            token_ids=tuple(kept),
            starts=tuple(starts),
            log_probabilities=tuple(log_probs[: len(kept)]),
            finished=stop is not None,
        )


def adapter_digest(adapter: Path) -> str:
    """Hash of an adapter's weights and settings.

    Raises:
        WeightsError: It is no LoRA adapter in safetensors.
    """
    try:
        config = json.loads((adapter / ADAPTER_CONFIG).read_text("utf-8"))
        kind = str(config["peft_type"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"No adapter can be read from {str(adapter)!r} ({type(error).__name__}): give a folder "
            f"with {ADAPTER_CONFIG} and {ADAPTER_WEIGHTS}."
        ) from error
    # Asked for before peft looks, which would fall back to a pickle.
    if kind != "LORA" or not (adapter / ADAPTER_WEIGHTS).is_file():
        raise WeightsError(
            f"The adapter {str(adapter)!r} is not LoRA in safetensors, the one form that is "
            f"loaded: save it with `save_pretrained(..., safe_serialization=True)`."
        )
    shaping = {name: file_digest(adapter / name) for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS)}
    return content_hash(shaping, length=32)


def load_causal(base: Base, dtype: str) -> tuple[Any, Any]:
    """The model and the tokenizer of a base, from its own files.

    Raises:
        WeightsError: Weights are missing from the files.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with quiet_loading():
        module, info = AutoModelForCausalLM.from_pretrained(
            base.path,
            local_files_only=True,
            use_safetensors=True,
            dtype=getattr(torch, dtype),
            output_loading_info=True,
        )
        tokenizer = AutoTokenizer.from_pretrained(base.path, local_files_only=True)
    check_complete(base, info["missing_keys"], made_anew=())
    return module, tokenizer


def score_answers(
    module: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[str],
    *,
    end: int,
    device: str,
) -> list[tuple[float, ...]]:
    """Log-probability (nats) of each token of given answers, the end token included.

    Args:
        module: A causal model, on `device`.
        tokenizer: Its own.
        prompts: Token ids, none empty.
        answers: One for each prompt.
        end: The token that ends an answer.
        device: `cpu`, `cuda`, ...
    """
    import torch

    scores = []
    for prompt, answer in zip(prompts, answer_ids(tokenizer, answers, end), strict=True):
        ids = torch.tensor([[*prompt, *answer]], device=device)
        with computing(device), torch.inference_mode():
            # The position before a token is the one that predicts it.
            logits = module(input_ids=ids, logits_to_keep=len(answer) + 1).logits
            logs = torch.log_softmax(logits[0, :-1].float(), dim=-1)
            picked = logs.gather(1, ids[0, len(prompt) :, None])
        scores.append(tuple(picked[:, 0].tolist()))
    return scores
