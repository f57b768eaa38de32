"""A whole trace store into another one, from SQLite to PostgreSQL or back.

Rows go over as they lie there, in batches and in the order of their keys, read as of one moment.
At the end both stores are read once more and must hold the same, row for row. A copy that was
interrupted goes on where it is started again. Knows every table, and no meaning of any.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection, Select, Table, TableClause, column, func, select, table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.types import TypeDecorator, TypeEngine

from journeyman.models.errors import CorruptRecord, TraceError
from journeyman.traces import reads
from journeyman.traces.payloads import digest, encode
from journeyman.traces.schema import Base, Payload, SchemaInfo
from journeyman.traces.store import Store

_INFO = cast("Table", SchemaInfo.__table__)
_PAYLOADS = cast("Table", Payload.__table__)

_MARK = "copied_from"
"""In `schema_info` of a store that is being filled: where from."""

_ADDRESS = {"dbname", "host", "hostaddr", "options", "port", "service"}
"""Parts of a server's URL after the `?` that say which store it is; a password, say, does not."""

_BATCH = 2_000
_PAYLOAD_BATCH = 250  # content may be large

Tell = Callable[[int, int], object]


@dataclass(frozen=True, slots=True)
class Transfer:
    """What was copied.

    Attributes:
        counts: Rows by table; in both stores the same.
        num_payloads: Payloads whose content was held against their hash in the target.
    """

    counts: Mapping[str, int]
    num_payloads: int


def transfer(source: Store, target: Store, *, tell: Tell | None = None) -> Transfer:
    """Copy every row, then compare.

    Args:
        source: An open store; others may go on writing to it, and what they write then is not
            copied.
        target: An open, empty store, or one that an interrupted copy of the same source left.
        tell: Called with the rows done and the rows there are; comparing counts as another pass.

    Raises:
        TraceError: The target is not empty, is the source, or cannot be written.
        CorruptRecord: The target does not hold what the source holds: then start over.
    """
    if source.url == target.url:
        raise TraceError(f"Trace store {source.name} cannot be copied into itself: name another.")
    _claim(source, target)

    def work(connection: Connection) -> Transfer:
        counts = {each.name: _count(connection, each) for each in _tables()}
        progress = _Progress(2 * sum(counts.values()), tell)
        there = target.read(lambda c: {each.name: _count(c, each) for each in _tables()})
        for each in _tables():
            if there[each.name] == counts[each.name]:  # by a copy that was interrupted later
                progress.advance(counts[each.name])
            else:
                _fill(connection, target, each, progress)
        num_payloads = target.read(lambda c: _compare(connection, c, source, target, progress))
        return Transfer(counts, num_payloads)

    done = source.read(work)
    target.transact(lambda connection: connection.execute(_INFO.delete().where(_is_mark())))
    return done


class _Progress:
    def __init__(self, total: int, tell: Tell | None) -> None:
        self._done, self._total, self._tell = 0, total, tell

    def advance(self, number: int) -> None:
        self._done += number
        if self._tell is not None:
            self._tell(self._done, self._total)


def _tables() -> list[Table]:
    """In an order in which no row comes before one that it refers to."""
    return [each for each in Base.metadata.sorted_tables if each is not _INFO]


def _is_mark() -> Any:
    return _INFO.c.key == _MARK


def _claim(source: Store, target: Store) -> None:
    mark = _mark_of(source)

    def work(connection: Connection) -> None:
        begun = connection.scalar(select(_INFO.c.value).where(_is_mark()))
        full = {name for name, count in reads.counts(connection).items() if count} - {_INFO.name}
        if full and begun != mark:
            what = f"a part of {begun}" if begun else f"rows, in {min(full)!r} for one"
            raise TraceError(
                f"Trace store {target.name} holds {what}: copy into an empty store, so that no "
                "two histories are mixed."
            )
        if begun != mark:
            connection.execute(_INFO.delete().where(_is_mark()))
            connection.execute(_INFO.insert().values(key=_MARK, value=mark))

    target.transact(work)


def _mark_of(source: Store) -> str:
    """What tells a source from others: its name, and what of the URL's query leads elsewhere."""
    query = {key: value for key, value in source.url.query.items() if key in _ADDRESS}
    return f"{source.name} {encode(query)}" if query else source.name


def _count(connection: Connection, each: Table) -> int:
    return connection.scalar(select(func.count()).select_from(each)) or 0


def _raw(each: Table) -> TableClause:
    """The table with its columns as the database has them: texts are not parsed on their way."""
    return table(each.name, *(column(c.name, _raw_type(c.type)) for c in each.columns))


def _raw_type(kind: TypeEngine[Any]) -> TypeEngine[Any]:
    return kind.impl_instance if isinstance(kind, TypeDecorator) else kind


def _in_order(each: Table) -> Select[Any]:
    raw = _raw(each)
    size = _PAYLOAD_BATCH if each is _PAYLOADS else _BATCH
    return (
        select(*raw.c)
        .order_by(*(raw.c[key.name] for key in each.primary_key))
        .execution_options(yield_per=size)
    )


def _fill(connection: Connection, target: Store, each: Table, progress: _Progress) -> None:
    is_postgres = target.engine.dialect.name == "postgresql"
    insert: Any = postgresql.insert if is_postgres else sqlite.insert
    # What is there came from an interrupted copy; the comparison tells if it did not.
    statement = insert(_raw(each)).on_conflict_do_nothing()
    with connection.execute(_in_order(each)) as found:
        for part in found.mappings().partitions():
            rows = [dict(row) for row in part]
            target.transact(lambda c, rows=rows: c.execute(statement, rows))  # type: ignore[misc]  # mypy does not see the default's type
            progress.advance(len(rows))


def _compare(
    ours: Connection, theirs: Connection, source: Store, target: Store, progress: _Progress
) -> int:
    num_payloads = 0
    for each in _tables():
        with closing(_rows(theirs, each)) as copies, closing(_rows(ours, each)) as originals:
            for number, original in enumerate(originals, 1):
                copy = next(copies, None)
                if copy != original:
                    raise _differs(each, original, source, target)
                if each is _PAYLOADS:
                    _check(original, source)
                    num_payloads += 1
                if number % _BATCH == 0:
                    progress.advance(_BATCH)
            extra = next(copies, None)
            if extra is not None:
                raise _differs(each, extra, source, target)
        progress.advance(_count(ours, each) % _BATCH)
    return num_payloads


def _rows(connection: Connection, each: Table) -> Generator[tuple[Any, ...]]:
    with connection.execute(_in_order(each)) as found:
        for row in found:
            yield tuple(row)


def _check(row: tuple[Any, ...], source: Store) -> None:
    values = dict(zip(_PAYLOADS.columns.keys(), row, strict=True))
    if digest(values["content"]) != values["hash"]:
        raise CorruptRecord(
            f"Payload {values['hash']!r} of trace store {source.name} does not match its hash: it "
            "was changed after it was written; restore a backup."
        )


def _differs(each: Table, row: tuple[Any, ...], source: Store, target: Store) -> CorruptRecord:
    return CorruptRecord(
        f"Trace store {target.name} does not hold what {source.name} holds, first in "
        f"{each.name!r} near {row[0]!r}: empty the target and copy anew while nobody writes to it."
    )
