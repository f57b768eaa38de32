"""What tests of assertions share: sub-agents of scripted students, and a suite to put them into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from langgraph.types import interrupt

from journeyman.agents.extraction import Extraction, ExtractionTask
from journeyman.agents.fields import schema_from_labels
from journeyman.agents.record import Record
from journeyman.models.errors import ModelUnavailable
from journeyman.models.types import Attempt, FrontierReply, FrontierRequest, Usage
from journeyman.scenarios.assembly import Staff
from journeyman.scenarios.results import ScenarioResult
from journeyman.scenarios.runner import RunOptions, SuiteRunner
from journeyman.scenarios.suite import Suite, load_suite

HEAD = """\
version: 1
suite: shop
agent: extraction
agents:
  extraction: {labels: [total, currency]}
"""


class Scripted:
    """The name of a student; `Bills` does the work."""

    def predict(self, items: Sequence[str]) -> list[Any]:
        raise NotImplementedError

    def fingerprint(self) -> str:
        return "scripted-1"


class Bills(Extraction):
    """Extraction by the form of words, without a model. "ask me" pauses for a person."""

    async def attempt(self, task: ExtractionTask) -> Attempt:
        text = task.text
        if "crash" in text:
            raise RuntimeError("the student is broken")
        if "ask me" in text:
            text = str(interrupt({"name": "which_bill"}))
        words = text.split()
        values = {
            "total": next((word for word in words if word[0].isdigit()), None),
            "currency": next((word for word in words if word in {"EUR", "USD"}), None),
        }
        return Attempt(Record(values=values), {"words": float(len(words))}, latency_ms=1.0)


class ScriptedFrontier:
    """Answers bills and judges by the same script; each call costs seven millionths of a dollar."""

    model = "scripted"

    def __init__(self, *, cost: int | None = 7, down: bool = False) -> None:
        self.cost = cost
        self.down = down
        self.requests: list[tuple[FrontierRequest, str]] = []

    async def complete(self, request: FrontierRequest, *, run_id: str = "") -> FrontierReply:
        self.requests.append((request, run_id))
        if self.down:
            raise ModelUnavailable("The scripted frontier is down; start it.", model=self.model)
        data: Mapping[str, Any] = {"total": "42.50", "currency": "EUR"}
        if request.schema_name == "verdict":
            said = str(request.messages[1]["content"])
            data = {"reason": "as asked", "score": 0.75, "pass": "never" not in said}
        return FrontierReply(data, str(data), self.model, "test", Usage(10, 5), self.cost, 1.0)


def staff() -> Staff:
    """The scripted sub-agent alone."""
    schema = schema_from_labels("Record", ("total", "currency"), repeated=False)
    return Staff({"extraction": Bills(schema, Scripted())})


def write(folder: Path, text: str, name: str = "shop.yaml") -> Path:
    """A file of the suite."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def suite_of(folder: Path, scenarios: str, head: str = HEAD) -> Suite:
    """The suite with these scenarios."""
    return load_suite(write(folder, head + scenarios))


async def results_of(
    suite: Suite,
    *,
    frontier: ScriptedFrontier | None = None,
    options: RunOptions | None = None,
) -> list[ScenarioResult]:
    """The results of a suite's scenarios, in its order."""
    runner = SuiteRunner(
        staff(),
        frontier or ScriptedFrontier(),
        recorder=None,
        options=options or RunOptions(concurrency=1),
    )
    return [result async for result in runner.run(suite.inline_scenarios())]
