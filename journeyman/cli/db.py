"""`journeyman db`: the trace store itself."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from journeyman.cli.console import emit, say, talk
from journeyman.cli.options import JsonOption, StoreOption, age, open_store

if TYPE_CHECKING:
    from journeyman.traces.upkeep import Pruned

app = typer.Typer(
    help="""The trace store itself.

Examples:

  journeyman db status --check

  journeyman db backup traces-today.db

  journeyman db prune --older-than 30d --dry-run
""",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("path")
def path(store: StoreOption = None, json: JsonOption = False) -> None:
    """Where the trace store is.

    Examples:

      journeyman db path

      sqlite3 -readonly "$(journeyman db path)" 'SELECT * FROM v_agent_health'
    """
    from journeyman.cli.options import store_target
    from journeyman.traces.engine import describe, parse_url

    name = describe(parse_url(store_target(store))).strip("'")
    if json:
        emit({"path": name})
    else:
        say(name)


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
    from journeyman.traces.upkeep import table_bytes

    with open_store(store) as opened:
        found = opened.status()
        sizes = table_bytes(opened)
        checked = opened.integrity() if check else None
    if json:
        emit({**asdict(found), "table_bytes": sizes, "payloads_checked": checked})
        return
    say(f"store   {found.url}")
    say(f"schema  {found.schema_version}")
    say(f"size    {_mb(found.num_bytes)}, {_mb(found.wal_bytes)} of it in the log")
    for name, count in found.counts.items():
        size = f"{_mb(sizes[name]):>12}" if name in sizes else ""
        say(f"  {name:<18} {count:>11,}{size}")
    if sizes.get("(free)"):
        say(f"{_mb(sizes['(free)'])} are free; `journeyman db vacuum` gives them back")
    if checked is not None:
        say(f"intact: the file's structure and {checked:,} payloads")


@app.command("migrate")
def migrate(store: StoreOption = None, json: JsonOption = False) -> None:
    """Make the store, or bring it to the present schema.

    Examples:

      journeyman db migrate

      journeyman db migrate --store traces.db
    """
    with open_store(store, read_only=False) as opened:
        version = opened.status().schema_version
        if json:
            emit({"store": opened.name.strip("'"), "schema_version": version})
        else:
            talk(f"{opened.name} is at schema {version}.")


@app.command("backup")
def backup(
    file: Annotated[Path, typer.Argument(help="A new file; none is ever replaced.")],
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Copy the store into a new file, whole and checked, while others go on writing.

    Examples:

      journeyman db backup traces-2026-01-31.db

      journeyman db backup /backups/traces.db --store .journeyman/demo.db

    Weights of releases are files of their own under the data directory: copy that as well.
    """
    from journeyman.traces.upkeep import back_up

    with open_store(store) as opened:
        num_payloads = back_up(opened, file)
        name = opened.name
    num_bytes = file.stat().st_size
    if json:
        emit({"file": str(file.absolute()), "num_bytes": num_bytes, "payloads": num_payloads})
    else:
        talk(f"{name} is in {str(file)!r}: {_mb(num_bytes)}, {num_payloads:,} payloads checked.")


@app.command("prune")
def prune(
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="AGE", help="How old: 30d, 12w, 36h.")
    ],
    keep_escalations: Annotated[
        bool,
        typer.Option(
            help="Keep runs with escalations: what no round has learned from yet is lost without."
        ),
    ] = True,
    keep_starred: Annotated[bool, typer.Option(help="Keep runs that somebody marked.")] = True,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be forgotten.")
    ] = False,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Forget old runs with their spans, attempts and escalations, then unused payloads.

    Examples:

      journeyman db prune --older-than 30d --dry-run

      journeyman db prune --older-than 30d --keep-escalations --keep-starred

      journeyman db prune --older-than 1w --no-keep-escalations && journeyman db vacuum

    Releases, certificates, rounds, examples and suite results stay, and so do the runs whose tasks
    teach or certify.
    """
    from datetime import UTC, datetime

    from journeyman.models.errors import ConfigError
    from journeyman.traces import upkeep

    try:
        before = datetime.now(UTC) - age("--older-than", older_than)
    except OverflowError as error:
        raise ConfigError(f"--older-than {older_than!r} is too long; write less.") from error
    kept = upkeep.Kept(escalations=keep_escalations, starred=keep_starred)
    with open_store(store, read_only=dry_run, create=False) as opened:
        work = upkeep.preview_prune if dry_run else upkeep.prune
        done = work(opened, before, kept)
    if json:
        emit({"dry_run": dry_run, "before": before.isoformat(), **asdict(done)})
        return
    _tell(done, dry_run=dry_run)


@app.command("vacuum")
def vacuum(store: StoreOption = None, json: JsonOption = False) -> None:
    """Give the space of what was forgotten back to the disk.

    Examples:

      journeyman db vacuum

      journeyman db vacuum --store traces.db --json

    Needs as much room again while it works, and waits for writers.
    """
    from journeyman.traces.upkeep import vacuum as give_back

    with open_store(store, read_only=False, create=False) as opened:
        before = opened.status().num_bytes
        give_back(opened)
        after = opened.status().num_bytes
        name = opened.name
    if json:
        emit({"num_bytes_before": before, "num_bytes": after})
    else:
        talk(f"{name}: {_mb(before)} before, {_mb(after)} now.")


def _tell(done: Pruned, *, dry_run: bool) -> None:
    word = "would go" if dry_run else "gone"
    for name, count in done.counts.items():
        say(f"  {name:<14} {count:>9,} {word}")
    if done.num_bytes is not None:
        talk(f"{_mb(done.num_bytes)} of content; `journeyman db vacuum` gives the space back.")
    if done.num_kept:
        talk(f"{done.num_kept:,} runs are as old and stay: they teach, are starred or escalated.")


def _mb(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:.1f} MB"


@app.command("copy")
def copy(
    source: Annotated[str, typer.Argument(metavar="FROM", help="File or URL of a trace store.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="Empty or new store, file or URL.")],
    json: JsonOption = False,
) -> None:
    """Copy a whole store into an empty one: from SQLite to PostgreSQL, or back.

    Examples:

      journeyman db copy .journeyman/traces.db postgresql://ada@db.example/journeyman

      journeyman db copy postgresql://ada@db.example/journeyman copied.db

    Both are compared at the end, row for row. An interrupted copy goes on when it is started again.
    """
    from journeyman.cli.progress import Progress
    from journeyman.traces.transfer import transfer

    with (
        open_store(source) as opened,
        open_store(target, read_only=False) as empty,
        Progress("rows", quiet=json) as bar,
    ):
        done = transfer(opened, empty, tell=bar.update)
        name = empty.name
    if json:
        emit({**asdict(done), "target": name.strip("'")})
        return
    total = sum(done.counts.values())
    talk(f"{name} holds the same {total:,} rows; {done.num_payloads:,} payloads match their hash.")
