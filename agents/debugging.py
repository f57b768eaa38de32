"""Debugging: a program and tests that it fails give a patch that passes them.

Single edits of the program, and a generator's rewritings where there is one, are ordered by a
ranker and run in the sandbox; the frontier's patch is run there too. That the visible tests pass
does not mean that a patch is right: how far the passing candidates agree is evidence for that.
Without tests a patch can be proposed and never be trusted. Not known here: when the frontier is
asked.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Self, cast

from typing_extensions import override

from journeyman.agents.base import Agent, Ask, Escalated
from journeyman.agents.debug_evidence import EVIDENCE, debug_evidence, debug_record, num_passed
from journeyman.agents.debug_frontier import (
    AGAIN,
    PROMPT,
    code_in,
    failure_of,
    failure_text,
    once_more,
    parses,
    patch_of,
    refused,
    repair_request,
)
from journeyman.agents.debug_request import read_request
from journeyman.agents.debug_task import MAX_CHARS, CandidateRanker, DebuggingTask, Unranked
from journeyman.agents.debugging_trainer import DebuggingTrainer
from journeyman.agents.edits import OPERATORS_VERSION
from journeyman.agents.patches import (
    Patch,
    apply_diff,
    behaviour_of,
    same_behaviour,
    unified_diff,
)
from journeyman.agents.probes import probes
from journeyman.agents.repair_search import (
    Budget,
    Found,
    Proposal,
    Scene,
    failing_call,
    look,
    passes,
    probe_limits,
    propose,
    ranked,
    rewritten,
    search,
)
from journeyman.agents.repair_text import GENERATOR_PROMPT, code_of, generator_prompt
from journeyman.agents.repair_words import WORDS_VERSION
from journeyman.agents.sandbox import Sandbox, Verdict
from journeyman.models.slots import Slots
from journeyman.models.students.base import Student
from journeyman.models.students.batching import Batcher
from journeyman.models.students.generator import Generation, Prompt
from journeyman.models.types import (
    Attempt,
    Check,
    Example,
    FrontierReply,
    FrontierRequest,
    content_hash,
)

__all__ = ["EVIDENCE", "Debugging", "DebuggingTask", "Patch", "Unranked"]

_REMEMBERED = 256  # verdicts and comparisons kept, so that no program is run twice for one answer
_HINT_CHARS = 400


class Debugging(Agent[DebuggingTask, Patch]):
    """Repairs programs.

    Args:
        ranker: Orders the candidates; None, or an untaught one, leaves the generic order.
        sandbox: Where programs run. None makes one of level 'bubblewrap' when it is first needed;
            where there is no bubblewrap the sub-agent then refuses every task, and says how to
            install it.
        generator: Writes whole programs, tried before the edits; its samples are tried as well.
        edits: Try single edits; without them only what the generator writes.
        budget_candidates: Programs run for one task at most.
        budget_seconds: Wall time for running them; one task at a time has the sandbox.
        look_past: Programs run after the first that passes.
        name: Unique in a graph.
        description: What it does; the router reads it.
    """

    input_type = DebuggingTask
    output_type = Patch
    consumes = ("extraction", "retrieval")

    def __init__(
        self,
        ranker: CandidateRanker | None = None,
        sandbox: Sandbox | None = None,
        *,
        generator: Student[Prompt, Generation] | None = None,
        edits: bool = True,
        budget_candidates: int = 240,
        budget_seconds: float = 20.0,
        look_past: int = 60,
        name: str = "debugging",
        description: str = "Repairs Python code that fails its tests or raises an exception.",
    ) -> None:
        self.ranker: CandidateRanker = ranker if ranker is not None else Unranked()
        super().__init__(self.ranker)
        self.name = name
        self.description = description
        self.budget = Budget(budget_candidates, budget_seconds, look_past)
        self.generator = generator
        self._edits = edits
        self._writer: Batcher[Prompt, Generation] | None = (
            Batcher(generator) if generator is not None else None
        )
        self._given_sandbox = sandbox
        # One search fills the sandbox's workers; two at once would spend each other's time.
        self._turn = Slots(1)
        self._verdicts: OrderedDict[tuple[str, str, str], Verdict] = OrderedDict()

    @override
    def with_student(self, student: Student[Any, Any]) -> Self:
        """The same skill with another ranker; generator, sandbox and known verdicts are shared."""
        bound = super().with_student(student)
        bound.ranker = cast("CandidateRanker", student)
        return bound

    @property
    def sandbox(self) -> Sandbox:
        """Where programs run.

        Raises:
            SandboxUnavailable: Nothing here can run them safely; says what to install.
        """
        if self._given_sandbox is None:
            self._given_sandbox = Sandbox()
        return self._given_sandbox

    # The student's way.

    @override
    def trainer(self) -> DebuggingTrainer:
        """Teaches rankers, with this sub-agent's sandbox."""
        return DebuggingTrainer(lambda: self.sandbox)

    def render(self, task: DebuggingTask) -> str:
        """The words of a candidate that changes nothing: others are known once tests have run."""
        return ""

    def parse(self, task: DebuggingTask, raw: Found) -> Patch | None:
        """The chosen candidate as a patch; None where none passes."""
        if raw.chosen is None:
            return None
        proposal, verdict = raw.chosen.proposal, raw.chosen.verdict
        return Patch(
            diff=unified_diff(task.code, proposal.code),
            code=proposal.code,
            tests_passed=num_passed(verdict),
            tests_total=len(verdict.tests) if verdict else 0,
            proposed_by="generator" if proposal.by == "generator" else "edit",
            operator=proposal.operator,
            description=proposal.description,
            line=proposal.line,
            candidates_tried=raw.num_tried,
            rank=raw.chosen.rank,
            num_passing=len(raw.passing),
            agreement=raw.agreement,
            tests=task.tests,
            entry_point=task.entry_point,
            behaviour=raw.chosen.behaviour,
        )

    @override
    async def attempt(self, task: DebuggingTask) -> Attempt:
        """Look where the fault may be, order candidates, run them, choose among those that pass.

        Raises:
            SandboxUnavailable: Nothing here can run them safely; says what to install.
        """
        start = time.perf_counter()
        found = await self.search(task)
        output = await asyncio.to_thread(self.parse, task, found)
        if output is not None and found.chosen is not None and found.chosen.verdict is not None:
            self._remember(output.code, task, found.chosen.verdict)
        checks = await asyncio.to_thread(self.checks, task, output) if output else []
        return Attempt(
            output=output,
            evidence=self.evidence(task, found, output),
            checks=tuple(checks),
            note=self.note(found),
            raw=self.record(found),
            latency_ms=(time.perf_counter() - start) * 1000,
        )

    async def search(self, task: DebuggingTask) -> Found:
        """Everything that the student finds out about a task.

        Raises:
            SandboxUnavailable: Nothing here can run programs safely; says what to install.
        """
        sandbox = self.sandbox
        if not task.tests.strip() and not task.traceback.strip():
            return Found(note="There are neither tests nor a traceback to judge a patch by.")
        async with self._turn:
            scene = await look(task.fault, sandbox)
        if scene.baseline is not None and scene.baseline.passed:
            return Found(scene.baseline, note="The code passes the visible tests as it is.")
        order = await asyncio.to_thread(self._edited, scene) if self._edits else []
        order = [*await self._written(scene, order), *order]
        async with self._turn:
            return await search(scene, order, sandbox, self.budget)

    def _edited(self, scene: Scene) -> list[Proposal]:
        return ranked(propose(scene), self.ranker.predict if self.ranker.taught else None)

    async def _written(self, scene: Scene, edits: Sequence[Proposal]) -> list[Proposal]:
        """The generator's programs, each once, none of which an edit makes; likeliest first."""
        if self._writer is None:
            return []
        fault = scene.fault
        messages = generator_prompt(
            fault.code, description=fault.description, failures=scene.failures
        )
        answer = await self._writer.submit(Prompt(messages))
        known = {proposal.code for proposal in edits} | {fault.code}
        proposals = []
        for each in (answer, *answer.samples):
            code = code_of(each.text)
            if code not in known and parses(code):
                known.add(code)
                logs = each.log_probabilities or (0.0,)
                proposals.append(rewritten(fault, code, math.fsum(logs) / len(logs)))
        return ranked(proposals, None)

    def evidence(self, task: DebuggingTask, raw: Found, output: Patch | None) -> dict[str, float]:
        """Numbers of the search and of the chosen candidate; neutral ones where there is none."""
        return debug_evidence(raw)

    def note(self, raw: Found) -> str | None:
        """Why there is no patch, or why the one there is cannot be trusted."""
        if raw.note:
            return raw.note
        if raw.chosen is None:
            return f"None of {raw.num_tried} candidates passes the visible tests."
        if raw.baseline is None:
            return "There are no tests: the patch is proposed from a traceback and proves nothing."
        return None if self.ranker.taught else "The ranker has not been taught: generic order."

    def record(self, raw: Found) -> dict[str, Any]:
        """The search in numbers, and the passing candidates with what is known of them."""
        return debug_record(raw)

    # What an answer is worth.

    def checks(self, task: DebuggingTask, output: Patch) -> list[Check]:
        """`tests_given`, `parses`, `visible_tests_pass` and `diff_applies`, all hard.

        Runs the visible tests unless this patch was just judged by them: what a patch says of
        itself is not believed.
        """
        given = bool(task.tests.strip())
        is_python = parses(output.code)
        checks = [
            Check("tests_given", passed=given, detail="" if given else "no tests judge this patch"),
            Check("parses", passed=is_python),
            Check("diff_applies", passed=_applies(task.code, output)),
        ]
        if given:
            verdict = self._verdict(task, output.code) if is_python else None
            right = verdict is not None and passes(verdict)
            detail = "" if right else failure_text(verdict)
            checks.append(Check("visible_tests_pass", passed=right, detail=detail))
        return checks

    def agrees(self, first: Patch, second: Patch) -> bool:
        """Both patches pass the visible tests and do the same on calls derived from them.

        All that this needs is in the patches. Where one was not watched, as one that a person
        wrote, both are watched now.
        """
        if not first.passes or not second.passes:
            return False
        same = same_behaviour(first, second)
        if same is None:
            calls = probes(first.tests or second.tests, first.code, first.entry_point)
            same = bool(calls) and self._behave_alike(first.code, second.code, calls)
        return same

    def _behave_alike(self, first: str, second: str, calls: Sequence[str]) -> bool:
        sandbox = self.sandbox
        limits = probe_limits(sandbox)
        seen = [sandbox.observe_blocking(code, calls, limits=limits) for code in (first, second)]
        return behaviour_of(seen[0]) == behaviour_of(seen[1])

    def _verdict(self, task: DebuggingTask, code: str) -> Verdict:
        """The visible tests' word; blocks where it is not known yet."""
        known = self._verdicts.get(_key(task, code))
        if known is not None:
            return known
        verdict = self.sandbox.check_blocking(
            code, task.tests, keep_going=True, entry_point=task.entry_point
        )
        self._remember(code, task, verdict)
        return verdict

    def _remember(self, code: str, task: DebuggingTask, verdict: Verdict) -> None:
        self._verdicts[_key(task, code)] = verdict
        while len(self._verdicts) > _REMEMBERED:
            self._verdicts.popitem(last=False)

    # The frontier's way.

    @override
    def frontier_request(self, task: DebuggingTask, attempt: Attempt) -> FrontierRequest:
        """Shows code, tests, traceback and hints; asks for the whole corrected program."""
        return repair_request(self.name, task, self.task_key(task))

    def parse_frontier(
        self, task: DebuggingTask, attempt: Attempt, data: Mapping[str, Any]
    ) -> Patch:
        """The frontier's program as a patch that passes the visible tests. Runs them; blocks.

        Raises:
            MalformedOutput: There is no code, or it fails the visible tests.
            SandboxUnavailable: The tests cannot be run here.
        """
        code = code_in(self.name, data)
        verdict = self._verdict(task, code) if task.tests.strip() and parses(code) else None
        failure = failure_of(code, verdict)
        if failure:
            raise refused(self.name, failure, code)
        return patch_of(task, code, verdict, ())

    @override
    async def escalate(self, task: DebuggingTask, attempt: Attempt, ask: Ask) -> Escalated[Patch]:
        """Ask for a patch, run the visible tests on it, and ask once more where it fails them.

        Raises:
            ModelError: The frontier failed, or both of its patches fail the visible tests.
            SandboxUnavailable: Its patch cannot be tested here.
        """
        sandbox = self.sandbox  # without one no answer could be verified: do not pay for it
        request = self.frontier_request(task, attempt)
        replies: list[FrontierReply] = []
        failure = code = ""
        for _ in range(2):
            reply = await ask(request)
            replies.append(reply)
            code = code_in(self.name, reply.data)
            verdict = None
            if task.tests.strip() and parses(code):
                verdict = await sandbox.check(
                    code, task.tests, keep_going=True, entry_point=task.entry_point
                )
                self._remember(code, task, verdict)
            failure = failure_of(code, verdict) or await self._still_raises(task, code)
            if not failure:
                behaviour = await self._behaviour(task, code)
                patch = patch_of(task, code, verdict, behaviour)
                checks = await asyncio.to_thread(self.checks, task, patch)
                return Escalated(patch, tuple(replies), tuple(checks))
            request = once_more(request, code, failure)
        raise refused(self.name, failure, code)

    async def _still_raises(self, task: DebuggingTask, code: str) -> str:
        """Without tests: what the failing call still raises, where it is known."""
        call = None if task.tests.strip() else failing_call(task.fault)
        if call is None:
            return ""
        seen = (await self.sandbox.observe(code, [call]))[0]
        return "" if seen.kind == "value" else f"{call} still raises {seen.text}"

    async def _behaviour(self, task: DebuggingTask, code: str) -> tuple[str, ...]:
        calls = probes(task.tests, task.code, task.entry_point)
        if not calls:
            return ()
        limits = probe_limits(self.sandbox)
        return behaviour_of(await self.sandbox.observe(code, calls, limits=limits))

    # Requests, other sub-agents' answers, teaching.

    def from_request(self, text: str) -> DebuggingTask | None:
        """Fenced code with fenced tests or a traceback; None where the text has not both."""
        found = read_request(text)
        if found is None or len(found.code) > MAX_CHARS:
            return None
        return DebuggingTask(
            code=found.code,
            tests=found.tests[:MAX_CHARS],
            traceback=found.traceback[:MAX_CHARS],
            description=found.description,
            entry_point=found.entry_point,
        )

    def group(self, task: DebuggingTask) -> str:
        """The program: other tests of the same one do not make it another bug."""
        return task.code

    def with_answers(self, task: DebuggingTask, answers: Mapping[str, Any]) -> DebuggingTask:
        """Extracted fields and the best passages as hints."""
        hints = list(task.hints)
        extracted, ranking = answers.get("extraction"), answers.get("retrieval")
        if isinstance(extracted, Mapping) and extracted.get("values"):
            fields = ", ".join(f"{k}: {v}" for k, v in extracted["values"].items() if v)
            hints.append(fields[:_HINT_CHARS])
        if isinstance(ranking, Mapping):
            for passage in list(ranking.get("passages") or ())[:2]:
                title, text = passage.get("title") or "", passage.get("text") or ""
                hints.append(f"{title}: {text}"[:_HINT_CHARS])
        return task.model_copy(update={"hints": tuple(hints)})

    def example(self, task: DebuggingTask, answer: Patch) -> Example:
        """The task and a patch; `verified` says whether the visible tests pass. Runs them.

        Only verified ones may teach.
        """
        verified = all(check.passed for check in self.checks(task, answer))
        return Example(
            agent=self.name,
            task=task.model_dump(mode="json"),
            target={"code": answer.code, "diff": answer.diff, "verified": verified},
            group=content_hash(task.code, length=16),
        )

    def reference_answer(self, code: str) -> dict[str, Any]:
        """A known right program in the shape that the frontier answers in."""
        return {"code": code}

    def release_parts(self) -> dict[str, Any]:
        """Also operators, texts, budgets, sandbox level, generator and prompts."""
        generator = self.generator
        given = self._given_sandbox
        return {
            **super().release_parts(),
            "operators": OPERATORS_VERSION,
            "words": WORDS_VERSION,
            "budget": [self.budget.candidates, self.budget.seconds, self.budget.look_past],
            "sandbox": given.level if given is not None else "bubblewrap",
            "generator": generator.fingerprint() if generator is not None else "",
            "prompt": [PROMPT, AGAIN, GENERATOR_PROMPT],
        }


def _key(task: DebuggingTask, code: str) -> tuple[str, str, str]:
    return content_hash(code), content_hash(task.tests), task.entry_point


def _applies(code: str, patch: Patch) -> bool:
    try:
        return apply_diff(code, patch.diff) == patch.code
    except ValueError:
        return False
