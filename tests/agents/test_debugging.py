"""Debugging: what it answers, what it refuses, and what stands in its evidence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from journeyman.agents import sandbox
from journeyman.agents.debug_request import read_request
from journeyman.agents.debugging import EVIDENCE, Debugging, DebuggingTask, Patch
from journeyman.agents.patches import (
    apply_diff,
    clusters,
    edit_size,
    first_changed_line,
    unified_diff,
)
from journeyman.agents.probes import calls_in, probes
from journeyman.agents.repair_search import Found
from journeyman.agents.repair_text import code_of, fences
from journeyman.agents.sandbox import Sandbox
from journeyman.graph.gate import decide
from journeyman.graph.state import Context
from journeyman.models.errors import MalformedOutput, SandboxUnavailable
from journeyman.models.students.generator import Generation, Prompt
from journeyman.models.types import Attempt, FrontierReply, FrontierRequest, Reason

CODE = '''\
def spread(values):
    """How far the values lie apart; nothing of none."""
    if not values:
        return 0  # agreed with sales
    return max(values) + min(values)
'''
FIXED = CODE.replace(" + ", " - ")
TESTS = "assert spread([1, 5]) == 4\nassert spread([]) == 0\nassert spread([3, 3, 9]) == 6\n"
TASK = DebuggingTask(code=CODE, tests=TESTS, description="How far apart?", entry_point="spread")
TRACEBACK = """\
Traceback (most recent call last):
  File "shop.py", line 40, in <module>
    print(first([]))
  File "shop.py", line 2, in first
    return values[0]
