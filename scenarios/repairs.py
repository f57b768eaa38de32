"""Repair without a frontier, three ways in one table.

Edits as the ranker orders them, edits in the generic order, and an untaught generator's programs.
All are given the same bugs, budget and sandbox. Hidden tests judge and are shown to none of them.
Knows no graph and records nothing.
"""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from journeyman.agents.debugging import Debugging, DebuggingTask
from journeyman.models.students.base import Student
from journeyman.models.students.generator import Generation, Generator, Prompt
from journeyman.scenarios.estimates import Estimate, share
from journeyman.scenarios.references import task_for
from journeyman.scenarios.scenario import ExpectedTests, Scenario
from journeyman.scenarios.spec import DebuggingSettings

_ANSWER_TOKENS = 256  # a whole function; longer ones are beyond a small generator anyway


@dataclass(frozen=True, slots=True)
class Repair:
    """What one way made of one bug.

    Attributes:
        bug: Id of the scenario.
        visible: The answer passes the visible tests.
        hidden: It passes the hidden tests.
        needed: Candidates run up to the first that passes the visible tests; None where none does.
        tried: Candidates run in all.
        seconds: Wall time.
    """

    bug: str
    visible: bool
    hidden: bool
    needed: int | None
    tried: int
    seconds: float


@dataclass
class Way:
    """One way to repair, and what came of it.

    Attributes:
        name: For the table.
        agent: Repairs.
        repairs: One for each bug, in order.
    """

    name: str
    agent: Debugging
    repairs: list[Repair] = field(default_factory=list)

    async def repair(self, scenario: Scenario) -> None:
        """Repair one bug, and judge the answer by the hidden tests."""
        expected = scenario.expected[self.agent.name]
        assert isinstance(expected, ExpectedTests)
        task = task_for(self.agent, scenario)
        assert isinstance(task, DebuggingTask)
        start = time.perf_counter()
        found = await self.agent.search(task)
        seconds = time.perf_counter() - start
        hidden = False
        if found.chosen is not None:
            tests = expected.hidden_tests if expected.hidden_tests.strip() else expected.tests
            verdict = await self.agent.sandbox.check(
                found.chosen.proposal.code, tests, entry_point=expected.entry_point
            )
            hidden = verdict.passed and bool(verdict.tests)
        needed = found.passing[0].rank if found.passing else None
        self.repairs.append(
            Repair(
                scenario.id,
                visible=found.chosen is not None,
                hidden=hidden,
                needed=needed,
                tried=found.num_tried,
                seconds=seconds,
            )
        )


@dataclass(frozen=True, slots=True)
class Figures:
    """A row of the table.

    Attributes:
        name: The way.
        n: Bugs.
        visible: Share that pass the visible tests.
        hidden: Share that pass the hidden tests.
        needed: Candidates up to the first that passes the visible tests, in the bugs in which both
            this way and the generic order come to one: median, 90th percentile and mean; None
            where there is none.
        tried: Candidates in all: median and 90th percentile of the bugs in which any was run.
        seconds: For a bug: median and mean.
    """

    name: str
    n: int
    visible: Estimate
    hidden: Estimate
    needed: tuple[float, float, float] | None
    tried: tuple[float, float] | None
    seconds: tuple[float, float]


class Repairs:
    """The comparison.

    Args:
        agent: Repairs with the ranker; its sandbox and budget are the others', too.
        scenarios: Bugs.
        settings: Which bugs the generator gets, and how often it may write.
        generator: Writes programs; the smallest causal base of the catalog if None.
    """

    def __init__(
        self,
        agent: Debugging,
        scenarios: Sequence[Scenario],
        settings: DebuggingSettings,
        *,
        generator: Student[Prompt, Generation] | None = None,
    ) -> None:
        self._scenarios = scenarios
        few = sorted(scenarios, key=lambda s: hashlib.sha256(s.id.encode()).digest())
        self._few = frozenset(s.id for s in few[: settings.generator_bugs])
        self.ways = [Way("ranker", agent), Way("generic order", _rival(agent))]
        if self._few:
            writer = generator or Generator(
                samples=settings.generator_samples, max_new_tokens=_ANSWER_TOKENS
            )
            self.ways.append(Way("generator alone", _rival(agent, writer)))

    @property
    def num_steps(self) -> int:
        """Repairs to be made in all."""
        return len(self._scenarios) * 2 + (len(self._few) if len(self.ways) > 2 else 0)

    async def run(self) -> AsyncGenerator[Repair, None]:
        """Repair every bug in every way; each repair as it is done."""
        for scenario in self._scenarios:  # the ways in turn, so that a busy minute costs all alike
            for way in self.ways:
                if way.name != "generator alone" or scenario.id in self._few:
                    await way.repair(scenario)
                    yield way.repairs[-1]

    def figures(self) -> list[Figures]:
        """The table's rows; ways that repaired nothing yet are left out."""
        generic = {r.bug: r.needed for r in self.ways[1].repairs}
        return [_figures(way, generic) for way in self.ways if way.repairs]

    def summary(self) -> list[dict[str, Any]]:
        """The rows as JSON-compatible data."""
        return [asdict(row) for row in self.figures()]


def _rival(agent: Debugging, generator: Student[Prompt, Generation] | None = None) -> Debugging:
    """The same sub-agent without its ranker; with a generator, without edits as well."""
    return Debugging(
        None,
        agent.sandbox,
        generator=generator,
        edits=generator is None,
        budget_candidates=agent.budget.candidates,
        budget_seconds=agent.budget.seconds,
        look_past=agent.budget.look_past,
        name=agent.name,
    )


def _figures(way: Way, generic: dict[str, int | None]) -> Figures:
    repairs = way.repairs
    both = [r.needed for r in repairs if r.needed is not None and generic.get(r.bug) is not None]
    tried = [r.tried for r in repairs if r.tried]
    seconds = [r.seconds for r in repairs]
    return Figures(
        name=way.name,
        n=len(repairs),
        visible=share(sum(r.visible for r in repairs), len(repairs)),
        hidden=share(sum(r.hidden for r in repairs), len(repairs)),
        needed=(statistics.median(both), _p90(both), statistics.fmean(both)) if both else None,
        tried=(statistics.median(tried), _p90(tried)) if tried else None,
        seconds=(statistics.median(seconds), statistics.fmean(seconds)),
    )


def _p90(values: Sequence[float]) -> float:
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=10, method="inclusive")[-1]
