"""A taught ranker on disk and in memory: its folder, and the model that it holds.

The folder is an encoder in Hugging Face layout (any other tool can load it), `head.safetensors`
with the scoring head, and `ranker.json` with what it was taught on. Safetensors only. Knows nothing
of texts beyond their tokens.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from journeyman.models.catalog import Base, check_complete, resolve
from journeyman.models.errors import ModelError, WeightsError
from journeyman.models.quiet import quiet_loading
from journeyman.models.students.device import computing, pick_device
from journeyman.models.students.folders import copy_tokenizer, new_folder
from journeyman.models.students.tokens import (
    encodable,
    length_sorted,
    load_tokenizer,
    pad,
    special_ids,
)
from journeyman.models.types import canonical_json

if TYPE_CHECKING:
    import torch

    _KeysValues = tuple[torch.Tensor, torch.Tensor]

FACTS = "ranker.json"
WEIGHTS = "model.safetensors"
HEAD = "head.safetensors"

_CUT = " ... "


@dataclass(frozen=True, slots=True)
class Facts:
    """What a ranker was taught on.

    Attributes:
        base: Name of the base that teaching started from.
        base_digest: Its digest; empty where nothing was taught.
        task_tokens: Tokens of a task that are read, special tokens included.
        priors: What speaks for a candidate of each kind, before it is read: log-odds that were
            counted in teaching. See `kind_of`.
        other_prior: The same for kinds that are not among them.
    """

    base: str
    base_digest: str
    task_tokens: int
    priors: Mapping[str, float] = field(default_factory=dict)
    other_prior: float = 0.0

    def prior(self, candidate: str) -> float:
        """What speaks for a candidate because of its kind alone."""
        return self.priors.get(kind_of(candidate), self.other_prior)


def kind_of(candidate: str) -> str:
    """A candidate's kind: what stands before its first colon; empty without one."""
    return candidate.partition(":")[0].strip() if ":" in candidate else ""


