"""Students behind a real vLLM on the CPU: the same answers, no wrong release, no fault unnoticed.

One server for the whole module, ended and started again in the last test. The order counts.
"""

from __future__ import annotations

import asyncio
import math
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from journeyman.agents.routing import Route, Routing
from journeyman.graph.served import prove_embedder, serve_students, wanted_from
from journeyman.graph.settings import Settings
from journeyman.models.catalog import resolve
from journeyman.models.release import Release
from journeyman.models.serve import Keeper, Pace
from journeyman.models.serve_process import Launch, ServerProcess
from journeyman.models.served import ServedGenerator, Serving
from journeyman.models.served_canary import TOLERANCES, load_adapter, unload_adapter
from journeyman.models.served_http import Server, run_blocking
from journeyman.models.served_probe import probe
from journeyman.models.students.classifier import Classifier
from journeyman.models.students.embedder import Embedder
from journeyman.models.students.generator_weights import open_generator, read_facts
from journeyman.models.types import Answer, Reason
from journeyman.traces.registry import Registry
from journeyman.traces.store import Store
from tests.serving.keeping import Kept
from tests.serving.writer import Line, Writer, ask, like_of, promoted, serving_graph, written
from tests.stores import store_at

PYTHON = Path(__file__).parents[2] / ".venv-vllm" / "bin" / "python"
TEXTS = [f"{'{' if i % 4 == 0 else ''}line {i}" for i in range(32)]
START_SECONDS = 400.0

pytestmark = [pytest.mark.slow, pytest.mark.vllm]


@dataclass
class Shop:
    """A server, what is in traffic, and who keeps it."""

    base: str
    kept: Kept
    process: ServerProcess
    registry: Registry
    first: Release
    second: Release | None = None

    @property
    def url(self) -> str:
        return self.process.launch.url

    def server(self, timeout_s: float = 120.0) -> Server:
        return Server(self.url, timeout_s=timeout_s)


def _python() -> Path:
    python = Path(os.environ.get("JOURNEYMAN_VLLM_PYTHON", PYTHON))
    if (python.parents[1] / ".installed").exists():
        return python
    missing = "vLLM is not installed: run `make vllm`."
    if os.environ.get("JOURNEYMAN_REQUIRE_VLLM"):
        pytest.fail(missing)
    pytest.skip(missing)


