"""`journeyman escalations`: what went to the frontier is listed, shown and reviewed."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from journeyman.cli import reviewing
from journeyman.cli.reviewing import Answers, Session
from journeyman.cli.terminal import edit, harmless
from journeyman.models.errors import ConfigError
from journeyman.traces.collect import collect
from journeyman.traces.reviews import Case, entries, find_case, queue, review
from journeyman.traces.store import Store
from tests.cli.inside import environment, journeyman, store_of
from tests.cli.test_commands import SUITE
from tests.stores import copy_store

pytestmark = pytest.mark.usefixtures("any_store")

PLAN = {"steps": [{"agent": "garden", "input": {"text": "a cordless drill"}, "wave": 0}]}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose suite was run once against the reference frontier, half of it wrong."""
    folder = tmp_path_factory.mktemp("filled")
    (folder / "colors.yaml").write_text(SUITE, encoding="utf-8")
    done = journeyman(folder, "run", "colors.yaml", "--error-rate", "0.5")
    assert done.returncode == 1, done.stderr
    return folder


@pytest.fixture
def folder(filled: Path, tmp_path: Path) -> Path:
    """A copy of it, to be reviewed."""
    (tmp_path / "colors.yaml").write_bytes((filled / "colors.yaml").read_bytes())
    store = Path(".journeyman/traces.db")
    copy_store(filled / store, tmp_path / store)
    return tmp_path


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    with Store.open(store_of(folder)) as opened:
        yield opened


