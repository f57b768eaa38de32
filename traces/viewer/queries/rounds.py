"""Rounds: the learning curve of each sub-agent, and one round with its report."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from journeyman.models.certificate import Certificate
from journeyman.traces.viewer.queries.reading import json_of, mapping, mappings, number
from journeyman.traces.viewer.queries.run import contents

STAGES = (
    "collect", "curate", "teacher_check", "train", "evaluate", "certify", "decide", "promote",
)  # fmt: skip
"""Of a round, in order; see `graph.round_state`, which a test holds this against."""

MAX_ROUNDS = 200


def history(connection: sqlite3.Connection, agent: str = "") -> dict[str, list[dict[str, Any]]]:
    """Rounds by sub-agent, each oldest first; the sub-agent with the latest round comes first."""
    rows = connection.execute(
        f"""SELECT * FROM v_rounds WHERE :agent = '' OR agent = :agent
        ORDER BY started_at DESC LIMIT {MAX_ROUNDS}""",  # noqa: S608  # a constant
        {"agent": agent},
    )
    grouped: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        grouped.setdefault(row["agent"], []).append(dict(row))
    return {name: found[::-1] for name, found in grouped.items()}


@dataclass(frozen=True, slots=True)
class Arm:
    """One student that competed, as the report has it.

    Attributes:
        name: `trained`, `untrained` or `incumbent`.
        figures: Its numbers by name; None where one is not known.
        facts: What its trainer said.
        release: Its id; empty where no release was made of it.
        certificate: What can be proved of it; None where nothing was tried.
    """

    name: str
    figures: Mapping[str, float | None]
    facts: Mapping[str, Any]
    release: str
    certificate: Certificate | None


@dataclass(frozen=True, slots=True)
class Report:
    """A round's report in the shape that a page needs, whatever is in it.

    Attributes:
        arms: Students that competed, the one that was put up first.
        challenger: Name of that arm.
        collected, curated: Figures of these stages.
        target: Kind, max_error and delta of the certificates.
        label_source: Who gave the labels.
        tests: What was asked of the challenger, each `{name, outcome, detail}`.
        quality: Challenger against incumbent on the same tasks; empty where nothing answered yet.
        coverage: The same of what a certificate lets out.
        augrc: The same of the risk at all thresholds; empty in reports of earlier versions.
        slices: `quality` by slice.
        in_traffic: Release that answers when the round ends.
        recertified: A newer certificate of the incumbent; None where none came of it.
    """

    arms: Sequence[Arm]
    challenger: str
    collected: Mapping[str, Any]
    curated: Mapping[str, Any]
    target: Mapping[str, Any]
    label_source: str
    tests: Sequence[Mapping[str, Any]]
    quality: Mapping[str, Any]
    coverage: Mapping[str, Any]
    augrc: Mapping[str, Any]
    slices: Mapping[str, Mapping[str, Any]]
    in_traffic: str
    recertified: Certificate | None


def find(connection: sqlite3.Connection, round_id: str) -> dict[str, Any] | None:
    """A round with what made it and what it made; None where it is not on record."""
    row = connection.execute("SELECT * FROM rounds WHERE id = ?", [round_id]).fetchone()
    return None if row is None else {**dict(row), "metrics": mapping(json_of(row["metrics"]))}


def starting_with(connection: sqlite3.Connection, prefix: str) -> list[str]:
    """Ids that start so, at most two: the command line shows the start alone."""
    rows = connection.execute(
        "SELECT id FROM rounds WHERE id >= ? AND id < ? ORDER BY id LIMIT 2",
        [prefix, prefix + "~"],
    )
    return [row[0] for row in rows]


def neighbours(
    connection: sqlite3.Connection, row: Mapping[str, Any]
) -> tuple[str | None, str | None]:
    """Ids of the same sub-agent's round before and after."""
    found = dict(
        connection.execute(
            "SELECT number, id FROM rounds WHERE agent = ? AND number IN (?, ?)",
            [row["agent"], row["number"] - 1, row["number"] + 1],
        ).fetchall()
    )
    return found.get(row["number"] - 1), found.get(row["number"] + 1)


def known_releases(connection: sqlite3.Connection, agent: str) -> set[str]:
    """Ids of a sub-agent's releases on record."""
    rows = connection.execute("SELECT id FROM releases WHERE agent = ?", [agent])
    return {row[0] for row in rows}


def report(connection: sqlite3.Connection, row: Mapping[str, Any]) -> Report | None:
    """What a round found; None while it runs, or where its report is not on record."""
    hashed = row["report_hash"]
    content = contents(connection, [hashed])
    if hashed not in content:
        return None
    data = mapping(content[hashed])
    decision = mapping(data.get("decision"))
    challenger = _text(data.get("challenger"))
    arms = [_arm(name, mapping(arm)) for name, arm in mapping(data.get("arms")).items()]
    return Report(
        sorted(arms, key=lambda arm: arm.name != challenger),
        challenger,
        mapping(data.get("collected")),
        mapping(data.get("curated")),
        mapping(data.get("target")),
        _text(data.get("label_source")),
        mappings(decision.get("tests"), name="", outcome="", detail=""),
        mapping(decision.get("quality")),
        mapping(decision.get("coverage")),
        mapping(decision.get("augrc")),
        {name: mapping(one) for name, one in mapping(decision.get("slices")).items()},
        _text(data.get("in_traffic")),
        _certificate(data.get("recertified")),
    )


_FIGURES = (
    "quality", "coverage", "auroc", "brier", "ece", "p50_ms", "p95_ms", "train_seconds",
    "num_examples",
)  # fmt: skip


def _arm(name: str, arm: Mapping[str, Any]) -> Arm:
    return Arm(
        name,
        {figure: number(arm.get(figure)) for figure in _FIGURES},
        mapping(arm.get("facts")),
        _text(arm.get("release")),
        _certificate(arm.get("certificate")),
    )


def _certificate(data: Any) -> Certificate | None:
    try:
        return None if data is None else Certificate.model_validate(data)
    except ValidationError:
        return None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
