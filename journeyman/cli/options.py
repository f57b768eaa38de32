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


def open_store(given: str | None, *, read_only: bool = True, create: bool | None = None) -> Store:
    """Open the trace store that holds here.

    Args:
        given: What `--store` said.
        read_only: Nothing will be written.
        create: Make one where there is none; by default where it is opened for writing.

    Raises:
        TraceError: There is none, or it cannot be opened.
    """
    from journeyman.models.errors import TraceError
    from journeyman.traces.store import Store

    target = store_target(given)
    may_create = not read_only if create is None else create
    demo = Path(".journeyman/demo.db")
    if (
        not may_create
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
        target if "://" in target else Path(target), create=may_create, read_only=read_only
    )
