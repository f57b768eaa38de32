"""One sub-agent as a graph: attempt -> gate -> accept, or escalate to the frontier.

The student answers, the gate judges the evidence, and where the answer cannot be trusted the
frontier is asked. A task keeps the standing (student, head, threshold) that it began with; of what
is promoted later it learns nothing, but trust that is withdrawn is withdrawn from it too. Every
step is put on record before the answer leaves. Knows no plan and no other sub-agent.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

from langgraph.errors import GraphBubbleUp
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from journeyman.agents.base import Agent, Escalated
from journeyman.graph.audits import draw_for
from journeyman.graph.gate import decide
from journeyman.graph.nodes import Node, Step, SyncDoor
from journeyman.graph.recording import Journal, TaskRecord
from journeyman.graph.standing import Audit, Met, NoTrust, Standing, TrustSource
from journeyman.graph.state import AgentInput, AgentOutput, AgentState, Context
from journeyman.models.errors import (
    AgentError,
    EscalationFailed,
    JourneymanError,
    MalformedOutput,
    ModelError,
)
from journeyman.models.types import (
    Answer,
    Attempt,
    Check,
    FrontierReply,
    FrontierRequest,
    Reason,
    Usage,
)

logger = logging.getLogger("journeyman.graph")


class FrontierClient(Protocol):
    """The large model, as the graph needs it."""

    @property
    def model(self) -> str:
        """Its name, for the record."""
        ...

    async def complete(self, request: FrontierRequest, *, run_id: str = "") -> FrontierReply:
        """Ask once; retries and budgets are its own business.

        Raises:
            ModelError: It failed, refused, or a cap would be exceeded.
        """
        ...


@dataclass(frozen=True)
class Services:
    """What the nodes of every sub-agent share."""

    frontier: FrontierClient | None
    journal: Journal
    trust: TrustSource = field(default_factory=NoTrust)
    door: SyncDoor = field(default_factory=SyncDoor)


@dataclass(frozen=True)
class Outcome:
    """How an escalation ended."""

    output: Any = None
    replies: tuple[FrontierReply, ...] = ()
    checks: tuple[Check, ...] = ()
    error: JourneymanError | None = None
    latency_ms: float = 0.0
    agreement: bool | None = None

    @property
    def usage(self) -> Usage:
        """Tokens over all calls, those of a failed request included."""
        failed = self.error.usage if isinstance(self.error, ModelError) else Usage()
        return sum((reply.usage for reply in self.replies), failed)

    @property
    def cost_microusd(self) -> int | None:
        """Cost over all calls, those of a failed request included; None where it is unknown."""
        costs = [reply.cost_microusd for reply in self.replies]
        if isinstance(self.error, ModelError):
            costs.append(self.error.cost_microusd)
        return None if None in costs else sum(cost for cost in costs if cost is not None)


class AgentNodes:
    """The node functions of one sub-agent."""

    def __init__(self, agent: Agent[Any, Any], services: Services) -> None:
        self._agent = agent
        self._services = services
        self._release: str | None = None  # of the agent as it was given

    async def attempt(self, state: AgentState, step: Step) -> dict[str, Any]:
        """The student answers; whatever it raises becomes a reason, never a failed run."""
        standing = await self._standing()
        task = self._task(state)
        start = time.time()
        try:
            attempt = await standing.agent.attempt(task)
            error = None
        except GraphBubbleUp:  # the sub-agent pauses the run, which is no failure
            raise
        except Exception as failure:  # a student's crash escalates, whatever it is
            logger.debug("student of %s failed", self._agent.name, exc_info=failure)
            malformed = isinstance(failure, MalformedOutput)
            note = f"{type(failure).__name__}: {failure}"
            checks = (Check("parsed", passed=False, detail=note),) if malformed else ()
            attempt = Attempt(output=None, checks=checks, note=note)
            error = None if malformed else note
        stored = {
            **_attempt_to_state(attempt),
            "error": error,
            "started_at": start,
            "standing": standing.met(None if error else attempt.evidence),
        }
        step.emit(
            {
                "type": "attempt",
                "run_id": state["run"]["run_id"],
                "task_id": state["task"]["id"],
                "agent": self._agent.name,
                "output": stored["output"],
                "evidence": stored["evidence"],
                "note": stored["error"] or attempt.note,
                "latency_ms": attempt.latency_ms,
            }
        )
        return {"attempt": stored}

    async def _standing(self) -> Standing:
        if self._release is None:
            # Hashes weights the first time: never on the event loop.
            self._release = await asyncio.to_thread(lambda: self._agent.release)
        return await self._services.trust.standing(self._agent, self._release)

    async def gate(self, state: AgentState, step: Step) -> dict[str, Any]:
        """Accept or escalate, on the evidence alone."""
        stored = state["attempt"]
        met = await self._still_met(stored["standing"])
        decision = decide(
            None if stored["error"] else self._attempt(stored),
            Met(met["threshold"], met["confidence"]),
            step.context,
            draw_for(
                self._agent,
                state["task"]["input"],
                key=state["task"]["key"],
                occurrence=_occurrence(state, step.context),
                rate=met["audit_rate"],
                share=met.get("certifying_share", 0.0),  # not in checkpoints of earlier versions
            ),
        )
        step.emit(
            {
                "type": "gate",
                "run_id": state["run"]["run_id"],
                "task_id": state["task"]["id"],
                "agent": self._agent.name,
                "action": decision.action,
                "reason": decision.reason,
                "confidence": decision.confidence,
                "threshold": decision.threshold,
            }
        )
        return {
            "decision": {
                **decision.to_state(),
                "release": met["release"],
                "certificate": met["certificate"],
                "kind": met["kind"],
                "note": met["note"],
            }
        }

    async def _still_met(self, met: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the attempt was given to go by, less the trust that was withdrawn meanwhile."""
        if met["threshold"] is None:
            return met
        now = await self._standing()
        if now.release == met["release"] and (now.trust is None or now.trust.threshold is None):
            return {**met, "threshold": None, "note": now.note}
        return met

    async def accept(self, state: AgentState, step: Step) -> dict[str, Any]:
        """The student's answer stands."""
        answer = self._answer(
            state,
            value=state["attempt"]["output"],
            source="student",
            cost=0,
            certified=state["decision"]["certified"],
        )
        return await self._leave(state, step, answer, None)

    async def escalate(self, state: AgentState, step: Step) -> dict[str, Any]:
        """The frontier answers, or the failure policy speaks."""
        reason = state["decision"]["reason"]
        step.emit(
            {
                "type": "escalation",
                "run_id": state["run"]["run_id"],
                "task_id": state["task"]["id"],
                "agent": self._agent.name,
                "reason": reason,
            }
        )
        agent = await self._services.trust.bound(self._agent, state["decision"]["release"])
        outcome = await self._ask(agent, state)
        await self._tell_audit(state, outcome)
        if outcome.error is None:
            value = outcome.output.model_dump(mode="json")
            answer = self._answer(state, value=value, source="frontier", cost=outcome.cost_microusd)
            return await self._leave(state, step, answer, outcome)
        return await self._failed(state, step, outcome)

    async def _ask(self, agent: Agent[Any, Any], state: AgentState) -> Outcome:
        frontier = self._services.frontier
        replies: list[FrontierReply] = []
        start = time.perf_counter()

        async def ask(request: FrontierRequest) -> FrontierReply:
            if frontier is None:
                raise ModelError(
                    f"Agent {self._agent.name!r} has to escalate but no frontier is configured; "
                    f"pass one to create_orchestrator or set [frontier] in journeyman.toml."
                )
            named = replace(request, agent=self._agent.name, task_key=state["task"]["key"])
            reply = await frontier.complete(named, run_id=state["run"]["run_id"])
            replies.append(reply)
            return reply

        def elapsed() -> float:
            return (time.perf_counter() - start) * 1000

        try:
            escalated: Escalated[Any] = await agent.escalate(
                self._task(state), self._attempt(state["attempt"]), ask
            )
        except JourneymanError as error:
            return Outcome(replies=tuple(replies), error=error, latency_ms=elapsed())
        except GraphBubbleUp:
            raise
        except Exception as bug:  # what was paid for is on record, and the failure policy speaks
            logger.exception("agent %r failed on the frontier's answer", self._agent.name)
            failure = AgentError(
                f"Agent {self._agent.name!r} failed on the frontier's answer "
                f"({type(bug).__name__}: {bug}); mend the agent's code.",
                agent=self._agent.name,
            )
            return Outcome(replies=tuple(replies), error=failure, latency_ms=elapsed())
        return Outcome(
            escalated.output,
            tuple(replies),
            escalated.checks,
            latency_ms=elapsed(),
            agreement=self._agreement(state["attempt"]["output"], escalated.output),
        )

    async def _tell_audit(self, state: AgentState, outcome: Outcome) -> None:
        decision = state["decision"]
        was_forced = decision["reason"] == Reason.FORCED  # no fair sample of traffic
        if not decision["audited"] or was_forced or outcome.agreement is None:
            return
        await self._services.trust.audited(
            Audit(
                agent=self._agent.name,
                release=decision["release"],
                certificate=decision["certificate"],
                kind=decision["kind"],
                accepted=decision["would_accept"],
                wrong=not outcome.agreement,
            )
        )

    async def _failed(self, state: AgentState, step: Step, outcome: Outcome) -> dict[str, Any]:
        policy = step.context.on_frontier_failure
        student = state["attempt"]["output"]
        if state["decision"]["reason"] == Reason.AUDIT and state["decision"]["would_accept"]:
            # The answer was good enough without the audit, so it is when the audit fails.
            answer = self._answer(
                state, value=student, source="student", cost=outcome.cost_microusd, certified=True
            )
            return await self._leave(state, step, answer, outcome)
        usable = student is not None and self._attempt(state["attempt"]).failed_check is None
        keep = policy == "return_uncertified" and usable
        answer = self._answer(
            state,
            value=student if keep else None,
            source="student" if keep else "none",
            cost=outcome.cost_microusd,
            error=str(outcome.error),
        )
        update = await self._leave(state, step, answer, outcome, queued=policy == "queue")
        if policy == "fail":
            raise EscalationFailed(
                f"Agent {self._agent.name!r} could not answer task {state['task']['id']!r}: "
                f"{outcome.error} The attempt is on record; set on_frontier_failure='queue' to "
                f"keep such tasks open instead.",
                agent=self._agent.name,
                run_id=state["run"]["run_id"],
            ) from outcome.error
        return update

    async def _leave(
        self,
        state: AgentState,
        step: Step,
        answer: Answer,
        outcome: Outcome | None,
        *,
        queued: bool = False,
    ) -> dict[str, Any]:
        """Put the task on record, stream the answer, and hand it to the parent graph."""
        usage = outcome.usage if outcome else Usage()
        self._services.journal.task_answered(
            TaskRecord(
                task=state["task"],
                run=state["run"],
                attempt=state["attempt"],
                decision=state["decision"],
                answer=answer,
                student=getattr(self._agent.student, "name", type(self._agent.student).__name__),
                escalation=None if outcome is None else self._escalation(outcome, queued),
            )
        )
        task_id = state["task"]["id"]
        step.emit(
            {
                "type": "answer",
                "run_id": answer.run_id,
                "task_id": task_id,
                "agent": answer.agent,
                "answer": answer.model_dump(mode="json"),
            }
        )
        tally = {
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "escalated": outcome is not None,
        }
        return {"done": {task_id: answer.model_dump(mode="json")}, "tallies": {task_id: tally}}

    def _escalation(self, outcome: Outcome, queued: bool) -> dict[str, Any]:
        status = "answered" if outcome.error is None else "queued" if queued else "failed"
        frontier = self._services.frontier
        return {
            "status": status,
            "output": None if outcome.output is None else outcome.output.model_dump(mode="json"),
            "agreement": outcome.agreement,
            "replies": outcome.replies,
            "usage": outcome.usage,
            "failed_checks": [check.name for check in outcome.checks if not check.passed],
            "cost_microusd": outcome.cost_microusd,
            "latency_ms": outcome.latency_ms,
            "error": None if outcome.error is None else str(outcome.error),
            "frontier": frontier.model if frontier else "",
            # A user's own client need not say: then its answers are a frontier's, free to teach.
            "label_source": getattr(frontier, "label_source", "frontier"),
            "trainable": getattr(frontier, "trainable", True),
        }

    def _agreement(self, student: Any, frontier: Any) -> bool | None:
        if student is None or frontier is None:
            return None if frontier is None else False
        try:
            return self._agent.agrees(self._output(student), frontier)
        except Exception:  # the frontier's answer stands; that nobody compared it is on record
            logger.exception("agent %r failed to compare two answers", self._agent.name)
            return None

    def _answer(
        self,
        state: AgentState,
        *,
        value: Any,
        source: Any,
        cost: int | None,
        error: str | None = None,
        certified: bool = False,
    ) -> Answer:
        decision = state["decision"]
        return Answer(
            value=value,
            agent=self._agent.name,
            source=source,
            confidence=decision["confidence"],
            certified=certified,
            reason=decision["reason"],
            release=decision["release"],
            cost_microusd=cost,
            latency_ms=(time.time() - state["attempt"]["started_at"]) * 1000,
            run_id=state["run"]["run_id"],
            task_id=state["task"]["id"],
            error=error,
        )

    def _task(self, state: AgentState) -> Any:
        task = self._agent.validate(state["task"]["input"])
        upstream = state["upstream"]
        consumed = {name: upstream[name] for name in self._agent.consumes if name in upstream}
        return self._agent.with_answers(task, consumed)

    def _output(self, stored: Any) -> Any:
        return self._agent.output_type.model_validate(stored, by_alias=True, by_name=True)

    def _attempt(self, stored: Mapping[str, Any]) -> Attempt:
        output = stored["output"]
        return Attempt(
            output=None if output is None else self._output(output),
            evidence=stored["evidence"],
            checks=tuple(Check(**check) for check in stored["checks"]),
            note=stored["note"],
            raw=stored["raw"],
            latency_ms=stored["latency_ms"],
        )


