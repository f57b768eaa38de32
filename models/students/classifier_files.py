"""A classifier on disk: its labels, head and taught texts in one folder.

    classifier.json             labels with descriptions, label sets, and the base it embeds with
    head.safetensors, head.json the linear head; absent in one that goes by the nearest texts
    taught.safetensors          vectors of the taught texts (float16) and the label set of each

Safetensors and JSON only. The texts themselves are not kept. Knows nothing of prediction.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from journeyman.models.errors import WeightsError
from journeyman.models.students.embedder import Embedder
from journeyman.models.students.folders import new_folder
from journeyman.models.students.linear import LinearHead
from journeyman.models.students.neighbors import Neighbors
from journeyman.models.types import canonical_json

FORMAT = 1
FACTS = "classifier.json"
TAUGHT = "taught.safetensors"


@dataclass(frozen=True, eq=False)
class ClassifierFiles:
    """What a classifier's folder holds.

    Attributes:
        labels: Description by label, in order.
        names: A label's name is read together with its description.
        multi_label: A text may have several labels.
        words: Size of the word vectors that the head reads; 0 for none.
        base: Name of the embedder's base.
        embedder: The embedder's fingerprint.
        head: None in a classifier that goes by the nearest texts, or by descriptions.
        neighbors: The taught texts; None where none are kept.
    """

    labels: Mapping[str, str]
    names: bool
    multi_label: bool
    words: int
    base: str
    embedder: str
    head: LinearHead | None
    neighbors: Neighbors | None

    def write(self, folder: Path) -> None:
        """Write a folder, all of it or nothing.

        Raises:
            WeightsError: There is something in the folder already.
        """
        from safetensors.numpy import save_file

        with new_folder(folder, "classifier") as work:
            (work / FACTS).write_text(canonical_json(self._facts()), "utf-8")
            if self.head is not None:
                self.head.save(work)
            if self.neighbors is not None:
                arrays = {"vectors": self.neighbors.vectors, "owners": self.neighbors.owners}
                save_file(arrays, work / TAUGHT)

    @classmethod
    def read(cls, folder: Path) -> ClassifierFiles:
        """Read a folder.

        Raises:
            WeightsError: It is no classifier's, or its files are damaged or do not fit together.
        """
        from safetensors import SafetensorError

        try:
            facts = json.loads((folder / FACTS).read_text("utf-8"))
            files = cls._of(facts, folder)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise WeightsError(
                f"No classifier can be read from {str(folder)!r} ({type(error).__name__}): give a "
                f"folder that training wrote, or restore its files."
            ) from error
        files.check(folder)
        return files

    @classmethod
    def _of(cls, facts: Mapping[str, Any], folder: Path) -> ClassifierFiles:
        if facts["format"] != FORMAT:
            raise WeightsError(
                f"The classifier in {str(folder)!r} has format {facts['format']!r}, which this "
                f"Journeyman does not know: install a newer one."
            )
        sets = facts["sets"]
        return cls(
            labels={str(name): str(text) for name, text in facts["labels"]},
            names=bool(facts["names"]),
            multi_label=bool(facts["multi_label"]),
            words=int(facts["words"]),
            base=str(facts["base"]),
            embedder=str(facts["embedder"]),
            head=LinearHead.load(folder) if facts["head"] else None,
            neighbors=None if sets is None else _neighbors(folder / TAUGHT, sets),
        )

    def check(self, folder: Path) -> None:
        """Refuse files that do not fit together.

        Args:
            folder: Where they lie, for the message.

        Raises:
            WeightsError: They do not.
        """
        vectors = None if self.neighbors is None else self.neighbors.vectors
        weights = None if self.head is None else self.head.coef
        fits = self.head is None or self.head.multi_label == self.multi_label
        if vectors is not None and weights is not None:
            fits &= vectors.shape[1] + self.words == weights.shape[1]
        finite = all(np.isfinite(array).all() for array in (vectors, weights) if array is not None)
        if not (self.labels and fits and finite):
            raise WeightsError(
                f"The files of the classifier in {str(folder)!r} do not fit together: teach it "
                f"again, or restore them."
            )

    def embedder_for(self, folder: Path, given: Embedder | None) -> Embedder:
        """The embedder that the classifier was taught on.

        Args:
            folder: Where it lies, for the message.
            given: Taken where it is the right one.

        Raises:
            WeightsError: The base is missing, or is not what it was.
        """
        if given is not None and given.fingerprint() == self.embedder:
            return given
        made = Embedder(self.base)
        if made.fingerprint() != self.embedder:
            raise WeightsError(
                f"The classifier in {str(folder)!r} was taught on other weights of {self.base!r} "
                f"than are here: teach it again, or install those it was taught on.",
                model=self.base,
            )
        return made

    def _facts(self) -> dict[str, object]:
        return {
            "format": FORMAT,
            "labels": [[name, text] for name, text in self.labels.items()],
            "names": self.names,
            "multi_label": self.multi_label,
            "words": self.words,
            "base": self.base,
            "embedder": self.embedder,
            "head": self.head is not None,
            "sets": None if self.neighbors is None else [list(s) for s in self.neighbors.sets],
        }


def _neighbors(path: Path, sets: list[list[str]]) -> Neighbors:
    from safetensors.numpy import load_file

    arrays = load_file(path)
    vectors, owners = arrays["vectors"], arrays["owners"]
    if vectors.dtype != np.float16 or owners.dtype != np.int32:
        raise WeightsError(
            f"The taught vectors in {str(path)!r} are of the types {vectors.dtype} and "
            f"{owners.dtype}: teach the student again, or restore the file."
        )
    return Neighbors(vectors, tuple(tuple(map(str, each)) for each in sets), owners)
