"""What a shell may offer where a name is due: suites, sub-agents, releases, runs.

Offers nothing rather than failing: whoever presses Tab wants no error in the line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_KNOWN_AGENTS = ("debugging", "extraction", "retrieval", "routing")
_MAX_OFFERED = 50


def suites(incomplete: str) -> list[str]:
    """Shipped suites by name, and suite files here and in scenarios/."""
    from journeyman.scenarios.paths import shipped_suites

    here = [str(path) for folder in (Path(), Path("scenarios")) for path in folder.glob("*.yaml")]
    return _fitting([*sorted(here), *shipped_suites()], incomplete)


def agents(incomplete: str) -> list[str]:
    """Sub-agents that come with Journeyman, and those on record."""
    return _fitting([*_KNOWN_AGENTS, *_column("attempts", "agent")], incomplete)


def releases(incomplete: str) -> list[str]:
    """Releases on record, the latest first."""
    return _fitting(_column("releases", "id", latest="created_at"), incomplete)


def runs(incomplete: str) -> list[str]:
    """The latest runs on record."""
    return _fitting(_column("runs", "id", latest="started_at"), incomplete)


def suite_runs(incomplete: str) -> list[str]:
    """The latest suite runs on record, their labels, and the words that stand for some."""
    labels = _column("suite_runs", "label", latest="started_at")
    ids = _column("suite_runs", "id", latest="started_at")
    return _fitting(["latest", "blessed", *(one for one in labels if one), *ids], incomplete)


def _fitting(offered: Sequence[str], incomplete: str) -> list[str]:
    unique = dict.fromkeys(offered)
    return [each for each in unique if each.startswith(incomplete)][:_MAX_OFFERED]


def _column(table: str, column: str, *, latest: str | None = None) -> list[str]:
    """Distinct values of a column of the trace store that holds here."""
    from sqlalchemy import func, select

    from journeyman.traces.schema import Base

    found: list[str] = []
    with _quietly():
        from journeyman.cli.options import open_store

        source = Base.metadata.tables[table]
        order = source.c[column] if latest is None else func.max(source.c[latest]).desc()
        query = select(source.c[column]).group_by(source.c[column]).order_by(order).limit(500)
        with open_store(None) as store:
            found += store.read(lambda connection: list(connection.scalars(query)))
    return found


@contextmanager
def _quietly() -> Iterator[None]:
    from journeyman.models.errors import JourneymanError

    try:
        yield
    except (JourneymanError, OSError):
        return
