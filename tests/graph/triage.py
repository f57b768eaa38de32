"""A sub-agent of a user's own, about forty lines, none of them in the library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel

from journeyman.agents.base import Agent
from journeyman.models.types import Attempt, Check, FrontierRequest

Severity = Literal["low", "high"]


class Ticket(BaseModel):
    text: str


class Triaged(BaseModel):
    severity: Severity


class KeywordStudent:
    """Small, but a real model of its kind: it reads the text and says how sure it is."""

    def predict(self, items: Sequence[str]) -> list[float]:
        words = ("outage", "down", "urgent", "crash")
        return [sum(word in item.lower() for word in words) / len(words) for item in items]

    def fingerprint(self) -> str:
        return "keywords-1"


class Triage(Agent[Ticket, Triaged]):
    name = "triage"
    description = "Says how urgent a support ticket is."
    input_type = Ticket
    output_type = Triaged

    def render(self, task: Ticket) -> str:
        return task.text

    def parse(self, task: Ticket, raw: float) -> Triaged:
        return Triaged(severity="high" if raw > 0 else "low")

    def evidence(self, task: Ticket, raw: float, output: Triaged | None) -> dict[str, float]:
        return {"keywords": raw}

    def checks(self, task: Ticket, output: Triaged) -> list[Check]:
        return [Check("text_given", passed=bool(task.text.strip()))]

    def frontier_request(self, task: Ticket, attempt: Attempt) -> FrontierRequest:
        message = {"role": "user", "content": f"How urgent is this? {task.text}"}
        return FrontierRequest((message,), Triaged.model_json_schema(), "triaged")

    def agrees(self, first: Triaged, second: Triaged) -> bool:
        return first == second
