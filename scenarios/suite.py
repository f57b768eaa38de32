"""Reads a suite file, with every mistake named by file and line.

A suite names a sub-agent (or leaves the choice to the router), settings for the sub-agents it
needs, scenarios written out, and data sets by file and format. The format is `spec`; the rows
behind the paths are `datasets`, judging is `metrics`, running is the runner.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from journeyman.models.errors import ConfigError
from journeyman.scenarios.contradictions import contradictions
from journeyman.scenarios.findings import shape_error
from journeyman.scenarios.inline import inline_scenarios
from journeyman.scenarios.marked import Document, Loc, read_yaml
from journeyman.scenarios.paths import expand
from journeyman.scenarios.spec import (
    AGENTS,
    FORMAT_AGENTS,
    METRIC_AGENT,
    AgentName,
    MetricName,
    SuiteSpec,
)

_DEFAULT_METRIC: Mapping[AgentName, MetricName] = {
    "extraction": "field_f1",
    "retrieval": "mrr",
    "routing": "accuracy",
    "debugging": "tests_passed",
}


@dataclass(frozen=True)
class Suite:
    """A suite that was read: its content, where it came from, and the line of everything in it."""

    path: Path
    spec: SuiteSpec
    document: Document

    @property
    def name(self) -> str:
        """The suite's own name."""
        return self.spec.suite

    @property
    def agents(self) -> tuple[AgentName, ...]:
        """The sub-agents this suite needs, in a fixed order; routing only where it is tested."""
        spec = self.spec
        named = {spec.agent, *(scenario.agent for scenario in spec.scenarios)}
        if spec.agent is None:
            named |= {agent for data in spec.data for agent in FORMAT_AGENTS[data.format]} - {
                "routing"
            }
        named |= {agent for agent in AGENTS if getattr(spec.agents, agent) is not None}
        return tuple(agent for agent in AGENTS if agent in named)

    def metric_for(self, agent: AgentName) -> MetricName:
        """The metric that judges a sub-agent here: the suite's choice, else the format's own."""
        chosen = self.spec.metric
        if isinstance(chosen, dict) and agent in chosen:
            return chosen[agent]
        if isinstance(chosen, str) and METRIC_AGENT[chosen] == agent:
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
    path = Path(path)
    document = read_yaml(path)
    if not isinstance(document.data, dict):
        raise document.error((), "A suite is a mapping; begin with `version: 1` and `suite: NAME`.")
    try:
        spec = SuiteSpec.model_validate(document.data)
    except ValidationError as error:
        raise shape_error(document, error) from error
    for loc, message in contradictions(spec):
        raise document.error(loc, message)
    for _ in inline_scenarios(spec, document.error):
        pass  # reading them is the check
    return Suite(path, spec, document)
