"""What the graph costs over vLLM: tasks a minute against a bare client loop, one server, one run.

Needs `make vllm`. The student is SmolLM2-135M with an adapter of random weights, whose answers mean
nothing and cost what any would; canary, proofs and records are all on.
"""

from __future__ import annotations

import asyncio
import shlex
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
from pydantic import BaseModel

from journeyman.agents.base import Agent
from journeyman.graph.orchestrator import create_orchestrator
from journeyman.graph.state import Context, Task
from journeyman.models.catalog import resolve
from journeyman.models.errors import ConfigError
from journeyman.models.serve_process import Launch, ServerProcess, find_python
from journeyman.models.served import ServedGenerator
from journeyman.models.served_http import Server
from journeyman.models.students.causal import load_causal
from journeyman.models.students.generator import Generation, Generator, Prompt
from journeyman.models.students.generator_weights import (
    Facts,
    canary_of,
    open_generator,
    write_generator,
)
from journeyman.models.types import Attempt, FrontierRequest
from journeyman.traces.recorder import Recorder
from journeyman.traces.store import Store

BASE = "SmolLM2-135M-Instruct"
TOKENS = 16
ROUNDS = 3
AT_ONCE = {1: 2, 8: 8, 32: 32}
MOST = max(AT_ONCE)
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 16}, "count": {"type": "integer"}},
    "required": ["city", "count"],
    "additionalProperties": False,
}
START_SECONDS = 600


class Text(BaseModel):
    """A task, and an answer."""

    text: str


class Writing(Agent[Text, Text]):
    """Answers in words, or as JSON where the text asks for it."""

    name = "writing"
    description = "Writes."
    input_type = Text
    output_type = Text

    def render(self, task: Text) -> Prompt:
        """A chat of one message."""
        message = {"role": "user", "content": task.text}
        return Prompt((message,), SCHEMA if "JSON" in task.text else None)

    def parse(self, task: Text, raw: Generation) -> Text:
        """What was written."""
        return Text(text=raw.text)

    def evidence(self, task: Text, raw: Generation, output: Text | None) -> dict[str, float]:
        """As the generator tells it."""
        return raw.evidence()

    def frontier_request(self, task: Text, attempt: Attempt) -> FrontierRequest:
        """Never sent."""
        return FrontierRequest((), {}, "text")

    def agrees(self, first: Text, second: Text) -> bool:
        """Equal texts."""
        return first == second


def _taught(folder: Path) -> Path:
    """A generator's folder with an adapter of random weights."""
    import peft
    import torch

    base = resolve(BASE)
    torch.manual_seed(0)
    module = load_causal(base, "float32")[0]
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    taught = peft.get_peft_model(module, peft.LoraConfig(r=16, target_modules=targets))
    for name, weights in taught.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weights, std=0.01)
    taught.save_pretrained(folder / "raw", safe_serialization=True)
    like = Generator(BASE)
    canaries = canary_of(like.rebound(folder / "raw")), canary_of(like)
    write_generator(folder / "student", Facts(base.name, base.digest, *canaries), folder / "raw")
    return folder / "student"


@contextmanager
def _server(folder: Path) -> Iterator[str]:
    with socket.socket() as probed:
        probed.bind(("127.0.0.1", 0))
        port = probed.getsockname()[1]
    launch = Launch(
        base=resolve(BASE),
        python=find_python(None, start=Path(__file__).parent),
        port=port,
        max_model_len=1024,
        max_loras=2,
        cpu_cache_gb=2,
        arguments=tuple(shlex.split("--enforce-eager --max-num-seqs 64")),
    )
    process = ServerProcess(launch, folder / "serve.log")
    process.start()
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                httpx2.get(launch.url.replace("/v1", "/health"), timeout=5)
                break
            except httpx2.HTTPError:
                if not process.is_running or time.monotonic() > deadline:
                    raise RuntimeError(f"vLLM did not start: {process.trouble()}") from None
                time.sleep(1)
        yield launch.url
    finally:
        process.stop()


async def _per_minute(
    run: Callable[[str], Awaitable[Any]], texts: list[str], *, at_once: int
) -> float:
    """Tasks a minute where each of `at_once` callers asks for one after the other."""
    waiting = iter(texts)

    async def caller() -> None:
        for text in waiting:
            await run(text)

    start = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(at_once)))
    return len(texts) * 60 / (time.perf_counter() - start)


async def _measure(url: str, student_folder: Path, folder: Path) -> list[str]:
    local = open_generator(student_folder, like=Generator(BASE, max_new_tokens=TOKENS))
    student = ServedGenerator(local, Server(url, timeout_s=300), folder=student_folder)
    agent = Writing(student)
    proof = await student.prove()
    limits = httpx2.Limits(max_connections=None)
    lines = []
    with Store.open(folder / "bench.db") as store, Recorder(store) as recorder:
        graph = create_orchestrator([agent], None, store=recorder)
        async with httpx2.AsyncClient(timeout=300, limits=limits, trust_env=False) as client:

            async def run_bare(text: str) -> None:
                prompt = agent.render(Text(text=text))
                body: dict[str, Any] = {
                    "model": student.name,
                    "prompt": student.tokens.prompt(prompt.messages),
                    "max_tokens": TOKENS,
                    "temperature": 0,
                    "logprobs": 0,
                    "stop_token_ids": student.tokens.stop_ids,
                    "cache_salt": proof.salt,
                }
                if prompt.schema is not None:
                    grammar = student.tokens.grammar(prompt.schema)
                    body["structured_outputs"] = {"grammar": grammar}
                reply = await client.post(f"{url}/completions", json=body)
                reply.raise_for_status()

            async def run_graph(text: str) -> None:
                task = Task(agent="writing", input={"text": text})
                context = Context(trust_uncertified=True)
                result = await graph.ainvoke({"tasks": [task]}, context=context)
                assert result["answers"]["writing-1"].source == "student", result

            words = [(at_once, "", "in words") for at_once in AT_ONCE]
            for at_once, form, what in (*words, (MOST, " Answer as JSON.", "JSON, scored again")):
                texts = [f"Order {i} goes to Berlin.{form}" for i in range(AT_ONCE[at_once])]
                await asyncio.gather(run_bare(texts[0]), run_graph(texts[0]))
                bare, ours = [], []
                for _ in range(ROUNDS):  # interleaved, so that a busy machine slows both
                    bare.append(await _per_minute(run_bare, texts, at_once=at_once))
                    ours.append(await _per_minute(run_graph, texts, at_once=at_once))
                ratio = statistics.median(g / b for g, b in zip(ours, bare, strict=True))
                lines.append(
                    f"serving {what}, {at_once:>2} at once: bare loop "
                    f"{statistics.median(bare):.0f} tasks a minute, graph "
                    f"{statistics.median(ours):.0f} ({ratio:.2f} of it)"
                )
                print(lines[-1], file=sys.stderr, flush=True)  # it takes minutes on a CPU
    await student.server.aclose()
    return lines


def measure() -> list[str]:
    """Lines of the report."""
    try:
        find_python(None, start=Path(__file__).parent)
    except ConfigError as error:
        return [f"serving: not measured. {error}"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        student = _taught(folder)
        with _server(folder) as url:
            return asyncio.run(_measure(url, student, folder))
