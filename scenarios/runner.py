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
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from langchain_core.messages import HumanMessage

from journeyman.graph.agent_graph import FrontierClient
from journeyman.graph.orchestrator import Orchestrator, create_orchestrator
from journeyman.graph.standing import TrustSource
from journeyman.graph.state import Context, RunInput, Task
from journeyman.models.errors import JourneymanError, ModelError
from journeyman.models.types import Answer, Attempt, FrontierReply, FrontierRequest
from journeyman.scenarios.assembly import Staff
from journeyman.scenarios.judging import judged
from journeyman.scenarios.metrics import Given, exact
from journeyman.scenarios.references import task_for
from journeyman.scenarios.scenario import Expected, Scenario
from journeyman.scenarios.verdicts import AssertionResult, Outcome, Status, outcome_of, status_of
from journeyman.traces.recorder import Recorder

logger = logging.getLogger("journeyman.scenarios")

Arm = Literal["student", "frontier", "system"]
ARMS: tuple[Arm, ...] = ("student", "frontier", "system")


@dataclass(frozen=True)
class TaskResult:
    """One task of a scenario.

    Attributes:
        agent: The sub-agent.
        expected: What is right; None where nothing is known.
        given: What each arm answered; an arm that was not asked is absent.
        answer: The answer that left the system; None where the plan left the task out.
        confidence: Probability that the student's attempt is right; None without a release.
        accepted: The gate let the student's attempt out.
        frontier_cost_microusd: What asking the frontier costs for this task; None if unknown.
    """

    agent: str
    expected: Expected | None
    given: Mapping[Arm, Given]
    answer: Answer | None
    frontier_cost_microusd: int | None
    confidence: float | None = None
    accepted: bool = False


@dataclass(frozen=True)
class ScenarioResult:
    """One scenario, finished.

    Attributes:
        scenario: What was run.
        epoch: Which repetition of it.
        run_id: The run on record; empty where none was started.
        tasks: Its tasks, those that were expected but not planned included.
        duration_ms: Wall time.
        error: Why the scenario has no result; None where it has one.
        assertions: What became of its assertions; empty where it has none or ended in an error.
        skipped: Why it was not run; None where it was.
        counts_expected: The expected answers decide too; not where an assertion judges them.
    """

    scenario: Scenario
    epoch: int = 0
    run_id: str = ""
    tasks: tuple[TaskResult, ...] = ()
    duration_ms: float = 0.0
    error: str | None = None
    assertions: tuple[AssertionResult, ...] = ()
    skipped: str | None = None
    counts_expected: bool = True

    @property
    def status(self) -> Status:
        """Passed: every assertion holds, and the answers are right where `expected` counts."""
        if self.skipped is not None:
            return "skipped"
        if self.error is not None:
            return "error"
        right = not self.counts_expected or self.is_right
        return status_of(self.assertions, is_right=right)

    @property
    def xfail(self) -> str | None:
        """Why the scenario is expected to fail; None where it is not."""
        return self.scenario.xfail

    @property
    def outcome(self) -> Outcome:
        """The status in the light of `xfail`."""
        return outcome_of(self.status, self.xfail)

    @property
    def is_right(self) -> bool:
        """What left the system is wholly right, for every task that something is known of."""
        judged = [task for task in self.tasks if task.expected is not None]
        return self.error is None and all(
            exact(task.expected, task.given["system"]) for task in judged if task.expected
        )


@dataclass(frozen=True)
class RunOptions:
    """How a suite is run.

    Attributes:
        concurrency: Scenarios in flight at once.
        timeout_s: Seconds until a scenario is given up.
        trust_uncertified: For experiments: accept what nobody certified.
        shadow: Also ask the frontier where a student's answer was accepted, to measure its arm.
        suite_run_id: Kept with every run on record.
    """

    concurrency: int = 8
    timeout_s: float = 60.0
    trust_uncertified: bool = False
    shadow: bool = False
    suite_run_id: str | None = None


@dataclass
class _Seen:
    """What one run told while it went on."""

    attempts: dict[str, Any] = field(default_factory=dict)
    agents: dict[str, str] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    gates: dict[str, dict[str, Any]] = field(default_factory=dict)
    run_id: str = ""


