"""An escalation as people read it, and as data."""

from __future__ import annotations

import difflib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from journeyman.cli.console import table
from journeyman.cli.terminal import harmless

if TYPE_CHECKING:
    from journeyman.traces.reviews import Case, Entry

_CELL = 60
_AGREES = {True: "agrees", False: "differs", None: "unknown"}


def entry_row(entry: Entry) -> list[str]:
    """A line of a list."""
    return [
        entry.id[:18],
        f"{entry.created_at:%Y-%m-%d %H:%M:%S}",
        entry.agent,
        entry.reason,
        entry.status,
        _AGREES[entry.agreement],
        "" if entry.confidence is None else f"{entry.confidence:.3f}",
        entry.review_status + (f" by {entry.reviewer}" if entry.reviewer else ""),
    ]


ENTRY_HEADERS = [
    "escalation", "when", "sub-agent", "reason", "status", "student", "confidence", "review",
]  # fmt: skip


def plain_case(case: Case) -> dict[str, Any]:
    """Everything about an escalation, JSON-compatible."""
    from journeyman.traces.differences import side_by_side

    escalation, attempt = case.escalation, case.attempt
    facts = asdict(escalation)
    facts["task"] = case.task
    facts["attempt"] = None
    if attempt is not None:
        facts["attempt"] = {
            name: getattr(attempt, name)
            for name in (
                "task_id", "task_key", "release", "evidence", "checks", "confidence", "threshold",
                "decision", "certified", "audit_probability", "audited", "would_accept", "source",
                "answer", "note", "error",
            )
        }  # fmt: skip
    facts["differences"] = [
        {"path": pair.path, "student": pair.first, "frontier": pair.second}
        for pair in side_by_side(escalation.student_output, escalation.frontier_output)
        if pair.differs
    ]
    facts |= {
        "suite": case.suite,
        "scenario_id": case.scenario_id,
        "reviewer": case.reviewer,
        "reviewed_at": case.reviewed_at,
        "reviewed_output": case.reviewed_output,
        "scores": [
            {
                name: getattr(score, name)
                for name in (
                    "name", "score", "label", "explanation", "annotator_kind", "identifier",
                    "created_at",
                )
            }
            for score in case.scores
        ],
    }  # fmt: skip
    return facts


def render_case(case: Case) -> str:
    """An escalation on a page: task, both answers with their differences, and where it is from."""
    blocks = [_head(case), "task\n" + _indented(_pretty(case.task)), _answers(case)]
    if case.reviewed_output is not None:
        blocks.append("reviewer's answer\n" + _indented(_pretty(case.reviewed_output)))
    blocks += [_student(case), _frontier(case), _provenance(case)]
    said = [_said(score) for score in case.scores if score.name in {"review", "teacher_check"}]
    if said:
        blocks.append("said of it\n" + "\n".join(said))
    return harmless("\n\n".join(blocks))


def _head(case: Case) -> str:
    escalation = case.escalation
    by = ""
    if case.reviewer is not None and case.reviewed_at is not None:
        by = f" by {case.reviewer}, {case.reviewed_at:%Y-%m-%d %H:%M:%S} UTC"
    return (
        f"escalation {case.id}  {escalation.agent}: {escalation.reason}, {escalation.status}\n"
        f"review     {case.status}{by}"
    )


def _answers(case: Case) -> str:
    from journeyman.traces.differences import side_by_side

    student, frontier = case.escalation.student_output, case.escalation.frontier_output
    pairs = side_by_side(student, frontier)
    verdict = {True: "the sub-agent calls them the same", False: "they differ", None: ""}
    title = "student and frontier" + (
        f": {verdict[case.escalation.agreement]}" if case.escalation.agreement is not None else ""
    )
    if not pairs:
        return f"{title}\n  neither answered"
    rows = [
        ["*" if pair.differs else "", pair.path, _cell(pair.first), _cell(pair.second)]
        for pair in pairs
    ]
    blocks = [title, _indented(table(["", "field", "student", "frontier"], rows))]
    for pair in pairs:
        if pair.differs and _is_long(pair.first) and _is_long(pair.second):
            blocks.append(f"  {pair.path}: - student, + frontier")
            lines = difflib.unified_diff(
                pair.first.splitlines(), pair.second.splitlines(), lineterm="", n=2
            )
            blocks.append(_indented("\n".join(list(lines)[2:])))
    return "\n".join(blocks)


def _student(case: Case) -> str:
    attempt = case.attempt
    if attempt is None:
        return "student    its attempt is not on record"
    numbers = "  ".join(f"{name}={value:.3g}" for name, value in attempt.evidence.items())
    failed = [
        f"{check['name']} ({check.get('detail') or 'no detail'})"
        for check in attempt.checks
        if not check["passed"]
    ]
    lines = [
        f"student    release {attempt.release}",
        f"confidence {_number(attempt.confidence)}, threshold {_number(attempt.threshold)}",
        f"evidence   {numbers or 'none'}",
        f"checks     {'failed: ' + '; '.join(failed) if failed else 'passed'}",
    ]
    if attempt.note:
        lines.append(f"note       {attempt.note}")
    return "\n".join(lines)


def _frontier(case: Case) -> str:
    escalation = case.escalation
    cost = "price unknown"
    if escalation.cost_microusd is not None:
        cost = f"${escalation.cost_microusd / 1e6:.6f}"
    told = (
        f"frontier   {escalation.frontier_model or 'none'}, {cost}, "
        f"{escalation.input_tokens} + {escalation.output_tokens} tokens, "
        f"{escalation.latency_ms:.0f} ms"
    )
    return told + (f"\nerror      {escalation.error}" if escalation.error else "")


def _provenance(case: Case) -> str:
    escalation = case.escalation
    where = ", ".join(
        part
        for part in (
            f"suite {case.suite}" if case.suite else "",
            f"scenario {case.scenario_id}" if case.scenario_id else "",
            f"run {escalation.run_id[:8]}",
            f"{escalation.created_at:%Y-%m-%d %H:%M:%S} UTC",
        )
        if part
    )
    terms = "may train" if escalation.trainable else "may not train (the provider's terms)"
    return f"from       {where}\nlabel      {escalation.label_source}, {terms}"


def _said(score: Any) -> str:
    note = f": {score.explanation}" if score.explanation else ""
    who = score.identifier.rsplit(" ", 1)[0]
    return f"  {score.created_at:%Y-%m-%d %H:%M:%S}  {who} {score.label}{note}"


def _pretty(value: Any) -> str:
    """A value on several lines; texts of several lines as they are."""
    if isinstance(value, dict) and value:
        lines = []
        for name, item in value.items():
            if isinstance(item, str) and "\n" in item:
                lines.append(f"{name}:\n{_indented(item)}")
            else:
                lines.append(f"{name}: {json.dumps(item, ensure_ascii=False)}")
        return "\n".join(lines)
    return json.dumps(value, ensure_ascii=False, indent=2)


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


def _cell(value: Any) -> str:
    from journeyman.traces.differences import MISSING

    if value == MISSING:
        return "-"
    text = harmless(json.dumps(value, ensure_ascii=False))
    return text if len(text) <= _CELL else text[: _CELL - 1] + "…"


def _is_long(value: Any) -> bool:
    return isinstance(value, str) and "\n" in value


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"
