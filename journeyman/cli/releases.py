"""`journeyman releases`: which students are there, which one answers, and how far it is trusted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from journeyman.cli.console import ExitCode, emit, say, table, talk
from journeyman.cli.options import (
    AgentArgument,
    AgentFilter,
    DataOption,
    JsonOption,
    NoteOption,
    ReleaseArgument,
    StoreOption,
    open_store,
    store_target,
)

if TYPE_CHECKING:
    from journeyman.traces.registry import Change, Registry, ReleaseEntry

app = typer.Typer(
    help="""Which students are there, which one answers, and how far it is trusted.

Examples:

  journeyman releases list

  journeyman releases promote extraction@1a2b3c4d

  journeyman releases rollback extraction

A running graph follows within a second; nothing needs a restart.
""",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("list")
def list_releases(
    agent: AgentFilter = None,
    store: StoreOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Releases on record, oldest first.

    Examples:

      journeyman releases list

      journeyman releases list extraction --json
    """
    with _registry(store, data) as registry:
        entries = registry.releases(agent)
    if not entries:
        talk("No releases are on record; a round makes them.")
        raise typer.Exit(ExitCode.NOTHING)
    if json:
        for entry in entries:
            emit(_plain(entry))
        return
    headers = ["release", "status", "student", "made", "MB", "labels", "accepts", "trust"]
    say(table(headers, [_row(entry) for entry in entries], right=frozenset({4, 5, 6})))


