"""Rows become scenarios whose places point at the text, and wrong rows are named."""

from __future__ import annotations

import gzip
import json
import os
import tracemalloc
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeyman.models.errors import ConfigError
from journeyman.scenarios.corpora import corpus_files, read_corpus
from journeyman.scenarios.datasets import (
    bio_spans,
    iter_scenarios,
    labels_in_use,
    routes_in_use,
    sample,
)
from journeyman.scenarios.offsets import occurrences, place, place_values
from journeyman.scenarios.paths import data_folder, shipped_suites
from journeyman.scenarios.scenario import (
    ExpectedRanking,
    ExpectedRecord,
    ExpectedRoutes,
    ExpectedTests,
    Scenario,
)
from journeyman.scenarios.schemas import extraction_schema, reference_record
from journeyman.scenarios.suite import Suite, load_suite

AGENT = {"labels": "routing", "repair": "debugging", "qrels": "retrieval"}


def make(folder: Path, kind: str, rows: list[Any], extra: str = "", entry: str = "") -> Suite:
    """A suite over one data file of a format."""
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    agent = AGENT.get(kind, "extraction")
    text = f"version: 1\nsuite: made\nagent: {agent}\n{extra}data:\n"
    text += f"  - {{name: test, format: {kind}, file: rows.jsonl{entry}}}\n"
    path = folder / "suite.yaml"
    path.write_text(text)
    return load_suite(path)


def record(scenario: Scenario) -> ExpectedRecord:
    expected = scenario.expected["extraction"]
    assert isinstance(expected, ExpectedRecord)
    return expected


def places(scenario: Scenario) -> list[tuple[str, str]]:
    spans = record(scenario).spans
    assert all(scenario.text[s.start : s.end] == s.text for s in spans)
    return [(s.label, s.text) for s in spans]


# The formats.


def test_bio_joins_tokens_by_one_space_and_keeps_the_places(tmp_path: Path) -> None:
    row = {
        "tokens": ["fly", "to", "New", "York", "York"],
        "tags": ["O", "O", "B-to", "I-to", "B-to"],
    }
    (scenario,) = iter_scenarios(make(tmp_path, "bio", [row]))
    assert scenario.text == "fly to New York York"
    assert places(scenario) == [("to", "New York"), ("to", "York")]
    assert record(scenario).values == {"to": ("New York", "York")}
    assert record(scenario).by_span


def test_bio_serves_routing_by_its_intents(tmp_path: Path) -> None:
    suite = make(tmp_path, "bio", [{"tokens": ["hi"], "tags": ["O"], "intent": "greet"}])
    path = tmp_path / "routing.yaml"
    written = suite.path.read_text().replace("extraction", "routing")
    path.write_text(written + "agents: {routing: {routes: labels}}\n")
    (scenario,) = iter_scenarios(load_suite(path))
    assert scenario.expected == {"routing": ExpectedRoutes(frozenset({"greet"}))}


def test_spans_come_as_a_list_or_as_a_mapping(tmp_path: Path) -> None:
    rows = [
        {"text": "for 5 now", "slots": [{"slot": "n", "start": 4, "end": 5, "value": "5"}]},
        {"text": "for 5 now", "slots": {"n": {"text": "5", "span": [4, 5], "value": {"x": 5}}}},
    ]
    one, two = iter_scenarios(make(tmp_path, "spans", rows))
    assert places(one) == places(two) == [("n", "5")]
    assert (one.id, two.id) == ("test/1", "test/2")
    assert one.group == two.group


def test_what_had_been_asked_for_stands_before_the_text(tmp_path: Path) -> None:
    """Two answers of the same words are different tasks if different things were asked for."""
    slots = [{"slot": "people", "start": 0, "end": 1, "value": "6"}]
    rows = [
        {"text": "6 of us", "requested_slots": ["people", "first_name"], "slots": slots},
        {"text": "6 of us", "requested_slots": [], "slots": slots},
    ]
    asked, unasked = iter_scenarios(make(tmp_path, "spans", rows))
    assert (asked.text, unasked.text) == ("people, first name: 6 of us", "6 of us")
    assert places(asked) == places(unasked) == [("people", "6")]
    assert asked.group != unasked.group


