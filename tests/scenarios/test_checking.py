"""Checking finds every mistake in a suite, each as one sentence with its file and line."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from journeyman.models.errors import ConfigError
from journeyman.scenarios.checking import check_suite, files_to_check
from journeyman.scenarios.suite import load_suite
from tests.scenarios.shop import HEAD, write

ONE = "scenarios:\n  - id: one\n    input: Total due is 42.50 EUR\n"
"""Line 8 of a suite is the scenario's input; what is appended stands from line 9."""

WRONG = {
    "xfail is no text": ("    xfail: true\n", 9, "'scenarios.0.xfail' should be text, not True"),
    "skip is empty": ("    skip: ''\n", 9, "text that is not empty"),
    "negative timeout": ("    timeout: -1\n", 9, "greater than 0, not -1"),
    "endless timeout": ("    timeout: .inf\n", 9, "'scenarios.0.timeout'"),
    "too many epochs": ("    epochs: 101\n", 9, "less than or equal to 100"),
    "epochs are no text": ("    epochs: '3'\n", 9, "a whole number"),
    "unknown pass rule": ("    pass: {rule: most}\n", 9, "'all', 'any' or 'at_least'"),
    "at least how many": ("    pass: {rule: at_least}\n", 9, "needs 'n' with rule 'at_least'"),
    "a number for any": ("    pass: {rule: any, n: 2}\n", 9, "needs 'n' with rule 'at_least'"),
    "input and turns": ("    turns: [{user: a}]\n", 7, "needs either 'input' or 'turns'"),
    "a turn without words": (
        "  - {id: two, turns: [{assert: [NoErrors]}]}\n",
        9,
        "needs the key 'user'",
    ),
    "no turns": ("  - {id: two, turns: []}\n", 9, "a list that is not empty"),
    "messages without a user": (
        "  - {id: two, input: [{role: system, content: a}]}\n",
        9,
        "none of a user",
    ),
    "expected twice": (
        "  - id: two\n    expected: {total: a}\n    turns: [{user: b, expected: {total: a}}]\n",
        10,
        "The last turn says what is expected, too",
    ),
    "expected of a turn in a wrong form": (
        "  - id: two\n    turns:\n      - {user: b, expected: [a]}\n",
        11,
        "mapping from field to value",
    ),
    "resume without a name": ("    resume: [{value: 1}]\n", 9, "needs the key 'interrupt'"),
    "one assertion for a list": ("    assert: NoErrors\n", 9, "a list, not 'NoErrors'"),
    "assertion of a wrong kind": ("    assert: [3]\n", 9, "not 3"),
    "two names in one assertion": (
        "    assert:\n      - NoErrors:\n        Contains: a\n",
        10,
        "begin each with its own '-'",
    ),
    "unknown evaluator": (
        "    assert:\n      - Contians: a\n",
        10,
        "There is no evaluator 'Contians'; did you mean 'Contains'?",
    ),
    "argument of a wrong type": ("    assert: [{Contains: 3}]\n", 9, "text or a list, not 3"),
    "argument by an unknown name": (
        "    assert:\n      - Contains:\n          valeu: a\n",
        11,
        "Contains has no argument 'valeu'; did you mean 'value'?",
    ),
    "argument that is missing": ("    assert: [MaxCost]\n", 9, "needs the key 'usd'"),
    "argument for one that has none": (
        "    assert: [{NoErrors: true}]\n",
        9,
        "takes no arguments; write just `NoErrors`",
    ),
    "unknown reason": ("    assert: [{Escalated: {reason: tired}}]\n", 9, "not 'tired'"),
    "unknown source": ("    assert: [{AnsweredBy: cat}]\n", 9, "not 'cat'"),
    "bounds that are none": ("    assert: [Confidence]\n", 9, "needs 'min' or 'max'"),
    "bounds in a wrong order": (
        "    assert: [{Confidence: {min: 0.9, max: 0.1}}]\n",
        9,
        "'min' not above 'max'",
    ),
    "bad regular expression": (
        "    assert: [{Matches: 'tot(al'}]\n",
        9,
        "no valid regular expression: missing )",
    ),
    "not of nothing": ("    assert: [{not: 3}]\n", 9, "'not' wraps one assertion"),
    "not of not": ("    assert: [{not: {not: NoErrors}}]\n", 9, "says nothing"),
    "weight of nothing": (
        "    assert: [{Contains: {value: a, weight: 0}}]\n",
        9,
        "A weight should be a number above 0, not 0",
    ),
    "sub-agent that is not there": (
        "    assert: [{Contains: {value: a, agent: retrieval}}]\n",
        9,
        "names 'retrieval', which is not part of this suite; choose of extraction, routing",
    ),
    "route that is not there": ("    assert: [{RoutedTo: extracton}]\n", 9, "'extracton'"),
    "nothing to compare with": ("    assert: [JsonMatch]\n", 9, "has nothing to compare with"),
    "assertion of a turn": (
        "  - id: two\n    turns:\n      - user: a\n        assert: [Nothing]\n",
        12,
        "no evaluator 'Nothing'",
    ),
    "assertion of all": ("defaults:\n  assert: [Nothing]\n", 10, "no evaluator 'Nothing'"),
    "assertion of a data set": (
        "data:\n  - {name: test, format: bio, file: a, assert: [Nothing]}\n",
        10,
        "no evaluator 'Nothing'",
    ),
    "gate above one": ("gate: {min_pass_rate: 95}\n", 9, "less than or equal to 1, not 95"),
    "unknown gate": ("gate: {min_pass: 0.9}\n", 9, "did you mean 'min_pass_rate'?"),
    "input file that is not there": (
        "  - id: two\n    input: {file: gone.txt}\n",
        10,
        "There is no file",
    ),
    "input file by number": ("  - {id: two, input: {file: 3}}\n", 9, "is text, not 3"),
    "input that is a folder": ("  - {id: two, input: {file: .}}\n", 9, "This is a folder"),
    "include that is not there": ("include:\n  - gone.yaml\n", 10, "There is no file"),
    "include of itself": ("include: [shop.yaml]\n", 9, "in a circle (shop.yaml -> shop.yaml)"),
    "evaluator whose module is not there": (
        "evaluators: ['gone.py:Mine']\n",
        9,
        "Cannot import 'gone.py'",
    ),
    "evaluator that is none": ("evaluators: ['json:JSONDecoder']\n", 9, "derive the class from"),
    "evaluator without a class": ("evaluators: [json]\n", 9, "'module:Class' or 'file.py:Class'"),
    "nul byte": ("    description: \0\n", 9, "character 0x00 is not allowed"),
    "unsafe tag": ("    description: !!python/object:os.x {}\n", 9, "not valid YAML"),
}


