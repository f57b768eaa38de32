"""`journeyman validate` and `run` refuse malformed suites with exit code 2 and no traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.inside import journeyman
from tests.scenarios.shop import HEAD, write

ONE = "scenarios:\n  - id: one\n    input: Total due is 42.50 EUR\n"
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)


def real(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The real command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "journeyman", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (HEAD + ONE + "    assert: [Contians: a]\n", 9, "did you mean 'Contains'?"),
        (HEAD + "include: [shop.yaml]\n" + ONE, 6, "in a circle"),
        ("\ufeff" + HEAD + ONE + "    xfail: 3\n", 9, "should be text, not 3"),
        (BOMB, 1, "use fewer aliases"),
        (HEAD + ONE + "\tx: 1\n", 9, "not valid YAML"),
    ],
    ids=["evaluator", "circle", "byte order mark", "alias bomb", "tab"],
)
def test_the_real_command_says_one_sentence_and_exits_with_2(
    tmp_path: Path, text: str, line: int, says: str
) -> None:
    write(tmp_path, text)
    done = real(tmp_path, "validate", "shop.yaml", "--no-data")
    assert done.returncode == 2
    assert says in done.stdout
    (told,) = done.stdout.splitlines()
    assert told.startswith(f"shop.yaml:{line}: ")
    assert "Traceback" not in done.stdout + done.stderr


def test_run_refuses_what_validate_refuses(tmp_path: Path) -> None:
    write(tmp_path, HEAD + ONE + "    assert: [Contians: a]\n")
    done = real(tmp_path, "run", "shop.yaml", "--store", "t.db")
    assert done.returncode == 2
    assert "shop.yaml:9: There is no evaluator 'Contians'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_good_suite_is_told_with_its_number_of_scenarios(tmp_path: Path) -> None:
    write(tmp_path, HEAD + ONE)
    done = journeyman(tmp_path, "validate", ".")
    assert (done.returncode, done.stdout) == (0, "shop.yaml: shop, 1 scenario\n")


def test_json_is_one_line_for_each_suite_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path, HEAD + ONE)
    write(tmp_path, HEAD + ONE + "    xfail: 3\n", "wrong.yaml")
    done = journeyman(tmp_path, "validate", ".", "gone.yaml", "--json")
    good, wrong, gone = (json.loads(line) for line in done.stdout.splitlines())
    assert done.returncode == 2
    assert (good["valid"], good["scenarios"], good["problems"]) == (True, 1, [])
    assert wrong["problems"] == [
        {
            "path": "wrong.yaml",
            "line": 9,
            "message": "'scenarios.0.xfail' should be text, not 3.",
        }
    ]
    assert gone["problems"][0]["line"] is None


def test_the_schema_is_printed_as_it_is_shipped(tmp_path: Path) -> None:
    done = journeyman(tmp_path, "validate", "--schema")
    assert json.loads(done.stdout)["title"] == "Journeyman suite"


def test_nothing_to_check_has_a_code_of_its_own(tmp_path: Path) -> None:
    assert journeyman(tmp_path, "validate", ".").returncode == 5
    assert journeyman(tmp_path, "validate").returncode == 2