def test_fields_are_found_across_lines_and_others_keep_no_place(tmp_path: Path) -> None:
    lines = ["SHOP", "1 HIGH STREET,", "TOWN", "ITEM 9.00", "SERVICE 19.00", "TOTAL:", "9.00"]
    entities = {"address": "1 HIGH STREET, TOWN", "total": "9.00", "company": "SHOPS", "date": ""}
    (scenario,) = iter_scenarios(make(tmp_path, "fields", [{"lines": lines, "entities": entities}]))
    assert places(scenario) == [("address", "1 HIGH STREET,\nTOWN"), ("total", "9.00")]
    assert record(scenario).spans[1].start == len(scenario.text) - 4, "the one that says TOTAL"
    assert dict(record(scenario).values) == {k: v for k, v in entities.items() if v}
    assert not record(scenario).by_span


def test_labels_become_routes_and_the_out_of_scope_label_becomes_none(tmp_path: Path) -> None:
    rows = [{"text": "a", "intent": "card_lost"}, {"text": "b", "intent": "oos"}]
    extra = "agents: {routing: {routes: labels, out_of_scope: oos}}\n"
    suite = make(tmp_path, "labels", rows, extra)
    inside, outside = iter_scenarios(suite)
    assert inside.expected["routing"] == ExpectedRoutes(frozenset({"card_lost"}))
    assert outside.expected["routing"] == ExpectedRoutes(frozenset())
    assert routes_in_use(suite) == {"card_lost": "card lost"}


def test_repair_hides_the_judging_tests_from_the_task(tmp_path: Path) -> None:
    row = {"code": "def f(): 1", "entry_point": "f", "tests": "", "hidden_tests": "assert f()"}
    (scenario,) = iter_scenarios(make(tmp_path, "repair", [row | {"fixed": "def f(): return 1"}]))
    assert isinstance(scenario.input, Mapping)
    assert "hidden_tests" not in scenario.input
    assert "fixed" not in scenario.input
    assert scenario.expected["debugging"] == ExpectedTests(
        "", "assert f()", "def f(): return 1", "f"
    )


def make_qrels(folder: Path, qrels: list[dict[str, Any]], *, zipped: bool = False) -> Suite:
    files = {
        "corpus": [{"_id": "p1", "title": "T", "text": "one"}, {"_id": "p2", "text": "two"}],
        "queries": [{"_id": 1, "text": "q one"}, {"_id": "2", "text": "q two"}],
        "qrels": qrels,
    }
    for name, rows in files.items():
        data = "\n".join(json.dumps(row) for row in rows).encode()
        (folder / name).write_bytes(gzip.compress(data) if zipped else data)
    path = folder / "suite.yaml"
    path.write_text(
        "version: 1\nsuite: made\nagent: retrieval\nagents: {retrieval: {corpus: auto}}\n"
        "data: [{name: test, format: qrels, corpus: corpus, queries: queries, qrels: qrels}]\n"
    )
    return load_suite(path)


@pytest.mark.parametrize("zipped", [False, True])
def test_qrels_give_graded_passages_and_leave_out_queries_without_any(
    tmp_path: Path, zipped: bool
) -> None:
    qrels = [
        {"query-id": 1, "corpus-id": "p1", "score": 2},
        {"query-id": "1", "corpus-id": "p2", "score": 0},
        {"query-id": "2", "corpus-id": "p2", "score": 0},
    ]
    suite = make_qrels(tmp_path, qrels, zipped=zipped)
    (scenario,) = iter_scenarios(suite)
    assert scenario.id == "test/1"
    assert scenario.expected["retrieval"] == ExpectedRanking({"p1": 2})
    assert corpus_files(suite) == (tmp_path / "corpus",)
    assert [(p.id, p.title, p.text) for p in read_corpus(suite)] == [
        ("p1", "T", "one"),
        ("p2", "", "two"),
    ]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"query-id": "1", "corpus-id": "p9"}, "qrels:2: Passage 'p9' is not in the corpus"),
        ({"query-id": "9", "corpus-id": "p1"}, "qrels:2: Query '9' is not among the queries"),
        ({"query-id": "1", "corpus-id": "p1", "score": -1}, "qrels:2: This is no qrels row"),
    ],
)
def test_qrels_that_lead_nowhere_are_named(tmp_path: Path, row: dict[str, Any], says: str) -> None:
    suite = make_qrels(tmp_path, [{"query-id": "1", "corpus-id": "p1"}, row])
    with pytest.raises(ConfigError) as caught:
        list(iter_scenarios(suite))
    assert says in str(caught.value)


