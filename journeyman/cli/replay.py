"""`journeyman replay`: cost against quality, redrawn from recorded attempts."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from journeyman.cli import completion
from journeyman.cli.console import ExitCode, emit, say, table, talk
from journeyman.cli.options import AgentArgument, JsonOption, StoreOption, open_store

if TYPE_CHECKING:
    from journeyman.traces.attempts import Attempted
    from journeyman.traces.replay import Outlook, Replay, WhatIf
    from journeyman.traces.store import Store


def replay(
    agent: AgentArgument,
    max_error: Annotated[
        float, typer.Option("--max-error", help="Error that you can live with, in (0, 1).")
    ] = 0.05,
    delta: Annotated[
        float, typer.Option("--delta", help="Chance that the proof may fail, in (0, 1).")
    ] = 0.05,
    kind: Annotated[
        Literal["joint", "selective"],
        typer.Option(
            "--kind",
            help="joint: P(accepted and wrong), of all tasks; selective: P(wrong | accepted).",
        ),
    ] = "joint",
    release: Annotated[
        str | None,
        typer.Option(
            "--release",
            metavar="ID",
            autocompletion=completion.releases,
            help="Default: the one in traffic.",
        ),
    ] = None,
    target: Annotated[
        list[float] | None,
        typer.Option("--target", help="Further error targets for the table; repeatable."),
    ] = None,
    audit_rate: Annotated[
        float | None,
        typer.Option("--audit-rate", min=0, max=1, help="Default: the settings'."),
    ] = None,
    student_usd: Annotated[
        float, typer.Option("--student-usd", min=0, help="Your cost of one student answer.")
    ] = 0.0,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Redraw cost against quality from recorded attempts; no model is called.

    Examples:

      journeyman replay extraction --max-error 0.02

      journeyman replay retrieval --kind selective --max-error 0.1 --delta 0.1

      journeyman replay extraction --release extraction@1a2b --json | jq .asked

    Exit code 0 where the target can be certified, 1 where it cannot, 5 where there are no labels.
    """
    from journeyman.graph.settings import load_settings
    from journeyman.models.bounds import check_share
    from journeyman.models.savings import Terms
    from journeyman.models.types import Risk
    from journeyman.traces import replay as replays
    from journeyman.traces.judged import read_recording

    targets = target or list(replays.TARGETS)
    for name, value in (
        ("--max-error", max_error), ("--delta", delta), *(("--target", each) for each in targets),
    ):  # fmt: skip
        check_share(name, value)
    rate = load_settings().audit.rate if audit_rate is None else audit_rate
    with open_store(store) as opened:
        attempted, why = _release(opened, agent, release)
        recording = read_recording(opened, agent, attempted.release)
    if not recording.judged:
        talk(
            f"Of {recording.num_attempts} attempts of {attempted.release} ({why}) none has a label "
            "that may certify: only audits count, and escalations while nothing is certified."
        )
        raise typer.Exit(ExitCode.NOTHING)
    terms = Terms(
        audit_rate=rate,
        frontier_microusd=recording.frontier_microusd,
        student_microusd=student_usd * 1e6,
    )
    risk = Risk(max_error=max_error, delta=delta, kind=kind)
    done = replays.replay(recording, risk, targets=targets, terms=terms)
    if json:
        emit(_plain(done, why))
    else:
        _print(done, why)
    if not done.asked.certificate.is_feasible:
        raise typer.Exit(ExitCode.FAILED)


def _release(store: Store, agent: str, wanted: str | None) -> tuple[Attempted, str]:
    """The release to replay, and why it is this one.

    Raises:
        TraceError: The release that was asked for has no attempts.
    """
    from journeyman.traces.attempts import attempted, find_attempted
    from journeyman.traces.release_rows import active_id

    if wanted is not None:
        return find_attempted(store, agent, wanted), "asked for"
    known = attempted(store, agent)
    if not known:
        talk(f"Sub-agent {agent!r} has no attempts on record in {store.name}.")
        raise typer.Exit(ExitCode.NOTHING)
    active = store.read(lambda connection: active_id(connection, agent))
    if active is None:
        return known[0], "none is in traffic; this one answered last"
    found = next((each for each in known if each.release == active), None)
    if found is None:
        talk(
            f"{active} is in traffic and has no attempts on record yet; --release names another: "
            f"{', '.join(each.release for each in known[:5])}."
        )
        raise typer.Exit(ExitCode.NOTHING)
    return found, "in traffic"


def _print(done: Replay, why: str) -> None:
    recording = done.recording
    say(f"release    {recording.release}  ({why})")
    say(
        f"labels     {done.num_labels} that may certify, of {recording.num_labels} labels and "
        f"{recording.num_attempts} attempts: {_sources(done)}"
    )
    say(
        f"student    {done.num_right / done.num_labels:.1%} right; "
        f"{done.num_labels - done.num_valid} without a valid answer, never accepted"
    )
    say(f"confidence {_scores(done)}")
    say(f"frontier   {_price(done)}, {done.audit_rate:.1%} of the tasks audited")
    say()
    say(_asked(done))
    say()
    rows = [_row(outlook, done) for outlook in done.outlooks]
    headers = [
        "", "target", "threshold", "accepted", "frontier", "joint", "selective", "bound", "saved",
        "per 1,000", "more labels",
    ]  # fmt: skip
    say(table(headers, rows, right=frozenset(range(1, 11))))
    say()
    say(_caveats(done))


