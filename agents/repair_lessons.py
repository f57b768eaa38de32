"""What debugging teaches a generator: verified repairs, and drafts that failed where one is known.

The failed draft and the verified patch are a preference pair. The prompt is the one that the
generator meets when it serves, so the tests are run on the broken program once, in the sandbox.
Nothing here knows where the lessons come from or how a generator learns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from journeyman.agents.debug_task import DebuggingTask
from journeyman.agents.repair_search import look
from journeyman.agents.repair_text import generator_prompt, written_code
from journeyman.agents.sandbox import Sandbox
from journeyman.agents.trainer import Lesson
from journeyman.models.training.generator_rows import PromptedAnswer


async def prompted_repair(lesson: Lesson, sandbox: Sandbox) -> PromptedAnswer | None:
    """A lesson of debugging as the generator meets it.

    Args:
        lesson: Its `rejected` is a patch that failed.
        sandbox: Where the tests run on the broken program.

    Returns:
        None where there is nothing to learn: no such task, or a patch that was not verified.

    Raises:
        SandboxUnavailable: Nothing here can run programs safely; says what to install.
    """
    target = lesson.example.target
    code = _code(target)
    try:
        task = DebuggingTask.model_validate(lesson.example.task)
    except ValidationError:
        return None
    if code is None or target.get("verified") is not True:
        return None
    scene = await look(task.fault, sandbox)
    draft = _code(lesson.rejected)
    return PromptedAnswer(
        prompt=generator_prompt(task.code, description=task.description, failures=scene.failures),
        answer=written_code(code),
        rejected=None if draft is None else written_code(draft),
        weight=lesson.weight,
        source=lesson.example.group,
    )


def _code(patch: Any) -> str | None:
    """The program of a patch in output form, or of a teaching example's target."""
    code = patch.get("code") if isinstance(patch, Mapping) else None
    return code if isinstance(code, str) and code.strip() else None
