"""What is telling about an edit, in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeyman.agents.edits import candidates
from journeyman.agents.repair_words import EditWords

CODE = """def spread(values, unit):
    low = min(values)
    for i in range(len(values)):
        if values[i] >= 10:
            return sorted(values)[-1] - low
    return 0
"""


def words(old: str, new: str, operator: str = "op", description: str = "") -> list[str]:
    start = CODE.index(old)
    return EditWords(CODE, description).of(operator, start, start + len(old), new)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (">=", ">", [">=~>", "+>", "->=", "in_if", "op@if"]),
        ("10", "11", ["digits~digits", "+digits", "-digits"]),
        ("low\n", "unit\n", ["name~name", "uses_unused", "drops_last_use", "new_local"]),
        ("min", "max", ["min~max", "in_assign"]),
        ("len(values)", "len(values) - 1", ["~-_1", "within_range", "op@range"]),
        ("values)[-1]", "values)[0]", ["+0"]),
        ("return 0", "pass", ["+pass", "-return"]),
        (" - low", " - sorted(values)[-1]", ["in_return"]),
    ],
)
def test_an_edit_is_told_by_what_goes_what_comes_and_where(
    old: str, new: str, told: list[str]
) -> None:
    assert set(told) <= set(words(old, new))


def test_the_operator_comes_first() -> None:
    assert words(">=", ">", "comparison")[0] == "comparison"


def test_words_of_the_description_are_known() -> None:
    assert "said_new" in words("low\n", "unit\n", description="In the given unit.")
    assert "said_old" in words("low\n", "unit\n", description="The low one.")
    assert "said_new" not in words("low\n", "unit\n", description="Something else.")


def test_comparing_a_thing_with_itself_is_told() -> None:
    code = "def f(a, b):\n    return a - b\n"
    at = code.index("b\n")
    assert "twins" in EditWords(code).of("name", at, at + 1, "a")
    assert "twins" not in EditWords(code).of("name", at, at + 1, "0")


def test_names_and_large_numbers_lose_themselves() -> None:
    told = " ".join(words("low\n", "unit\n")) + " ".join(words("10", "1234"))
    assert not {"low", "unit", "10", "1234"} & set(told.replace("~", " ").split())


@given(st.text(max_size=40))
def test_any_program_has_words(code: str) -> None:
    for word in EditWords(code).of("op", 0, len(code), "x: y"):
        assert word.split() == [word], "no blanks, or it would be two"


def test_every_candidate_has_words_without_blanks() -> None:
    told = EditWords(CODE)
    for candidate in candidates(CODE):
        edit = candidate.edit
        found = told.of(candidate.operator, edit.start, edit.end, edit.replacement)
        assert found[0] == candidate.operator
        assert all(word.split() == [word] for word in found)
        assert len(set(found)) == len(found)
