"""Sub-agents: which is trusted and why, whether its confidence holds, what another target means."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from markupsafe import Markup

from journeyman.models.deferral import risk_coverage
from journeyman.models.errors import ConfigError, NotOnRecord
from journeyman.models.savings import Terms
from journeyman.models.scoring import ReliabilityBin, calibration_error, reliability
from journeyman.models.types import Risk, RiskKind
from journeyman.traces.judged import read_recording
from journeyman.traces.replay import MAX_POINTS, Replay, replay
from journeyman.traces.store import Store
from journeyman.traces.viewer import charts
from journeyman.traces.viewer.intervals import wilson
from journeyman.traces.viewer.queries import agents as queries
from journeyman.traces.viewer.queries import overview
from journeyman.traces.viewer.queries.agents import Attempted
from journeyman.traces.viewer.visit import Shown, Visit

NUM_BINS, LABELS_A_BIN = 10, 20
"""Bins of a reliability diagram: at most so many, and few where there are few labels."""

Point = tuple[float, float, float, float]
"""Coverage, share wrong of the accepted, share of all that is accepted and wrong, threshold."""

_KINDS: tuple[RiskKind, ...] = ("joint", "selective")


async def agents(visit: Visit) -> Shown:
    """Every sub-agent with what it is trusted with, over the latest 30 days of traffic."""

    def read(connection: sqlite3.Connection) -> dict[str, Any]:
        period = overview.period(connection, 30)
        return {
            "trust": overview.trust(connection),
            "pending": overview.pending(connection),
            "by_agent": overview.traffic(connection, *period).by_agent if period else {},
        }

    return Shown("agents.html", "Sub-agents", await visit.read(read))


async def agent(visit: Visit) -> Shown:
    """One sub-agent."""
    name, query = visit.part("agent"), visit.query

    def read(connection: sqlite3.Connection) -> dict[str, Any]:
        trust = queries.trust(connection, name)
        known = queries.releases(connection, name)
        wanted = query.get("release") or next(
            (each["id"] for each in known if each["num_attempts"]), ""
        )
        return {
            "trust": trust,
            "standing": queries.standing(connection, None if trust is None else trust["release"]),
            "releases": known,
            "release": wanted,
            "of_release": queries.standing(connection, wanted),
            "attempts": queries.latest(connection, name, wanted),
            "changes": queries.changes(connection, name),
            "spending": queries.spending(connection, name),
            "pending": overview.pending(connection).get(name, 0),
        }

    facts = await visit.read(read)
    if facts["trust"] is None:
        raise NotOnRecord(f"No task and no release of a sub-agent {name!r} is on record.")
    attempts = facts.pop("attempts")
    asked, problem = _asked(query, facts["of_release"])
    done = None
    if "max_error" in query and not problem:
        done, problem = await _replayed(visit, name, facts["release"], asked)
    facts |= {
        "agent": name,
        "asked": asked,
        "problem": problem,
        "done": done,
        "kinds": _KINDS,
        "num_attempts": len(attempts),
        "window": queries.WINDOW,
        "evidence": _evidence(attempts, query.get("evidence", "")),
        "reliability": _reliability(attempts),
        "risk": _risk(attempts, facts["of_release"], done),
        "spent": _spent(facts["spending"]),
    }
    return Shown("agent.html", name, facts)


@dataclass(frozen=True, slots=True)
class Asked:
    """A target that somebody asks about, as the form has it."""

    max_error: str
    delta: str
    kind: str
    audit_rate: str

    @property
    def risk(self) -> Risk:
        """The target.

        Raises:
            ValueError: A number is none, or lies outside its range.
        """
        kind = cast("RiskKind", self.kind)
        return Risk(max_error=float(self.max_error), delta=float(self.delta), kind=kind)


def _asked(query: dict[str, str], standing: dict[str, Any] | None) -> tuple[Asked, str]:
    """What the query string asks about, and what is wrong with it; by default what is certified."""
    has = standing or {"max_error": 0.05, "delta": 0.05, "kind": "joint"}
    asked = Asked(
        query.get("max_error", f"{has['max_error']:.4g}"),
        query.get("delta", f"{has['delta']:.4g}"),
        query.get("kind", f"{has['kind']}"),
        query.get("audit_rate", "0.05"),
    )
    try:
        asked.risk  # noqa: B018  # raises where it cannot be
        is_share = 0 <= float(asked.audit_rate) <= 1
    except ValueError:
        is_share = False
    if not is_share:
        return asked, (
            "Give an acceptable error and a delta between 0 and 1, both excluded, an audit rate "
            "from 0 to 1, and a kind: joint or selective."
        )
    return asked, ""


async def _replayed(
    visit: Visit, agent: str, release: str, asked: Asked
) -> tuple[Replay | None, str]:
    """What the record says of a target, or why it says nothing."""

    def work(store: Store) -> Replay | None:
        recording = read_recording(store, agent, release)
        if not recording.judged:
            return None
        terms = Terms(
            audit_rate=float(asked.audit_rate), frontier_microusd=recording.frontier_microusd
        )
        return replay(recording, asked.risk, terms=terms)

    try:
        done = await visit.with_store(work)
    except (ConfigError, ValueError) as error:
        return None, f"This cannot be redrawn from the record: {error}"
    if done is None:
        return None, (
            "No attempt of this release has a label that may certify: only audits count, and "
            "escalations while nothing is certified."
        )
    return done, ""


@dataclass(frozen=True, slots=True)
class Reliability:
    """Confidence against what happened.

    Attributes:
        chart: The picture.
        bins: Answers of about the same confidence.
        error: Expected calibration error.
        sources: Who gave the labels.
    """

    chart: Markup
    bins: Sequence[tuple[ReliabilityBin, float, float]]
    error: float
    sources: Sequence[str]


def _reliability(attempts: Sequence[Attempted]) -> Reliability | None:
    # What failed a hard check is always labelled, and what is like it seldom: bins would lean.
    judged = [
        a for a in attempts if a.is_valid and a.confidence is not None and a.is_right is not None
    ]
    if not judged:
        return None
    scores = [a.confidence for a in judged if a.confidence is not None]
    right = [bool(a.is_right) for a in judged]
    num_bins = min(max(len(judged) // LABELS_A_BIN, 3), NUM_BINS)
    bins = [
        (each, *wilson(round(each.accuracy * each.num_items), each.num_items))
        for each in reliability(scores, right, num_bins)
    ]
    line = charts.Line(
        "agreement",
        "student",
        [(each.confidence, each.accuracy) for each, _, _ in bins],
        notes=[
            f"confidence {each.confidence:.3f}: {each.accuracy:.1%} agree of {each.num_items}"
            for each, _, _ in bins
        ],
        tags=[f"{each.num_items:,}" for each, _, _ in bins],
        joined=False,
        spans=[(low, high) for _, low, high in bins],
    )
    chart = charts.plot(
        [line],
        charts.Axis("confidence"),
        charts.Axis("share that agrees"),
        "Reliability: mean confidence of a bin against the share of it that agrees with the label",
        diagonal=True,
    )
    error = calibration_error(scores, right, num_bins)
    return Reliability(chart, bins, error, queries.sources_of(judged))


@dataclass(frozen=True, slots=True)
class RiskCurve:
    """Error against coverage.

    Attributes:
        chart: The picture.
        num_labels: Labels behind it.
        sources: Who gave them.
        is_replay: It is drawn from the replay that was asked for.
    """

    chart: Markup
    num_labels: int
    sources: Sequence[str]
    is_replay: bool


def _risk(
    attempts: Sequence[Attempted], standing: dict[str, Any] | None, done: Replay | None
) -> RiskCurve | None:
    """The curve of the replay that was asked for, or of the latest attempts' fair labels."""
    threshold = None if standing is None else standing["threshold"]
    if done is not None:
        points = [(p.coverage, p.selective_error, p.joint_error, p.threshold) for p in done.curve]
        marks = _marks(points, threshold if done.scores == "recorded" else None)
        asked = done.asked.certificate
        if asked.is_feasible and asked.threshold != threshold:
            marks.append((asked.coverage, f"what if {asked.threshold:.3f}"))
        chart = _risk_chart(points, marks, done.risk.max_error)
        return RiskCurve(chart, done.num_labels, sorted(done.label_sources), is_replay=True)
    judged = [a for a in attempts if a.is_fair and a.confidence is not None]
    points = fair_curve(judged)
    if not points:
        return None
    target = None if standing is None else standing["max_error"]
    chart = _risk_chart(points, _marks(points, threshold), target)
    return RiskCurve(chart, len(judged), queries.sources_of(judged), is_replay=False)


