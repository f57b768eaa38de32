"""What holds for every test: no network beyond loopback, and no settings of whoever runs them.

`pytest --store postgres` runs the tests that open a trace store, and no others, on a PostgreSQL
server that is started for them. A test is one of them if it asks for the fixture `any_store`, or
for one that rests on it, such as `target`. What is about SQLite asks for `path`, a SQLite file, or
bears the mark `sqlite_only` with the reason. A test that opens a store and is neither fails.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
from collections.abc import Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from journeyman.traces.store import Store
from tests import stores
from tests.postgres_server import DRIVER, PACKAGE, PostgresServer, programs

_LOOPBACK = ("127.", "::1", "localhost")

# Datasette reads SQLite files and nothing else.
_VIEWER = Path(__file__).parent / "traces" / "viewer"

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
        help="run the tests that open a trace store alone, on PostgreSQL",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--store") == "sqlite":
        return
    wanted = [item for item in items if _is_of_any_store(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(wanted)])
    items[:] = wanted


def _is_of_any_store(item: pytest.Item) -> bool:
    if item.get_closest_marker("sqlite_only") or _asks_for("path", item):
        return False
    return _asks_for("any_store", item)


def _asks_for(fixture: str, item: pytest.Item) -> bool:
    """Whether a test asks for a fixture; a parameter of that name is none."""
    given = getattr(getattr(item, "callspec", None), "params", {})
    return fixture in getattr(item, "fixturenames", ()) and fixture not in given


@pytest.fixture(scope="session", autouse=True)
def _opened() -> Iterator[list[str]]:
    """Which stores this process opened since the last test."""
    opened: list[str] = []
    really = Store.open

    @wraps(really)
    def noting(target: str | Path, **given: Any) -> Store:
        store = really(target, **given)
        opened.append(str(target))
        return store

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "open", noting)
        yield opened


@pytest.fixture(autouse=True)
def _stores_are_accounted_for(request: pytest.FixtureRequest, _opened: list[str]) -> Iterator[None]:
    """Whoever opens a store does so on PostgreSQL as well, or says why not."""
    yield
    opened = list(_opened)
    _opened.clear()
    item = request.node
    assert not opened or _says_where(item), (
        f"The test opens {opened[0]!r}: have it ask for `target`, or for `any_store` and use "
        "`store_at`, or mark it `sqlite_only` with the reason."
    )


def _says_where(item: pytest.Item) -> bool:
    return (
        _is_of_any_store(item)
        or item.get_closest_marker("sqlite_only") is not None
        or any(_asks_for(fixture, item) for fixture in ("path", "postgres_url", "postgres_server"))
        or item.path.is_relative_to(_VIEWER)
    )


@pytest.fixture(autouse=True)
def _databases_go_with_their_test(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.config.getoption("--store") == "sqlite":
        yield
        return
    folder: Path = request.getfixturevalue("tmp_path")
    yield
    stores.drop_below(folder)


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


@pytest.fixture(scope="session")
def any_store(request: pytest.FixtureRequest) -> None:
    """Asked for by what has its stores where `--store` says, by `store_at`."""
    if request.config.getoption("--store") == "postgres":
        stores.use(request.getfixturevalue("postgres_server"))


@pytest.fixture
def target(tmp_path: Path, any_store: None) -> Path | str:
    """Where a test's store is, on the backend that `--store` says."""
    return stores.store_at(tmp_path / "traces.db")


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
