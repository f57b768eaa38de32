"""The search for a patch: where the fault may be, which edits to try, which of them pass.

Candidates come from single edits and, where there is one, a generator; a ranker orders them and the
sandbox decides, best first. The search goes on past the first that passes, because what passes the
visible tests is often not right: passing candidates are watched on further calls, and the largest
group that behaves alike is believed. Knows no frontier and no gate.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from journeyman.agents.confined.request import Limits
from journeyman.agents.edits import candidates
from journeyman.agents.localize import (
    Localisation,
    localize,
    localize_traceback,
    read_traceback,
)
from journeyman.agents.patches import (
    behaviour_of,
    clusters,
    edit_size,
    first_changed_line,
)
from journeyman.agents.probes import calls_in, probes
from journeyman.agents.repair_words import EditWords
from journeyman.agents.sandbox import Observation, Sandbox, Verdict

Score = Callable[[Sequence[str]], Sequence[float]]
"""Scores of candidates by their words, in order; higher is better."""

PRIOR_WEIGHT = 1.5
"""How much the generic order counts beside a ranker's score. Bugs that a ranker was taught on say
less about others' bugs than about each other, so it counts for more than its own odds."""

_UNKNOWN_PRIOR = 1.0  # of a generator's program: it has no place in the generic order
_SIZE_SCALE = 12.0  # words and signs after which a patch counts e times less
_MOST_OBSERVED = 16  # passing candidates that are watched
_DECEIT = frozenset({"no_tests", "forged_equality", "shadowed_builtin"})


@dataclass(frozen=True, slots=True)
class Budget:
    """How long a search may go on.

    Attributes:
        candidates: Programs that are run at most.
        seconds: Wall time after which no further one is started.
        look_past: Programs that are run after the first that passes.
    """

    candidates: int = 240
    seconds: float = 20.0
    look_past: int = 60


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a program.

    Attributes:
        code: The program.
        tests: Tests that it fails; may be empty.
        traceback: What it raised; may be empty.
        description: What it should do.
        entry_point: The function under test; may be empty.
    """

    code: str
    tests: str = ""
    traceback: str = ""
    description: str = ""
    entry_point: str = ""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A program that may be the repair.

    Attributes:
        code: All of it.
        by: `edit` or `generator`.
        operator: The edit's kind; `rewrite` for a generator's.
        description: What it changes.
        words: As the ranker reads it, with blanks between them.
        line: First line (from 1) that it changes.
        size: Words and signs that it changes.
        prior: Its place in the generic order, in (0, 1].
        suspicion: Of its line.
        score: The ranker's.
        standing: What decides the order: the generic order, and the score where there is one.
        log_probability: A generator's; 0 for an edit.
    """

    code: str
    by: str
    operator: str
    description: str
    words: str
    line: int
    size: int
    prior: float
    suspicion: float
    score: float = 0.0
    standing: float = 0.0
    log_probability: float = 0.0


