"""Rounds and curves from the command line: from a cold run to a student that answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.inside import journeyman
from tests.scenarios.requests_suite import write_requests

pytestmark = pytest.mark.usefixtures("any_store")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a stream was run and a round was made of it."""
    folder = tmp_path_factory.mktemp("project")
    write_requests(folder)
    ran = journeyman(folder, "run", "requests.yaml", "--part", "stream", "--json")
    assert ran.returncode == 0, ran.stderr
    done = journeyman(folder, "round", "routing", "--suite", "requests.yaml")
    assert done.returncode == 0, done.stderr
    (folder / "round.txt").write_text(done.stdout, encoding="utf-8")
    return folder


def test_a_round_says_what_competed_what_was_proved_and_what_was_decided(project: Path) -> None:
    told = (project / "round.txt").read_text(encoding="utf-8")
    assert "routing, round 1: promote" in told
    assert "trained" in told
    assert "untrained" in told
    assert "Certified: joint error within 0.05" in told
    assert "reference labels" in told


def test_the_next_run_is_answered_by_the_student_where_it_is_certified(project: Path) -> None:
    ran = journeyman(project, "run", "requests.yaml", "--json")
    summary = json.loads(ran.stdout.splitlines()[-1])
    assert summary["answered_by"]["student"] > 40
    assert summary["arms"]["system"]["accuracy"] >= 0.9


def test_rounds_are_listed_and_shown(project: Path) -> None:
    listed = journeyman(project, "rounds", "list", "--json")
    (entry,) = map(json.loads, listed.stdout.splitlines())
    assert (entry["agent"], entry["decision"]) == ("routing", "promote")
    shown = journeyman(project, "rounds", "show", entry["id"][:8])
    assert shown.stdout == (project / "round.txt").read_text(encoding="utf-8")
    report = json.loads(journeyman(project, "rounds", "show", entry["id"], "--json").stdout)
    assert report["report"]["label_source"] == "reference"


def test_a_second_round_finds_nothing_new(project: Path) -> None:
    done = journeyman(project, "round", "routing", "--suite", "requests.yaml", "--json")
    report = json.loads(done.stdout)
    assert report["decision"]["verdict"] == "keep"
    assert done.returncode == 0


def test_no_rounds_yet_names_the_command_that_makes_them(tmp_path: Path) -> None:
    journeyman(tmp_path, "db", "migrate")
    done = journeyman(tmp_path, "rounds", "list")
    assert done.returncode == 5
    assert "journeyman round" in done.stderr


def test_an_unknown_sub_agent_is_named_with_those_there_are(tmp_path: Path) -> None:
    write_requests(tmp_path)
    journeyman(tmp_path, "db", "migrate")
    done = journeyman(tmp_path, "round", "extraction", "--suite", "requests.yaml")
    assert done.returncode == 2
    assert "routing" in done.stderr


def test_rounds_of_all_go_on_after_one_that_fails(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from journeyman.models.errors import WeightsError

    def broken(*_: object, **__: object) -> None:
        raise WeightsError("The base is gone: install it.")

    monkeypatch.setattr("journeyman.graph.round.run_round", broken)
    done = journeyman(project, "round", "all", "--suite", "requests.yaml")
    assert done.returncode == 3
    assert "round of routing: The base is gone" in done.stderr


def test_a_curve_is_drawn_written_and_plotted(tmp_path: Path) -> None:
    write_requests(tmp_path, num_stream=160, num_test=40)
    done = journeyman(
        tmp_path,
        *("curve", "requests.yaml", "--rounds", "1", "--tasks-per-round", "160"),
        *("--json", "f.json", "--plot", "f.svg", "--max-error", "0.2"),
    )
    assert done.returncode == 0, done.stderr
    data = json.loads((tmp_path / "f.json").read_text(encoding="utf-8"))
    assert len(data["rounds"]) == 2
    assert (tmp_path / "f.svg").stat().st_size > 1000
    assert "certified" in done.stdout


def test_a_missing_folder_is_told_before_anything_is_drawn(tmp_path: Path) -> None:
    done = journeyman(tmp_path, "curve", "banking77", "--json", "nowhere/f.json")
    assert done.returncode == 2
    assert "nowhere" in done.stderr