def make_desk(folder: Path, row: dict[str, Any]) -> Suite:
    (folder / "know_a.jsonl").write_text('{"_id": "k1", "title": "T", "text": "x"}\n')
    (folder / "know_b.jsonl").write_text('{"_id": "k2", "title": "T", "text": "y"}\n')
    (folder / "reports_a.jsonl").write_text(json.dumps(row) + "\n")
    (folder / "form.py").write_text(
        "from pydantic import BaseModel\n"
        "class Bug(BaseModel):\n    line: int | None = None\n    file: str | None = None\n"
    )
    path = folder / "suite.yaml"
    path.write_text(
        "version: 1\nsuite: made\n"
        "agents: {extraction: {schema: 'form.py:Bug'}, retrieval: {corpus: 'know_*.jsonl'}}\n"
        "data: [{name: test, format: desk, file: 'reports_*.jsonl'}]\n"
    )
    return load_suite(path)


DESK = {"id": "r1", "text": "app.py line 7 fails", "tasks": ["extraction", "retrieval"]}
FACTS = {"fields": {"line": 7, "file": "app.py", "package": None}, "relevant": ["k2"]}


def test_desk_rows_expect_a_record_a_ranking_and_both_sub_agents(tmp_path: Path) -> None:
    suite = make_desk(tmp_path, DESK | FACTS)
    (scenario,) = iter_scenarios(suite)
    assert scenario.agent is None
    assert dict(record(scenario).values) == {"line": 7, "file": "app.py"}
    assert places(scenario) == [("file", "app.py"), ("line", "7")]
    assert scenario.expected["retrieval"] == ExpectedRanking({"k2": 1})
    assert scenario.expected["routing"] == ExpectedRoutes(frozenset({"extraction", "retrieval"}))
    assert [passage.id for passage in read_corpus(suite)] == ["k1", "k2"]
    schema = extraction_schema(suite)
    assert reference_record(schema, record(scenario).values) == {"line": 7, "file": "app.py"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"relevant": ["k9"]}, "passage 'k9' is not in the corpus"),
        ({"relevant": []}, "names no 'relevant' passages"),
        ({"fields": {}}, "'fields' is empty"),
        ({"tasks": ["cooking"]}, "'tasks.0'"),
    ],
)
def test_desk_rows_that_contradict_themselves_are_named(
    tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    suite = make_desk(tmp_path, DESK | FACTS | change)
    with pytest.raises(ConfigError, match=r"reports_a\.jsonl:1: ") as caught:
        list(iter_scenarios(suite))
    assert says.casefold() in str(caught.value).casefold()


def test_a_desk_row_without_tasks_is_out_of_scope(tmp_path: Path) -> None:
    suite = make_desk(tmp_path, {"id": "r1", "text": "Thanks!", "tasks": []})
    (scenario,) = iter_scenarios(suite)
    assert scenario.expected == {"routing": ExpectedRoutes(frozenset())}


def test_a_desk_suite_for_one_sub_agent_leaves_out_rows_that_ask_nothing_of_it(
    tmp_path: Path,
) -> None:
    row = DESK | FACTS
    suite = make_desk(tmp_path, row)
    other = {"id": "r2", "text": "Help", "tasks": ["extraction"], "fields": {"line": 1}}
    (tmp_path / "reports_b.jsonl").write_text(json.dumps(other) + "\n")
    suite.path.write_text(suite.path.read_text() + "agent: retrieval\n")
    (scenario,) = iter_scenarios(load_suite(suite.path))
    assert scenario.id == "test/r1"
    assert scenario.expected == {"retrieval": ExpectedRanking({"k2": 1})}


# Wrong rows.

OK = {"tokens": ["a"], "tags": ["O"]}


@pytest.mark.parametrize(
    ("kind", "row", "says"),
    [
        ("bio", '{"tokens": ["a"], ', "not JSON"),
        ("bio", "[1]", "object"),
        ("bio", '{"tokens": ["a\\ud800"], "tags": ["O"]}', "not JSON"),
        ("bio", {"tokens": ["a"], "tags": ["O", "O"]}, "1 tokens but 2 tags"),
        ("bio", {"tokens": ["a"], "tags": ["S-x"]}, "'S-x' is none of O, B-label, I-label"),
        ("bio", {"tokens": [], "tags": []}, "'tokens'"),
        ("bio", {"tokens": ["a"]}, "'tags': field required"),
        ("spans", {"text": "abc", "slots": [{"slot": "x", "start": 1, "end": 9}]}, "outside"),
        ("spans", {"text": "abc", "slots": [{"slot": "x", "start": 2, "end": 2}]}, "outside"),
        ("spans", {"text": "abc", "slots": {"x": {"text": "b"}}}, "'slots.0"),
        (
            "spans",
            {"text": "abc", "slots": [{"slot": "x", "start": 1, "end": 2, "value": "c"}]},
            "the text has 'b' at 1:2",
        ),
        ("fields", {"entities": {}}, "either 'text' or 'lines'"),
        ("fields", {"lines": [" "], "entities": {}}, "text is empty"),
        ("labels", {"text": "", "intent": "x"}, "'text'"),
        ("labels", {"text": "a"}, "'intent'"),
        ("repair", {"code": "x", "entry_point": "f", "tests": " "}, "neither"),
    ],
)
def test_a_wrong_row_is_one_sentence_with_file_and_line(
    tmp_path: Path, kind: str, row: Any, says: str
) -> None:
    suite = make(tmp_path, kind, ["", row])
    with pytest.raises(ConfigError) as caught:
        list(iter_scenarios(suite))
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'rows.jsonl'}:2: This is no '{kind}' row")
    assert says in message
    assert "\n" not in message
    assert message.endswith("mend the row or drop it.")


