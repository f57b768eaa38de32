"""What a taught search is: a query tower, and how much its list counts beside that of the words.

Both are learned from the same lessons, both shape every ranking, and so both are one student in one
folder. Knows nothing of indexes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from journeyman.agents.embeddings import Vectors
from journeyman.agents.search import Fusion
from journeyman.models.errors import ConfigError, WeightsError
from journeyman.models.students.embedder import Embedder, Vector
from journeyman.models.types import content_hash

EMBEDDER_FOLDER = "embedder"
"""Folder of the query tower, within a student's."""

_FACTS = "search.json"


class SearchStudent:
    """An embedder and the fusion that was fitted with it.

    Args:
        embedder: Embeds queries, and passages by its document side.
        fusion: How its list and that of the words become one.
    """

    def __init__(self, embedder: Embedder, fusion: Fusion) -> None:
        self.embedder = embedder
        self.fusion = fusion

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self.embedder.dimension

    def predict(self, queries: Sequence[str]) -> list[Vector]:
        """One unit vector (dimension,) per query, in order."""
        return self.embedder.predict(queries)

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors (len(texts), dimension) of passages, by the frozen tower."""
        return self.embedder.embed_documents(texts)

    def document_fingerprint(self) -> str:
        """Hash of everything that shapes a passage's vector; teaching does not change it."""
        return self.embedder.document_fingerprint()

    def fingerprint(self) -> str:
        """Hash of everything that shapes a ranking."""
        return content_hash(["search", self.embedder.fingerprint(), self.fusion.parts()])

    @classmethod
    def load(cls, folder: Path, *, base: str | None = None) -> SearchStudent:
        """The student of a folder.

        Args:
            folder: With the embedder's folder and what `write_fusion` wrote.
            base: Where the base is now, if not where the folder says.

        Raises:
            WeightsError: The folder is no such student, or its base is missing or another one.
        """
        try:
            facts = json.loads((folder / _FACTS).read_text("utf-8"))
            fusion = Fusion(**facts["fusion"])
        except (OSError, ValueError, KeyError, TypeError, ConfigError) as error:
            raise WeightsError(
                f"The folder {str(folder)!r} is no taught search ({type(error).__name__}): teach "
                f"one there, or restore its {_FACTS!r}."
            ) from error
        return cls(Embedder.load(folder / EMBEDDER_FOLDER, base=base), fusion)


def write_fusion(folder: Path, fusion: Fusion) -> None:
    """Write a student's fusion into its folder, beside the embedder's."""
    facts = {"student": "search", "fusion": fusion.parts()}
    (folder / _FACTS).write_text(json.dumps(facts, indent=2) + "\n", "utf-8")
