"""The command line as people and scripts use it; what a closed pipe does, in a real process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.inside import environment, journeyman
from tests.scenarios.scripted import said, write_echoes

pytestmark = pytest.mark.usefixtures("any_store")

SUITE = """
version: 1
suite: colors
description: Which shelf a request is for.
agent: routing
metric: accuracy
agents:
  routing:
    routes: {paint: wall paint and brushes, garden: plants and soil, tools: hammers and drills}
scenarios:
  - {id: one, input: "where is the white wall paint", expected: [paint]}
  - {id: two, input: "potting soil and tulips please", expected: [garden]}
  - {id: three, input: "a cordless drill", expected: [tools]}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a suite that was run once, as JSON."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "colors.yaml").write_text(SUITE, encoding="utf-8")
    done = journeyman(folder, "run", "colors.yaml", "--json", "--error-rate", "0")
    assert done.returncode == 0, done.stderr
    (folder / "run.jsonl").write_text(done.stdout, encoding="utf-8")
    return folder


def test_run_prints_json_lines_and_the_summary_of_the_contract_last(folder: Path) -> None:
    lines = [json.loads(line) for line in (folder / "run.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["scenario"] * 3 + ["summary"]
    summary = lines[-1]
    assert summary["suite"] == "colors"
    assert summary["n"] == 3
    assert summary["arms"]["frontier"]["accuracy"] == 1.0
    assert summary["arms"]["system"]["accuracy"] == 1.0
    assert 0 <= summary["arms"]["student"]["accuracy"] <= 1
    assert summary["answered_by"] == {"student": 0, "frontier": 3, "none": 0}
    assert summary["escalations"] == {"uncertified": 3}
    assert summary["cost_microusd"]["system"] == summary["cost_microusd"]["frontier_only"] > 0
    assert summary["latency_ms"]["p50"] <= summary["latency_ms"]["p95"]


def test_trusting_the_uncertified_costs_nothing_and_certifies_nothing(folder: Path) -> None:
    done = journeyman(folder, "run", "colors.yaml", "--json", "--trust-uncertified")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[-1]["answered_by"]["student"] == 3
    assert lines[-1]["cost_microusd"]["system"] == 0
    assert lines[-1]["cost_microusd"]["frontier_only"] > 0
    assert not any(task["certified"] for line in lines[:-1] for task in line["tasks"])


def test_a_table_for_people_names_the_stand_in(folder: Path) -> None:
    done = journeyman(folder, "run", "colors.yaml")
    assert done.returncode == 0
    assert "student alone" in done.stdout
    assert "reference frontier" in done.stdout
    assert "uncertified 3" in done.stdout


def test_traces_list_and_show_what_happened(folder: Path) -> None:
    listed = journeyman(folder, "traces", "list", "--json")
    runs = [json.loads(line) for line in listed.stdout.splitlines()]
    assert len(runs) >= 3
    shown = journeyman(folder, "traces", "show", runs[0]["id"][:12])
    assert shown.returncode == 0, shown.stderr
    assert "invoke_agent routing" in shown.stdout
    assert "evidence" in shown.stdout


def test_an_unknown_run_is_one_clear_sentence(folder: Path) -> None:
    done = journeyman(folder, "traces", "show", "ffffffffffff")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_db_status_counts_rows_and_checks_hashes(folder: Path) -> None:
    done = journeyman(folder, "db", "status", "--check", "--json")
    status = json.loads(done.stdout)
    assert status["counts"]["runs"] >= 3
    assert status["payloads_checked"] > 0


def test_ask_without_a_frontier_gives_the_student_marked_as_uncertified(folder: Path) -> None:
    done = journeyman(
        folder,
        "ask",
        "tulips in potting soil",
        "--agent",
        "routing",
        "--suite",
        "colors.yaml",
        "--json",
    )
    assert done.returncode == 3, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["source"], answer["certified"]) == ("student", False)
    assert answer["value"]["steps"][0]["agent"] == "garden"
    assert "[frontier]" in answer["error"]


def test_doctor_finds_the_embedded_models_and_says_what_is_missing(folder: Path) -> None:
    done = journeyman(folder, "doctor", "--json")
    findings = {line["name"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert findings["base all-MiniLM-L6-v2"]["status"] == "ok"
    assert findings["frontier"]["status"] == "missing"
    assert findings["frontier"]["mend"]


def test_settings_with_an_unknown_key_are_refused_with_file_and_key(tmp_path: Path) -> None:
    (tmp_path / "journeyman.toml").write_text("[frontier]\nmodle = 'x'\n", encoding="utf-8")
    done = journeyman(tmp_path, "traces", "list")
    assert done.returncode == 2
    assert "frontier.modle" in done.stderr
    assert "journeyman.toml" in done.stderr


@pytest.mark.sqlite_only("its stores are files that it looks for")
def test_the_environment_beats_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "journeyman.toml").write_text("store = 'a.db'\n", encoding="utf-8")
    monkeypatch.setenv("JOURNEYMAN_STORE", str(tmp_path / "b.db"))
    assert journeyman(tmp_path, "db", "migrate").returncode == 0
    assert (tmp_path / "b.db").exists()
    assert not (tmp_path / "a.db").exists()


def test_a_missing_suite_is_one_clear_sentence(tmp_path: Path) -> None:
    done = journeyman(tmp_path, "run", "nowhere.yaml")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.sqlite_only("a server has no database that is not there yet")
def test_nothing_matched_has_its_own_exit_code(tmp_path: Path) -> None:
    done = journeyman(tmp_path, "traces", "list", "--store", str(tmp_path / "none.db"))
    assert done.returncode == 2
    journeyman(tmp_path, "db", "migrate", "--store", str(tmp_path / "new.db"))
    done = journeyman(tmp_path, "traces", "list", "--store", str(tmp_path / "new.db"))
    assert done.returncode == 5


def test_a_reader_that_leaves_early_ends_the_run(tmp_path: Path) -> None:
    write_echoes(tmp_path, "".join(said(f"s{n}", f"w{n}") for n in range(300)))
    with subprocess.Popen(
        [sys.executable, "-m", "journeyman", "run", "echoes.yaml", "--json", "-j", "1"],
        cwd=tmp_path,
        env=environment(tmp_path, ECHO_SECONDS="0.1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert running.stdout.readline().startswith('{"event": "scenario"')
        running.stdout.close()
        assert running.wait(timeout=60) == 1
        assert "Traceback" not in running.stderr.read()


def test_a_status_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    done = journeyman(tmp_path, "traces", "list", "--status", "fine")
    assert done.returncode == 2
    assert "interrupted" in done.stderr


def test_doctor_shows_no_password_and_asks_no_key_for_a_server_on_this_machine(
    tmp_path: Path,
) -> None:
    settings = (
        "store = 'postgresql://me:secret@db/traces'\n"
        "[frontier]\nmodel = 'm'\nbase_url = 'http://127.0.0.1:8000/v1'\napi_key_env = 'NO_KEY'\n"
    )
    (tmp_path / "journeyman.toml").write_text(settings, encoding="utf-8")
    done = journeyman(tmp_path, "doctor", "--json")
    findings = {line["name"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert "secret" not in done.stdout
    assert findings["frontier"]["status"] == "ok"


def test_a_suite_whose_frontier_fails_says_why_and_does_not_pass(folder: Path) -> None:
    (folder / "dead").mkdir(exist_ok=True)
    (folder / "dead" / "journeyman.toml").write_text(
        "[frontier]\nmodel = 'gone'\nbase_url = 'http://127.0.0.1:9/v1'\nmax_tries = 1\n",
        encoding="utf-8",
    )
    done = journeyman(folder / "dead", "run", str(folder / "colors.yaml"))
    assert done.returncode == 3, done.stdout
    assert "3 tasks stayed open" in done.stdout
    told = journeyman(folder / "dead", "run", str(folder / "colors.yaml"), "--json")
    summary = json.loads(told.stdout.splitlines()[-1])
    assert sum(summary["open_because"].values()) == 3


def test_a_key_pasted_as_the_name_of_a_variable_is_refused_without_being_told(
    tmp_path: Path,
) -> None:
    (tmp_path / "journeyman.toml").write_text(
        "[frontier]\napi_key_env = 'sk-abc123def'\n", encoding="utf-8"
    )
    done = journeyman(tmp_path, "doctor")
    assert "sk-abc123def" not in done.stdout + done.stderr
    assert "frontier.api_key_env" in done.stdout + done.stderr


@pytest.mark.sqlite_only("its stores are files that it looks for")
def test_traces_of_the_demo_are_pointed_to(tmp_path: Path) -> None:
    (tmp_path / ".journeyman").mkdir()
    journeyman(tmp_path, "db", "migrate", "--store", ".journeyman/demo.db")
    done = journeyman(tmp_path, "traces", "list")
    assert done.returncode == 2
    assert "--store .journeyman/demo.db" in done.stderr
