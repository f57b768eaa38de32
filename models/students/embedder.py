"""The embedder: a bi-encoder whose query side learns while its document side stays frozen.

Queries and documents start out in one space, by one set of weights. Teaching changes the query
tower alone, so that a promoted student never makes anyone embed a corpus again. Knows nothing of
indexes, chunks or ranking.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from journeyman.models.catalog import Base, check_complete, file_digest, resolve, unloadable
from journeyman.models.errors import WeightsError
from journeyman.models.quiet import quiet_loading
from journeyman.models.students.device import computing, pick_device, set_threads
from journeyman.models.students.folders import new_folder
from journeyman.models.students.tokens import encodable, length_sorted, load_tokenizer, pad
from journeyman.models.types import content_hash

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

Vector = NDArray[np.float32]

_FACTS = "embedder.json"
_QUERY_WEIGHTS = "query.safetensors"
_SLAB = 4096  # texts tokenised at a time: bounds memory, and long enough to sort by length


@dataclass(frozen=True, slots=True)
class Pooling:
    """How a base turns token vectors into one, as its sentence-transformers files say.

    Attributes:
        max_tokens: The window; longer texts lose their end.
        cls: Take the first token instead of the mean.
        query_prompt: Put before queries.
        document_prompt: Put before documents.
    """

    max_tokens: int
    cls: bool = False
    query_prompt: str = ""
    document_prompt: str = ""

    @classmethod
    def of(cls, folder: Path) -> Pooling:
        """Read a base's files; the mean over at most 512 tokens where they say nothing."""
        config = _read_json(folder / "config.json")
        sentence = _read_json(folder / "sentence_bert_config.json")
        pooling = _read_json(folder / "1_Pooling" / "config.json")
        prompts = _read_json(folder / "config_sentence_transformers.json").get("prompts") or {}
        window = sentence.get("max_seq_length") or config.get("max_position_embeddings") or 512
        return cls(
            max_tokens=min(int(window), 512),
            cls=bool(pooling.get("pooling_mode_cls_token", False)),
            query_prompt=str(prompts.get("query", "")),
            document_prompt=str(prompts.get("document", prompts.get("passage", ""))),
        )


