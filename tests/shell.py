"""Shell lines as documents show them, held against the command tree without running anything."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from journeyman.cli.reference import walk

MAKEFILE = Path(__file__).parent.parent / "Makefile"


def commands_in(line: str) -> Iterator[list[str]]:
    """The commands of one line: what stands between pipes, redirections and `&&`."""
    words = shlex.shlex(line, posix=True, punctuation_chars=True)
    words.whitespace_split = True
    command: list[str] = []
    for word in words:
        if set(word) <= set("();<>|&"):
            yield command
            command = []
        else:
            command.append(word)
    yield command


def faults_of(line: str) -> list[str]:
    """What of a line does not exist: a command, an option, a target of make."""
    found = []
    for command in commands_in(line):
        try:
            if command[:1] == ["journeyman"]:
                _parse(command[1:])
            elif command[:1] == ["make"]:
                _target(command[1])
        except Exception as error:  # noqa: BLE001  # whatever the parser finds wrong
            found.append(f"{shlex.join(command)}: {error!r} {error}")
    return found


def _parse(arguments: list[str]) -> None:
    command = _root()
    while True:
        context = command.context_class(command, info_name=command.name)
        _, rest, _ = command.make_parser(context).parse_args(list(arguments))
        inner: dict[str, Any] = getattr(command, "commands", {})
        if not inner or not rest:
            return
        if rest[0] not in inner:
            raise ValueError(f"no command {rest[0]!r}")
        command, arguments = inner[rest[0]], rest[1:]


@cache
def _root() -> Any:
    _, command = next(iter(walk()))
    return command


def _target(name: str) -> None:
    if not re.search(rf"^{re.escape(name)}:", MAKEFILE.read_text(encoding="utf-8"), re.MULTILINE):
        raise ValueError(f"no target {name!r}")
