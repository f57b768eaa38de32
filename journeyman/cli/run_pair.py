"""Two runs side by side, as text for people and as data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from journeyman.cli.console import money, table
from journeyman.cli.terminal import harmless

if TYPE_CHECKING:
    from journeyman.traces.reads import RunTrace
    from journeyman.traces.records import AttemptRecord
    from journeyman.traces.run_diff import TaskPair

_CELL = 60
_ALWAYS_OTHER = ("run", "started")
_FACTS = ("source", "reason", "release", "confidence", "certified", "cost_microusd", "latency_ms")


def render_pair(first: RunTrace, second: RunTrace, pairs: Sequence[TaskPair]) -> str:
    """Both runs, then each task with its facts and answers; `*` marks what differs."""
    rows = [
        _row(name, one, other)
        for name, one, other in (
            ("run", first.run.id[:12], second.run.id[:12]),
            ("started", f"{first.run.started_at:%F %T}", f"{second.run.started_at:%F %T}"),
            ("status", first.run.status, second.run.status),
            ("tasks", first.run.num_tasks, second.run.num_tasks),
            ("escalated", first.run.num_escalations, second.run.num_escalations),
            ("cost", money(first.run.cost_microusd), money(second.run.cost_microusd)),
            ("ms", _ms(first), _ms(second)),
        )
    ]
    blocks = [table(["", "", "first", "second"], rows)]
    for pair in pairs:
        same = "" if pair.is_same_task else "  (another task)"
        lines = [
            _row(name, _fact(pair.first, name), _fact(pair.second, name)) for name in _FACTS
        ] + [_row(each.path or "answer", each.first, each.second) for each in pair.answers]
        blocks.append(f"{pair.agent}{same}\n" + table(["", "", "first", "second"], lines))
    different = sum(pair.differs for pair in pairs)
    blocks.append(f"{different} of {len(pairs)} tasks differ in answer or source.")
    return "\n\n".join(blocks)


def plain_pair(first: RunTrace, second: RunTrace, pairs: Sequence[TaskPair]) -> dict[str, Any]:
    """The same as data."""
    return {
        "first": _plain_run(first),
        "second": _plain_run(second),
        "tasks": [
            {
                "agent": pair.agent,
                "is_same_task": pair.is_same_task,
                "differs": pair.differs,
                "first": _plain_side(pair.first),
                "second": _plain_side(pair.second),
                "differences": [
                    {"path": each.path, "first": each.first, "second": each.second}
                    for each in pair.answers
                    if each.differs
                ],
            }
            for pair in pairs
        ],
    }


def _plain_run(trace: RunTrace) -> dict[str, Any]:
    names = (
        "id", "status", "started_at", "num_tasks", "num_escalations", "cost_microusd",
        "scenario_id",
    )  # fmt: skip
    return {name: getattr(trace.run, name) for name in names}


def _plain_side(attempt: AttemptRecord | None) -> dict[str, Any] | None:
    if attempt is None:
        return None
    return {name: getattr(attempt, name) for name in ("task_id", *_FACTS, "answer", "error")}


def _fact(attempt: AttemptRecord | None, name: str) -> Any:
    if attempt is None:
        return None
    value = getattr(attempt, name)
    if name == "cost_microusd":
        return money(value)
    return round(value, 3) if isinstance(value, float) else value


def _row(name: str, first: Any, second: Any) -> list[str]:
    is_other = first != second and name not in _ALWAYS_OTHER
    return ["*" if is_other else "", harmless(name), _cell(first), _cell(second)]


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    line = harmless(" ".join(text.split()))
    return line if len(line) <= _CELL else line[: _CELL - 1] + "…"


def _ms(trace: RunTrace) -> str:
    ended = trace.run.ended_at
    return "-" if ended is None else f"{(ended - trace.run.started_at).total_seconds() * 1e3:.0f}"
