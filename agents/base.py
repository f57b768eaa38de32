"""The contract of a sub-agent: a narrow, typed skill bound to one student.

A new sub-agent subclasses `Agent`, names its types, and says how to render a task for its student,
how to read the student's answer, how to check it, and how to ask the frontier instead. The graph
does the rest: dispatch, gate, escalation, record. Nothing here knows when the frontier is asked,
what a threshold is, or that anything is written down.
"""

from __future__ import annotations

import asyncio
import copy
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

from pydantic import BaseModel, ValidationError

from journeyman.agents.trainer import Trainer
from journeyman.models.errors import InvalidTask, MalformedOutput
from journeyman.models.students.base import Student
from journeyman.models.students.batching import Batcher
from journeyman.models.types import (
    Attempt,
    Check,
    Example,
    FrontierReply,
    FrontierRequest,
    content_hash,
)

InputT = TypeVar("InputT", bound=BaseModel)
OutputT = TypeVar("OutputT", bound=BaseModel)

Ask = Callable[[FrontierRequest], Awaitable[FrontierReply]]
"""How a sub-agent reaches the frontier; budgets, retries and the record are the caller's."""


@dataclass(frozen=True, slots=True)
class Escalated(Generic[OutputT]):
    """The frontier's answer to one task, and every reply it took."""

    output: OutputT
    replies: tuple[FrontierReply, ...]
    checks: tuple[Check, ...] = ()


