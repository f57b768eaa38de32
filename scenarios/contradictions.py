"""Parts of a suite that do not fit each other, each with its place and one sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet

from journeyman.scenarios.marked import Loc
from journeyman.scenarios.spec import (
    AGENTS,
    FORMAT_AGENTS,
    METRIC_AGENT,
    FileData,
    InlineScenario,
    MetricName,
    QrelsData,
    Split,
    SuiteSpec,
)


def contradictions(spec: SuiteSpec, written: Sequence[InlineScenario]) -> Iterator[tuple[Loc, str]]:
    """What pydantic cannot see: parts of a suite that do not fit each other.

    Args:
        spec: The suite.
        written: All scenarios written out, in whatever file.
    """
    if not written and not spec.data:
        yield (), "The suite has no scenarios; add some under `scenarios:` or `data:`."
    yield from _unknown(spec, written)
    yield from _repeated(spec)
    yield from _misfits(spec, {spec.agent, *(scenario.agent for scenario in written)})
    yield from _metric_misfits(spec)
    yield from _overlaps(spec)


def _unknown(spec: SuiteSpec, written: Sequence[InlineScenario]) -> Iterator[tuple[Loc, str]]:
    """Sub-agents that are neither built in nor the user's own."""
    known = {None, *AGENTS, *spec.agents.own}
    asked: list[tuple[Loc, str | None]] = [(("agent",), spec.agent)]
    asked += [(("scenarios", at, "agent"), one.agent) for at, one in enumerate(written)]
    for loc, name in asked:
        if name not in known:
            names = [*AGENTS, *spec.agents.own]
            choices = ", ".join(map(repr, names[:-1])) + f" or {names[-1]!r}"
            where = ".".join(map(str, loc))
            own = f"one of your own needs `agents.{name}.use`"
            yield loc, f"{where!r} should be {choices}, not {name!r}; {own}."


def _repeated(spec: SuiteSpec) -> Iterator[tuple[Loc, str]]:
    names: set[str] = {"inline"}
    for position, data in enumerate(spec.data):
        if data.name in names:
            reason = "is kept for `scenarios:`" if data.name == "inline" else "is used twice"
            yield (
                ("data", position, "name"),
                f"Data set name {data.name!r} {reason}; choose another.",
            )
        names.add(data.name)


def _misfits(spec: SuiteSpec, asked: AbstractSet[str | None]) -> Iterator[tuple[Loc, str]]:
    """Data sets and settings that do not fit the sub-agent."""
    formats = {data.format for data in spec.data}
    for position, data in enumerate(spec.data):
        fitting = FORMAT_AGENTS[data.format]
        if spec.agent is not None and spec.agent not in fitting:
            yield (
                ("data", position, "format"),
                (
                    f"Format {data.format!r} has no references for agent {spec.agent!r}; "
                    f"use it with {' or '.join(map(repr, fitting))}."
                ),
            )
    extraction, retrieval, routing = (
        spec.agents.extraction,
        spec.agents.retrieval,
        spec.agents.routing,
    )
    if "desk" in formats and (extraction is None or extraction.schema_path is None):
        yield (
            ("agents", "extraction"),
            "Format 'desk' needs a schema; set `agents.extraction.schema` to 'module:Class'.",
        )
    if extraction is None and "extraction" in asked and not formats & _LABELLED:
        yield (
            ("agent",),
            "The suite needs extraction; set `agents.extraction.schema` or `.labels`.",
        )
    if retrieval is None and "retrieval" in asked and "qrels" not in formats:
        yield ("agent",), "The suite needs retrieval; set `agents.retrieval.corpus`."
    if extraction is not None and extraction.schema_path is None and extraction.labels is None:
        yield ("agents", "extraction"), "'agents.extraction' needs 'schema' or 'labels'."
    if extraction is not None and extraction.labels == "auto" and not formats & _LABELLED:
        yield (
            ("agents", "extraction", "labels"),
            (
                "Labels 'auto' need a data set in format 'bio', 'spans' or 'fields'; "
                "name the labels, or add one."
            ),
        )
    if retrieval is not None and retrieval.corpus == "auto" and "qrels" not in formats:
        yield (
            ("agents", "retrieval"),
            "Corpus 'auto' needs a data set in format 'qrels'; name the corpus, or add one.",
        )
    if routing is not None and routing.routes == "labels" and not formats & {"labels", "bio"}:
        yield (
            ("agents", "routing", "routes"),
            (
                "Routes 'labels' need a data set in format 'labels' or 'bio'; "
                "name the routes, or add one."
            ),
        )


_LABELLED = {"bio", "spans", "fields"}


def _metric_misfits(spec: SuiteSpec) -> Iterator[tuple[Loc, str]]:
    chosen: list[tuple[Loc, str | None, MetricName]] = []
    if isinstance(spec.metric, dict):
        chosen = [(("metric", agent), agent, metric) for agent, metric in spec.metric.items()]
    elif spec.metric is not None:
        chosen = [(("metric",), spec.agent, spec.metric)]
    for loc, agent, metric in chosen:
        judged = METRIC_AGENT.get(metric, "sub-agents of your own")
        is_own = agent in spec.agents.own
        if agent is not None and judged != agent and (metric != "agreement" or not is_own):
            yield loc, f"Metric {metric!r} judges {judged!r}, not {agent!r}; choose another."


def _overlaps(spec: SuiteSpec) -> Iterator[tuple[Loc, str]]:
    """Data sets that share rows: what is learnt from one must not be judged on the other."""
    for position, data in enumerate(spec.data):
        for earlier in spec.data[:position]:
            shared = _files(data) & _files(earlier)
            if shared and not _disjoint(data.split, earlier.split):
                yield (
                    ("data", position),
                    (
                        f"Data sets {earlier.name!r} and {data.name!r} share rows of "
                        f"{min(shared)!r}; give both a `split` whose parts do not overlap."
                    ),
                )


def _files(data: FileData | QrelsData) -> set[str]:
    if isinstance(data, QrelsData):
        return {data.queries}
    return {data.file} if data.file is not None else set(data.files or ())


def _disjoint(one: Split | None, other: Split | None) -> bool:
    if one is None or other is None:
        return False
    return max(one.buckets.start, other.buckets.start) >= min(one.buckets.stop, other.buckets.stop)
