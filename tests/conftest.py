"""What holds for every test: no network beyond loopback, and no settings of whoever runs them.

`pytest --store postgres` runs the tests of the trace store, and no others, on a PostgreSQL server
that is started for them. A test is one of them if it asks for the fixture `target`, and not for
`path`, which is a SQLite file.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from tests.postgres_server import DRIVER, PACKAGE, PostgresServer, programs

_LOOPBACK = ("127.", "::1", "localhost")

# What a shell starts in the background ignores Ctrl-C, and so would all that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine makes no property false: how long an example takes is the benchmarks' business.
hypothesis_settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("untimed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--store",
        choices=("sqlite", "postgres"),
        default="sqlite",
        help="run the tests of the trace store alone, on PostgreSQL",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--store") == "sqlite":
        return
    wanted = [item for item in items if _is_of_any_store(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(wanted)])
    items[:] = wanted


def _is_of_any_store(item: pytest.Item) -> bool:
    names = getattr(item, "fixturenames", ())
    return "target" in names and "path" not in names


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server of this session's own."""
    server = PostgresServer(_programs())
    yield server
    server.remove()


def _programs() -> Path:
    """Where they are; else the test is skipped, or fails where they are required."""
    folder = programs()
    missing = PACKAGE if folder is None else ""
    if importlib.util.find_spec("psycopg") is None:
        missing = DRIVER
    if not missing and folder is not None:
        return folder
    if os.environ.get("JOURNEYMAN_REQUIRE_POSTGRES"):
        pytest.fail(missing)
    pytest.skip(missing)


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A database of its own for each test, with the present schema and nothing in it."""
    url = postgres_server.new_database()
    yield url
    postgres_server.drop(url)


@pytest.fixture
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where a test's store is, on the backend that `--store` says."""
    if request.config.getoption("--store") == "sqlite":
        return tmp_path / "traces.db"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and not str(address[0]).startswith(_LOOPBACK):
            raise AssertionError(f"a test tried to reach {address!r}; only loopback is allowed")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "JOURNEYMAN_STORE", "JOURNEYMAN_CONFIG"):
        monkeypatch.delenv(name, raising=False)
