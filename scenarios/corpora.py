"""The passages that a suite's retrieval searches: which files hold them, and reading them."""

from __future__ import annotations

from pathlib import Path

from journeyman.agents.passages import Passage, read_folder
from journeyman.scenarios.rows import PassageRow, read_rows, row_error
from journeyman.scenarios.spec import QrelsData
from journeyman.scenarios.suite import Suite


def corpus_files(suite: Suite) -> tuple[Path, ...]:
    """The files or folders of the suite's corpus, each once; empty where it has none.

    Raises:
        ConfigError: One does not exist.
    """
    settings = suite.spec.agents.retrieval
    if settings is None or settings.corpus == "auto":
        found = [
            qrels_file(suite, position, "corpus")
            for position, data in enumerate(suite.spec.data)
            if isinstance(data, QrelsData)
        ]
        return tuple(dict.fromkeys(found))
    at = ("agents", "retrieval", "corpus")
    if isinstance(settings.corpus, str):
        return suite.paths(at, settings.corpus)
    lists = [suite.paths((*at, i), written) for i, written in enumerate(settings.corpus)]
    return tuple(dict.fromkeys(path for paths in lists for path in paths))


def read_corpus(suite: Suite) -> list[Passage]:
    """All passages of the suite's corpus; JSON Lines may be gzip. Titles only where it wants them.

    Raises:
        ConfigError: A file cannot be read, a row is malformed, or an id is used twice.
    """
    settings = suite.spec.agents.retrieval
    titles = settings is None or settings.titles
    passages: list[Passage] = []
    seen: set[str] = set()
    for path in corpus_files(suite):
        if path.is_dir():
            passages += read_folder(path)
            continue
        for number, row in read_rows(path, PassageRow):
            if row.id in seen:
                raise row_error(path, number, f"passage id {row.id!r} was used before; rename it")
            if not row.text.strip():
                raise row_error(path, number, f"passage {row.id!r} has no text; give it some")
            seen.add(row.id)
            title = (row.title or "") if titles else ""
            passages.append(Passage(id=row.id, text=row.text, title=title))
    return passages


def passage_ids(suite: Suite) -> frozenset[str]:
    """The ids of the suite's corpus.

    Raises:
        ConfigError: As `read_corpus`.
    """
    return frozenset(passage.id for passage in read_corpus(suite))


def qrels_file(suite: Suite, position: int, key: str) -> Path:
    """The one file under a key (`corpus`, `queries`, `qrels`) of a qrels data set.

    Raises:
        ConfigError: It does not exist, or a pattern matches several files.
    """
    data = suite.spec.data[position]
    at = ("data", position, key)
    found = suite.paths(at, getattr(data, key))
    if len(found) > 1:
        raise suite.error(at, f"{getattr(data, key)!r} matches {len(found)} files; name one.")
    return found[0]
