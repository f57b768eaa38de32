"""The commands beside `run`: settings, a first project, the doctor, traces and the store."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from journeyman.cli.completion import agents, releases, runs, suites
from journeyman.cli.doctor import EXTRAS
from journeyman.cli.follow import follow_runs
from journeyman.cli.init import starter
from journeyman.traces.records import (
    AttemptRecord,
    EscalationRecord,
    RunRecord,
    new_id,
    new_trace_id,
)
from journeyman.traces.store import Store
from tests.cli.inside import journeyman, store_of

NOW = datetime.now(UTC)


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def record(
    store: Store, text: str, *, days: float = 0, answer: Any = 1, source: Any = "student"
) -> str:
    at = NOW - timedelta(days=days)
    run = RunRecord(
        id=new_trace_id(), graph="desk", status="ok", started_at=at, ended_at=at,
        input={"text": text}, num_tasks=1, cost_microusd=3,
    )  # fmt: skip
    attempt = AttemptRecord(
        id=new_id(), run_id=run.id, task_id="t", task_key=text, agent="extraction",
        release="extraction@0", decision="escalate", source=source, answer=answer,
        input={"text": text}, latency_ms=4.0,
    )  # fmt: skip
    told = EscalationRecord(
        id=new_id(), attempt_id=attempt.id, run_id=run.id, agent="extraction",
        reason="uncertified", status="answered", frontier_output={"total": answer},
    )  # fmt: skip
    store.write([run, attempt, *([told] if source == "frontier" else [])])
    return run.id


@pytest.fixture
def folder(tmp_path: Path, any_store: None) -> Path:
    with Store.open(store_of(tmp_path)):
        pass
    return tmp_path


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    with Store.open(store_of(folder)) as opened:
        yield opened


# config


def test_config_show_tells_the_line_of_the_file_and_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "journeyman.toml").write_text("[frontier]\nmodel = 'm'\n", "utf-8")
    monkeypatch.setenv("JOURNEYMAN_RISK__DELTA", "0.1")
    shown = journeyman(tmp_path, "config", "show", "--origin").stdout
    assert "journeyman.toml:2" in shown
    assert "$JOURNEYMAN_RISK__DELTA" in shown
    held = {
        line["key"]: line for line in lines(journeyman(tmp_path, "config", "show", "--json").stdout)
    }
    assert held["frontier.model"]["value"] == "m"
    assert held["risk.delta"]["origin"] == "environment"


def test_config_path_names_the_file_that_holds_or_ends_with_5(tmp_path: Path) -> None:
    assert journeyman(tmp_path, "config", "path").returncode == 5
    (tmp_path / "journeyman.toml").write_text("", "utf-8")
    below = tmp_path / "below"
    below.mkdir()
    assert journeyman(below, "config", "path").stdout.strip() == str(tmp_path / "journeyman.toml")


def test_the_settings_file_can_be_named_and_is_forgotten_with_the_command(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text("store = 'named.db'\n", "utf-8")
    done = journeyman(tmp_path, "--config", "other.toml", "db", "path")
    assert done.stdout.strip() == str(tmp_path / "named.db")
    assert journeyman(tmp_path, "db", "path").stdout.strip().endswith("traces.db")
    gone = journeyman(tmp_path, "--config", "nowhere.toml", "config", "show")
    assert (gone.returncode, len(gone.stderr.splitlines())) == (2, 1)


MALFORMED = {
    "toml": b"[frontier\n", "key": b"stoer = 1\n", "type": b"[risk]\nmax_error = 'low'\n",
    "encoding": b"\xff\xfes\x00", "latin": b"# \xe9\n", "range": b"[audit]\nrate = 7\n",
    "missing": b"[frontier.price]\n", "table": b"risk = 1\n", "path": b'store = "\\u0000"\n',
    "depth": b"a." * 5000 + b"a = 1\n", "url": b"store = 'postgresql://:x:y/z'\n",
    "backend": b"store = 'mysql://host/db'\n",
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
@pytest.mark.parametrize("command", [("db", "status"), ("traces", "list")])
def test_malformed_settings_are_one_sentence_and_exit_code_2(
    tmp_path: Path, name: str, command: tuple[str, ...]
) -> None:
    (tmp_path / "journeyman.toml").write_bytes(MALFORMED[name])
    done = journeyman(tmp_path, *command)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("journeyman: ")
    assert done.stdout == ""


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_settings_that_may_not_be_read_are_named(tmp_path: Path) -> None:
    path = tmp_path / "journeyman.toml"
    path.write_text("")
    path.chmod(0)
    done = journeyman(tmp_path, "db", "status")
    assert (done.returncode, str(path) in done.stderr) == (2, True)


# how much is said


def test_quiet_leaves_errors_and_data(folder: Path) -> None:
    assert journeyman(folder, "-q", "traces", "list").stderr == ""
    assert journeyman(folder, "traces", "list").stderr != ""
    assert journeyman(folder, "-q", "traces", "show", "ffff").stderr.startswith("journeyman: ")
    assert journeyman(folder, "-q", "db", "path").stdout


def test_verbose_shows_where_an_error_is_from(folder: Path) -> None:
    assert "Traceback" in journeyman(folder, "-v", "traces", "show", "ffff").stderr
    assert "Traceback" not in journeyman(folder, "traces", "show", "ffff").stderr


def test_no_color_holds_for_the_command_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str | None] = []
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr("journeyman.cli.db.say", lambda _: seen.append(os.environ.get("NO_COLOR")))
    journeyman(folder, "--no-color", "db", "path")
    assert seen == ["1"]
    assert "NO_COLOR" not in os.environ


# init


@pytest.mark.parametrize("example", ["own", "extract", "retrieve", "debug"])
def test_a_starter_project_has_settings_that_hold_and_a_suite_that_reads(
    tmp_path: Path, example: Any
) -> None:
    done = journeyman(tmp_path, "init", "desk", "--example", example)
    assert done.returncode == 0, done.stderr
    assert "journeyman run" in done.stderr
    written = {
        str(path.relative_to(tmp_path / "desk"))
        for path in (tmp_path / "desk").rglob("*")
        if path.is_file()
    }
    assert written == set(starter(example))
    assert {".gitignore", "README.md", "journeyman.toml"} < written
    assert journeyman(tmp_path / "desk", "config", "show").returncode == 0
    checked = journeyman(tmp_path / "desk", "validate", "scenarios")
    assert checked.returncode == 0, checked.stderr


def test_init_overwrites_nothing_and_says_what_stands_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "journeyman.toml").write_text("mine")
    done = journeyman(tmp_path, "init")
    assert done.returncode == 2
    assert "journeyman.toml" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["journeyman.toml"]
    (tmp_path / "file").write_text("")
    assert journeyman(tmp_path, "init", "file").returncode == 2


def test_init_in_json_lists_the_files(tmp_path: Path) -> None:
    (told,) = lines(journeyman(tmp_path, "init", "--json").stdout)
    assert set(told["files"]) == set(starter("own"))


# doctor


def findings(folder: Path, *arguments: str) -> dict[str, dict[str, Any]]:
    done = journeyman(folder, *arguments, "doctor", "--json")
    return {line["name"]: line for line in lines(done.stdout)}


def test_the_doctor_knows_every_extra_that_users_install() -> None:
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))
    offered = set(project["project"]["optional-dependencies"]) - {"dev"}
    assert offered <= set(EXTRAS)


def test_the_doctor_checks_the_store(folder: Path, store: Store) -> None:
    record(store, "one")
    found = findings(folder)
    assert "1 runs" in found["store"]["detail"]
    assert found["store content"]["status"] == "ok"
    assert found["store writable"]["status"] == "ok"


@pytest.mark.sqlite_only("a database is there before it is used")
def test_a_file_that_is_not_made_yet_is_no_fault_to_the_doctor_however_it_is_named(
    tmp_path: Path,
) -> None:
    for name in (tmp_path / "new.db", f"sqlite:///{tmp_path / 'new.db'}"):
        (tmp_path / "journeyman.toml").write_text(f"store = '{name}'\n", "utf-8")
        assert findings(tmp_path)["store"]["status"] == "ok"


def test_the_doctor_says_how_to_mend_an_old_schema(folder: Path, store: Store) -> None:
    old = sa.text("UPDATE schema_version SET version_num = '0001_initial'")
    store.transact(lambda c: c.execute(old))
    assert findings(folder)["store"]["mend"].startswith("journeyman db migrate")


@pytest.mark.sqlite_only("damages a file")
def test_the_doctor_says_how_to_mend_a_damaged_file(folder: Path) -> None:
    (folder / ".journeyman" / "traces.db").write_bytes(b"no database at all" * 100)
    found = findings(folder)["store"]
    assert (found["status"], bool(found["mend"])) == ("wrong", True)


def test_the_doctor_fails_where_something_is_missing_and_names_the_command(
    tmp_path: Path,
) -> None:
    (tmp_path / "journeyman.toml").write_text(
        "[frontier]\nmodel = 'm'\napi_key_env = 'NO_SUCH_KEY'\n", "utf-8"
    )
    done = journeyman(tmp_path, "doctor")
    assert done.returncode == 1
    assert "export NO_SUCH_KEY=..." in done.stdout


@pytest.mark.parametrize("is_up", [True, False])
def test_the_live_doctor_asks_the_frontier(
    tmp_path: Path, is_up: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from journeyman.models.reference_frontier import Reference, ReferenceFrontier

    monkeypatch.setattr("journeyman.cli.doctor_live._student", findings_of_nothing)
    known = [Reference({"word": "ready"}, prompt="ready")]
    with ReferenceFrontier(known) as server:
        address = server.base_url if is_up else "http://127.0.0.1:9/v1"
        (tmp_path / "journeyman.toml").write_text(
            f"[frontier]\nmodel = 'reference'\nbase_url = '{address}'\nmax_tries = 1\n", "utf-8"
        )
        done = journeyman(tmp_path, "doctor", "--live", "--json")
    found = {line["name"]: line for line in lines(done.stdout)}["live frontier"]
    assert found["status"] == ("ok" if is_up else "wrong"), found
    assert is_up or found["mend"]


def findings_of_nothing() -> Any:
    from journeyman.cli.finding import Finding

    return Finding("live student", "ok", "not tried")


# traces


def test_traces_are_found_by_what_was_said(folder: Path, store: Store) -> None:
    wanted = record(store, "the parcel never came")
    record(store, "white paint")
    found = journeyman(folder, "traces", "search", "parcel", "never", "--json")
    assert [line["id"] for line in lines(found.stdout)] == [wanted]
    assert journeyman(folder, "traces", "search", "mackerel").returncode == 5


def test_what_was_said_gives_the_terminal_no_orders(folder: Path, store: Store) -> None:
    run = record(store, "hello", answer="a\x9b2Jb\u202ec")
    shown = journeyman(folder, "traces", "show", run).stdout
    assert "a\\x9b2Jb\\u202ec" in shown


def test_two_runs_are_shown_side_by_side(folder: Path, store: Store) -> None:
    first = record(store, "same", answer={"total": 1}, source="student")
    second = record(store, "same", answer={"total": 2}, source="frontier")
    done = journeyman(folder, "traces", "diff", first, second)
    assert done.returncode == 1
    marked = [line for line in done.stdout.splitlines() if line.startswith("*")]
    assert any("total" in line for line in marked)
    assert any("source" in line for line in marked)
    (told,) = lines(journeyman(folder, "traces", "diff", first, second, "--json").stdout)
    assert told["tasks"][0]["differences"] == [{"path": "total", "first": 1, "second": 2}]
    assert journeyman(folder, "traces", "diff", first, first).returncode == 0


def test_runs_are_exported_whole_and_since_a_time(folder: Path, store: Store) -> None:
    record(store, "old", days=10)
    young = record(store, "young")
    done = journeyman(folder, "traces", "export", "--since", "7d")
    (line,) = lines(done.stdout)
    assert line["run"]["id"] == young
    assert line["attempts"][0]["input"] == {"text": "young"}
    assert len(lines(journeyman(folder, "traces", "export").stdout)) == 2
    assert journeyman(folder, "traces", "export", "--agent", "nobody").returncode == 5


def test_labelled_tasks_are_exported_as_chat_but_for_those_set_apart(
    folder: Path, store: Store
) -> None:
    from sqlalchemy import insert

    from journeyman.traces.schema import Example

    for text in ("teaches", "certifies"):
        record(store, text, source="frontier")
    values = {
        "id": "e", "agent": "extraction", "task_key": "certifies", "group_hash": "g",
        "split": "calibration", "status": "accepted", "origin": "escalation",
        "label_source": "frontier", "trainable": True, "created_at": NOW,
    }  # fmt: skip
    store.transact(lambda c: c.execute(insert(Example).values(values)))
    done = journeyman(folder, "traces", "export", "--format", "openai")
    (line,) = lines(done.stdout)
    assert line == {
        "messages": [
            {"role": "user", "content": "teaches"},
            {"role": "assistant", "content": '{"total":1}'},
        ]
    }
    assert "set_apart" in done.stderr


def test_tail_shows_the_latest_in_their_order(folder: Path, store: Store) -> None:
    ids = [record(store, f"r{i}", days=3 - i) for i in range(3)]
    told = lines(journeyman(folder, "traces", "tail", "-n", "2", "--json").stdout)
    assert [line["id"] for line in told] == ids[1:]


def test_tail_goes_on_with_runs_that_end_later(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("journeyman.cli.follow.EVERY_SECONDS", 0)
    first = record(store, "first")
    seen = follow_runs(store, 10, follow=True)
    assert next(seen).id == first
    later = record(store, "later")
    assert next(seen).id == later


@pytest.mark.parametrize("since", ["soon", "30", "99999999999d", "2026-13-01"])
def test_a_time_that_is_none_is_refused(folder: Path, since: str) -> None:
    done = journeyman(folder, "traces", "search", "x", "--since", since)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)


# db


@pytest.mark.sqlite_only("a server is backed up by pg_dump")
def test_a_backup_is_the_whole_store_and_replaces_nothing(folder: Path, store: Store) -> None:
    for each in ("one", "two"):
        record(store, each)
    (told,) = lines(journeyman(folder, "db", "backup", "copy.db", "--json").stdout)
    assert Path(told["file"]).stat().st_size == told["num_bytes"]
    assert journeyman(folder, "db", "backup", "copy.db").returncode == 2
    with Store.open(folder / "copy.db", read_only=True) as copy:
        assert len(copy.runs(None)) == 2


def test_prune_and_vacuum_of_the_store(folder: Path, store: Store) -> None:
    record(store, "old", days=60)
    kept = record(store, "escalated", days=60, source="frontier")
    young = record(store, "young")
    planned = lines(
        journeyman(folder, "db", "prune", "--older-than", "30d", "--dry-run", "--json").stdout
    )
    assert planned[0]["counts"]["runs"] == 1
    assert len(store.runs(None)) == 3
    command = ("db", "prune", "--older-than", "30d", "--keep-escalations", "--keep-starred")
    done = journeyman(folder, *command)
    assert done.returncode == 0, done.stderr
    assert {run.id for run in store.runs(None)} == {kept, young}
    assert journeyman(folder, "db", "vacuum").returncode == 0
    status = lines(journeyman(folder, "db", "status", "--check", "--json").stdout)[0]
    assert status["counts"]["runs"] == 2
    assert status["payloads_checked"] == status["counts"]["payloads"]


def test_a_servers_store_is_backed_up_by_its_own_tool(tmp_path: Path) -> None:
    from journeyman.models.errors import TraceError
    from journeyman.traces.engine import parse_url
    from journeyman.traces.upkeep import back_up

    class Server:
        url = parse_url("postgresql://me@host/traces")
        name = "'postgresql://me@host/traces'"

    with pytest.raises(TraceError, match="pg_dump"):
        back_up(Server(), tmp_path / "copy")  # type: ignore[arg-type]  # no server is needed


def test_prune_without_an_age_it_can_read_forgets_nothing(folder: Path, store: Store) -> None:
    record(store, "old", days=60)
    for written in ("30", "a month", "999999999999w"):
        assert journeyman(folder, "db", "prune", "--older-than", written).returncode == 2
    assert len(store.runs(None)) == 1


# completion


def test_names_are_completed(folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run = record(store, "x")
    (folder / "scenarios").mkdir()
    (folder / "scenarios" / "mine.yaml").write_text("")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("JOURNEYMAN_STORE", str(store_of(folder)))
    assert "desk" in suites("de")
    assert suites("scen") == ["scenarios/mine.yaml"]
    assert agents("ext") == ["extraction"]
    assert runs(run[:6]) == [run]
    assert releases("") == []


def test_completion_offers_nothing_rather_than_failing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "journeyman.toml").write_text("broken", "utf-8")
    monkeypatch.chdir(tmp_path)
    assert runs("") == []
    assert "routing" in agents("")


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("journeyman tra", "traces"),
        ("journeyman run bank", "banking77"),
        ("journeyman replay ro", "routing"),
    ],
)
def test_the_shell_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str, offered: str
) -> None:
    words = typed.split()
    monkeypatch.setenv("_JOURNEYMAN_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    done = journeyman(tmp_path, *words[1:])
    assert offered in done.stdout.split()