class Agent(ABC, Generic[InputT, OutputT]):
    """A narrow skill: input type, output type, student, checks, and the way to the frontier.

    Class attributes to set:
        name: Unique in a graph, `[a-z][a-z0-9_]*`.
        description: One or two sentences; the router reads it.
        input_type, output_type: pydantic models.
        consumes: Names of sub-agents whose answers this one uses when they are present.
        version: Raise it when the code's answers change; it is part of the release id.
    """

    name: str
    description: str
    input_type: type[InputT]
    output_type: type[OutputT]
    consumes: tuple[str, ...] = ()
    version: str = "1"

    def __init__(self, student: Student[Any, Any]) -> None:
        self.student = student
        self._batcher: Batcher[Any, Any] = Batcher(student)

    def with_student(self, student: Student[Any, Any]) -> Self:
        """The same skill with another student, which gets batches of its own.

        Both go on side by side: tasks in flight keep the student that they began with. Sub-agents
        that hold their student in other places too override this.
        """
        bound = copy.copy(self)
        bound.student = student
        bound._batcher = Batcher(student)  # noqa: SLF001  # its own copy
        return bound

    def trainer(self) -> Trainer | None:
        """How this sub-agent's student is taught and loaded; None where it does not learn."""
        return None

    # What a sub-agent says of its skill.

    @abstractmethod
    def render(self, task: InputT) -> Any:
        """What the student sees: one item of its `predict`."""

    @abstractmethod
    def parse(self, task: InputT, raw: Any) -> OutputT | None:
        """Read the student's prediction; None where the student abstained.

        Raises:
            MalformedOutput: The prediction cannot be read as an output.
        """

    @abstractmethod
    def frontier_request(self, task: InputT, attempt: Attempt) -> FrontierRequest:
        """The messages and the JSON Schema that ask the frontier for the same output."""

    @abstractmethod
    def agrees(self, first: OutputT, second: OutputT) -> bool:
        """Are two outputs the same answer for this skill?"""

    def evidence(self, task: InputT, raw: Any, output: OutputT | None) -> dict[str, float]:
        """Named numbers about an attempt; every attempt of a release has the same names."""
        return {}

    def checks(self, task: InputT, output: OutputT) -> list[Check]:
        """Tests of an output that need no model."""
        return []

    def note(self, raw: Any) -> str | None:
        """What the student says of itself, e.g. that it has not been taught."""
        return None

    def record(self, raw: Any) -> Any:
        """The prediction as JSON-compatible data for the trace; None keeps nothing."""
        return None

    def parse_frontier(self, task: InputT, attempt: Attempt, data: Mapping[str, Any]) -> OutputT:
        """Read the frontier's JSON object as an output.

        Raises:
            MalformedOutput: It does not fit the output type.
        """
        try:
            return self.output_type.model_validate(data)
        except ValidationError as error:
            raise MalformedOutput(
                f"The frontier's answer for agent {self.name!r} does not fit "
                f"{self.output_type.__name__}: {error.errors()[0]['msg']}."
            ) from error

    def example(self, task: InputT, answer: OutputT) -> Example:
        """The teaching example that an accepted answer makes."""
        return Example(
            agent=self.name,
            task=task.model_dump(mode="json"),
            target=answer.model_dump(mode="json"),
        )

    def group(self, task: InputT) -> Any | None:
        """What tasks have in common that must not both teach and certify; None: the task alone.

        JSON-compatible. A round never teaches by one task of a group and certifies by another, and
        the gate asks as well, to draw audits: it is quick, and raises nothing.
        """
        return None

    def with_answers(self, task: InputT, answers: Mapping[str, Any]) -> InputT:
        """The task, enriched by the answers (by agent name) of the sub-agents it consumes.

        Of several tasks of one sub-agent, the last answer counts.
        """
        return task

    def from_request(self, text: str) -> InputT | None:
        """The typed task that a free request holds for this sub-agent; None if it holds none.

        The default serves input types with a `text` field that need nothing else.
        """
        try:
            return self.input_type.model_validate({"text": text})
        except ValidationError:
            return None

    def release_parts(self) -> dict[str, Any]:
        """Everything that shapes an answer, JSON-compatible."""
        kind = type(self)
        return {
            "agent": f"{kind.__module__}.{kind.__qualname__}",
            "version": self.version,
            "output": self.output_type.model_json_schema(),
            "student": self.student.fingerprint() if hasattr(self.student, "fingerprint") else "",
        }

    def task_key(self, task: InputT) -> str:
        """Content hash of a task: the same task has the same key in every run."""
        return content_hash([self.name, task.model_dump(mode="json")])

    # What the graph calls.

    @property
    def release(self) -> str:
        """Content-addressed id of this sub-agent as it answers now: `name@8 hex digits`."""
        return f"{self.name}@{content_hash(self.release_parts(), length=8)}"

    def validate(self, task: Any) -> InputT:
        """The task as this agent's input type.

        Raises:
            InvalidTask: It does not fit.
        """
        if isinstance(task, self.input_type):
            return task
        try:
            # By name as well: a task that travels or is replayed was dumped by its fields' names.
            return self.input_type.model_validate(task, by_alias=True, by_name=True)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the task"
            raise InvalidTask(
                f"Task for agent {self.name!r} is not a {self.input_type.__name__}: "
                f"{where}: {first['msg']}.",
                agent=self.name,
            ) from error

    async def attempt(self, task: InputT) -> Attempt:
        """One student answer with evidence and checks; concurrent calls share a batch."""
        start = time.perf_counter()
        raw = await self._batcher.submit(self.render(task))
        # Parsing may search an index or run checks: never on the event loop.
        return await asyncio.to_thread(self._judge, task, raw, start)

    def _judge(self, task: InputT, raw: Any, start: float) -> Attempt:
        output = self.parse(task, raw)
        return Attempt(
            output=output,
            evidence=self.evidence(task, raw, output),
            checks=tuple(self.checks(task, output)) if output is not None else (),
            note=self.note(raw),
            raw=self.record(raw),
            latency_ms=(time.perf_counter() - start) * 1000,
        )

    async def escalate(self, task: InputT, attempt: Attempt, ask: Ask) -> Escalated[OutputT]:
        """Ask the frontier for the answer; sub-agents that need several calls override this.

        Raises:
            ModelError: The frontier failed, refused, or answered with something malformed.
        """
        reply = await ask(self.frontier_request(task, attempt))
        output = self.parse_frontier(task, attempt, reply.data)
        return Escalated(output, (reply,), tuple(self.checks(task, output)))
