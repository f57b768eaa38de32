"""The suite file as types: every key it may have, its limits and what it means.

The JSON Schema for editors comes from here. Knows neither files nor lines: reading is `suite`, and
parts that contradict each other are `contradictions`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    model_validator,
)
from pydantic_core import PydanticCustomError

AgentName = Literal["extraction", "retrieval", "routing", "debugging"]
FileFormat = Literal["bio", "spans", "fields", "labels", "repair", "desk"]
OwnName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
"""The name of a sub-agent of a user's own."""
MetricName = Literal[
    "slot_f1",
    "macro_slot_f1",
    "entity_f1",
    "field_f1",
    "mrr",
    "r@1",
    "r@10",
    "ndcg@10",
    "accuracy",
    "out_of_scope",
    "tests_passed",
    "agreement",
]

AGENTS: tuple[AgentName, ...] = ("extraction", "retrieval", "routing", "debugging")

METRIC_AGENT: Mapping[str, AgentName] = {
    "slot_f1": "extraction",
    "macro_slot_f1": "extraction",
    "entity_f1": "extraction",
    "field_f1": "extraction",
    "mrr": "retrieval",
    "r@1": "retrieval",
    "r@10": "retrieval",
    "ndcg@10": "retrieval",
    "accuracy": "routing",
    "out_of_scope": "routing",
    "tests_passed": "debugging",
}
"""The sub-agent whose answers a metric judges."""

FORMAT_AGENTS: Mapping[str, tuple[AgentName, ...]] = {
    "bio": ("extraction", "routing"),
    "spans": ("extraction",),
    "fields": ("extraction",),
    "labels": ("routing",),
    "repair": ("debugging",),
    "desk": ("extraction", "retrieval", "debugging"),
    "qrels": ("retrieval",),
}
"""The sub-agents that a format holds references for."""

NAME_PATTERN = r"^[a-z][a-z0-9_-]{0,63}$"
KEY_PATTERN = r"^\S(.{0,198}\S)?$"
CLASS_PATTERN = r"^[^:\s]+:\w+$"

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
Text = Annotated[str, StringConstraints(min_length=1)]
Key = Annotated[str, StringConstraints(pattern=KEY_PATTERN)]


WrittenAssertion = Text | dict[Text, JsonValue]
"""An assertion as it is written: `Name`, `Name: argument`, `Name: {...}`, or `not:` around one."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ExtractionSettings(_Strict):
    """What extraction looks for.

    Attributes:
        schema_path: `module:Class`, or `file.py:Class` beside the suite: a pydantic model.
        labels: The labels of the data, or `auto` for all that occur in it.
    """

    schema_path: Annotated[str, StringConstraints(pattern=CLASS_PATTERN)] | None = Field(
        default=None, alias="schema"
    )
    labels: Literal["auto"] | list[Text] | None = None

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if self.schema_path is not None and self.labels is not None:
            raise PydanticCustomError("one_of", "has both 'schema' and 'labels'; keep one")
        return self


class RetrievalSettings(_Strict):
    """What retrieval searches.

    Attributes:
        corpus: Files of JSON Lines or folders of text; `auto` takes those of the qrels data sets.
        k: Passages in an answer.
        titles: Search the passages' titles together with their text.
    """

    corpus: Text | list[Text] = "auto"
    k: int = Field(default=10, ge=1, le=1000)
    titles: bool = True


class RoutingSettings(_Strict):
    """What routing chooses from.

    Attributes:
        routes: `agents` (those of this suite), `labels` (those of its data), or a mapping from
            name to description.
        out_of_scope: The label that stands for none of the routes.
    """

    routes: Literal["agents", "labels"] | dict[Text, Text] = "agents"
    out_of_scope: Text | None = None


class DebuggingSettings(_Strict):
    """How long debugging searches.

    Attributes:
        candidates: Programs run for one task at most.
        seconds: Wall time for running them.
        look_past: Programs run after the first that passes the visible tests.
        programs: JSON Lines of correct programs that the ranker is taught on; none may be a repair
            of this suite. Without it there is no ranker.
        baselines: Also repair every bug in the generic order, and some with a generator alone.
        generator_bugs: How many of the bugs the generator alone gets.
        generator_samples: Programs that it writes for each beside the likeliest.
    """

    candidates: int = Field(default=240, ge=1, le=100_000)
    seconds: float = Field(default=20, gt=0, le=3600)
    look_past: int = Field(default=60, ge=0, le=100_000)
    programs: Text | None = None
    baselines: bool = False
    generator_bugs: int = Field(default=30, ge=0)
    generator_samples: int = Field(default=2, ge=0, le=64)


class OwnAgent(_Strict):
    """A sub-agent of the user's own.

    Attributes:
        use: `module:name`, or `file.py:name` beside the suite: an `Agent`, or what makes one (a
            class or a function).
        options: Keyword arguments for what makes it.
    """

    use: Annotated[str, StringConstraints(pattern=CLASS_PATTERN)]
    options: dict[str, JsonValue] = Field(default_factory=dict)


class AgentSettings(_Strict):
    """Settings for the sub-agents of a suite; one that is left out is not part of it.

    Any other name is a sub-agent of the user's own.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[OwnName, OwnAgent] = Field(init=False)

    extraction: ExtractionSettings | None = None
    retrieval: RetrievalSettings | None = None
    routing: RoutingSettings | None = None
    debugging: DebuggingSettings | None = None

    @property
    def own(self) -> Mapping[str, OwnAgent]:
        """Sub-agents of the user's own, by name."""
        return self.__pydantic_extra__


