"""What teaches a ranker of repairs: groups of candidates of which it is known which are right.

From a verified patch: the edits of the broken program that give the repaired one. From a correct
program, before there is any traffic: it is changed by one edit so that its tests fail, and the edit
that leads back is right. Words and suspicion are those of a real search, so that what is taught is
what is asked. Other candidates are not run: the few that pass too count as wrong.
"""

from __future__ import annotations

import ast
import asyncio
import json
import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from journeyman.agents.edits import OPERATORS, Candidate, candidates
from journeyman.agents.repair_search import PRIOR_WEIGHT, Fault, Proposal, Scene, look, propose
from journeyman.agents.sandbox import Sandbox
from journeyman.models.errors import ConfigError
from journeyman.models.training.ranker import RankingGroup

_DRAWS = 6  # edits that a program is tried with for each mutant of it: a third has no way back
_NEAR = 60  # candidates among which the way back is looked for
_ROUND = 16  # mutants made and run at once
_NOT_CODE = re.compile(r"[\s()]+")

OnBug = Callable[[int, int], None]
"""Told how many bugs are made, and how many are wanted."""


@dataclass(frozen=True, slots=True)
class Program:
    """A correct program.

    Attributes:
        id: Its mutants are held out together.
        code: Passes its tests.
        tests: Python source that raises where the code is wrong.
        description: What it should do.
        entry_point: The function under test; may be empty.
    """

    id: str
    code: str
    tests: str
    description: str = ""
    entry_point: str = ""


def read_programs(path: Path) -> list[Program]:
    """Programs from a JSONL file with `id`, `code`, `tests`, `description`, `entry_point`.

    Raises:
        ConfigError: The file is missing, or a row has no id, code or tests.
    """
    try:
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
        return [
            Program(
                id=str(row["id"]),
                code=str(row["code"]),
                tests=str(row["tests"]),
                description=str(row.get("description") or ""),
                entry_point=str(row.get("entry_point") or ""),
            )
            for row in rows
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"No correct programs can be read from {str(path)!r} ({type(error).__name__}): give a "
            f"JSONL file whose rows have id, code and tests, or set JOURNEYMAN_DATA to where the "
            f"data sets are.",
            path=path,
        ) from error


def refuse_shared(programs: Sequence[Program], tested: Iterable[str]) -> None:
    """Refuse to teach on the tasks of a test.

    A program is a test's when it defines the function that a test asks to repair and most of its
    lines are those of the broken program: sharing a name alone is chance.

    Raises:
        ConfigError: A program is one that is asked about.
    """
    asked: defaultdict[str, list[frozenset[str]]] = defaultdict(list)
    for code in tested:
        for name in _functions(code):
            asked[name].append(_lines(code))
    for program in programs:
        lines = _lines(program.code)
        for name in _functions(program.code):
            for others in asked.get(name, ()):
                shared = len(lines & others)
                if shared and 2 * shared >= min(len(lines), len(others)):
                    raise ConfigError(
                        f"The correct program {program.id!r} is the repair of a program of this "
                        f"test ({name!r}): teach on other programs than the test's."
                    )


def _functions(code: str) -> list[str]:
    return re.findall(r"^def (\w+)", code, re.MULTILINE)


def _lines(code: str) -> frozenset[str]:
    """Lines of code without blanks, but those that any program of its name may have."""
    folded = ("".join(line.split()) for line in code.splitlines())
    return frozenset(line for line in folded if len(line) > 3 and not line.startswith("def"))


class Mutants:
    """One program's mutants that some single edit repairs.

    Kinds of edits are drawn by their weight in the generic order, not by how many edits they make:
    otherwise those of which there are many would be most of what is taught.

    Args:
        program: The program.
        seed: Of the draws.
    """

    def __init__(self, program: Program, seed: int) -> None:
        self.program = program
        self._order = random.Random(f"{seed}/{program.id}")
        self._letters = _NOT_CODE.sub("", program.code)
        self._untried: dict[str, list[Candidate]] | None = None
        self._found: dict[str, list[str]] = defaultdict(list)

    @property
    def exhausted(self) -> bool:
        """There are no more mutants."""
        return self._untried is not None and not self._untried and not self._found

    def take(self, wanted: Mapping[str, float]) -> tuple[str, str] | None:
        """A mutant's code, and the kind of edit that repairs it; None when there are no more.

        Args:
            wanted: By kind, how much a mutant that it repairs is wanted; absent kinds most of all.
        """
        for _ in range(_DRAWS):
            drawn = self._draw()
            if drawn is not None and (kind := self._repaired_by(drawn)):
                self._found[kind].append(drawn.code)
        if not self._found:
            return None
        kind = max(sorted(self._found), key=lambda each: wanted.get(each, math.inf))
        code = self._found[kind].pop()
        if not self._found[kind]:
            del self._found[kind]
        return code, kind

    def _draw(self) -> Candidate | None:
        if self._untried is None:
            self._untried = defaultdict(list)
            for candidate in candidates(self.program.code):
                self._untried[candidate.operator].append(candidate)
            for each in self._untried.values():
                self._order.shuffle(each)
        if not self._untried:
            return None
        kinds = sorted(self._untried)
        kind = self._order.choices(kinds, [OPERATORS[each] for each in kinds])[0]
        drawn = self._untried[kind].pop()
        if not self._untried[kind]:
            del self._untried[kind]
        return drawn

    def _repaired_by(self, mutant: Candidate) -> str:
        """The kind of edit that leads back; empty where none is found near the change."""
        near = dict.fromkeys(range(mutant.line - 1, mutant.line + 2), 1.0)
        back = candidates(mutant.code, focus=near, limit=_NEAR)
        return next((c.operator for c in back if _NOT_CODE.sub("", c.code) == self._letters), "")


