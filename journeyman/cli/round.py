"""`journeyman round` and `journeyman rounds`: teach, prove, decide; and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from journeyman.cli import completion
from journeyman.cli.console import ExitCode, emit, say, table, talk
from journeyman.cli.options import AgentFilter, DataOption, JsonOption, StoreOption, open_store
from journeyman.cli.progress import Progress

if TYPE_CHECKING:
    from journeyman.agents.base import Agent
    from journeyman.agents.trainer import TrainingStep
    from journeyman.graph.round_report import RoundReport
    from journeyman.graph.round_state import RoundOptions
    from journeyman.traces.rounds import RoundEntry
    from journeyman.traces.store import Store

app = typer.Typer(
    help="""Which rounds there were, and what came of them.

Examples:

  journeyman rounds list

  journeyman rounds show 1a2b3c
""",
    no_args_is_help=True,
    rich_markup_mode=None,
)

ALL = "all"


def round_(
    agent: Annotated[str, typer.Argument(autocompletion=completion.agents, help="Name, or `all`.")],
    suite: Annotated[
        str,
        typer.Option(
            autocompletion=completion.suites,
            help="Suite that says what the sub-agents are: a file or a shipped one's name. What it "
            "tests by is never learned from.",
        ),
    ] = "desk",
    max_error: Annotated[
        float | None, typer.Option("--max-error", help="Target; default: the settings'.")
    ] = None,
    delta: Annotated[
        float | None, typer.Option("--delta", help="Chance that the proof may fail.")
    ] = None,
    kind: Annotated[
        Literal["joint", "selective"] | None,
        typer.Option("--kind", help="joint: of all tasks; selective: of those accepted."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of training; default: the settings'.")] = None,
    data: DataOption = None,
    restart: Annotated[
        bool,
        typer.Option("--restart", help="Give an interrupted round up and begin a new one."),
    ] = False,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """One round: teach a student from what was escalated, prove what can be proved, decide.

    Examples:

      journeyman round extraction

      journeyman round all --max-error 0.1

      journeyman round routing --suite my.yaml --json

      journeyman round extraction --restart

    A round that was interrupted goes on where it stopped. Exit code 0 where a release was promoted
    or nothing better was found, 1 where the new student was rejected, 3 where a round failed.
    """
    from journeyman.graph.round_state import options_from
    from journeyman.graph.settings import load_settings
    from journeyman.models.bounds import check_share
    from journeyman.scenarios.assembly import staff_for
    from journeyman.scenarios.known_texts import decontaminator
    from journeyman.scenarios.paths import find_suite
    from journeyman.scenarios.suite import load_suite

    for name, value in (("--max-error", max_error), ("--delta", delta)):
        if value is not None:
            check_share(name, value)
    settings = load_settings()
    given = {"max_error": max_error, "delta": delta, "kind": kind}
    chosen = {name: value for name, value in given.items() if value is not None}
    settings.risk = type(settings.risk).model_validate({**settings.risk.model_dump(), **chosen})
    if seed is not None:
        settings.round = settings.round.model_copy(update={"seed": seed})
    loaded = load_suite(find_suite(suite))
    with open_store(store, read_only=False, create=False) as opened:
        with Progress("passages embedded", quiet=json) as embedding:
            staff = staff_for(loaded, progress=embedding.update).served(settings)
        options = options_from(settings, decontaminator([loaded]))
        folder = data or Path(settings.data_dir)
        agents = _chosen(agent, staff.everyone, suite)
        if agent == ALL:
            codes = [_run_or_tell(each, opened, folder, options, json, restart) for each in agents]
        else:
            codes = [_code(run_one(agents[0], opened, folder, options, json, restart=restart))]
    if worst := max(codes):
        raise typer.Exit(worst)


def _chosen(agent: str, known: Mapping[str, Agent[Any, Any]], suite: str) -> list[Agent[Any, Any]]:
    from journeyman.models.errors import ConfigError, UnknownAgent

    if agent != ALL:
        if agent in known:
            return [known[agent]]
        raise UnknownAgent(
            f"No agent is named {agent!r}; suite {suite!r} has {', '.join(sorted(known))}, and "
            f"--suite names another."
        )
    learning = [known[name] for name in sorted(known) if known[name].trainer() is not None]
    if not learning:
        raise ConfigError(f"No sub-agent of suite {suite!r} learns: --suite names another.")
    return learning


def _run_or_tell(
    agent: Agent[Any, Any],
    store: Store,
    data: Path,
    options: RoundOptions,
    json: bool,
    restart: bool,
) -> ExitCode:
    """One round of several; what stops it does not stop those of the others."""
    from journeyman.models.errors import JourneymanError

    try:
        return _code(run_one(agent, store, data, options, json, restart=restart))
    except JourneymanError as error:
        talk(f"journeyman: round of {agent.name}: {error}")
        return ExitCode.ERROR


def _code(report: RoundReport) -> ExitCode:
    return ExitCode.FAILED if report.decision.verdict == "reject" else ExitCode.PASSED


def run_one(
    agent: Agent[Any, Any],
    store: Store,
    data: Path,
    options: RoundOptions,
    json: bool,
    *,
    restart: bool = False,
) -> RoundReport:
    """Run one round with a progress bar, and print what it found."""
    from journeyman.graph.round import run_round

    with Progress(f"round of {agent.name}", quiet=json) as bar:

        def on_stage(stage: str, step: TrainingStep | None) -> None:
            if step is None:
                bar.update(0, None, stage)
            else:
                bar.update(step.done, step.total, f"{stage}: {step.stage}")

        report = run_round(agent, store, data, options=options, on_stage=on_stage, restart=restart)
    if json:
        emit({"event": "round", **report.model_dump(mode="json")})
    else:
        say(render(report))
    return report


def render(report: RoundReport) -> str:
    """A round's report for people."""
    decision = report.decision
    lines = [
        f"{report.agent}, round {report.number}: {decision.verdict}",
        f"  {decision.reason}",
    ]
    if report.curated:
        known = report.curated
        lines.append(
            f"  {known['given']} labelled tasks: {known['train']} teach, {known['head']} fit the "
            f"confidence, {known['calibration']} certify ({_dropped(known)})"
        )
    if report.arms:
        lines += ["", *("  " + line for line in _arms(report).splitlines())]
    winner = report.winner
    if winner is not None and winner.certificate is not None:
        lines += ["", f"  {winner.release}: {winner.certificate.describe()}"]
    if report.recertified is not None:
        lines.append(f"  {report.in_traffic}, anew: {report.recertified.describe()}")
    lines += [f"  {test.outcome:<6}  {test.name}: {test.detail}" for test in decision.tests]
    return "\n".join(lines)


