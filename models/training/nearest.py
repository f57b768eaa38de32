"""Teaching without training: taught texts and their vectors, for `NearestTagger` to look up.

Knows nothing of where the examples come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from journeyman.models.students.embedder import Embedder
from journeyman.models.students.folders import new_folder, refuse_used
from journeyman.models.students.nearest import VECTORS, write_facts
from journeyman.models.training.tagger import TaggedText


def write_nearest(
    examples: Sequence[TaggedText],
    labels: Sequence[str],
    *,
    base: str = "all-MiniLM-L6-v2",
    out: Path,
    device: str | None = None,
) -> None:
    """Write a folder to be used as `NearestTagger(out)`.

    Args:
        examples: Their order decides only between texts that are equally near; weights are not
            looked at.
        labels: What spans may be marked as.
        base: The encoder whose vectors say what is near, as `catalog.resolve` takes it.
        out: Folder that does not exist yet, or is empty.
        device: `cpu`, `cuda`, ...; CUDA where there is one, if None.

    Raises:
        WeightsError: The base is missing, or `out` is not empty.
    """
    from safetensors.numpy import save_file

    refuse_used(out, "tagger")
    embedder = Embedder(base, device=device)
    vectors = embedder.embed_documents([example.text for example in examples])
    texts = [
        {"text": example.text, "spans": [[s.start, s.end, s.label] for s in example.spans]}
        for example in examples
    ]
    facts = {
        "student": "nearest",
        "base": base,
        "space": embedder.document_fingerprint(),
        "labels": list(labels),
        "texts": texts,
    }
    with new_folder(out, "tagger") as work:
        write_facts(work, facts)
        save_file({"vectors": vectors}, work / VECTORS)