def test_the_same_id_twice_is_named(tmp_path: Path) -> None:
    suite = make(tmp_path, "bio", [OK | {"id": "a"}, OK | {"id": "a"}])
    with pytest.raises(ConfigError, match=r"rows\.jsonl:2: Id 'a' was used before"):
        list(iter_scenarios(suite))


def test_a_limit_does_not_hide_a_wrong_row(tmp_path: Path) -> None:
    suite = make(tmp_path, "bio", [OK] * 50 + [{}])
    with pytest.raises(ConfigError, match=r"rows\.jsonl:51"):
        list(iter_scenarios(suite, limit=1))


def test_broken_gzip_and_wrong_encodings_are_named(tmp_path: Path) -> None:
    suite = make(tmp_path, "bio", [])
    rows = tmp_path / "rows.jsonl"
    rows.write_bytes(gzip.compress(json.dumps(OK).encode() * 200)[:-20])
    with pytest.raises(ConfigError, match="gzip data is broken"):
        list(iter_scenarios(suite))
    rows.write_bytes(json.dumps(OK).encode() + b'\n{"tokens": ["\xff"], "tags": ["O"]}')
    with pytest.raises(ConfigError, match=r"rows\.jsonl:2: .*not JSON"):
        list(iter_scenarios(suite))


def test_a_missing_file_names_the_line_of_the_suite(tmp_path: Path) -> None:
    suite = make(tmp_path, "bio", [OK])
    (tmp_path / "rows.jsonl").unlink()
    with pytest.raises(ConfigError, match=r"suite\.yaml:5: There is no file .*rows\.jsonl"):
        list(iter_scenarios(suite))


def test_an_unset_variable_and_a_wrong_data_folder_say_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = make(tmp_path, "bio", [OK])
    written = suite.path.read_text()
    monkeypatch.delenv("NOWHERE", raising=False)
    suite.path.write_text(written.replace("rows.jsonl", '"${NOWHERE}/a"'))
    with pytest.raises(ConfigError, match=r"suite\.yaml:5: .*NOWHERE is not set"):
        list(iter_scenarios(load_suite(suite.path)))
    monkeypatch.setenv("JOURNEYMAN_DATA", str(tmp_path / "absent"))
    suite.path.write_text(written.replace("rows.jsonl", '"${JOURNEYMAN_DATA}/a"'))
    with pytest.raises(ConfigError, match="check JOURNEYMAN_DATA"):
        list(iter_scenarios(load_suite(suite.path)))


