"""Many tasks for one sub-agent, by the nodes of its graph but without a graph around each task.

A task is decided first (the student answers, the gate judges) and finished later (accepted, or
escalated), so that a caller can let students answer a crowd and send what is left of it to the
frontier together. Gate, audits, releases and records are those of the graph. Knows no file.
"""

from __future__ import annotations

import time
from typing import Any, Literal

from journeyman.agents.base import Agent
from journeyman.graph.agent_graph import AgentNodes, FrontierClient, Services
from journeyman.graph.nodes import Step
from journeyman.graph.recording import Journal
from journeyman.graph.standing import NoTrust, TrustSource
from journeyman.graph.state import AgentState, Context, Envelope, RunInfo
from journeyman.models.types import Answer
from journeyman.traces.recorder import Recorder
from journeyman.traces.records import new_span_id, new_trace_id

Recorded = Literal["all", "escalations", "none"]
"""Which tasks are put on record. Escalations are what teaches and, by audits, what certifies."""

GRAPH = "batch"
"""Name of the graph in the records."""


class Bulk:
    """One sub-agent's attempt, gate and escalation, for tasks that come in bulk.

    Args:
        agent: The sub-agent.
        job: Names the job; audits are drawn by it, by the task and by the task's number.
        context: Settings of every task's run.
        frontier: The large model; None leaves escalations to the failure policy.
        trust: What has been certified; None is the cold start.
        recorder: Takes the records; None keeps none.
        recorded: Which tasks are put on record, each as a run of its own.
    """

    def __init__(
        self,
        agent: Agent[Any, Any],
        *,
        job: str,
        context: Context,
        frontier: FrontierClient | None = None,
        trust: TrustSource | None = None,
        recorder: Recorder | None = None,
        recorded: Recorded = "escalations",
    ) -> None:
        self.agent = agent
        self._job = job
        self._context = context
        self._step = Step.outside(context)
        trust = trust or NoTrust()
        self._recorded = recorded if recorder is not None else "none"
        self._journal = Journal(recorder, graph=GRAPH)
        silent = Services(frontier, Journal(None, graph=GRAPH), trust)
        self._silent = AgentNodes(agent, silent)
        self._on_record = AgentNodes(agent, Services(frontier, self._journal, trust))

    async def decide(self, number: int, task: Any) -> AgentState:
        """Let the student answer and the gate judge; what is returned is JSON-compatible.

        Args:
            number: Of the task within the job.
            task: A mapping that fits the sub-agent's input type, or an instance of it.

        Raises:
            InvalidTask: It does not fit.
        """
        given = self.agent.validate(task)
        state: AgentState = {
            "task": Envelope(
                id=f"row-{number}",
                agent=self.agent.name,
                key=self.agent.task_key(given),
                input=given.model_dump(mode="json"),
                occurrence=f"{self._job}/{number}",
            ),
            "run": RunInfo(
                run_id="",  # named when it is finished, if it is to be on record
                span_id="",
                started_at=time.time(),
                epoch=self._context.epoch,
                tags=list(self._context.tags),
            ),
            "upstream": {},
            "done": {},
            "tallies": {},
            "attempt": {},
            "decision": {},
        }
        state["attempt"] = (await self._silent.attempt(state, self._step))["attempt"]
        state["decision"] = (await self._silent.gate(state, self._step))["decision"]
        return state

    @staticmethod
    def is_accepted(state: AgentState) -> bool:
        """The student's answer stands: nothing is left to wait for."""
        return bool(state["decision"]["action"] == "accept")

    async def finish(self, state: AgentState) -> Answer:
        """The answer of a decided task; what is to be on record is there when this returns.

        Raises:
            EscalationFailed: The frontier failed, under the policy `fail`.
        """
        accepted = self.is_accepted(state)
        recorded = self._recorded == "all" or (self._recorded == "escalations" and not accepted)
        nodes = self._on_record if recorded else self._silent
        if recorded or not accepted:
            state["run"] = {**state["run"], "run_id": new_trace_id(), "span_id": new_span_id()}
        update = await (nodes.accept if accepted else nodes.escalate)(state, self._step)
        task_id = state["task"]["id"]
        answer = Answer.model_validate(update["done"][task_id])
        if recorded:
            given = {"tasks": [{name: state["task"][name] for name in ("agent", "id", "input")}]}
            # Begun only now, so that a job that is stopped at the frontier leaves no open run.
            self._journal.run_started(
                state["run"], given=given, context=self._context, session_id=None
            )
            await self._journal.run_ended(
                state["run"],
                output=update["done"],
                answers={task_id: answer},
                tallies=update["tallies"],
            )
        return answer
