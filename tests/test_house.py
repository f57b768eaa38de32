"""The house itself: layers, packaging, start-up cost, and what stands in the repository."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("agents", "graph", "models", "traces", "scenarios")
SHIPPED = {".py", ".yaml", ".jsonl", ".html", ".css", ".js"}


def _git_files() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return listed.stdout.splitlines()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a clean export of the repository."""
    source = tmp_path_factory.mktemp("source")
    target = tmp_path_factory.mktemp("wheel")
    files = subprocess.run(
        ["tar", "-c", "--files-from=-"],
        cwd=ROOT,
        input="\n".join(f for f in _git_files() if (ROOT / f).exists()).encode(),
        capture_output=True,
        check=True,
    )
    subprocess.run(["tar", "-x"], cwd=source, input=files.stdout, check=True)
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", target, source],
        check=True,
        capture_output=True,
    )
    (built,) = target.glob("*.whl")
    return built


def test_wheel_holds_every_module_and_data_file(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        f"journeyman/{path}"
        for path in _git_files()
        if path.split("/")[0] in FOLDERS and Path(path).suffix in SHIPPED
    }
    assert len(expected) > 30
    assert not expected - held


def test_every_module_of_the_wheel_imports(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
        modules = sorted(
            name.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
            for name in archive.namelist()
            if name.endswith(".py") and "/migrations/" not in name and "__main__" not in name
        )
    script = (
        f"import sys, importlib; sys.path.insert(0, {str(tmp_path)!r})\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "import journeyman; print(journeyman.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert str(tmp_path) in done.stdout


HEAVY = """
import sys

EXTRAS = {
    "accelerate", "bm25s", "datasets", "datasette", "datasketch", "filelock", "gguf", "matplotlib",
    "opentelemetry", "peft", "pyarrow", "pydantic_evals", "ray", "junitparser", "safetensors",
    "sentence_transformers", "sklearn", "Stemmer", "tokenizers", "torch", "transformers", "trl",
    "xgrammar",
}

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in EXTRAS:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
"""
"""Makes an environment look as `pip install journeyman` leaves it, without any extra."""


@pytest.fixture
def bare(wheel: Path, tmp_path: Path) -> Path:
    """A fresh environment with the wheel in it, and what the wheel depends on, and no extra."""
    folder = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    (packages,) = folder.glob("lib/python*/site-packages")
    # A path in a .pth file is searched, and .pth files there (the editable install) are not read.
    (packages / "dependencies.pth").write_text(
        "import absent_extras\n" + sysconfig.get_paths()["purelib"] + "\n"
    )
    (packages / "absent_extras.py").write_text(HEAVY)
    install = ["pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    # The same version lies among the dependencies, so pip would take it for installed.
    subprocess.run([sys.executable, "-m", *install, "--ignore-installed", wheel], check=True)
    return folder / "bin"


@pytest.mark.slow
def test_from_the_wheel_in_an_empty_folder_to_a_passing_suite(bare: Path, tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("JOURNEYMAN_", "OPENAI_", "PYTHON"))
    }

    def journeyman(*arguments: str) -> str:
        done = subprocess.run(
            [bare / "journeyman", *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    where = "import journeyman; print(journeyman.__file__)"
    found = subprocess.run(
        [bare / "python", "-c", where], cwd=folder, capture_output=True, text=True, check=True
    )
    assert str(bare.parent) in found.stdout
    assert "scenarios/triage.py" in journeyman("init")
    journeyman("run")
    assert len(journeyman("traces", "list", "--json").splitlines()) == 4
    journeyman("db", "status", "--check")


def test_no_module_lacks_a_docstring() -> None:
    lacking = [
        path
        for path in _git_files()
        if path.endswith(".py")
        and not path.startswith("tests/")
        and (ROOT / path).is_file()
        and not (ROOT / path).read_text(encoding="utf-8").lstrip().startswith(('"""', "#!"))
    ]
    assert lacking == []


@pytest.mark.parametrize(
    "arguments", [["--help"], ["doctor"], ["run", "--help"], ["traces", "--help"]]
)
def test_help_and_doctor_import_neither_torch_nor_langgraph(
    arguments: list[str], tmp_path: Path
) -> None:
    script = (
        "import sys\nfrom journeyman.cli.main import main\n"
        f"sys.argv = ['journeyman', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'langgraph', 'transformers', 'langchain_core', 'opentelemetry'}\n"
        "heavy &= set(sys.modules)\n"
        "print('HEAVY', sorted(heavy))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "HEAVY []" in done.stdout


def test_importing_journeyman_loads_nothing_heavy() -> None:
    script = (
        "import journeyman, sys; print(sorted({'torch', 'langgraph', 'openai'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_changelog_names_the_version_of_the_package() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    version = re.search(r'^version = "(.+)"', project, re.MULTILINE)
    assert version is not None
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "## Unreleased" in changelog or f"## {version[1]}" in changelog