@pytest.mark.parametrize(("text", "line", "says"), WRONG.values(), ids=WRONG)
def test_a_mistake_is_one_sentence_at_its_line_and_stops_a_run(
    tmp_path: Path, text: str, line: int, says: str
) -> None:
    path = write(tmp_path, HEAD + ONE + text)
    (problem, *others) = check_suite(path, data=False).problems
    assert (problem.path, problem.line, others) == (str(path), line, [])
    assert says in problem.message
    assert "\n" not in problem.message
    assert problem.message.endswith((".", "?"))
    with pytest.raises(ConfigError) as caught:
        load_suite(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")


INCLUDED = "version: 1\nscenarios:\n  - {id: two, input: more}\n"


def test_included_files_add_their_scenarios_and_tags(tmp_path: Path) -> None:
    more = INCLUDED.replace("scenarios", "tags: [b]\ninclude: [c.yaml]\nscenarios")
    write(tmp_path, more, "b.yaml")
    write(tmp_path, INCLUDED.replace("two", "three"), "c.yaml")
    suite = load_suite(write(tmp_path, HEAD + "tags: [a]\ninclude: [b.yaml]\n" + ONE))
    found = {scenario.id: scenario.tags for scenario in suite.inline_scenarios()}
    assert found == {"one": ("a",), "two": ("a", "b"), "three": ("a", "b")}


BROKEN = {
    "circle": ("version: 1\ninclude: [shop.yaml]\n", "b.yaml", 2, "b.yaml -> shop.yaml)"),
    "twice": ("version: 1\ninclude: [b.yaml]\n", "b.yaml", 2, "circle (b.yaml -> b.yaml)"),
    "same id": (INCLUDED.replace("two", "one"), "b.yaml", 3, "first at shop.yaml:8"),
    "unknown key": (INCLUDED + "suite: b\n", "b.yaml", 4, "Unknown key 'suite'"),
    "no version": ("scenarios: []\n", "b.yaml", 1, "The file needs the key 'version'"),
    "a list": ("- a\n", "b.yaml", 1, "is a mapping"),
    "its assertion": (
        "version: 1\nscenarios:\n  - {id: two, input: a, assert: [Nothing]}\n",
        "b.yaml",
        3,
        "no evaluator",
    ),
}


@pytest.mark.parametrize(("text", "file", "line", "says"), BROKEN.values(), ids=BROKEN)
def test_a_mistake_in_an_included_file_is_told_at_its_place_there(
    tmp_path: Path, text: str, file: str, line: int, says: str
) -> None:
    write(tmp_path, text, "b.yaml")
    path = write(tmp_path, HEAD + "include: [b.yaml]\n" + ONE)
    (problem,) = check_suite(path).problems
    assert (problem.path, problem.line) == (str(tmp_path / file), line)
    assert says in problem.message


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    text = HEAD + ONE + "    assert: [Nothing, {Contains: 3}]\n  - {id: one, input: b}\n"
    problems = check_suite(write(tmp_path, text)).problems
    assert [problem.line for problem in problems] == [10, 9, 9]
    shape = check_suite(write(tmp_path, HEAD + "a: 1\n" + ONE + "    b: 1\n    c: 1\n"))
    assert [problem.line for problem in shape.problems] == [6, 10, 11]
    assert shape.name == "shop"


def test_rows_of_data_sets_are_read_and_counted(tmp_path: Path) -> None:
    data = "data: [{name: test, format: spans, file: rows.jsonl}]\n"
    row = '{"text": "10 EUR", "slots": [{"slot": "currency", "start": 3, "end": 6}]}\n'
    write(tmp_path, row * 3, "rows.jsonl")
    path = write(tmp_path, HEAD + data + ONE)
    assert (check_suite(path).num_scenarios, check_suite(path).problems) == (4, ())
    write(tmp_path, row + "{}\n", "rows.jsonl")
    (problem,) = check_suite(path).problems
    assert (problem.path, problem.line) == (str(tmp_path / "rows.jsonl"), 2)
    assert check_suite(path, data=False).problems == ()


def test_code_that_a_suite_names_is_looked_for(tmp_path: Path) -> None:
    text = HEAD.replace("agents:", "agents:\n  triage: {use: 'mine.py:Triage'}") + ONE
    path = write(tmp_path, text)
    (problem,) = check_suite(path, data=False).problems
    assert (problem.line, "Cannot import 'mine.py'" in problem.message) == (5, True)
    write(tmp_path, "Other = 1\n", "mine.py")
    (problem,) = check_suite(path, data=False).problems
    assert problem.message == "'mine.py' has no 'Triage'; define it, or name another."
    schema = HEAD.replace("{labels: [total, currency]}", "{schema: 'gone.py:Bill'}") + ONE
    (problem,) = check_suite(write(tmp_path, schema), data=False).problems
    assert (problem.line, "Cannot import 'gone.py'" in problem.message) == (5, True)


def test_what_cannot_be_read_at_all_is_told_without_a_line(tmp_path: Path) -> None:
    loop = tmp_path / "loop.yaml"
    loop.symlink_to(loop)
    for path, says in ((loop, "symbolic links"), (tmp_path, "This is a folder")):
        (problem,) = check_suite(path).problems
        assert (problem.path, problem.line) == (str(path), None)
        assert says in problem.message


@pytest.mark.skipif(os.geteuid() == 0, reason="the super-user may read everything")
def test_a_file_that_may_not_be_read_is_told(tmp_path: Path) -> None:
    path = write(tmp_path, HEAD + ONE)
    path.chmod(0)
    (problem,) = check_suite(path).problems
    assert "Permission denied" in problem.message


def test_a_pipe_or_device_is_refused_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    for path in (tmp_path / "pipe.yaml", Path("/dev/zero")):
        (problem,) = check_suite(path).problems
        assert problem.message == "This is no regular file; name a file."


def test_a_folder_stands_for_its_suites_and_not_for_the_files_they_include(tmp_path: Path) -> None:
    write(tmp_path, HEAD + "include: [b.yaml]\n" + ONE, "a/shop.yml")
    write(tmp_path, INCLUDED, "a/b.yaml")
    write(tmp_path, "a: [", "broken.yaml")
    assert files_to_check(str(tmp_path)) == [tmp_path / "a/shop.yml", tmp_path / "broken.yaml"]


def test_without_pydantic_evals_only_assertions_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if "evaluator" in name and "journeyman" in name]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pydantic_evals.evaluators", None)
    monkeypatch.setitem(sys.modules, "pydantic_evals", None)
    path = write(tmp_path, HEAD + ONE)
    assert load_suite(path).name == "shop"
    with pytest.raises(ConfigError, match=r"run `pip install 'journeyman\[suites\]'`"):
        load_suite(write(tmp_path, HEAD + ONE + "    assert: [NoErrors]\n"))