def read_facts(folder: Path) -> Facts:
    """Read a ranker's folder.

    Raises:
        WeightsError: It is not a ranker's.
    """
    try:
        facts = json.loads((folder / FACTS).read_text("utf-8"))
        return Facts(
            base=str(facts["base"]),
            base_digest=str(facts["base_digest"]),
            task_tokens=int(facts["task_tokens"]),
            priors={str(kind): float(value) for kind, value in facts["priors"].items()},
            other_prior=float(facts["other_prior"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"No ranker can be read from {str(folder)!r} ({type(error).__name__}): give a folder "
            f"that training wrote, or restore its files."
        ) from error


def write_facts(folder: Path, facts: Facts) -> None:
    """Write `ranker.json`."""
    (folder / FACTS).write_text(canonical_json(asdict(facts)), "utf-8")


class PairTokenizer:
    """Texts of tasks and candidates as ids with special tokens.

    Args:
        folder: Where the tokenizer's files are.
        task_tokens: Most tokens of a task, special tokens included; longer ones lose their middle.
        max_positions: Most tokens of a task and a candidate together.
    """

    def __init__(self, folder: Path, *, task_tokens: int, max_positions: int) -> None:
        self._tokenizer = load_tokenizer(folder)
        self._prefix, self._suffix = special_ids(self._tokenizer)
        self._cut = self._tokenizer.encode(_CUT, add_special_tokens=False).ids
        num_special = len(self._prefix) + len(self._suffix)
        self._task_room = task_tokens - num_special
        self.candidate_room = max_positions - task_tokens - num_special

    def tasks(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each task, its middle cut out where it is too long."""
        return [
            [*self._prefix, *cut_middle(ids, self._task_room, self._cut), *self._suffix]
            for ids in self._ids(texts)
        ]

    def candidates(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each candidate, whole.

        Raises:
            ModelError: One is longer than the ranker can read.
        """
        rows = self._ids(texts)
        for text, ids in zip(texts, rows, strict=True):
            if len(ids) > self.candidate_room:
                raise ModelError(
                    f"The candidate {text[:40]!r}... has {len(ids)} tokens and the ranker reads "
                    f"{self.candidate_room}: render candidates more compactly."
                )
        return [[*self._prefix, *ids, *self._suffix] for ids in rows]

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        clean = [encodable(text) for text in texts]
        encodings = self._tokenizer.encode_batch_fast(clean, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]


class PairScorer:
    """Encoder and head in memory; the trainer teaches it and the ranker asks it.

    A pair is `[CLS] task [SEP] [CLS] candidate [SEP]`. The candidate sees the task and itself at
    every layer, the task itself alone: so a task is encoded once for all of its candidates.

    Args:
        encoder: A BERT-like encoder.
        head: Turns a vector (.., hidden) into a score (.., 1).
        device: Where both are moved.
    """

    def __init__(self, encoder: Any, head: torch.nn.Module, device: str) -> None:
        import torch

        self.device = device
        self.encoder: Any = encoder.to(device)
        self.head = head.to(device)
        self.module = torch.nn.ModuleList([self.encoder, self.head])
        self._pad_id = int(getattr(encoder.config, "pad_token_id", 0) or 0)

    def read(self, tasks: Sequence[Sequence[int]]) -> TaskStates:
        """Encode tasks, given as ids with special tokens."""
        ids, mask = self._padded(tasks)
        states = TaskStates(mask)
        self.encoder(input_ids=ids, attention_mask=mask[:, None, None], past_key_values=states)
        return states

    def scores(
        self, states: TaskStates, candidates: Sequence[Sequence[int]], tasks: Sequence[int]
    ) -> torch.Tensor:
        """Scores (candidates,), each the head's of the mean of a candidate's tokens.

        Args:
            states: What `read` gave.
            candidates: Ids with special tokens.
            tasks: For each candidate the number of its task.
        """
        import torch

        ids, mask = self._padded(candidates)
        owner = torch.tensor(tasks, device=self.device)
        places = torch.arange(ids.shape[1], device=self.device)
        hidden = self.encoder(
            input_ids=ids,
            attention_mask=torch.cat([states.mask[owner], mask], dim=1)[:, None, None],
            position_ids=states.mask[owner].sum(1, keepdim=True) + places,
            token_type_ids=torch.ones_like(ids),
            past_key_values=states.for_candidates(owner),
        ).last_hidden_state
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        means = (hidden * weights).sum(1) / weights.sum(1)
        result: torch.Tensor = self.head(means).squeeze(-1).float()
        return result

    def predict(
        self, task: Sequence[int], candidates: Sequence[Sequence[int]], batch_size: int = 64
    ) -> NDArray[np.float32]:
        """Scores (candidates,) for one task, without gradients; one batch at a time computes."""
        import torch

        result = np.zeros(len(candidates), dtype=np.float32)
        with torch.inference_mode():
            with computing(self.device):
                states = self.read([task])
            for batch in length_sorted([len(ids) for ids in candidates], batch_size):
                with computing(self.device):
                    picked = [candidates[i] for i in batch]
                    scores = self.scores(states, picked, [0] * len(batch))
                    result[batch] = scores.cpu().numpy()
        return result

    def _padded(self, rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        ids, mask = pad(rows, self._pad_id)
        place = self.device
        return torch.from_numpy(ids).to(place), torch.from_numpy(mask).to(place, torch.bool)


class TaskStates:
    """Keys and values of encoded tasks, layer by layer: a cache as transformers' attention uses it.

    Attributes:
        mask: Tokens that are not padding (tasks, longest).
    """

    def __init__(self, mask: torch.Tensor, kept: list[_KeysValues] | None = None) -> None:
        self.mask = mask
        self._kept: list[_KeysValues] = [] if kept is None else kept
        self._owner: torch.Tensor | None = None

    def for_candidates(self, owner: torch.Tensor) -> TaskStates:
        """The same for rows of candidates that belong to the tasks of these numbers."""
        view = TaskStates(self.mask, self._kept)
        view._owner = owner
        return view

    def get_seq_length(self, *_: object) -> int:
        """Tokens before a row's own."""
        return 0 if self._owner is None else self.mask.shape[1]

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int, *_: object
    ) -> _KeysValues:
        """Keep a task's keys and values, or put them before a candidate's."""
        import torch

        if self._owner is None:
            self._kept.append((keys, values))
            return keys, values
        before = (kept[self._owner] for kept in self._kept[layer])
        first, second = (
            torch.cat([b, own], dim=2) for b, own in zip(before, (keys, values), strict=True)
        )
        return first, second


def new_scorer(base: Base, device: str) -> PairScorer:
    """The base with an untaught head, in float32.

    Raises:
        WeightsError: The base is not a BERT encoder, the one kind whose attention shares a task.
    """
    import torch

    encoder, missing = _load_encoder(base.path, "float32")
    check_complete(base, missing, made_anew=("pooler.",))
    kind = encoder.config.model_type
    if kind != "bert":
        raise WeightsError(
            f"Base model {base.name!r} is of type {kind!r} and a ranker needs "
            f"a BERT encoder: give another base.",
            model=base.name,
        )
    size = int(encoder.config.hidden_size)
    return PairScorer(encoder, _new_head(size, torch.float32), device)


def max_positions(folder: Path) -> int:
    """Tokens that the encoder in a folder can number."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    return int(config["max_position_embeddings"])


def write_ranker(folder: Path, scorer: PairScorer, facts: Facts) -> None:
    """Write a taught ranker's folder, all of it or nothing.

    Raises:
        WeightsError: There is something in the folder already.
    """
    from safetensors.torch import save_file

    with new_folder(folder, "ranker") as work:
        with quiet_loading():
            scorer.encoder.save_pretrained(work)
        head = {k: v.detach().cpu().contiguous() for k, v in scorer.head.state_dict().items()}
        save_file(head, work / HEAD, metadata={"format": "pt"})
        copy_tokenizer(resolve(facts.base), work)
        write_facts(work, facts)


def load_scorer(folder: Path, *, device: str | None = None, dtype: str = "float32") -> PairScorer:
    """The model that `write_ranker` wrote.

    Args:
        folder: The ranker's.
        device: `cpu`, `cuda`, ...; CUDA where there is one, if None.
        dtype: Name of the torch type to compute in.

    Raises:
        WeightsError: The weights are damaged or incomplete.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        encoder, missing = _load_encoder(folder, dtype)
        head = _new_head(int(encoder.config.hidden_size), getattr(torch, dtype))
        head.load_state_dict(load_file(folder / HEAD))
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise WeightsError(
            f"The ranker's weights in {str(folder)!r} cannot be loaded ({type(error).__name__}): "
            f"teach it again, or restore the files."
        ) from error
    if any(not name.startswith("pooler.") for name in missing):
        raise WeightsError(
            f"The ranker's weights in {str(folder)!r} lack {missing[0]!r}: teach it again, or "
            f"restore the files."
        )
    scorer = PairScorer(encoder, head, pick_device(device))
    scorer.module.eval()
    return scorer


def _load_encoder(folder: Path, dtype: str) -> tuple[Any, list[str]]:
    import torch
    from transformers import AutoModel

    with quiet_loading():
        encoder, info = AutoModel.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            dtype=getattr(torch, dtype),
            output_loading_info=True,
        )
    return encoder, list(info["missing_keys"])


def _new_head(size: int, dtype: torch.dtype) -> torch.nn.Module:
    """A head that scores everything 0 until it is taught, so that teaching starts at the priors."""
    import torch

    last = torch.nn.Linear(size, 1)
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.zeros_(last.bias)
    head = torch.nn.Sequential(
        torch.nn.Linear(size, size), torch.nn.GELU(), torch.nn.Dropout(0.1), last
    )
    return head.to(dtype)


def cut_middle(ids: Sequence[int], size: int, mark: Sequence[int]) -> list[int]:
    """The ids, or their beginning and end around `mark` where there are more than `size`.

    Args:
        ids: Of any number.
        size: At least the length of the mark.
        mark: Ids that stand for what is left out.
    """
    if len(ids) <= size:
        return list(ids)
    room = size - len(mark)
    head = (room + 1) // 2
    return [*ids[:head], *mark, *ids[len(ids) - (room - head) :]]
