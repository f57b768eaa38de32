"""Options that several commands share."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from journeyman.cli.completion import agents, releases, runs

if TYPE_CHECKING:
    from journeyman.traces.store import Store

StoreOption = Annotated[
    str | None,
    typer.Option("--store", metavar="FILE|URL", help="Trace store; default: the settings'."),
]
DataOption = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Data directory; default: the settings'."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON Lines on stdout and nothing else.")]
LimitOption = Annotated[int, typer.Option("-n", "--limit", min=0, help="How many; 0 for all.")]
NoteOption = Annotated[str | None, typer.Option("--reason", help="Kept with the change.")]
AgentOption = Annotated[
    str | None, typer.Option("--agent", autocompletion=agents, help="Only this sub-agent's.")
]
AgentFilter = Annotated[
    str | None, typer.Argument(autocompletion=agents, help="Only this sub-agent's.")
]
AgentArgument = Annotated[str, typer.Argument(autocompletion=agents, help="Name of the sub-agent.")]
ReleaseArgument = Annotated[
    str, typer.Argument(autocompletion=releases, help="Id of a release, or how it starts.")
]
RunArgument = Annotated[
    str, typer.Argument(autocompletion=runs, help="Id of a run, or how it starts.")
]
SinceOption = Annotated[
    str | None,
    typer.Option("--since", metavar="AGE|DATE", help="Only later: 30m, 12h, 7d, 2026-01-31."),
]

_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def age(option: str, written: str) -> timedelta:
    """A span of time as people write it: `30d`, `12h`, `1.5h`.

    Raises:
        ConfigError: It is none.
    """
    from journeyman.models.errors import ConfigError

    found = _AGE.fullmatch(written.strip().lower())
    try:
        if found is not None:
            return timedelta(**{_UNITS[found[2]]: float(found[1])})
    except OverflowError:
        pass
    raise ConfigError(f"{option} {written!r} is no span of time; write 30m, 12h, 7d or 4w.")


def since(written: str | None) -> datetime | None:
    """The moment that `--since` names: an age, or a date or time (of this machine's zone).

    Raises:
        ConfigError: It is neither, or lies before all calendars.
    """
    from journeyman.models.errors import ConfigError

    if written is None:
        return None
    try:
        return datetime.fromisoformat(written).astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    try:
        return datetime.now(UTC) - age("--since", written)
    except OverflowError as error:
        raise ConfigError(f"--since {written!r} lies before all calendars; write less.") from error


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
