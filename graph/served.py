"""Students behind the server that settings name: sub-agents bound to it, releases for it to serve.

Knows which students can be served. Starts no server, and promotes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from journeyman.agents.base import Agent
from journeyman.graph.settings import ServedSettings, Settings
from journeyman.models.errors import ConfigError, JourneymanError
from journeyman.models.release import STUDENT
from journeyman.models.serve import Wanted
from journeyman.models.served import ServedGenerator, Serving
from journeyman.models.served_http import Server
from journeyman.models.students.causal import ADAPTER_WEIGHTS
from journeyman.models.students.generator import Generator
from journeyman.models.students.generator_weights import read_facts
from journeyman.traces.registry import Registry, ReleaseEntry

AgentT = TypeVar("AgentT", bound=Agent[Any, Any])


def server_from(settings: ServedSettings) -> Server | None:
    """The configured server; None where no address is set.

    Raises:
        ConfigError: The address is none.
    """
    if settings.url is None:
        return None
    return Server(
        settings.url,
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
    """The sub-agents, those that write bound to the configured server; all as they are without one.

    Their trainers follow: rounds certify, and releases answer, by the server.

    Raises:
        ConfigError: The address is none.
    """
    server = server_from(settings.served)
    if server is None:
        return list(agents)
    serving = serving_from(settings)

    def bound(agent: AgentT) -> AgentT:
        if not isinstance(agent.student, Generator):
            return agent
        # A base without an adapter: an untaught student is what sub-agents are given.
        return agent.with_student(ServedGenerator(agent.student.rebound(None), server, serving))

    return [bound(agent) for agent in agents]


def wanted_from(registry: Registry) -> Callable[[], Mapping[str, Wanted]]:
    """What tells a keeper which releases to serve: every generator in traffic that was taught."""

    def wanted() -> dict[str, Wanted]:
        found: dict[str, Wanted] = {}
        for entry in generators_in_traffic(registry):
            folder = registry.load(entry.id).student
            if (folder / ADAPTER_WEIGHTS).is_file():
                found[entry.id] = Wanted(folder, read_facts(folder))
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
