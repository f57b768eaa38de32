"""The commands that README and docs show are run, each in a copy of a small project.

What cannot run within seconds is listed with its reason. `tests/test_docs.py` runs the blocks that
are marked `runnable`, in an empty folder, and holds every line against the command tree.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from journeyman.models.reference_frontier import ReferenceFrontier
from tests.cli.inside import journeyman
from tests.example_project import REFERENCES, facts, prepare, with_frontier
from tests.test_docs import PAGES, ROOT

# Made from the help texts, which name more than one project holds: all is held against the command
# tree, and run is what FROM_HELP names.
REFERENCE = "commands.md"

FOREGROUND = "stays in the foreground until it is told to end; "
NETWORK = "installs from the network"
PARSED_ONLY = {
    "make demo": "installs, then teaches every student: minutes",
    "make test": "these tests",
    "make vllm": NETWORK,
    "pip install 'journeyman[postgres]'": NETWORK,
    "pip install 'journeyman[ray]'": NETWORK,
    "pip install vllm": NETWORK,
    "journeyman run snips --limit 200": "reads a public data set that is not in the package",
    "journeyman curve banking77": "reads a public data set, and teaches for minutes",
    "journeyman curve banking77 --rounds 5 --tasks-per-round 1600 --json f.json --plot f.svg": (
        "reads a public data set, and teaches for minutes"
    ),
    "journeyman batch in.jsonl out.jsonl --agent my_agents:invoices --engine ray"
    " --ray-address auto": "needs a Ray cluster; tests/scenarios/test_batch_ray.py starts one",
    "journeyman serve": FOREGROUND + "tests/serving/test_serve.py starts and ends it",
    "journeyman serve --embedder": FOREGROUND + "tests/serving/test_vllm.py starts and ends it",
    "journeyman view": FOREGROUND + "tests/cli/test_view.py starts and ends it",
    "journeyman view --store .journeyman/demo.db": FOREGROUND + "and needs the demo's store",
    "journeyman view --write": FOREGROUND + "tests/traces/viewer writes through the pages",
    "journeyman escalations review": "asks on a terminal; tests/cli/test_escalations.py has one",
    "createuser journeyman": "changes the machine's own PostgreSQL",
    "createdb --owner journeyman --template template0 --encoding UTF8 journeyman": (
        "changes the machine's own PostgreSQL"
    ),
    "pg_dump --format=custom --file=traces.dump postgresql://journeyman@db.example/journeyman": (
        "PostgreSQL's own program, and a server elsewhere"
    ),
    "pg_restore --dbname=postgresql://journeyman@db.example/restored traces.dump": (
        "PostgreSQL's own program, and a server elsewhere"
    ),
}

# What stands for a name that a document shows: the project has a router that went through a round,
# where the desk's sub-agents would take minutes to teach.
INSTEAD = {
    "my-suite.yaml": "scenarios/triage.yaml",
    "round all": "round all --suite requests.yaml",
    "round extraction": "round routing --suite requests.yaml",
    "rollback extraction": "rollback routing",
    "replay extraction": "replay routing --release {release}",
    "show 1a2b3c": "show {round}",
    "0199a1b2-c3d4-7abc": "{escalation}",
    "3f2a 81c0": "{run} {other_run}",
    "traces show 3f2a": "traces show {run}",
    "extraction@1a2b3c4d": "{active}",
    "list extraction": "list routing",
    "--agent extraction >": "--agent routing >",
    "list --agent extraction": "list --agent routing",
    "-n 100 --agent extraction": "-n 100 --agent routing",
    "run my.yaml": "run scenarios/triage.yaml",
    "my.yaml": "scenarios/invoices.yaml",
    "postgresql://journeyman@db.example/journeyman": "{server}",
}

FROM_HELP = (
    "journeyman bless latest",
    "journeyman compare before after --json",
    "journeyman compare blessed latest",
    "journeyman compare main.json latest --by tag --fail-on-regression",
    "journeyman config path",
    "journeyman config show --origin",
    "journeyman db backup traces-2026-01-31.db",
    "journeyman db migrate",
    "journeyman db path",
    "journeyman db prune --older-than 30d --keep-escalations --keep-starred",
    "journeyman db status --check --json",
    "journeyman escalations review 0199a1b2-c3d4-7abc --approve",
    "journeyman init my-desk --example extract",
    "journeyman releases list extraction --json",
    "journeyman releases show extraction@1a2b3c4d",
    'journeyman releases suspend extraction@1a2b3c4d --reason "invoices changed their layout"',
    "journeyman rounds list extraction --json",
    "journeyman run my.yaml --baseline blessed --report junit=results.xml",
    'journeyman run scenarios/ -k "invoice and not slow" -x',
    "journeyman traces export --format openai --agent extraction > train.jsonl",
    "journeyman traces export --format otlp --since 1d > spans.jsonl",
    "journeyman traces list --agent extraction",
    "journeyman traces show 3f2a",
    "journeyman traces tail -n 100 --agent extraction --json",
    "journeyman validate --schema > suite.schema.json",
    "journeyman validate scenarios/ --json",
)

# Exit codes other than 0, and why they are right.
EXPECTED = {
    "journeyman replay extraction --max-error 0.02": (1, "120 labels certify no error of 2 %"),
    "journeyman traces diff 3f2a 81c0": (1, "the two runs answered different requests"),
}
SQLITE_ONLY = {
    "journeyman db backup traces-2026-01-31.db": "a server is backed up by pg_dump",
    "journeyman db backup traces-today.db": "a server is backed up by pg_dump",
    "journeyman db copy .journeyman/traces.db postgresql://journeyman@db.example/journeyman": (
        "copies a file"
    ),
    "sqlite3 -readonly .journeyman/traces.db 'SELECT * FROM v_agent_health'": (
        "SQLite's own program reads the file"
    ),
}
# The doctor finds what the machine lacks, which is nothing of the project's.
EITHER = {"journeyman doctor": {0, 1}}

FENCE = re.compile(
    r"^(<!-- runnable -->\n)?```(?:console|sh|bash|shell)\n(.*?)^```", re.MULTILINE | re.DOTALL
)


def shown() -> Iterator[str]:
    """Every command of the pages, without prompt and comment."""
    for page in PAGES:
        if page.name == REFERENCE:
            continue
        for marked, code in FENCE.findall(page.read_text(encoding="utf-8")):
            for line in () if marked else code.splitlines():
                prompted = line.startswith("$ ") or "\n$ " not in f"\n{code}"
                command = re.sub(r"\s+#.*", "", line.removeprefix("$ ")).strip()
                if prompted and command:
                    yield command


SHOWN = list(dict.fromkeys(shown()))
EXECUTED = [*(command for command in SHOWN if command not in PARSED_ONLY), *FROM_HELP]


@pytest.fixture(scope="module")
def project(any_store: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    prepare(folder)
    return folder


@pytest.fixture(scope="module")
def frontier() -> Iterator[str]:
    """The address of one that knows what the examples ask."""
    with ReferenceFrontier(REFERENCES) as server:
        yield server.base_url


def run_line(folder: Path, words: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command in the folder; those of Journeyman within this process."""
    assert not set(words) & {"|", "&&", ";", ">", "<"}
    if words[0] == "sqlite3":
        if shutil.which("sqlite3") is None:
            pytest.skip("needs sqlite3's own program")
        return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert words[0] == "journeyman", "run it here, or list it in PARSED_ONLY with the reason"
    return journeyman(folder, *words[1:])


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(each, marks=pytest.mark.sqlite_only(SQLITE_ONLY[each]))
        if each in SQLITE_ONLY
        else each
        for each in EXECUTED
    ],
)
def test_a_command_that_is_shown_does_what_is_said(
    command: str,
    project: Path,
    frontier: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    if "debugging" in command and shutil.which("bwrap") is None:
        pytest.skip("needs bubblewrap: the tests of the program are run in a sandbox")
    with_frontier(project, tmp_path, frontier)
    known = facts(tmp_path)
    if "postgresql://" in command:
        known["server"] = request.getfixturevalue("postgres_url")
    line = command
    for written, there in INSTEAD.items():
        line = line.replace(written, there.format_map(known) if written in line else there)
    words, _, file = line.partition(" > ")
    done = run_line(tmp_path, shlex.split(words))
    wanted = EITHER.get(command, {EXPECTED.get(command, (0, ""))[0]})
    assert done.returncode in wanted, f"{line}\n{done.stdout}{done.stderr}"
    if file or done.returncode:
        assert done.stdout


def test_what_is_listed_is_still_shown() -> None:
    assert sorted({*PARSED_ONLY, *EXPECTED, *EITHER} - set(SHOWN)) == []
    assert sorted(SQLITE_ONLY.keys() - set(EXECUTED)) == []
    assert [written for written in INSTEAD if not any(written in each for each in EXECUTED)] == []


def test_what_is_run_of_the_help_is_still_there() -> None:
    lines = (ROOT / "docs" / REFERENCE).read_text(encoding="utf-8").splitlines()
    assert [command for command in FROM_HELP if command not in lines] == []


def test_every_exception_bears_its_reason() -> None:
    assert all(PARSED_ONLY.values())
    assert all(code and why for code, why in EXPECTED.values())
