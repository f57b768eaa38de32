"""A taught tagger on disk and in memory: its folder, and the model that it holds.

The folder is a token classification model in Hugging Face layout (any other tool can load it), with
`tagger.json` for its labels and `taught.json` for counts of what it was taught. Safetensors only.
Knows nothing of spans.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from journeyman.models.catalog import Base, check_complete, unloadable
from journeyman.models.errors import WeightsError
from journeyman.models.quiet import quiet_loading
from journeyman.models.students.bio import LabelSets, tag_names
from journeyman.models.students.device import computing, pick_device
from journeyman.models.students.familiarity import Familiarity
from journeyman.models.students.folders import copy_tokenizer, new_folder
from journeyman.models.students.tokens import load_tokenizer, pad, special_ids
from journeyman.models.types import canonical_json

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

FACTS = "tagger.json"
WEIGHTS = "model.safetensors"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a tagger was taught.

    Attributes:
        labels: In the order of their tags.
        base: Name of the base that teaching started from.
        base_digest: Its digest; empty where nothing was taught.
        window: Tokens in one window, special tokens included.
        overlap: Tokens that neighbouring windows share.
        shared: Sets of several labels that one stretch may have, whose tags follow.
    """

    labels: tuple[str, ...]
    base: str
    base_digest: str
    window: int
    overlap: int
    shared: tuple[tuple[str, ...], ...] = ()

    @property
    def label_sets(self) -> tuple[tuple[str, ...], ...]:
        """What one stretch may be marked as, by tag number."""
        return (*((label,) for label in self.labels), *self.shared)


def read_facts(folder: Path) -> Facts:
    """Read a tagger's folder.

    Raises:
        WeightsError: It is not a tagger's.
    """
    try:
        facts = json.loads((folder / FACTS).read_text("utf-8"))
        return Facts(
            labels=tuple(str(label) for label in facts["labels"]),
            base=str(facts["base"]),
            base_digest=str(facts["base_digest"]),
            window=int(facts["window"]),
            overlap=int(facts["overlap"]),
            shared=tuple(tuple(map(str, labels)) for labels in facts.get("shared", ())),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"No tagger can be read from {str(folder)!r} ({type(error).__name__}): give a folder "
            f"that training wrote, or restore its files."
        ) from error


def write_facts(folder: Path, facts: Facts) -> None:
    """Write `tagger.json`."""
    (folder / FACTS).write_text(canonical_json(asdict(facts)), "utf-8")


def new_module(base: Base, label_sets: LabelSets) -> PreTrainedModel:
    """The base with an untaught token classification head, on the CPU in float32.

    Raises:
        WeightsError: The base's weights are damaged, incomplete, or no safetensors.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModelForTokenClassification

    names = tag_names(label_sets)
    try:
        config = AutoConfig.from_pretrained(
            base.path,
            local_files_only=True,
            trust_remote_code=False,
            num_labels=len(names),
            id2label=dict(enumerate(names)),
            label2id={name: i for i, name in enumerate(names)},
        )
        with quiet_loading():
            module, info = AutoModelForTokenClassification.from_pretrained(
                base.path,
                config=config,
                local_files_only=True,
                use_safetensors=True,  # else pickled weights beside an adapter would be taken
                trust_remote_code=False,
                dtype=torch.float32,
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise unloadable(base, error) from error
    # The head's name differs between architectures; the encoder's is known.
    encoder = f"{module.base_model_prefix}."
    check_complete(base, [k for k in info["missing_keys"] if k.startswith(encoder)], made_anew=())
    result: PreTrainedModel = module
    return result


def write_tagger(
    folder: Path, module: PreTrainedModel, base: Base, facts: Facts, taught: Familiarity
) -> None:
    """Write a taught tagger's folder, all of it or nothing.

    Raises:
        WeightsError: There is something in the folder already.
    """
    with new_folder(folder, "tagger") as work:
        with quiet_loading():
            module.save_pretrained(work)
        copy_tokenizer(base, work)
        write_facts(work, facts)
        taught.save(work)


class TaggerModel:
    """A taught tagger in memory.

    Args:
        folder: What `write_tagger` wrote.
        device: `cpu`, `cuda`, ...; CUDA where there is one, if None.
        dtype: Name of the torch type to compute in.

    Raises:
        WeightsError: The weights are damaged, or do not fit the labels.
    """

    def __init__(self, folder: Path, *, device: str | None = None, dtype: str = "float32") -> None:
        self.device = pick_device(device)
        self.tokenizer = load_tokenizer(folder)
        self._prefix, self._suffix = special_ids(self.tokenizer)
        module = load_module(folder, dtype)
        self._pad_id = int(module.config.pad_token_id or 0)
        self._module: torch.nn.Module = module.to(self.device).eval()

    @property
    def num_special(self) -> int:
        """Special tokens that a window needs beside its own."""
        return len(self._prefix) + len(self._suffix)

    def rows(self, pieces: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Token ids and attention mask, both (rows, longest), of windows without special tokens."""
        return pad([[*self._prefix, *row, *self._suffix] for row in pieces], self._pad_id)

    def log_probs(self, pieces: Sequence[Sequence[int]]) -> list[NDArray[np.float32]]:
        """Log-probabilities (tokens, tags) of each window's tokens, special tokens left out."""
        import torch

        ids, mask = self.rows(pieces)
        with computing(self.device), torch.inference_mode():
            logits = self._module(
                input_ids=torch.from_numpy(ids).to(self.device),
                attention_mask=torch.from_numpy(mask).to(self.device),
            ).logits
            scores = torch.log_softmax(logits.float(), dim=-1).cpu().numpy()
        start = len(self._prefix)
        return [row[start : start + len(p)] for row, p in zip(scores, pieces, strict=True)]


def load_module(folder: Path, dtype: str = "float32") -> PreTrainedModel:
    """The taught model of a folder, on the CPU.

    Raises:
        WeightsError: The weights are damaged, or do not fit the labels.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForTokenClassification

    num_tags = len(tag_names(read_facts(folder).label_sets))
    try:
        with quiet_loading():
            module, info = AutoModelForTokenClassification.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                dtype=getattr(torch, dtype),
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise WeightsError(
            f"The tagger's weights in {str(folder)!r} cannot be loaded "
            f"({type(error).__name__}): teach it again, or restore the files."
        ) from error
    # What is missing would be filled with random numbers.
    if info["missing_keys"] or module.config.num_labels != num_tags:
        raise WeightsError(
            f"The tagger's weights in {str(folder)!r} do not fit its {num_tags} tags: teach it "
            f"again, or restore the files."
        )
    result: PreTrainedModel = module
    return result