def test_without_a_variable_the_data_folder_is_beside_the_repository_or_the_error_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JOURNEYMAN_DATA", raising=False)
    inside = tmp_path / "repository" / "suites"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    with pytest.raises(ConfigError, match="JOURNEYMAN_DATA"):
        data_folder(inside)
    (tmp_path / "repository" / "pyproject.toml").touch()
    (tmp_path / "shared" / "data").mkdir(parents=True)
    assert data_folder(inside) == tmp_path / "shared" / "data"


def test_an_unknown_part_is_named(tmp_path: Path) -> None:
    suite = make(tmp_path, "bio", [OK])
    with pytest.raises(ConfigError, match="no data set 'dev'; choose of test"):
        iter_scenarios(suite, parts=["dev"])


# Samples and splits.


def numbered(count: int) -> list[dict[str, Any]]:
    return [{"id": f"{i}", "text": f"text {i}", "intent": "a"} for i in range(count)]


def test_a_sample_is_stable_nested_and_spread_over_the_file(tmp_path: Path) -> None:
    suite = make(tmp_path, "labels", numbered(1000))
    ids = {n: [s.id for s in iter_scenarios(suite, limit=n)] for n in (50, 100)}
    assert ids[100] == [s.id for s in iter_scenarios(suite, limit=100)]
    assert set(ids[50]) < set(ids[100])
    rows = [int(name.removeprefix("test/")) for name in ids[100]]
    assert rows == sorted(rows), "in the order of the file"
    assert all(count >= 10 for count in Counter(row // 250 for row in rows).values())
    assert set(ids[100]) != {s.id for s in iter_scenarios(suite, limit=100, seed=1)}


def test_the_limit_of_a_data_set_comes_before_that_of_the_run(tmp_path: Path) -> None:
    suite = make(tmp_path, "labels", numbered(100), entry=", limit: 10")
    assert len(list(iter_scenarios(suite))) == 10
    assert len(list(iter_scenarios(suite, limit=20))) == 10
    assert len(list(iter_scenarios(suite, limit=5))) == 5


@pytest.mark.parametrize("test_share", [0.2, 0.3, 0.5, 0.7])
def test_the_parts_of_a_split_are_disjoint_complete_and_keep_equal_texts_together(
    tmp_path: Path, test_share: float
) -> None:
    rows = [
        {"text": f"Text  {i // 2}" if i % 2 else f"text {i // 2}", "intent": "a"}
        for i in range(2000)
    ]
    suite = make(tmp_path, "labels", rows, entry=f", split: {{part: test, share: {test_share}}}")
    split = f"split: {{part: stream, share: {round(1 - test_share, 3)}}}"
    suite.path.write_text(
        suite.path.read_text()
        + f"  - {{name: stream, format: labels, file: rows.jsonl, {split}}}\n"
    )
    found = list(iter_scenarios(load_suite(suite.path)))
    groups = {part: {s.group for s in found if s.part == part} for part in ("test", "stream")}
    assert not groups["test"] & groups["stream"]
    assert sorted(int(s.id.partition("/")[2]) for s in found) == list(range(1, 2001))
    assert abs(sum(s.part == "test" for s in found) / 2000 - test_share) < 0.06


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    suite = make(tmp_path, "labels", [])
    text = "word " * 400

    def peak(count: int) -> int:
        with (tmp_path / "rows.jsonl").open("w") as file:
            for i in range(count):
                file.write(json.dumps({"text": f"{text}{i}", "intent": "a"}) + "\n")
        tracemalloc.start()
        assert sum(1 for _ in iter_scenarios(suite)) == count
        assert len(list(iter_scenarios(suite, limit=10))) == 10
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(10)  # imports and caches
    # 2,700 more rows of 2 KB are 5.4 MB of text; what stays is a hash each.
    assert peak(3000) - peak(300) < 1_500_000


@given(st.lists(st.integers(), unique=True, max_size=40), st.integers(0, 50), st.integers(0, 3))
def test_a_sample_has_the_size_asked_for_and_keeps_the_order(
    numbers: list[int], limit: int, seed: int
) -> None:
    scenarios = [Scenario(f"{i}", None, "", "") for i in numbers]
    chosen = list(sample(scenarios, limit, seed))
    assert len(chosen) == min(limit, len(scenarios))
    assert chosen == [s for s in scenarios if s in chosen]


# Places.

WORDS = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=6)


@given(st.lists(st.tuples(WORDS, st.sampled_from(["O", "B-a", "I-a", "B-b", "I-b"])), min_size=1))
def test_bio_places_always_point_at_whole_tokens(pairs: list[tuple[str, str]]) -> None:
    tokens, tags = [token for token, _ in pairs], [tag for _, tag in pairs]
    text = " ".join(tokens)
    spans = bio_spans(tokens, tags)
    assert all(text[s.start : s.end] == s.text for s in spans)
    assert sum(len(s.text.split(" ")) for s in spans) == sum(tag != "O" for tag in tags)
    assert all(one.end < two.start for one, two in pairwise(spans))


@given(st.lists(WORDS, min_size=1, max_size=12), st.data())
def test_a_value_taken_from_a_text_is_found_there_whatever_the_white_space(
    words: list[str], data: st.DataObject
) -> None:
    gaps = st.sampled_from([" ", "\n", "  ", "\t\n "])
    start = data.draw(st.integers(0, len(words) - 1))
    end = data.draw(st.integers(start + 1, len(words)))
    pieces = [piece for word in words for piece in (word, data.draw(gaps))]
    text = "".join(pieces)
    value = " ".join(words[start:end])
    begin = len("".join(pieces[: 2 * start]))
    found = occurrences(text, value)
    assert begin in [at for at, _ in found]
    assert all(" ".join(text[a:b].split()) == value for a, b in found)


@given(st.text(), st.dictionaries(st.text(min_size=1), st.text() | st.lists(st.text()), max_size=4))
def test_places_of_any_values_point_at_the_text(text: str, values: dict[str, Any]) -> None:
    for span in place_values(text, values):
        assert text[span.start : span.end] == span.text
        given = values[span.label]
        several = given if isinstance(given, list) else [given]
        assert " ".join(span.text.split()) in [" ".join(item.split()) for item in several]


@pytest.mark.parametrize(
    ("text", "value", "found"),
    [
        ("19.00 9.00", "9.00", [6]),
        ("1,119.00 119.00", "119.00", [9]),
        ("9.005 9.00.", "9.00", [6]),
        ("category cat", "cat", [9]),
        ("a a a", "a a", [0, 2]),
        ("$5, $5", "$5", [0, 4]),
        ("x", "", []),
        ("x", " ", []),
    ],
)
def test_a_value_is_not_found_inside_words_and_numbers(
    text: str, value: str, found: list[int]
) -> None:
    assert [start for start, _ in occurrences(text, value)] == found


def test_of_several_places_the_one_beside_the_fields_name_wins() -> None:
    text = "coffee 4.00\nGrand total\n4.00\ncash 4.00"
    assert place(text, "total", "4.00") == (24, 28)
    assert place(text, "price", "4.00") == (7, 11)
    assert place(text, "price", "5.00") is None


def test_two_fields_with_the_same_value_take_two_places_and_share_one_only_at_need() -> None:
    two = place_values("2 of us at 2", {"people": "2", "time": "2"})
    assert [(s.label, s.start) for s in two] == [("people", 0), ("time", 11)]
    one = place_values("in an hour", {"date": "in an hour", "time": "in an hour"})
    assert [(s.label, s.start) for s in one] == [("date", 0), ("time", 0)]
    assert len(place_values("once", {"a": ["once", "once"]})) == 1


# Schemas.


def test_labels_become_text_fields_that_are_lists_where_the_data_repeats(tmp_path: Path) -> None:
    once = {"tokens": ["a", "b"], "tags": ["B-creative-work", "B-x"]}
    suite = make(tmp_path, "bio", [once])
    assert labels_in_use(suite).names == ("creative-work", "x")
    schema = extraction_schema(suite)
    assert reference_record(schema, {"creative-work": "a"}) == {"creative_work": "a", "x": None}
    twice = {"tokens": ["a", "b"], "tags": ["B-x", "B-x"]}
    schema = extraction_schema(make(tmp_path, "bio", [once, twice]))
    assert reference_record(schema, {"x": ("a", "b")}) == {"creative_work": [], "x": ["a", "b"]}


def test_listed_labels_are_the_only_ones_expected(tmp_path: Path) -> None:
    row = {"tokens": ["a", "b"], "tags": ["B-x", "B-y"]}
    suite = make(tmp_path, "bio", [row], "agents: {extraction: {labels: [y, z]}}\n")
    (scenario,) = iter_scenarios(suite)
    assert places(scenario) == [("y", "b")]
    assert list(extraction_schema(suite).model_fields) == ["y", "z"]


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("no.such.module:Record", "Cannot import 'no.such.module'"),
        ("absent.py:Record", "Cannot import 'absent.py'"),
        ("broken.py:Record", "boom"),
        ("json:JSONDecoder", "no pydantic model 'JSONDecoder'"),
        ("json:Nothing", "no pydantic model 'Nothing'"),
    ],
)
def test_a_schema_that_cannot_be_had_is_named_with_its_line(
    tmp_path: Path, written: str, says: str
) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError('boom')\n")
    suite = make(tmp_path, "bio", [OK], f"agents:\n  extraction:\n    schema: '{written}'\n")
    with pytest.raises(ConfigError, match=r"suite\.yaml:6: ") as caught:
        extraction_schema(suite)
    assert says in str(caught.value)


