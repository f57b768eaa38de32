"""The sub-agent of a batch, as a word that every process can build it from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any

from journeyman.agents.base import Agent
from journeyman.graph.settings import Settings
from journeyman.models.errors import ConfigError, UnknownAgent
from journeyman.scenarios.assembly import staff_for
from journeyman.scenarios.imports import load_name
from journeyman.scenarios.paths import find_suite
from journeyman.scenarios.suite import load_suite


@dataclass(frozen=True)
class AgentSource:
    """Which sub-agent answers.

    Attributes:
        agent: Its name in the suite; or `module:attribute` or `file.py:attribute`, an `Agent` or
            what makes one.
        suite: Whose sub-agent it is; not for one that is named by its module.
        folder: What `file.py` is relative to.
    """

    agent: str
    suite: str | None = None
    folder: Path = Path()

    def build(self, settings: Settings) -> Agent[Any, Any]:
        """The sub-agent, with its student.

        Raises:
            ConfigError: It cannot be built as written.
            UnknownAgent: The suite has none of this name.
        """
        if ":" in self.agent:
            if self.suite is not None:
                raise ConfigError(f"Agent {self.agent!r} needs no suite; leave --suite out.")
            return self._written(settings)
        suite = self.suite or "desk"
        staff = staff_for(load_suite(find_suite(suite))).served(settings)
        found = staff.everyone.get(self.agent)
        if found is None:
            known = ", ".join(sorted(staff.everyone))
            raise UnknownAgent(f"No agent is named {self.agent!r}; suite {suite!r} has {known}.")
        return found

    def _written(self, settings: Settings) -> Agent[Any, Any]:
        made = load_name(self.agent, self.folder)
        if made is not None and not isinstance(made, Agent):
            try:
                made = made()
            except Exception as error:  # user code may raise anything
                told = shorten(f"{type(error).__name__}: {error}", 160, placeholder=" ...")
                raise ConfigError(f"{self.agent!r} could not make an agent ({told}).") from error
        if not isinstance(made, Agent):
            raise ConfigError(
                f"{self.agent!r} gives no Agent but {made!r:.60}; name an Agent or what makes one."
            )
        from journeyman.graph.served import serve_students

        return serve_students([made], settings)[0]


def takes(agent: Agent[Any, Any], column: str) -> bool:
    """Has the sub-agent's task a field of this name?"""
    fields = agent.input_type.model_fields
    return column in fields or any(field.alias == column for field in fields.values())
