"""What README and docs show is run, and what they name exists."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from journeyman.scenarios.suite import load_suite

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


@pytest.mark.parametrize(("page", "code", "shown"), blocks("console"))
def test_commands_shown_exist(page: str, code: str, shown: str, tmp_path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for line in re.findall(r"^\$ (.+?)(?:\s+#.*)?$", code, re.MULTILINE):
        program, command, *_ = line.split()
        if program == "make":
            assert re.search(rf"^{command}:", makefile, re.MULTILINE), line
        else:
            done = subprocess.run(
                [sys.executable, "-m", program, command, "--help"],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, line


def test_links_between_pages_lead_somewhere() -> None:
    dead = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert dead == []
