"""What README and docs show is run, and what they name exists."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from journeyman.cli import reference
from journeyman.scenarios.suite import load_suite
from tests.shell import faults_of

ROOT = Path(__file__).parent.parent
PAGES = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").glob("*.md"),
    *(ROOT / folder / "README.md" for folder in ("agents", "graph", "models", "scenarios")),
]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```\n(?:\n```\n(.*?)^```)?", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[tuple[str, str, str]]:
    """(page, code, output shown below it) of every block in a language."""
    return [
        (page.name, code, shown)
        for page in PAGES
        for found, code, shown in FENCE.findall(page.read_text(encoding="utf-8"))
        if found == language
    ]


@pytest.mark.parametrize(("page", "code", "shown"), blocks("python"))
def test_python_blocks_run_and_print_what_is_shown(
    page: str, code: str, shown: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == shown


@pytest.mark.parametrize(("page", "code", "shown"), blocks("yaml"))
def test_yaml_blocks_are_suites(page: str, code: str, shown: str, tmp_path: Path) -> None:
    (tmp_path / "requests.jsonl").write_text(
        '{"text": "white paint", "intent": "paint"}\n', encoding="utf-8"
    )
    (tmp_path / "suite.yaml").write_text(code, encoding="utf-8")
    assert load_suite(tmp_path / "suite.yaml").name


@pytest.mark.parametrize(("page", "code", "shown"), blocks("toml"))
def test_toml_blocks_are_settings(page: str, code: str, shown: str, tmp_path: Path) -> None:
    from journeyman.graph.settings import load_settings

    plain = load_settings(tmp_path)
    (tmp_path / "journeyman.toml").write_text(code, encoding="utf-8")
    assert load_settings(tmp_path) != plain


@pytest.mark.parametrize(("page", "code", "shown"), [*blocks("console"), *blocks("sh")])
def test_commands_shown_exist_with_their_options(page: str, code: str, shown: str) -> None:
    prompted = re.findall(r"^\$ (.+)$", code, re.MULTILINE)
    lines = prompted or [line for line in code.splitlines() if line]
    assert [fault for line in lines for fault in faults_of(line)] == []


RUNNABLE = [
    (page.name, code)
    for page in PAGES
    for code in re.findall(
        r"^<!-- runnable -->\n```(?:console|sh)\n(.*?)^```",
        page.read_text(encoding="utf-8"),
        re.MULTILINE | re.DOTALL,
    )
]


@pytest.mark.slow
@pytest.mark.parametrize(("page", "code"), RUNNABLE)
def test_commands_marked_runnable_run_in_an_empty_folder(
    page: str, code: str, tmp_path: Path
) -> None:
    shim = tmp_path / "bin" / "journeyman"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m journeyman "$@"\n')
    shim.chmod(0o755)
    folder = tmp_path / "empty"
    folder.mkdir()
    script = re.sub(r"^\$ ", "", code, flags=re.MULTILINE)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "PATH": f"{shim.parent}:{os.environ['PATH']}"},
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", reference.PAGES)
def test_the_made_pages_are_what_the_code_says(name: str) -> None:
    """Otherwise `make docs` is due."""
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == reference.PAGES[name]()


def test_links_between_pages_lead_somewhere() -> None:
    dead = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert dead == []
