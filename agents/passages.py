"""Reads passages: JSON Lines, or a folder of text files cut into overlapping chunks.

Every passage remembers where it came from, so that an answer can cite a file and its characters.
Bad input is refused with file and line rather than skipped. Knows nothing of indexes or models.
"""

from __future__ import annotations

import json
import os
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from journeyman.models.errors import ConfigError
from journeyman.models.types import content_hash

_SUFFIXES = """
.adoc .c .cc .cfg .cpp .cs .css .go .h .hpp .html .ini .java .js .jsx .json .kt .log .lua .md .php
.pl .proto .py .r .rb .rs .rst .scala .sh .sql .swift .tex .toml .ts .tsx .txt .xml .yaml .yml
"""
TEXT_SUFFIXES = frozenset(_SUFFIXES.split())
"""Files that `read_folder` reads unless told otherwise."""

_WORD = re.compile(r"\S+")
_PARAGRAPH = re.compile(r"\n[^\S\n]*\n\s*")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True)
class Passage:
    """One piece of text that can be found.

    Lone surrogates, which JSON can spell but UTF-8 cannot hold, become U+FFFD.

    Attributes:
        id: Unique within a corpus.
        text: What is searched and shown; never blank.
        title: Searched together with the text; may be empty.
        source: The file it was cut from, relative to the folder that was read; empty if none.
        start: First character of `text` in the source, inclusive; None without a source.
        end: Past the last character; None without a source.
        metadata: Whatever else came with it, JSON-compatible.
    """

    id: str
    text: str
    title: str = ""
    source: str = ""
    start: int | None = None
    end: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make every string one that can be written and embedded."""
        for name in ("id", "text", "title", "source"):
            object.__setattr__(self, name, _SURROGATE.sub("\ufffd", getattr(self, name)))

    @property
    def content(self) -> str:
        """Title and text together: what is embedded and what BM25 counts."""
        return f"{self.title}\n{self.text}" if self.title else self.text

    @cached_property
    def content_key(self) -> str:
        """Hash of `content`: equal for passages that need the same vector."""
        return content_hash(self.content)

    def row(self) -> dict[str, Any]:
        """The passage as one JSON object, as `read_jsonl` reads it; empty fields left out."""
        own = {
            "id": self.id,
            "title": self.title or None,
            "text": self.text,
            "source": self.source or None,
            "start": self.start,
            "end": self.end,
        }
        return {**self.metadata, **{key: value for key, value in own.items() if value is not None}}


def read_passages(path: Path | str, *, num_words: int = 180, overlap: int = 40) -> list[Passage]:
    """The passages of a JSON Lines file, one text file, or a folder of text files.

    Args:
        path: A `.jsonl` file, any other text file, or a folder.
        num_words: Most words of a chunk of a text file.
        overlap: Words that neighbouring chunks share; less than `num_words`.

    Raises:
        ConfigError: Nothing is there, or something in it cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        return read_folder(path, num_words=num_words, overlap=overlap)
    if not path.is_file():
        raise ConfigError(
            f"No passages at {str(path)!r}: name a .jsonl file or a folder of text files.",
            path=path,
        )
    if path.suffix.lower() in {".jsonl", ".ndjson"}:
        return read_jsonl(path)
    passages = list(chunk_file(path, path.name, num_words=num_words, overlap=overlap))
    return _not_empty(passages, path)


def read_jsonl(path: Path | str) -> list[Passage]:
    """Passages from JSON Lines: `{"id" or "_id", "text", "title"?, ...metadata}` a line.

    Raises:
        ConfigError: With file and line: not UTF-8, not JSON, no id, no text, or an id seen before.
    """
    path = Path(path)
    seen: dict[str, int] = {}
    passages = []
    with path.open("rb") as lines:
        for number, raw in enumerate(lines, start=1):
            line = _decode(raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw, path, number)
            if not line.strip():
                continue
            passage = _passage(_parse(line, path, number), path, number)
            if passage.id in seen:
                raise ConfigError(
                    f"{str(path)!r}, line {number}: id {passage.id!r} was already used in line "
                    f"{seen[passage.id]}; give every passage its own id.",
                    path=path,
                )
            seen[passage.id] = number
            passages.append(passage)
    return _not_empty(passages, path)


def read_folder(
    path: Path | str,
    *,
    suffixes: frozenset[str] = TEXT_SUFFIXES,
    num_words: int = 180,
    overlap: int = 40,
) -> list[Passage]:
    """Every text file under a folder, cut into chunks with ids `relative/path#0`, `#1`, ...

    Hidden files and folders are left out and links to folders are not followed. The order is that
    of the paths, whatever the file system says.

    Raises:
        ConfigError: A file is not UTF-8, or no file holds any text.
    """
    path = Path(path)
    passages = [
        passage
        for file in _text_files(path, suffixes)
        for passage in chunk_file(
            file, file.relative_to(path).as_posix(), num_words=num_words, overlap=overlap
        )
    ]
    return _not_empty(passages, path)