def _free_port() -> int:
    with socket.socket() as probed:
        probed.bind(("127.0.0.1", 0))
        port: int = probed.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def shop(
    base: str, first: Path, any_store: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    python = _python()
    folder = tmp_path_factory.mktemp("shop")
    launch = Launch(
        base=resolve(base),
        python=python,
        port=_free_port(),
        max_loras=4,
        cpu_cache_gb=1,
        arguments=("--enforce-eager",),
    )
    kept, process = Kept(), ServerProcess(launch, folder / "serve.log")
    with Store.open(store_at(folder / "traces.db")) as store:
        registry = Registry(store, folder / "data")
        release = promoted(registry, base, first)
        kept.keeper = Keeper(
            process,
            wanted_from(registry),
            tell=kept.events.append,
            tolerance=TOLERANCES["float32"],
            pace=Pace(health=1.0, canary=5.0, hang=60.0, drain=3.0, retry=2.0),
        )
        with kept:
            kept.wait_for("ready", seconds=START_SECONDS)
            kept.wait_for("serving", release.id, seconds=120)
            yield Shop(base, kept, process, registry, release)
        assert not process.is_running


def _served(shop: Shop, release: Release) -> ServedGenerator:
    local = open_generator(release.student, like=like_of(shop.base))
    return ServedGenerator(local, shop.server(), folder=release.student)


def test_the_server_can_do_all_that_is_needed(shop: Shop) -> None:
    found = run_blocking(lambda: probe(shop.server(), shop.first.id))
    assert found.missing() is None, found
    assert found.engine == "vllm 0.32.0"


def test_log_probabilities_are_the_trainers_and_not_the_bases(shop: Shop, second: Path) -> None:
    """Measured: 5e-5 nats off, summed over a fixed text; 0.01 are allowed."""
    found = {}
    for folder in (shop.first.student, second):
        facts = read_facts(folder)
        local = open_generator(folder, like=like_of(shop.base))
        student = ServedGenerator(local, shop.server(), folder=folder)
        run_blocking(student.prove)
        found[folder] = canary = student.canary()
        assert canary == pytest.approx(facts.canary, abs=TOLERANCES["float32"])
        assert max(abs(a - b) for a, b in zip(canary, facts.base_canary, strict=True)) > 1.0
    one, other = found.values()
    assert max(abs(a - b) for a, b in zip(one, other, strict=True)) > 1.0
    base = ServedGenerator(like_of(shop.base), shop.server()).canary()
    assert base == pytest.approx(read_facts(second).base_canary, abs=TOLERANCES["float32"])


def test_answers_and_evidence_are_those_in_process(shop: Shop) -> None:
    student = _served(shop, shop.first)
    items = [Writer(student.local).render(Line(text=text)) for text in TEXTS[:8]]
    for there, here in zip(student.predict(items), student.local.predict(items), strict=True):
        assert (there.text, there.token_ids, there.starts, there.finished) == (
            here.text,
            here.token_ids,
            here.starts,
            here.finished,
        )
        assert there.log_probabilities == pytest.approx(here.log_probabilities, abs=1e-3)


async def _answers(shop: Shop, server: Server, meanwhile: Callable[[], None]) -> list[Answer]:
    with serving_graph(shop.registry, shop.base, server) as graph:
        before = [asyncio.create_task(ask(graph, text)) for text in TEXTS]
        await asyncio.sleep(0.5)
        await asyncio.to_thread(meanwhile)
        after = [asyncio.create_task(ask(graph, text)) for text in TEXTS]
        answers = list(await asyncio.gather(*before, *after))
    await server.aclose()
    return answers


async def test_a_promotion_with_32_in_flight_loses_none_and_mixes_none(
    shop: Shop, second: Path
) -> None:
    def promote() -> None:
        shop.second = promoted(shop.registry, shop.base, second)

    answers = await _answers(shop, shop.server(), promote)
    assert shop.second is not None
    own = {each.id: written(shop.base, each, TEXTS) for each in (shop.first, shop.second)}
    assert {answer.release for answer in answers} == own.keys()
    for text, answer in zip(TEXTS * 2, answers, strict=True):
        assert (answer.source, answer.certified, answer.reason) == ("student", True, None)
        assert answer.value == {"text": own[answer.release][text]}
    shop.kept.wait_for("serving", shop.second.id, seconds=60)
    shop.kept.wait_for("unloaded", shop.first.id, seconds=60)


async def _escalated(shop: Shop, *, timeout_s: float = 120.0) -> list[Answer]:
    """Answers while something is wrong: all by the frontier, for the student's error."""
    server = shop.server(timeout_s)
    with serving_graph(shop.registry, shop.base, server, Serving(wait_seconds=0)) as graph:
        answers = list(await asyncio.gather(*(ask(graph, text) for text in TEXTS[:4])))
    await server.aclose()
    for answer in answers:
        assert (answer.source, answer.certified) == ("frontier", False)
        assert answer.reason == Reason.STUDENT_ERROR
    return answers


@pytest.mark.parametrize("fault", ["not applied", "another release's"])
async def test_the_wrong_weights_under_a_releases_name_answer_nothing(
    shop: Shop, fault: str, idle: Path, first: Path
) -> None:
    assert shop.second is not None
    name, server = shop.second.id, shop.server()
    with serving_graph(shop.registry, shop.base, server) as graph:
        assert (await ask(graph, TEXTS[1])).certified
        num_refused = len(shop.kept.told("refused", name))
        num_served = len(shop.kept.told("serving", name))
        await unload_adapter(server, name)
        planted = idle if fault == "not applied" else first
        reply = await load_adapter(server, name, str(planted))
        assert not reply.is_refusal, reply.said
        answer = await ask(graph, TEXTS[2])  # a running graph, whose proof is fresh
        assert (answer.source, answer.reason) == ("frontier", Reason.STUDENT_ERROR)
        await _escalated(shop)  # and one that begins
        refused = await asyncio.to_thread(
            shop.kept.wait_for, "refused", name, times=num_refused + 1, seconds=60
        )
        assert ("without its adapter" if fault == "not applied" else "other weights") in (
            refused.detail
        )
        await asyncio.to_thread(
            shop.kept.wait_for, "serving", name, times=num_served + 1, seconds=60
        )
        await _until_certified(lambda: ask(graph, TEXTS[3]), seconds=60)
        answer = await ask(graph, TEXTS[5])
        assert answer.value == {"text": written(shop.base, shop.second, [TEXTS[5]])[TEXTS[5]]}
    await server.aclose()


async def test_a_server_that_hangs_is_escalated_around(shop: Shop) -> None:
    assert shop.process.pid is not None
    os.killpg(shop.process.pid, signal.SIGSTOP)
    try:
        await _escalated(shop, timeout_s=2.0)
    finally:
        os.killpg(shop.process.pid, signal.SIGCONT)
    server = shop.server()
    with serving_graph(shop.registry, shop.base, server) as graph:
        await _until_certified(lambda: ask(graph, TEXTS[0]), seconds=60)
    await server.aclose()


async def test_a_server_that_is_killed_is_escalated_around_and_started_again(shop: Shop) -> None:
    assert shop.process.pid is not None
    assert shop.second is not None
    server = shop.server()
    with serving_graph(shop.registry, shop.base, server) as graph:
        assert (await ask(graph, TEXTS[0])).certified
        flying = [asyncio.create_task(ask(graph, text)) for text in TEXTS]
        await asyncio.sleep(0.2)
        os.killpg(shop.process.pid, signal.SIGKILL)
        for answer in await asyncio.gather(*flying):
            student = answer.source == "student" and answer.certified
            assert student or answer.reason == Reason.STUDENT_ERROR
        await _escalated(shop)
        num_served = len(shop.kept.told("serving", shop.second.id))
        await asyncio.to_thread(
            shop.kept.wait_for,
            "serving",
            shop.second.id,
            times=num_served + 1,
            seconds=START_SECONDS,
        )
        await _until_certified(lambda: ask(graph, TEXTS[0]), seconds=60)
    await server.aclose()
    assert shop.kept.told("restarting")


async def _until_certified(asked: Callable[[], object], *, seconds: float) -> None:
    """The student answers again before long, and until then nothing is certified."""
    deadline = time.monotonic() + seconds
    wait = 0.5
    while True:
        answer = await asked()  # type: ignore[misc]
        if answer.certified:
            return
        assert answer.reason == Reason.STUDENT_ERROR
        assert time.monotonic() < deadline
        await asyncio.sleep(wait)
        wait = math.ceil(2 * wait)


def test_an_embedder_behind_the_pooling_api_is_the_one_in_process(tmp_path: Path) -> None:
    local = Embedder(device="cpu")
    launch = Launch(
        base=local.base, python=_python(), port=_free_port(), runner="pooling", cpu_cache_gb=1
    )
    settings = Settings()
    settings.served.embedder_url = launch.url
    kept, process = Kept(), ServerProcess(launch, tmp_path / "serve.log")
    kept.keeper = Keeper(
        process,
        dict,
        tell=kept.events.append,
        tolerance=TOLERANCES["float32"],
        prove=prove_embedder(settings, launch.base, launch.url),
    )
    queries = ["How do I cancel an order?", "long " * 1000, "", "Ünïcode \N{SNOWMAN}"]
    router = Routing(
        [Route("orders", "Orders and returns"), Route("code", "Python functions")],
        Classifier(local, {"orders": "Orders and returns", "code": "Python functions"}),
    )
    with kept:
        kept.wait_for("serving", local.base.name, seconds=START_SECONDS)
        [served] = serve_students([router], settings)
        assert served.release == router.release
        assert isinstance(served.student, Classifier)
        vectors = served.student.embedder.predict(queries)
        np.testing.assert_allclose(vectors, local.predict(queries), atol=1e-5)
        for found, known in zip(
            served.student.predict(queries), router.student.predict(queries), strict=True
        ):
            assert found.decided == known.decided
    assert not process.is_running
