"""One distillation round of one sub-agent, as a graph that survives a kill.

    collect -> curate -> teacher_check -> train -> evaluate -> certify -> decide -> promote

Each stage leaves its figures in the checkpoint and its files in the round's folder, whole or not at
all. Run again after a crash, a round goes on at the stage that it had reached; what was trained is
not trained again. Only one round of a sub-agent runs at a time.

Knows no kind of student: how one is taught is its sub-agent's `trainer()`, what may teach is
curation's, and what passes is `decision`'s.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph

from journeyman.agents.base import Agent
from journeyman.graph.decision import Decision
from journeyman.graph.round_report import ArmReport, RoundReport
from journeyman.graph.round_stages import Stages
from journeyman.graph.round_state import STAGES, OnStage, RoundOptions, RoundState
from journeyman.models.errors import ConfigError
from journeyman.traces.registry import Registry
from journeyman.traces.rounds import RoundEntry, RoundStore
from journeyman.traces.store import Store

_CHECKPOINTS = "checkpoints.db"


def run_round(
    agent: Agent[Any, Any],
    store: Store,
    data: Path,
    *,
    options: RoundOptions | None = None,
    on_stage: OnStage | None = None,
    restart: bool = False,
) -> RoundReport:
    """Run a round of a sub-agent, or go on with the one that was interrupted.

    Blocks while it trains: inside a running event loop call it by `asyncio.to_thread`.

    Args:
        agent: As it is given to the orchestrator.
        store: The trace store, open for writing.
        data: The data directory, where releases, data sets and rounds lie.
        options: See `RoundOptions`.
        on_stage: Told how far the round is.
        restart: Give an interrupted round up and begin a new one; no label is lost.

    Returns:
        What it found and decided. That nothing could be certified is a finding, not an error.

    Raises:
        ConfigError: The sub-agent does not learn, a round of it is running, or so is an event loop.
        TraceError: The store or a data set cannot be read or written.
        WeightsError: A student's files cannot be used.
    """
    trainer = agent.trainer()
    if trainer is None:
        raise ConfigError(
            f"Agent {agent.name!r} does not learn: give it a `trainer()` or a student of a kind "
            f"that can be taught."
        )
    _refuse_event_loop(agent.name)
    home = data / "rounds"
    home.mkdir(parents=True, exist_ok=True)
    with _only_one(home / f"{agent.name}.lock", agent.name):
        if restart:
            _give_up(RoundStore(store), agent.name, home)
        entry = RoundStore(store).begin(agent.name)
        chosen = options or RoundOptions()
        stages = Stages(agent, trainer, store, data, entry, chosen, on_stage)
        final = _run(stages, RoundStore(store), entry, home / _CHECKPOINTS)
        report = _report(final, entry, chosen, Registry(store, data))
        # The release has the weights. Before the end, so that no kill leaves them lying.
        shutil.rmtree(stages.folder, ignore_errors=True)
        RoundStore(store).end(
            entry.id,
            decision=report.decision.verdict,
            reason=report.decision.reason,
            report=report.model_dump(mode="json"),
            # Labels in doubt stay new: the next round must not find them settled.
            status="stopped" if final.get("are_labels_doubted") else "done",
            **_figures(report),
        )
        _forget(home, entry.id)
        return report


def _give_up(rounds: RoundStore, agent: str, home: Path) -> None:
    abandoned = rounds.give_up(agent)
    if abandoned is not None:
        shutil.rmtree(home / abandoned.id, ignore_errors=True)
        _forget(home, abandoned.id)


def _forget(home: Path, round_id: str) -> None:
    """Drop the checkpoints of a round that has ended: its report tells all that they held."""
    with SqliteSaver.from_conn_string(str(home / _CHECKPOINTS)) as saver:
        saver.delete_thread(round_id)


def _refuse_event_loop(agent: str) -> None:
    """Before anything is trained: evaluation needs an event loop of its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise ConfigError(
        f"A round of {agent!r} blocks for as long as it trains, and an event loop is running here: "
        f"call it by `await asyncio.to_thread(run_round, ...)`."
    )


