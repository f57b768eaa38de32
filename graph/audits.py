"""Where audits fall: mostly on tasks whose group certifies.

A round keeps a share of all groups out of teaching for ever, and only the labels of these certify.
An audit of any other task could merely teach, so most audits are kept for the tasks that count. The
draw still knows nothing of the student, and each task's own probability is logged. Knows neither
thresholds nor stores.
"""

from __future__ import annotations

from typing import Any

from journeyman.agents.base import Agent
from journeyman.models.audit import AuditDraw, audit_chances, audit_draw
from journeyman.models.errors import InvalidTask
from journeyman.traces.likeness import group_key
from journeyman.traces.split import SALT, Shares, part_of

EARLY_LABELS = 1000
"""Until a certificate rests on so many labels, each further one lets the student answer more."""


def rate_at(num_labels: int, rate: float, early_rate: float) -> float:
    """Share of tasks in [0, 1] to be audited under a certificate that rests on so many labels."""
    return max(rate, early_rate) if num_labels < EARLY_LABELS else rate


def group_of(agent: Agent[Any, Any], task: Any) -> str:
    """Hash of what must not be split between teaching and certifying.

    Args:
        agent: The sub-agent, which may know what tasks have in common.
        task: A task of it as JSON-compatible data.
    """
    try:
        shared = agent.group(agent.validate(task))
    except InvalidTask:  # a task of another day: nothing is known to belong to it
        shared = None
    return group_key(task if shared is None else shared)


def draw_for(
    agent: Agent[Any, Any], task: Any, *, key: str, occurrence: str, rate: float, share: float
) -> AuditDraw:
    """Draw, or do not draw, one task for an audit, with the probability that it had.

    Args:
        agent: The sub-agent.
        task: Its task as JSON-compatible data.
        key: Content hash of the task.
        occurrence: What tells this occurrence of the task from another.
        rate: Share of all tasks to be audited, in [0, 1].
        share: Share of the groups that certify, in [0, 1).
    """
    chances = audit_chances(rate, share)
    chance = chances.other
    if chances.certifying > chances.other:
        part = part_of(group_of(agent, task), SALT, Shares(calibration=share, head=0.0))
        chance = chances.certifying if part == "calibration" else chances.other
    return audit_draw(key, occurrence, chance, salt=agent.name)
