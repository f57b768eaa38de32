"""`journeyman view` as a person starts and ends it."""

from __future__ import annotations

import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from journeyman.traces.store import Store

Viewer = subprocess.Popen[str]

COMMAND = [sys.executable, "-m", "journeyman", "view", "--no-open", "--port", "0"]


@pytest.fixture
def store(target: Path | str) -> str:
    Store.open(target).close()
    return str(target)


@pytest.fixture
def running() -> Iterator[list[Viewer]]:
    started: list[Viewer] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


def start(running: list[Viewer], *arguments: str) -> tuple[str, Viewer]:
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    running.append(process)
    assert process.stdout is not None
    return process.stdout.readline().strip(), process


def status_of(url: str, **headers: str) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_it_says_where_it_is_answers_and_ends(store: str, running: list[Viewer]) -> None:
    url, process = start(running, "--store", store)
    assert url.startswith("http://127.0.0.1:")
    assert status_of(url) == 200
    assert status_of(url, Host="evil.example") == 403
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode in {0, 130, -signal.SIGINT}
    assert "Traceback" not in errors


def test_beyond_loopback_it_wants_a_token(store: str, running: list[Viewer]) -> None:
    url, _ = start(running, "--store", store, "--host", "0.0.0.0")
    local = url.replace("0.0.0.0", "127.0.0.1")
    bare, _, token = local.partition("?token=")
    assert len(token) >= 16
    assert status_of(bare) == 401
    assert status_of(bare, Authorization=f"Bearer {token}") == 200
    sql = bare.replace("/-/journeyman", "/traces.json?sql=select+1")
    assert status_of(sql, Authorization=f"Bearer {token}") == 403


def test_behind_a_name_of_its_own_it_wants_a_token_as_well(
    store: str, running: list[Viewer]
) -> None:
    """A proxy on this machine comes from loopback, and its visitors do not."""
    url, _ = start(running, "--store", store, "--allow-host", "traces.example")
    bare, _, token = url.partition("?token=")
    assert len(token) >= 16
    sql = bare.replace("/-/journeyman", "/traces.json?sql=select+1")
    known = {"Host": "traces.example", "Authorization": f"Bearer {token}"}
    assert status_of(bare, Host="traces.example") == 401
    assert status_of(bare, **known) == 200
    assert status_of(sql, **known) == 403
    assert status_of(bare, **(known | {"Host": "192.0.2.1"})) == 403


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--store", "none.db"], "no trace store"),
        (["--token", "short"], "at least 16"),
        (["--snapshot", "--write"], "lost"),
        (["--host", "192.0.2.1"], "listen"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(store: str, arguments: list[str], said: str) -> None:
    named = [] if "--store" in arguments else ["--store", store]
    done = subprocess.run(
        [*COMMAND, *named, *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