def fair_curve(judged: Sequence[Attempted]) -> list[Point]:
    """What each threshold would accept of a fair sample, as a replay has it.

    Args:
        judged: Labelled attempts with a confidence. Those that are not valid are accepted at no
            threshold, and count among all.
    """
    valid = [
        (a.confidence, bool(a.is_right)) for a in judged if a.is_valid and a.confidence is not None
    ]
    if not valid:
        return []
    share = len(valid) / len(judged)
    curve = risk_coverage([c for c, _ in valid], [right for _, right in valid], MAX_POINTS)
    return [(p.coverage * share, p.selective_risk, p.joint_risk * share, p.threshold)
            for p in curve]  # fmt: skip


def _marks(points: Sequence[Point], threshold: float | None) -> list[tuple[float, str]]:
    """Where the certified threshold lies on a curve."""
    if threshold is None:
        return []
    reached = max((coverage for coverage, _, _, at in points if at >= threshold), default=0.0)
    return [(reached, f"certified threshold {threshold:.3f}")]


def _risk_chart(
    points: Sequence[Point],
    marks: Sequence[tuple[float, str]],
    target: float | None,
) -> Markup:
    highest = max([error for _, *errors, _ in points for error in errors] + [target or 0.0, 0.05])
    marks_y = charts.ticks(min(highest, 1.0))
    lines = [
        charts.Line(
            "wrong among the accepted", "student",
            [(coverage, selective) for coverage, selective, _, _ in points],
            dots=len(points) < 30, label="wrong among the accepted", label_at=0.35,
            notes=[f"threshold {threshold:.3f}: {coverage:.1%} accepted, {selective:.1%} wrong"
                   for coverage, selective, _, threshold in points],
        ),
        charts.Line(
            "accepted and wrong, of all", "quiet",
            [(coverage, joint) for coverage, _, joint, _ in points],
            dots=False, label="accepted and wrong, of all", label_at=0.65,
        ),
    ]  # fmt: skip
    if target is not None:
        limit = charts.Line("target", "bad", [(0, target), (1, target)], dots=False,
                            label=f"target {target:.3g}")  # fmt: skip
        lines.append(limit)
    return charts.plot(
        lines,
        charts.Axis("coverage: share of answers accepted"),
        charts.Axis("error", high=marks_y[-1], ticks=marks_y),
        "Risk against coverage, from the highest threshold down",
        marks=marks,
    )


