"""One scenario: what goes in, and what should come out of each sub-agent.

Plain frozen values. Nothing here reads a file, runs an agent or judges an answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

from journeyman.models.types import Span, canonical_json, content_hash
from journeyman.scenarios.spec import PassRule

Message = Mapping[str, str]
"""One chat message: `role` and `content`."""


@dataclass(frozen=True, slots=True)
class ExpectedRecord:
    """What extraction should find.

    Attributes:
        values: Field -> value. A field that the data marks more than once in a text holds a tuple;
            fields without a value are absent.
        spans: The places in the text. Where `by_span`, they are the reference; else they are the
            places at which the values were found, and values that do not occur have none.
        by_span: Are answers judged by place (`bio`, `spans`) or by value (`fields`, `desk`)?
    """

    values: Mapping[str, Any]
    spans: tuple[Span, ...] = ()
    by_span: bool = False


@dataclass(frozen=True, slots=True)
class ExpectedRanking:
    """The relevant passages: id -> grade, every grade above 0."""

    grades: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ExpectedRoutes:
    """The routes a request should take; none means that it is out of scope."""

    routes: frozenset[str]


@dataclass(frozen=True, slots=True)
class ExpectedTests:
    """How a repair is judged.

    Attributes:
        tests: Python source that the sub-agent sees; it raises when the program is wrong.
        hidden_tests: Python source that judges and is never shown; empty where `tests` judge.
        fixed: A correct program, where the data has one.
        entry_point: The function under test.
    """

    tests: str
    hidden_tests: str = ""
    fixed: str | None = None
    entry_point: str = ""


class Evaluates(Protocol):
    """What judges an assertion: an evaluator of `pydantic-evals`, whatever its types."""

    async def evaluate_async(self, ctx: Any) -> Any:
        """Look at a finished scenario."""
        ...


@dataclass(frozen=True, slots=True)
class Assertion:
    """Something that must hold of a scenario.

    Attributes:
        type: The evaluator's name.
        arguments: As written: None, the one argument in a tuple, or the arguments by name.
        evaluator: Made from these.
        negated: It must not hold.
        weight: How much it counts in the scenario's score.
    """

    type: str
    arguments: tuple[Any] | Mapping[str, Any] | None
    evaluator: Evaluates = field(compare=False, repr=False)
    negated: bool = False
    weight: float = 1.0

    @property
    def judges_expected(self) -> bool:
        """It compares the answers with `expected`, which then counts through it alone."""
        return bool(getattr(self.evaluator, "judges_expected", False))

    @property
    def label(self) -> str:
        """The assertion on one line, shortened."""
        given = self.arguments
        value = given[0] if isinstance(given, tuple) else given
        told = self.type if given is None else f"{self.type}: {_short(value)}"
        return f"not {told}" if self.negated else told

    @property
    def plain(self) -> dict[str, Any]:
        """JSON-compatible form, for hashes and records."""
        given = self.arguments
        return {
            "type": self.type,
            "arguments": list(given) if isinstance(given, tuple) else given,
            "negated": self.negated,
            "weight": self.weight,
        }


@dataclass(frozen=True, slots=True)
class Resume:
    """The value that a run paused at the named interrupt goes on with."""

    interrupt: str
    value: Any = None


@dataclass(frozen=True, slots=True)
class ExpectedOutput:
    """What a sub-agent of a user's own should answer; its `agrees` judges.

    Attributes:
        value: Its output, as JSON-compatible data.
    """

    value: Any


Expected = ExpectedOutput | ExpectedRecord | ExpectedRanking | ExpectedRoutes | ExpectedTests


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a conversation: what the user says, and what must hold of the answers to it."""

    text: str
    expected: Mapping[str, Expected] = field(default_factory=dict)
    assertions: tuple[Assertion, ...] = ()


@dataclass(frozen=True, slots=True)
class Scenario:
    """One task with its expected results.

    Attributes:
        id: Unique in the suite and stable: `<data set>/<row id>`, or the id of an inline scenario.
        agent: The sub-agent that gets it; None lets the router decide.
        input: A request as text, chat messages, or a typed task as a mapping.
        text: The input as one text: what a reader sees, and what spans point into.
        expected: Sub-agent -> what it should answer. Empty where nothing is known.
        tags: Tags of the suite, the data set and the scenario, each once.
        group: Equal for scenarios with the same content; parts of a data set never share a group.
        part: Name of the data set, `inline` for scenarios written in the suite.
        turns: What the user says in a conversation, the last of it being `text`; empty otherwise.
        resume: Values for the interrupts that the run pauses at.
        assertions: What must hold, the suite's defaults first.
        epochs: How often it runs.
        timeout_s: Seconds until it is given up; None leaves it to the run.
        passes: How many of its epochs must pass; None is all of them.
        xfail: Why it is expected to fail; it is reported and gates nothing.
        skip: Why it is not run.
    """

    id: str
    agent: str | None
    input: str | tuple[Message, ...] | Mapping[str, Any]
    text: str
    expected: Mapping[str, Expected] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    group: str = ""
    part: str = "inline"
    turns: tuple[Turn, ...] = ()
    resume: tuple[Resume, ...] = ()
    assertions: tuple[Assertion, ...] = ()
    epochs: int = 1
    timeout_s: float | None = None
    passes: PassRule | None = None
    xfail: str | None = None
    skip: str | None = None

    @property
    def judges_expected(self) -> bool:
        """Some assertion compares the answers with `expected`, which counts through it alone."""
        every = (*self.assertions, *(one for turn in self.turns for one in turn.assertions))
        return any(assertion.judges_expected for assertion in every)

    def in_turns(self) -> Iterator[Scenario]:
        """What is said turn by turn, each as a scenario with what is expected of it."""
        if not self.turns:
            yield self
            return
        *earlier, last = self.turns
        for turn in earlier:
            yield replace(self, text=turn.text, input=turn.text, expected=turn.expected)
        yield replace(
            self, text=last.text, input=last.text, expected=last.expected or self.expected
        )

    @property
    def fingerprint(self) -> str:
        """Hash of everything that shapes the result; a run may reuse a result only with this."""
        expected = _plain_expected(self.expected)
        said: list[Any] = [self.id, self.agent, _plain(self.input), expected]
        if self.assertions:
            said.append([one.plain for one in self.assertions])
        if self.turns or self.resume:
            turns = [
                [turn.text, _plain_expected(turn.expected), [one.plain for one in turn.assertions]]
                for turn in self.turns
            ]
            said.append([turns, [[one.interrupt, one.value] for one in self.resume]])
        return content_hash(said, length=32)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else canonical_json(value)
    text = " ".join(text.split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def group_of(text: str) -> str:
    """The group of a text: equal for texts that differ in case and white space only."""
    folded = " ".join(text.casefold().split())
    return hashlib.sha256(folded.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _plain_expected(expected: Mapping[str, Expected]) -> dict[str, Any]:
    return {name: _plain(asdict(value)) for name, value in expected.items()}


def _plain(value: Any) -> Any:
    """JSON-compatible form of an input or an expected result; sets become sorted lists."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, frozenset | set):
        return sorted(_plain(item) for item in value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value
