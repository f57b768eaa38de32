"""A frontier that fails in every way: each task is accounted for and no cap is passed."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from journeyman.graph.orchestrator import create_orchestrator
from journeyman.graph.state import Context, Task
from journeyman.models.budget import Budget
from journeyman.models.frontier import Frontier
from journeyman.models.prices import Price, PriceBook
from journeyman.models.reference_frontier import Failures, Reference, ReferenceFrontier
from journeyman.models.types import Answer
from journeyman.traces.ledger import StoreLedger
from journeyman.traces.recorder import Recorder

from .triage import KeywordStudent, Ticket, Triage

NUM_TASKS = 300
AT_ONCE = 32
PRICES = PriceBook({"reference": Price(input_per_million_usd=100, output_per_million_usd=100)})


async def _run_all(recorder: Recorder, budget: Budget, failures: Failures) -> list[Answer]:
    agent = Triage(KeywordStudent())
    tickets = [Ticket(text=f"ticket {number}: the site is down") for number in range(NUM_TASKS)]
    references = [
        Reference({"severity": "high"}, {"severity": "low"}, task_key=agent.task_key(ticket))
        for ticket in tickets
    ]
    with ReferenceFrontier(references, failures=failures) as server:
        frontier = Frontier(
            "reference",
            base_url=server.base_url,
            prices=PRICES,
            budget=budget,
            max_concurrency=AT_ONCE,
            timeout_s=0.5,
            sleep=lambda seconds: asyncio.sleep(min(seconds, 0.02)),
            seed=1,
        )
        graph = create_orchestrator([agent], frontier, store=recorder)
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(ticket: Ticket) -> Answer:
            async with gate:
                result = await graph.ainvoke(
                    {"tasks": [Task(agent="triage", input=ticket)]},
                    context=Context(on_frontier_failure="queue"),
                )
            answer: Answer = result["answers"]["triage-1"]
            return answer

        try:
            return await asyncio.gather(*(one(ticket) for ticket in tickets))
        finally:
            await frontier.aclose()


async def test_every_task_is_accounted_for_when_three_calls_in_ten_fail(
    recorder: Recorder,
) -> None:
    failures = Failures(rate=0.3, hang_s=2, retry_after_s=0.05)
    answers = await _run_all(recorder, Budget(), failures)
    sources = Counter(answer.source for answer in answers)
    assert sources["student"] == 0
    assert sources["frontier"] + sources["none"] == NUM_TASKS
    assert sources["frontier"] > NUM_TASKS * 0.8
    assert all(answer.error for answer in answers if answer.source == "none")
    assert all(answer.value == {"severity": "high"} for answer in answers if answer.value)
    attempts = recorder.store.attempts()
    assert len(attempts) == NUM_TASKS
    assert Counter(attempt.source for attempt in attempts) == sources


@pytest.mark.parametrize("failing", [0.0, 0.3])
async def test_the_days_cap_holds_with_thirty_two_tasks_at_once(
    recorder: Recorder, failing: float
) -> None:
    cap_usd = 0.35
    ledger = StoreLedger(recorder.store)
    budget = Budget(per_day_usd=cap_usd, ledger=ledger)
    failures = Failures(rate=failing, hang_s=2, retry_after_s=0.05)
    answers = await _run_all(recorder, budget, failures)
    spent = sum(answer.cost_microusd or 0 for answer in answers)
    (day,) = {f"{answer.created_at:%Y-%m-%d}" for answer in recorder.store.attempts()}
    assert 0 < spent <= ledger.spent(day) <= cap_usd * 1e6
    refused = [answer for answer in answers if answer.source == "none"]
    assert refused
    assert any(" cap " in (answer.error or "") for answer in refused)


async def test_a_runs_cap_refuses_before_the_call(recorder: Recorder) -> None:
    budget = Budget(per_run_usd=0.000_001)
    answers = await _run_all(recorder, budget, Failures())
    assert {answer.source for answer in answers} == {"none"}
    assert sum(answer.cost_microusd or 0 for answer in answers) == 0
