"""Runs a suite through the real graph and keeps what each arm answered.

Every scenario is one run of the orchestrator. The student's attempt, the frontier's answer and the
answer that left the system are judged apart: three arms of the same pass. Where a student's answer
was accepted, the frontier's is asked for outside the graph if that is free of charge. Knows no
files and prints nothing: callers get results as they finish.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import cached_property

from langchain_core.messages import convert_to_messages
from langgraph.checkpoint.memory import InMemorySaver

from journeyman.agents.debugging import Debugging
from journeyman.agents.sandbox import Sandbox, Verdict
from journeyman.graph.agent_graph import FrontierClient
from journeyman.graph.orchestrator import Orchestrator, create_orchestrator
from journeyman.graph.standing import TrustSource
from journeyman.graph.state import Context, RunInput, Task
from journeyman.models.errors import ConfigError, JourneymanError, ModelError
from journeyman.models.types import Answer, Attempt, FrontierReply, FrontierRequest
from journeyman.scenarios.assembly import Staff
from journeyman.scenarios.calls import set_epoch
from journeyman.scenarios.evaluating import evaluate
from journeyman.scenarios.judging import judged
from journeyman.scenarios.metrics import Given
from journeyman.scenarios.observed import Observed
from journeyman.scenarios.references import task_for
from journeyman.scenarios.results import ARMS, Arm, ScenarioResult, TaskResult
from journeyman.scenarios.scenario import Scenario
from journeyman.scenarios.session import Heard, Session, needs_memory
from journeyman.scenarios.verdicts import AssertionResult
from journeyman.traces.recorder import Recorder

logger = logging.getLogger("journeyman.scenarios")

Keep = Callable[[ScenarioResult], Awaitable[None]]
"""Puts a result on record."""

__all__ = ["ARMS", "Arm", "RunOptions", "ScenarioResult", "SuiteRunner", "TaskResult"]


@dataclass(frozen=True)
class RunOptions:
    """How a suite is run.

    Attributes:
        concurrency: Scenarios in flight at once.
        timeout_s: Seconds until a scenario is given up.
        trust_uncertified: For experiments: accept what nobody certified.
        force_escalation: Ask the frontier for everything.
        shadow: Also ask the frontier where a student's answer was accepted, to measure its arm.
        suite_run_id: Kept with every run on record.
    """

    concurrency: int = 8
    timeout_s: float = 60.0
    trust_uncertified: bool = False
    force_escalation: bool = False
    shadow: bool = False
    suite_run_id: str | None = None


class SuiteRunner:
    """Runs scenarios through one graph.

    Args:
        staff: The sub-agents.
        frontier: The large model; None leaves open what the students do not answer.
        recorder: Where runs are recorded; None records nothing.
        options: How to run.
        trust: What has been certified; None is the cold start.
    """

    def __init__(
        self,
        staff: Staff,
        frontier: FrontierClient | None,
        *,
        recorder: Recorder | None,
        options: RunOptions,
        trust: TrustSource | None = None,
    ) -> None:
        self._staff = staff
        self._frontier = frontier
        self._options = options
        self._recorder = recorder
        self._trust = trust
        self._graph = self._compiled(None)

    def _compiled(self, memory: InMemorySaver | None) -> Orchestrator:
        return create_orchestrator(
            list(self._staff.agents.values()),
            self._frontier,
            store=self._recorder,
            router=self._staff.router,
            trust=self._trust,
            checkpointer=memory,
        )

    @cached_property
    def _remembering(self) -> tuple[Orchestrator, InMemorySaver]:
        """The graph with a memory for sessions, made when the first scenario needs it."""
        memory = InMemorySaver()
        return self._compiled(memory), memory

    @cached_property
    def _sandbox(self) -> Sandbox:
        """Where assertions run programs: the debugging sub-agent's, if there is one."""
        for agent in self._staff.everyone.values():
            if isinstance(agent, Debugging):
                return agent.sandbox
        return Sandbox()

    async def run(
        self, scenarios: Iterable[Scenario], *, epochs: int | None = None
    ) -> AsyncGenerator[ScenarioResult, None]:
        """Results as they finish; memory holds what is in flight only.

        Whoever stops early closes the generator, which ends what is in flight.

        Args:
            scenarios: What to run, in this order.
            epochs: How often each is run, one time after the other; None leaves it to the scenario.
        """
        pairs = (
            (scenario, epoch)
            for scenario in scenarios
            for epoch in range(scenario.epochs if epochs is None else epochs)
        )
        async with aclosing(self.run_pairs(pairs)) as results:
            async for result in results:
                yield result

    async def run_pairs(
        self, pairs: Iterable[tuple[Scenario, int]], *, keep: Keep | None = None
    ) -> AsyncGenerator[ScenarioResult, None]:
        """As `run`, for scenarios with their epochs.

        Args:
            pairs: What to run; drawn one by one, so that whoever gives them may stop giving.
            keep: Awaited with each result before it counts as finished.
        """
        source = iter(pairs)
        # Each worker's last word is None and must always find room, or a worker that is cancelled
        # while nobody reads would wait for ever: results are bounded by `room`, not by the queue.
        results: asyncio.Queue[ScenarioResult | None] = asyncio.Queue()
        room = asyncio.Semaphore(self._options.concurrency)
        workers = [
            asyncio.create_task(self._work(source, results, room, keep))
            for _ in range(self._options.concurrency)
        ]
        try:
            running = len(workers)
            while running:
                result = await results.get()
                if result is None:
                    running -= 1
                else:
                    room.release()
                    yield result
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _work(
        self,
        source: Iterator[tuple[Scenario, int]],
        results: asyncio.Queue[ScenarioResult | None],
        room: asyncio.Semaphore,
        keep: Keep | None,
    ) -> None:
        try:
            for scenario, epoch in source:
                result = await self._one(scenario, epoch)
                if keep is not None:
                    await keep(result)
                await room.acquire()
                results.put_nowait(result)
        finally:
            results.put_nowait(None)

    async def _one(self, scenario: Scenario, epoch: int) -> ScenarioResult:
        if scenario.skip is not None:
            return ScenarioResult(scenario, epoch, skipped=scenario.skip)
        set_epoch(epoch)
        start = time.perf_counter()
        said: list[tuple[Scenario, Heard]] = []
        timeout_s = scenario.timeout_s or self._options.timeout_s
        limit = asyncio.timeout(timeout_s)

        def finished(
            tasks: tuple[TaskResult, ...],
            error: str | None = None,
            assertions: tuple[AssertionResult, ...] = (),
        ) -> ScenarioResult:
            return ScenarioResult(
                scenario,
                epoch,
                said[-1][1].run_id if said else "",
                tasks,
                (time.perf_counter() - start) * 1000,
                error,
                assertions,
                counts_expected=not scenario.judges_expected,
            )

        try:
            async with limit:
                tasks, assertions = await self._converse(scenario, epoch, said)
            return finished(tasks, assertions=assertions)
        except JourneymanError as failure:
            error = str(failure)
        except Exception as failure:  # a bug in one scenario must not cost the others their results
            if limit.expired():
                error = f"no result within {timeout_s:g} s"
            else:
                logger.exception("scenario %r ended in an unexpected error", scenario.id)
                error = f"{type(failure).__name__}: {failure}"
        # What was answered before was paid for; the rest was answered by nobody, which is wrong.
        return finished(self._unfinished(scenario, said), error)

    async def _converse(
        self, scenario: Scenario, epoch: int, said: list[tuple[Scenario, Heard]]
    ) -> tuple[tuple[TaskResult, ...], tuple[AssertionResult, ...]]:
        """Say every turn, judge its answers, and evaluate its assertions and the scenario's."""
        session = self._session(scenario, epoch)
        tasks: tuple[TaskResult, ...] = ()
        results: tuple[AssertionResult, ...] = ()
        try:
            for number, turn in enumerate(scenario.in_turns()):
                heard = Heard(turn.text)
                said.append((turn, heard))
                await session.say(self._input(turn), heard)
                found = await self._tasks(turn, heard)
                tasks += found
                own = scenario.turns[number].assertions if scenario.turns else ()
                seen = self._observed(scenario, found, [heard])
                results += await evaluate(own, seen, turn=number)
            whole = self._observed(scenario, tasks, [heard for _, heard in said])
            results += await evaluate(scenario.assertions, whole)
        finally:
            await session.close()
        return tasks, (*results, *session.unmet())

    def _session(self, scenario: Scenario, epoch: int) -> Session:
        context = Context(
            trust_uncertified=self._options.trust_uncertified,
            force_escalation=self._options.force_escalation,
            on_frontier_failure="queue",
            suite_run_id=self._options.suite_run_id,
            scenario_id=scenario.id,
            epoch=epoch,
            tags=scenario.tags,
        )
        graph, memory = self._remembering if needs_memory(scenario) else (self._graph, None)
        return Session(graph, context, scenario, memory)

    def _observed(
        self, scenario: Scenario, tasks: tuple[TaskResult, ...], said: Sequence[Heard]
    ) -> Observed:
        run_id = said[-1].run_id

        async def ask(request: FrontierRequest) -> FrontierReply:
            if self._frontier is None:
                raise ConfigError(
                    "A judge needs the frontier, and this run has none; set [frontier] model in "
                    "journeyman.toml."
                )
            if getattr(self._frontier, "label_source", "frontier") == "reference":
                raise ConfigError(
                    "A judge needs a model, and the reference frontier is none; set [frontier] "
                    "model in journeyman.toml and run with --configured."
                )
            # A budget of its own: judging must not use up what answering may cost.
            return await self._frontier.complete(request, run_id=f"{run_id}:judge")

        async def check(code: str, tests: str, entry_point: str) -> Verdict:
            return await self._sandbox.check(code, tests, entry_point=entry_point)

        return Observed(
            scenario=scenario,
            text="\n".join(heard.text for heard in said),
            tasks=tasks,
            steps=tuple(step for heard in said for step in heard.steps),
            duration_ms=sum(heard.duration_ms for heard in said),
            planner=self._staff.router.name if self._staff.router is not None else None,
            ask=ask,
            check=check,
        )

    def _input(self, scenario: Scenario) -> RunInput:
        if scenario.agent is None:
            said = scenario.input
            spoken = [dict(one) for one in said] if isinstance(said, tuple) else [scenario.text]
            return {"messages": convert_to_messages(spoken)}  # type: ignore[typeddict-item]  # of the kinds that AnyMessage lists
        agent = self._staff.agents[scenario.agent]
        return {"tasks": [Task(agent=agent.name, input=task_for(agent, scenario) or {})]}

    async def _tasks(self, scenario: Scenario, seen: Heard) -> tuple[TaskResult, ...]:
        found = [await self._result(scenario, seen, task_id) for task_id in seen.answers]
        planned = {result.agent for result in found}
        # A task that the plan left out was answered by nobody: wrong, not absent.
        missing = [
            TaskResult(name, expected, dict.fromkeys(ARMS), None, None)
            for name, expected in scenario.expected.items()
            if name in self._staff.everyone and name not in planned
        ]
        return (*found, *missing)

    def _unfinished(
        self, scenario: Scenario, said: Sequence[tuple[Scenario, Heard]]
    ) -> tuple[TaskResult, ...]:
        """A scenario that ended in an error, with what its answers have cost."""
        answered = [
            TaskResult(
                answer.agent,
                turn.expected.get(answer.agent),
                dict.fromkeys(ARMS),
                answer,
                answer.cost_microusd,
            )
            for turn, heard in said
            for answer in heard.answers.values()
            if answer.agent in self._staff.everyone
        ]
        names = {task.agent for task in answered}
        missing = [
            TaskResult(name, expected, dict.fromkeys(ARMS), None, None)
            for name, expected in scenario.expected.items()
            if name in self._staff.everyone and name not in names
        ]
        return (*answered, *missing)

    async def _result(self, scenario: Scenario, seen: Heard, task_id: str) -> TaskResult:
        answer = seen.answers[task_id]
        agent = self._staff.everyone[answer.agent]
        expected = scenario.expected.get(answer.agent)
        student = await judged(agent, seen.attempts.get(task_id), expected)
        same = answer.source == "student"
        arms: dict[Arm, Given] = {
            "student": student,
            "system": student if same else await judged(agent, answer.value, expected),
        }
        cost = answer.cost_microusd
        if answer.source == "frontier":
            arms["frontier"] = arms["system"]
        elif self._frontier is None:
            cost = None
        elif answer.reason is not None:  # asked, and failed
            arms["frontier"] = None
        elif self._options.shadow:
            arms["frontier"], cost = await self._ask(scenario, answer)
        else:
            cost = None
        gate = seen.gates.get(task_id, {})
        return TaskResult(
            answer.agent,
            expected,
            arms,
            answer,
            cost,
            confidence=gate.get("confidence"),
            accepted=gate.get("action") == "accept",
        )

    async def _ask(self, scenario: Scenario, answer: Answer) -> tuple[Given, int | None]:
        """The frontier's answer to a task that it was not asked, on the run's own budget."""
        agent = self._staff.everyone[answer.agent]
        task = task_for(agent, scenario)
        replies: list[FrontierReply] = []
        frontier = self._frontier
        assert frontier is not None, "callers ask only where there is one"

        async def ask(request: FrontierRequest) -> FrontierReply:
            named = replace(request, agent=agent.name, task_key=agent.task_key(task))
            replies.append(await frontier.complete(named, run_id=answer.run_id))
            return replies[-1]

        try:
            escalated = await agent.escalate(task, Attempt(None), ask)
        except ModelError:
            return None, None
        costs = [reply.cost_microusd for reply in replies]
        total = None if None in costs else sum(cost for cost in costs if cost is not None)
        value = escalated.output.model_dump(mode="json")
        return await judged(agent, value, scenario.expected.get(answer.agent)), total
