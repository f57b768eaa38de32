"""Paths in a suite: relative to the suite, with variables, with patterns; and the shipped suites.

Knows where the public data sets lie by default. Opens no file.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from pathlib import Path

from journeyman.models.errors import ConfigError

DATA_VARIABLE = "JOURNEYMAN_DATA"

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_ROOT_MARKS = ("pyproject.toml", ".git")


def expand(written: str, folder: Path) -> tuple[Path, ...]:
    """The files that a written path stands for.

    Args:
        written: A path; `${NAME}` stands for an environment variable, `*`, `?` and `[...]` for any
            files that match, in sorted order.
        folder: Relative paths start here.

    Raises:
        ConfigError: A variable is not set, or there is no such file. Names no line: the caller
            knows it.
    """
    resolved = _VARIABLE.sub(lambda match: _variable(match[1], folder), written)
    path = folder / resolved
    if path.exists():
        return (path,)
    found = tuple(Path(name) for name in sorted(glob.glob(str(path), recursive=True)))  # noqa: PTH207  # Path.glob takes no absolute patterns
    if not found:
        hint = f"check {DATA_VARIABLE}" if f"${{{DATA_VARIABLE}}}" in written else "check the path"
        raise ConfigError(f"There is no file {str(path)!r}; {hint}.", path=path)
    return found


def data_folder(near: Path) -> Path:
    """Where the public data sets lie: `$JOURNEYMAN_DATA`, else `../shared/data`.

    The default is looked for beside the repository that holds `near`, beside the one that holds
    the current folder, and beside the current folder.

    Raises:
        ConfigError: There is no such folder.
    """
    named = os.environ.get(DATA_VARIABLE)
    if named:
        return Path(named).expanduser()
    here = Path.cwd()
    starts = [*_roots(near.resolve()), *_roots(here), here]
    for start in starts:
        candidate = start.parent / "shared" / "data"
        if candidate.is_dir():
            return candidate
    raise ConfigError(
        f"The folder of public data sets is not beside {str(here)!r} (../shared/data); set the "
        f"environment variable {DATA_VARIABLE} to it."
    )


def shipped_suites() -> dict[str, Path]:
    """The suites that come with Journeyman: name (its file's) -> path."""
    folder = Path(__file__).resolve().parent / "suites"
    return {path.stem: path for path in sorted(folder.glob("*/*.yaml"))}


def find_suite(named: str) -> Path:
    """The suite file that a path, or the name of a shipped suite, stands for.

    Raises:
        ConfigError: Neither a file nor a shipped suite.
    """
    path = Path(named)
    if path.is_file():
        return path
    shipped = shipped_suites()
    if named in shipped:
        return shipped[named]
    raise ConfigError(
        f"There is no suite {named!r}; give the path of a suite file, or one of: "
        f"{', '.join(shipped)}.",
        path=path,
    )


def find_suites(named: Sequence[str], *, project: Path) -> list[Path]:
    """The suite files that files, folders and names of shipped suites stand for, each once.

    A folder stands for every suite in it and below it; other YAML files there, such as scenarios
    that suites include, are passed over.

    Args:
        named: Paths and names; nothing stands for the folder `scenarios` of the project.
        project: The project's folder.

    Raises:
        ConfigError: A name stands for nothing, or a folder holds no suite.
    """
    found: dict[Path, Path] = {}
    if not named:
        folder = project / "scenarios"
        if not folder.is_dir():
            raise ConfigError(
                f"No suite is named and there is no folder {str(folder)!r}: name a suite file, a "
                f"folder, or one of {', '.join(shipped_suites())}.",
                path=folder,
            )
        named = [str(folder)]
    for name in named:
        folder = Path(name)
        if not folder.is_dir():
            path = find_suite(name)
            found.setdefault(path.resolve(), path)
            continue
        inside = [path for path in yaml_files(folder) if _is_suite(path)]
        if not inside:
            raise ConfigError(
                f"There is no suite in the folder {name!r}: a suite is a *.yaml file with the key "
                "`suite`.",
                path=Path(name),
            )
        for path in inside:
            found.setdefault(path.resolve(), path)
    return list(found.values())


def yaml_files(folder: Path) -> list[Path]:
    """The YAML files in a folder and below it, sorted; what is hidden within it is left alone."""
    return [
        path
        for path in sorted(folder.rglob("*.y*ml"))
        if path.suffix in (".yaml", ".yml")
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]


_SUITE_KEY = re.compile(r"^[\"']?suite[\"']?\s*:", re.MULTILINE)
_HEAD_BYTES = 1_000_000


def _is_suite(path: Path) -> bool:
    if not path.is_file():  # opening a pipe would wait for ever
        return False
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return False
    return _SUITE_KEY.search(head.decode("utf-8", "replace")) is not None


def _variable(name: str, folder: Path) -> str:
    if name == DATA_VARIABLE:
        return str(data_folder(folder))
    value = os.environ.get(name)
    if not value:
        raise ConfigError(f"The environment variable {name} is not set; set it, or write the path.")
    return value


def _roots(folder: Path) -> list[Path]:
    """The nearest folder upwards that looks like the top of a repository, if any."""
    for candidate in (folder, *folder.parents):
        if any((candidate / mark).exists() for mark in _ROOT_MARKS):
            return [candidate]
    return []
