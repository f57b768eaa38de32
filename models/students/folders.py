"""Folders of taught weights: they appear complete or not at all, and are never written over.

Knows nothing of what is in them.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from journeyman.models.catalog import Base
from journeyman.models.errors import WeightsError

_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
)


def refuse_used(folder: Path, student: str) -> None:
    """Refuse a folder with something in it; to be asked before a long training, too.

    Args:
        folder: It need not exist.
        student: What is to be written there, for the message: `ranker`.

    Raises:
        WeightsError: There is something in it.
    """
    if folder.exists() and any(folder.iterdir()):
        raise WeightsError(
            f"The folder {str(folder)!r} is not empty: a {student} is never written over, choose "
            f"another folder."
        )


@contextmanager
def new_folder(folder: Path, student: str) -> Iterator[Path]:
    """A folder to fill, which appears under its name when it is complete and not before.

    Raises:
        WeightsError: There is something in the folder already.
    """
    refuse_used(folder, student)
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        yield work
        work.chmod(0o755)  # mkdtemp's 0o700 would shut out others
        work.replace(folder)  # replaces an empty folder too
    finally:
        shutil.rmtree(work, ignore_errors=True)


def copy_tokenizer(base: Base, folder: Path) -> None:
    """Copy the base's tokenizer, so that the folder needs no base."""
    for name in _TOKENIZER_FILES:
        if (base.path / name).is_file():
            shutil.copyfile(base.path / name, folder / name)
