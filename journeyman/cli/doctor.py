"""`journeyman doctor`: what is there, what is missing, and the command that mends it.

Imports neither torch nor langgraph: it looks at installed distributions, files and settings only.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit, urlunsplit

import typer

from journeyman.cli.console import ExitCode, emit, say

EXTRAS = {
    "local": (
        "torch",
        "transformers",
        "sentence-transformers",
        "bm25s",
        "PyStemmer",
        "scikit-learn",
    ),
    "view": ("datasette",),
}
NEEDED = ("langgraph", "langchain-core", "openai", "pydantic", "sqlalchemy", "alembic")
MIN_FREE_BYTES = 2 * 1024**3


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    name: str
    status: Literal["ok", "missing", "wrong"]
    detail: str
    mend: str = ""


def doctor(
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Look for what is missing and say how to mend it.

    Examples:

      journeyman doctor

      journeyman doctor --json
    """
    findings = list(_look())
    for finding in findings:
        if json:
            emit(asdict(finding))
        else:
            mark = {"ok": "ok  ", "missing": "--  ", "wrong": "!!  "}[finding.status]
            say(f"{mark}{finding.name}: {finding.detail}")
            if finding.mend:
                say(f"      -> {finding.mend}")
    if any(finding.status == "wrong" for finding in findings):
        raise typer.Exit(ExitCode.FAILED)


def _look() -> Iterator[Finding]:
    yield _python()
    yield _packages("core", NEEDED, "wrong")
    for extra, names in EXTRAS.items():
        yield _packages(extra, names, "missing")
    yield from _models()
    yield _sandbox()
    yield from _settings()
    yield _disk()


def _python() -> Finding:
    fits = sys.version_info >= (3, 11)
    mend = "" if fits else "install Python 3.11 or newer"
    return Finding("python", "ok" if fits else "wrong", platform.python_version(), mend)


def _packages(name: str, needed: tuple[str, ...], absent: Literal["missing", "wrong"]) -> Finding:
    found, lacking = [], []
    for package in needed:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            lacking.append(package)
    if not lacking:
        return Finding(name, "ok", ", ".join(found))
    target = "journeyman" if name == "core" else f"'journeyman[{name}]'"
    return Finding(name, absent, f"without {', '.join(lacking)}", f"pip install {target}")


def _models() -> Iterator[Finding]:
    from journeyman.models.catalog import entries

    for entry in entries():
        if entry.present:
            yield Finding(f"base {entry.name}", "ok", str(entry.path))
        else:
            yield Finding(f"base {entry.name}", "missing", "not installed", entry.mend)


def _settings() -> Iterator[Finding]:
    from journeyman.graph.settings import find_file, load_settings
    from journeyman.models.errors import ConfigError

    try:
        settings = load_settings()
    except ConfigError as error:
        yield Finding("settings", "wrong", str(error), "mend the file")
        return
    file = find_file(Path.cwd())
    yield Finding("settings", "ok", str(file) if file else "defaults (no journeyman.toml found)")
    yield _store(settings.store)
    frontier = settings.frontier
    if frontier.model is None:
        yield Finding(
            "frontier",
            "missing",
            "none configured; demo and suites use the reference frontier",
            'set [frontier] model = "..." in journeyman.toml',
        )
    elif not os.environ.get(frontier.api_key_env) and not _is_loopback(frontier.base_url):
        yield Finding(
            "frontier",
            "wrong",
            f"{frontier.model}: the environment variable {frontier.api_key_env} is not set",
            f"export {frontier.api_key_env}=...",
        )
    else:
        yield Finding("frontier", "ok", frontier.model)


def _is_loopback(base_url: str | None) -> bool:
    """Whether the frontier's server is on this machine and so may go without a key."""
    host = urlsplit(base_url or "").hostname or ""
    return host in {"localhost", "::1"} or host.startswith("127.")


def _store(url: str) -> Finding:
    if "://" in url:
        url = _without_password(url)
        driver = importlib.util.find_spec("psycopg") if url.startswith("postgres") else True
        if driver is None:
            return Finding("store", "wrong", url, "pip install 'journeyman[postgres]'")
        return Finding("store", "ok", url)
    path = Path(url)
    if path.exists():
        return Finding("store", "ok", f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
    return Finding("store", "ok", f"{path} (made at the first run)")


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    if parts.password is None:
        return url
    user, host = parts.username or "", parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{user}:***@{host}"))


def _sandbox() -> Finding:
    from journeyman.agents.bubblewrap import install_command, probe
    from journeyman.models.errors import SandboxUnavailable

    try:
        return Finding("sandbox", "ok", probe())
    except SandboxUnavailable as error:
        return Finding("sandbox", "missing", f"debugging refuses: {error}", install_command())


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free
    detail = f"{free / 1024**3:.0f} GiB free"
    if free < MIN_FREE_BYTES:
        return Finding("disk", "wrong", detail, "free some space: students and traces need 2 GiB")
    return Finding("disk", "ok", detail)