class PassRule(_Strict):
    """How many of a scenario's epochs must pass: `all`, `any` of them, or `at_least` n."""

    rule: Literal["all", "any", "at_least"] = "all"
    n: int | None = Field(default=None, ge=1, le=100)

    @model_validator(mode="after")
    def _number(self) -> Self:
        if (self.n is not None) != (self.rule == "at_least"):
            raise PydanticCustomError("one_of", "needs 'n' with rule 'at_least', and only there")
        return self

    def needed(self, epochs: int) -> int:
        """How many of so many epochs must pass."""
        if self.rule == "all":
            return epochs
        return 1 if self.n is None else min(self.n, epochs)


class Gate(_Strict):
    """What a whole run of the suite must keep to; what is left out is not checked.

    Attributes:
        min_pass_rate: Smallest share of scenarios that pass, expected failures left out.
        max_regressions: Most scenarios that passed in the baseline and do not pass now.
        max_escalation_rate: Largest share of tasks that go to the frontier.
        max_cost_usd: Largest cost of the run.
    """

    min_pass_rate: float | None = Field(default=None, ge=0, le=1)
    max_regressions: int | None = Field(default=None, ge=0)
    max_escalation_rate: float | None = Field(default=None, ge=0, le=1)
    max_cost_usd: float | None = Field(default=None, ge=0)


class Defaults(_Strict):
    """What holds for every scenario.

    Attributes:
        timeout: Seconds until a scenario is given up.
        epochs: How often each runs.
        passes: How many of the epochs must pass.
        assertions: Assertions that hold for every scenario, its own come after them.
    """

    timeout: float = Field(default=60, gt=0, le=86_400)
    epochs: int = Field(default=1, ge=1, le=100)
    passes: PassRule | None = Field(default=None, alias="pass")
    assertions: list[WrittenAssertion] = Field(default_factory=list, alias="assert")


class Split(_Strict):
    """A stable share of a data set, chosen by a hash of each row's text.

    `test` takes the rows whose hash lies in the first `share` of all hashes, `stream` those in the
    last: with shares that sum to 1 the two are disjoint and complete. Rows with the same text
    always fall on the same side.
    """

    part: Literal["test", "stream"]
    share: float = Field(gt=0, lt=1)
    by: Literal["hash"] = "hash"

    @property
    def buckets(self) -> range:
        """The hash buckets of `NUM_BUCKETS` that belong to this share."""
        size = round(self.share * NUM_BUCKETS)
        return range(size) if self.part == "test" else range(NUM_BUCKETS - size, NUM_BUCKETS)


NUM_BUCKETS = 10_000


class _DataSet(_Strict):
    name: Name
    limit: int | None = Field(default=None, ge=1)
    split: Split | None = None
    tags: list[Key] = Field(default_factory=list)
    assertions: list[WrittenAssertion] = Field(default_factory=list, alias="assert")


class FileData(_DataSet):
    """A data set in one file or several of the same format; patterns such as `a_*.jsonl` work."""

    format: FileFormat
    file: Text | None = None
    files: list[Text] | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.file is None) == (self.files is None):
            raise PydanticCustomError("one_of", "needs either 'file' or 'files'")
        return self