def _run(stages: Stages, rounds: RoundStore, entry: RoundEntry, checkpoints: Path) -> RoundState:
    """Go through the stages that are left."""
    config: RunnableConfig = {"configurable": {"thread_id": entry.id}}
    with SqliteSaver.from_conn_string(str(checkpoints)) as saver:
        graph = _graph(stages, rounds, entry).compile(checkpointer=saver)
        begun = bool(graph.get_state(config).values)
        given = None if begun else RoundState(round_id=entry.id)
        return cast("RoundState", graph.invoke(given, config, durability="sync"))


def _graph(stages: Stages, rounds: RoundStore, entry: RoundEntry) -> StateGraph[RoundState]:
    graph = StateGraph(RoundState)

    def told(name: str) -> Any:
        stage: Callable[[RoundState], RoundState] = getattr(stages, name)

        def run(state: RoundState) -> RoundState:
            rounds.reach(entry.id, name)
            stages.say(name, None)
            return stage(state)

        return run

    for name in STAGES:
        graph.add_node(name, told(name))
    graph.add_edge(START, STAGES[0])
    for name, following in zip(STAGES, (*STAGES[1:], END), strict=True):

        def next_of(state: RoundState, following: str = following) -> str:
            return END if state.get("stop") else following

        graph.add_conditional_edges(name, next_of, [following, END])
    return graph


def _report(
    state: RoundState, entry: RoundEntry, options: RoundOptions, registry: Registry
) -> RoundReport:
    stop = state.get("stop")
    decision = (
        Decision(verdict="keep", reason=stop)
        if stop
        else Decision.model_validate(state["decision"])
    )
    active = registry.active(entry.agent)
    arms = {name: ArmReport(name=name, **facts) for name, facts in state.get("arms", {}).items()}
    return RoundReport(
        round=entry.id,
        agent=entry.agent,
        number=entry.number,
        started_at=entry.started_at,
        target=options.risk.model_dump(mode="json"),
        collected=state.get("collected", {}),
        curated=state.get("curated", {}),
        basis=state.get("basis"),
        dataset=state.get("dataset_hash"),
        label_source=state.get("label_source"),
        arms=arms,
        challenger=state.get("challenger"),
        incumbent=state.get("incumbent"),
        decision=decision,
        in_traffic=active.id if active is not None else None,
        recertified=state.get("recertified"),
        tried=state.get("tried"),
    )


def _figures(report: RoundReport) -> dict[str, Any]:
    """What the `rounds` table shows of a report."""
    winner, incumbent = report.winner, report.arms.get("incumbent")
    baseline = report.arms.get("untrained")
    return {
        "incumbent_id": report.incumbent,
        "candidate_id": winner.release if winner is not None else None,
        "baseline_quality": baseline.quality if baseline is not None else None,
        "incumbent_quality": incumbent.quality if incumbent is not None else None,
        "candidate_quality": winner.quality if winner is not None else None,
        "incumbent_coverage": incumbent.coverage if incumbent is not None else None,
        "candidate_coverage": winner.coverage if winner is not None else None,
        "metrics": {
            name: _numbers(
                {
                    "auroc": arm.auroc,
                    "brier": arm.brier,
                    "ece": arm.ece,
                    "p50_ms": arm.p50_ms,
                    "train_seconds": arm.train_seconds,
                }
            )
            for name, arm in report.arms.items()
        },
    }


def _numbers(figures: Mapping[str, float | None]) -> dict[str, float]:
    return {name: number for name, number in figures.items() if number is not None}


@contextmanager
def _only_one(path: Path, agent: str) -> Iterator[None]:
    """Hold a sub-agent's lock; it ends with the process, however that ends."""
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise ConfigError(
                f"A round of {agent!r} is running already (process {holder}): wait for it to end, "
                f"or stop it; the next one goes on where it stopped.",
                path=path,
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
