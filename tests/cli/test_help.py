"""Every command's help opens with examples, and each example names what exists."""

from __future__ import annotations

import re
from typing import Any

import pytest

from journeyman.cli.reference import parts_of, walk
from tests.shell import faults_of

TREE = [(" ".join(path), command) for path, command in walk()]


@pytest.mark.parametrize(("name", "command"), TREE, ids=[name for name, _ in TREE])
def test_examples_come_right_after_the_first_sentence(name: str, command: Any) -> None:
    paragraphs = re.split(r"\n\s*\n", command.help.strip())
    assert paragraphs[0].rstrip().endswith(".")
    assert paragraphs[1].strip() == "Examples:"
    _, examples, _ = parts_of(command.help)
    assert any(name in example for example in examples)


@pytest.mark.parametrize(("name", "command"), TREE, ids=[name for name, _ in TREE])
def test_examples_name_commands_and_options_that_exist(name: str, command: Any) -> None:
    _, examples, _ = parts_of(command.help)
    assert [fault for example in examples for fault in faults_of(example)] == []


def test_an_option_that_does_not_exist_would_be_found() -> None:
    assert faults_of("journeyman run --no-such-thing")
    assert faults_of("cat x | journeyman rnu")
    assert faults_of("make nothing")
    assert not faults_of("journeyman --quiet traces list -n 3 --json | jq .id > ids  # all")


@pytest.mark.parametrize(("name", "command"), TREE, ids=[name for name, _ in TREE])
def test_every_option_says_what_it_is_for(name: str, command: Any) -> None:
    lacking = [each.name for each in command.params if not getattr(each, "help", None)]
    assert lacking == []


DATA = {"run", "replay", "ask", "doctor", "round", "init"}


def test_commands_that_give_data_can_give_json() -> None:
    groups = {"config", "traces", "db", "releases", "rounds", "escalations"}
    lacking = [
        name
        for name, command in TREE
        if (name.split()[1:2] or [""])[0] in (DATA if len(name.split()) == 2 else groups)
        and name != "journeyman traces export"  # which is nothing but JSON Lines
        and not any("--json" in each.opts for each in command.params)
    ]
    assert lacking == []


def test_what_stands_under_another_heading_is_no_example() -> None:
    help_text = "First.\n\nExamples:\n\n  journeyman run\n\nExit codes:\n\n  0  passed.\n\nMore."
    assert parts_of(help_text)[1:] == (["journeyman run"], ["Exit codes:", "- 0  passed.", "More."])
