"""A store that the whole loop has filled: labels, rounds, releases, audited traffic, suite runs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from journeyman.graph.decision import Bars
from journeyman.graph.orchestrator import create_orchestrator
from journeyman.graph.round import run_round
from journeyman.graph.round_state import RoundOptions
from journeyman.graph.state import Task
from journeyman.graph.trust import ReleaseTrust, loaders_of
from journeyman.traces.curate import Settings as CurationSettings
from journeyman.traces.recorder import Recorder
from journeyman.traces.records import ResultStatus, ScenarioResultRecord, SuiteRunRecord
from journeyman.traces.registry import Registry
from journeyman.traces.split import Shares
from journeyman.traces.store import Store
from tests.graph.apprentice import Desk, Knowing, notes, put_on_record

OPTIONS = RoundOptions(curation=CurationSettings(shares=Shares(calibration=0.4, head=0.2)))

STRICT = replace(OPTIONS, bars=Bars(level=1e-9))
"""Nothing is proved so surely: the release with the traffic stays, whichever tasks were audited."""

START = datetime(2026, 3, 1, 12, tzinfo=UTC)

BASE, LATER = "11111111-suite", "22222222-suite"


def learn(path: Path, data: Path) -> None:
    """Two rounds with traffic between them, and a suite that ran twice."""
    with Store.open(path) as store:
        put_on_record(store, Desk(), notes(300))
        run_round(Desk(), store, data, options=OPTIONS)
        asyncio.run(_serve(store, data))
        put_on_record(store, Desk(), notes(500, seed=5))  # enough for a further proof
        run_round(Desk(), store, data, options=STRICT)
        _audit(Registry(store, data))
        store.write(suites())


def _audit(registry: Registry) -> None:
    """Two audits of whatever is certified now, one of them wrong."""
    active = registry.active("desk")
    assert active is not None
    assert active.newest is not None
    for wrong in (False, True):
        registry.audited(active.newest.id, wrong=wrong)


async def _serve(store: Store, data: Path) -> None:
    given = dict(notes(80, seed=1))
    registry = Registry(store, data)
    trust = ReleaseTrust(registry, loaders_of([Desk()]), audit_rate=0.5, poll_seconds=0.0)
    with Recorder(store) as recorder:
        graph = create_orchestrator([Desk()], Knowing(given), store=recorder, trust=trust)
        for text in given:
            await graph.ainvoke({"tasks": [Task(agent="desk", input={"text": text})]})
    trust.close()


def suites() -> list[Any]:
    """Two runs: `gone` is missing from the later one, `worse` fails, `better` is mended."""
    base = {"gone": "pp", "worse": "pp", "better": "fp", "same": "pp", "shaky": "pf",
            "known": "ff", "skipped": "ss"}  # fmt: skip
    later = {"worse": "ff", "better": "pp", "same": "pp", "shaky": "pe", "known": "ff",
             "novel": "pp"}  # fmt: skip
    return [
        *_run(BASE, base, 0, label="blessed", is_baseline=True),
        *_run(LATER, later, 1),
    ]


_STATUS: dict[str, ResultStatus] = {"p": "passed", "f": "failed", "e": "error", "s": "skipped"}


def _run(run: str, given: dict[str, str], day: int, **more: Any) -> list[Any]:
    at = START + timedelta(days=day)
    verdicts = "".join(given.values())
    record = SuiteRunRecord(
        id=run, suite="desk", suite_hash=f"s{day}", config_hash="c", status="failed",
        started_at=at, num_total=len(verdicts), num_passed=verdicts.count("p"),
        num_failed=verdicts.count("f"), num_error=verdicts.count("e"),
        num_skipped=verdicts.count("s"), cost_microusd=1234, argv=("run", "desk"), **more,
    )  # fmt: skip
    results = [
        ScenarioResultRecord(
            suite_run_id=run, scenario_id=name, epoch=epoch, scenario_hash=name,
            status=_STATUS[verdict], metrics={"desk.system": verdict == "p"}, duration_ms=12.5,
            reason=None if verdict == "p" else f"{name} did not hold",
            assertions=({"type": "Contains", "name": f"Contains {name}", "passed": verdict == "p",
                         "score": 0.5, "reason": "looked for it"},),
            figures={"is_test": name != "same", "is_right": verdict == "p", "group": name,
                     "pass": {"rule": "any", "n": None} if name == "shaky" else None,
                     "tasks": [{"agent": "desk", "source": "student", "certified": True}]},
            tags=("easy",) if name == "same" else ("hard",),
            xfail="known gap" if name == "known" else None,
        )
        for name, epochs in given.items()
        for epoch, verdict in enumerate(epochs)
    ]  # fmt: skip
    return [record, *results]
