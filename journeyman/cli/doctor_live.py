"""What the doctor tries only when asked: a student, the releases in traffic, one frontier call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from journeyman.cli.console import money
from journeyman.cli.doctor_frontier import has_key
from journeyman.cli.finding import Finding

if TYPE_CHECKING:
    from journeyman.graph.settings import Settings
    from journeyman.models.types import FrontierReply


def try_models(settings: Settings, store: str) -> Iterator[Finding]:
    """Load a base student, check the releases in traffic, and ask the frontier for one word."""
    yield _student()
    yield from _releases(settings, store)
    if settings.served.url is not None:
        yield _served(settings)
    if settings.frontier.model is not None and has_key(settings.frontier):
        yield _answer(settings)


def _student() -> Finding:
    from journeyman.models.errors import JourneymanError

    started = time.perf_counter()
    try:
        from journeyman.models.students.embedder import Embedder

        Embedder().predict(["one sentence"])
    except (ImportError, JourneymanError) as error:
        return Finding("live student", "wrong", str(error), "pip install 'journeyman[local]'")
    seconds = time.perf_counter() - started
    return Finding("live student", "ok", f"loaded and embedded a sentence in {seconds:.1f} s")


def _releases(settings: Settings, store: str) -> Iterator[Finding]:
    from journeyman.models.errors import JourneymanError
    from journeyman.traces.registry import Registry
    from journeyman.traces.store import Store

    if "://" not in store and not Path(store).exists():
        return
    try:
        with Store.open(store, create=False, read_only=True) as opened:
            registry = Registry(opened, Path(settings.data_dir))
            for entry in registry.releases():
                if entry.status != "active":
                    continue
                name = f"live {entry.id}"
                try:
                    registry.load(entry.id)
                    yield Finding(name, "ok", "in traffic, every file matches its digest")
                except JourneymanError as error:
                    mend = f"journeyman releases rollback {entry.agent}"
                    yield Finding(name, "wrong", str(error), mend)
    except JourneymanError as error:
        yield Finding("live releases", "wrong", str(error), "journeyman doctor")


def _served(settings: Settings) -> Finding:
    from journeyman.graph.served import server_from
    from journeyman.models.served_http import run_blocking
    from journeyman.models.served_probe import probe

    server = server_from(settings.served)
    assert server is not None, "the caller saw an address"
    found = run_blocking(lambda: probe(server))
    missing = found.missing()
    if missing is not None:
        return Finding("live server", "wrong", missing, "journeyman serve")
    served = f"{found.engine} serves {', '.join(found.models)}"
    return Finding("live server", "ok", f"{served}; it gives all that students need")


def _answer(settings: Settings) -> Finding:
    from journeyman.models.errors import JourneymanError

    try:
        reply = asyncio.run(_ask(settings))
    except JourneymanError as error:
        frontier = settings.frontier
        mend = f"check base_url, model and ${frontier.api_key_env}"
        return Finding("live frontier", "wrong", str(error), mend)
    cost = money(reply.cost_microusd)
    tokens = reply.usage.input_tokens + reply.usage.output_tokens
    return Finding(
        "live frontier",
        "ok",
        f"{reply.model} answered in {reply.latency_ms:.0f} ms, {tokens} tokens, cost {cost}",
    )


async def _ask(settings: Settings) -> FrontierReply:
    from journeyman.graph.clients import frontier_from
    from journeyman.models.types import FrontierRequest

    frontier = frontier_from(settings, None)
    assert frontier is not None, "the caller saw a model named"
    schema = {
        "type": "object",
        "properties": {"word": {"type": "string"}},
        "required": ["word"],
        "additionalProperties": False,
    }
    message = {"role": "user", "content": 'Answer with the JSON object {"word": "ready"}.'}
    request = FrontierRequest((message,), schema, "readiness", max_output_tokens=64)
    async with frontier:
        return await frontier.complete(request, run_id="doctor")
