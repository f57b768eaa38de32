"""Suites in a user's repository are collected and run by the real pytest, in its own process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.cli.inside import environment

AGENT = """
from pydantic import BaseModel

from journeyman import Agent
from journeyman.models.types import FrontierRequest


class Ticket(BaseModel):
    text: str


class Severity(BaseModel):
    severity: str


class Words:
    def predict(self, items):
        return ["high" if "down" in item else "low" for item in items]

    def fingerprint(self):
        return "words-1"


class Triage(Agent[Ticket, Severity]):
    name = "triage"
    description = "Says how severe a ticket is."
    input_type = Ticket
    output_type = Severity

    def render(self, task):
        return task.text

    def parse(self, task, raw):
        return Severity(severity=raw)

    def frontier_request(self, task, attempt):
        message = {"role": "user", "content": task.text}
        return FrontierRequest((message,), Severity.model_json_schema(), "severity")

    def agrees(self, first, second):
        return first == second


def build():
    return Triage(Words())
"""

SUITE = """
version: 1
suite: triage
agent: triage
agents:
  triage: {use: "triage.py:build"}
gate: {min_pass_rate: 0.9}
scenarios:
  - id: outage
    tags: [urgent]
    input: The shop is down.
    expected: {severity: high}
  - id: mistaken
    input: The shop is down again.
    expected: {severity: low}
  - id: known
    input: The shop is down once more.
    expected: {severity: low}
    xfail: taught in round 4
  - id: healed
    input: All is fine.
    expected: {severity: low}
    xfail: taught in round 3
  - id: later
    skip: no data yet
    input: Hello.
    expected: {severity: low}
"""


def run_pytest(folder: Path, *options: str) -> tuple[int, dict[str, str], str]:
    """The exit code, what became of each item, and what was printed."""
    without = ("-p", "no:cacheprovider", "-p", "no:asyncio", "-p", "no:hypothesispytest")
    report = f"--junitxml={folder / 'out.xml'}"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", ".", report, *without, *options],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    found = {}
    for case in ET.parse(folder / "out.xml").iter("testcase"):  # pytest wrote it
        inside = [child for child in case if child.tag in {"failure", "error", "skipped"}]
        found[str(case.get("name"))] = inside[0].tag if inside else "passed"
    return done.returncode, found, done.stdout + done.stderr


@pytest.fixture(scope="module")
def project(any_store: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / "triage.py").write_text(AGENT, "utf-8")
    (folder / "triage.yaml").write_text(SUITE, "utf-8")
    (folder / "other.yaml").write_text("version: 1\nname: no suite\n", "utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", "utf-8")
    return folder


@pytest.fixture(scope="module")
def ran(project: Path) -> tuple[int, dict[str, str], str]:
    return run_pytest(project, "--journeyman-arm=student-only")


def test_each_scenario_and_the_gate_are_items_with_their_own_outcome(
    ran: tuple[int, dict[str, str], str],
) -> None:
    code, found, _ = ran
    assert code == 1
    assert found == {
        "outage": "passed",
        "mistaken": "failure",
        "known": "skipped",
        "healed": "passed",
        "later": "skipped",
        "gate": "failure",
    }


def test_a_failure_is_told_in_a_line_without_a_traceback_of_ours(
    ran: tuple[int, dict[str, str], str],
) -> None:
    _, _, printed = ran
    assert "triage.yaml: mistaken: " in printed
    assert "pytest_plugin.py" not in printed.partition("FAILURES")[2].partition("SKIPPED")[0]


def test_what_pytest_deselects_is_not_run_and_tags_are_keywords(project: Path) -> None:
    code, found, _ = run_pytest(project, "--journeyman-arm=student-only", "-k", "urgent")
    assert code == 0
    assert found == {"outage": "passed"}


def test_a_suite_with_a_mistake_is_a_collection_error_with_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("version: 1\nsuite: broken\nscenarois: []\n", "utf-8")
    code, _, printed = run_pytest(tmp_path)
    assert code == 2
    assert "broken.yaml:3" in printed
    assert "Traceback" not in printed


def test_collecting_can_be_switched_off(project: Path) -> None:
    code, found, _ = run_pytest(project, "-o", "journeyman_suites=false")
    assert (code, found) == (5, {})
