"""A sub-agent for batches whose student is scripted: it finds the amount in a line of text.

"crash" breaks the student, "pause" asks for a person, "unsure" makes it abstain. `BILLS_SECONDS`
makes each of its batches slow.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from typing import Any

from langgraph.types import interrupt
from pydantic import BaseModel

from journeyman.agents.base import Agent
from journeyman.models.errors import MalformedOutput
from journeyman.models.types import Attempt, FrontierReply, FrontierRequest


class Bill(BaseModel):
    text: str


class Amount(BaseModel):
    amount: str


class Clerk:
    def predict(self, items: Sequence[str]) -> list[str | None]:
        time.sleep(float(os.environ.get("BILLS_SECONDS", "0")))
        if any("crash" in item for item in items):
            raise RuntimeError("the student crashed")
        return [None if "unsure" in item else item.split()[-1] for item in items]

    def fingerprint(self) -> str:
        return "clerk-1"


class Bills(Agent[Bill, Amount]):
    name = "bills"
    description = "Finds the amount."
    input_type = Bill
    output_type = Amount

    def __init__(self) -> None:
        super().__init__(Clerk())

    def render(self, task: Bill) -> Any:
        if "pause" in task.text:
            interrupt({"name": "person"})
        return task.text

    def parse(self, task: Bill, raw: Any) -> Amount | None:
        return None if raw is None else Amount(amount=raw)

    def frontier_request(self, task: Bill, attempt: Attempt) -> FrontierRequest:
        return FrontierRequest(
            messages=({"role": "user", "content": task.text},),
            json_schema=Amount.model_json_schema(),
            schema_name="amount",
        )

    def agrees(self, first: Amount, second: Amount) -> bool:
        return first.amount == second.amount


class Teller:
    """A frontier that knows every amount, and is told how to fail.

    Attributes:
        asked: The texts, in the order of the calls.
        at_once: The most calls in flight.
    """

    model = "teller"

    def __init__(self, *, cost: int | None = 10, fail: Any = None) -> None:
        self.asked: list[str] = []
        self.at_once = 0
        self._cost = cost
        self._fail = fail
        self._under_way = 0

    async def complete(self, request: FrontierRequest, *, run_id: str = "") -> FrontierReply:
        text = str(request.messages[0]["content"])
        self.asked.append(text)
        self._under_way += 1
        self.at_once = max(self.at_once, self._under_way)
        try:
            await asyncio.sleep(0.001)
            error = self._fail(text) if self._fail is not None else None
            if error is not None:
                raise error
        finally:
            self._under_way -= 1
        if "gibberish" in text:
            raise MalformedOutput("The frontier talked nonsense.")
        return FrontierReply(
            {"amount": "F" + text.rsplit(maxsplit=1)[-1]}, "", "teller", cost_microusd=self._cost
        )