def _sources(done: Replay) -> str:
    return ", ".join(f"{number} {source}" for source, number in sorted(done.label_sources.items()))


def _scores(done: Replay) -> str:
    source = (
        "as recorded"
        if done.scores == "recorded"
        else "out of fold: the release has no head, so this is an estimate"
    )
    return source + ("" if done.auroc is None else f"; AUROC {done.auroc:.3f}")


def _price(done: Replay) -> str:
    price = done.recording.frontier_microusd
    told = "price unknown" if price is None else f"${price / 1e6:.6f} an answer"
    if price is not None and done.recording.num_unpriced:
        told += f" ({done.recording.num_unpriced} answers without a known price left out)"
    return told


def _asked(done: Replay) -> str:
    """The answer in one paragraph."""
    certificate, asked = done.asked.certificate, done.asked
    target = f"{done.risk.kind} error within {done.risk.max_error:g} (delta {done.risk.delta:g})"
    if not certificate.is_feasible:
        more = certificate.labels_needed
        need = (
            f"about {more} more labels would do at the present error rate."
            if more is not None
            else "no number of labels would do while the surest answers are wrong this often."
        )
        return f"Not certifiable: {target} on {certificate.n} labels; {need}"
    saved = "unknown" if asked.saving is None else f"{asked.saving:.1%}"
    return (
        f"Certifiable: {target} on {certificate.n} labels. At threshold "
        f"{certificate.threshold:.4f} the student keeps {asked.coverage:.1%} of the tasks, "
        f"{asked.escalation_rate:.1%} go to the frontier, and {saved} of the frontier-only cost "
        "is saved."
    )


def _row(outlook: Outlook, done: Replay) -> list[str]:
    certificate = outlook.certificate
    cost = outlook.microusd_per_task
    return [
        "*" if outlook is done.asked else "",
        f"{certificate.max_error:g}",
        f"{certificate.threshold:.4f}" if certificate.is_feasible else "none",
        f"{outlook.coverage:.1%}",
        f"{outlook.escalation_rate:.1%}",
        f"{outlook.joint_error:.2%}",
        "-" if outlook.selective_error is None else f"{outlook.selective_error:.2%}",
        "-" if certificate.bound is None else f"{certificate.bound:.2%}",
        "unknown" if outlook.saving is None else f"{outlook.saving:.1%}",
        "unknown" if cost is None else f"${cost * 1000 / 1e6:.4f}",
        _more(outlook),
    ]


def _more(outlook: Outlook) -> str:
    certificate = outlook.certificate
    if certificate.is_feasible:
        return "-"
    return "never" if certificate.labels_needed is None else str(certificate.labels_needed)


def _caveats(done: Replay) -> str:
    lines = [
        f"Right and wrong mean agreement with the label source: {_sources(done)}.",
        "A replay certifies nothing: that takes a round, on labels kept apart.",
        "Saved is accepted x (1 - audits), less the student's share of the price; not teaching.",
    ]
    if done.label_source in {"frontier", "reference"}:
        lines.insert(1, "Where that source is wrong itself, it comes on top of the error.")
    if done.is_grid_own:
        lines.append(
            "No unlabelled attempts are on record: the thresholds tried are the labelled ones' own."
        )
    return "\n".join(lines)


def _plain(done: Replay, why: str) -> dict[str, Any]:
    recording = done.recording
    return {
        "agent": recording.agent,
        "release": recording.release,
        "chosen": why,
        "num_attempts": recording.num_attempts,
        "num_labels": done.num_labels,
        "num_labels_any": recording.num_labels,
        "num_valid": done.num_valid,
        "num_right": done.num_right,
        "label_source": done.label_source,
        "label_sources": dict(done.label_sources),
        "scores": done.scores,
        "auroc": done.auroc,
        "audit_rate": done.audit_rate,
        "frontier_microusd": recording.frontier_microusd,
        "num_unpriced": recording.num_unpriced,
        "asked": _plain_outlook(done.asked),
        "targets": [_plain_outlook(outlook) for outlook in done.outlooks],
        "curve": [_plain_point(point) for point in done.curve],
    }


def _plain_outlook(outlook: Outlook) -> dict[str, Any]:
    facts = outlook.certificate.model_dump(
        mode="json", exclude={"created_at", "label_source", "release", "coverage"}
    )
    return {
        "is_certifiable": outlook.certificate.is_feasible,
        **facts,
        "coverage": outlook.coverage,
        "escalation_rate": outlook.escalation_rate,
        "joint_error": outlook.joint_error,
        "selective_error": outlook.selective_error,
        "saving": outlook.saving,
        "microusd_per_task": outlook.microusd_per_task,
    }


def _plain_point(point: WhatIf) -> dict[str, Any]:
    return asdict(point)
