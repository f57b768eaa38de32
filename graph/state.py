"""What flows through the serving graph: tasks in, answers out, and the settings of one run.

What a checkpoint keeps is JSON-compatible, so that any checkpointer can, in strict mode too:
answers are plain data under way and become `Answer`s when the run leaves. Knows no sub-agent, no
model and no trace table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NotRequired, TypedDict, get_args

from langchain_core.messages import AnyMessage
from langgraph.channels import EphemeralValue, UntrackedValue
from langgraph.graph.message import add_messages

from journeyman.models.errors import ConfigError
from journeyman.models.types import Answer, FailurePolicy


class Task(TypedDict):
    """One typed input for one sub-agent: `Task(agent=..., input=...)`, or a plain mapping like it.

    Attributes:
        agent: Name of the sub-agent.
        input: A mapping that fits the sub-agent's input type, or an instance of it. Under a
            checkpointer give a mapping: the checkpoint keeps what it was given.
        id: Names the answer in `result["answers"]`; `<agent>-<n>` where it is left out.
    """

    agent: str
    input: Any
    id: NotRequired[str]


@dataclass(frozen=True)
class Context:
    """Settings of one run, passed as `context=`; every field has a default.

    Attributes:
        trust_uncertified: For experiments: accept what nobody has certified, marked
            `certified=False`. Failed hard checks still escalate.
        force_escalation: Send every task to the frontier.
        on_frontier_failure: `fail` raises EscalationFailed, `return_uncertified` gives the
            student's answer marked as such, `queue` leaves the task open with source `none`.
        max_steps: Most tasks one run may dispatch.
        suite_run_id: The suite run that this run belongs to.
        scenario_id: The scenario within it.
        epoch: Which repetition of the scenario.
        tags: Free words kept with the run.

    Raises:
        ConfigError: The policy is unknown, or no task may run.
    """

    trust_uncertified: bool = False
    force_escalation: bool = False
    on_frontier_failure: FailurePolicy = "fail"
    max_steps: int = 64
    suite_run_id: str | None = None
    scenario_id: str | None = None
    epoch: int = 0
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what would otherwise be taken for another policy without a word."""
        policies = get_args(FailurePolicy)
        if self.on_frontier_failure not in policies:
            raise ConfigError(
                f"on_frontier_failure is {self.on_frontier_failure!r}; choose of "
                f"{', '.join(policies)}.",
                key="on_frontier_failure",
            )
        if self.max_steps < 1:
            raise ConfigError(
                f"max_steps is {self.max_steps}; a run needs at least 1.", key="max_steps"
            )


class Envelope(TypedDict):
    """A task on its way: validated, named, keyed by content.

    `occurrence` tells this occurrence of the task from others where audits must be drawn alike each
    time that it comes; without it the run and the id do.
    """

    id: str
    agent: str
    key: str
    input: dict[str, Any]
    occurrence: NotRequired[str]


class RunInfo(TypedDict):
    """The run that a task belongs to, as its nodes need it for the record."""

    run_id: str
    span_id: str
    started_at: float
    epoch: int
    tags: list[str]


class Tally(TypedDict):
    """What one task cost."""

    input_tokens: int
    output_tokens: int
    escalated: bool


def merge(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    """Reducer of maps keyed by task id: parallel sub-agents each add their own."""
    return {**left, **right}


Tasks = Annotated[list[Task], EphemeralValue]
"""Read by the plan and gone after it: a thread's next turn must not meet an earlier one's tasks."""


Done = Annotated[dict[str, dict[str, Any]], merge]
"""Answers under way, by task id, as plain data."""

Answers = Annotated[dict[str, Answer], UntrackedValue]
"""Answers that leave, by task id; never part of a checkpoint."""


class RunInput(TypedDict):
    """Typed tasks, or plain messages, in which case the router plans."""

    tasks: NotRequired[Tasks]
    messages: NotRequired[Annotated[list[AnyMessage], add_messages]]


class RunOutput(TypedDict):
    """Answers by task id, and the conversation with the answers appended."""

    answers: Answers
    messages: Annotated[list[AnyMessage], add_messages]
    run_id: str


class RunState(TypedDict):
    """State of the orchestrator."""

    messages: Annotated[list[AnyMessage], add_messages]
    tasks: Tasks
    run: RunInfo
    run_id: str
    waves: list[list[Envelope]]
    dispatched: list[str]
    done: Done
    answers: Answers
    tallies: Annotated[dict[str, Tally], merge]


class AgentInput(TypedDict):
    """What one sub-agent's graph is sent."""

    task: Envelope
    run: RunInfo
    upstream: dict[str, Any]


class AgentOutput(TypedDict):
    """What it sends back."""

    done: Done
    tallies: Annotated[dict[str, Tally], merge]


class AgentState(AgentInput, AgentOutput):
    """State of one sub-agent's graph."""

    attempt: dict[str, Any]
    decision: dict[str, Any]
