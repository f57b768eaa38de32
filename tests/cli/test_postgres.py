"""The command line on a store of a server: the same commands, by URL."""

from __future__ import annotations

import json
from pathlib import Path

from journeyman.traces.records import RunRecord, now
from journeyman.traces.store import Store
from tests.cli.inside import journeyman
from tests.postgres_server import PostgresServer

RUN = "0123456789abcdef0123456789abcdef"


def kept(target: str | Path) -> None:
    with Store.open(target) as store:
        store.write([RunRecord(id=RUN, graph="g", status="ok", started_at=now(), input="mackerel")])


def test_runs_are_listed_shown_and_found(tmp_path: Path, postgres_url: str) -> None:
    kept(postgres_url)
    for command in (["list"], ["show", RUN[:8]], ["search", "mackerel"]):
        done = journeyman(tmp_path, "traces", *command, "--store", postgres_url, "--json")
        assert done.returncode == 0, done.stderr
        assert RUN in done.stdout


def test_status_counts_and_checks(tmp_path: Path, postgres_url: str) -> None:
    kept(postgres_url)
    (tmp_path / "journeyman.toml").write_text(f"store = '{postgres_url}'\n", encoding="utf-8")
    done = journeyman(tmp_path, "db", "status", "--check", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["counts"]["runs"], said["payloads_checked"]) == (1, 1)


def test_the_doctor_says_where_its_user_may_not_write(
    tmp_path: Path, postgres_server: PostgresServer, postgres_url: str
) -> None:
    name = postgres_url.rpartition("/")[2]
    postgres_server.execute("CREATE ROLE visitor LOGIN")
    postgres_server.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO visitor", name)
    postgres_server.execute("GRANT INSERT, UPDATE, DELETE ON runs TO visitor", name)
    url = postgres_url.replace("postgres@", "visitor@")
    (tmp_path / "journeyman.toml").write_text(f"store = '{url}'\n", encoding="utf-8")
    done = journeyman(tmp_path, "doctor", "--json")
    found = {line["name"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert found["store writable"]["status"] == "wrong"
    assert "docs/postgres.md" in found["store writable"]["mend"]


def test_a_file_is_copied_to_a_server_once(tmp_path: Path, postgres_url: str) -> None:
    kept(tmp_path / "traces.db")
    done = journeyman(tmp_path, "db", "copy", "traces.db", postgres_url, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["counts"]["runs"] == 1
    again = journeyman(tmp_path, "db", "copy", "traces.db", postgres_url)
    assert again.returncode == 2
    assert "empty store" in again.stderr
    assert again.stderr.count("\n") == 1


def test_a_server_that_is_away_is_one_sentence(tmp_path: Path) -> None:
    url = "postgresql://ada:secret@127.0.0.1:1/none"
    done = journeyman(tmp_path, "traces", "list", "--store", url)
    assert done.returncode == 2
    assert "does not answer" in done.stderr
    assert "secret" not in done.stderr
    assert done.stderr.count("\n") == 1
