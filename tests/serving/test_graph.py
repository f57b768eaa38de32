"""A graph over a server: releases followed, faults escalated, and other precisions not trusted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from journeyman.models.served import ServedGenerator, Serving
from journeyman.models.served_http import Server
from journeyman.models.students.generator_weights import read_facts
from journeyman.models.types import Reason
from journeyman.traces.registry import Registry
from tests.serving.stand_in import StandIn
from tests.serving.writer import Writer, ask, like_of, promoted, serving_graph, written

TEXT = "a line"


@pytest.fixture
async def server(stand_in: StandIn) -> AsyncIterator[Server]:
    opened = Server(stand_in.url, timeout_s=5.0, max_tries=1)
    yield opened
    await opened.aclose()


async def test_a_release_certified_in_process_is_served_under_its_certificate(
    registry: Registry, server: Server, base: str, first: Path, second: Path
) -> None:
    one = promoted(registry, base, first)
    with serving_graph(registry, base, server) as graph:
        answer = await ask(graph, TEXT)
        assert (answer.certified, answer.release) == (True, one.id)
        assert answer.value == {"text": written(base, one, [TEXT])[TEXT]}
        other = promoted(registry, base, second)
        answer = await ask(graph, TEXT)
        assert (answer.certified, answer.release) == (True, other.id)
        assert answer.value == {"text": written(base, other, [TEXT])[TEXT]}


async def test_before_a_release_the_base_on_the_server_answers_and_is_trusted_with_nothing(
    registry: Registry, server: Server, stand_in: StandIn, base: str
) -> None:
    with serving_graph(registry, base, server) as graph:
        answer = await ask(graph, TEXT)
    assert (answer.source, answer.reason) == ("frontier", Reason.UNCERTIFIED)
    assert stand_in.bodies[-1]["model"] == base


async def test_a_release_is_not_trusted_at_another_precision(
    registry: Registry, server: Server, base: str, first: Path
) -> None:
    promoted(registry, base, first)
    with serving_graph(registry, base, server, Serving(dtype="bfloat16")) as graph:
        answer = await ask(graph, TEXT)
    assert (answer.source, answer.reason) == ("frontier", Reason.UNCERTIFIED)


@pytest.mark.parametrize("fault", ["not applied", "another release's", "drops", "hangs", "gone"])
async def test_a_fault_is_an_escalation_with_a_reason(
    registry: Registry,
    stand_in: StandIn,
    server: Server,
    base: str,
    first: Path,
    second: Path,
    fault: str,
) -> None:
    release = promoted(registry, base, first)
    _plant(fault, stand_in, release.id, second)
    serving = Serving(wait_seconds=0)
    with serving_graph(registry, base, server, serving) as graph:
        answer = await ask(graph, TEXT)
    assert (answer.source, answer.certified) == ("frontier", False)
    assert (answer.reason, answer.release) == (Reason.STUDENT_ERROR, release.id)


def _plant(fault: str, stand_in: StandIn, name: str, other: Path) -> None:
    if fault == "not applied":
        stand_in.applied[name] = None
    elif fault == "another release's":
        stand_in.adapters[name] = str(other)
    elif fault == "drops":
        stand_in.change = lambda reply: replace(reply, silent=True)
    elif fault == "hangs":
        stand_in.change = lambda reply: replace(reply, wait_s=30.0)
    else:
        stand_in.close()


def test_a_trainer_evaluates_by_the_server_that_will_answer(
    server: Server, base: str, first: Path, tmp_path: Path
) -> None:
    trainer = Writer(ServedGenerator(like_of(base), server)).trainer()
    candidate = trainer.load(first)
    assert isinstance(candidate, ServedGenerator)
    assert candidate.name.startswith("candidate@")
    assert candidate.predict([TEXT])[0].text == candidate.local.predict([TEXT])[0].text
    trainer.untrained([], tmp_path / "untaught")
    assert len(read_facts(tmp_path / "untaught").base_canary) == 2
    assert trainer.load(tmp_path / "untaught").predict([TEXT])
