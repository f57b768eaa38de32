"""`journeyman releases` as people and scripts use it: real commands in real processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from journeyman.traces.registry import Registry
from journeyman.traces.store import Store
from tests.cli.inside import journeyman, store_of
from tests.graph.released import make_release

pytestmark = pytest.mark.usefixtures("any_store")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project with two releases on record and none in traffic."""
    with Store.open(store_of(tmp_path)) as store:
        registry = Registry(store, tmp_path / ".journeyman")
        for word in ("high", "low"):
            registry.register(make_release(registry.data, word))
    return tmp_path


def ids(folder: Path) -> list[str]:
    done = journeyman(folder, "releases", "list", "triage", "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line)["id"] for line in done.stdout.splitlines()]


def test_a_release_is_promoted_suspended_resumed_and_rolled_back(folder: Path) -> None:
    first, second = ids(folder)
    steps = [
        (("promote", first), first, "certified"),
        (("promote", second, "--reason", "better"), second, "certified"),
        (("suspend", second, "--reason", "odd"), second, "suspended"),
        (("resume", second), second, "certified"),
        (("rollback", "triage"), first, "certified"),
    ]
    for version, (arguments, release, trust) in enumerate(steps, start=1):
        done = journeyman(folder, "releases", *arguments, "--json")
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert (told["version"], told["release"]["id"]) == (version, release)
        assert told["release"]["trust"] == trust
    shown = json.loads(journeyman(folder, "releases", "show", second, "--json").stdout)
    assert (shown["status"], shown["fault"]) == ("retired", None)
    actions = [change["action"] for change in shown["history"]]
    assert actions == ["promote", "promote", "suspend", "resume", "rollback"]
    assert shown["history"][1]["reason"] == "better"


def test_people_are_told_in_words(folder: Path) -> None:
    first, _ = ids(folder)
    listed = journeyman(folder, "releases", "list")
    assert first in listed.stdout
    assert "certified" in listed.stdout
    promoted = journeyman(folder, "releases", "promote", first)
    assert (promoted.returncode, promoted.stdout) == (0, "")
    assert "Certified: joint error within 0.05" in promoted.stderr
    shown = journeyman(folder, "releases", "show", first)
    assert "every file matches its digest" in shown.stdout
    back = journeyman(folder, "releases", "rollback", "triage")
    assert "everything escalates" in back.stderr


def test_damaged_files_are_shown_and_not_promoted(folder: Path) -> None:
    first, _ = ids(folder)
    (folder / ".journeyman/releases/triage" / first[-8:] / "student/facts.json").unlink()
    shown = json.loads(journeyman(folder, "releases", "show", first, "--json").stdout)
    assert "facts.json" in shown["fault"]
    refused = journeyman(folder, "releases", "promote", first)
    assert refused.returncode == 2
    assert "facts.json" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_what_is_not_there_is_said_in_one_line(folder: Path) -> None:
    for arguments in (("show", "nobody@12345678"), ("rollback", "triage")):
        done = journeyman(folder, "releases", *arguments)
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
    assert journeyman(folder, "releases", "list", "nobody").returncode == 5


@pytest.mark.sqlite_only("a database is there before it is used")
def test_nothing_is_made_where_there_is_no_store(tmp_path: Path) -> None:
    done = journeyman(tmp_path, "releases", "rollback", "triage")
    assert done.returncode == 2
    assert list(tmp_path.iterdir()) == []
