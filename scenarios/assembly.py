"""The sub-agents that a suite needs, with their students, from its settings and data.

Knows how to build, not how to run: the runner puts them into a graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any

from journeyman.agents.base import Agent
from journeyman.agents.debugging import Debugging
from journeyman.agents.debugging_trainer import taught_ranker
from journeyman.agents.extraction import Extraction
from journeyman.agents.index import Index
from journeyman.agents.retrieval import Retrieval
from journeyman.agents.routing import Route, Routing, routes_of
from journeyman.agents.trainer import TrainingStep
from journeyman.graph.served import serve_students
from journeyman.graph.settings import Settings
from journeyman.models.catalog import cache_dir
from journeyman.models.errors import ConfigError
from journeyman.models.students.classifier import Classifier
from journeyman.models.students.embedder import Embedder
from journeyman.models.students.ranker import Ranker
from journeyman.models.students.tagger import Tagger
from journeyman.scenarios.corpora import read_corpus
from journeyman.scenarios.datasets import iter_scenarios, routes_in_use
from journeyman.scenarios.imports import load_name
from journeyman.scenarios.paths import expand
from journeyman.scenarios.schemas import extraction_schema
from journeyman.scenarios.spec import DebuggingSettings, RetrievalSettings, RoutingSettings
from journeyman.scenarios.suite import Suite

Progress = Callable[[int, int], None]
"""Told how many passages are embedded, or steps of teaching done, and how many there are."""


@dataclass(frozen=True)
class Staff:
    """The sub-agents of a suite.

    Attributes:
        agents: Those that answer tasks, by name. A suite about routing alone has the router here.
        router: The one that plans, where the suite leaves the choice to it.
    """

    agents: Mapping[str, Agent[Any, Any]]
    router: Routing | None = None

    @property
    def everyone(self) -> dict[str, Agent[Any, Any]]:
        """All of them by name, the router included."""
        return {**self.agents, **({self.router.name: self.router} if self.router else {})}

    def served(self, settings: Settings) -> Staff:
        """The same, with the students that a server can answer for behind the settings' server."""
        names = list(self.agents)
        served = serve_students([self.agents[name] for name in names], settings)
        return Staff(dict(zip(names, served, strict=True)), self.router)


def staff_for(
    suite: Suite,
    *,
    progress: Progress | None = None,
    teaching: Progress | None = None,
    cache: Path | None = None,
) -> Staff:
    """Build the sub-agents of a suite, each bound to an untaught student.

    Only a ranker of repairs may come taught, on correct programs that the suite names.

    Args:
        suite: A loaded suite.
        progress: Told of passages being embedded; the first time takes a while.
        teaching: Told of the ranker being taught; the first time takes minutes.
        cache: Where vectors are kept between runs; the user's cache folder by default.

    Raises:
        ConfigError: The suite's schema, corpus or labels cannot be used.
        WeightsError: The base model is missing.
    """
    own = {name: own_agent(suite, name) for name in suite.spec.agents.own}
    if set(suite.agents) <= set(own) and suite.spec.agent is not None:
        return Staff(own)  # no model of ours is needed
    embedder = Embedder()
    embedder.predict(["warm"])  # the first task should not wait for the model to load
    agents: dict[str, Agent[Any, Any]] = {}
    if "extraction" in suite.agents:
        schema = extraction_schema(suite)
        blank = Extraction(schema, Tagger())
        agents["extraction"] = Extraction(schema, Tagger(labels=blank.labels))
    if "retrieval" in suite.agents:
        folder = cache if cache is not None else cache_dir() / "embeddings"
        index = Index.build(read_corpus(suite), embedder, cache=folder, progress=progress)
        settings = suite.spec.agents.retrieval or RetrievalSettings()
        agents["retrieval"] = Retrieval(index, embedder, k=settings.k)
    if "debugging" in suite.agents:
        agents["debugging"] = repairer(suite, teaching=teaching)
    agents.update(own)
    if "routing" not in suite.agents and suite.spec.agent is not None:
        return Staff(agents)
    described = routes_in_use(suite)
    if described:
        return Staff({"routing": _label_router(suite, embedder, described)})
    return Staff(agents, _agent_router(embedder, agents))


def own_agent(suite: Suite, name: str) -> Agent[Any, Any]:
    """A sub-agent of the user's own, as the suite names it.

    Raises:
        ConfigError: There is no such name, it makes no `Agent`, or the agent has another name.
    """
    written = suite.spec.agents.own[name]
    at = ("agents", name, "use")
    try:
        made = load_name(written.use, suite.path.parent)
        if made is not None and not isinstance(made, Agent):
            made = made(**written.options)
    except ConfigError as error:
        raise suite.error(at, str(error)) from error
    except Exception as error:  # user code may raise anything
        told = shorten(f"{type(error).__name__}: {error}", 160, placeholder=" ...")
        raise suite.error(at, f"{written.use!r} could not make an agent ({told}).") from error
    if not isinstance(made, Agent):
        raise suite.error(
            at, f"{written.use!r} gives no Agent but {made!r:.60}; name an Agent or what makes one."
        )
    if made.name != name:
        raise suite.error(
            at, f"{written.use!r} gives an agent named {made.name!r}; write `agents.{made.name}`."
        )
    return made


def repairer(suite: Suite, *, teaching: Progress | None = None) -> Debugging:
    """The sub-agent that repairs, with the suite's budget, and a ranker if it names programs.

    Raises:
        ConfigError: The programs cannot be used.
        SandboxUnavailable: The ranker is to be taught and nothing here can run programs safely.
    """
    budget = suite.spec.agents.debugging or DebuggingSettings()
    agent = Debugging(
        Ranker(),
        budget_candidates=budget.candidates,
        budget_seconds=budget.seconds,
        look_past=budget.look_past,
    )
    if budget.programs is None:
        return agent

    def step(at: TrainingStep) -> None:
        if teaching is not None:
            teaching(at.done, at.total)

    (programs,) = expand(budget.programs, suite.path.parent)
    asked = (s.input for s in iter_scenarios(suite) if isinstance(s.input, dict))
    ranker = taught_ranker(
        programs,
        tested=[str(task["code"]) for task in asked if "code" in task],
        sandbox=lambda: agent.sandbox,
        on_step=step,
    )
    return agent.with_student(ranker)


def _label_router(suite: Suite, embedder: Embedder, described: Mapping[str, str]) -> Routing:
    settings = suite.spec.agents.routing or RoutingSettings()
    routes = [Route(name, text) for name, text in described.items()]
    # A label's description is its own name in words: the name again would count it twice.
    student = Classifier(embedder, dict(described), names=False)
    return Routing(routes, student, multiple=False, out_of_scope=settings.out_of_scope)


def _agent_router(embedder: Embedder, agents: Mapping[str, Agent[Any, Any]]) -> Routing:
    routes = routes_of(list(agents.values()))
    student = Classifier(embedder, {route.name: route.description for route in routes})
    return Routing(routes, student, agents=list(agents.values()))
