"""Releases of the ticket sub-agent whose students say one word each, made in milliseconds."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from journeyman.agents.base import Agent
from journeyman.models.certificate import Certificate, certify_joint
from journeyman.models.confidence import ConfidenceHead
from journeyman.models.errors import ModelUnavailable
from journeyman.models.release import Release, identify
from journeyman.models.types import FrontierReply, FrontierRequest, Risk, Usage
from journeyman.traces.registry import Registry
from tests.graph.triage import Ticket, Triage, Triaged

HEAD = ConfidenceHead.fit([{"sure": i / 100} for i in range(100)], [i >= 30 for i in range(100)])
SURE = [0.5 + i / 400 for i in range(200)]


class OneWord:
    """Says its own word of every ticket, and is unsure where the ticket says `unsure`."""

    name = "one-word"

    def __init__(self, folder: Path | None) -> None:
        self.facts = {"word": "low", "pause": 0.0}
        if folder is not None:
            self.facts = json.loads((folder / "facts.json").read_text("utf-8"))

    def predict(self, items: Sequence[str]) -> list[tuple[str, float]]:
        time.sleep(self.facts["pause"])
        return [(self.facts["word"], 0.0 if "unsure" in item else 0.99) for item in items]

    def fingerprint(self) -> str:
        return json.dumps(self.facts)


class Released(Triage):
    """The ticket sub-agent, with one number of evidence."""

    def parse(self, task: Ticket, raw: Any) -> Triaged:
        return Triaged(severity=raw[0])

    def evidence(self, task: Ticket, raw: Any, output: Triaged | None) -> dict[str, float]:
        return {"sure": raw[1]}


class Agreeing:
    """A frontier that says one word, and fails while it is down."""

    model = "agreeing"

    def __init__(self, word: str = "high") -> None:
        self.word = word
        self.is_down = False

    async def complete(self, request: FrontierRequest, *, run_id: str = "") -> FrontierReply:
        if self.is_down:
            raise ModelUnavailable("The frontier is down; start it.", model=self.model)
        return FrontierReply({"severity": self.word}, "", self.model, "test", Usage(1, 1), 7, 1.0)


def certificate(release: str, num_labels: int = 200) -> Certificate:
    """All right at every score of a sure attempt; infeasible below 59 labels."""
    scores = HEAD.probabilities([{"sure": sure} for sure in SURE[:num_labels]])
    return certify_joint(scores, [False] * len(scores), Risk()).bind(release, "frontier")


def make_release(
    data: Path,
    word: str,
    *,
    agent: Agent[Any, Any] | None = None,
    pause: float = 0.0,
    num_labels: int | None = 200,
) -> Release:
    """A release whose student says a word; without labels it has no certificate."""
    folder = data / f"student-{word}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "facts.json").write_text(json.dumps({"word": word, "pause": pause}), "utf-8")
    bound = (agent or Released(OneWord(None))).with_student(OneWord(folder))
    parts = bound.release_parts()
    release_id = identify("triage", parts=parts, student=folder, head=HEAD).id
    return Release.write(
        data,
        "triage",
        parts=parts,
        student=folder,
        head=HEAD,
        certificate=None if num_labels is None else certificate(release_id, num_labels),
    )


def promoted(registry: Registry, word: str, **given: Any) -> Release:
    """Make, register and promote in one go."""
    release = make_release(registry.data, word, **given)
    registry.register(release)
    registry.promote("triage", release.id)
    return release