def _attempt_to_state(attempt: Attempt) -> dict[str, Any]:
    return {
        "output": None if attempt.output is None else attempt.output.model_dump(mode="json"),
        "evidence": {name: float(value) for name, value in attempt.evidence.items()},
        "checks": [asdict(check) for check in attempt.checks],
        "note": attempt.note,
        "raw": attempt.raw,
        "latency_ms": attempt.latency_ms,
    }


def _occurrence(state: AgentState, context: Context) -> str:
    """What tells this occurrence of a task from another; suites draw the same tasks each time."""
    if "occurrence" in state["task"]:
        return state["task"]["occurrence"]
    if context.scenario_id is not None:
        return f"{context.scenario_id}/{context.epoch}/{state['task']['id']}"
    return f"{state['run']['run_id']}/{state['task']['id']}"


def build_agent_graph(
    agent: Agent[Any, Any], services: Services
) -> CompiledStateGraph[AgentState, Context, AgentInput, AgentOutput]:
    """Compile the graph of one sub-agent; it inherits the checkpointer of its parent."""
    nodes = AgentNodes(agent, services)
    graph = StateGraph(
        AgentState,
        context_schema=Context,
        input_schema=AgentInput,
        output_schema=AgentOutput,
    )
    for name in ("attempt", "gate", "accept", "escalate"):
        function = services.journal.watched(getattr(nodes, name))
        graph.add_node(name, Node(name, function, services.door))
    graph.add_edge(START, "attempt")
    graph.add_edge("attempt", "gate")
    graph.add_conditional_edges("gate", _route, ["accept", "escalate"])
    graph.add_edge("accept", END)
    graph.add_edge("escalate", END)
    return graph.compile(name=agent.name)


def _route(state: AgentState) -> str:
    action: str = state["decision"]["action"]
    return action
