"""The ranker: orders candidates by the words that say what each of them is.

A candidate comes as words; its score is the sum of their weights, as teaching found them. A word
that was never taught weighs nothing, and an untaught ranker scores everything 0 and says so. There
is no encoder in it: one that read the candidates too was taught for longer and ordered worse where
candidates were unlike the taught ones. Knows nothing of what the words stand for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from journeyman.models.errors import WeightsError
from journeyman.models.students.folders import new_folder
from journeyman.models.types import canonical_json, content_hash

DECODING = 2
"""Raise it when the same weights give other scores: it is in the fingerprint."""

WEIGHTS = "ranker.json"
"""The file of a ranker's folder: `{"format": 1, "weights": {word: log-odds}}`."""

NOT_TAUGHT = "not taught yet"


class Ranker:
    """Scores candidates. Safe to use from several threads.

    Args:
        weights: By word, what it adds to a candidate's log-odds of being right; None is untaught.
    """

    def __init__(self, weights: Mapping[str, float] | None = None) -> None:
        self._weights = None if weights is None else dict(weights)

    @property
    def taught(self) -> bool:
        """Whether there are weights at all."""
        return self._weights is not None

    @property
    def note(self) -> str | None:
        """What the student says of itself."""
        return None if self.taught else NOT_TAUGHT

    @property
    def weights(self) -> Mapping[str, float]:
        """By word; empty where nothing was taught."""
        return self._weights or {}

    def fingerprint(self) -> str:
        """Hash of everything that shapes a score."""
        return content_hash({"student": "ranker", "decoding": DECODING, "weights": self._weights})

    def predict(self, items: Sequence[str]) -> list[float]:
        """One score per candidate, in order: log-odds, to be compared within a task.

        Args:
            items: Each candidate's words, with blanks between them; a word counts once.
        """
        find = self.weights.get
        return [sum(find(word, 0.0) for word in dict.fromkeys(item.split())) for item in items]

    def save(self, folder: Path) -> None:
        """Write the weights, so that `load` gives the same ranker.

        Raises:
            WeightsError: There is something else in the folder.
        """
        with new_folder(folder, "ranker") as work:
            kept = {"format": 1, "weights": self._weights}
            (work / WEIGHTS).write_text(canonical_json(kept), "utf-8")

    @classmethod
    def load(cls, folder: Path) -> Ranker:
        """The ranker that `save` or the trainer wrote.

        Raises:
            WeightsError: There is none, or it is damaged.
        """
        try:
            kept = json.loads((folder / WEIGHTS).read_text("utf-8"))
            weights = {1: kept["weights"]}[kept["format"]]  # of no other format is anything known
            if weights is None:
                return cls()
            return cls({str(word): float(weight) for word, weight in weights.items()})
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise WeightsError(
                f"No ranker can be read from {str(folder)!r} ({type(error).__name__}): give a "
                f"folder that training wrote, or restore its files."
            ) from error
