"""Students behind the server that settings name: sub-agents bound to it, releases for it to serve.

Knows which students can be served. Starts no server, and promotes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from journeyman.agents.base import Agent
from journeyman.graph.settings import ServedSettings, Settings
from journeyman.models.catalog import Base
from journeyman.models.errors import ConfigError, JourneymanError, WeightsError
from journeyman.models.release import STUDENT
from journeyman.models.serve import Wanted
from journeyman.models.served import ServedGenerator, Serving
from journeyman.models.served_embedder import ServedEmbedder
from journeyman.models.served_http import Server
from journeyman.models.students.causal import ADAPTER_WEIGHTS
from journeyman.models.students.classifier import Classifier
from journeyman.models.students.embedder import Embedder
from journeyman.models.students.generator import Generator
from journeyman.models.students.generator_weights import read_facts
from journeyman.traces.registry import Registry, ReleaseEntry

logger = logging.getLogger("journeyman.serve")

AgentT = TypeVar("AgentT", bound=Agent[Any, Any])


def server_from(settings: ServedSettings) -> Server | None:
    """The server of generators; None where no address is set.

    Raises:
        ConfigError: The address is none.
    """
    return _server(settings, settings.url)


def embedder_server_from(settings: ServedSettings) -> Server | None:
    """The server of an embedder; None where no address is set.

    Raises:
        ConfigError: The address is none.
    """
    return _server(settings, settings.embedder_url)


def _server(settings: ServedSettings, url: str | None) -> Server | None:
    if url is None:
        return None
    return Server(
        url,
        api_key_env=settings.api_key_env,
        timeout_s=settings.timeout_seconds,
        max_concurrency=settings.max_concurrency,
    )


def serving_from(settings: Settings) -> Serving:
    """How the configured server serves."""
    served = settings.served
    return Serving(
        dtype=served.dtype,
        grammar=served.grammar,
        tolerance=served.tolerance,
        canary_seconds=served.canary_seconds,
        here=Path(settings.data_dir),
        there=None if served.data_dir is None else Path(served.data_dir),
    )


def serve_students(agents: Iterable[AgentT], settings: Settings) -> list[AgentT]:
    """The sub-agents, bound to the configured servers; all as they are without any.

    Generators are asked at `served.url`, untaught embedders (a search's, a router's) at
    `served.embedder_url`. Generators' trainers follow: rounds certify, and releases answer, by the
    server. A taught query tower has weights of its own, and embeds in process.

    Raises:
        ConfigError: An address is none.
    """
    server = server_from(settings.served)
    embedding = embedder_server_from(settings.served)
    serving = serving_from(settings)

    def embedded(own: Embedder) -> Embedder:
        if embedding is None or own.taught or isinstance(own, ServedEmbedder):
            return own
        return ServedEmbedder(own, embedding, name=own.base.name, serving=serving)

    def bound(agent: AgentT) -> AgentT:
        own = agent.student
        if server is not None and isinstance(own, Generator):
            # A base without an adapter: an untaught student is what sub-agents are given.
            return agent.with_student(ServedGenerator(own.rebound(None), server, serving))
        if embedding is not None and isinstance(own, Embedder):
            return agent.with_student(embedded(own))
        if embedding is not None and isinstance(own, Classifier):
            return agent.with_student(own.with_embedder(embedded(own.embedder)))
        return agent

    return [bound(agent) for agent in agents]


def prove_embedder(settings: Settings, base: Base, url: str) -> Callable[[], Awaitable[None]]:
    """What proves a server of an embedder: its vectors are those of the one in process."""
    served = settings.served.model_copy(update={"url": url})
    server = server_from(served)
    assert server is not None, "it has an address"
    serving = replace(serving_from(settings), canary_seconds=0.0)  # whenever it is asked
    return ServedEmbedder(Embedder(base), server, name=base.name, serving=serving).prove


def wanted_from(registry: Registry) -> Callable[[], Mapping[str, Wanted]]:
    """What tells a keeper which releases to serve: every generator in traffic that was taught."""

    def wanted() -> dict[str, Wanted]:
        found: dict[str, Wanted] = {}
        for entry in generators_in_traffic(registry):
            try:
                folder = registry.load(entry.id).student
                if (folder / ADAPTER_WEIGHTS).is_file():
                    found[entry.id] = Wanted(folder, read_facts(folder))
            except WeightsError as error:  # damaged: the others are served all the same
                logger.error("release %r is not served: %s", entry.id, error)  # noqa: TRY400  # it says all
        return found

    return _unless_unchanged(registry, wanted)


def generators_in_traffic(registry: Registry) -> list[ReleaseEntry]:
    """The releases in traffic whose students are generators.

    Raises:
        TraceError: The store cannot be read.
    """
    return [
        entry
        for entry in registry.releases()
        if entry.status == "active" and entry.student_kind == "generator"
    ]


def base_in_traffic(registry: Registry, data: Path) -> str:
    """The one base that all generators in traffic were taught on.

    Raises:
        ConfigError: There is none, or more than one.
        TraceError: The store cannot be read.
    """
    bases = set()
    for entry in generators_in_traffic(registry):
        agent, _, digits = entry.id.partition("@")
        bases.add(read_facts(data / "releases" / agent / digits / STUDENT).base)
    if len(bases) != 1:
        named = ", ".join(sorted(bases)) or "no generator is in traffic yet"
        raise ConfigError(
            f"One server serves one base, and it is not clear which ({named}): set serve.base, or "
            f"pass --base.",
            key="serve.base",
        )
    return bases.pop()


def _unless_unchanged(
    registry: Registry, look: Callable[[], dict[str, Wanted]]
) -> Callable[[], Mapping[str, Wanted]]:
    """Look only where something was promoted: hashing every file takes its time."""
    known: dict[str, Wanted] = {}
    versions: Mapping[str, int] | None = None

    def wanted() -> Mapping[str, Wanted]:
        nonlocal known, versions
        now = registry.versions()
        if now != versions:
            try:
                known = look()
            except JourneymanError:
                versions = None
                raise
            versions = now
        return known

    return wanted
