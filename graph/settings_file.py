"""The settings file: which one holds, its content, and the line of everything in it.

Knows TOML and folders, and no setting: what the keys mean is `settings`.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from journeyman.models.errors import ConfigError

FILE_NAME = "journeyman.toml"
FILE_VARIABLE = "JOURNEYMAN_CONFIG"
"""Names the settings file to use instead of searching; `--config` sets it for its command."""

MAX_BYTES = 1_000_000
_MAX_STATEMENT_LINES = 200
_MAX_DEPTH = 50
_PLACE = re.compile(r"\s*\(at (?:line (\d+), column \d+|end of document)\)$")
_BOMS = {
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
    b"\x00\x00\xfe\xff": "UTF-32",
}


@dataclass(frozen=True)
class SettingsFile:
    """A settings file that was read.

    Attributes:
        path: Where it is.
        values: The settings in it, as TOML gives them.
        text: The file as it is written.
        table: Where the settings stand in it: `()`, or `("tool", "journeyman")`.
    """

    path: Path
    values: Mapping[str, Any]
    text: str
    table: tuple[str, ...] = ()

    def line_of(self, *keys: str) -> int | None:
        """The line of a setting, from 1; None where the file does not name it."""
        return self._lines.get((*self.table, *keys))

    @cached_property
    def _lines(self) -> Mapping[tuple[str, ...], int]:
        return key_lines(self.text)


def find_file(start: Path) -> Path | None:
    """The nearest journeyman.toml, or pyproject.toml with our table, at or above a folder."""
    for folder in (start, *start.parents):
        own = folder / FILE_NAME
        # A folder or a dead link of that name is a mistake to be told, not one to be passed over.
        if own.exists() or own.is_symlink():
            return own
        project = folder / "pyproject.toml"
        # Others' broken files do not concern us: only one that speaks of us is parsed.
        if project.is_file() and _speaks_of_us(project) and _tables(_read(project), project):
            return project
    return None


def chosen_file(start: Path | None = None) -> Path | None:
    """The file that holds in a folder: `$JOURNEYMAN_CONFIG`, else the nearest.

    Raises:
        ConfigError: The current folder is gone.
    """
    named = os.environ.get(FILE_VARIABLE)
    if named:
        return Path(named)
    return find_file((start if start is not None else here()).absolute())


def here() -> Path:
    """The current folder.

    Raises:
        ConfigError: It is gone.
    """
    try:
        return Path.cwd()
    except OSError as error:
        raise ConfigError("The current folder is gone: change to one that is there.") from error


def read_file(path: Path) -> SettingsFile:
    """Read a settings file.

    Raises:
        ConfigError: It cannot be read or is no TOML; the message has the line.
    """
    text = _read(path)
    if path.name != "pyproject.toml":
        return SettingsFile(path, _parse(text, path), text)
    return SettingsFile(path, _tables(text, path) or {}, text, ("tool", "journeyman"))


def key_lines(text: str) -> dict[tuple[str, ...], int]:
    """The line of every table and key in a valid TOML text, from 1.

    Each statement is read by the TOML parser itself, so that quoted and dotted keys, inline tables
    and values of several lines are what the parser takes them for.
    """
    lines: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    statement, began = "", 0
    for number, line in enumerate(text.split("\n"), 1):
        if not statement:
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            began = number
        statement += line + "\n"
        try:
            paths = list(_paths(tomllib.loads(statement)))
        except tomllib.TOMLDecodeError:
            if number - began > _MAX_STATEMENT_LINES:
                break  # a text this long is no setting of ours
            continue
        is_header = statement.lstrip().startswith("[")
        for path in paths:
            lines.setdefault(path if is_header else (*table, *path), began)
        if is_header:
            table = paths[-1]
        statement = ""
    return lines


def _paths(value: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for key, inner in value.items():
        yield (key,)
        if isinstance(inner, Mapping):
            yield from ((key, *path) for path in _paths(inner))


def _speaks_of_us(path: Path) -> bool:
    try:
        return b"journeyman" in path.read_bytes()
    except OSError:
        return False


def _tables(text: str, path: Path) -> Mapping[str, Any] | None:
    """Our table in a pyproject.toml; None where it has none."""
    tool = _parse(text, path).get("tool", {})
    if not isinstance(tool, Mapping) or "journeyman" not in tool:
        return None
    ours = tool["journeyman"]
    if not isinstance(ours, Mapping):
        line = key_lines(text).get(("tool", "journeyman"), 1)
        raise ConfigError(
            f"{path}:{line}: 'tool.journeyman' is a table of settings; write [tool.journeyman].",
            path=path,
        )
    return ours


def _read(path: Path) -> str:
    if path.is_dir():
        raise ConfigError(f"{path} is a folder, not a settings file: rename or move it.", path=path)
    if path.exists() and not path.is_file():
        raise ConfigError(f"{path} is not a regular file: name another.", path=path)
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise ConfigError(
                f"{path} has {size:,} bytes, too many for a settings file: is it the right one?",
                path=path,
            )
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise ConfigError(
            f"There is no settings file {str(path)!r}: check the path, or write one.", path=path
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"{path} cannot be read ({reason}): check its permissions.", path=path
        ) from error
    for mark, encoding in _BOMS.items():
        if raw.startswith(mark):
            raise ConfigError(
                f"{path}:1: The file is written as {encoding}: save it as UTF-8.", path=path
            )
    try:
        return raw.decode("utf-8-sig")  # some editors put a byte order mark before UTF-8 too
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path}:{line}: A byte here is no UTF-8: save the file as UTF-8.", path=path
        ) from error


def _parse(text: str, path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        said = str(error)
        found = _PLACE.search(said)
        line = int(found[1]) if found and found[1] else text.count("\n") + 1
        what = _PLACE.sub("", said)
        raise ConfigError(
            f"{path}:{line}: The file is no TOML here ({what}): mend the line.", path=path
        ) from error
    except RecursionError as error:
        raise ConfigError(
            f"{path}: Lists are nested too deeply: write them flat.", path=path
        ) from error
    level: list[Mapping[str, Any]] = [values]
    for _ in range(_MAX_DEPTH):
        level = [inner for table in level for inner in table.values() if isinstance(inner, Mapping)]
    if level:
        raise ConfigError(f"{path}: Tables are nested too deeply: write them flat.", path=path)
    return values
