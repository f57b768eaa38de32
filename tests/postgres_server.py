"""A private PostgreSQL server for tests: a temporary folder, a free loopback port, nothing kept.

It is made to differ from SQLite where a user's server may: texts sort by a language's rules, not by
bytes. `initdb` refuses to run as root, so that root hands the server to an ordinary user.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from itertools import count
from pathlib import Path
from typing import Any

from journeyman.traces.store import Store

PACKAGE = "no PostgreSQL server programs: install the package postgresql"
DRIVER = "no PostgreSQL driver: pip install 'journeyman[postgres]'"

_START_SECONDS = 60.0
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "120",
    "deadlock_timeout": "200ms",
    "autovacuum": "off",
}


def programs() -> Path | None:
    """The folder with `initdb` and `postgres`; None where they are not installed."""
    newest = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name)
    )
    found = [folder for folder in reversed(newest) if (folder / "initdb").exists()]
    on_path = shutil.which("initdb")
    if on_path is not None:
        found.append(Path(on_path).resolve().parent)
    return next((folder for folder in found if (folder / "postgres").exists()), None)


def _as_user() -> dict[str, Any]:
    """Who runs the server, for `subprocess`: whoever runs the tests, unless that is root."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = names.get("postgres") or names["nobody"]
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


class PostgresServer:
    """A server that can be stopped and started again.

    Args:
        folder: Where the programs lie, from `programs`.
    """

    def __init__(self, folder: Path) -> None:
        self._programs = folder
        self._user = _as_user()
        self._home = Path(tempfile.mkdtemp(prefix="journeyman-pg-"))
        if self._user:
            os.chown(self._home, self._user["user"], self._user["group"])
        self._log = self._home / "log"
        self._numbers = count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._has_template = False
        self._initialise()
        self.port = _free_port()
        self.start()

    @property
    def version(self) -> int:
        """The major one."""
        said = (self._home / "data" / "PG_VERSION").read_text().strip()
        return int(said.partition(".")[0])

    @property
    def is_running(self) -> bool:
        """Whether it was started and not stopped since."""
        return self._process is not None

    def url(self, database: str) -> str:
        """The URL of a database of this server."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        command = [
            str(self._programs / "postgres"),
            *("-D", str(self._home / "data"), "-p", str(self.port), "-k", str(self._home)),
            *("-c", "listen_addresses=127.0.0.1"),
        ]
        for name, value in _SETTINGS.items():
            command += ["-c", f"{name}={value}"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self._home, **self._user
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start:\n{self._log.read_text()}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop the server, and with it every connection; a second stop does nothing."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def remove(self) -> None:
        """Stop the server and delete its folder."""
        self.stop()
        shutil.rmtree(self._home, ignore_errors=True)

    def new_database(self, *, migrated: bool = True, like: str | None = None) -> str:
        """Make a database, with the present schema or empty, or a copy of another; its URL."""
        name = f"test_{next(self._numbers)}"
        if migrated and not self._has_template:
            self.execute("CREATE DATABASE migrated")
            Store.open(self.url("migrated")).close()
            self._has_template = True
        template = _name(like) if like else "migrated" if migrated else "template0"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def drop(self, url: str) -> None:
        """Delete a database, whoever is connected to it."""
        self.execute(f"DROP DATABASE IF EXISTS {_name(url)} WITH (FORCE)")

    def execute(self, sql: str, database: str = "postgres") -> None:
        """Run one statement outside a transaction."""
        import psycopg

        with psycopg.connect(self._dsn(database), autocommit=True) as connection:
            connection.execute(sql.encode())

    def _dsn(self, database: str) -> str:
        return f"host=127.0.0.1 port={self.port} user=postgres dbname={database}"

    def _answers(self) -> bool:
        import psycopg

        try:
            self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def _initialise(self) -> None:
        command = [
            str(self._programs / "initdb"),
            *("-D", str(self._home / "data"), "-U", "postgres", "-A", "trust", "-E", "UTF8"),
            "--no-sync",
        ]
        by_language = ["--locale=C", "--locale-provider=icu", "--icu-locale=en-US"]
        said = ""
        for locale in (by_language, ["--locale=C"]):  # before 15 there is no choice of provider
            done = subprocess.run(
                [*command, *locale],
                cwd=self._home,
                capture_output=True,
                text=True,
                check=False,
                **self._user,
            )
            if done.returncode == 0:
                return
            said += done.stderr
        raise RuntimeError(f"initdb failed:\n{said}")


def _name(url: str) -> str:
    return url.rpartition("/")[2]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