@app.command("show")
def show_release(
    release: ReleaseArgument,
    store: StoreOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """One release: its certificate, its audits, the history of its sub-agent, its files checked.

    Examples:

      journeyman releases show extraction@1a2b3c4d

      journeyman releases show extraction@1a --json | jq .certificate
    """
    from journeyman.models.errors import WeightsError

    with _registry(store, data) as registry:
        entry = registry.get(release)
        history = registry.history(entry.agent)
        detector = registry.drift(entry.newest.id) if entry.newest is not None else None
        fault = None
        try:
            registry.load(entry.id)
        except WeightsError as error:
            fault = str(error)
    audits = None if detector is None else detector.model_dump(mode="json")
    if json:
        changes = [_plain_change(change) for change in history]
        emit({**_plain(entry), "audits": audits, "fault": fault, "history": changes})
        return
    _print(entry, fault)
    if detector is not None:
        say(
            f"audits       {detector.num_wrong} wrong in {detector.num_audits}, "
            f"alarm level {detector.level:.3g} of {detector.alarm_level:g}"
        )
    say()
    for change in history:
        say(
            f"{change.version:>4}  {change.changed_at:%Y-%m-%d %H:%M:%S}  {change.action:<8}  "
            f"{change.release or 'none':<24}  {change.reason or ''}".rstrip()
        )


@app.command("promote")
def promote(
    release: ReleaseArgument,
    reason: NoteOption = None,
    store: StoreOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Let a release take the traffic of its sub-agent; its files are checked first.

    Examples:

      journeyman releases promote extraction@1a2b3c4d

      journeyman releases promote extraction@1a --reason "reviewed by hand"
    """
    with _registry(store, data, write=True) as registry:
        entry = registry.get(release)
        registry.promote(entry.agent, entry.id, reason=reason)
        _told(registry, entry.agent, json=json)


@app.command("rollback")
def rollback(
    agent: AgentArgument,
    reason: NoteOption = None,
    store: StoreOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Give traffic back to the release before; from the first one, back to the cold start.

    Examples:

      journeyman releases rollback extraction

      journeyman releases rollback extraction --reason "wrong dates since noon"
    """
    with _registry(store, data, write=True) as registry:
        registry.rollback(agent, reason=reason)
        _told(registry, agent, json=json)


@app.command("suspend")
def suspend(
    release: ReleaseArgument,
    reason: Annotated[str, typer.Option("--reason", help="Shown with every task it escalates.")],
    store: StoreOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Withdraw trust in a release: it goes on answering, and everything escalates.

    Examples:

      journeyman releases suspend extraction@1a2b3c4d --reason "invoices changed their layout"
    """
    with _registry(store, data, write=True) as registry:
        entry = registry.get(release)
        registry.suspend(entry.agent, entry.id, reason)
        _told(registry, entry.agent, json=json)


@app.command("resume")
def resume(
    release: ReleaseArgument,
    reason: NoteOption = None,
    store: StoreOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Trust a suspended release again, by its newest certificate; its audits begin anew.

    Examples:

      journeyman releases resume extraction@1a2b3c4d --reason "the alarm was a test"
    """
    with _registry(store, data, write=True) as registry:
        entry = registry.get(release)
        registry.resume(entry.agent, entry.id, reason=reason)
        _told(registry, entry.agent, json=json)


@contextmanager
def _registry(store: str | None, data: Path | None, *, write: bool = False) -> Iterator[Registry]:
    from journeyman.graph.settings import load_settings
    from journeyman.traces.registry import Registry
    from journeyman.traces.store import Store

    folder = data if data is not None else Path(load_settings().data_dir)
    # Never made anew: a store without releases has nothing to promote.
    opened = Store.open(store_target(store), create=False) if write else open_store(store)
    with opened:
        yield Registry(opened, folder)


def _told(registry: Registry, agent: str, *, json: bool) -> None:
    """Say what is in traffic now, and how far it is trusted."""
    traffic = registry.in_traffic(agent)
    if json:
        release = None if traffic.release is None else _plain(traffic.release)
        emit({"agent": agent, "version": traffic.version, "release": release})
    elif traffic.release is None:
        talk(f"{agent} has no release in traffic: everything escalates.")
    else:
        talk(f"{agent} answers with {traffic.release.id}. {_trust(traffic.release)}")


def _row(entry: ReleaseEntry) -> list[str]:
    newest = entry.newest
    certificate = newest.certificate if newest is not None else None
    return [
        entry.id,
        entry.status,
        entry.student_kind,
        f"{entry.created_at:%Y-%m-%d %H:%M}",
        f"{entry.num_bytes / 1e6:.1f}",
        "" if certificate is None else str(certificate.n),
        "" if certificate is None else f"{certificate.coverage:.1%}",
        _trust_word(entry),
    ]


def _trust_word(entry: ReleaseEntry) -> str:
    if entry.newest is None:
        return "none"
    if entry.is_suspended:
        return "suspended"
    return "certified" if entry.newest.certificate.is_feasible else "not certifiable"


def _trust(entry: ReleaseEntry) -> str:
    if entry.newest is None:
        return "It has no certificate: everything escalates."
    if entry.is_suspended:
        return f"Trust is withdrawn ({entry.newest.withdrawn_reason}): everything escalates."
    return entry.newest.certificate.describe()


def _print(entry: ReleaseEntry, fault: str | None) -> None:
    say(f"release      {entry.id}  {entry.status}")
    say(f"student      {entry.student_kind}, taught from {entry.base_model or 'no base'}")
    say(f"made         {entry.created_at:%Y-%m-%d %H:%M:%S} UTC, round {entry.round_id or 'none'}")
    if entry.parent is not None:
        say(f"parent       {entry.parent}")
    say(f"files        {entry.folder}, {entry.num_bytes / 1e6:.1f} MB")
    say(f"             {fault or 'every file matches its digest'}")
    say(f"trust        {_trust(entry)}")
    for name, value in sorted(entry.metrics.items()):
        say(f"             {name} {value}")


def _plain(entry: ReleaseEntry) -> dict[str, Any]:
    newest = entry.newest
    certificate = None
    if newest is not None:
        certificate = {
            **newest.certificate.model_dump(mode="json"),
            "id": newest.id,
            "withdrawn_at": newest.withdrawn_at,
            "withdrawn_reason": newest.withdrawn_reason,
        }
    return {
        "id": entry.id,
        "agent": entry.agent,
        "status": entry.status,
        "trust": _trust_word(entry),
        "created_at": entry.created_at,
        "promoted_at": entry.promoted_at,
        "retired_at": entry.retired_at,
        "parent": entry.parent,
        "round_id": entry.round_id,
        "student_kind": entry.student_kind,
        "base_model": entry.base_model,
        "folder": str(entry.folder),
        "weights_sha256": entry.weights_sha256,
        "num_bytes": entry.num_bytes,
        "metrics": entry.metrics,
        "certificate": certificate,
    }


def _plain_change(change: Change) -> dict[str, Any]:
    return {
        "version": change.version,
        "action": change.action,
        "release": change.release,
        "previous": change.previous,
        "reason": change.reason,
        "changed_at": change.changed_at,
    }
