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


def journeyman(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder, with its words and exit code as a process would give them."""
    out, told, code = StringIO(), StringIO(), 0
    with (
        chdir(folder),
        mock.patch.object(sys, "argv", ["journeyman", *arguments]),
        mock.patch.object(sys, "stdin", StringIO()),
        mock.patch.dict(os.environ, {"COLUMNS": "200"}),
        redirect_stdout(out),
        redirect_stderr(told),
    ):
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), told.getvalue())
