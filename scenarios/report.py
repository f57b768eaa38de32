"""What a suite run amounts to: figures per sub-agent and arm, verdicts per scenario, as data.

Collects results one by one, those of this process and those on record alike, and keeps what the
figures need, not the answers' wording. Figures do not hang on the order in which results came.
Knows nothing of how scenarios are run.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from journeyman.scenarios.estimates import Estimate, share
from journeyman.scenarios.finished import Finished, Key, TaskFigures, finish, plus, total
from journeyman.scenarios.metrics import Judgement, evaluate_judged
from journeyman.scenarios.results import ARMS, Arm, ScenarioResult
from journeyman.scenarios.suite import Suite
from journeyman.scenarios.verdicts import Outcome, outcome_of, verdict_over

RunArm = Literal["system", "student-only", "frontier-only"]
"""Who may answer in a whole run: the gate decides, the students alone, or the frontier alone."""


@dataclass
class AgentFigures:
    """What is kept about one sub-agent's tasks."""

    num_tasks: int = 0
    answered_by: Counter[str] = field(default_factory=Counter)
    escalations: Counter[str] = field(default_factory=Counter)
    certified: int = 0
    judged: dict[Arm, list[Judgement]] = field(default_factory=lambda: {arm: [] for arm in ARMS})
    latencies_ms: list[float] = field(default_factory=list)
    cost_microusd: int | None = 0
    frontier_only_microusd: int | None = 0
    open_because: Counter[str] = field(default_factory=Counter)

    def add(self, task: TaskFigures) -> None:
        """Count one task."""
        for arm, judged in task.judged.items():
            self.judged[arm].append(judged)
        if task.source is None:
            return
        self.num_tasks += 1
        self.answered_by[task.source] += 1
        self.certified += task.certified
        self.latencies_ms.append(task.latency_ms)
        if task.error is not None:
            self.open_because[task.error] += 1
        if task.reason is not None:
            self.escalations[task.reason] += 1
        self.cost_microusd = plus(self.cost_microusd, task.cost_microusd)
        self.frontier_only_microusd = plus(self.frontier_only_microusd, task.frontier_cost_microusd)


@dataclass(frozen=True)
class ScenarioVerdict:
    """One scenario over all its epochs.

    Attributes:
        scenario_id: The scenario.
        outcome: Over its epochs, by its pass rule, in the light of what was expected.
        is_test: A failure fails the run.
        num_passed: Epochs that passed.
        num_epochs: Epochs that ran.
        reason: Why it did not pass, of the first epoch that did not.
        tags: Its tags.
    """

    scenario_id: str
    outcome: Outcome
    is_test: bool
    num_passed: int
    num_epochs: int
    reason: str | None
    tags: tuple[str, ...] = ()

    @property
    def is_flaky(self) -> bool:
        """Some epochs passed and some did not."""
        return 0 < self.num_passed < self.num_epochs


