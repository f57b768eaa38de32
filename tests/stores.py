"""Where the tests' trace stores are: in files or, with `pytest --store postgres`, on a server.

A store goes by the path that its file has, or would have, so that a test reads the same for both.
"""

from __future__ import annotations

from pathlib import Path

from tests.postgres_server import PostgresServer

_server: list[PostgresServer] = []
_databases: dict[Path, str] = {}


def use(server: PostgresServer) -> None:
    """Keep stores on this server from now on."""
    _server.append(server)


def store_at(path: Path) -> Path | str:
    """The store that goes by a path: the path itself, or the URL of a database of its own.

    A file is not made by this; a database is, with the present schema and nothing in it.
    """
    if not _server:
        return path
    if path not in _databases:
        _databases[path] = _server[-1].new_database()
    return _databases[path]


def copy_store(source: Path, target: Path) -> None:
    """Copy a store that nobody has open."""
    if not _server:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
        return
    _databases[target] = _server[-1].new_database(like=str(store_at(source)))


def drop_below(folder: Path) -> None:
    """Delete the databases that go by a path in this folder."""
    for path in [path for path in _databases if path.is_relative_to(folder)]:
        _server[-1].drop(_databases.pop(path))