# The public sets, where they are.


def public(name: str) -> Suite:
    suite = load_suite(shipped_suites()[name])
    try:
        folder = data_folder(suite.path.parent)
    except ConfigError as error:
        pytest.skip(f"public data sets are absent: {error}")
    if not (folder / ("xquad_en" if name == "xquad" else name)).is_dir():
        pytest.skip(f"the public data set {name!r} is not in {os.fspath(folder)!r}")
    return suite


def test_the_desk_is_complete_and_its_references_fit_the_schema() -> None:
    """Every file reference, passage id and field of the shipped reports holds."""
    suite = load_suite(shipped_suites()["desk"])
    scenarios = list(iter_scenarios(suite))
    assert len(scenarios) >= 150
    assert len(read_corpus(suite)) >= 300
    schema = extraction_schema(suite)
    asked = Counter(name for scenario in scenarios for name in scenario.expected)
    assert min(asked["extraction"], asked["retrieval"]) >= 50
    for scenario in scenarios:
        if "extraction" in scenario.expected:
            schema.model_validate(record(scenario).values, strict=True)


COUNTS = {
    "snips": {"test": 700, "stream": 13_084},
    "wnut17": {"test": 1_009, "stream": 3_394},
    "clinc150": {"test": 3_100, "stream": 15_100},
    "restaurant8k": 8_198,
    "sroie": 626,
    "nlupp": 2_071,
    "banking77": 10_003,
    "xquad": 1_190,
    "cosqa": 500,
}
"""Rows by part, or of both parts together where a split makes them, as the sets' README says."""

