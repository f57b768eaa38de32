"""Every error that Journeyman raises on purpose.

The tree:

    JourneymanError
    + ConfigError             settings, suites, schemas: .path, .key
    + ModelError              .model
    |   + ModelUnavailable    connection, 5xx, timeout, circuit open: may be retried
    |   + KeyRejected         the API key is missing or wrong: no later call will fare better
    |   + MalformedOutput     .completion: an answer that does not fit the schema
    |   + BudgetExceeded      .cap_microusd: a hard cap refused the call before it was made
    |   + UnknownPrice        a cap is set and the model's price is not known
    |   + WeightsError        missing weights, or a digest that does not match
    |   + TrainingError       nothing can be learned, or training did not converge
    + AgentError              .agent
    |   + UnknownAgent        lists the known names
    |   + InvalidTask         .task: the input does not fit the agent's input type
    |   + SandboxUnavailable  nothing here can run candidates safely; says what to install
    + TraceError              .path
    |   + AlreadyReviewed     somebody gave a verdict in the meantime
    |   + CorruptRecord
    |   + NotOnRecord         what was asked for is not in the store
    |   + QueryTooSlow        a question took longer than it may
    |   + StoreUnreachable    its server does not answer, and may come back
    |   + SchemaTooNew        the file was written by a newer Journeyman
    + EscalationFailed        the frontier failed too; the record is kept
    + LoopDetected            step budget spent, or a task repeated itself

A message says what, where (`{name!r}`) and what to do next. The command line prints these in one
line; anything else keeps its traceback. Low confidence is not an error: it is a value that routes.
"""

from __future__ import annotations

from pathlib import Path

from journeyman.models.types import Usage


class JourneymanError(Exception):
    """Root of every error raised on purpose."""


class ConfigError(JourneymanError):
    """Settings, a suite or a schema is wrong.

    Args:
        message: What is wrong, where, and what to do next.
        path: The file at fault, where there is one.
        key: The dotted key at fault, where there is one.
    """

    def __init__(self, message: str, *, path: Path | None = None, key: str | None = None) -> None:
        super().__init__(message)
        self.path = path
        self.key = key


class ModelError(JourneymanError):
    """A model, local or remote, did not do its part.

    Attributes:
        model: Name of the model.
        num_tries: HTTP calls that the failed request took.
        usage: Tokens that those calls reported.
        cost_microusd: Their price; None where it is unknown.
    """

    def __init__(self, message: str, *, model: str = "") -> None:
        super().__init__(message)
        self.model = model
        self.num_tries = 0
        self.usage = Usage()
        self.cost_microusd: int | None = 0


class ModelUnavailable(ModelError):
    """The model could not be reached or is overloaded; the call may be tried again later."""


class KeyRejected(ModelError):
    """The API key is missing or was rejected; no later call with it will fare better."""


class MalformedOutput(ModelError):
    """A model answered with something that does not fit the schema."""

    def __init__(self, message: str, *, model: str = "", completion: str = "") -> None:
        super().__init__(message, model=model)
        self.completion = completion


class BudgetExceeded(ModelError):
    """A hard cap refused a call before it was made."""

    def __init__(self, message: str, *, model: str = "", cap_microusd: int = 0) -> None:
        super().__init__(message, model=model)
        self.cap_microusd = cap_microusd


class UnknownPrice(ModelError):
    """A budget is set but the model's price is not known, so the cap could not be kept."""


class WeightsError(ModelError):
    """Model weights are missing, unreadable, or their digest does not match."""


class TrainingError(ModelError):
    """Nothing can be learned from what was given, or training did not converge."""


class AgentError(JourneymanError):
    """A sub-agent is misconfigured or was misused."""

    def __init__(self, message: str, *, agent: str = "") -> None:
        super().__init__(message)
        self.agent = agent


class UnknownAgent(AgentError):
    """A task names a sub-agent that the graph does not have."""


class InvalidTask(AgentError):
    """A task's input does not fit the sub-agent's input type."""


class SandboxUnavailable(AgentError):
    """Candidate code cannot be run safely on this machine; the message says what mends it."""


class TraceError(JourneymanError):
    """The trace store could not be opened, read or written."""

    def __init__(self, message: str, *, path: Path | None = None) -> None:
        super().__init__(message)
        self.path = path


class AlreadyReviewed(TraceError):
    """Somebody else gave a verdict on an escalation; the message says who, when and which."""


class CorruptRecord(TraceError):
    """A stored record does not match its own hash or schema."""


class StoreUnreachable(TraceError):
    """The server of a trace store does not answer; it may come back."""


class SchemaTooNew(TraceError):
    """The trace file was written by a newer version of Journeyman."""


class NotOnRecord(TraceError):
    """What was asked for is not in the trace store."""


class QueryTooSlow(TraceError):
    """A question to the trace store took longer than it may."""


class EscalationFailed(JourneymanError):
    """The frontier failed as well; the attempt and the failure are on record."""

    def __init__(self, message: str, *, agent: str = "", run_id: str = "") -> None:
        super().__init__(message)
        self.agent = agent
        self.run_id = run_id


class LoopDetected(JourneymanError):
    """A run spent its step budget, or dispatched the same task twice."""