def listed(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    done = journeyman(folder, "escalations", "list", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_escalations_are_listed_newest_first_and_filtered(folder: Path) -> None:
    found = listed(folder)
    assert len(found) == 3
    assert found == sorted(found, key=lambda entry: entry["created_at"], reverse=True)
    assert {entry["reason"] for entry in found} == {"uncertified"}
    assert [entry["id"] for entry in listed(folder, "-n", "1")] == [found[0]["id"]]
    none = journeyman(folder, "escalations", "list", "--reason", "audit")
    assert (none.returncode, none.stdout) == (5, "")
    table = journeyman(folder, "escalations", "list", "--agent", "routing").stdout
    assert found[0]["id"][:18] in table


def test_one_is_shown_with_task_answers_differences_and_provenance(folder: Path) -> None:
    differing = next(entry for entry in listed(folder) if entry["agreement"] is False)
    shown = journeyman(folder, "escalations", "show", differing["id"][:18])
    assert shown.returncode == 0, shown.stderr
    assert "they differ" in shown.stdout
    assert "*  steps[0].agent" in shown.stdout
    assert "release routing@" in shown.stdout
    assert "suite colors, scenario" in shown.stdout
    assert "evidence" in shown.stdout
    assert "escalations review" in shown.stderr
    told = json.loads(journeyman(folder, "escalations", "show", differing["id"], "--json").stdout)
    assert [pair["path"] for pair in told["differences"]] == ["steps[0].agent"]
    assert told["attempt"]["release"].startswith("routing@")


def test_a_verdict_is_kept_and_the_second_reviewer_hears_of_it(folder: Path) -> None:
    first = listed(folder)[0]["id"]
    done = journeyman(
        folder, "escalations", "review", first[:18], "--approve", "--by", "ann", "--json"
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["review_status"], told["reviewer"]) == ("approved", "ann")
    late = journeyman(folder, "escalations", "review", first, "--reject", "--by", "bob")
    assert late.returncode == 2
    assert len(late.stderr.splitlines()) == 1
    assert "approved by ann" in late.stderr
    again = journeyman(folder, "escalations", "review", first, "--reject", "--by", "bob", "--again")
    assert again.returncode == 0, again.stderr
    (kept,) = listed(folder, "--review", "rejected")
    assert (kept["id"], kept["reviewer"]) == (first, "bob")


def test_an_edited_answer_is_held_to_the_sub_agents_form(folder: Path) -> None:
    first = listed(folder)[0]["id"]
    (folder / "answer.json").write_text(json.dumps(PLAN), encoding="utf-8")
    (folder / "wrong.json").write_text('{"steps": "garden"}', encoding="utf-8")
    wrong = journeyman(folder, "escalations", "review", first, "--edit", "wrong.json")
    assert wrong.returncode == 2
    assert "no Plan of 'routing': steps" in wrong.stderr.splitlines()[-1]
    right = journeyman(
        folder, "escalations", "review", first, "--edit", "answer.json", "--suite", "colors.yaml"
    )
    assert right.returncode == 0, right.stderr
    with Store.open(store_of(folder), read_only=True) as store:
        (row,) = [r for r in collect(store, "routing").rows if r.label_source == "human"]
    assert row.target == PLAN


def test_a_script_without_a_verdict_is_told_what_to_give(folder: Path) -> None:
    done = journeyman(folder, "escalations", "review")
    assert done.returncode == 2
    assert "--approve" in done.stderr
    assert journeyman(folder, "escalations", "review", "--approve").returncode == 2


@pytest.mark.sqlite_only("a database is there before it is used")
def test_nothing_is_made_where_there_is_no_store(tmp_path: Path) -> None:
    done = journeyman(tmp_path, "escalations", "review", "0", "--approve")
    assert done.returncode == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["list", "show", "review"])
def test_help_has_examples(command: str, tmp_path: Path) -> None:
    assert "Examples:" in journeyman(tmp_path, "escalations", command, "--help").stdout


# The queue, by keys


class Hands:
    """Presses keys and edits, as a person would."""

    def __init__(self, keys: str, *texts: str | None) -> None:
        self.keys = iter(keys)
        self.texts = iter(texts)
        self.given: list[str] = []

    def key(self) -> str:
        return next(self.keys)

    def edit(self, text: str) -> str | None:
        self.given.append(text)
        return next(self.texts)


def go_through(store: Store, hands: Hands, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(reviewing, "key", hands.key)
    monkeypatch.setattr(reviewing, "edit", hands.edit)
    session = Session(store, Answers(), by="ann")
    session.go_through([entry.id for entry in queue(store)])
    return session.summary()


def states(store: Store) -> list[str]:
    return sorted(entry.review_status for entry in entries(store))


def test_the_queue_is_gone_through_key_by_key(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = go_through(store, Hands("akr"), monkeypatch)
    assert states(store) == ["approved", "pending", "rejected"]
    assert told == "Reviewed by ann: 1 approved, 1 rejected."


def test_q_stops_and_other_keys_do_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    go_through(store, Hands("xaq"), monkeypatch)
    assert states(store) == ["approved", "pending", "pending"]


def test_an_answer_that_does_not_fit_is_mended_where_it_was_left(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    hands = Hands("eeeeq", None, "{broken", '{"steps": 1}', json.dumps(PLAN))
    go_through(store, hands, monkeypatch)
    assert hands.given[2:] == ["{broken", '{"steps": 1}']
    assert json.loads(hands.given[0])["steps"]
    (edited,) = entries(store, review_status="edited")
    assert find_case(store, edited.id).reviewed_output == PLAN


def test_the_students_answer_is_taken_as_it_stands(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_through(store, Hands("sq"), monkeypatch)
    (edited,) = entries(store, review_status="edited")
    case = find_case(store, edited.id)
    assert case.reviewed_output == case.student_output
    assert [row.agreement for row in collect(store, "routing").rows if not row.frontier_model] == [
        True
    ]


def test_what_somebody_else_reviewed_meanwhile_is_passed_over(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    second = queue(store)[1].id

    class Meanwhile(Hands):
        def key(self) -> str:
            if find_case(store, second).status == "pending":
                review(store, find_case(store, second), "rejected", by="bob")
            return super().key()

    go_through(store, Meanwhile("aa"), monkeypatch)
    assert states(store) == ["approved", "approved", "rejected"]
    assert "rejected by bob" in capsys.readouterr().err


def test_a_sub_agent_of_the_users_own_takes_any_object(store: Store) -> None:
    case = find_case(store, queue(store)[0].id)
    own = Case(
        escalation=type(case.escalation)(
            **{
                name: getattr(case.escalation, name)
                for name in case.escalation.__dataclass_fields__
                if name not in {"frontier_output", "student_output"}
            },
            frontier_output={"severity": "high"},
        ),
        attempt=case.attempt,
    )
    assert Answers().form(own) is None
    with pytest.raises(ConfigError, match="no JSON object"):
        Answers().keep(store, own, "edited", by="ann", answer=["x"])
    assert Answers().keep(store, own, "edited", by="ann", answer={"a": 1}).case.status == "edited"


# The terminal


def test_keys_and_editor_work_on_a_real_terminal(folder: Path) -> None:
    editor = folder / "editor.py"
    editor.write_text(
        f"import sys\nopen(sys.argv[1], 'w').write({json.dumps(json.dumps(PLAN))})\n", "utf-8"
    )
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "journeyman", "escalations", "review", "--by", "ann"],
        cwd=folder,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment(folder, EDITOR=f"{sys.executable} {editor}", VISUAL=""),
    )
    os.close(slave)
    seen, keys, asked = "", iter("eaq"), 0
    deadline = time.monotonic() + 90
    try:
        while process.poll() is None and time.monotonic() < deadline:
            if select.select([master], [], [], 0.2)[0]:
                try:
                    seen += os.read(master, 65536).decode()
                except OSError:  # the other end has closed
                    break
            elif seen.count("[q]uit") > asked:  # asked, and quiet: it waits for a key
                asked += 1
                os.write(master, next(keys).encode())
        process.wait(timeout=30)
    finally:
        process.kill()
        process.wait()
        os.close(master)
    assert process.returncode == 0, seen
    with Store.open(store_of(folder), read_only=True) as store:
        assert states(store) == ["approved", "edited", "pending"]


def test_text_cannot_take_the_terminal_over() -> None:
    assert harmless("a\x1b[2Jb\u202ec\n\td\x9b") == "a\\x1b[2Jb\\u202ec\n\td\\x9b"


def test_an_editor_that_fails_is_one_clear_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VISUAL", raising=False)
    for command in ("false", "no-such-editor", "'"):
        monkeypatch.setenv("EDITOR", command)
        with pytest.raises(ConfigError, match="EDITOR"):
            edit("text")
    monkeypatch.setenv("EDITOR", "true")
    assert edit("text") is None
