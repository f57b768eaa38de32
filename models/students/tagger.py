"""The tagger: a small encoder that marks spans of a text with labels.

Each word or punctuation mark gets one of O, B-label, I-label (by its first token), decoded so that
the tags form spans. Texts longer than the window go through in overlapping windows; nothing is cut.
Untaught, it marks nothing and says so, without loading a model. Knows nothing of schemas or fields.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from journeyman.models.catalog import file_digest
from journeyman.models.errors import WeightsError
from journeyman.models.students import bio
from journeyman.models.students.familiarity import FILE as TAUGHT
from journeyman.models.students.familiarity import UNTAUGHT, Familiarity
from journeyman.models.students.folders import new_folder
from journeyman.models.students.tagger_weights import (
    FACTS,
    WEIGHTS,
    Facts,
    TaggerModel,
    read_facts,
    write_facts,
)
from journeyman.models.students.tokens import Tokenized, Window, length_sorted, tokenize, windows
from journeyman.models.types import Span, content_hash

DECODING = 2
"""Raise it when the same weights give other spans or other numbers: it is in the fingerprint."""

WINDOW = 256
"""Tokens in one window, special tokens included. Attention costs the square of it, and what a word
means seldom hangs on another that is further away."""

OVERLAP = 64
"""Tokens that neighbouring windows share."""

NOT_TAUGHT = "not taught yet"

_FILES = (FACTS, WEIGHTS, "config.json", "tokenizer.json", TAUGHT)  # what shapes an answer
_BATCH = 32  # windows in one forward pass


@dataclass(frozen=True, slots=True)
class Tagging:
    """What the tagger says of one text.

    The numbers are over units (words and punctuation marks) and their decoded tags. An untaught
    tagger gives the defaults; a text without a word gives certainty (1, and 0 for doubts).

    Attributes:
        spans: In order; two overlap only where one stretch has several labels.
        taught: Whether there are weights at all.
        num_windows: Forward passes that the text took part in.
        num_units: Words and punctuation marks.
        log_probability: Sum of the tags' log-probabilities; at most 0.
        mean_log_probability: The same per unit.
        min_probability: Smallest probability of a tag.
        min_margin: Smallest probability of a tag minus that of the best other tag; negative where
            decoding had to overrule the best tag.
        mean_entropy: In nats.
        max_entropy: In nats.
        max_missed: Of the units left outside, the largest probability of being inside some span:
            the sign of a missed span.
        missed: By label, the largest probability of a unit that is in no span of this label: what
            speaks against leaving the label out.
        familiarity: How much of it was seen in teaching; see `Familiarity.numbers`.
        note: What the student says of itself.
    """

    spans: tuple[Span, ...] = ()
    taught: bool = False
    num_windows: int = 0
    num_units: int = 0
    log_probability: float = 0.0
    mean_log_probability: float = 0.0
    min_probability: float = 0.0
    min_margin: float = 0.0
    mean_entropy: float = 0.0
    max_entropy: float = 0.0
    max_missed: float = 1.0
    missed: Mapping[str, float] = field(default_factory=dict)
    familiarity: Mapping[str, float] = field(default_factory=lambda: dict(UNTAUGHT))
    note: str | None = None

    def evidence(self) -> dict[str, float]:
        """The numbers by name; the same names for every text."""
        return {
            "num_spans": float(len(self.spans)),
            "num_units": float(self.num_units),
            "log_probability": self.log_probability,
            "mean_log_probability": self.mean_log_probability,
            "min_probability": self.min_probability,
            "min_margin": self.min_margin,
            "mean_entropy": self.mean_entropy,
            "max_entropy": self.max_entropy,
            "max_missed": self.max_missed,
            **self.familiarity,
        }


class Tagger:
    """Marks spans. Loads its model on first use; safe to use from several threads.

    Args:
        base: Name of the base that teaching starts from; taught weights need no base.
        labels: What spans may be marked as. With `weights` they are read from there, and labels
            given as well must be the same set.
        weights: Folder that `training.tagger.train_tagger` or `save` wrote; None is untaught.
        device: `cpu`, `cuda`, ...; CUDA where there is one, if None.
        dtype: Name of the torch type to compute in; part of the fingerprint.

    Raises:
        WeightsError: The weights are missing, or were taught for other labels.
    """

    def __init__(
        self,
        base: str = "all-MiniLM-L6-v2",
        *,
        labels: Sequence[str] = (),
        weights: Path | None = None,
        device: str | None = None,
        dtype: str = "float32",
    ) -> None:
        self.base = base
        self.labels = tuple(labels)
        self._weights = weights
        self._device = device
        self._dtype = dtype
        self._window, self._overlap = WINDOW, OVERLAP
        self._label_sets: bio.LabelSets = [(label,) for label in self.labels]
        self._load_lock = threading.Lock()
        self._model: tuple[TaggerModel, Familiarity] | None = None
        if weights is not None:
            self._read_facts(weights)

    def _read_facts(self, folder: Path) -> None:
        facts = read_facts(folder)
        if self.labels and set(self.labels) != set(facts.labels):
            raise WeightsError(
                f"The tagger in {str(folder)!r} was taught the labels {sorted(facts.labels)}, not "
                f"{sorted(self.labels)}: run a round with the new labels."
            )
        self.base, self.labels, self._label_sets = facts.base, facts.labels, facts.label_sets
        self._window, self._overlap = facts.window, facts.overlap
        if not facts.base_digest:  # saved before it was taught
            self._weights = None
            return
        missing = [name for name in _FILES if not (folder / name).is_file()]
        if missing:
            raise WeightsError(
                f"The tagger in {str(folder)!r} was taught but {missing[0]!r} is missing: restore "
                f"the file, or teach it again."
            )

    @property
    def taught(self) -> bool:
        """Whether there are weights at all."""
        return self._weights is not None

    def fingerprint(self) -> str:
        """Hash of everything that shapes an answer. Loads no model."""
        files = {}
        if self._weights is not None:
            files = {name: file_digest(self._weights / name) for name in _FILES}
        return content_hash(
            {
                "student": "tagger",
                "decoding": DECODING,
                "labels": list(self.labels),
                "files": files,
                "dtype": self._dtype,
            }
        )

    def predict(self, texts: Sequence[str]) -> list[Tagging]:
        """One tagging per text, in order. Any text will do: empty, emoji, NUL, a megabyte."""
        if not self.taught:
            return [Tagging(note=NOT_TAUGHT) for _ in texts]
        model, taught = self._load()
        tokenized = tokenize(model.tokenizer, texts)
        rows = [
            (number, window)
            for number, text in enumerate(tokenized)
            for window in windows(len(text.ids), self._window - model.num_special, self._overlap)
        ]
        log_probs = self._log_probs(model, tokenized, rows)
        num_windows = np.bincount([number for number, _ in rows], minlength=len(texts))
        return [
            self._tagging(text, pieces.units, scores, int(count), taught)
            for text, pieces, scores, count in zip(
                texts, tokenized, log_probs, num_windows, strict=True
            )
        ]

    def _log_probs(
        self, model: TaggerModel, texts: Sequence[Tokenized], rows: Sequence[tuple[int, Window]]
    ) -> list[bio.Floats]:
        """Log-probabilities (num_units, num_tags) of each text's units, from its windows."""
        num_tags = 2 * len(self._label_sets) + 1
        result = [np.zeros((len(text.units), num_tags), dtype=np.float32) for text in texts]
        lengths = [window.end - window.start for _, window in rows]
        for batch in length_sorted(lengths, _BATCH):
            picked = [rows[i] for i in batch]
            scores = model.log_probs([texts[n].ids[w.start : w.end] for n, w in picked])
            for row, (number, window) in zip(scores, picked, strict=True):
                first = texts[number].first
                low, high = np.searchsorted(first, (window.keep_start, window.keep_end))
                result[number][low:high] = row[first[low:high] - window.start]
        return result

    def _tagging(
        self,
        text: str,
        units: bio.Units,
        log_probs: bio.Floats,
        num_windows: int,
        taught: Familiarity,
    ) -> Tagging:
        if not len(units):
            return Tagging(
                taught=True,
                num_windows=num_windows,
                min_probability=1.0,
                min_margin=1.0,
                max_missed=0.0,
                missed=dict.fromkeys(self.labels, 0.0),
                familiarity=taught.numbers(text, ()),
            )
        tags = bio.decode(log_probs)
        spans = bio.to_spans(text, units, tags, log_probs, self._label_sets)
        return Tagging(
            spans=spans,
            taught=True,
            num_windows=num_windows,
            num_units=len(units),
            missed=bio.missed(log_probs, tags, self._label_sets),
            familiarity=taught.numbers(text, spans),
            **bio.doubts(log_probs, tags),
        )

    def _load(self) -> tuple[TaggerModel, Familiarity]:
        with self._load_lock:
            if self._model is None:
                assert self._weights is not None
                self._model = (
                    TaggerModel(self._weights, device=self._device, dtype=self._dtype),
                    Familiarity.load(self._weights),
                )
            return self._model

    def save(self, folder: Path) -> None:
        """Write labels and, where it is taught, weights, so that `load` gives the same tagger.

        Raises:
            WeightsError: There is something else in the folder.
        """
        with new_folder(folder, "tagger") as work:
            if self._weights is not None:
                shutil.copytree(self._weights, work, dirs_exist_ok=True)
            else:
                write_facts(work, Facts(self.labels, self.base, "", self._window, self._overlap))

    @classmethod
    def load(cls, folder: Path, *, device: str | None = None, dtype: str = "float32") -> Tagger:
        """The tagger that `save` or the trainer wrote.

        Raises:
            WeightsError: There is none.
        """
        return cls(weights=folder, device=device, dtype=dtype)
