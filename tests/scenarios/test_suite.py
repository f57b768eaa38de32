"""A suite is read whole or refused with one sentence that names file and line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from journeyman.models.errors import ConfigError
from journeyman.scenarios.datasets import default_parts, iter_scenarios, parts
from journeyman.scenarios.marked import MAX_BYTES, read_yaml
from journeyman.scenarios.paths import find_suite, find_suites, shipped_suites
from journeyman.scenarios.scenario import ExpectedRanking, ExpectedRecord, ExpectedRoutes
from journeyman.scenarios.schema import json_schema, shipped_schema
from journeyman.scenarios.spec import SuiteSpec
from journeyman.scenarios.suite import load_suite

GOOD = """\
version: 1
suite: invoices
agent: extraction
agents:
  extraction:
    labels: [total, currency]
scenarios:
  - id: inv-001
    input: Total due is 42.50 EUR
    expected: {total: "42.50", currency: EUR}
"""


def write(folder: Path, text: str | bytes, name: str = "suite.yaml") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_good_suite_gives_its_scenarios_with_places_in_the_text(tmp_path: Path) -> None:
    suite = load_suite(write(tmp_path, GOOD))
    (scenario,) = iter_scenarios(suite)
    expected = scenario.expected["extraction"]
    assert isinstance(expected, ExpectedRecord)
    assert dict(expected.values) == {"total": "42.50", "currency": "EUR"}
    assert [(s.label, s.text) for s in expected.spans] == [("total", "42.50"), ("currency", "EUR")]
    assert (scenario.id, scenario.agent, scenario.part) == ("inv-001", "extraction", "inline")


MALFORMED = {
    "empty file": ("", 1, "empty"),
    "not a mapping": ("- a\n- b\n", 1, "mapping"),
    "broken yaml": ("version: 1\nsuite: [a\nagent: null\n", 3, "not valid YAML"),
    "tab as indent": ("version: 1\nagents:\n\textraction: {}\n", 3, "not valid YAML"),
    "two documents": ("version: 1\n---\nversion: 1\n", 2, "not valid YAML"),
    "python object": ("version: 1\nsuite: !!python/name:os.system\n", 2, "not valid YAML"),
    "duplicate key": (GOOD + "suite: again\n", 11, "given twice (first on line 2)"),
    "duplicate key deep down": (GOOD + "    id: inv-002\n", 11, "'id' is given twice"),
    "key that is not text": (GOOD.replace("total: ", "1: "), 10, "Key '1' is not text"),
    "control character": (GOOD.replace("Total", "\x07"), 9, "not allowed"),
    "no version": (GOOD.replace("version: 1\n", ""), 1, "'version'"),
    "wrong version": (GOOD.replace("version: 1", "version: 2"), 1, "'version' should be 1, not 2"),
    "unknown key": (GOOD + "agnet: retrieval\n", 11, "did you mean 'agent'?"),
    "unknown key in a scenario": (GOOD + "    expectd: {}\n", 11, "did you mean 'expected'?"),
    "unknown agent": (
        GOOD.replace("agent: extraction", "agent: extract"),
        3,
        "'agent' should be 'extraction', 'retrieval', 'routing' or 'debugging', not 'extract'",
    ),
    "text for a number": (GOOD + "defaults: {timeout: soon}\n", 11, "'defaults.timeout'"),
    "zero epochs": (GOOD + "defaults:\n  epochs: 0\n", 12, "greater than or equal to 1"),
    "missing input": (GOOD.replace("    input: Total due is 42.50 EUR\n", ""), 8, "'input'"),
    "empty input": (GOOD.replace("Total due is 42.50 EUR", "''"), 9, "not empty"),
    "input of a wrong kind": (GOOD.replace("Total due is 42.50 EUR", "7"), 9, "not 7"),
    "same id twice": (GOOD + "  - {id: inv-001, input: again}\n", 11, "used twice"),
    "expected of a wrong form": (
        GOOD.replace('{total: "42.50", currency: EUR}', "[42.50]"),
        10,
        "mapping from field to value",
    ),
    "unknown format": (
        GOOD + "data:\n  - {name: test, format: csv, file: a.csv}\n",
        12,
        "'data.0.format' should be one of 'bio', 'spans'",
    ),
    "no format": (GOOD + "data:\n  - {name: test, file: a.csv}\n", 12, "needs the key 'format'"),
    "no file": (GOOD + "data:\n  - {name: test, format: bio}\n", 12, "'file' or 'files'"),
    "format of another agent": (
        GOOD + "data:\n  - name: test\n    format: labels\n    file: a\n",
        13,
        "no references for agent 'extraction'",
    ),
    "share above one": (
        GOOD + "data:\n  - {name: test, format: bio, file: a, split: {part: test, share: 20}}\n",
        12,
        "'data.0.split.share' should be less than 1",
    ),
    "overlapping parts": (
        GOOD
        + "data:\n  - {name: test, format: bio, file: a}\n"
        + "  - {name: stream, format: bio, file: a}\n",
        13,
        "share rows of 'a'",
    ),
    "metric of another agent": (GOOD + "metric: mrr\n", 11, "judges 'retrieval'"),
    "schema and labels": (
        GOOD.replace("    labels:", "    schema: 'a:B'\n    labels:"),
        5,
        "both 'schema' and 'labels'",
    ),
    "schema without a class": (
        GOOD.replace("labels: [total, currency]", "schema: invoice"),
        6,
        "'module:Class'",
    ),
    "nothing to run": ("version: 1\nsuite: a\n", 1, "no scenarios"),
    "no corpus": (
        "version: 1\nsuite: a\nagent: retrieval\nscenarios: [{id: a, input: b}]\n",
        3,
        "agents.retrieval.corpus",
    ),
    "typed task for nobody": (
        "version: 1\nsuite: a\nscenarios:\n  - id: a\n    input: {text: b}\n",
        5,
        "needs its sub-agent",
    ),
    "expected for nobody": (
        "version: 1\nsuite: a\nscenarios:\n  - id: a\n    input: b\n    expected: [c]\n",
        6,
        "maps sub-agents",
    ),
}


@pytest.mark.parametrize(("text", "line", "says"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_suite_is_one_sentence_with_file_and_line(
    tmp_path: Path, text: str, line: int, says: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_suite(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:{line}: ")
    assert says in message
    assert "\n" not in message
    assert message.endswith((".", "?"))
    assert caught.value.path == path


def test_wrong_encoding_names_the_line(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.replace("EUR}", "€}").encode("cp1252"))
    with pytest.raises(ConfigError, match=r":10: Byte 0x80 is not UTF-8; save the file as UTF-8"):
        load_suite(path)


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    assert load_suite(write(tmp_path, b"\xef\xbb\xbf" + GOOD.encode())).name == "invoices"


def test_a_file_over_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD + "#" * MAX_BYTES)
    with pytest.raises(ConfigError, match="move its rows to a data file"):
        load_suite(path)


def test_an_alias_bomb_is_refused(tmp_path: Path) -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    with pytest.raises(ConfigError, match="use fewer aliases"):
        load_suite(write(tmp_path, "\n".join(levels)))


def test_a_merge_key_bomb_is_refused(tmp_path: Path) -> None:
    levels = ["a0: &a0 {x: 1}"]
    levels += [f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}" for i in range(1, 12)]
    with pytest.raises(ConfigError, match="use fewer aliases"):
        load_suite(write(tmp_path, "\n".join(levels)))


def test_surrogate_pairs_are_joined_and_halves_refused(tmp_path: Path) -> None:
    assert read_yaml(write(tmp_path, 'a: "\\ud83d\\ude00"')).data == {"a": "\U0001f600"}
    with pytest.raises(ConfigError, match=":2: The text has half of a surrogate pair"):
        read_yaml(write(tmp_path, 'a: b\nc: "\\ud83d"'))


def test_an_alias_of_itself_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nest deeper"):
        load_suite(write(tmp_path, "version: 1\ntags: &t [*t]\n"))


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="deeper than"):
        load_suite(write(tmp_path, "a: " + "[" * 5000))


def test_a_missing_suite_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: Cannot read the file"):
        load_suite(tmp_path / "none.yaml")


def test_aliases_and_merge_keys_work_within_the_limit(tmp_path: Path) -> None:
    text = GOOD + "  - {<<: &more {input: Total 1 EUR}, id: b}\n  - {<<: *more, id: c}\n"
    assert [s.id for s in iter_scenarios(load_suite(write(tmp_path, text)))] == [
        "inv-001",
        "b",
        "c",
    ]


@pytest.mark.parametrize("written", ["NO", "on", "12:30", "2024-01-31", "010", "1_000", "=", "yes"])
def test_a_plain_value_that_only_looks_like_another_type_stays_text(
    tmp_path: Path, written: str
) -> None:
    assert read_yaml(write(tmp_path, f"a: {written}\n")).data == {"a": written}


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("7", 7),
        ("-7", -7),
        ("0x1F", 31),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("true", True),
        ("~", None),
    ],
)
def test_numbers_booleans_and_null_are_read_as_yaml_1_2_does(
    tmp_path: Path, written: str, value: object
) -> None:
    assert read_yaml(write(tmp_path, f"a: {written}\n")).data == {"a": value}


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=4)
            # A key of YAML is at most 1,024 characters long, escapes counted.
            | st.dictionaries(st.text(min_size=1, max_size=60), inner, max_size=4)
        ),
        max_leaves=12,
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_json_is_read_as_itself_and_every_line_lies_in_the_file(
    tmp_path: Path, value: object
) -> None:
    text = json.dumps({"top": value}, indent=1)
    document = read_yaml(write(tmp_path, text))
    assert document.data == {"top": value}
    assert all(1 <= line <= text.count("\n") + 1 for line in document.lines.values())


@given(st.binary(max_size=300))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_bytes_raise_anything_but_a_config_error(tmp_path: Path, raw: bytes) -> None:
    path = write(tmp_path, raw)
    with pytest.raises(ConfigError):
        load_suite(path)


def test_a_typed_task_and_messages_keep_their_form(tmp_path: Path) -> None:
    text = GOOD + (
        "  - {id: typed, input: {text: Total 1 EUR, hint: x}}\n"
        "  - id: chat\n"
        "    input: [{role: system, content: s}, {role: user, content: Total 1 EUR}]\n"
    )
    _, typed, chat = iter_scenarios(load_suite(write(tmp_path, text)))
    assert typed.input == {"text": "Total 1 EUR", "hint": "x"}
    assert chat.input == (
        {"role": "system", "content": "s"},
        {"role": "user", "content": "Total 1 EUR"},
    )
    assert typed.text == chat.text == "Total 1 EUR"


def test_without_an_agent_the_expected_routes_are_the_sub_agents_with_a_reference(
    tmp_path: Path,
) -> None:
    text = (
        "version: 1\nsuite: a\nagents:\n  extraction: {labels: [x]}\n"
        "  retrieval: {corpus: c.jsonl}\n"
        "scenarios:\n  - id: a\n    input: one two\n"
        "    expected: {extraction: {x: one}, retrieval: {p1: 2}}\n"
        "  - {id: b, input: out, expected: {routing: []}}\n"
    )
    first, second = iter_scenarios(load_suite(write(tmp_path, text)))
    assert first.expected["routing"] == ExpectedRoutes(frozenset({"extraction", "retrieval"}))
    assert first.expected["retrieval"] == ExpectedRanking({"p1": 2})
    assert second.expected == {"routing": ExpectedRoutes(frozenset())}


def test_the_fingerprint_changes_with_the_expected_result_only_where_it_should(
    tmp_path: Path,
) -> None:
    def fingerprint(text: str) -> str:
        return next(iter_scenarios(load_suite(write(tmp_path, text)))).fingerprint

    assert fingerprint(GOOD) == fingerprint(GOOD + "description: other\n")
    assert fingerprint(GOOD) != fingerprint(GOOD.replace("currency: EUR}", "currency: USD}"))


@pytest.mark.parametrize("path", shipped_suites().values(), ids=shipped_suites())
def test_every_shipped_suite_is_valid_and_has_a_test_part(path: Path) -> None:
    suite = load_suite(path)
    assert suite.name == path.stem
    # humanevalfix has nothing to learn from: what teaches repairs must come from elsewhere.
    assert set(parts(suite)) == ({"test"} if path.stem == "humanevalfix" else {"test", "stream"})
    assert default_parts(suite) == ("test",)
    text = path.read_text()
    assert "icence" in text, "each suite says under which licence its rows are"


def test_a_shipped_suite_is_found_by_name_and_others_are_listed() -> None:
    assert find_suite("snips") == shipped_suites()["snips"]
    with pytest.raises(ConfigError, match=r"no suite 'snip'.*snips"):
        find_suite("snip")


def test_the_json_schema_knows_every_key_and_refuses_others() -> None:
    schema = json_schema()
    assert set(schema["properties"]) == set(SuiteSpec.model_fields)
    assert schema["additionalProperties"] is False
    assert "schema" in schema["$defs"]["ExtractionSettings"]["properties"]
    json.dumps(schema)


def test_the_shipped_json_schema_is_the_one_of_the_code() -> None:
    """If it is not, run `make schema` and commit the file."""
    assert json.loads(shipped_schema()) == json_schema()


@pytest.mark.parametrize("path", shipped_suites().values(), ids=shipped_suites())
def test_every_shipped_suite_fits_the_json_schema(path: Path) -> None:
    Draft202012Validator(json_schema()).validate(read_yaml(path).data)


def test_the_json_schema_knows_assertions_in_every_form_and_leaves_ones_own_alone() -> None:
    check = Draft202012Validator({"$ref": "#/$defs/Assertion", "$defs": json_schema()["$defs"]})
    for good in (
        "NoErrors",
        {"Contains": "a"},
        {"Contains": {"value": "a", "weight": 2}},
        {"not": {"Escalated": False}},
        {"Mine": {"any": 1}},
    ):
        assert check.is_valid(good), good
    for bad in ({"Contains": 3}, {"Contains": {"valu": "a"}}, {"not": 3}, {"a": 1, "b": 2}, 7):
        assert not check.is_valid(bad), bad


def test_a_project_may_lie_in_a_hidden_folder_and_be_named_from_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suites = tmp_path / ".work" / "project" / "scenarios"
    (suites / ".drafts").mkdir(parents=True)
    for file in ("smoke.yaml", ".drafts/later.yaml"):
        (suites / file).write_text("version: 1\nsuite: smoke\n")
    (elsewhere := tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(elsewhere)
    outside = "../../.work/project/scenarios"
    assert find_suites([], project=suites.parent) == [suites / "smoke.yaml"]
    assert find_suites([outside], project=tmp_path) == [Path(outside) / "smoke.yaml"]


def test_a_suite_that_is_named_twice_runs_once(tmp_path: Path) -> None:
    (tmp_path / "smoke.yaml").write_text("version: 1\nsuite: smoke\n")
    named = [str(tmp_path / "smoke.yaml"), str(tmp_path)]
    assert find_suites(named, project=tmp_path) == [tmp_path / "smoke.yaml"]
