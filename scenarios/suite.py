"""Reads a suite file, with every mistake named by file and line.

A suite names a sub-agent (or leaves the choice to the router), settings for the sub-agents it
needs, scenarios written out, and data sets by file and format. The format is `spec`; the rows
behind the paths are `datasets`, judging is `metrics`, running is the runner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from journeyman.models.errors import ConfigError
from journeyman.scenarios.assertions import read_assertion, read_assertions
from journeyman.scenarios.contradictions import contradictions
from journeyman.scenarios.findings import Mistakes
from journeyman.scenarios.inline import default_assertions, inline_scenario, inline_scenarios
from journeyman.scenarios.marked import Document, Loc, read_yaml
from journeyman.scenarios.paths import expand
from journeyman.scenarios.registry import Registry
from journeyman.scenarios.scenario import Assertion, Scenario
from journeyman.scenarios.sources import Source, sources_of
from journeyman.scenarios.spec import (
    AGENTS,
    FORMAT_AGENTS,
    METRIC_AGENT,
    AgentName,
    InlineScenario,
    MetricName,
    SuiteSpec,
    WrittenAssertion,
)

_DEFAULT_METRIC: Mapping[AgentName, MetricName] = {
    "extraction": "field_f1",
    "retrieval": "mrr",
    "routing": "accuracy",
    "debugging": "tests_passed",
}


@dataclass(frozen=True)
class Suite:
    """A suite that was read: its content, where it came from, and the line of everything in it.

    Attributes:
        path: Its file.
        spec: What the file says.
        document: The file with its lines.
        sources: The files that its scenarios are written in, the suite first.
        registry: The evaluators that its assertions may name.
    """

    path: Path
    spec: SuiteSpec
    document: Document
    sources: tuple[Source, ...]
    registry: Registry = field(repr=False, compare=False)

    @property
    def name(self) -> str:
        """The suite's own name."""
        return self.spec.suite

    @property
    def agents(self) -> tuple[str, ...]:
        """The sub-agents this suite needs, in a fixed order; routing only where it is tested."""
        spec = self.spec
        named: set[str | None] = {spec.agent, *(one.agent for one in self.written)}
        if spec.agent is None:
            named |= {agent for data in spec.data for agent in FORMAT_AGENTS[data.format]} - {
                "routing"
            }
        named |= {agent for agent in AGENTS if getattr(spec.agents, agent) is not None}
        return (*(agent for agent in AGENTS if agent in named), *spec.agents.own)

    @property
    def written(self) -> tuple[InlineScenario, ...]:
        """All scenarios written out, in whatever file."""
        return tuple(one for source in self.sources for one in source.scenarios)

    def inline_scenarios(self) -> Iterator[Scenario]:
        """The scenarios written out, in order.

        Raises:
            ConfigError: One is not as it should be; never for a suite that `load_suite` gave, as
                long as the files of its inputs stay the same.
        """
        return inline_scenarios(self.spec, self.sources, self.registry)

    def data_assertions(self, position: int) -> tuple[Assertion, ...]:
        """What must hold of the rows of a data set, the suite's defaults first.

        Raises:
            ConfigError: An assertion cannot be used.
        """
        written, at = self.spec.data[position].assertions, ("data", position, "assert")
        defaults = default_assertions(self.spec, self.sources[0], self.registry)
        return (*defaults, *read_assertions(written, at, self.document, self.registry))

    def metric_for(self, agent: str) -> MetricName:
        """The metric that judges a sub-agent here: the suite's choice, else the format's own."""
        chosen = self.spec.metric
        if agent not in AGENTS:
            return "agreement"
        if isinstance(chosen, dict) and agent in chosen:
            return chosen[agent]
        if isinstance(chosen, str) and METRIC_AGENT.get(chosen) == agent:
            return chosen
        if agent == "extraction" and any(
            data.format in ("bio", "spans") for data in self.spec.data
        ):
            return "slot_f1"
        return _DEFAULT_METRIC[agent]

    def paths(self, loc: Loc, written: str) -> tuple[Path, ...]:
        """The files that a path in the suite stands for, patterns unfolded and sorted.

        Args:
            loc: Where the path stands, for the error.
            written: The path as written: relative to the suite, or with `${NAME}` in it.

        Raises:
            ConfigError: A variable is not set, or there is no such file.
        """
        try:
            return expand(written, self.path.parent)
        except ConfigError as error:
            raise self.error(loc, str(error)) from error

    def error(self, loc: Loc, message: str) -> ConfigError:
        """A ConfigError that says `file:line: message`."""
        return self.document.error(loc, message)