async def mutant_groups(
    programs: Sequence[Program],
    sandbox: Sandbox,
    *,
    num_bugs: int,
    seed: int = 0,
    on_bug: OnBug | None = None,
) -> list[RankingGroup]:
    """Bugs made from the programs, each with its candidates and the way back among them.

    Every kind of edit repairs about as large a share of the bugs as its weight in the generic order
    says, as far as the programs allow.

    Args:
        programs: Correct ones.
        sandbox: Where the mutants run.
        num_bugs: At most so many, spread evenly over the programs.
        seed: Of the choice of programs and edits.
        on_bug: Called after every few mutants.

    Returns:
        The same groups for the same arguments, unless a test is close to its time limit.

    Raises:
        SandboxUnavailable: Nothing here can run them safely.
    """
    order = random.Random(seed)
    sources = [Mutants(p, seed) for p in order.sample(list(programs), len(programs))]
    groups: list[RankingGroup] = []
    counts = Counter[str]()
    while sources and len(groups) < num_bugs:
        for first in range(0, len(sources), _ROUND):
            batch = sources[first : first + _ROUND]
            groups += await _round(batch, counts, sandbox)
            if on_bug is not None:
                on_bug(min(len(groups), num_bugs), num_bugs)
            if len(groups) >= num_bugs:
                break
        sources = [source for source in sources if not source.exhausted]
    return groups[:num_bugs]


async def _round(
    sources: Sequence[Mutants], counts: Counter[str], sandbox: Sandbox
) -> list[RankingGroup]:
    """One more bug of each program, where it has one."""

    async def group(program: Program, code: str) -> RankingGroup | None:
        fault = Fault(
            code,
            program.tests,
            description=program.description,
            entry_point=program.entry_point,
        )
        return await lesson_group(fault, program.code, sandbox, source=program.id)

    taken = await asyncio.to_thread(_take, sources, counts)
    found = await asyncio.gather(*(group(program, code) for program, code in taken))
    return [each for each in found if each is not None]


def _take(sources: Sequence[Mutants], counts: Counter[str]) -> list[tuple[Program, str]]:
    """One mutant of each program, of the kinds that are rarest for their weight so far."""
    taken = []
    for source in sources:
        wanted = {kind: OPERATORS[kind] / count for kind, count in counts.items()}
        found = source.take(wanted)
        if found is not None:
            taken.append((source.program, found[0]))
            counts[found[1]] += 1
    return taken


async def lesson_group(
    fault: Fault, repaired: str, sandbox: Sandbox, *, source: str = "", weight: float = 1.0
) -> RankingGroup | None:
    """A fault whose repair is known, as a group of candidates.

    Args:
        fault: The broken program and its tests.
        repaired: The right program.
        sandbox: Where the tests run on the broken one.
        source: Groups of one source are held out together.
        weight: How much it counts.

    Returns:
        None where the tests pass as it is, or no single edit leads to the repair.

    Raises:
        SandboxUnavailable: Nothing here can run it safely.
    """
    scene = await look(fault, sandbox)
    return await asyncio.to_thread(_group, scene, repaired, source, weight)


def _group(scene: Scene, repaired: str, source: str, weight: float) -> RankingGroup | None:
    if scene.baseline is None or scene.baseline.passed:
        return None
    proposals = propose(scene)
    right = _leading_to(repaired, proposals)
    if not right or len(right) == len(proposals):
        return None
    return RankingGroup(
        candidates=[proposal.words for proposal in proposals],
        right=right,
        offsets=[PRIOR_WEIGHT * math.log(proposal.prior) for proposal in proposals],
        source=source,
        weight=weight,
    )


def _leading_to(code: str, proposals: Sequence[Proposal]) -> frozenset[int]:
    """Candidates that are the program, but for spaces, comments and needless parentheses."""
    try:
        tree = ast.dump(ast.parse(code))
    except (SyntaxError, ValueError, RecursionError):
        return frozenset()
    size = len(code)
    return frozenset(
        i
        for i, proposal in enumerate(proposals)
        # Texts of another length by far are not the same; to parse them all would take long.
        if abs(len(proposal.code) - size) < 200 and ast.dump(ast.parse(proposal.code)) == tree
    )
