"""The files that a suite's scenarios are written in: the suite itself, and those it includes.

Knows neither sub-agents nor data sets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from journeyman.models.errors import ConfigError
from journeyman.scenarios.findings import Mistakes
from journeyman.scenarios.marked import Document, Loc, read_yaml
from journeyman.scenarios.paths import expand
from journeyman.scenarios.spec import Fragment, InlineScenario, SuiteSpec

MAX_INCLUDED = 200
"""Files that one suite may include; more of them is a mistake in a pattern."""


@dataclass(frozen=True)
class Source:
    """A file that scenarios are written in.

    Attributes:
        document: The file with its lines.
        scenarios: Those written in it, at `("scenarios", position)`.
        tags: Of the suite and of the file.
    """

    document: Document
    scenarios: Sequence[InlineScenario]
    tags: tuple[str, ...]


def sources_of(spec: SuiteSpec, document: Document) -> Iterator[Source]:
    """The suite and the files it includes, each before those that it includes itself.

    Raises:
        ConfigError: A file is not there, is no list of scenarios, is included twice, or includes
            itself on some way.
    """
    tags = tuple(spec.tags)
    yield Source(document, spec.scenarios, tags)
    here = document.path.resolve()
    seen = {here}
    for at, path in _paths(document, spec.include):
        yield from _included(document, at, path, (here,), seen, tags)


def _included(
    parent: Document,
    at: Loc,
    path: Path,
    above: tuple[Path, ...],
    seen: set[Path],
    tags: tuple[str, ...],
) -> Iterator[Source]:
    real = path.resolve()
    if real in above:
        circle = " -> ".join(one.name for one in (*above[above.index(real) :], real))
        raise parent.error(at, f"Files include each other in a circle ({circle}); remove one.")
    if real in seen:
        raise parent.error(at, f"File {path.name!r} is included twice; remove one.")
    if len(seen) > MAX_INCLUDED:
        raise parent.error(at, f"The suite includes more than {MAX_INCLUDED} files; use fewer.")
    seen.add(real)
    document = read_yaml(path)
    if not isinstance(document.data, dict):
        raise document.error(
            (), "A file of scenarios is a mapping; begin with `version: 1` and `scenarios:`."
        )
    try:
        fragment = Fragment.model_validate(document.data)
    except ValidationError as error:
        raise Mistakes(document, error, root="The file").first() from error
    inner = tuple(dict.fromkeys([*tags, *fragment.tags]))
    yield Source(document, fragment.scenarios, inner)
    for place, below in _paths(document, fragment.include):
        yield from _included(document, place, below, (*above, real), seen, inner)


def _paths(document: Document, include: Sequence[str]) -> Iterator[tuple[Loc, Path]]:
    for position, written in enumerate(include):
        at = ("include", position)
        try:
            found = expand(written, document.path.parent)
        except ConfigError as error:
            raise document.error(at, str(error)) from error
        yield from ((at, path) for path in found)