def _dropped(figures: Mapping[str, int]) -> str:
    left_out = {
        name.removeprefix("dropped_").replace("_", " "): number
        for name, number in figures.items()
        if name.startswith(("dropped_", "review_"))
    }
    return ", ".join(f"{number} {name}" for name, number in left_out.items()) or "none left out"


def _arms(report: RoundReport) -> str:
    headers = ["student", "right", "certified", "AUROC", "Brier", "ECE", "p50 ms", "taught", "s"]
    rows = [
        [
            f"{name}{' *' if name == report.challenger else ''}",
            _share(arm.quality),
            _share(arm.coverage),
            _number(arm.auroc),
            _number(arm.brier),
            _number(arm.ece),
            _number(arm.p50_ms, ".1f"),
            str(arm.num_examples or ""),
            f"{arm.train_seconds:.0f}" if arm.train_seconds else "",
        ]
        for name, arm in report.arms.items()
    ]
    return table(headers, rows, right=frozenset(range(1, 9)))


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _number(value: float | None, form: str = ".3f") -> str:
    return "" if value is None else format(value, form)


@app.command("list")
def list_rounds(
    agent: AgentFilter = None,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Rounds on record, oldest first.

    Examples:

      journeyman rounds list

      journeyman rounds list extraction --json
    """
    from journeyman.traces.rounds import RoundStore

    with open_store(store) as opened:
        entries = RoundStore(opened).history(agent)
    if not entries:
        talk("No rounds are on record; `journeyman round all` runs them.")
        raise typer.Exit(ExitCode.NOTHING)
    if json:
        for entry in entries:
            emit(_plain(entry))
        return
    headers = ["id", "sub-agent", "round", "status", "decision", "release", "began", "why"]
    say(table(headers, [_row(entry) for entry in entries], right=frozenset({2})))


@app.command("show")
def show_round(
    round_id: Annotated[str, typer.Argument(metavar="ID", help="Id, or how it starts.")],
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """One round: what competed, what was asked of it, and what was decided.

    Examples:

      journeyman rounds show 1a2b3c

      journeyman rounds show 1a2b3c --json | jq .report.arms
    """
    from journeyman.graph.round_report import RoundReport
    from journeyman.traces.rounds import RoundStore

    with open_store(store) as opened:
        entry = RoundStore(opened).get(round_id)
    if json:
        emit({**_plain(entry), "report": entry.report})
    elif entry.report is None:
        say(f"{entry.agent}, round {entry.number}: {entry.status}, at {entry.stage}")
        talk(f"`journeyman round {entry.agent}` goes on with it; with --restart it begins anew.")
    else:
        say(render(RoundReport.model_validate(entry.report)))


def _row(entry: RoundEntry) -> list[str]:
    return [
        entry.id[:8],
        entry.agent,
        str(entry.number),
        entry.status if entry.status != "running" else f"running: {entry.stage}",
        entry.decision or "",
        entry.candidate_id or "",
        f"{entry.started_at:%Y-%m-%d %H:%M}",
        (entry.reason or "")[:60],
    ]


def _plain(entry: RoundEntry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "agent": entry.agent,
        "number": entry.number,
        "status": entry.status,
        "stage": entry.stage,
        "decision": entry.decision,
        "reason": entry.reason,
        "started_at": entry.started_at.isoformat(),
        "ended_at": entry.ended_at.isoformat() if entry.ended_at else None,
        "candidate": entry.candidate_id,
    }
