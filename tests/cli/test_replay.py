"""`journeyman replay` over stores that real graph runs filled, against the reference frontier."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from journeyman.graph.orchestrator import create_orchestrator
from journeyman.graph.state import Task
from journeyman.graph.trust import ReleaseTrust
from journeyman.models.frontier import Frontier
from journeyman.models.prices import Price, PriceBook
from journeyman.models.reference_frontier import Reference, ReferenceFrontier
from journeyman.traces.recorder import Recorder
from journeyman.traces.registry import Registry
from journeyman.traces.store import Store
from tests.cli.inside import journeyman, store_of
from tests.graph.released import OneWord, Released, promoted
from tests.graph.triage import Ticket

pytestmark = pytest.mark.usefixtures("any_store")

NUM_TICKETS = 150
TICKETS = [f"ticket {i}" + (" unsure" if i % 5 == 0 else "") for i in range(NUM_TICKETS)]


def answer_all(store: Store, trust: ReleaseTrust | None = None) -> None:
    """Every ticket through the graph; the student is wrong where it is unsure."""
    agent = Released(OneWord(None))
    known = [
        Reference(
            {"severity": "high" if "unsure" in text else "low"},
            task_key=agent.task_key(Ticket(text=text)),
        )
        for text in TICKETS
    ]

    async def run(base_url: str) -> None:
        prices = PriceBook({"reference": Price(1.0, 2.0)})
        async with Frontier("reference", base_url=base_url, prices=prices) as frontier:
            with Recorder(store) as recorder:
                graph = create_orchestrator([agent], frontier, store=recorder, trust=trust)
                tasks = [Task(agent="triage", input={"text": text}) for text in TICKETS]
                for start in range(0, NUM_TICKETS, 30):
                    await graph.ainvoke({"tasks": tasks[start : start + 30]})

    with ReferenceFrontier(known) as server:
        asyncio.run(run(server.base_url))


@pytest.fixture(scope="module")
def cold(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project without a release: everything escalated."""
    folder = tmp_path_factory.mktemp("cold")
    with Store.open(store_of(folder)) as store:
        answer_all(store)
    return folder


def replayed(folder: Path, *arguments: str, code: int = 0) -> dict[str, Any]:
    done = journeyman(folder, "replay", "triage", "--json", *arguments)
    assert done.returncode == code, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_a_cold_start_shows_what_a_head_would_certify(cold: Path) -> None:
    told = replayed(cold, "--max-error", "0.05")
    asked = told["asked"]
    assert told["scores"] == "out_of_fold"
    assert (told["num_labels"], told["num_right"]) == (150, 120)
    assert told["label_sources"] == {"frontier": 150}
    assert (asked["is_certifiable"], asked["n"], asked["k"]) == (True, 150, asked["k"])
    assert asked["coverage"] >= 0.8
    assert asked["bound"] <= 0.05
    assert asked["escalation_rate"] == pytest.approx(1 - asked["coverage"] * 0.95)
    assert asked["saving"] == pytest.approx(asked["coverage"] * 0.95)
    assert asked["microusd_per_task"] == pytest.approx(
        asked["escalation_rate"] * told["frontier_microusd"]
    )
    assert [each["max_error"] for each in told["targets"]] == [0.01, 0.02, 0.05, 0.1, 0.2]
    coverages = [point["coverage"] for point in told["curve"]]
    assert coverages == sorted(coverages)
    assert coverages[-1] == 1


def test_a_target_out_of_reach_has_its_own_exit_code_and_says_what_it_takes(cold: Path) -> None:
    asked = replayed(cold, "--max-error", "0.01", code=1)["asked"]
    assert (asked["is_certifiable"], asked["threshold"], asked["coverage"]) == (False, None, 0)
    assert asked["labels_needed"] == 299 - 150


def test_a_table_for_people_says_whose_agreement_it_is_and_that_it_certifies_nothing(
    cold: Path,
) -> None:
    done = journeyman(cold, "replay", "triage", "--max-error", "0.05", "--audit-rate", "0")
    assert done.returncode == 0, done.stderr
    assert "agreement with the label source: 150 frontier" in done.stdout
    assert "wrong itself, it comes on top" in done.stdout
    assert "A replay certifies nothing" in done.stdout
    assert "\n*" in done.stdout
    assert "out of fold" in done.stdout


def test_the_selective_rule_can_be_asked_for(cold: Path) -> None:
    told = replayed(cold, "--kind", "selective", "--max-error", "0.1")
    assert told["asked"]["kind"] == "selective"
    assert told["asked"]["selective_error"] <= 0.1


def test_a_student_that_costs_something_saves_less(cold: Path) -> None:
    free = replayed(cold)
    paid = replayed(cold, "--student-usd", str(free["frontier_microusd"] / 1e6 / 10))
    assert paid["asked"]["saving"] == pytest.approx(free["asked"]["saving"] - 0.1)


def test_the_release_in_traffic_is_replayed_from_its_recorded_confidences(
    tmp_path: Path,
) -> None:
    with Store.open(store_of(tmp_path)) as store:
        registry = Registry(store, tmp_path / ".journeyman")
        answer_all(store)
        release = promoted(registry, "low")
        trust = ReleaseTrust(registry, {"triage": OneWord}, audit_rate=0.5, poll_seconds=0.0)
        answer_all(store, trust)
        trust.close()
    told = replayed(tmp_path, "--max-error", "0.2")
    assert (told["release"], told["chosen"]) == (release.id, "in traffic")
    assert told["scores"] == "recorded"
    assert told["num_attempts"] == 150
    assert 40 < told["num_labels"] < 110  # the audits
    before = replayed(tmp_path, "--release", _other(tmp_path, release.id)[:-2])
    assert (before["num_labels"], before["chosen"]) == (150, "asked for")


def _other(folder: Path, release: str) -> str:
    from journeyman.traces.attempts import attempted

    with Store.open(store_of(folder), read_only=True) as store:
        return next(each.release for each in attempted(store, "triage") if each.release != release)


def test_what_cannot_be_replayed_is_said_in_one_line(cold: Path) -> None:
    for arguments, code in (
        (("nobody",), 5),
        (("triage", "--release", "triage@ffffffff"), 2),
        (("triage", "--max-error", "1.5"), 2),
        (("triage", "--target", "0"), 2),
    ):
        done = journeyman(cold, "replay", *arguments)
        assert (done.returncode, len(done.stderr.splitlines())) == (code, 1), done.stderr
        assert done.stdout == ""


def test_help_has_examples(tmp_path: Path) -> None:
    assert "Examples:" in journeyman(tmp_path, "replay", "--help").stdout