class SuiteRunner:
    """Runs scenarios through one graph.

    Args:
        staff: The sub-agents.
        frontier: The large model.
        recorder: Where runs are recorded; None records nothing.
        options: How to run.
        trust: What has been certified; None is the cold start.
    """

    def __init__(
        self,
        staff: Staff,
        frontier: FrontierClient,
        *,
        recorder: Recorder | None,
        options: RunOptions,
        trust: TrustSource | None = None,
    ) -> None:
        self._staff = staff
        self._frontier = frontier
        self._options = options
        self._graph: Orchestrator = create_orchestrator(
            list(staff.agents.values()),
            frontier,
            store=recorder,
            router=staff.router,
            trust=trust,
        )

    async def run(
        self, scenarios: Iterable[Scenario], *, epochs: int | None = None
    ) -> AsyncGenerator[ScenarioResult, None]:
        """Results as they finish; memory holds what is in flight only.

        Whoever stops early closes the generator, which ends what is in flight.

        Args:
            scenarios: What to run, in this order.
            epochs: How often each is run, one time after the other; None leaves it to the scenario.
        """
        source = (
            (scenario, epoch)
            for scenario in scenarios
            for epoch in range(scenario.epochs if epochs is None else epochs)
        )
        # Each worker's last word is None and must always find room, or a worker that is cancelled
        # while nobody reads would wait for ever: results are bounded by `room`, not by the queue.
        results: asyncio.Queue[ScenarioResult | None] = asyncio.Queue()
        room = asyncio.Semaphore(self._options.concurrency)
        workers = [
            asyncio.create_task(self._work(source, results, room))
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
    ) -> None:
        try:
            for scenario, epoch in source:
                result = await self._one(scenario, epoch)
                await room.acquire()
                results.put_nowait(result)
        finally:
            results.put_nowait(None)

    async def _one(self, scenario: Scenario, epoch: int) -> ScenarioResult:
        if scenario.skip is not None:
            return ScenarioResult(scenario, epoch, skipped=scenario.skip)
        start = time.perf_counter()
        seen = _Seen()
        timeout_s = scenario.timeout_s or self._options.timeout_s

        def finished(
            tasks: tuple[TaskResult, ...] = (), error: str | None = None
        ) -> ScenarioResult:
            duration_ms = (time.perf_counter() - start) * 1000
            return ScenarioResult(scenario, epoch, seen.run_id, tasks, duration_ms, error)

        try:
            async with asyncio.timeout(timeout_s):
                await self._invoke(scenario, epoch, seen)
                tasks = await self._tasks(scenario, seen)
            return finished(tasks)
        except TimeoutError:
            error = f"no result within {timeout_s:g} s"
        except JourneymanError as failure:
            error = str(failure)
        except Exception as failure:  # a bug in one scenario must not cost the others their results
            logger.exception("scenario %r ended in an unexpected error", scenario.id)
            error = f"{type(failure).__name__}: {failure}"
        # What was answered before was paid for; the rest was answered by nobody, which is wrong.
        return finished(self._unfinished(scenario, seen), error)

    async def _invoke(self, scenario: Scenario, epoch: int, seen: _Seen) -> None:
        context = Context(
            trust_uncertified=self._options.trust_uncertified,
            on_frontier_failure="queue",
            suite_run_id=self._options.suite_run_id,
            scenario_id=scenario.id,
            epoch=epoch,
            tags=scenario.tags,
        )
        stream = self._graph.astream(
            self._input(scenario), context=context, stream_mode="custom", subgraphs=True
        )
        async for part in stream:
            event: dict[str, Any] = part[1]  # type: ignore[index]  # (namespace, event)
            seen.run_id = event["run_id"]
            if event["type"] == "attempt":
                seen.attempts[event["task_id"]] = event["output"]
                seen.agents[event["task_id"]] = event["agent"]
            elif event["type"] == "gate":
                seen.gates[event["task_id"]] = event
            elif event["type"] == "answer":
                seen.answers[event["task_id"]] = Answer.model_validate(event["answer"])

    def _input(self, scenario: Scenario) -> RunInput:
        if scenario.agent is None:
            return {"messages": [HumanMessage(scenario.text)]}
        agent = self._staff.agents[scenario.agent]
        return {"tasks": [Task(agent=agent.name, input=task_for(agent, scenario) or {})]}

    async def _tasks(self, scenario: Scenario, seen: _Seen) -> tuple[TaskResult, ...]:
        found = [await self._result(scenario, seen, task_id) for task_id in seen.answers]
        planned = {result.agent for result in found}
        # A task that the plan left out was answered by nobody: wrong, not absent.
        missing = [
            TaskResult(name, expected, dict.fromkeys(ARMS), None, None)
            for name, expected in scenario.expected.items()
            if name in self._staff.everyone and name not in planned
        ]
        return (*found, *missing)

    def _unfinished(self, scenario: Scenario, seen: _Seen) -> tuple[TaskResult, ...]:
        """A scenario that ended in an error, with what its answers have cost."""
        by_agent = {answer.agent: answer for answer in seen.answers.values()}
        names = dict.fromkeys([*by_agent, *scenario.expected])
        return tuple(
            TaskResult(
                name,
                scenario.expected.get(name),
                dict.fromkeys(ARMS),
                by_agent.get(name),
                by_agent[name].cost_microusd if name in by_agent else None,
            )
            for name in names
            if name in self._staff.everyone
        )

    async def _result(self, scenario: Scenario, seen: _Seen, task_id: str) -> TaskResult:
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

        async def ask(request: FrontierRequest) -> FrontierReply:
            named = replace(request, agent=agent.name, task_key=agent.task_key(task))
            replies.append(await self._frontier.complete(named, run_id=answer.run_id))
            return replies[-1]

        try:
            escalated = await agent.escalate(task, Attempt(None), ask)
        except ModelError:
            return None, None
        costs = [reply.cost_microusd for reply in replies]
        total = None if None in costs else sum(cost for cost in costs if cost is not None)
        value = escalated.output.model_dump(mode="json")
        return await judged(agent, value, scenario.expected.get(answer.agent)), total
