"""The ranker: a small encoder that scores how well each candidate answers its task.

A cross-encoder over (task, candidate) pairs; a candidate reads the whole task at every layer, and
candidates of one task share the work of encoding it. To the encoder's score comes a prior by the
candidate's kind, the word before its first colon, which was counted in teaching. Untaught, it
scores everything 0 and says so, without loading a model. Knows nothing of what candidates are.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from journeyman.models.catalog import file_digest
from journeyman.models.errors import WeightsError
from journeyman.models.students.folders import new_folder
from journeyman.models.students.ranker_weights import (
    FACTS,
    HEAD,
    WEIGHTS,
    Facts,
    PairScorer,
    PairTokenizer,
    load_scorer,
    max_positions,
    read_facts,
    write_facts,
)
from journeyman.models.types import content_hash

DECODING = 1
"""Raise it when the same weights give other scores: it is in the fingerprint."""

TASK_TOKENS = 160
"""Tokens of a task that are read, special tokens included; a longer one loses its middle. What the
encoder can number beyond them (512 together, for the default base) is a candidate's."""

NOT_TAUGHT = "not taught yet"


class Ranker:
    """Scores candidates. Loads its model on first use; safe to use from several threads.

    Args:
        base: Name of the base that teaching starts from; taught weights need no base.
        weights: Folder that `training.ranker.train_ranker` or `save` wrote; None is untaught.
        device: `cpu`, `cuda`, ...; CUDA where there is one, if None.
        dtype: Name of the torch type to compute in; part of the fingerprint. `bfloat16` is three
            times as fast on CPUs that multiply it in hardware (AMX), and slower on others.

    Raises:
        WeightsError: The weights are missing.
    """

    def __init__(
        self,
        base: str = "all-MiniLM-L6-v2",
        *,
        weights: Path | None = None,
        device: str | None = None,
        dtype: str = "float32",
    ) -> None:
        self.base = base
        self._weights = weights
        self._device = device
        self._dtype = dtype
        self._facts = Facts(base, "", TASK_TOKENS)
        self._load_lock = threading.Lock()
        self._model: tuple[PairTokenizer, PairScorer] | None = None
        if weights is not None:
            self._read_facts(weights)

    def _read_facts(self, folder: Path) -> None:
        facts = read_facts(folder)
        self.base, self._facts = facts.base, facts
        if not facts.base_digest:  # saved before it was taught
            self._weights = None
            return
        for name in (WEIGHTS, HEAD):
            if not (folder / name).is_file():
                raise WeightsError(
                    f"The ranker in {str(folder)!r} was taught but {name!r} is missing: restore "
                    f"the file, or teach it again."
                )

    @property
    def taught(self) -> bool:
        """Whether there are weights at all."""
        return self._weights is not None

    @property
    def note(self) -> str | None:
        """What the student says of itself."""
        return None if self.taught else NOT_TAUGHT

    def fingerprint(self) -> str:
        """Hash of everything that shapes a score. Loads no model."""
        files = {}
        if self._weights is not None:
            names = (FACTS, WEIGHTS, HEAD, "config.json", "tokenizer.json")
            files = {name: file_digest(self._weights / name) for name in names}
        return content_hash(
            {"student": "ranker", "decoding": DECODING, "files": files, "dtype": self._dtype}
        )

    def predict(self, items: Sequence[tuple[str, str]]) -> list[float]:
        """One score per (task, candidate), in order: a logit, to be compared within a task.

        Items of one task are best given in one call. An untaught ranker scores 0.0 throughout.

        Raises:
            ModelError: A candidate is longer than the ranker reads (see `TASK_TOKENS`): it is never
                cut. Tasks are, in their middle.
        """
        if not self.taught or not items:
            return [0.0] * len(items)
        tokenizer, scorer = self._load()
        by_task: dict[str, list[int]] = {}
        for i, (task, _) in enumerate(items):
            by_task.setdefault(task, []).append(i)
        candidates = tokenizer.candidates([candidate for _, candidate in items])
        scores = np.zeros(len(items), dtype=np.float32)
        for ids, own in zip(tokenizer.tasks(list(by_task)), by_task.values(), strict=True):
            scores[own] = scorer.predict(ids, [candidates[i] for i in own])
        priors = [self._facts.prior(candidate) for _, candidate in items]
        return [float(score) + prior for score, prior in zip(scores, priors, strict=True)]

    def _load(self) -> tuple[PairTokenizer, PairScorer]:
        with self._load_lock:
            if self._model is None:
                assert self._weights is not None
                tokenizer = PairTokenizer(
                    self._weights,
                    task_tokens=self._facts.task_tokens,
                    max_positions=max_positions(self._weights),
                )
                scorer = load_scorer(self._weights, device=self._device, dtype=self._dtype)
                self._model = tokenizer, scorer
            return self._model

    def save(self, folder: Path) -> None:
        """Write settings and, where it is taught, weights, so that `load` gives the same ranker.

        Raises:
            WeightsError: There is something else in the folder.
        """
        with new_folder(folder, "ranker") as work:
            if self._weights is not None:
                shutil.copytree(self._weights, work, dirs_exist_ok=True)
            else:
                write_facts(work, self._facts)

    @classmethod
    def load(cls, folder: Path, *, device: str | None = None, dtype: str = "float32") -> Ranker:
        """The ranker that `save` or the trainer wrote.

        Raises:
            WeightsError: There is none.
        """
        return cls(weights=folder, device=device, dtype=dtype)
