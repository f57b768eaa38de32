"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from journeyman.traces.store import Store

StoreOption = Annotated[
    str | None,
    typer.Option("--store", metavar="FILE|URL", help="Trace store; default: the settings'."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON Lines on stdout and nothing else.")]


def store_target(given: str | None) -> str:
    """Where traces are kept: what was given, else what the settings say."""
    if given is not None:
        return given
    from journeyman.graph.settings import load_settings

    return load_settings().store


def open_store(given: str | None, *, read_only: bool = True) -> Store:
    """Open the trace store that holds here.

    Raises:
        TraceError: There is none, or it cannot be opened.
    """
    from journeyman.models.errors import TraceError
    from journeyman.traces.store import Store

    target = store_target(given)
    demo = Path(".journeyman/demo.db")
    if (
        read_only
        and given is None
        and "://" not in target
        and not Path(target).exists()
        and demo.exists()
    ):
        raise TraceError(
            f"There is no trace store {target!r} yet; the demo's is another: add --store {demo}.",
            path=Path(target),
        )
    return Store.open(
        target if "://" in target else Path(target), create=not read_only, read_only=read_only
    )