@dataclass(frozen=True, slots=True)
class Passing:
    """A proposal that passes the visible tests, or no longer raises where there are none.

    Attributes:
        proposal: The proposal.
        rank: Its place among the programs that were run, from 1.
        verdict: The tests' word.
        behaviour: Hashes of what the probing calls gave.
    """

    proposal: Proposal
    rank: int
    verdict: Verdict | None = None
    behaviour: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to.

    Attributes:
        baseline: The tests' word on the program as it is; None without tests.
        localisation: Where the fault may be; None where nothing tells.
        proposals: All candidates, in the order in which they are run.
        num_tried: How many were run.
        passing: Those that pass, in that order.
        chosen: The one to answer with; None where none passes.
        agreement: Share of the passing ones, by weight, that behave as the chosen one does.
        num_clusters: Different behaviours among the passing ones.
        margin: Its standing above the best passing one that behaves otherwise; None without one.
        note: Why there is no answer, or what to know of it; may be empty.
    """

    baseline: Verdict | None = None
    localisation: Localisation | None = None
    proposals: tuple[Proposal, ...] = ()
    num_tried: int = 0
    passing: tuple[Passing, ...] = ()
    chosen: Passing | None = None
    agreement: float = 0.0
    num_clusters: int = 0
    margin: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Scene:
    """A fault once its tests have been run: what the candidates are made and judged by."""

    fault: Fault
    baseline: Verdict | None = None
    localisation: Localisation | None = None
    failures: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)


async def look(fault: Fault, sandbox: Sandbox) -> Scene:
    """Run the tests on the program as it is, and see where the fault may be."""
    if not fault.tests.strip():
        traceback = read_traceback(fault.traceback)
        found = localize_traceback(traceback, fault.code)
        words = f"{traceback.error}: {traceback.message}" if traceback.error else ""
        return Scene(fault, None, found, (words,) if words else (), _limits(sandbox, None))
    verdict = await sandbox.check(
        fault.code, fault.tests, trace_lines=True, entry_point=fault.entry_point
    )
    failing = [test for test in verdict.tests if test.status not in {"passed", "not_run"}]
    raised = {test.detail.line for test in failing if test.detail and test.detail.line}
    found = localize(verdict.tests, fault.code, {line for line in raised if line})
    if found is None and fault.traceback:
        found = localize_traceback(read_traceback(fault.traceback), fault.code)
    said = [
        f"{test.name}: {test.detail.type} {test.detail.message}" if test.detail else test.name
        for test in failing
    ]
    if not said and verdict.detail is not None:
        said = [f"{verdict.detail.type}: {verdict.detail.message}"]
    return Scene(fault, verdict, found, tuple(said), _limits(sandbox, verdict))


def propose(scene: Scene, most: int | None = None) -> list[Proposal]:
    """Single edits of the program in the generic order; those that cannot matter are left out."""
    code, found = scene.fault.code, scene.localisation
    words = EditWords(code, scene.fault.description)
    proposals: list[Proposal] = []
    focus = found.suspicion if found else None
    for item in candidates(code, focus=focus, tests=scene.fault.tests):
        if found is not None and found.complete and item.suspicion <= 0:
            continue
        edit = item.edit
        telling = words.of(item.operator, edit.start, edit.end, edit.replacement)
        proposals.append(
            Proposal(
                code=item.code,
                by="edit",
                operator=item.operator,
                description=edit.description,
                words=" ".join(telling),
                line=item.line,
                size=item.size,
                prior=item.prior,
                suspicion=item.suspicion,
            )
        )
        if len(proposals) == most:
            break
    return proposals


def rewritten(fault: Fault, code: str, log_probability: float) -> Proposal:
    """A generator's program as a proposal."""
    return Proposal(
        code=code,
        by="generator",
        operator="rewrite",
        description="rewrites the code",
        words="rewrite",
        line=first_changed_line(fault.code, code),
        size=edit_size(fault.code, code),
        prior=_UNKNOWN_PRIOR,
        suspicion=1.0,
        log_probability=log_probability,
    )


def ranked(proposals: Sequence[Proposal], score: Score | None) -> list[Proposal]:
    """The proposals in the order in which they are to be run.

    The generic order, corrected by a ranker's scores where there is one. A generator's programs
    have no place in it: they stand by their log-probability.
    """
    if score is None:
        scores, weight = [0.0] * len(proposals), 1.0
    else:
        scores, weight = list(score([p.words for p in proposals])), PRIOR_WEIGHT
    standing = [
        replace(p, score=value, standing=value + weight * math.log(p.prior) + p.log_probability)
        for p, value in zip(proposals, scores, strict=True)
    ]
    return sorted(standing, key=lambda p: -p.standing)


async def search(
    scene: Scene, proposals: Sequence[Proposal], sandbox: Sandbox, budget: Budget
) -> Found:
    """Run proposals, best first, within the budget, and choose among those that pass."""
    found = Found(scene.baseline, scene.localisation, tuple(proposals))
    if scene.fault.tests.strip():
        tried, passing = await _run(scene, proposals, sandbox, budget)
    else:
        tried, passing = await _run_without_tests(scene, proposals, sandbox, budget)
    passing = await _watched(scene, passing, sandbox)
    return _choose(replace(found, num_tried=tried, passing=tuple(passing)))


async def _run(
    scene: Scene, proposals: Sequence[Proposal], sandbox: Sandbox, budget: Budget
) -> tuple[int, list[Passing]]:
    start = time.monotonic()
    pool = proposals[: budget.candidates]
    verdicts: list[Verdict | None] = []
    passing: list[Passing] = []
    stop_after: int | None = 1
    while len(verdicts) < len(pool):
        rest = pool[len(verdicts) :]
        if passing:
            last = passing[0].rank + budget.look_past
            rest, stop_after = pool[len(verdicts) : last], None
        left = budget.seconds - (time.monotonic() - start)
        if not rest or left <= 0:
            break
        answers = await sandbox.check_many(
            [proposal.code for proposal in rest],
            scene.fault.tests,
            stop_after=stop_after,
            seconds=left,
            entry_point=scene.fault.entry_point,
            limits=scene.limits,
        )
        run = [verdict for verdict in answers if verdict is not None]
        for verdict, proposal in zip(run, rest, strict=False):
            verdicts.append(verdict)
            if passes(verdict, scene.baseline):
                passing.append(Passing(proposal, len(verdicts), verdict))
        if len(run) < len(rest) and not any(verdict.passed for verdict in run):
            break  # the time is up
    return len(verdicts), passing


