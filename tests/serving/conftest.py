"""A tiny base, and three generators on it; the adapter of one changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from journeyman.models.students.causal import CausalBase
from journeyman.traces.registry import Registry
from journeyman.traces.store import Store
from tests.models.tiny_causal import make_tiny_base
from tests.serving.stand_in import StandIn
from tests.serving.writer import make_adapter


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models."""
    return tmp_path_factory.mktemp("shelf").resolve()


@pytest.fixture(scope="session")
def base(shelf: Path) -> str:
    """Heads as wide as vLLM's smallest."""
    return make_tiny_base(shelf / "base", num_heads=2)


@pytest.fixture(scope="session")
def first(base: str, shelf: Path) -> Path:
    return make_adapter(base, shelf / "first", 1)


@pytest.fixture(scope="session")
def second(base: str, shelf: Path) -> Path:
    return make_adapter(base, shelf / "second", 2)


@pytest.fixture(scope="session")
def idle(base: str, shelf: Path) -> Path:
    """An adapter that changes nothing, as one that is not applied."""
    return make_adapter(base, shelf / "idle", 3, std=0.0)


@pytest.fixture(scope="session")
def causal(base: str) -> CausalBase:
    return CausalBase(base, device="cpu")


@pytest.fixture
def stand_in(causal: CausalBase) -> Iterator[StandIn]:
    with StandIn(causal) as opened:
        yield opened


@pytest.fixture
def registry(target: Path | str, tmp_path: Path) -> Iterator[Registry]:
    with Store.open(target) as store:
        yield Registry(store, tmp_path / "data")
