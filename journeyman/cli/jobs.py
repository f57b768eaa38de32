"""From what a command was asked to the suite runs that it means, new ones or ones to go on with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from journeyman.cli.asked import Asked
from journeyman.graph.settings import Settings
from journeyman.graph.settings_file import chosen_file, here
from journeyman.models.errors import ConfigError
from journeyman.scenarios.calls import CACHE_FILE, ReplyCache
from journeyman.scenarios.limits import Limits, parse_max_errors, require_price
from journeyman.scenarios.options import ExecutionOptions, ReferenceOptions
from journeyman.scenarios.overrides import set_settings, set_suite
from journeyman.scenarios.paths import find_suites
from journeyman.scenarios.report import RunArm
from journeyman.scenarios.resume import Resumed, find_run, read_run
from journeyman.scenarios.runner import RunOptions
from journeyman.scenarios.selection import Selection
from journeyman.scenarios.spec import Gate
from journeyman.scenarios.suite import Suite, load_suite
from journeyman.traces.records import SuiteRunRecord, new_id
from journeyman.traces.store import Store


@dataclass(frozen=True)
class Job:
    """One suite run: a suite in one arm.

    Attributes:
        suite: The suite, with `--set` applied.
        settings: The settings, with `--set` applied.
        options: What to run, and how.
        resumed: The run to go on with; None starts a new one.
    """

    suite: Suite
    settings: Settings
    options: ExecutionOptions
    resumed: Resumed | None = None


def planned_jobs(asked: Asked, settings: Settings) -> list[Job]:
    """New runs: every suite in every arm.

    Raises:
        ConfigError: An option or a suite cannot be used.
    """
    settings = set_settings(settings, asked.sets)
    options = _options(asked, settings)
    project = _project()
    suites = [
        set_suite(load_suite(path), asked.sets)
        for path in find_suites(asked.suites, project=project)
    ]
    _refuse_same_names(suites)
    arms = _arms(asked)
    for arm in arms:
        _require_frontier(replace(options, arm=arm), settings)
    plan = tuple((str(suite.path.resolve()), arm) for suite in suites for arm in arms)
    options = replace(options, group_id=new_id(), plan=plan)
    return [Job(suite, settings, replace(options, arm=arm)) for suite in suites for arm in arms]


def resumed_jobs(asked: Asked, settings: Settings, store: Store) -> list[Job]:
    """The runs that one command began, those it never came to included.

    Raises:
        ConfigError: There is no such run, or the options contradict it.
    """
    retry = asked.retry_errors is not None
    named = asked.retry_errors or asked.resume
    assert named is not None, "callers look whether a run is to be resumed"
    _refuse_other_selection(asked)
    first = find_run(store, named)
    began = _began(store, first)
    plan = first.options.get("plan") or [[first.path, first.arm]]
    wanted = {str(path.resolve()) for path in _suites(asked)} if asked.suites else None
    jobs = []
    for path, arm in plan:
        if wanted is not None and path not in wanted:
            continue
        record = began.get((path, arm))
        sets = tuple((record or first).options.get("sets", ()))
        changed = set_settings(settings, sets)
        options = _options_of(asked, changed, (record or first), arm)
        suite = set_suite(load_suite(path), sets)
        resumed = read_run(store, record, retry_errors=retry) if record is not None else None
        _require_frontier(options, changed)
        jobs.append(Job(suite, changed, options, resumed))
    if not jobs:
        raise ConfigError(f"Run {first.id!r} is of none of these suites; leave them out.")
    return jobs


def _began(store: Store, first: SuiteRunRecord) -> dict[tuple[str, str], SuiteRunRecord]:
    """The runs of the same command, by suite and arm; of the same the newest."""
    runs = [first]
    if first.group_id is not None:
        runs = [run for run in store.suite_runs(None) if run.group_id == first.group_id]
    found: dict[tuple[str, str], SuiteRunRecord] = {}
    for run in runs:
        found.setdefault((run.path or "", run.arm or "system"), run)
    return found


def _options_of(
    asked: Asked, settings: Settings, record: SuiteRunRecord, arm: str
) -> ExecutionOptions:
    """What a run was started with; jobs, limits, gates and the cache are those of this command."""
    told: Mapping[str, Any] = record.options
    if "selection" not in told:
        raise ConfigError(f"Run {record.id!r} was made before runs could be resumed; start anew.")
    chosen = told["reference"]
    now = _options(asked, settings)
    return replace(
        now,
        parts=tuple(told["parts"]) if told["parts"] is not None else None,
        selection=Selection.from_json(told["selection"]),
        epochs=told["epochs"],
        timeout_s=told["timeout_s"],
        arm=_arm(arm),
        reference=ReferenceOptions(**chosen) if chosen is not None else None,
        run=replace(now.run, trust_uncertified=told["trust_uncertified"]),
        releases=told["releases"],
        sets=tuple(told["sets"]),
        label=record.label,
        group_id=record.group_id,
        plan=tuple((path, name) for path, name in told.get("plan", ())),
    )


def _options(asked: Asked, settings: Settings) -> ExecutionOptions:
    stand_in = settings.frontier.model is None if asked.reference is None else asked.reference
    number, share = parse_max_errors(asked.max_errors)
    return ExecutionOptions(
        parts=asked.parts,
        selection=Selection(
            asked.keyword, asked.tags, asked.ids, asked.limit, asked.shard, asked.seed
        ),
        epochs=asked.epochs,
        timeout_s=asked.timeout_s,
        reference=ReferenceOptions(asked.error_rate, asked.latency_ms, seed=asked.seed)
        if stand_in
        else None,
        run=RunOptions(concurrency=asked.jobs, trust_uncertified=asked.trust_uncertified),
        limits=Limits(
            asked.max_cost_usd,
            asked.max_time_s,
            number,
            share,
            asked.fail_fast,
            settings.budget.allow_unpriced,
        ),
        cache=ReplyCache(Path(settings.data_dir) / "cache" / CACHE_FILE) if asked.cache else None,
        gate=Gate(min_pass_rate=asked.min_pass_rate),
        sets=asked.sets,
        label=asked.label,
        argv=asked.argv,
    )


def _arms(asked: Asked) -> tuple[RunArm, ...]:
    return tuple(dict.fromkeys(_arm(name) for name in asked.arms)) or ("system",)


def _arm(name: str) -> RunArm:
    known: tuple[RunArm, ...] = get_args(RunArm)
    for arm in known:
        if arm == name:
            return arm
    raise ConfigError(f"--arm {name!r} is unknown; choose of {', '.join(known)}.")


def _require_frontier(options: ExecutionOptions, settings: Settings) -> None:
    if options.reference is None and settings.frontier.model is None:
        raise ConfigError(
            "No frontier is configured; set [frontier] model in journeyman.toml, "
            "or use --reference."
        )
    asks = options.reference is None and options.arm != "student-only"
    if asks and options.limits.max_cost_usd is not None:
        require_price(settings)


def _refuse_same_names(suites: Sequence[Suite]) -> None:
    """Runs are kept and compared under the suite's name, which two files must not share."""
    first: dict[str, Suite] = {}
    for suite in suites:
        other = first.setdefault(suite.name, suite)
        if other is not suite:
            raise ConfigError(
                f"{str(other.path)!r} and {str(suite.path)!r} are both named {suite.name!r}; give "
                "each suite a name of its own.",
                path=suite.path,
            )


def _refuse_other_selection(asked: Asked) -> None:
    """A resumed run keeps its selection; one that is given besides is a misunderstanding."""
    given = {
        "-k": asked.keyword,
        "--tag": asked.tags,
        "--id": asked.ids,
        "--limit": asked.limit,
        "--shard": asked.shard,
        "--part": asked.parts,
        "--arm": asked.arms,
        "--set": asked.sets,
        "--epochs": asked.epochs,
        "--timeout": asked.timeout_s,
        "--seed": asked.seed,
        "--reference or --configured": asked.reference is not None,
        "--error-rate": asked.error_rate,
        "--latency-ms": asked.latency_ms,
        "--trust-uncertified": asked.trust_uncertified,
        "--label": asked.label,
    }
    clash = next((name for name, value in given.items() if value), None)
    if clash is not None:
        raise ConfigError(f"A resumed run keeps what it was started with; leave {clash} out.")


def _suites(asked: Asked) -> list[Path]:
    return find_suites(asked.suites, project=_project())


def _project() -> Path:
    """The folder of the settings that hold here, else the current one."""
    file = chosen_file()
    return file.parent if file is not None else here()
