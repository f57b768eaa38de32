"""The terminal of whoever reviews: one key, the editor, and text that cannot take it over."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from journeyman.models.errors import ConfigError


def is_interactive() -> bool:
    """Somebody sits in front of it."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def harmless(text: str) -> str:
    """Text whose control and direction characters are spelled out; lines and tabs stay.

    What models and users wrote may hold sequences that repaint a terminal or hide what stands
    there.
    """
    return "".join(
        char if char.isprintable() or char in "\n\t" else char.encode("unicode_escape").decode()
        for char in text
    )


def key() -> str:
    """The next key, in lower case; the end of the input is `q`."""
    import typer

    try:
        return typer.getchar().lower()
    except EOFError:
        return "q"


def edit(text: str, *, suffix: str = ".json") -> str | None:
    """What the user's editor makes of a text; None where it was left as it was.

    Raises:
        ConfigError: There is no editor, or it failed.
    """
    command = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    handle, name = tempfile.mkstemp(prefix="journeyman-", suffix=suffix, text=True)
    path = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        try:
            subprocess.run([*shlex.split(command), name], check=True)  # noqa: S603  # the user's own
        except (OSError, subprocess.CalledProcessError, ValueError) as error:
            raise ConfigError(
                f"The editor {command!r} failed ({error}): name another in $EDITOR, or give the "
                "answer as a file with --edit FILE."
            ) from error
        edited = path.read_text(encoding="utf-8")
    finally:
        path.unlink(missing_ok=True)
    return None if edited == text else edited
