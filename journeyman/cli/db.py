"""`journeyman db`: the trace store itself."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from journeyman.cli.console import emit, say, talk
from journeyman.cli.options import JsonOption, StoreOption, open_store

app = typer.Typer(
    help="""The trace store itself.

Examples:

  journeyman db status --check

  journeyman db migrate
""",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("status")
def status(
    store: StoreOption = None,
    check: Annotated[
        bool, typer.Option("--check", help="Also check the file and every payload's hash.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Where it is, how large, which schema, how many rows.

    Examples:

      journeyman db status

      journeyman db status --check --json
    """
    with open_store(store) as opened:
        found = opened.status()
        checked = opened.integrity() if check else None
    if json:
        emit({**asdict(found), "payloads_checked": checked})
        return
    say(f"store   {found.url}")
    say(f"schema  {found.schema_version}")
    say(f"size    {found.num_bytes / 1e6:.1f} MB, {found.wal_bytes / 1e6:.1f} MB of it in the log")
    for name, count in found.counts.items():
        say(f"  {name:<18} {count:>9,}")
    if checked is not None:
        say(f"intact: the file's structure and {checked:,} payloads")


@app.command("migrate")
def migrate(store: StoreOption = None) -> None:
    """Make the store, or bring it to the present schema.

    Examples:

      journeyman db migrate

      journeyman db migrate --store traces.db
    """
    with open_store(store, read_only=False) as opened:
        talk(f"{opened.name} is at schema {opened.status().schema_version}.")
