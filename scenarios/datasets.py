"""The scenarios of a suite: rows of its data sets, read one at a time, with what each expects.

A data set is streamed: memory holds the rows of a sample, the judgements of a retrieval set and the
ids seen, never a file. Rows that are wrong stop the reading with file and line. Left out are only
queries that nobody judged, and desk rows that ask nothing of the sub-agent that a suite names.
Nothing here runs or judges anything.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from journeyman.models.types import Span
from journeyman.scenarios.corpora import passage_ids, qrels_file
from journeyman.scenarios.offsets import place_values
from journeyman.scenarios.rows import (
    BioRow,
    DeskRow,
    FieldsRow,
    LabelRow,
    QrelRow,
    QueryRow,
    RepairRow,
    Row,
    SpanRow,
    read_rows,
    row_error,
)
from journeyman.scenarios.scenario import (
    Expected,
    ExpectedRanking,
    ExpectedRecord,
    ExpectedRoutes,
    ExpectedTests,
    Scenario,
    group_of,
)
from journeyman.scenarios.spec import NUM_BUCKETS, FileData, QrelsData
from journeyman.scenarios.suite import Suite

INLINE = "inline"
"""Name of the part that holds the scenarios written in the suite."""


def parts(suite: Suite) -> tuple[str, ...]:
    """Names of the suite's parts: `inline` where scenarios are written out, then its data sets."""
    inline = (INLINE,) if suite.written else ()
    return inline + tuple(data.name for data in suite.spec.data)


def default_parts(suite: Suite) -> tuple[str, ...]:
    """What a run takes unless told otherwise: `inline` and `test`; all if there is no `test`."""
    every = parts(suite)
    return tuple(name for name in every if name in (INLINE, "test")) if "test" in every else every


