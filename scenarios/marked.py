"""YAML files with line numbers: reads one document and remembers where each key stands.

Reads YAML as its 1.2 core schema does: `NO` stays text, `12:30` and `2024-01-31` stay text, `010`
stays text. Refuses what a suite has no use for: duplicate keys, keys that are not text, aliases
that unfold without end, files that are not UTF-8, and files beyond a few megabytes. Does not know
what a suite is.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from journeyman.models.errors import ConfigError

Loc = tuple[str | int, ...]
"""Where a value stands in a document: keys and list positions from the top."""

MAX_BYTES = 4 * 1024 * 1024
MAX_NODES = 200_000
MAX_DEPTH = 60

_TAG = "tag:yaml.org,2002:"
_RESOLVERS = (
    ("null", r"~|null|Null|NULL|", ("~", "n", "N", "")),
    ("bool", r"true|True|TRUE|false|False|FALSE", tuple("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+", tuple("-+0123456789")),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+",
        tuple("-+.0123456789"),
    ),
    ("merge", r"<<", ("<",)),
)


def _core_resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    """PyYAML's table of implicit types (first character -> types), for YAML 1.2's core schema."""
    table: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    for name, pattern, firsts in _RESOLVERS:
        for first in firsts:
            table.setdefault(first, []).append((_TAG + name, re.compile(rf"(?:{pattern})\Z")))
    return table


class _CoreLoader(yaml.SafeLoader):
    yaml_implicit_resolvers = _core_resolvers()


@dataclass(frozen=True)
class Document:
    """One YAML document: its data, and the line of every key and list item.

    Attributes:
        path: The file.
        data: Plain dicts, lists and scalars.
        lines: Location -> line, counted from 1.
    """

    path: Path
    data: Any
    lines: Mapping[Loc, int] = field(repr=False)

    def line(self, loc: Loc) -> int:
        """The line of `loc`, or of the nearest thing around it.

        Parts that the document does not have (such as the name of a union's member, which pydantic
        puts in between) are stepped over.
        """
        here: Loc = ()
        for part in loc:
            if (*here, part) in self.lines:
                here = (*here, part)
        return self.lines.get(here, 1)

    def error(self, loc: Loc, message: str) -> ConfigError:
        """A ConfigError that says `file:line: message`."""
        return _error(self.path, self.line(loc), message, ".".join(str(part) for part in loc))


def read_yaml(path: Path) -> Document:
    """Read one YAML document with its line numbers.

    Raises:
        ConfigError: The file cannot be read, or is not a plain YAML document as described above.
    """
    text = read_text(path)
    loader: _CoreLoader | None = None
    try:
        loader = _CoreLoader(text)
        node = loader.get_single_node()
        if node is None:
            raise _error(path, 1, "The file is empty; write a suite with at least `suite:`.")
        lines = dict(_walk(path, node))
        data = loader.construct_document(node)
    except yaml.YAMLError as error:
        raise _yaml_error(path, text, error) from error
    except RecursionError as error:
        raise _error(path, 1, f"The file nests deeper than {MAX_DEPTH} levels; flatten it.") from (
            error
        )
    except ValueError as error:
        raise _error(path, 1, f"A value cannot be read ({error}); put it in quotes.") from error
    finally:
        if loader is not None:
            loader.dispose()
    return Document(path, data, lines)


def _error(path: Path, line: int, message: str, key: str | None = None) -> ConfigError:
    return ConfigError(f"{path}:{line}: {message}", path=path, key=key)


def read_text(path: Path) -> str:
    """The text of a UTF-8 file of at most a few megabytes, without a byte order mark.

    Raises:
        ConfigError: It cannot be read, is larger, or is not UTF-8.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # opening a pipe could wait for ever
            kind = "a folder" if path.is_dir() else "no regular file"
            raise ConfigError(f"{path}: This is {kind}; name a file.", path=path)
        # A file may grow while it is read: the limit holds for what comes, too.
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1) if found.st_size <= MAX_BYTES else b""
    except OSError as error:
        raise ConfigError(
            f"{path}: Cannot read the file ({error.strerror or error}); check the path.", path=path
        ) from error
    if max(found.st_size, len(raw)) > MAX_BYTES:
        raise _error(
            path,
            1,
            f"The file has more than the {MAX_BYTES:,} bytes that it may have; move its rows to a "
            "data file and name it under `data:`.",
        )
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _error(
            path, line, f"Byte {raw[error.start]:#04x} is not UTF-8; save the file as UTF-8."
        ) from error


def _yaml_error(path: Path, text: str, error: yaml.YAMLError) -> ConfigError:
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        problem = f"character {error.character:#04x} is not allowed"
    else:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark is not None else 1
        # "expected a single document" is context there, "but found another document" the problem.
        said = [getattr(error, name, None) for name in ("context", "problem")]
        problem = " ".join(" ".join(filter(None, said)).split()) or "it cannot be parsed"
    return _error(path, line, f"This is not valid YAML: {problem}; mend the line or quote it.")


def _walk(path: Path, root: yaml.Node) -> Iterator[tuple[Loc, int]]:
    """Every location with its line, aliases unfolded, in document order."""
    # A stack of our own: the limit on depth is then ours and not the interpreter's.
    pending: list[tuple[yaml.Node, Loc]] = [(root, ())]
    seen = 0
    yield (), root.start_mark.line + 1
    while pending:
        node, loc = pending.pop()
        line = node.start_mark.line + 1
        seen += 1
        if seen > MAX_NODES:
            raise _error(
                path,
                line,
                f"The file unfolds to more than {MAX_NODES:,} values; use fewer aliases, or move "
                "rows to a data file.",
            )
        if len(loc) > MAX_DEPTH:
            raise _error(path, line, f"Values nest deeper than {MAX_DEPTH} levels; flatten them.")
        if isinstance(node, yaml.MappingNode):
            for name, key, value in _pairs(path, node):
                yield (*loc, name), key.start_mark.line + 1
                pending.append((value, (*loc, name)))
        elif isinstance(node, yaml.SequenceNode):
            for position, item in enumerate(node.value):
                yield (*loc, position), item.start_mark.line + 1
                pending.append((item, (*loc, position)))
        else:
            node.value = _whole(path, node)


def _whole(path: Path, node: yaml.Node) -> str:
    r"""The scalar's text with pairs of surrogates (`"\ud83d\ude00"`, as JSON has them) joined."""
    try:
        return str(node.value).encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError as error:
        line = node.start_mark.line + 1
        raise _error(
            path, line, "The text has half of a surrogate pair; write the character itself."
        ) from error


def _pairs(path: Path, node: yaml.MappingNode) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
    """The keys of a mapping: text, and each of them once."""
    first: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode) or key.tag not in (f"{_TAG}str", f"{_TAG}merge"):
            shown = key.value if isinstance(key, yaml.ScalarNode) else "a list or mapping"
            raise _error(path, line, f"Key {shown!r} is not text; put it in quotes.")
        if key.value in first:
            raise _error(
                path,
                line,
                f"Key {key.value!r} is given twice (first on line {first[key.value]}); keep one.",
            )
        key.value = _whole(path, key)
        first[key.value] = line
        yield key.value, key, value
