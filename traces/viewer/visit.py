"""One visit of one page: what a page module is given, and what it answers with."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, quote, unquote, urlencode

from sqlalchemy import event

from journeyman.models.errors import QueryTooSlow, TraceError
from journeyman.traces.store import Store
from journeyman.traces.viewer.options import Options

ROOT = "/-/journeyman"
"""Where the viewer lives; Datasette keeps `/-/` free of names of databases."""

MOST = 10**12
"""Pages and places beyond this are all the same: there are none. SQLite counts further."""

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Shown:
    """A page as its module answers it.

    Attributes:
        template: File under `templates/`.
        title: Of the document, without the product's name.
        facts: What the template is given, besides what every page has (see `base.html`).
        status: HTTP status.
    """

    template: str
    title: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A request for a page of the viewer.

    Attributes:
        datasette, request: Datasette's own.
        database: The trace store, as Datasette knows it.
        options: Choices of whoever started the viewer.
    """

    datasette: Any
    request: Any
    database: Any
    options: Options

    @property
    def can_write(self) -> bool:
        """Reviews and stars may be kept."""
        return self.options.write and self.database.is_mutable

    @property
    def query(self) -> dict[str, str]:
        """The query string, the last value of each name; names without a value are left out."""
        pairs = parse_qsl(self.request.query_string, errors="replace", max_num_fields=100)
        return {name: value.strip() for name, value in pairs if value.strip()}

    def whole(self, name: str, otherwise: int) -> int:
        """A whole number of the query string, at most `MOST`; `otherwise` where there is none."""
        said = self.query.get(name, "")
        if not said.isdecimal():
            return otherwise
        # Longer ones are not even read: Python refuses thousands of digits.
        return min(int(said), MOST) if len(said) <= len(str(MOST)) else MOST

    def part(self, name: str) -> str:
        """A named part of the path, as it was before it was quoted."""
        return unquote(self.request.url_vars[name], errors="replace")

    def url(self, path: str = "", /, *parts: str, **query: Any) -> str:
        """The address of a page.

        Args:
            path: After `ROOT`, e.g. `/runs`.
            parts: Further parts of the path, which are quoted.
            query: Names and values; None and the empty text are left out.
        """
        tail = "".join("/" + quote(str(part), safe="") for part in parts)
        kept = {name: value for name, value in query.items() if value not in (None, "")}
        asked = "?" + urlencode(kept, errors="backslashreplace") if kept else ""
        return str(self.datasette.urls.path(f"{ROOT}{path}{tail}")) + asked

    async def read(self, work: Callable[..., ResultT], *args: Any, **named: Any) -> ResultT:
        """Do a query function's work in one of Datasette's reading threads.

        Args:
            work: Takes a SQLite connection first; its rows are `sqlite3.Row`.
            args: Passed on.
            named: Passed on.

        Raises:
            QueryTooSlow: It took longer than `Options.time_limit_ms`.
        """
        limit = self.options.time_limit_ms

        def in_thread(connection: sqlite3.Connection) -> ResultT:
            deadline = time.monotonic() + limit / 1000
            connection.set_progress_handler(lambda: time.monotonic() > deadline, 1_000)
            try:
                # One transaction, so that a page's numbers are of one moment.
                connection.execute("BEGIN")
                return work(connection, *args, **named)
            except sqlite3.OperationalError as error:
                if str(error) != "interrupted":
                    raise
                raise QueryTooSlow(
                    f"This page's query took more than {limit / 1000:g} s: narrow the filter."
                ) from error
            finally:
                connection.rollback()
                connection.set_progress_handler(None, 0)

        result: ResultT = await self.database.execute_fn(in_thread)
        return result

    async def with_store(self, work: Callable[[Store], ResultT], *, write: bool = False) -> ResultT:
        """Do work that needs a whole store, as `replay` and `reviews` do; it is opened for it.

        Args:
            work: Takes an open store.
            write: It writes; only pages that are for writing may ask for that. Such work is small,
                and is never given up.

        Raises:
            QueryTooSlow: Reading took longer than `Options.replay_limit_ms`.
        """
        limit = self.options.replay_limit_ms

        def in_thread(_connection: sqlite3.Connection) -> ResultT:
            path = Path(self.database.path)
            with closing(Store.open(path, create=False, read_only=not write)) as store:
                if write:
                    return work(store)
                deadline = time.monotonic() + limit / 1000
                _give_up_after(deadline, store)
                try:
                    return work(store)
                except TraceError as error:
                    if time.monotonic() <= deadline:
                        raise
                    raise QueryTooSlow(
                        f"Reading the record took more than {limit / 1000:g} s: ask the command "
                        "line, `journeyman replay`, which takes its time."
                    ) from error

        result: ResultT = await self.database.execute_fn(in_thread)
        return result

    async def form(self) -> dict[str, str]:
        """The fields of a submitted form, the last value of each name."""
        body: bytes = await self.request.post_body()
        pairs = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, errors="replace")
        return dict(pairs)


def _give_up_after(deadline: float, store: Store) -> None:
    """Interrupt whatever a store reads after a moment of the monotonic clock."""

    def watch(connection: sqlite3.Connection, *_: Any) -> None:
        connection.set_progress_handler(lambda: time.monotonic() > deadline, 1_000)

    event.listen(store.engine, "checkout", watch)


Answer = Callable[[Visit], Awaitable[Any]]
"""A page: answers a visit with `Shown`, or with one of Datasette's responses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One entry of the table of pages.

    Attributes:
        path: Pattern of what follows `ROOT`; named groups are read with `Visit.part`.
        answer: The page.
        label: In the navigation; empty where it does not stand there.
        writes: It is only posted to, and only where writing was allowed.
    """

    path: str
    answer: Answer
    label: str = ""
    writes: bool = False
