"""One scenario's session with the graph: what is said, what is heard, and pauses that are resumed.

A scenario with several turns, or with values for interrupts, has a thread of its own in memory; any
other runs without a checkpointer. Knows no assertion and no expected answer.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, Interrupt

from journeyman.graph.orchestrator import Orchestrator
from journeyman.graph.state import Context, RunInput
from journeyman.models.errors import ConfigError
from journeyman.models.types import Answer
from journeyman.scenarios.observed import Step
from journeyman.scenarios.scenario import Resume, Scenario
from journeyman.scenarios.verdicts import AssertionResult

MAX_PAUSES = 100
"""Times that one turn may pause; a run that pauses at the same place for ever is given up."""


@dataclass
class Heard:
    """What one turn told while it went on.

    Attributes:
        text: What was said.
        attempts: Task -> what its student answered.
        answers: Task -> what left the system.
        gates: Task -> the gate's event.
        steps: All events, in order.
        run_id: The run on record.
        duration_ms: Wall time.
    """

    text: str
    attempts: dict[str, Any] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    gates: dict[str, dict[str, Any]] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    run_id: str = ""
    duration_ms: float = 0.0

    def hear(self, event: Mapping[str, Any]) -> None:
        """Take in one streamed event."""
        task_id = str(event.get("task_id", ""))
        self.run_id = event["run_id"]
        self.steps.append(Step(event["type"], str(event.get("agent", "")), task_id, event))
        if event["type"] == "attempt":
            self.attempts[task_id] = event["output"]
        elif event["type"] == "gate":
            self.gates[task_id] = dict(event)
        elif event["type"] == "answer":
            self.answers[task_id] = Answer.model_validate(event["answer"])


def needs_memory(scenario: Scenario) -> bool:
    """Does the scenario need a checkpointer?"""
    return bool(scenario.turns or scenario.resume)


class Session:
    """Talks to the graph for one scenario in one epoch.

    Args:
        graph: Compiled with `memory`, where that is given.
        context: Of every run.
        scenario: Whose session it is.
        memory: Keeps the thread; None where the scenario does not need it.
    """

    def __init__(
        self,
        graph: Orchestrator,
        context: Context,
        scenario: Scenario,
        memory: InMemorySaver | None,
    ) -> None:
        self._graph = graph
        self._context = context
        self._memory = memory
        self._thread = f"suite-{uuid4().hex}"
        self._waiting: list[Resume] = list(scenario.resume)

    async def say(self, given: RunInput, heard: Heard) -> None:
        """One turn, resumed as often as it pauses.

        Args:
            given: The graph's input.
            heard: Takes in what the run tells, also where it ends in an error.

        Raises:
            ConfigError: The run pauses where the scenario has no value to go on with.
        """
        start = time.perf_counter()
        try:
            await self._stream(given, heard)
            for _ in range(MAX_PAUSES):
                interrupts = await self._interrupts()
                if not interrupts:
                    return
                await self._stream(Command(resume=self._values(interrupts)), heard)
            raise ConfigError(f"The run paused more than {MAX_PAUSES} times; mend the sub-agent.")
        finally:
            heard.duration_ms = (time.perf_counter() - start) * 1000

    def unmet(self) -> tuple[AssertionResult, ...]:
        """A failure for each value whose interrupt the run never came to."""
        return tuple(
            AssertionResult(
                "Resume", f"resume: {one.interrupt}", False, reason="the run never paused there"
            )
            for one in self._waiting
        )

    async def close(self) -> None:
        """Forget the thread."""
        if self._memory is not None:
            await self._memory.adelete_thread(self._thread)

    @property
    def _config(self) -> RunnableConfig | None:
        return None if self._memory is None else {"configurable": {"thread_id": self._thread}}

    async def _stream(self, given: RunInput | Command[Any], heard: Heard) -> None:
        stream = self._graph.astream(
            given,
            self._config,
            context=self._context,
            stream_mode="custom",
            subgraphs=True,
        )
        async for part in stream:
            event: dict[str, Any] = part[1]  # type: ignore[index]  # (namespace, event)
            if "run_id" in event and "type" in event:  # sub-agents may stream events of their own
                heard.hear(event)

    async def _interrupts(self) -> tuple[Interrupt, ...]:
        if self._config is None:
            return ()
        return (await self._graph.aget_state(self._config)).interrupts

    def _values(self, interrupts: tuple[Interrupt, ...]) -> dict[str, Any]:
        """The value for each interrupt; the first in the scenario's order that bears its name."""
        values: dict[str, Any] = {}
        for interrupt in interrupts:
            names = _names(interrupt)
            chosen = next((one for one in self._waiting if one.interrupt in names), None)
            if chosen is None:
                raise ConfigError(
                    f"The run paused at {' or '.join(map(repr, names)) or 'an interrupt'}, for "
                    "which the scenario has no value left; add one under `resume`."
                )
            self._waiting.remove(chosen)
            values[interrupt.id] = chosen.value
        return values


def _names(interrupt: Interrupt) -> list[str]:
    """How a scenario may call an interrupt: its value if that is text, else its name or type."""
    value = interrupt.value
    if isinstance(value, str):
        return [value]
    given = value if isinstance(value, Mapping) else {}
    return [str(given[key]) for key in ("name", "type") if key in given]
