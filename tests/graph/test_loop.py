"""The whole loop: escalations teach, a release answers, drift ends its trust, a round renews it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from journeyman.agents.routing import Route, Routing, RoutingTask
from journeyman.graph.orchestrator import Orchestrator, create_orchestrator
from journeyman.graph.round import run_round
from journeyman.graph.round_report import RoundReport
from journeyman.graph.round_state import RoundOptions
from journeyman.graph.state import Task
from journeyman.graph.trust import ReleaseTrust, loaders_of
from journeyman.models.frontier import Frontier
from journeyman.models.reference_frontier import Reference, ReferenceFrontier
from journeyman.models.students.classifier import Classifier
from journeyman.models.students.embedder import Embedder
from journeyman.models.types import Answer, Reason
from journeyman.traces.curate import Settings as CurationSettings
from journeyman.traces.recorder import Recorder
from journeyman.traces.registry import Registry
from journeyman.traces.split import Shares
from journeyman.traces.store import Store
from tests.graph.apprentice import Desk, Knowing, notes, put_on_record, shifted_notes

OPTIONS = RoundOptions(curation=CurationSettings(shares=Shares(calibration=0.4, head=0.2)))


@pytest.fixture
def registry(store: Store, tmp_path: Path) -> Registry:
    return Registry(store, tmp_path / "data")


@pytest.fixture
def trust(registry: Registry) -> Iterator[ReleaseTrust]:
    made = ReleaseTrust(registry, loaders_of([Desk()]), audit_rate=0.5, poll_seconds=0.0)
    yield made
    made.close()


async def pass_through(
    graph: Orchestrator, agent: str, texts: Sequence[str], *, at_once: int = 16
) -> list[Answer]:
    """Every text as a run of its own, in order."""
    room = asyncio.Semaphore(at_once)

    async def one(text: str) -> Answer:
        async with room:
            result = await graph.ainvoke({"tasks": [Task(agent=agent, input={"text": text})]})
        answer: Answer = result["answers"][f"{agent}-1"]
        return answer

    return list(await asyncio.gather(*(one(text) for text in texts)))


async def round_of(agent: Any, registry: Registry, store: Store) -> RoundReport:
    """One round, off the event loop."""
    return await asyncio.to_thread(run_round, agent, store, registry.data, options=OPTIONS)


# A real student


ROUTES = {
    "billing": ("Invoices, payments and refunds", "refund invoice payment charge bill"),
    "weather": ("Rain, wind and sunshine", "rain wind snow storm sunshine"),
    "music": ("Songs, artists and playlists", "song album playlist singer concert"),
    "travel": ("Flights, trains and hotels", "flight hotel train ticket airport"),
    "cooking": ("Recipes and ingredients", "recipe oven flour sauce dinner"),
}
OPENINGS = (
    "I have a question about the {a} and the {b} of {name}",
    "could you look into the {a}, {name} says the {b} matters",
    "what about {a} or {b} at {name}'s place next {day}",
    "{name} told me on {day}: {a}, then {b}",
    "need help, {a} {b} since {day}, ask {name}",
)
NAMES = [
    "Ada",
    "Bert",
    "Cleo",
    "Dora",
    "Emil",
    "Fay",
    "Gus",
    "Hope",
    "Ivo",
    "Jun",
    "Kit",
    "Lea",
    "Max",
    "Noa",
    "Oto",
    "Pia",
]
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]


def requests(number: int, seed: int) -> dict[str, str]:
    """Distinct short requests with their route; in some the second word is another route's."""
    rng = random.Random(seed)
    made: dict[str, str] = {}
    while len(made) < number:
        route = rng.choice(list(ROUTES))
        other = rng.choice(list(ROUTES)) if rng.random() < 0.15 else route
        text = rng.choice(OPENINGS).format(
            a=rng.choice(ROUTES[route][1].split()),
            b=rng.choice(ROUTES[other][1].split()),
            name=f"{rng.choice(NAMES)} {rng.choice(NAMES)}",
            day=rng.choice(DAYS),
        )
        made[text] = route
    return made


