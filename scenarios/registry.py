"""The evaluators that assertions may name: built-in, installed, and those of the suite's own.

`pydantic-evals` is imported when the first assertion is read, since that takes over a second; a
suite without assertions works without it.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from journeyman.models.errors import ConfigError
from journeyman.scenarios.findings import Mistakes
from journeyman.scenarios.imports import load_name
from journeyman.scenarios.marked import Document, Loc
from journeyman.scenarios.scenario import Evaluates

if TYPE_CHECKING:
    from pydantic_evals.evaluators import Evaluator

    Type = type[Evaluator[Any, Any, Any]]

GROUP = "journeyman.evaluators"
"""Entry points under which packages offer evaluators: `Name = "package.module:Class"`."""

INSTALL = "pip install 'journeyman[suites]'"


class Registry:
    """Evaluators by name.

    Args:
        written: `module:Class` or `file.py:Class`, as the suite names them.
        document: The suite, for errors; their place is `evaluators`.
    """

    def __init__(self, written: Sequence[str], document: Document) -> None:
        self._written = written
        self._document = document
        self._adapters: dict[type[Any], TypeAdapter[Any]] = {}

    @cached_property
    def types(self) -> Mapping[str, Type]:
        """Built-in evaluators and those of the suite, by name.

        Raises:
            ConfigError: `pydantic-evals` is not installed, or a class cannot be used.
        """
        try:
            from journeyman.scenarios.evaluators import BUILT_IN
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in ("pydantic_evals", "pydantic_ai"):
                raise
            raise self._document.error(
                (), f"Assertions need the package pydantic-evals; run `{INSTALL}`."
            ) from error
        types: dict[str, Type] = dict(BUILT_IN)
        for position, written in enumerate(self._written):
            at = ("evaluators", position)
            found = self._load(at, partial(load_name, written, self._document.path.parent))
            name = found.get_serialization_name()
            if name in types:
                raise self._document.error(
                    at, f"An evaluator named {name!r} is there already; give yours another name."
                )
            types[name] = found
        return types

    def build(
        self, name: str, arguments: tuple[Any] | Mapping[str, Any] | None, at: Loc, file: Document
    ) -> Evaluates:
        """The evaluator that an assertion names.

        Args:
            name: Its name.
            arguments: None, the one argument in a tuple, or the arguments by name.
            at: Where the assertion's arguments stand.
            file: The file that they stand in.

        Raises:
            ConfigError: There is no such evaluator, or it does not take these arguments.
        """
        kind = self.types.get(name) or self._installed(name, at, file)
        if kind is None:
            close = difflib.get_close_matches(name, self.types, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]!r}?" if close else f"choose of {', '.join(self.types)}."
            raise file.error(at, f"There is no evaluator {name!r}; {hint}")
        fields = [field.name for field in dataclasses.fields(kind) if field.init]
        if isinstance(arguments, tuple):
            if not fields:
                raise file.error(at, f"{name} takes no arguments; write just `{name}`.")
            arguments = {fields[0]: arguments[0]}
        given = dict(arguments or {})
        for key in given:
            if key not in fields:
                close = difflib.get_close_matches(key, fields, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"it has {_listed(fields)}."
                raise file.error((*at, key), f"{name} has no argument {key!r}; {hint}")
        try:
            # As JSON: there, a strict dataclass may be given as a mapping.
            return self._adapter(kind).validate_json(json.dumps(given))  # type: ignore[no-any-return]  # of the class's own type
        except ValidationError as error:
            raise Mistakes(file, error, within=at, named=name).first() from error
        except Exception as error:  # a user's own class may refuse its arguments in any way
            raise file.error(at, f"{name} does not take these arguments: {error}") from error

    def _adapter(self, kind: type[Any]) -> TypeAdapter[Any]:
        if kind not in self._adapters:
            self._adapters[kind] = TypeAdapter(kind)
        return self._adapters[kind]

    def _installed(self, name: str, at: Loc, file: Document) -> Type | None:
        for entry in entry_points(group=GROUP, name=name):
            return self._load(at, entry.load, file)
        return None

    def _load(self, at: Loc, load: Callable[[], Any], file: Document | None = None) -> Type:
        from pydantic_evals.evaluators import Evaluator

        document = file or self._document
        try:
            found = load()
        except ConfigError as error:
            raise document.error(at, str(error)) from error
        except Exception as error:  # an installed package may fail in any way when it is imported
            raise document.error(at, f"The evaluator cannot be imported ({error}).") from error
        if not isinstance(found, type) or not issubclass(found, Evaluator):
            raise document.error(
                at,
                f"There is no evaluator in that place but {found!r}; derive the class from "
                "pydantic_evals.evaluators.Evaluator.",
            )
        return found


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names)) if names else "none"
