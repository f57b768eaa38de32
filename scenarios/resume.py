"""Going on with a suite run that was broken off: what shaped it, and what of it still holds.

A result on record holds while its scenario has the same content and everything else that shapes
results is the same. Knows how to read the record, not how to run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from journeyman.graph.settings import Settings
from journeyman.models.errors import ConfigError
from journeyman.models.types import content_hash
from journeyman.scenarios.finished import Finished, Key, from_record
from journeyman.scenarios.options import ExecutionOptions
from journeyman.scenarios.scenario import Scenario
from journeyman.scenarios.selection import Selection
from journeyman.scenarios.suite import Suite
from journeyman.traces.records import SuiteRunRecord
from journeyman.traces.store import Store

_NOT_SHAPING = frozenset({"version", "description", "gate", "scenarios", "data", "tags", "include"})
"""Parts of a suite that shape no result, or shape one scenario and are part of its hash."""


@dataclass(frozen=True)
class Shape:
    """What shapes the results of a run.

    Attributes:
        digest: Hash of it.
        options: The options among it, as JSON-compatible data: enough to resume the run.
    """

    digest: str
    options: Mapping[str, Any]


def shape_of(suite: Suite, settings: Settings, options: ExecutionOptions) -> Shape:
    """What shapes the results of a run with these options, scenarios aside."""
    spec = suite.spec.model_dump(mode="json", by_alias=True, exclude=set(_NOT_SHAPING))
    chosen = options.reference
    told: dict[str, Any] = {
        "parts": list(options.parts) if options.parts is not None else None,
        "selection": options.selection.to_json(),
        "epochs": options.epochs,
        "timeout_s": options.timeout_s,
        "arm": options.arm,
        "trust_uncertified": options.run.trust_uncertified,
        "releases": options.releases,
        "sets": list(options.sets),
        "plan": [list(one) for one in options.plan],
        "reference": None
        if chosen is None
        else {
            "error_rate": chosen.error_rate,
            "latency_ms": chosen.latency_ms,
            "seed": chosen.seed,
        },
    }
    frontier = None
    if chosen is None:
        frontier = [settings.frontier.model, settings.frontier.base_url]
    # Which scenarios are run shapes none of their results.
    aside = ("selection", "parts", "plan")
    shaping = {name: value for name, value in told.items() if name not in aside}
    return Shape(content_hash([spec, shaping, frontier]), told)


@dataclass(frozen=True)
class Resumed:
    """A run to go on with.

    Attributes:
        record: The run.
        finished: What it has on record, by scenario and epoch.
    """

    record: SuiteRunRecord
    finished: Mapping[Key, Finished]

    def check(self, shape: Shape, *, suite: str) -> None:
        """Refuse to mix results that were come by in different ways.

        Raises:
            ConfigError: The suite is another, or what shapes results has changed.
        """
        record = self.record
        if record.suite != suite:
            raise ConfigError(
                f"Run {record.id!r} is of suite {record.suite!r}, not of {suite!r}: resume it with "
                "its own suite."
            )
        if record.config_hash != shape.digest:
            raise ConfigError(
                f"The suite's settings or the options are no longer those of run {record.id!r}: "
                "undo the change, or start a new run."
            )

    def matching(self, planned: Iterable[tuple[Scenario, int]]) -> dict[Key, Finished]:
        """The results that hold, of those that are planned, in the light of the suite as it is now.

        What shapes no result may have changed since: tags, the pass rule, whether a failure is
        expected. A scenario that was skipped is none that was run.
        """
        found: dict[Key, Finished] = {}
        hashes: dict[str, str] = {}
        for scenario, epoch in planned:
            one = self.finished.get((scenario.id, epoch))
            if one is None or one.status == "skipped":
                continue
            if scenario.id not in hashes:
                hashes[scenario.id] = scenario.fingerprint
            if one.scenario_hash == hashes[scenario.id]:
                found[one.key] = replace(
                    one, tags=scenario.tags, passes=scenario.passes, xfail=scenario.xfail
                )
        return found


def read_run(store: Store, record: SuiteRunRecord, *, retry_errors: bool = False) -> Resumed:
    """A run with what it has finished.

    Args:
        store: Where it is.
        record: The run.
        retry_errors: Leave out scenarios that ended in an error, or that the frontier left open,
            so that they run again.
    """
    found = [from_record(row) for row in store.scenario_results(record.id)]
    if retry_errors:
        found = [one for one in found if not _is_trouble(one)]
    return Resumed(record, {one.key: one for one in found})


def find_run(
    store: Store, named: str, *, suite: str | None = None, arm: str | None = None
) -> SuiteRunRecord:
    """The suite run that a word stands for.

    Args:
        store: Where to look.
        named: `latest`, `blessed`, a label, or the beginning of an id. Of runs with the same label
            the newest counts.
        suite: Only runs of this suite.
        arm: Only runs in this arm, where the word is not an id.

    Raises:
        ConfigError: There is none.
        TraceError: More than one id starts like this.
    """
    runs = [
        run
        for run in store.suite_runs(None, suite=suite)
        if arm is None or (run.arm or "system") == arm
    ]
    of = f" of suite {suite!r}" if suite is not None else ""
    of += f" in arm {arm!r}" if arm is not None else ""
    if named == "latest":
        if not runs:
            raise ConfigError(
                f"There is no run{of} in {store.name} yet; `journeyman run` makes one."
            )
        return runs[0]
    if named == "blessed":
        found = next((run for run in runs if run.is_baseline), None)
        if found is None:
            raise ConfigError(
                f"No run{of} in {store.name} is blessed; bless one with `journeyman bless RUN`."
            )
        return found
    labelled = next((run for run in runs if run.label == named), None)
    if labelled is not None:
        return labelled
    record = store.suite_run(named)
    if suite is not None and record.suite != suite:
        raise ConfigError(f"Run {record.id!r} is of suite {record.suite!r}, not of {suite!r}.")
    return record


def selection_of(record: SuiteRunRecord) -> Selection:
    """What a run had selected."""
    return Selection.from_json(record.options["selection"])


def _is_trouble(one: Finished) -> bool:
    return one.status == "error" or (
        one.status != "passed" and any(task.error is not None for task in one.tasks)
    )