@pytest.mark.slow
async def test_escalations_teach_a_router_that_then_answers_for_itself(
    store: Store, recorder: Recorder, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(registry.data / "cache"))
    routes = [Route(name, description) for name, (description, _) in ROUTES.items()]
    labels = {route.name: route.description for route in routes}
    router = Routing(routes, Classifier(Embedder(device="cpu"), labels), multiple=False)
    taught, fresh = requests(320, 0), requests(120, 1)
    fresh = {text: route for text, route in fresh.items() if text not in taught}
    references = [
        Reference(
            router.reference_answer([route]), task_key=router.task_key(RoutingTask(text=text))
        )
        for text, route in {**taught, **fresh}.items()
    ]
    trust = ReleaseTrust(registry, loaders_of([router]), audit_rate=0.0, poll_seconds=0.0)
    with ReferenceFrontier(references) as server:
        frontier = Frontier("reference", base_url=server.base_url, api_key="none")
        graph = create_orchestrator([router], frontier, store=recorder, trust=trust)
        cold = await pass_through(graph, "routing", list(taught))
        assert {answer.reason for answer in cold} == {Reason.UNCERTIFIED}
        report = await round_of(router, registry, store)
        assert report.decision.verdict == "promote", report.decision.reason
        warm = await pass_through(graph, "routing", list(fresh)[:60])
        again = await round_of(router, registry, store)
        await frontier.aclose()
    trust.close()
    own = [answer for answer in warm if answer.source == "student"]
    assert len(own) >= 30
    assert all(answer.certified and answer.release == report.in_traffic for answer in own)
    assert {answer.reason for answer in warm} <= {None, Reason.LOW_CONFIDENCE}
    wrong = [
        answer
        for answer, route in zip(warm, fresh.values(), strict=False)
        if [step["agent"] for step in answer.value["steps"]] != [route]
    ]
    assert len(wrong) <= 6
    assert report.arms["trained"].num_examples > 50
    # Only what escalated is new, and it certifies nothing.
    assert again.collected["new"] == len(warm) - len(own)
    assert again.curated["calibration"] == report.curated["calibration"]


# Rollback


async def test_a_rollback_restores_the_earlier_answers_bit_for_bit_while_answering(
    store: Store, recorder: Recorder, registry: Registry
) -> None:
    put_on_record(store, Desk(), notes(220, foreign=0.3))
    first = await round_of(Desk(), registry, store)
    put_on_record(store, Desk(), shifted_notes(400))
    second = await round_of(Desk(), registry, store)
    assert (first.decision.verdict, second.decision.verdict) == ("promote", "promote")
    known = dict([*notes(20, seed=2), *shifted_notes(10, seed=2)])
    texts, frontier = list(known), Knowing(known)
    trust = ReleaseTrust(registry, loaders_of([Desk()]), audit_rate=0.0, poll_seconds=0.0)
    graph = create_orchestrator([Desk()], frontier, store=recorder, trust=trust)

    async def told(text: str) -> tuple[Any, ...]:
        tasks = [Task(agent="desk", input={"text": text})]
        parts = graph.astream({"tasks": tasks}, stream_mode="custom", subgraphs=True)
        events = {part[1]["type"]: part[1] async for part in parts}
        attempt, gate = events["attempt"], events["gate"]
        release = events["answer"]["answer"]["release"]
        return release, attempt["output"], attempt["evidence"], gate["confidence"], gate["action"]

    async def all_told() -> list[tuple[Any, ...]]:
        return [await told(text) for text in texts]

    registry.rollback("desk")
    before = await all_told()
    registry.promote("desk", str(second.in_traffic))
    between = await all_told()
    rolled_back = asyncio.create_task(asyncio.to_thread(registry.rollback, "desk"))
    amid = await all_told()
    await rolled_back
    after = await all_told()
    trust.close()
    assert {row[0] for row in before} == {first.in_traffic}
    assert {row[0] for row in between} == {second.in_traffic}
    assert [row[1:] for row in between] != [row[1:] for row in before]
    assert after == before
    assert all(row in (old, new) for row, old, new in zip(amid, before, between, strict=True))


# Drift


async def test_an_alarm_ends_trust_until_labels_of_the_new_traffic_renew_it(
    store: Store, recorder: Recorder, registry: Registry, trust: ReleaseTrust
) -> None:
    old, new = notes(120, seed=1), shifted_notes(400)
    frontier = Knowing(dict([*old, *new]))
    put_on_record(store, Desk(), notes(400))
    first = await round_of(Desk(), registry, store)
    graph = create_orchestrator([Desk()], frontier, store=recorder, trust=trust)

    calm = await pass_through(graph, "desk", [text for text, _ in old])
    assert any(answer.certified for answer in calm)
    assert not any(change.action == "suspend" for change in registry.history("desk"))

    texts = [text for text, _ in new]
    shifted = await pass_through(graph, "desk", texts[:60], at_once=1)
    reasons = [answer.reason for answer in shifted]
    alarm = reasons.index(Reason.UNCERTIFIED)
    assert alarm < 50
    assert set(reasons[alarm:]) == {Reason.UNCERTIFIED}
    active = registry.active("desk")
    assert active is not None
    assert (active.id, active.is_suspended) == (first.in_traffic, True)

    short = await round_of(Desk(), registry, store)
    assert short.decision.verdict == "keep"
    assert "Not certifiable" in short.decision.reason
    await pass_through(graph, "desk", texts[60:-30])
    enough = await round_of(Desk(), registry, store)
    assert enough.decision.verdict == "promote"
    renewed = registry.active("desk")
    assert renewed is not None
    assert renewed.newest is not None
    assert renewed.newest.certificate.n <= 0.6 * (len(texts) - 30 - alarm)
    answers = await pass_through(graph, "desk", texts[-30:])
    own = [answer for answer in answers if answer.source == "student"]
    assert own
    assert all(answer.certified and answer.release == renewed.id for answer in own)