class Report:
    """Figures of a suite run, complete once every result was added.

    Args:
        suite: What was run.
        arm: Which arm the whole run was.
    """

    def __init__(self, suite: Suite, *, arm: RunArm = "system") -> None:
        self.arm: RunArm = arm
        self._suite = suite
        self._results: dict[Key, Finished] = {}
        self._counts: Counter[Outcome] = Counter()
        self._agents: dict[str, AgentFigures] | None = None

    def add(self, result: ScenarioResult | Finished) -> Finished:
        """Count one scenario; of the same scenario and epoch the last counts."""
        finished = finish(result) if isinstance(result, ScenarioResult) else result
        before = self._results.get(finished.key)
        if before is not None:
            self._counts[before.outcome] -= 1
        self._results[finished.key] = finished
        self._counts[finished.outcome] += 1
        self._agents = None
        return finished

    @property
    def suite(self) -> Suite:
        """The suite that was run."""
        return self._suite

    @property
    def results(self) -> Sequence[Finished]:
        """Every result, by scenario and epoch."""
        return [self._results[key] for key in sorted(self._results)]

    @property
    def counts(self) -> Mapping[Outcome, int]:
        """How many results came to what, each epoch by itself."""
        return +self._counts

    @property
    def num_scenarios(self) -> int:
        """Results of scenarios that were run, each epoch by itself."""
        return len(self._results) - self._counts["skipped"]

    @property
    def num_right(self) -> int:
        """Results that are wholly right."""
        return sum(one.is_right and one.status != "skipped" for one in self._results.values())

    @property
    def errors(self) -> list[tuple[str, str]]:
        """Scenarios that ended in an error, and why."""
        return [
            (one.scenario_id, one.reason or "") for one in self.results if one.status == "error"
        ]

    @property
    def verdicts(self) -> list[ScenarioVerdict]:
        """Each scenario over its epochs, by id."""
        by_scenario: dict[str, list[Finished]] = {}
        for one in self.results:
            by_scenario.setdefault(one.scenario_id, []).append(one)
        return [verdict_of(epochs) for epochs in by_scenario.values()]

    @property
    def pass_rate(self) -> Estimate | None:
        """Share of scenarios that pass; expected failures and skipped ones do not count."""
        counted = [one for one in self.verdicts if one.outcome in ("passed", "failed", "error")]
        if not counted:
            return None
        return share(sum(one.outcome == "passed" for one in counted), len(counted))

    @property
    def escalation_rate(self) -> Estimate | None:
        """Share of tasks that went to the frontier; None where there were none."""
        tasks = [one for one in self.agents.values() if one.num_tasks]
        if not tasks:
            return None
        escalated = sum(one.escalations.total() for one in tasks)
        return share(escalated, sum(one.num_tasks for one in tasks))

    @property
    def cost_microusd(self) -> int | None:
        """What the answers cost, judging included; None where a part is unknown."""
        return total([one.cost_microusd for one in self._results.values()])

    @property
    def agents(self) -> Mapping[str, AgentFigures]:
        """Figures by sub-agent, in order of name."""
        if self._agents is None:
            figures: dict[str, AgentFigures] = {}
            for one in self.results:
                for task in one.tasks:
                    figures.setdefault(task.agent, AgentFigures()).add(task)
            self._agents = dict(sorted(figures.items()))
        return self._agents

    @property
    def open_because(self) -> Counter[str]:
        """Why tasks stayed open: the frontier's failures in its own words, and how often."""
        return sum((one.open_because for one in self.agents.values()), Counter())

    def quality(self, agent: str, arm: Arm) -> dict[str, Estimate]:
        """The metrics of one sub-agent in one arm; empty where nothing was expected of it."""
        figures = self.agents.get(agent)
        if figures is None or not figures.judged[arm]:
            return {}
        return evaluate_judged(self._suite.metric_for(agent), figures.judged[arm])

    def headline(self, agent: str, arm: Arm) -> Estimate | None:
        """The sub-agent's first metric in one arm; None where it was not measured."""
        return next(iter(self.quality(agent, arm).values()), None)

    def summary(self) -> dict[str, Any]:
        """The machine-readable summary: the last line of `run --json`.

        Metrics of a suite for one sub-agent have their own names; where several are measured, the
        sub-agent's name stands before them (`retrieval.mrr`). Shares of scenarios and tasks are
        `[value, low, high, n]`.
        """
        figures = list(self.agents.values())
        latencies = [ms for one in figures for ms in one.latencies_ms]
        arms = {arm: self._metrics(arm) for arm in ARMS}
        verdicts = self.verdicts
        outcomes = Counter(one.outcome for one in verdicts)
        return {
            "event": "summary",
            "suite": self._suite.name,
            "arm": self.arm,
            "n": self.num_scenarios,
            "arms": {
                arm: {name: found.value for name, found in metrics.items()}
                for arm, metrics in arms.items()
            },
            "intervals": {
                arm: {name: [found.low, found.high] for name, found in metrics.items()}
                for arm, metrics in arms.items()
            },
            "scenarios": {"total": len(verdicts), **dict(sorted(outcomes.items()))},
            "flaky": sum(one.is_flaky for one in verdicts),
            "pass_rate": listed(self.pass_rate),
            "escalation_rate": listed(self.escalation_rate),
            "answered_by": {
                source: sum(one.answered_by[source] for one in figures)
                for source in ("student", "frontier", "none")
            },
            "escalations": dict(sum((one.escalations for one in figures), Counter())),
            "cost_microusd": {
                "system": total([one.cost_microusd for one in figures]),
                "frontier_only": total([one.frontier_only_microusd for one in figures]),
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


def verdict_of(epochs: Sequence[Finished]) -> ScenarioVerdict:
    """The verdict over the epochs of one scenario."""
    first = epochs[0]
    status = verdict_over([one.status for one in epochs], first.passes)
    ran = [one for one in epochs if one.status != "skipped"]
    return ScenarioVerdict(
        scenario_id=first.scenario_id,
        outcome=outcome_of(status, first.xfail),
        is_test=any(one.is_test for one in epochs),
        num_passed=sum(one.status == "passed" for one in ran),
        num_epochs=len(ran),
        reason=next((one.reason for one in epochs if one.status != "passed"), None),
        tags=first.tags,
    )


def listed(found: Estimate | None) -> list[float] | None:
    """An estimate as `[value, low, high, n]`, for JSON."""
    return None if found is None else [found.value, found.low, found.high, found.n]


def percentile(values: list[float], percent: int) -> float | None:
    """A percentile by linear interpolation; None of nothing."""
    if not values:
        return None
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
