"""A sub-agent that writes, its releases with adapters of random weights, and a graph of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from journeyman.agents.base import Agent
from journeyman.agents.generator_trainer import GeneratorTrainer
from journeyman.agents.trainer import Trainer
from journeyman.graph.orchestrator import Orchestrator, create_orchestrator
from journeyman.graph.state import Context, Task
from journeyman.graph.trust import ReleaseTrust, loaders_of
from journeyman.models.certificate import certify_joint
from journeyman.models.confidence import ConfidenceHead
from journeyman.models.release import Release, identify
from journeyman.models.served import ServedGenerator, Serving
from journeyman.models.served_http import Server
from journeyman.models.students.generator import Generation, Generator, Prompt
from journeyman.models.students.generator_weights import (
    Facts,
    canary_of,
    open_generator,
    write_generator,
)
from journeyman.models.types import Answer, Attempt, FrontierReply, FrontierRequest, Risk, Usage
from journeyman.traces.registry import Registry
from tests.models.tiny_causal import chat

SCHEMA = {
    "type": "object",
    "properties": {"mood": {"enum": ["glad", "sad", "calm"]}, "count": {"type": "integer"}},
    "required": ["mood", "count"],
    "additionalProperties": False,
}
HEAD = ConfidenceHead.fit([{"sure": i / 100} for i in range(100)], [i >= 30 for i in range(100)])


class Line(BaseModel):
    """A task, and an answer."""

    text: str


class Writer(Agent[Line, Line]):
    """Goes on writing; always sure of itself, so that a certificate lets everything through."""

    name = "writer"
    description = "Writes a line."
    input_type = Line
    output_type = Line

    def render(self, task: Line) -> Prompt:
        return Prompt(chat(task.text), SCHEMA if task.text.startswith("{") else None)

    def parse(self, task: Line, raw: Generation) -> Line:
        return Line(text=raw.text)

    def evidence(self, task: Line, raw: Generation, output: Line | None) -> dict[str, float]:
        return {"sure": 0.99}

    def frontier_request(self, task: Line, attempt: Attempt) -> FrontierRequest:
        return FrontierRequest(tuple(chat(task.text)), Line.model_json_schema(), "line")

    def agrees(self, first: Line, second: Line) -> bool:
        return first == second

    def trainer(self) -> Trainer:
        return GeneratorTrainer(self.student, lambda _: None)  # type: ignore[arg-type]


class Scribe:
    """A frontier that says one thing."""

    model = "scribe"

    async def complete(self, request: FrontierRequest, *, run_id: str = "") -> FrontierReply:
        return FrontierReply({"text": "frontier"}, "", self.model, "test", Usage(1, 1), 7, 1.0)


def like_of(base: str) -> Generator:
    """The writer's generator, untaught."""
    return Generator(base, max_new_tokens=24)


def make_adapter(base: str, folder: Path, seed: int, *, std: float = 0.3) -> Path:
    """A generator's folder whose adapter has random weights; none that count where `std` is 0."""
    import peft
    import torch

    from journeyman.models.catalog import resolve
    from journeyman.models.students.causal import load_causal

    files = resolve(base)
    raw = folder.with_name(f"{folder.name}-raw")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = load_causal(files, "float32")[0]
        config = peft.LoraConfig(r=8, lora_alpha=8, target_modules=["q_proj", "v_proj", "up_proj"])
        taught = peft.get_peft_model(module, config)
        for name, weights in taught.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weights, std=std)
        taught.save_pretrained(raw, safe_serialization=True)
    like = like_of(base)
    canaries = canary_of(like.rebound(raw)), canary_of(like)
    write_generator(folder, Facts(files.name, files.digest, *canaries), raw)
    return folder


def promoted(registry: Registry, base: str, student: Path, *, agent: str = "writer") -> Release:
    """A certified release of a generator's folder, in traffic."""
    parts = Writer(open_generator(student, like=like_of(base))).release_parts()
    release_id = identify(agent, parts=parts, student=student, head=HEAD).id
    scores = HEAD.probabilities([{"sure": 0.5 + i / 400} for i in range(200)])
    certificate = certify_joint(scores, [False] * 200, Risk()).bind(release_id, "frontier")
    release = Release.write(
        registry.data,
        agent,
        parts=parts,
        student=student,
        head=HEAD,
        certificate=certificate,
        student_kind="generator",
        base_model=base,
    )
    registry.register(release)
    registry.promote(agent, release.id)
    return release


def written(base: str, release: Release, texts: list[str]) -> dict[str, str]:
    """What a release answers in this process."""
    agent = Writer(open_generator(release.student, like=like_of(base)))
    items = [agent.render(Line(text=text)) for text in texts]
    return {text: raw.text for text, raw in zip(texts, agent.student.predict(items), strict=True)}


@contextmanager
def serving_graph(
    registry: Registry, base: str, server: Server, serving: Serving | None = None, **given: Any
) -> Iterator[Orchestrator]:
    """A graph whose writer is served, and follows the releases in traffic at once."""
    agent = Writer(ServedGenerator(like_of(base), server, serving))
    trust = ReleaseTrust(registry, loaders_of([agent]), audit_rate=0.0, poll_seconds=0.0)
    try:
        yield create_orchestrator([agent], Scribe(), trust=trust, store=None, **given)
    finally:
        trust.close()


async def ask(graph: Orchestrator, text: str, **context: Any) -> Answer:
    """One task's answer."""
    tasks = [Task(agent="writer", input={"text": text})]
    result = await graph.ainvoke({"tasks": tasks}, context=Context(**context))
    answer: Answer = result["answers"]["writer-1"]
    return answer