def passes(verdict: Verdict, baseline: Verdict | None = None) -> bool:
    """Did tests run, and pass, without signs of deceit that the program itself has not?"""
    suspect = verdict.flags & _DECEIT
    return verdict.passed and bool(verdict.tests) and suspect <= _known_flags(baseline)


def _known_flags(baseline: Verdict | None) -> frozenset[str]:
    return (baseline.flags if baseline is not None else frozenset()) - {"no_tests"}


async def _run_without_tests(
    scene: Scene, proposals: Sequence[Proposal], sandbox: Sandbox, budget: Budget
) -> tuple[int, list[Passing]]:
    """Keeps what no longer raises where the failing call is known; else what stands first."""
    call = failing_call(scene.fault)
    if call is None:
        return 0, [Passing(proposals[0], 1)] if proposals else []
    before = (await sandbox.observe(scene.fault.code, [call], limits=scene.limits))[0]
    if not _is_trouble(before):
        return 0, []  # it does not fail here: nothing can be judged by it
    start = time.monotonic()
    passing: list[Passing] = []
    tried = 0
    for first in range(0, min(len(proposals), budget.candidates), sandbox.workers):
        if time.monotonic() - start > budget.seconds:
            break
        if passing and tried >= passing[0].rank + budget.look_past:
            break
        batch = proposals[first : min(first + sandbox.workers, budget.candidates)]
        seen = await asyncio.gather(
            *(sandbox.observe(p.code, [call], limits=scene.limits) for p in batch)
        )
        for proposal, observed in zip(batch, seen, strict=True):
            tried += 1
            if not _is_trouble(observed[0]):
                passing.append(Passing(proposal, tried))
    return tried, passing


def failing_call(fault: Fault) -> str | None:
    """The call of the program that a traceback shows, if it needs nothing but literals."""
    for frame in read_traceback(fault.traceback).frames:
        source = frame.source.rstrip(":").removeprefix("return ")
        calls = calls_in(source, fault.code, fault.entry_point)
        calls = calls or calls_in(source, fault.code)
        if calls:
            return calls[0]
    return None


def _is_trouble(observed: Observation) -> bool:
    return observed.kind != "value"


async def _watched(scene: Scene, passing: list[Passing], sandbox: Sandbox) -> list[Passing]:
    """Passing proposals with their behaviour; beyond the first few it is unknown."""
    fault = scene.fault
    shown = fault.tests if fault.tests.strip() else failing_call(fault) or ""
    calls = probes(shown, fault.code, fault.entry_point)
    if not calls or not passing:
        return passing
    best = sorted(passing, key=lambda p: -p.proposal.standing)[:_MOST_OBSERVED]
    limits = probe_limits(sandbox)
    seen = await asyncio.gather(
        *(sandbox.observe(p.proposal.code, calls, limits=limits) for p in best)
    )
    known = {id(p): behaviour_of(s) for p, s in zip(best, seen, strict=True)}
    return [replace(p, behaviour=known.get(id(p), ())) for p in passing]


def probe_limits(sandbox: Sandbox) -> Limits:
    """Limits for watching: short, since calls near the tests' should be as quick as theirs."""
    return replace(sandbox.limits, wall_seconds=4.0, test_seconds=0.5)


def _choose(found: Found) -> Found:
    """The best proposal of the largest group that behaves alike, by weight."""
    passing = found.passing
    if not passing:
        return found
    best = max(p.proposal.standing for p in passing)
    weights = [
        math.exp(p.proposal.standing - best - p.proposal.size / _SIZE_SCALE) for p in passing
    ]
    groups = clusters([p.behaviour or (p.proposal.code,) for p in passing])
    group = max(groups, key=lambda members: sum(weights[i] for i in members))
    chosen = passing[max(group, key=lambda i: weights[i])]
    others = [p.proposal.standing for i, p in enumerate(passing) if i not in group]
    return replace(
        found,
        chosen=chosen,
        agreement=sum(weights[i] for i in group) / sum(weights),
        num_clusters=len(groups),
        margin=chosen.proposal.standing - max(others) if others else None,
    )


def _limits(sandbox: Sandbox, baseline: Verdict | None) -> Limits:
    """Candidates may take some times what the program takes: a loop without end costs most."""
    full = sandbox.limits
    if baseline is None:
        return replace(full, wall_seconds=min(full.wall_seconds, 2.0))
    ended = [t.duration_ms for t in baseline.tests if t.status in {"passed", "failed", "error"}]
    cpu = 0.5 + 10 * sum(ended) / 1000
    return replace(
        full,
        cpu_seconds=min(full.cpu_seconds, cpu),
        wall_seconds=min(full.wall_seconds, 3 * cpu),
    )
