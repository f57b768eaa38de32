"""The trace store as the doctor sees it: reachable, of this schema, whole, writable."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

from journeyman.cli.finding import Finding

MAX_CHECKED_BYTES = 200 * 1024**2
"""A larger file takes too long to read through unasked."""


def look_at_store(target: str) -> Iterator[Finding]:
    """What there is to say about a trace store; a file that is not there yet is no fault."""
    from journeyman.models.errors import CorruptRecord, SchemaTooNew, TraceError
    from journeyman.traces.engine import describe, not_writable, parse_url, sqlite_path
    from journeyman.traces.store import Store

    option = f"--store {shlex.quote(target)}"
    try:
        url = parse_url(target)
        path = sqlite_path(url)
        if path is not None and not path.exists():
            yield _not_yet(path)
            return
        name = describe(url).strip("'")
        with Store.open(target, create=False, read_only=True) as store:
            status = store.status()
            size = f"{status.num_bytes / 1e6:.1f} MB, {status.counts.get('runs', 0):,} runs"
            yield Finding("store", "ok", f"{name} ({size}, schema {status.schema_version})")
            if status.num_bytes > MAX_CHECKED_BYTES:
                detail = f"not checked: it takes long; journeyman db status --check {option}"
                yield Finding("store content", "ok", detail)
            else:
                yield Finding("store content", "ok", f"intact, {store.integrity():,} payloads")
            closed = store.read(lambda c: not_writable(c, sorted(status.counts)))
    except SchemaTooNew as error:
        yield Finding("store", "wrong", str(error), "pip install --upgrade journeyman")
        return
    except CorruptRecord as error:
        yield Finding("store content", "wrong", str(error), "restore a backup of `db backup`")
        return
    except TraceError as error:
        yield Finding("store", "wrong", str(error), _mend(str(error), option))
        return
    yield _writable(path) if path is not None else _granted(closed)


def _mend(said: str, option: str) -> str:
    if "older schema" in said:
        return f"journeyman db migrate {option}"
    if "journeyman[postgres]" in said:
        return "pip install 'journeyman[postgres]'"
    return "name another with `store` in journeyman.toml, or with --store"


def _not_yet(path: Path) -> Finding:
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not os.access(folder, os.W_OK):
        return Finding("store", "wrong", f"{path} cannot be made", f"chmod u+w {folder}")
    return Finding("store", "ok", f"{path} (made at the first run)")


def _writable(path: Path) -> Finding:
    locked = [each for each in (path, path.parent) if not os.access(each, os.W_OK)]
    if not locked:
        return Finding("store writable", "ok", "file and folder")
    named = " ".join(shlex.quote(str(each)) for each in locked)
    return Finding("store writable", "wrong", f"{named} may not be written", f"chmod u+w {named}")


def _granted(closed: list[str]) -> Finding:
    if not closed:
        return Finding("store writable", "ok", "every table")
    more = f" and {len(closed) - 1} more" if len(closed) > 1 else ""
    return Finding(
        "store writable",
        "wrong",
        f"table {closed[0]!r}{more} may not be written by this user, or on this server",
        "grant what docs/postgres.md names, and give the address of the primary server",
    )
