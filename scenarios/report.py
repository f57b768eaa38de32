"""What a suite run amounts to: figures per sub-agent and arm, as data and as text.

Collects results one by one and keeps what the figures need, not the answers' wording. Knows
nothing of how scenarios are run.
"""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from journeyman.scenarios.estimates import Estimate
from journeyman.scenarios.metrics import Pair, evaluate
from journeyman.scenarios.runner import ARMS, Arm, ScenarioResult, TaskResult
from journeyman.scenarios.suite import Suite


@dataclass
class AgentFigures:
    """What is kept about one sub-agent's tasks."""

    num_tasks: int = 0
    answered_by: Counter[str] = field(default_factory=Counter)
    escalations: Counter[str] = field(default_factory=Counter)
    certified: int = 0
    pairs: dict[Arm, list[Pair]] = field(default_factory=lambda: {arm: [] for arm in ARMS})
    latencies_ms: list[float] = field(default_factory=list)
    cost_microusd: int | None = 0
    frontier_only_microusd: int | None = 0
    open_because: Counter[str] = field(default_factory=Counter)

    def add(self, task: TaskResult) -> None:
        """Count one task."""
        if task.expected is not None:
            for arm, value in task.given.items():
                self.pairs[arm].append((task.expected, value))
        answer = task.answer
        if answer is None:
            return
        self.num_tasks += 1
        self.answered_by[answer.source] += 1
        self.certified += answer.certified
        self.latencies_ms.append(answer.latency_ms)
        if answer.source == "none" and answer.error:
            self.open_because[answer.error] += 1
        if answer.reason is not None:
            self.escalations[answer.reason.value] += 1
        self.cost_microusd = _plus(self.cost_microusd, answer.cost_microusd)
        self.frontier_only_microusd = _plus(
            self.frontier_only_microusd, task.frontier_cost_microusd
        )


class Report:
    """Figures of a suite run, complete once every result was added."""

    def __init__(self, suite: Suite) -> None:
        self._suite = suite
        self.num_scenarios = 0
        self.num_right = 0
        self.errors: list[tuple[str, str]] = []
        self._agents: defaultdict[str, AgentFigures] = defaultdict(AgentFigures)

    def add(self, result: ScenarioResult) -> None:
        """Count one scenario."""
        self.num_scenarios += 1
        self.num_right += result.is_right
        if result.error is not None:
            self.errors.append((result.scenario.id, result.error))
        for task in result.tasks:
            self._agents[task.agent].add(task)

    @property
    def agents(self) -> Mapping[str, AgentFigures]:
        """Figures by sub-agent, in order of name."""
        return dict(sorted(self._agents.items()))

    @property
    def open_because(self) -> Counter[str]:
        """Why tasks stayed open: the frontier's failures in its own words, and how often."""
        return sum((one.open_because for one in self._agents.values()), Counter())

    def quality(self, agent: str, arm: Arm) -> dict[str, Estimate]:
        """The metrics of one sub-agent in one arm; empty where nothing was expected of it."""
        pairs = self._agents[agent].pairs[arm]
        return evaluate(self._suite.metric_for(agent), pairs) if pairs else {}  # type: ignore[arg-type]  # agents of a suite have the suite's names

    def headline(self, agent: str, arm: Arm) -> Estimate | None:
        """The sub-agent's first metric in one arm; None where it was not measured."""
        return next(iter(self.quality(agent, arm).values()), None)

    def summary(self) -> dict[str, Any]:
        """The machine-readable summary: the last line of `run --json`.

        Metrics of a suite for one sub-agent have their own names; where several are measured, the
        sub-agent's name stands before them (`retrieval.mrr`).
        """
        figures = list(self._agents.values())
        latencies = [ms for one in figures for ms in one.latencies_ms]
        arms = {arm: self._metrics(arm) for arm in ARMS}
        return {
            "event": "summary",
            "suite": self._suite.name,
            "n": self.num_scenarios,
            "arms": {
                arm: {name: found.value for name, found in metrics.items()}
                for arm, metrics in arms.items()
            },
            "intervals": {
                arm: {name: [found.low, found.high] for name, found in metrics.items()}
                for arm, metrics in arms.items()
            },
            "answered_by": {
                source: sum(one.answered_by[source] for one in figures)
                for source in ("student", "frontier", "none")
            },
            "escalations": dict(sum((one.escalations for one in figures), Counter())),
            "cost_microusd": {
                "system": _total([one.cost_microusd for one in figures]),
                "frontier_only": _total([one.frontier_only_microusd for one in figures]),
            },
            "latency_ms": {"p50": percentile(latencies, 50), "p95": percentile(latencies, 95)},
            "errors": len(self.errors),
            "open_because": dict(self.open_because.most_common(5)),
        }

    def _metrics(self, arm: Arm) -> dict[str, Estimate]:
        measured = {agent: self.quality(agent, arm) for agent in self.agents}
        measured = {agent: metrics for agent, metrics in measured.items() if metrics}
        alone = len(measured) == 1 and self._suite.spec.agent is not None
        return {
            name if alone else f"{agent}.{name}": found
            for agent, metrics in measured.items()
            for name, found in metrics.items()
        }


def percentile(values: list[float], percent: int) -> float | None:
    """A percentile by linear interpolation; None of nothing."""
    if not values:
        return None
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def _plus(total: int | None, cost: int | None) -> int | None:
    """A sum that is unknown as soon as one part is."""
    return None if total is None or cost is None else total + cost


def _total(costs: list[int | None]) -> int | None:
    total: int | None = 0
    for cost in costs:
        total = _plus(total, cost)
    return total