def chunk_file(path: Path, name: str, *, num_words: int, overlap: int) -> Iterator[Passage]:
    """The chunks of one text file, titled with its name.

    Raises:
        ConfigError: The file is not UTF-8.
    """
    text = _decode(path.read_bytes(), path, None)
    for number, (start, end) in enumerate(chunk_spans(text, num_words=num_words, overlap=overlap)):
        yield Passage(
            id=f"{name}#{number}",
            text=text[start:end],
            title=name,
            source=name,
            start=start,
            end=end,
        )


def chunk_spans(text: str, *, num_words: int, overlap: int) -> list[tuple[int, int]]:
    """Where to cut a text: spans of at most `num_words` words that share about `overlap` words.

    A cut falls between paragraphs where one ends in the second half of a chunk, else between two
    words. Every word lies in some span; no span begins or ends with white space.

    Raises:
        ConfigError: `num_words` is below 1, or `overlap` is not in [0, num_words).
    """
    if num_words < 1 or not 0 <= overlap < num_words:
        raise ConfigError(
            f"Chunks of {num_words} words cannot share {overlap}: "
            "take at least one word a chunk, and less overlap than that.",
            key="overlap",
        )
    words = [match.span() for match in _WORD.finditer(text)]
    starts = [start for start, _ in words]
    breaks = [bisect_left(starts, gap.end()) for gap in _PARAGRAPH.finditer(text)]
    spans = []
    first = 0
    while first < len(words):
        last = _cut(breaks, first, num_words, len(words))
        spans.append((words[first][0], words[last - 1][1]))
        if last == len(words):
            break
        first = _resume(breaks, first, last, overlap)
    return spans


def _cut(breaks: list[int], first: int, num_words: int, total: int) -> int:
    """Past the last word of the chunk that begins at word `first`."""
    last = first + num_words
    if last >= total:
        return total
    paragraph = bisect_right(breaks, last) - 1
    if paragraph >= 0 and breaks[paragraph] > first + num_words // 2:
        return breaks[paragraph]
    return last


def _resume(breaks: list[int], first: int, last: int, overlap: int) -> int:
    """First word of the next chunk: a paragraph's first within the overlap, where there is one."""
    earliest = max(last - overlap, first + 1)
    paragraph = bisect_left(breaks, earliest)
    if paragraph < len(breaks) and breaks[paragraph] < last:
        return breaks[paragraph]
    return earliest


def _text_files(folder: Path, suffixes: frozenset[str]) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            file = Path(place, name)
            if not name.startswith(".") and file.suffix.lower() in suffixes and file.is_file():
                yield file


def _decode(raw: bytes, path: Path, line: int | None) -> str:
    try:
        return raw.decode("utf-8-sig" if line is None else "utf-8")
    except UnicodeDecodeError as error:
        where = line if line is not None else raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{str(path)!r}, line {where}: byte {raw[error.start]:#04x} is not UTF-8; "
            "save the file as UTF-8, or leave it out.",
            path=path,
        ) from error


def _parse(line: str, path: Path, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"{str(path)!r}, line {number} is not JSON ({error}); write one object a line.",
            path=path,
        ) from error
    if not isinstance(row, dict):
        raise ConfigError(
            f"{str(path)!r}, line {number} holds a {type(row).__name__}; write one object a line.",
            path=path,
        )
    return row


def _passage(row: dict[str, Any], path: Path, number: int) -> Passage:
    name = row.get("_id", row.get("id"))
    if isinstance(name, bool) or not isinstance(name, str | int) or name == "":
        raise ConfigError(
            f'{str(path)!r}, line {number}: no usable "id" or "_id"; give a string or a number.',
            path=path,
        )
    text, title = row.get("text"), row.get("title") or ""
    if not isinstance(text, str) or not text.strip():
        raise ConfigError(
            f'{str(path)!r}, line {number}: passage {name!r} has no "text"; give it some, or leave '
            "the line out.",
            path=path,
        )
    if not isinstance(title, str):
        raise ConfigError(
            f'{str(path)!r}, line {number}: "title" of passage {name!r} must be a string.',
            path=path,
        )
    cited = {
        key: row[key]
        for key, kind in (("source", str), ("start", int), ("end", int))
        if isinstance(row.get(key), kind)
    }
    taken = {"_id", "id", "title", "text", *cited}
    metadata = {key: value for key, value in row.items() if key not in taken}
    return Passage(id=str(name), text=text, title=title, metadata=metadata, **cited)


def _not_empty(passages: list[Passage], path: Path) -> list[Passage]:
    if not passages:
        raise ConfigError(
            f"{str(path)!r} holds no passages; add text, or name another file or folder.", path=path
        )
    return passages