class QrelsData(_DataSet):
    """A retrieval data set: passages, queries, and which passages answer which query."""

    format: Literal["qrels"]
    corpus: Text
    queries: Text
    qrels: Text


DataSet = Annotated[FileData | QrelsData, Field(discriminator="format")]


class ChatMessage(_Strict):
    """One message of a conversation."""

    role: Literal["user", "assistant", "system"]
    content: Text


class Turn(_Strict):
    """One turn of a conversation: what the user says, and what must hold of the answers to it.

    Attributes:
        user: What is said.
        expected: As a scenario's; the last turn may leave it to the scenario.
        assertions: What must hold of this turn alone.
    """

    user: Text
    expected: JsonValue = None
    assertions: list[WrittenAssertion] = Field(default_factory=list, alias="assert")


class Resume(_Strict):
    """What a run that pauses is given: the name of the interrupt, and the value it goes on with."""

    interrupt: Text
    value: JsonValue = None


class InlineScenario(_Strict):
    """A scenario written out in the suite.

    Attributes:
        id: Stable and unique in the suite: resumed runs and baselines go by it.
        input: A request, chat messages, a typed task for `agent`, or `{file: PATH}` for a text.
        turns: Instead of `input`: what the user says, one turn after the other in one session.
        resume: Values for the interrupts that the run pauses at, in this order.
        expected: By sub-agent: a record for extraction; ids, or id -> grade, for retrieval; route
            names for routing; `{tests, hidden_tests, fixed}` for debugging. Where no sub-agent is
            named, a mapping from sub-agent to these. Of the last turn, where there are several.
        assertions: What must hold, after the defaults' assertions.
        epochs: How often it runs.
        timeout: Seconds until it is given up.
        passes: How many of its epochs must pass.
        xfail: Why it is expected to fail: a failure is reported and gates nothing.
        skip: Why it is not run.
    """

    id: Key
    description: str = ""
    tags: list[Key] = Field(default_factory=list)
    agent: AgentName | OwnName | None = None
    input: Text | list[ChatMessage] | dict[str, JsonValue] | None = None
    turns: list[Turn] | None = Field(default=None, min_length=1)
    resume: list[Resume] = Field(default_factory=list)
    expected: JsonValue = None
    assertions: list[WrittenAssertion] = Field(default_factory=list, alias="assert")
    epochs: int | None = Field(default=None, ge=1, le=100)
    timeout: float | None = Field(default=None, gt=0, le=86_400)
    passes: PassRule | None = Field(default=None, alias="pass")
    xfail: Text | None = None
    skip: Text | None = None

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.input is None) == (self.turns is None):
            raise PydanticCustomError("one_of", "needs either 'input' or 'turns'")
        return self


class Fragment(_Strict):
    """A file of scenarios that suites include; settings and data sets stay in the suite."""

    version: Literal[1]
    description: str = ""
    tags: list[Key] = Field(default_factory=list)
    scenarios: list[InlineScenario] = Field(default_factory=list)
    include: list[Text] = Field(default_factory=list)


class SuiteSpec(_Strict):
    """A suite file as it is written.

    Attributes:
        version: Of the format.
        suite: Its name, under which its runs are kept and compared.
        description: What it is for.
        tags: Of every scenario.
        agent: The sub-agent that gets the scenarios; without one the router decides.
        metric: What judges the answers of the sub-agents, where it is not the usual metric.
        agents: Settings for the sub-agents.
        defaults: What holds for every scenario.
        gate: What a whole run must keep to.
        evaluators: Evaluators of your own for assertions, as `module:Class` or `file.py:Class`.
        include: Files of further scenarios.
        scenarios: Scenarios written out.
        data: Data sets.
    """

    version: Literal[1]
    suite: Name
    description: str = ""
    tags: list[Key] = Field(default_factory=list)
    agent: AgentName | OwnName | None = None
    metric: MetricName | dict[AgentName, MetricName] | None = None
    agents: AgentSettings = Field(default_factory=AgentSettings)
    defaults: Defaults = Field(default_factory=Defaults)
    gate: Gate = Field(default_factory=Gate)
    evaluators: list[Annotated[str, StringConstraints(pattern=CLASS_PATTERN)]] = Field(
        default_factory=list
    )
    include: list[Text] = Field(default_factory=list)
    scenarios: list[InlineScenario] = Field(default_factory=list)
    data: list[DataSet] = Field(default_factory=list)