@dataclass(frozen=True, slots=True)
class Histogram:
    """One named number of the attempts, as a picture."""

    chart: Markup
    found: queries.Evidence
    sources: Sequence[str]


def _evidence(attempts: Sequence[Attempted], wanted: str) -> Histogram | None:
    found = queries.evidence(attempts, wanted)
    if found is None:
        return None
    low, high = found.edges[0], found.edges[-1]
    steps = [low + (high - low) * i / 4 for i in range(5)]
    series = [
        charts.Series("agree with the label", "student", found.right),
        charts.Series("differ from it", "bad", found.wrong),
        charts.Series("without a label", "unlabelled", found.unlabelled),
    ]
    axis = charts.Axis(found.name, low, high, [float(f"{x:.3g}") for x in steps], unit="number")
    title = f"Histogram of {found.name} over the latest attempts"
    chart = charts.histogram(found.edges, series, axis, title)
    return Histogram(chart, found, queries.sources_of(attempts))


def _spent(spending: queries.Spending | None) -> Markup | None:
    if spending is None or not any(spending.microusd):
        return None
    usd = [value / 1e6 for value in spending.microusd]
    series = [charts.Series("dollars", "frontier", usd)]
    return charts.stacked_bars(
        spending.days, series, "Frontier cost a day, in dollars", "{:.4f}".format
    )
