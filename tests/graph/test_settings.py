"""Settings: what is found, what wins, and how a mistake is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from journeyman.graph.settings import load_settings
from journeyman.models.errors import ConfigError


def write(folder: Path, text: str, name: str = "journeyman.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_the_nearest_file_upwards_holds_and_its_store_lies_beside_it(tmp_path: Path) -> None:
    write(tmp_path, "store = 'kept.db'\n")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert load_settings(below).store == str(tmp_path / "kept.db")


def test_a_project_file_counts_only_with_our_table(tmp_path: Path) -> None:
    write(tmp_path, "[tool.journeyman.frontier]\nmodel = 'm'\n", "pyproject.toml")
    below = tmp_path / "package"
    below.mkdir()
    write(below, "[project]\nname = 'x'\n", "pyproject.toml")
    assert load_settings(below).frontier.model == "m"


@pytest.mark.parametrize(
    ("text", "key", "known"),
    [
        ("stoer = 'x'\n", "stoer", "store"),
        ("[frontier]\nmodle = 'x'\n", "frontier.modle", "model"),
        (
            "[frontier.price]\ninput = 1\ninput_per_million_usd = 1\noutput_per_million_usd = 1\n",
            "frontier.price.input",
            "input_per_million_usd",
        ),
    ],
)
def test_an_unknown_key_is_named_with_the_known_ones_beside_it(
    tmp_path: Path, text: str, key: str, known: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_settings(tmp_path)
    assert repr(key) in str(caught.value)
    assert known in str(caught.value)
    assert str(path) in str(caught.value)


def test_the_environment_beats_the_file_and_is_named_in_its_mistakes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "[frontier]\nmax_tries = 2\n")
    monkeypatch.setenv("JOURNEYMAN_FRONTIER__MAX_TRIES", "3")
    assert load_settings(tmp_path).frontier.max_tries == 3
    monkeypatch.setenv("JOURNEYMAN_FRONTIER__MAX_TRIES", "none")
    with pytest.raises(ConfigError, match="JOURNEYMAN_"):
        load_settings(tmp_path)
