"""`journeyman doctor`: what is there, what is missing, and the command that mends it.

Imports neither torch nor langgraph, unless it is told to try the models: it looks at installed
distributions, files and settings only.
"""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from journeyman.cli.console import ExitCode, emit, say, talk
from journeyman.cli.finding import Finding, Status
from journeyman.cli.options import JsonOption, StoreOption

if TYPE_CHECKING:
    from journeyman.graph.settings import Settings

EXTRAS = {
    "local": (
        "torch",
        "transformers",
        "sentence-transformers",
        "bm25s",
        "PyStemmer",
        "scikit-learn",
        "datasketch",
    ),
    "train": ("trl", "datasets", "accelerate"),
    "view": ("datasette",),
    "otlp": ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http"),
    "plot": ("matplotlib",),
    "suites": ("pydantic-evals", "junitparser"),
    "postgres": ("psycopg",),
    "vllm": ("vllm",),
    "batch": ("pyarrow",),
    "ray": ("ray",),
}
"""Packages that show whether an extra is there. Only `local` is what the embedded default needs."""

NEEDED = ("langgraph", "langchain-core", "openai", "pydantic", "sqlalchemy", "alembic")
MIN_FREE_BYTES = 2 * 1024**3

_MARKS = {"ok": "ok", "optional": "-", "missing": "--", "wrong": "!!"}


def doctor(
    live: Annotated[
        bool,
        typer.Option(
            "--live",
            help="Also load a student and the releases in traffic, and ask the frontier for one "
            "word: that costs a fraction of a cent.",
        ),
    ] = False,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Look for what is missing and say how to mend it.

    Examples:

      journeyman doctor

      journeyman doctor --live

      journeyman doctor --json | jq -r 'select(.mend != "") | .mend'

    Exit code 0 where all is well, 1 where something is missing (--) or wrong (!!). Extras that are
    marked - are for those who want them.
    """
    findings = []
    for finding in _look(store, live=live):
        findings.append(finding)
        if json:
            emit(asdict(finding))
        else:
            say(f"{_MARKS[finding.status]:<3} {finding.name}: {finding.detail}")
            if finding.mend:
                say(f"      -> {finding.mend}")
    if bad := [finding for finding in findings if finding.status in {"missing", "wrong"}]:
        talk(f"\n{len(bad)} of {len(findings)} need something; each line -> says what.")
        raise typer.Exit(ExitCode.FAILED)


def _look(store: str | None, *, live: bool) -> Iterator[Finding]:
    yield _python()
    yield _packages("core", NEEDED)
    for extra, names in EXTRAS.items():
        yield _packages(extra, names)
    yield from _models()
    yield _sandbox()
    yield from _settings(store, live=live)


def _python() -> Finding:
    fits = sys.version_info >= (3, 11)
    mend = "" if fits else "install Python 3.11 or newer"
    return Finding("python", "ok" if fits else "wrong", platform.python_version(), mend)


def _packages(name: str, needed: tuple[str, ...]) -> Finding:
    found, lacking = [], []
    for package in needed:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            lacking.append(package)
    title = name if name == "core" else f"extra {name}"
    if not lacking:
        return Finding(title, "ok", ", ".join(found))
    if name == "core":
        return Finding(title, "wrong", f"without {', '.join(lacking)}", "pip install journeyman")
    status: Status = "missing" if name == "local" else "optional"
    detail = f"without {', '.join(lacking)}"
    return Finding(title, status, detail, f"pip install 'journeyman[{name}]'")


def _models() -> Iterator[Finding]:
    from journeyman.models.catalog import entries

    for entry in entries():
        if entry.present:
            yield Finding(f"base {entry.name}", "ok", str(entry.path))
        else:
            # Students are encoders by default; a causal base is for who chooses a generator.
            status: Status = "missing" if entry.kind == "encoder" else "optional"
            yield Finding(f"base {entry.name}", status, "not installed", entry.mend)


def _sandbox() -> Finding:
    from journeyman.agents.bubblewrap import install_command, probe
    from journeyman.models.errors import SandboxUnavailable

    try:
        return Finding("sandbox", "ok", probe())
    except SandboxUnavailable as error:
        return Finding("sandbox", "missing", f"debugging refuses: {error}", install_command())


def _settings(store: str | None, *, live: bool) -> Iterator[Finding]:
    from journeyman.cli.doctor_store import look_at_store
    from journeyman.graph.settings import load_settings
    from journeyman.graph.settings_file import chosen_file
    from journeyman.models.errors import ConfigError

    try:
        settings = load_settings()
        file = chosen_file()
    except ConfigError as error:
        yield Finding("settings", "wrong", str(error), "journeyman config show --origin")
        yield _disk(Path.cwd())
        return
    yield Finding("settings", "ok", str(file) if file else "defaults (no journeyman.toml found)")
    target = store if store is not None else settings.store
    yield from look_at_store(target)
    yield _disk(Path.cwd() if "://" in target else Path(target))
    yield _frontier(settings)
    if live:
        from journeyman.cli.doctor_live import try_models

        yield from try_models(settings, target)


def _frontier(settings: Settings) -> Finding:
    from journeyman.cli.doctor_frontier import has_key

    frontier = settings.frontier
    if frontier.model is None:
        return Finding(
            "frontier",
            "missing",
            "none configured; demo and suites use the reference frontier, a stand-in",
            'write [frontier] and model = "..." in journeyman.toml',
        )
    if not has_key(frontier):
        return Finding(
            "frontier",
            "wrong",
            f"{frontier.model}: the environment variable {frontier.api_key_env} is not set",
            f"export {frontier.api_key_env}=...",
        )
    return Finding("frontier", "ok", frontier.model)


def _disk(near: Path) -> Finding:
    folder = near
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    detail = f"{free / 1024**3:.0f} GiB free at {folder}"
    if free < MIN_FREE_BYTES:
        mend = "journeyman db prune --older-than 30d && journeyman db vacuum"
        return Finding("disk", "wrong", f"{detail}: students and traces need 2 GiB", mend)
    return Finding("disk", "ok", detail)
