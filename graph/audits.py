"""Where audits fall: mostly on tasks whose group certifies.

A round keeps a share of all groups out of teaching for ever, and only the labels of these certify.
An audit of any other task could merely teach, so most audits are kept for the tasks that count. The
draw still knows nothing of the student, and each task's own probability is logged. Knows neither
thresholds nor stores.
"""

from __future__ import annotations

import logging
from typing import Any

from journeyman.agents.base import Agent
from journeyman.models.audit import AuditDraw, audit_chances, audit_draw
from journeyman.models.errors import InvalidTask
from journeyman.traces.likeness import group_key
from journeyman.traces.split import SALT, Shares, part_of

logger = logging.getLogger("journeyman.graph")

_EARLY_TIMES = 5
_MOST_EARLY = 0.25  # then every task that certifies is audited, by the usual share and focus

EARLY_LABELS = 1000
"""Until there are so many labels about a release, each further one lets its student answer more."""


def rate_at(num_labels: int, rate: float, early_rate: float) -> float:
    """Share of tasks in [0, 1] to be audited where there are so many labels about a release.

    Args:
        num_labels: Labels that its certificate rests on, and those since that certify.
        rate: With labels enough.
        early_rate: With fewer, if it is more.
    """
    return max(rate, early_rate) if num_labels < EARLY_LABELS else rate


def early_rate_of(rate: float, early_rate: float | None) -> float:
    """The early rate where it is set, else five times the rate, at most a quarter for that.

    At 500 labels an audit pays for itself within some 10,000 tasks: `docs/lab.md`, "what choosing
    among proofs costs".
    """
    return max(rate, min(_EARLY_TIMES * rate, _MOST_EARLY)) if early_rate is None else early_rate


def group_of(agent: Agent[Any, Any], task: Any) -> str:
    """Hash of what must not be split between teaching and certifying.

    Args:
        agent: The sub-agent, which may know what tasks have in common.
        task: A task of it as JSON-compatible data.
    """
    try:
        shared = agent.group(agent.validate(task))
        return group_key(task if shared is None else shared)
    except InvalidTask:  # a task of another day: nothing is known to belong to it
        return group_key(task)


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
        try:
            group = group_of(agent, task)
        except Exception:  # an answer must not be lost to a group that cannot be told
            logger.exception("the group of a task of agent %r cannot be told", agent.name)
            group = group_key(task)
        part = part_of(group, SALT, Shares(calibration=share, head=0.0))
        chance = chances.certifying if part == "calibration" else chances.other
    return audit_draw(key, occurrence, chance, salt=agent.name)