class Embedder:
    """Turns queries and documents into unit vectors whose dot product is their likeness.

    Models load on first use, each tower only when it is needed. Safe to use from several threads.

    Args:
        base: Base model, as `catalog.resolve` takes it.
        query_weights: Safetensors file written by `save_tower`; without it the query side is the
            document side.
        device: `cpu`, `cuda`, ...; CUDA where there is one, if None.
        dtype: Name of the torch type to compute in; part of the fingerprint.
        num_threads: CPU threads. torch has one number for the whole process, so leave it None
            (the default: nothing is set) wherever someone else owns the process.

    Raises:
        WeightsError: The base or the query weights are missing.
    """

    def __init__(
        self,
        base: str | Base = "all-MiniLM-L6-v2",
        *,
        query_weights: Path | None = None,
        device: str | None = None,
        dtype: str = "float32",
        num_threads: int | None = None,
    ) -> None:
        self.base = resolve(base) if isinstance(base, str) else base
        if query_weights is not None and not query_weights.is_file():
            raise WeightsError(
                f"The embedder's query weights {str(query_weights)!r} do not exist: teach it, or "
                f"promote a release whose files are there.",
                model=self.base.name,
            )
        self._query_weights = query_weights
        self._device = device
        self._dtype = dtype
        self._num_threads = num_threads
        self._pooling = Pooling.of(self.base.path)
        config = _read_json(self.base.path / "config.json")
        self._dimension = int(config["hidden_size"])
        self._pad_id = int(config.get("pad_token_id") or 0)
        self._load_lock = threading.Lock()
        self._tokenizer: Tokenizer | None = None
        self._towers: dict[str, torch.nn.Module] = {}

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        base: str | None = None,
        device: str | None = None,
        dtype: str = "float32",
    ) -> Embedder:
        """The embedder of a folder that `save` or `write_embedder` wrote.

        Args:
            folder: It names its base, which must be on this machine.
            base: Where the base is now, if not where it was when the folder was written.
            device: As for the class.
            dtype: As for the class.

        Raises:
            WeightsError: The folder is no embedder, or its base is missing or another one.
        """
        facts = _read_facts(folder)
        weights = folder / _QUERY_WEIGHTS if facts["taught"] else None
        embedder = cls(base or facts["base"], query_weights=weights, device=device, dtype=dtype)
        if embedder.base.digest != facts["base_digest"]:
            raise WeightsError(
                f"The embedder in {str(folder)!r} belongs to another base than "
                f"{embedder.base.name!r}: name the base that it was taught on.",
                model=embedder.base.name,
            )
        return embedder

    def save(self, folder: Path) -> None:
        """Write the embedder to a new folder: its base by name, and what it was taught.

        Raises:
            WeightsError: There is something in the folder, or the query weights are unreadable.
        """
        module = None
        if self._query_weights is not None:
            module = load_tower(self.base, self._query_weights)
        write_embedder(folder, self.base, module)

    @property
    def query_weights(self) -> Path | None:
        """File of the taught query side; None where nothing was taught."""
        return self._query_weights

    @property
    def taught(self) -> bool:
        """Whether the query side has weights of its own."""
        return self._query_weights is not None

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self._dimension

    @property
    def max_tokens(self) -> int:
        """Tokens of a text that are read, special tokens included."""
        return self._pooling.max_tokens

    @property
    def query_prompt(self) -> str:
        """What is put before a query."""
        return self._pooling.query_prompt

    def fingerprint(self) -> str:
        """Hash of everything that shapes a vector. Loads no model."""
        return content_hash(
            {
                "student": "embedder",
                "version": 1,
                "base": self.base.digest,
                "query": file_digest(self._query_weights) if self._query_weights else None,
                "dtype": self._dtype,
            }
        )

    def document_fingerprint(self) -> str:
        """Hash of everything that shapes a document's vector; an index is valid while it holds.

        Teaching the query side does not change it.
        """
        return content_hash({"tower": "document", "base": self.base.digest, "dtype": self._dtype})

    def predict(self, queries: Sequence[str]) -> list[Vector]:
        """One unit vector (dimension,) per query, in order."""
        tower = "query" if self.taught else "document"
        texts = [self._pooling.query_prompt + query for query in queries]
        return list(self._embed(tower, texts, batch_size=32))

    def embed_documents(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = 64,
        progress: Callable[[int], None] | None = None,
    ) -> Vector:
        """Unit vectors (len(texts), dimension) of documents, by the frozen tower.

        A text longer than the model's window (`max_tokens`, 256 for the default base) is stood for
        by its beginning alone: split long documents into chunks first, which is the index's work.

        Args:
            texts: The documents.
            batch_size: Texts in one forward pass.
            progress: Called with the number of texts done since the last call.
        """
        prompted = [self._pooling.document_prompt + text for text in texts]
        return self._embed("document", prompted, batch_size=batch_size, progress=progress)

    def _embed(
        self,
        tower: str,
        texts: Sequence[str],
        *,
        batch_size: int,
        progress: Callable[[int], None] | None = None,
    ) -> Vector:
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        if not texts:
            return vectors
        tokenizer, module, device = self._load(tower)
        for first in range(0, len(texts), _SLAB):
            slab = [encodable(text) for text in texts[first : first + _SLAB]]
            rows = [encoding.ids for encoding in tokenizer.encode_batch_fast(slab)]
            for batch in length_sorted([len(row) for row in rows], batch_size):
                ids, mask = pad([rows[i] for i in batch], self._pad_id)
                vectors[[first + i for i in batch]] = self._forward(module, device, ids, mask)
                if progress is not None:
                    progress(len(batch))
        return vectors

    def _forward(
        self,
        module: torch.nn.Module,
        device: str,
        ids: NDArray[np.int64],
        mask: NDArray[np.int64],
    ) -> Vector:
        import torch

        with computing(device), torch.inference_mode():
            inputs = torch.from_numpy(ids).to(device)
            attention = torch.from_numpy(mask).to(device)
            states = module(input_ids=inputs, attention_mask=attention).last_hidden_state.float()
            pooled = states[:, 0] if self._pooling.cls else mean_pool(states, attention)
            unit: Vector = torch.nn.functional.normalize(pooled, dim=-1).cpu().numpy()
            return unit

    def _load(self, tower: str) -> tuple[Tokenizer, torch.nn.Module, str]:
        with self._load_lock:
            if self._tokenizer is None:
                tokenizer = load_tokenizer(self.base.path)
                tokenizer.enable_truncation(max_length=self.max_tokens)
                if self._num_threads is not None:
                    set_threads(self._num_threads)
                self._device = pick_device(self._device)
                self._tokenizer = tokenizer
            if tower not in self._towers:
                weights = self._query_weights if tower == "query" else None
                module = load_tower(self.base, weights, dtype=self._dtype)
                self._towers[tower] = module.to(self._device).eval()
            return self._tokenizer, self._towers[tower], str(self._device)


