"""A suite for a sub-agent of a user's own, whose student is scripted: no model, no wait.

The student answers with the word after `say`; asked for `nothing` it abstains, and `wrong` is its
answer to `stumble`. The environment makes it slow (`ECHO_SECONDS`) and noisy (`ECHO_NOISE`), and
has it write down what it was asked (`ECHO_LOG`).
"""

from __future__ import annotations

from pathlib import Path

AGENT = '''
"""A sub-agent that repeats a word."""

import os
import time

from pydantic import BaseModel

from journeyman.agents.base import Agent
from journeyman.models.types import FrontierRequest


class Request(BaseModel):
    text: str


class Word(BaseModel):
    word: str


class Student:
    def predict(self, items):
        time.sleep(float(os.environ.get("ECHO_SECONDS", "0")))
        if os.environ.get("ECHO_NOISE"):
            print("noise on standard output")
            os.write(1, b"noise on descriptor 1\\n")
        if os.environ.get("ECHO_LOG"):
            with open(os.environ["ECHO_LOG"], "a") as log:
                log.writelines(item + "\\n" for item in items)
        if any("crash" in item for item in items):
            raise RuntimeError("the student crashed")
        return [item.split()[-1] if "stumble" not in item else "wrong" for item in items]

    def fingerprint(self):
        return "scripted"


class Echo(Agent):
    name = "echo"
    description = "Repeats a word."
    input_type = Request
    output_type = Word

    def __init__(self, greeting="hello"):
        super().__init__(Student())
        self.greeting = greeting

    def render(self, task):
        return task.text

    def parse(self, task, raw):
        return None if raw == "nothing" else Word(word=raw)

    def frontier_request(self, task, attempt):
        return FrontierRequest(
            messages=({"role": "user", "content": task.text},),
            json_schema=Word.model_json_schema(),
            schema_name="word",
        )

    def agrees(self, first, second):
        return first.word == second.word
'''

SUITE = """
version: 1
suite: echoes
agent: echo
agents:
  echo: {use: "echo_agent.py:Echo", options: {greeting: hi}}
"""


def write_echoes(folder: Path, scenarios: str, *, more: str = "") -> Path:
    """Write the agent and a suite of scenarios, given as YAML lines; its path."""
    (folder / "echo_agent.py").write_text(AGENT, encoding="utf-8")
    path = folder / "echoes.yaml"
    path.write_text(SUITE + more + "scenarios:\n" + scenarios, encoding="utf-8")
    return path


def said(scenario_id: str, word: str, *, expected: str | None = None, more: str = "") -> str:
    """One scenario's line: the student says `word`, and `expected` (the same) is right."""
    right = word if expected is None else expected
    return f'  - {{id: {scenario_id}, input: "say {word}", expected: {{word: "{right}"}}{more}}}\n'