SIZES = {"snips": 39, "wnut17": 6, "restaurant8k": 5, "nlupp": 13, "sroie": 4}


@pytest.fixture(params=COUNTS)
def read(request: pytest.FixtureRequest) -> tuple[Suite, list[Scenario]]:
    suite = public(request.param)
    return suite, list(iter_scenarios(suite))


def test_a_public_set_has_the_rows_of_its_readme_and_places_point_at_the_text(
    read: tuple[Suite, list[Scenario]],
) -> None:
    suite, scenarios = read
    counts = COUNTS[suite.name]
    found = Counter(scenario.part for scenario in scenarios)
    assert found == counts if isinstance(counts, dict) else found.total() == counts
    assert len({scenario.id for scenario in scenarios}) == len(scenarios)
    for scenario in scenarios:
        (expected,) = scenario.expected.values()
        if isinstance(expected, ExpectedRecord):
            assert all(scenario.text[s.start : s.end] == s.text for s in expected.spans)
    if "extraction" in suite.agents:
        assert len(labels_in_use(suite).names) == SIZES[suite.name]
    if "routing" in suite.agents:
        assert len(routes_in_use(suite)) == {"banking77": 77, "clinc150": 150}[suite.name]
    if "retrieval" in suite.agents:
        assert len(read_corpus(suite)) == {"xquad": 240, "cosqa": 6_267}[suite.name]


def test_most_sroie_values_are_found_in_their_receipts() -> None:
    """The README computes the ceiling on letters and digits alone; ours keeps punctuation."""
    found: Counter[str] = Counter()
    known: Counter[str] = Counter()
    for scenario in iter_scenarios(public("sroie")):
        known.update(record(scenario).values.keys())
        found.update(span.label for span in record(scenario).spans)
    shares = {label: found[label] / known[label] for label in known}
    assert min(shares.values()) > 0.75, shares
    assert sum(found.values()) / sum(known.values()) > 0.9