IndexError: list index out of range
"""
RAISING = DebuggingTask(code="def first(values):\n    return values[0]\n", traceback=TRACEBACK)


class Scripted:
    """A ranker that prefers candidates that have a word."""

    taught = True

    def __init__(self, word: str) -> None:
        self.word = word
        self.asked: list[str] = []

    def predict(self, items: Sequence[str]) -> list[float]:
        self.asked += items
        return [9.0 if self.word in item.split() else 0.0 for item in items]

    def fingerprint(self) -> str:
        return f"scripted:{self.word}"


class Writer:
    """A generator that always writes the same."""

    def __init__(self, text: str, *samples: str) -> None:
        self.text, self.samples = text, samples

    def predict(self, items: Sequence[Prompt]) -> list[Generation]:
        samples = tuple(Generation(text, log_probabilities=(-0.5,)) for text in self.samples)
        given = Generation(self.text, log_probabilities=(-0.25, -0.75), samples=samples)
        return [given for _ in items]

    def fingerprint(self) -> str:
        return "writer"


class Frontier:
    """Answers with one program after the other."""

    def __init__(self, *codes: Any) -> None:
        self.codes = list(codes)
        self.requests: list[FrontierRequest] = []

    async def ask(self, request: FrontierRequest) -> FrontierReply:
        self.requests.append(request)
        data = {"code": self.codes.pop(0)}
        return FrontierReply(data=data, text=json.dumps(data), model="m")


@pytest.fixture(scope="module")
def wall() -> Iterator[Sandbox]:
    """One sandbox for all tests of the file; usable from every loop."""
    if shutil.which("bwrap") is None:
        pytest.skip("needs bubblewrap: apt-get install bubblewrap")
    made = Sandbox()
    yield made
    made.close()


# What it answers.


async def test_a_bug_becomes_a_verified_patch_that_keeps_all_other_text(wall: Sandbox) -> None:
    attempt = await Debugging(None, wall).attempt(TASK)
    patch = attempt.output
    assert isinstance(patch, Patch)
    assert patch.code == FIXED
    assert patch.diff == (
        "--- a/code.py\n+++ b/code.py\n@@ -2,4 +2,4 @@\n"
        '     """How far the values lie apart; nothing of none."""\n'
        "     if not values:\n         return 0  # agreed with sales\n"
        "-    return max(values) + min(values)\n+    return max(values) - min(values)\n"
    )
    assert (patch.tests_passed, patch.tests_total) == (3, 3)
    assert (patch.operator, patch.line, patch.proposed_by) == ("arithmetic", 5, "edit")
    assert [check.name for check in attempt.checks if not check.passed] == []
    assert {check.name for check in attempt.checks if check.hard} == {
        "tests_given", "parses", "visible_tests_pass", "diff_applies"
    }  # fmt: skip


async def test_a_taught_ranker_decides_the_order(wall: Sandbox) -> None:
    ranker = Scripted("+~-")
    attempt = await Debugging(ranker, wall).attempt(TASK)
    assert attempt.output.rank == 1
    assert attempt.note is None
    (right,) = [words for words in ranker.asked if "+~-" in words.split()]
    assert right.split()[:5] == ["arithmetic", "+~-", "+-", "-+", "in_return"]


async def test_without_edits_only_the_generators_programs_are_tried(wall: Sandbox) -> None:
    rewrite = FIXED.replace("return 0  # agreed with sales", "return 0")
    agent = Debugging(None, wall, generator=Writer(f"```python\n{rewrite}```\n"), edits=False)
    found = await agent.search(TASK)
    assert [proposal.by for proposal in found.proposals] == ["generator"]
    assert found.chosen is not None
    assert found.chosen.proposal.code == rewrite


async def test_evidence_has_the_same_names_for_success_and_failure(wall: Sandbox) -> None:
    agent = Debugging(None, wall, budget_candidates=5)
    right = await agent.attempt(TASK)
    hopeless = TASK.model_copy(update={"tests": "assert spread([1, 5]) == 'apart'\n"})
    wrong = await agent.attempt(hopeless)
    assert wrong.output is None
    assert tuple(right.evidence) == tuple(wrong.evidence) == EVIDENCE
    assert right.evidence["tests_passed_share"] == 1.0
    assert right.evidence["failing_tests_share"] == pytest.approx(2 / 3)
    assert right.evidence["suspicion"] > 0
    assert wrong.evidence["tests_passed_share"] == 0.0
    assert wrong.evidence["log_num_passing"] == 0.0
    assert "None of 5 candidates" in (wrong.note or "")
    json.dumps([right.raw, wrong.raw])


async def test_the_search_goes_on_past_the_first_that_passes(wall: Sandbox) -> None:
    task = DebuggingTask(
        code="def last(values):\n    return values[0]\n", tests="assert last([1, 5, 3]) == 3\n"
    )
    found = await Debugging(None, wall).search(task)
    assert found.chosen is not None
    assert len(found.passing) > 1, "`[-1]` and `[2]`, among others"
    assert found.num_tried > found.passing[0].rank
    assert found.num_clusters > 1, "and they differ on other lists"
    assert 0 < found.agreement < 1
    assert found.chosen.proposal.code == "def last(values):\n    return values[-1]\n"
    alone = await Debugging(None, wall, look_past=0).search(task)
    assert alone.num_tried <= found.passing[0].rank + wall.workers


async def test_lines_that_no_failing_test_runs_are_not_edited(wall: Sandbox) -> None:
    code = CODE + "\n\ndef other(a, b):\n    return a + b\n"
    found = await Debugging(None, wall).search(TASK.model_copy(update={"code": code}))
    assert found.localisation is not None
    assert found.localisation.complete
    assert {proposal.line for proposal in found.proposals} <= set(range(1, 8))


async def test_a_generators_program_is_tried_first(wall: Sandbox) -> None:
    rewrite = FIXED.replace("return 0  # agreed with sales", "return 0")
    writer = Writer("no code at all (", f"Here:\n```python\n{rewrite}```\n")
    agent = Debugging(None, wall, generator=writer)
    attempt = await agent.attempt(TASK)
    assert attempt.output.proposed_by in {"generator", "edit"}
    found = await agent.search(TASK)
    first = found.proposals[0]
    assert (first.by, first.code) == ("generator", rewrite)
    assert first.log_probability == -0.5
    assert found.passing[0].rank == 1
    assert agent.release != Debugging(None, wall).release


async def test_code_that_passes_already_and_tasks_without_a_judge_are_left_alone(
    wall: Sandbox,
) -> None:
    agent = Debugging(None, wall)
    fine = await agent.attempt(TASK.model_copy(update={"code": FIXED}))
    assert fine.output is None
    assert "passes the visible tests as it is" in (fine.note or "")
    unjudged = await agent.attempt(DebuggingTask(code=CODE))
    assert unjudged.output is None
    assert "neither tests nor a traceback" in (unjudged.note or "")


async def test_broken_syntax_is_left_to_the_frontier(wall: Sandbox) -> None:
    attempt = await Debugging(None, wall).attempt(
        TASK.model_copy(update={"code": CODE.replace("values):", "values)")})
    )
    assert attempt.output is None


# A traceback proves nothing.


async def test_a_traceback_gives_a_proposal_that_no_gate_accepts(wall: Sandbox) -> None:
    attempt = await Debugging(None, wall).attempt(RAISING)
    assert isinstance(attempt.output, Patch)
    assert attempt.output.tests_total == 0
    assert attempt.failed_check is not None
    assert attempt.failed_check.name == "tests_given"
    assert "proves nothing" in (attempt.note or "")

    class Sure:
        threshold = 0.0

        def confidence(self, evidence: Any) -> float:
            return 1.0

    decision = decide(attempt, Sure(), Context())
    assert (decision.action, decision.reason) == ("escalate", Reason.INVALID_OUTPUT)
    assert decide(attempt, None, Context(trust_uncertified=True)).action == "escalate"


async def test_the_failing_call_of_a_traceback_no_longer_raises(wall: Sandbox) -> None:
    attempt = await Debugging(None, wall).attempt(RAISING)
    seen = await wall.observe(attempt.output.code, ["first([])"])
    assert seen[0].kind == "value"


# What an answer is worth.


async def test_what_a_patch_says_of_itself_is_not_believed(wall: Sandbox) -> None:
    agent = Debugging(None, wall)
    forged = Patch(
        diff=unified_diff(CODE, CODE + "\n"), code=CODE + "\n", tests_passed=3, tests_total=3
    )
    failed = [check.name for check in agent.checks(TASK, forged) if not check.passed]
    assert failed == ["visible_tests_pass"]
    other = Patch(diff="", code=FIXED)
    assert "diff_applies" in [c.name for c in agent.checks(TASK, other) if not c.passed]


async def test_patches_agree_when_they_do_the_same_near_the_tests(wall: Sandbox) -> None:
    agent = Debugging(None, wall)

    async def patch(code: str) -> Patch:
        frontier = Frontier(code)
        return (await agent.escalate(TASK, Attempt(None), frontier.ask)).output

    one = (await agent.attempt(TASK)).output
    same = await patch(
        FIXED.replace("max(values) - min(values)", "sorted(values)[-1] - min(values)")
    )
    listed = await patch(
        "def spread(values):\n    return {(1, 5): 4, (3, 3, 9): 6}.get(tuple(values), 0)\n"
    )
    assert agent.agrees(one, same)
    assert not agent.agrees(one, listed), "right for the tests' own lists alone"
    assert not agent.agrees(one, Patch(diff="", code=FIXED)), "it never passed"
    unwatched = one.model_copy(update={"behaviour": (), "code": one.code + "\n"})
    assert agent.agrees(unwatched, one)


async def test_the_teaching_example_says_whether_it_is_verified(wall: Sandbox) -> None:
    agent = Debugging(None, wall)
    patch = (await agent.attempt(TASK)).output
    example = agent.example(TASK, patch)
    assert example.target["verified"] is True
    assert example.target["code"] == FIXED
    assert agent.example(TASK, Patch(diff="", code=CODE)).target["verified"] is False


# The frontier's way.


async def test_the_frontiers_patch_is_tested_and_asked_for_again(wall: Sandbox) -> None:
    agent = Debugging(None, wall)
    frontier = Frontier(CODE + "\n", FIXED)
    escalated = await agent.escalate(TASK, Attempt(None), frontier.ask)
    assert escalated.output.code == FIXED
    assert escalated.output.proposed_by == "frontier"
    assert escalated.output.tests_passed == 3
    assert len(escalated.replies) == 2
    assert all(check.passed for check in escalated.checks)
    again = frontier.requests[1].messages
    assert again[2]["role"] == "assistant"
    assert "spread([1, 5]) == 4" in again[3]["content"], "it is told what fails"


async def test_a_frontier_that_fails_twice_is_malformed(wall: Sandbox) -> None:
    frontier = Frontier(CODE, "def spread(:\n")
    with pytest.raises(MalformedOutput, match="fails the visible tests"):
        await Debugging(None, wall).escalate(TASK, Attempt(None), frontier.ask)
    with pytest.raises(MalformedOutput, match="no text in 'code'"):
        await Debugging(None, wall).escalate(TASK, Attempt(None), Frontier(None).ask)


async def test_parse_frontier_runs_the_tests_too(wall: Sandbox) -> None:
    agent = Debugging(None, wall)
    patch = agent.parse_frontier(TASK, Attempt(None), {"code": FIXED})
    assert patch.passes
    with pytest.raises(MalformedOutput, match="fails the visible tests"):
        agent.parse_frontier(TASK, Attempt(None), {"code": CODE})


async def test_a_frontier_that_exits_before_the_tests_is_refused(wall: Sandbox) -> None:
    frontier = Frontier("import os\nos._exit(0)\n", "raise SystemExit(0)\n")
    with pytest.raises(MalformedOutput):
        await Debugging(None, wall).escalate(TASK, Attempt(None), frontier.ask)


def test_the_frontier_reads_hints_of_other_agents() -> None:
    agent = Debugging()
    task = agent.with_answers(
        TASK,
        {
            "extraction": {"values": {"exception": "KeyError", "line": 88, "file": None}},
            "retrieval": {"passages": [{"title": "Spans", "text": "Apart means minus."}]},
        },
    )
    request = agent.frontier_request(task, Attempt(None))
    shown = json.loads(request.messages[1]["content"])
    assert shown["hints"] == ["exception: KeyError, line: 88", "Spans: Apart means minus."]
    assert shown["tests"] == TESTS
    assert agent.with_answers(TASK, {"extraction": None, "retrieval": {}}).hints == ()


async def test_without_a_sandbox_it_refuses_and_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing() -> None:
        raise SandboxUnavailable("no bubblewrap: run `apt-get install bubblewrap`")

    monkeypatch.setattr(sandbox, "require_bubblewrap", missing)
    agent = Debugging()
    with pytest.raises(SandboxUnavailable, match="apt-get install bubblewrap"):
        await agent.attempt(TASK)
    frontier = Frontier(FIXED)
    with pytest.raises(SandboxUnavailable):
        await agent.escalate(TASK, Attempt(None), frontier.ask)
    assert frontier.requests == [], "an answer that cannot be verified is not paid for"


def test_the_release_covers_operators_budget_level_and_ranker() -> None:
    base = Debugging().release
    assert base == Debugging().release
    assert base.startswith("debugging@")
    assert len({
        base,
        Debugging(budget_candidates=1).release,
        Debugging(look_past=1).release,
        Debugging(Scripted("x")).release,
        Debugging(None, Sandbox("process")).release,
    }) == 5  # fmt: skip


# Requests as people paste them.

REQUEST = f"""Our spread is off, see below. It should be 4.

