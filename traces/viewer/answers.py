"""Answers that a person typed, held to the form that the sub-agent gives them.

The viewer knows no sub-agent. `journeyman view` hands over one who does (`Forms`), as the command
line has it. Without, as under plain Datasette, an answer is held to the JSON Schema that the
sub-agent's release keeps, where the recorded answers fit that; and to being an object otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

import referencing
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, best_match
from referencing.exceptions import Unresolvable
from sqlalchemy import Connection, Table, select

from journeyman.models.errors import ConfigError
from journeyman.traces.likeness import content_key
from journeyman.traces.reviews import Case
from journeyman.traces.schema import Payload, Release
from journeyman.traces.store import Store

_RELEASES = cast("Table", Release.__table__)
_PAYLOADS = cast("Table", Payload.__table__)


class Form(Protocol):
    """What answers of one sub-agent look like."""

    def read(self, answer: Any, *, beside: Any = None) -> dict[str, Any]:
        """A person's answer as the sub-agent would give it; `beside` is what they started from."""

    def agrees(self, first: Any, second: Any) -> bool | None:
        """Whether two answers are the same; None where that takes more than these."""


class Forms(Protocol):
    """Knows sub-agents."""

    def form(self, case: Case) -> Form | None:
        """The form of a case's answers; None where it is not known."""


@dataclass(frozen=True, slots=True)
class Held:
    """An answer that has the form.

    Attributes:
        answer: As the sub-agent would give it.
        agrees: Whether the student's answer is the same; None where nobody can say.
    """

    answer: Any
    agrees: bool | None = None


_FORMS = "journeyman_forms"


def give_forms(datasette: Any, forms: Forms | None) -> None:
    """Let a Datasette of ours know sub-agents; its configuration holds JSON alone."""
    setattr(datasette, _FORMS, forms)


def forms_of(datasette: Any) -> Forms | None:
    """Who knows sub-agents; None under a Datasette that somebody else started."""
    found: Forms | None = getattr(datasette, _FORMS, None)
    return found


def parse(text: str) -> Any:
    """A typed answer.

    Raises:
        ConfigError: It is not JSON.
    """
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError as error:
        raise ConfigError("The answer is nested too deeply: make it flatter.") from error
    except ValueError as error:
        raise ConfigError(f"The answer is not JSON ({error}): mend it and try again.") from error


def hold(store: Store, case: Case, answer: Any, forms: Forms | None) -> Held:
    """An answer held to its form.

    Raises:
        ConfigError: It does not have the form; the message says where.
    """
    form = None if forms is None else forms.form(case)
    if form is not None:
        answer = form.read(answer, beside=case.escalation.frontier_output)
        return Held(answer, form.agrees(case.student_output, answer))
    if not isinstance(answer, dict):
        raise ConfigError(
            f"The answer is no JSON object but {type(answer).__name__}: answers of "
            f"{case.escalation.agent!r} are objects."
        )
    known = [case.escalation.frontier_output, case.student_output]
    for schema, path in store.read(lambda connection: list(_schemas(connection, case))):
        _hold_to_schema(schema, path, answer, [one for one in known if one is not None], case)
    frontier = case.escalation.frontier_output
    same = frontier is not None and content_key(frontier) == content_key(answer)
    return Held(answer, case.escalation.agreement if same else None)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON number")


def _schemas(connection: Connection, case: Case) -> Iterator[tuple[Any, str]]:
    """Schemas that the sub-agent's releases keep, with the part of the answer they speak of."""
    release = case.attempt.release if case.attempt is not None else ""
    query = (
        select(_PAYLOADS.c.content)
        .join(_RELEASES, _RELEASES.c.parts_hash == _PAYLOADS.c.hash)
        .where(_RELEASES.c.agent == case.escalation.agent)
        # The one that made the attempt; before the first round none is on record, so the newest.
        .order_by((_RELEASES.c.id == release).desc(), _RELEASES.c.created_at.desc())
        .limit(1)
    )
    content = connection.scalar(query)
    parts = json.loads(content).get("parts", {}) if content is not None else {}
    for name, path in (("output", ""), ("schema", "values")):
        if isinstance(parts, Mapping) and isinstance(parts.get(name), Mapping):
            yield parts[name], path


def _hold_to_schema(
    schema: Any, path: str, answer: dict[str, Any], known: list[Any], case: Case
) -> None:
    if path and path not in answer:
        return
    # An empty registry: a schema never makes the viewer fetch anything.
    validator = Draft202012Validator(schema, registry=referencing.Registry())
    try:
        Draft202012Validator.check_schema(schema)
        if not all(validator.is_valid(_at(one, path)) for one in known):
            return  # whatever it is the schema of, recorded answers are not of it
        wrong = best_match(validator.iter_errors(_at(answer, path)))
    except (SchemaError, Unresolvable, RecursionError):
        return
    if wrong is not None:
        where = ".".join([*([path] if path else []), *map(str, wrong.absolute_path)])
        raise ConfigError(
            f"The answer is none of {case.escalation.agent!r}: {where or 'the answer'}: "
            f"{wrong.message[:300]}; mend it and try again."
        )


def _at(answer: Any, path: str) -> Any:
    return answer.get(path) if path and isinstance(answer, Mapping) else answer