def load_suite(path: Path | str) -> Suite:
    """Read and check a suite file. The data files it names are opened only when they are used.

    Raises:
        ConfigError: One sentence with file and line: what is wrong and what to do.
    """
    document, spec = read_spec(Path(path))
    if isinstance(spec, Mistakes):
        raise spec.first()
    suite = assemble(document, spec)
    for problem in problems_of(suite):
        raise problem
    return suite


def read_spec(path: Path) -> tuple[Document, SuiteSpec | Mistakes]:
    """What a suite file says, or what is wrong with its shape.

    Raises:
        ConfigError: The file cannot be read, or is no mapping in YAML.
    """
    document = read_yaml(path)
    if not isinstance(document.data, dict):
        raise document.error((), "A suite is a mapping; begin with `version: 1` and `suite: NAME`.")
    try:
        return document, SuiteSpec.model_validate(document.data)
    except ValidationError as error:
        return document, Mistakes(document, error)


def assemble(document: Document, spec: SuiteSpec) -> Suite:
    """A suite with the files it includes, without a look at how its parts fit together.

    Raises:
        ConfigError: An included file is not there, or has a wrong shape.
    """
    sources = tuple(sources_of(spec, document))
    return Suite(document.path, spec, document, sources, Registry(spec.evaluators, document))


def problems_of(suite: Suite) -> Iterator[ConfigError]:
    """What is wrong with a suite whose files have the right shape, one mistake after the other."""
    for loc, message in contradictions(suite.spec, suite.written):
        yield suite.error(loc, message)
    yield from _repeated_ids(suite.sources)
    spec, registry = suite.spec, suite.registry
    if spec.evaluators:
        try:
            _ = registry.types
        except ConfigError as error:
            yield error
            return  # without the evaluators every assertion would be one more mistake
    for document, loc, written in _sites(suite):
        yield from _raised(partial(_check_assertion, suite, document, loc, written))
    for source in suite.sources:
        for position in range(len(source.scenarios)):
            yield from _raised(partial(inline_scenario, spec, source, position, registry))


def _sites(suite: Suite) -> Iterator[tuple[Document, Loc, WrittenAssertion]]:
    """Every assertion that is written, with its file and place."""
    lists: list[tuple[Document, Loc, Sequence[WrittenAssertion]]] = [
        (suite.document, ("defaults", "assert"), suite.spec.defaults.assertions)
    ]
    for position, data in enumerate(suite.spec.data):
        lists.append((suite.document, ("data", position, "assert"), data.assertions))
    for source in suite.sources:
        for position, scenario in enumerate(source.scenarios):
            at: Loc = ("scenarios", position)
            lists.append((source.document, (*at, "assert"), scenario.assertions))
            for number, turn in enumerate(scenario.turns or ()):
                place = (*at, "turns", number, "assert")
                lists.append((source.document, place, turn.assertions))
    for document, loc, written in lists:
        yield from ((document, (*loc, number), one) for number, one in enumerate(written))


def _check_assertion(suite: Suite, document: Document, at: Loc, written: WrittenAssertion) -> None:
    """Read an assertion, and see that the sub-agents it names are the suite's."""
    assertion = read_assertion(written, at, document, suite.registry)
    agent = getattr(assertion.evaluator, "agent", None)
    named = [agent] if isinstance(agent, str) else []
    known: set[str] = {*suite.agents, "routing"}
    routed = getattr(assertion.evaluator, "agents", None)
    routing = suite.spec.agents.routing
    if assertion.type == "RoutedTo" and routed and (routing is None or routing.routes != "labels"):
        named = [routed] if isinstance(routed, str) else list(routed)
        if routing is not None and isinstance(routing.routes, dict):
            known = set(routing.routes)
    for name in named:
        if name not in known:
            raise document.error(
                at,
                f"{assertion.type} names {name!r}, which is not part of this suite; choose of "
                f"{', '.join(sorted(known))}.",
            )


def _raised(read: Callable[[], object]) -> Iterator[ConfigError]:
    """What reading a part raises; reading it is the check."""
    try:
        read()
    except ConfigError as error:
        yield error


def _repeated_ids(sources: Sequence[Source]) -> Iterator[ConfigError]:
    first: dict[str, str] = {}
    for source in sources:
        for position, scenario in enumerate(source.scenarios):
            place = f"{source.document.path.name}:{source.document.line(('scenarios', position))}"
            if scenario.id in first:
                yield source.document.error(
                    ("scenarios", position, "id"),
                    f"Scenario id {scenario.id!r} is used twice (first at {first[scenario.id]}); "
                    "give each scenario an id of its own.",
                )
            first.setdefault(scenario.id, place)
