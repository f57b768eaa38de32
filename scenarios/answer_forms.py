"""The form of each sub-agent's answers, for answers that a person wrote.

Knows types and schemas, and loads no model: a reviewer should not wait for one. What a form cannot
say (whether a patch passes, whether a passage is in the index) it does not check.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from journeyman.agents.extraction import Extraction
from journeyman.agents.patches import Patch
from journeyman.agents.record import Record
from journeyman.agents.retrieval import Ranking
from journeyman.agents.routing import Plan
from journeyman.models.errors import ConfigError
from journeyman.models.students.tagger import Tagger
from journeyman.scenarios.datasets import routes_in_use
from journeyman.scenarios.schemas import extraction_schema
from journeyman.scenarios.suite import Suite

_TYPES: Mapping[str, type[BaseModel]] = {
    "extraction": Record,
    "retrieval": Ranking,
    "routing": Plan,
    "debugging": Patch,
}


@dataclass(frozen=True)
class AnswerForm:
    """What an answer of one sub-agent has to look like.

    Attributes:
        agent: Name of the sub-agent.
        type: Of its answers.
        extraction: Knows the schema, where the suite says which; None otherwise.
        routes: Names that a plan may use; empty where any may.
    """

    agent: str
    type: type[BaseModel]
    extraction: Extraction | None = None
    routes: frozenset[str] = frozenset()

    def fits(self, answer: Any) -> bool:
        """Whether a recorded answer has this form, so that it is that sub-agent's indeed."""
        try:
            self._read(answer)
        except ValidationError:
            return False
        return True

    def read(self, answer: Any, *, beside: Any = None) -> dict[str, Any]:
        """A person's answer as the sub-agent would give it, JSON-compatible.

        A record may be given by its values alone. Where a person changed values, the places in the
        text that the answer beside it had are left out: they are looked for anew when it teaches.

        Args:
            answer: What the person wrote.
            beside: The answer that they started from, if any.

        Raises:
            ConfigError: It does not fit; the message says where.
        """
        if self.type is Record and isinstance(answer, dict) and not answer.keys() & _RECORD_KEYS:
            answer = {"values": answer}
        try:
            read = self._read(answer)
            if isinstance(read, Record):
                read = self._without_stale_places(read, beside)
                self._check_schema(read)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the answer"
            raise ConfigError(
                f"The answer is no {self.type.__name__} of {self.agent!r}: {where}: "
                f"{first['msg']}; mend it and try again."
            ) from error
        if isinstance(read, Plan) and self.routes and not read.routes <= self.routes:
            raise ConfigError(
                f"The plan names routes that do not exist: {sorted(read.routes - self.routes)}; "
                f"known are {', '.join(sorted(self.routes)[:10])}."
            )
        return read.model_dump(mode="json")

    def agrees(self, first: Any, second: Any) -> bool | None:
        """Whether two answers are the same for this skill; None where that takes more than these.

        Args:
            first: In the form of `read`; None is no answer.
            second: Likewise.
        """
        if first is None or second is None:
            return None
        try:
            one, other = self._read(first), self._read(second)
        except ValidationError:
            return None
        if isinstance(one, Record) and isinstance(other, Record) and self.extraction is not None:
            return self.extraction.agrees(one, other)
        if isinstance(one, Plan) and isinstance(other, Plan):
            return one.routes == other.routes
        return None

    def _read(self, answer: Any) -> BaseModel:
        return self.type.model_validate(answer, by_alias=True, by_name=True)

    def _check_schema(self, record: Record) -> None:
        if self.extraction is None:
            return
        schema = self.extraction.schema
        unknown = sorted(record.values.keys() - schema.model_fields.keys())
        if unknown:
            raise ConfigError(
                f"The schema {schema.__name__} of {self.agent!r} has no {unknown[0]!r}; its fields "
                f"are {', '.join(schema.model_fields)}."
            )
        record.as_model(schema)

    def _without_stale_places(self, record: Record, beside: Any) -> Record:
        before = beside.get("values") if isinstance(beside, Mapping) else None
        if record.values == before:
            return record
        return Record(values=record.values)


_RECORD_KEYS = Record.model_fields.keys()


def answer_form(agent: str, suite: Suite | None = None) -> AnswerForm | None:
    """The form of a sub-agent's answers; None for one that did not come with Journeyman.

    Args:
        agent: Name of the sub-agent.
        suite: Says which schema extraction fills and which routes there are; without it answers
            are held to their type alone.

    Raises:
        ConfigError: The suite's schema or labels cannot be used.
    """
    if agent not in _TYPES:
        return None
    extraction, routes = None, frozenset[str]()
    if suite is not None and agent == "extraction" and agent in suite.agents:
        extraction = Extraction(extraction_schema(suite), Tagger())
    if suite is not None and agent == "routing":
        routes = frozenset(routes_in_use(suite) or ())
    return AnswerForm(agent, _TYPES[agent], extraction, routes)
