"""The command line within the test's own process: the same entry, without a start of seconds."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from unittest import mock

from journeyman.cli.main import main
from tests.stores import store_at


def store_of(folder: Path) -> Path | str:
    """Where the project in a folder has its trace store, unless it says otherwise."""
    return store_at(folder / ".journeyman" / "traces.db")


def environment(folder: Path, **given: str) -> dict[str, str]:
    """That of a command in the folder: without settings of its own, its store is `store_of` it."""
    store = store_of(folder)
    named = {} if isinstance(store, Path) else {"JOURNEYMAN_STORE": store}
    return {**named, **os.environ, **given}


def journeyman(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder, with its words and exit code as a process would give them."""
    out, told, code = StringIO(), StringIO(), 0
    with (
        chdir(folder),
        mock.patch.object(sys, "argv", ["journeyman", *arguments]),
        mock.patch.object(sys, "stdin", StringIO()),
        mock.patch.dict(os.environ, environment(folder, COLUMNS="200")),
        redirect_stdout(out),
        redirect_stderr(told),
    ):
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), told.getvalue())