```python
{CODE}```

and what I check:

```python tests
{TESTS}```
Thanks!
"""


def test_code_and_tests_are_read_from_a_request() -> None:
    task = Debugging().from_request(REQUEST)
    assert task is not None
    assert (task.code, task.tests, task.entry_point) == (CODE, TESTS, "spread")
    assert "spread is off" in task.description
    assert "Thanks!" in task.description
    assert "assert" not in task.description


def test_tests_are_known_by_what_they_hold() -> None:
    for block in (
        TESTS,
        "def test_it():\n    assert spread([]) == 0\n",
        "from m import spread\n" + TESTS,
    ):
        found = read_request(f"```python\n{CODE}```\n\n```\n{block}```\n")
        assert found is not None
        assert found.tests == block


def test_a_traceback_is_read_from_the_words_around() -> None:
    found = read_request(f"It breaks:\n\n{TRACEBACK}\nHelp.\n\n```python\n{RAISING.code}```\n")
    assert found is not None
    assert found.traceback == TRACEBACK
    assert found.description == "It breaks:\nHelp."
    fenced = read_request(f"```\n{TRACEBACK}```\n```python\n{RAISING.code}```\n")
    assert fenced is not None
    assert fenced.traceback == TRACEBACK


@pytest.mark.parametrize(
    "text",
    [
        "KeyError in loader.py line 88",
        f"```python\n{CODE}```\nWhat does this do?",
        f"```\n{TESTS}```",
        f"only a traceback:\n{TRACEBACK}",
        "```python\nunclosed",
        "",
    ],
)
def test_requests_without_code_and_a_judge_are_none_of_its_business(text: str) -> None:
    assert Debugging().from_request(text) is None


# Diffs, probes and texts.


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (CODE, FIXED),
        ("a\nb", "a\nc"),
        ("a\nb\n", "a\nb"),
        ("a\nb", "a\nb\n"),
        ("", "a\n"),
        ("a\n", ""),
        ("a\r\nb\r\n", "a\r\nc\r\n"),
        ("a\x0cb\n", "a\x0cc\n"),
        ("\n".join("abcdefghijklmnop"), "\n".join("abXdefghijklmYop")),
        ("same\n", "same\n"),
    ],
)
def test_a_diff_applies_to_what_it_was_made_from(before: str, after: str) -> None:
    assert apply_diff(before, unified_diff(before, after)) == after


def test_a_diff_does_not_apply_elsewhere() -> None:
    with pytest.raises(ValueError, match="not what the diff says"):
        apply_diff(FIXED, unified_diff(CODE, FIXED))
    with pytest.raises(ValueError, match="no line of a unified diff"):
        apply_diff(CODE, "@@ -1 +1 @@\nnonsense\n")


def test_edits_are_measured_in_words_and_signs() -> None:
    assert edit_size(CODE, FIXED) == 1
    assert edit_size(CODE, CODE) == 0
    assert edit_size("a b\nc\n", "a x\nc y z\n") == 4
    assert first_changed_line(CODE, FIXED) == 5
    assert first_changed_line("a\n", "a\nb\n") == 2


def test_equal_behaviours_fall_together() -> None:
    assert clusters([("a",), ("b",), ("a",)]) == [[0, 2], [1]]


def test_calls_are_taken_from_tests_and_varied() -> None:
    tests = (
        "def check(candidate):\n    assert candidate([1, 2], 3) == 2\n    y = 4\n"
        "    assert candidate(y) == 1\n\ncheck(f)\n"
    )
    assert calls_in(tests, "def f(a, b): pass\n", "f") == ["f([1, 2], 3)"]
    found = probes(tests, "def f(a, b): pass\n", "f")
    assert found[0] == "f([1, 2], 3)"
    assert {"f([], 3)", "f([1, 2], 4)", "f([2, 1], 3)"} <= set(found)
    assert len(found) == len(set(found)) <= 32
    assert calls_in("assert f(2) == 1\n", "def f(a): pass\n") == ["f(2)"]
    assert calls_in("assert (\n", "def f(a): pass\n") == []


def test_code_is_found_in_a_generators_words() -> None:
    assert code_of("Sure!\n```python\nx = 1\n```\nDone.") == "x = 1\n"
    assert code_of("Sure!\n```python\nx = 1\n") == "x = 1\n"
    assert code_of("x = 1\n") == "x = 1\n"
    assert fences("~~~py\nx\n~~~") == [("py", "x\n")]


def test_a_search_that_found_nothing_has_neutral_evidence() -> None:
    agent = Debugging()
    assert set(agent.evidence(TASK, Found(), None).values()) == {0.0}
