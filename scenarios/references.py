"""What the reference frontier answers for a suite: each scenario's reference in its agent's form.

For every task a right answer and a plausible wrong one; which of the two is given is the reference
frontier's business, by its stated error rate.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from journeyman.agents.base import Agent
from journeyman.agents.debugging import Debugging
from journeyman.agents.edits import candidates
from journeyman.agents.extraction import Extraction
from journeyman.agents.retrieval import Retrieval
from journeyman.agents.routing import Routing
from journeyman.models.reference_frontier import Reference
from journeyman.scenarios.assembly import Staff
from journeyman.scenarios.scenario import (
    Expected,
    ExpectedOutput,
    ExpectedRanking,
    ExpectedRecord,
    ExpectedRoutes,
    ExpectedTests,
    Scenario,
)


def references(
    staff: Staff, scenarios: Iterable[Scenario], *, seed: int = 0, mistakes: bool = True
) -> list[Reference]:
    """Right and wrong answers for every task of the scenarios that has a reference.

    Args:
        staff: The sub-agents.
        scenarios: Where the references are.
        seed: Draws the wrong answers.
        mistakes: Take care that wrong repairs are believable, which runs some programs. Without it
            a wrong repair is the program as it was.
    """
    scenarios = list(scenarios)
    return list(_references(staff, scenarios, seed, mistakes))


def _references(
    staff: Staff, scenarios: Sequence[Scenario], seed: int, mistakes: bool
) -> Iterator[Reference]:
    outputs = _outputs(scenarios)
    for scenario in (turn for whole in scenarios for turn in whole.in_turns()):
        for name, agent in staff.everyone.items():
            expected = scenario.expected.get(name)
            if expected is None and scenario.agent is None:
                # A plan may send a request where it has no business: nothing is found there.
                expected = _nothing(agent)
            if expected is None:
                continue
            task = task_for(agent, scenario)
            if task is None:
                continue
            key = agent.task_key(task)
            if isinstance(agent, Debugging) and isinstance(expected, ExpectedTests):
                if expected.fixed is not None:
                    right = agent.reference_answer(expected.fixed)
                    rng = random.Random(f"{seed}:{key}")
                    wrong_code = _wrong_repair(agent, expected, rng) if mistakes else None
                    code = task.code if wrong_code is None else wrong_code
                    yield Reference(right, agent.reference_answer(code), task_key=key)
                continue
            if isinstance(expected, ExpectedOutput):
                yield _reference(key, expected, outputs[name], random.Random(f"{seed}:{key}"))
                continue
            right, wrong = _answers(agent, task, expected, random.Random(f"{seed}:{key}"))
            yield Reference(right, wrong, task_key=key)


def _outputs(scenarios: Iterable[Scenario]) -> dict[str, list[Any]]:
    """What sub-agents of a user's own are expected to answer, by name."""
    found: dict[str, list[Any]] = {}
    for scenario in scenarios:
        for name, expected in scenario.expected.items():
            if isinstance(expected, ExpectedOutput):
                found.setdefault(name, []).append(expected.value)
    return found


def _reference(
    key: str, expected: ExpectedOutput, all_of_them: Sequence[Any], rng: random.Random
) -> Reference:
    """The answer to another task is a believable mistake; without one, nothing that fits is."""
    others = [value for value in all_of_them if value != expected.value]
    return Reference(expected.value, rng.choice(others) if others else {}, task_key=key)


def task_for(agent: Agent[Any, Any], scenario: Scenario) -> Any | None:
    """The typed task that a scenario is for a sub-agent; None if it holds none."""
    if isinstance(scenario.input, dict) and scenario.agent == agent.name:
        return agent.validate(scenario.input)
    return agent.from_request(scenario.text)


def _nothing(agent: Agent[Any, Any]) -> Expected | None:
    if isinstance(agent, Extraction):
        return ExpectedRecord({})
    return ExpectedRanking({}) if isinstance(agent, Retrieval) else None


_MOST_MUTANTS = 8


def _wrong_repair(agent: Debugging, expected: ExpectedTests, rng: random.Random) -> str | None:
    """A wrong program that the visible tests take for right; None where a few tries find none."""
    if expected.fixed is None or not expected.tests.strip():
        return None
    mutants = candidates(expected.fixed, limit=60)
    for mutant in rng.sample(mutants, min(_MOST_MUTANTS, len(mutants))):
        seen = agent.sandbox.check_blocking(
            mutant.code, expected.tests, entry_point=expected.entry_point
        )
        if not seen.passed:
            continue
        hidden = expected.hidden_tests
        if (
            not hidden
            or not agent.sandbox.check_blocking(
                mutant.code, hidden, entry_point=expected.entry_point
            ).passed
        ):
            return mutant.code
    return None


def _answers(
    agent: Agent[Any, Any], task: Any, expected: Expected, rng: random.Random
) -> tuple[dict[str, Any], dict[str, Any]]:
    if isinstance(agent, Extraction) and isinstance(expected, ExpectedRecord):
        right = agent.reference_answer(
            task, expected.spans if expected.by_span else expected.values
        )
        return right, agent.wrong_answer(right, rng, text=task.text)
    if isinstance(agent, Retrieval) and isinstance(expected, ExpectedRanking):
        best_first = sorted(expected.grades, key=lambda name: -expected.grades[name])
        right = agent.reference_answer(task, best_first)
        # A passage that the search brings up is a believable mistake; any other is never shown.
        shown = [hit.id for hit in agent.index.search(task.question, None, 10).fused]
        return right, agent.wrong_answer(right, rng, shown)
    if isinstance(agent, Routing) and isinstance(expected, ExpectedRoutes):
        others = [route.name for route in agent.routes if route.name not in expected.routes]
        right = agent.reference_answer(sorted(expected.routes))
        return right, agent.reference_answer([rng.choice(others)] if others else [])
    raise TypeError(f"no reference form for {agent.name!r} and {type(expected).__name__}")