def iter_scenarios(
    suite: Suite,
    *,
    parts: Collection[str] | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Iterator[Scenario]:
    """The suite's scenarios in the order of the suite and its files.

    Args:
        suite: A loaded suite.
        parts: Names of parts; None takes all.
        limit: At most so many over all parts: those whose `hash(seed, id)` is smallest, so the
            choice is spread over the files, the same every time, and a smaller limit takes a subset
            of a larger one's. A data set's own `limit` works in the same way before this one.
        seed: Another seed draws another sample.

    Raises:
        ConfigError: A data file cannot be read, a row is malformed, or an unknown part is named.
    """
    known = _part_names(suite)
    for name in parts or ():
        if name not in known:
            raise suite.error(
                ("data",), f"There is no data set {name!r}; choose of {', '.join(known)}."
            )
    return sample(_chain(suite, known if parts is None else parts, seed), limit, seed)


def sample(scenarios: Iterable[Scenario], limit: int | None, seed: int = 0) -> Iterator[Scenario]:
    """At most `limit` scenarios, chosen by hash as `iter_scenarios` says, in their first order."""
    if limit is None:
        return iter(scenarios)
    # Keeps `limit` scenarios in memory, however many there are to choose from.
    chosen = heapq.nsmallest(
        limit, enumerate(scenarios), key=lambda pair: _hash(f"{seed}:{pair[1].id}")
    )
    return (scenario for _, scenario in sorted(chosen, key=lambda pair: pair[0]))


@dataclass(frozen=True, slots=True)
class LabelUse:
    """Labels that occur in a suite's extraction data.

    Attributes:
        names: Sorted.
        repeated: Does any text carry the same label twice?
    """

    names: tuple[str, ...]
    repeated: bool


def labels_in_use(suite: Suite) -> LabelUse:
    """The labels that extraction should find: those the suite lists, else all in its data."""
    settings = suite.spec.agents.extraction
    listed = settings.labels if settings is not None else None
    names: set[str] = set()
    repeated = False
    for scenario in _chain(suite, _part_names(suite), 0):
        expected = scenario.expected.get("extraction")
        if isinstance(expected, ExpectedRecord):
            names.update(expected.values)
            repeated |= any(isinstance(v, tuple | list) for v in expected.values.values())
    return LabelUse(tuple(listed if isinstance(listed, list) else sorted(names)), repeated)


def routes_in_use(suite: Suite) -> dict[str, str]:
    """Route -> description for a suite that tests routing by labels; underscores become spaces.

    Takes the mapping in the suite where it has one, else the labels of all its data sets, sorted.
    The out-of-scope label is no route. Empty where the routes are the suite's sub-agents.
    """
    settings = suite.spec.agents.routing
    if settings is not None and isinstance(settings.routes, dict):
        return dict(settings.routes)
    if settings is None or settings.routes == "agents":
        return {}
    found: set[str] = set()
    for scenario in _chain(suite, _part_names(suite), 0):
        expected = scenario.expected.get("routing")
        if isinstance(expected, ExpectedRoutes):
            found |= expected.routes
    return {name: " ".join(name.replace("_", " ").split()) for name in sorted(found)}


_part_names = parts  # `iter_scenarios` has an argument of this name


def _chain(suite: Suite, names: Collection[str], seed: int) -> Iterator[Scenario]:
    # Hashes of ids, not ids: eight bytes tell a million rows apart well enough.
    seen: set[int] = set()
    if INLINE in names:
        for scenario in suite.inline_scenarios():
            seen.add(hash(scenario.id))
            yield scenario
    for position, data in enumerate(suite.spec.data):
        if data.name not in names:
            continue
        found = _in_split(data, _read(suite, position, data, seen))
        yield from sample(found, data.limit, seed)


def _in_split(data: FileData | QrelsData, scenarios: Iterator[Scenario]) -> Iterator[Scenario]:
    if data.split is None:
        return scenarios
    buckets = data.split.buckets
    return (item for item in scenarios if _hash(item.group) % NUM_BUCKETS in buckets)


def _hash(text: str) -> int:
    data = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


def _read(
    suite: Suite, position: int, data: FileData | QrelsData, seen: set[int]
) -> Iterator[Scenario]:
    rows = (
        _qrels(suite, position)
        if isinstance(data, QrelsData)
        else _file_rows(suite, position, data)
    )
    tags = tuple(dict.fromkeys([*suite.spec.tags, *data.tags]))
    assertions, defaults = suite.data_assertions(position), suite.spec.defaults
    for path, number, row, content in rows:
        name = f"{data.name}/{row.id if row.id is not None else number}"
        if hash(name) in seen:
            raise row_error(path, number, f"id {row.id!r} was used before; give each row its own")
        seen.add(hash(name))
        yield Scenario(
            id=name,
            agent=suite.spec.agent,
            input=content.input,
            text=content.text,
            expected=_with_plan(suite, content.expected),
            tags=tags,
            group=group_of(content.text) if row.group is None else row.group,
            part=data.name,
            assertions=assertions,
            epochs=defaults.epochs,
            passes=defaults.passes,
        )


@dataclass(frozen=True, slots=True)
class _Content:
    text: str
    expected: Mapping[str, Expected]
    task: Mapping[str, Any] | None = None

    @property
    def input(self) -> str | Mapping[str, Any]:
        return self.text if self.task is None else self.task


_Found = Iterator[tuple[Path, int, Row, _Content]]


def _with_plan(suite: Suite, expected: Mapping[str, Expected]) -> Mapping[str, Expected]:
    """Where the router decides, it should choose just the sub-agents that have a reference."""
    if suite.spec.agent is not None or "routing" in expected:
        return expected
    return {**expected, "routing": ExpectedRoutes(frozenset(expected))}


def _file_rows(suite: Suite, position: int, data: FileData) -> _Found:
    kind, read = _FORMATS[data.format]
    known: frozenset[str] = passage_ids(suite) if data.format == "desk" else frozenset()
    for path in _files(suite, position, data):
        for number, row in read_rows(path, kind):
            unknown = set(row.relevant) - known if isinstance(row, DeskRow) else ()
            if unknown:
                name = min(unknown)
                raise row_error(path, number, f"passage {name!r} is not in the corpus; add it")
            try:
                content = read(suite, row)
            except _UnfitError as error:
                raise row_error(path, number, str(error)) from error
            if content is not None:
                yield path, number, row, content


def _files(suite: Suite, position: int, data: FileData) -> Iterator[Path]:
    if data.file is not None:
        yield from suite.paths(("data", position, "file"), data.file)
    for index, written in enumerate(data.files or ()):
        yield from suite.paths(("data", position, "files", index), written)


class _UnfitError(Exception):
    """A row that is well formed but does not suit this suite; becomes a ConfigError."""


def _bio(suite: Suite, row: BioRow) -> _Content:
    text = " ".join(row.tokens)
    if suite.spec.agent == "routing":
        if row.intent is None:
            raise _UnfitError("the row has no 'intent', which routing needs; add it")
        return _Content(text, {"routing": _route(suite, row.intent)})
    return _Content(text, {"extraction": _by_span(suite, bio_spans(row.tokens, row.tags))})


def bio_spans(tokens: list[str], tags: list[str]) -> tuple[Span, ...]:
    """The spans of a BIO-tagged sentence, with offsets into its tokens joined by single spaces.

    As conlleval reads them: `I-x` after anything but `B-x` or `I-x` begins a span.
    """
    text = " ".join(tokens)
    spans: list[Span] = []
    label, begin, start, end = "", 0, 0, 0
    for token, tag in zip([*tokens, ""], [*tags, "O"], strict=True):
        if label and tag != f"I-{label}":
            spans.append(Span(label, begin, end, text[begin:end]))
            label = ""
        if tag != "O" and not label:
            label, begin = tag[2:], start
        end = start + len(token)
        start = end + 1
    return tuple(spans)


def _spans(suite: Suite, row: SpanRow) -> _Content:
    asked = ", ".join(name.replace("_", " ") for name in row.requested_slots)
    before = f"{asked}: " if asked else ""
    shift = len(before)
    spans = [
        Span(s.slot, s.start + shift, s.end + shift, row.text[s.start : s.end]) for s in row.slots
    ]
    return _Content(before + row.text, {"extraction": _by_span(suite, spans)})


def _by_span(suite: Suite, spans: Iterable[Span]) -> ExpectedRecord:
    """A record judged by place; a label that occurs once holds its text, else a tuple of texts."""
    wanted = _listed(suite)
    kept = sorted(
        (span for span in spans if wanted is None or span.label in wanted),
        key=lambda span: (span.start, span.end, span.label),
    )
    texts: dict[str, tuple[str, ...]] = {}
    for span in kept:
        texts[span.label] = (*texts.get(span.label, ()), span.text)
    values = {label: found[0] if len(found) == 1 else found for label, found in texts.items()}
    return ExpectedRecord(values, tuple(kept), by_span=True)


def _listed(suite: Suite) -> frozenset[str] | None:
    """The labels that the suite lists; None where it takes all."""
    settings = suite.spec.agents.extraction
    if settings is None or not isinstance(settings.labels, list):
        return None
    return frozenset(settings.labels)


def _fields(suite: Suite, row: FieldsRow) -> _Content:
    return _Content(row.content, {"extraction": _by_value(suite, row.content, row.entities)})


def _by_value(suite: Suite, text: str, fields: Mapping[str, Any]) -> ExpectedRecord:
    wanted = _listed(suite)
    values = {
        name: value
        for name, value in fields.items()
        if value not in (None, "", []) and (wanted is None or name in wanted)
    }
    return ExpectedRecord(values, place_values(text, values))


def _labels(suite: Suite, row: LabelRow) -> _Content:
    return _Content(row.text, {"routing": _route(suite, row.intent)})


def _route(suite: Suite, label: str) -> ExpectedRoutes:
    settings = suite.spec.agents.routing
    outside = settings is not None and label == settings.out_of_scope
    routes = settings.routes if settings is not None else None
    if isinstance(routes, dict) and not outside and label not in routes:
        raise _UnfitError(f"label {label!r} is no route of the suite; add it to `routes`")
    return ExpectedRoutes(frozenset() if outside else frozenset({label}))


def _repair(_suite: Suite, row: RepairRow) -> _Content:
    task = {
        "code": row.code,
        "entry_point": row.entry_point,
        "description": row.description,
        "tests": row.tests,
    }
    expected = ExpectedTests(row.tests, row.hidden_tests, row.fixed, row.entry_point)
    return _Content(row.code, {"debugging": expected}, task)


def _desk(suite: Suite, row: DeskRow) -> _Content | None:
    expected: dict[str, Expected] = {}
    if "extraction" in row.tasks:
        expected["extraction"] = _by_value(suite, row.text, row.fields)
    if "retrieval" in row.tasks:
        expected["retrieval"] = ExpectedRanking(dict.fromkeys(row.relevant, 1))
    if row.repair is not None:
        expected["debugging"] = ExpectedTests(
            row.repair.tests, row.repair.hidden_tests, row.repair.fixed, row.repair.entry_point
        )
    agent = suite.spec.agent
    if agent is None:
        return _Content(row.text, expected)
    return _Content(row.text, {agent: expected[agent]}) if agent in expected else None


_FORMATS: Mapping[str, tuple[type[Row], Callable[[Suite, Any], _Content | None]]] = {
    "bio": (BioRow, _bio),
    "spans": (SpanRow, _spans),
    "fields": (FieldsRow, _fields),
    "labels": (LabelRow, _labels),
    "repair": (RepairRow, _repair),
    "desk": (DeskRow, _desk),
}


def _qrels(suite: Suite, position: int) -> _Found:
    known = passage_ids(suite)
    grades: dict[str, dict[str, int]] = {}
    judged: dict[str, tuple[Path, int]] = {}
    path = qrels_file(suite, position, "qrels")
    for number, row in read_rows(path, QrelRow):
        if row.passage not in known:
            raise row_error(path, number, f"passage {row.passage!r} is not in the corpus; add it")
        judged.setdefault(row.query, (path, number))
        if row.score > 0:
            grades.setdefault(row.query, {})[row.passage] = row.score
    queries = qrels_file(suite, position, "queries")
    for number, query in read_rows(queries, QueryRow):
        judged.pop(query.id, None)
        # A query that nobody judged, or for which nothing is relevant, has no reference.
        if query.id in grades:
            expected = ExpectedRanking(grades[query.id])
            yield queries, number, query, _Content(query.text, {"retrieval": expected})
    for name, (file, number) in judged.items():
        raise row_error(file, number, f"query {name!r} is not among the queries; add it")