def mean_pool(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean of the token vectors (rows, tokens, dim) that the mask (rows, tokens) keeps."""
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1).clamp(min=1e-9)


def load_tower(
    base: Base, weights: Path | None = None, *, dtype: str = "float32"
) -> torch.nn.Module:
    """The base's encoder on the CPU, with a taught tower's weights where they are given.

    Raises:
        WeightsError: The weights cannot be read, or were taught on another base.
    """
    import torch
    import transformers
    from safetensors import SafetensorError, safe_open

    try:
        with quiet_loading():
            module, info = transformers.AutoModel.from_pretrained(
                base.path,
                local_files_only=True,
                use_safetensors=True,  # else pickled weights beside an adapter would be taken
                trust_remote_code=False,
                dtype=getattr(torch, dtype),
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise unloadable(base, error) from error
    check_complete(base, info["missing_keys"], made_anew=("pooler.",))
    if weights is None:
        return cast("torch.nn.Module", module)
    try:
        with safe_open(weights, framework="pt") as file:
            taught_on = (file.metadata() or {}).get("base", "")
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict
        if taught_on != base.digest:
            raise WeightsError(
                f"The query weights {str(weights)!r} were taught on another base than "
                f"{base.name!r}: name the base they were taught on.",
                model=base.name,
            )
        # Mean pooling never reads BERT's pooler, and trainers leave it out.
        own = {k: v for k, v in module.state_dict().items() if k.startswith("pooler.")}
        module.load_state_dict(own | state)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise WeightsError(
            f"The query weights {str(weights)!r} cannot be loaded into {base.name!r}: teach the "
            f"embedder again, or restore the file.",
            model=base.name,
        ) from error
    return cast("torch.nn.Module", module)


def save_tower(module: torch.nn.Module, base: Base, path: Path) -> None:
    """Write a query tower (the encoder alone, e.g. `model[0].auto_model`) as safetensors.

    The file remembers the base that it was taught on.
    """
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    state: Mapping[str, torch.Tensor] = module.state_dict()
    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    # One entry: several would be written in random order, and equal weights get different hashes.
    save_file(kept, path, metadata={"base": base.digest})


def write_embedder(folder: Path, base: Base, module: torch.nn.Module | None) -> None:
    """Write an embedder's folder, which appears complete or not at all.

    The base is named, not copied.

    Args:
        folder: It does not exist yet, or is empty.
        base: Base of both sides.
        module: The taught query side; None where it is the base itself.

    Raises:
        WeightsError: There is something in the folder.
    """
    facts = {
        "student": "embedder",
        "base": base.name,
        "base_digest": base.digest,
        "taught": module is not None,
    }
    with new_folder(folder, "embedder") as work:
        if module is not None:
            save_tower(module, base, work / _QUERY_WEIGHTS)
        (work / _FACTS).write_text(json.dumps(facts, indent=2) + "\n", "utf-8")


def _read_facts(folder: Path) -> dict[str, Any]:
    try:
        facts = _read_json(folder / _FACTS)
    except (OSError, ValueError) as error:
        facts = {"student": type(error).__name__}
    kinds = {"student": str, "base": str, "base_digest": str, "taught": bool}
    sound = all(isinstance(facts.get(name), kind) for name, kind in kinds.items())
    if not sound or facts["student"] != "embedder":
        raise WeightsError(
            f"The folder {str(folder)!r} is no embedder: teach one there, or restore its "
            f"{_FACTS!r}."
        )
    return facts


def _read_json(path: Path) -> dict[str, Any]:
    """A JSON object; empty where the file is missing, since most of these files are optional."""
    if not path.is_file():
        return {}
    return dict(json.loads(path.read_text("utf-8")))
